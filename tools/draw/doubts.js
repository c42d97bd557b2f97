// Signs that an answer should not be trusted.
"use strict";

// Return the signs that an answer may be wrong: those of tools/doubts.py.
function doubts({contrast, sides, pieces, tall, height, width, pixels}) {
  return [
    [sides > 1, `ink touches ${sides} sides of the picture; the digit may be cut off`],
    [tall > 1 || 2 * width > 3 * height, "there may be several digits; one is expected"],
    [pieces > 6, `the ink is in ${pieces} pieces; this may be noise`],
    [4 * pixels > 3 * height * width && 2 * width > height, "nearly all is ink; this may be no digit"],
    [contrast < 26, "there is hardly any contrast"],
  ].filter(([holds]) => holds).map(([, sentence]) => sentence);
}
