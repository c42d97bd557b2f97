// Any picture as grey bytes, by tools/grey.py.
"use strict";

// Return a picture, {rows, columns, channels} of red, green, blue and opacity, without the last one: it lies on white
// paper, or on black paper if most of it is light.
function onPaper({rows, columns, channels: [red, green, blue, opacity]}) {
  let light = 0, opaque = 0;
  opacity.forEach((share, i) => {
    const grey = (19595 * red[i] + 38470 * green[i] + 7471 * blue[i] + 32768) >> 16;
    light += Math.floor(grey * share / 255); // Pillow rounds this down
    opaque += share;
  });
  const paper = 2 * light > opaque ? 0 : 255;
  const seen = channel => channel.map((value, i) => by255(paper * (255 - opacity[i]) + value * opacity[i]));
  return {rows, columns, channels: [red, green, blue].map(seen)};
}

// Return the number divided by 255, rounded.
function by255(number) {
  return Math.floor((2 * number + 255) / 510);
}

// Return a coloured picture as grey: {rows, columns, bytes} of {rows, columns, channels}. The ink shows best in
// one channel.
function toGrey({rows, columns, channels}) {
  const variations = channels.map(bytes => variation({rows, columns, bytes}));
  return {rows, columns, bytes: channels[variations.indexOf(Math.max(...variations))]};
}

// Return the sum of the squared differences from the median of the border.
function variation(picture) {
  const pixels = border(picture).sort();
  const median = pixels[pixels.length >> 1];
  return picture.bytes.reduce((sum, value) => sum + (value - median) * (value - median), 0);
}

// Return the outermost pixels, each once.
function border({rows, columns, bytes}) {
  const pixels = [];
  for (let row = 0; row < rows; row++) {
    const step = row === 0 || row === rows - 1 ? 1 : Math.max(columns - 1, 1);
    for (let column = 0; column < columns; column += step) pixels.push(bytes[row * columns + column]);
  }
  return Uint8Array.from(pixels);
}
