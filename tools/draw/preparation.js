// A drawing becomes an image for the network, with the bytes of tools/pictures/preparation.py: all
// numbers are whole.

/** @import {Preparation} from "./network.js" */
/** @typedef {{rows: number, columns: number, bytes: Uint8Array<ArrayBuffer>}} Picture */

/**
 * Return the image's bytes; null if the drawing has no ink. A model of whole pictures gets the
 * whole drawing, dark on white paper.
 * @param {Picture} drawing 255 where there is ink, 0 elsewhere @param {Preparation} preparation
 */
export function prepare(drawing, {image_shape: [rows, columns], whole, inverted}) {
  if (!drawing.bytes.some(byte => byte)) return null;
  const image = whole
    ? fit({...drawing, bytes: drawing.bytes.map(byte => 255 - byte)}, rows, columns)
    : likeMnist(drawing, rows, columns);
  return inverted ? image.map(byte => 255 - byte) : image;
}

/** Return the whole picture, its proportions kept, in the middle of white paper.
 * @param {Picture} picture @param {number} rows @param {number} columns */
function fit(picture, rows, columns) {
  const [height, width] = proportional(picture, rows, columns);
  const area = picture.rows * picture.columns, image = new Uint8Array(rows * columns).fill(255);
  const bytes = Uint8Array.from(resized(picture, height, width), sum => divided(sum, area));
  const inside = {rows: height, columns: width, bytes};
  return pasted(image, inside, (rows - height) >> 1, (columns - width) >> 1, columns);
}

/** Return the ink like MNIST's digits: it fills 20/28 of the image, its centre of mass as near the
 * middle as it fits.
 * @param {Picture} ink @param {number} rows @param {number} columns */
function likeMnist(ink, rows, columns) {
  const digit = cropped(ink);
  const [height, width] = proportional(digit, ...box(rows, columns));
  const area = resized(digit, height, width), largest = area.reduce((a, b) => Math.max(a, b));
  const bytes = Uint8Array.from(area, sum => divided(sum * 255, largest));
  let mass = 0, down = 0, across = 0;
  bytes.forEach((value, i) => {
    mass += value;
    down += value * Math.floor(i / width);
    across += value * (i % width);
  });
  const start = (side, length, moment) =>
    Math.min(Math.max(divided(Math.floor(side / 2) * mass - moment, mass), 0), side - length);
  const top = start(rows, height, down), left = start(columns, width, across);
  const image = new Uint8Array(rows * columns);
  return pasted(image, {rows: height, columns: width, bytes}, top, left, columns);
}

/** @param {number[]} sides @returns {[number, number]} */
function box(...sides) {
  const [height, width] = sides.map(side => Math.max(1, Math.floor(side * 20 / 28)));
  return [height, width];
}

/** Return the smallest rectangle with every pixel that is not 0. @param {Picture} picture */
function cropped({rows, columns, bytes}) {
  let top = rows, bottom = -1, left = columns, right = -1;
  bytes.forEach((value, i) => {
    if (!value) return;
    const r = Math.floor(i / columns), c = i % columns;
    [top, bottom] = [Math.min(top, r), Math.max(bottom, r)];
    [left, right] = [Math.min(left, c), Math.max(right, c)];
  });
  const inside = bytes.filter((_, i) => {
    const r = Math.floor(i / columns), c = i % columns;
    return top <= r && r <= bottom && left <= c && c <= right;
  });
  return {rows: bottom - top + 1, columns: right - left + 1, bytes: inside};
}

/**
 * Return the largest rows and columns that fit into a box with the proportions of the picture; 1 or
 * more each.
 * @param {Picture} picture @param {number} rows @param {number} columns
 */
function proportional(picture, rows, columns) {
  return picture.rows * columns > picture.columns * rows
    ? [rows, Math.max(1, divided(picture.columns * rows, picture.rows))]
    : [Math.max(1, divided(picture.rows * columns, picture.columns)), columns];
}

/** Return the picture scaled to rows × columns: each new pixel is the sum over the area that it
 * covers.
 * @param {Picture} picture @param {number} rows @param {number} columns */
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

/** Return [old, new, length] for each old and new pixel that overlap on a side of old · new units.
 * @param {number} olds @param {number} news */
function overlaps(olds, news) {
  const found = [];
  for (let i = 0; i < olds; i++) {
    for (let j = Math.floor(i * news / olds); j * olds < (i + 1) * news; j++) {
      found.push([i, j, Math.min((i + 1) * news, (j + 1) * olds) - Math.max(i * news, j * olds)]);
    }
  }
  return found;
}

/** Put a picture into an image that has `columns`, and return the image.
 * @param {Uint8Array} image @param {Picture} picture */
function pasted(image, {rows, columns: width, bytes}, top, left, columns) {
  for (let r = 0; r < rows; r++)
    image.set(bytes.subarray(r * width, (r + 1) * width), (top + r) * columns + left);
  return image;
}

/** Return numerator / denominator, rounded to the nearest whole number. */
const divided = (numerator, denominator) =>
  Math.floor((2 * numerator + denominator) / (2 * denominator));
