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
function variation({rows, columns, bytes}) {
  const border = bytes.filter((_, i) => {
    const row = Math.floor(i / columns), column = i % columns;
    return row === 0 || row === rows - 1 || column === 0 || column === columns - 1;
  }).sort();
  const median = border[border.length >> 1];
  return bytes.reduce((sum, value) => sum + (value - median) * (value - median), 0);
}
