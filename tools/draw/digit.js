// A picture of one digit becomes an image like MNIST's, with the bits of tools/digits.py: all numbers are whole.
"use strict";

const LEAST_CONTRAST = 13, INK = 3; // as in tools/digits.py

// A picture is {rows, columns, bytes}, or {rows, columns, channels} with the bytes of red, green and blue.
// Return the image's bytes; null if the picture is blank.
function prepare(picture, [rows, columns]) {
  const ink = inkOf(picture);
  if (!ink) return null;
  const digit = cropped(ink);
  const most = side => Math.max(1, Math.floor(side * 20 / 28));
  const size = digit.rows * most(columns) > digit.columns * most(rows)
    ? [most(rows), Math.max(1, divided(digit.columns * most(rows), digit.rows))]
    : [Math.max(1, divided(digit.rows * most(columns), digit.columns)), most(columns)];
  const area = resized(digit, ...size);
  const largest = area.reduce((a, b) => Math.max(a, b));
  const bytes = Uint8Array.from(area, sum => divided(sum * 255, largest));
  return centred({rows: size[0], columns: size[1], bytes}, rows, columns);
}

// Return each pixel's contrast to the background, 0 where there is no ink; null if the picture is blank.
function inkOf({rows, columns, bytes, channels = [bytes]}) {
  const contrast = new Uint8Array(rows * columns);
  for (const values of channels) {
    const border = [];
    for (let c = 0; c < columns; c++) border.push(values[c], values[(rows - 1) * columns + c]);
    for (let r = 1; r < rows - 1; r++) border.push(values[r * columns], values[r * columns + columns - 1]);
    const background = border.sort((a, b) => a - b)[border.length >> 1]; // the median
    values.forEach((value, i) => { contrast[i] = Math.max(contrast[i], Math.abs(value - background)); });
  }
  const largest = contrast.reduce((a, b) => Math.max(a, b), 0);
  if (largest < LEAST_CONTRAST) return null;
  const strong = contrast.map(value => (value > Math.floor(largest / INK) ? 1 : 0));
  const near = (r, c) => {
    for (let y = Math.max(r - 1, 0); y <= Math.min(r + 1, rows - 1); y++) {
      for (let x = Math.max(c - 1, 0); x <= Math.min(c + 1, columns - 1); x++) if (strong[y * columns + x]) return true;
    }
    return false;
  };
  const ink = contrast.map((value, i) => (value && near(Math.floor(i / columns), i % columns) ? value : 0));
  return {rows, columns, bytes: ink};
}

// Return the smallest rectangle with every pixel that is not 0.
function cropped({rows, columns, bytes}) {
  let top = rows, bottom = -1, left = columns, right = -1;
  bytes.forEach((value, i) => {
    if (!value) return;
    const r = Math.floor(i / columns), c = i % columns;
    [top, bottom, left, right] = [Math.min(top, r), Math.max(bottom, r), Math.min(left, c), Math.max(right, c)];
  });
  const width = right - left + 1, cut = new Uint8Array((bottom - top + 1) * width);
  for (let r = top; r <= bottom; r++) cut.set(bytes.subarray(r * columns + left, r * columns + right + 1), (r - top) * width);
  return {rows: bottom - top + 1, columns: width, bytes: cut};
}

// Return the picture scaled to rows × columns: each new pixel is the sum over the area that it covers.
function resized(picture, rows, columns) {
  const down = overlaps(picture.rows, rows), across = overlaps(picture.columns, columns);
  const area = new Float64Array(rows * columns); // whole numbers far below 2⁵³
  for (const [from, to, height] of down) {
    for (const [x, column, width] of across) {
      area[to * columns + column] += height * width * picture.bytes[from * picture.columns + x];
    }
  }
  return area;
}

// Return [old, new, length] for each old and new pixel that overlap on a side of old · new units.
function overlaps(olds, news) {
  const found = [];
  for (let i = 0; i < olds; i++) {
    for (let j = Math.floor(i * news / olds); j * olds < (i + 1) * news; j++) {
      found.push([i, j, Math.min((i + 1) * news, (j + 1) * olds) - Math.max(i * news, j * olds)]);
    }
  }
  return found;
}

// Return the digit in an image, its centre of mass as near the middle pixel as it fits.
function centred(digit, rows, columns) {
  let mass = 0, down = 0, across = 0;
  digit.bytes.forEach((value, i) => {
    mass += value;
    down += value * Math.floor(i / digit.columns);
    across += value * (i % digit.columns);
  });
  const start = (side, length, moment) =>
    Math.min(Math.max(divided(Math.floor(side / 2) * mass - moment, mass), 0), side - length);
  const top = start(rows, digit.rows, down), left = start(columns, digit.columns, across);
  const image = new Uint8Array(rows * columns);
  for (let r = 0; r < digit.rows; r++) {
    image.set(digit.bytes.subarray(r * digit.columns, (r + 1) * digit.columns), (top + r) * columns + left);
  }
  return image;
}

// Return numerator / denominator, rounded to the nearest whole number.
function divided(numerator, denominator) {
  return Math.floor((2 * numerator + denominator) / (2 * denominator));
}
