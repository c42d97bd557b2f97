// A picture of one digit becomes an image like MNIST's, with the bytes of tools/digits.py: all numbers are whole.
"use strict";

// A picture is {rows, columns, bytes}: grey. Return the image's bytes, and what was found: see findInk. Null for a blank.
function prepare(picture, [rows, columns]) {
  const found = findInk(picture);
  if (!found) return null;
  const digit = cropped(found.ink);
  const box = side => Math.max(1, Math.floor(side * 20 / 28));
  const size = digit.rows * box(columns) > digit.columns * box(rows)
    ? [box(rows), Math.max(1, divided(digit.columns * box(rows), digit.rows))]
    : [Math.max(1, divided(digit.rows * box(columns), digit.columns)), box(columns)];
  const area = resized(digit, ...size);
  const largest = area.reduce((a, b) => Math.max(a, b));
  const bytes = Uint8Array.from(area, sum => divided(sum * 255, largest));
  return {image: centred({rows: size[0], columns: size[1], bytes}, rows, columns), findings: found.findings};
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
