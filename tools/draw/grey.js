// Any picture as grey bytes, by tools/grey.py.
"use strict";

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
