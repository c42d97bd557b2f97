// Strokes become pixels, and pixels an image for the network, with the bytes of
// tools/pictures/preparation.py: all numbers are whole. Browsers that guard privacy add noise to
// what a canvas shows, so the page never reads its canvas.

/** @typedef {[x: number, y: number]} Point in units */
/** @typedef {{width: number, points: Point[]}} Stroke */

export const SIDE = 1024; // the drawing is a square of SIDE × SIDE units, counted right and down
export const PIXELS = 128; // and of PIXELS × PIXELS pixels
const UNITS = SIDE / PIXELS; // of a pixel

/** Return the picture of strokes: 255 where there is ink, 0 elsewhere. @param {Stroke[]} strokes */
export function rasterise(strokes) {
  const bytes = new Uint8Array(PIXELS * PIXELS);
  for (const {width, points} of strokes) {
    points.forEach((point, n) => inkLine(bytes, points[Math.max(n - 1, 0)], point, width));
  }
  return {rows: PIXELS, columns: PIXELS, bytes};
}

/** Ink every pixel whose centre is at most width / 2 from the line from p to q. All are whole
 * numbers of units. */
function inkLine(bytes, [px, py], [qx, qy], width) {
  const dx = qx - px, dy = qy - py, length2 = dx * dx + dy * dy;
  const first = (a, b) => Math.max(Math.floor((Math.min(a, b) - width) / UNITS), 0);
  const last = (a, b) => Math.min(Math.ceil((Math.max(a, b) + width) / UNITS), PIXELS - 1);
  for (let row = first(py, qy); row <= last(py, qy); row++) {
    for (let column = first(px, qx); column <= last(px, qx); column++) {
      // The centre, from p
      const x = column * UNITS + UNITS / 2 - px, y = row * UNITS + UNITS / 2 - py;
      const along = x * dx + y * dy;
      const inked =
        along <= 0 ? 4 * (x * x + y * y) <= width * width
        : along >= length2 ? 4 * ((x - dx) * (x - dx) + (y - dy) * (y - dy)) <= width * width
        : 4 * (x * dy - y * dx) * (x * dy - y * dx) <= width * width * length2;
      if (inked) bytes[row * PIXELS + column] = 255;
    }
  }
}

/** Return the image's bytes; null if the drawing has no ink. A model of whole pictures gets the
 * whole drawing, dark on white paper. */
export function prepare(drawing, {image_shape: [rows, columns], whole, inverted}) {
  if (!drawing.bytes.some(byte => byte)) return null;
  const image = whole
    ? fit({...drawing, bytes: drawing.bytes.map(byte => 255 - byte)}, rows, columns)
    : likeMnist(drawing, rows, columns);
  return inverted ? image.map(byte => 255 - byte) : image;
}

/** Return the whole picture, its proportions kept, in the middle of white paper. */
function fit(picture, rows, columns) {
  const [height, width] = proportional(picture, rows, columns);
  const area = picture.rows * picture.columns, image = new Uint8Array(rows * columns).fill(255);
  const bytes = resized(picture, height, width).map(sum => divided(sum, area));
  return pasted(image, columns, bytes, width, (rows - height) >> 1, (columns - width) >> 1);
}

/** Return the ink like MNIST's digits: it fills 20/28 of the image, its centre of mass as near the
 * middle as it fits. */
function likeMnist(ink, rows, columns) {
  const digit = cropped(ink), inner = side => Math.max(1, Math.floor(side * 20 / 28));
  const [height, width] = proportional(digit, inner(rows), inner(columns));
  const area = resized(digit, height, width), largest = Math.max(...area);
  const bytes = area.map(sum => divided(sum * 255, largest));
  let mass = 0, down = 0, across = 0;
  bytes.forEach((value, i) => {
    mass += value;
    down += value * Math.floor(i / width);
    across += value * (i % width);
  });
  const start = (side, length, moment) =>
    Math.min(Math.max(divided(Math.floor(side / 2) * mass - moment, mass), 0), side - length);
  const top = start(rows, height, down), left = start(columns, width, across);
  return pasted(new Uint8Array(rows * columns), columns, bytes, width, top, left);
}

/** Return the smallest rectangle with every pixel that is not 0. */
function cropped({columns, bytes}) {
  const lit = [...bytes.keys()].filter(i => bytes[i]);
  const down = lit.map(i => Math.floor(i / columns)), across = lit.map(i => i % columns);
  const top = Math.min(...down), left = Math.min(...across);
  const rows = Math.max(...down) - top + 1, width = Math.max(...across) - left + 1;
  const inside = Uint8Array.from({length: rows * width}, (_, i) =>
    bytes[(top + Math.floor(i / width)) * columns + left + i % width]);
  return {rows, columns: width, bytes: inside};
}

/** Return the largest rows and columns, 1 or more, of a box with the proportions of the picture. */
const proportional = (picture, rows, columns) => picture.rows * columns > picture.columns * rows
  ? [rows, Math.max(1, divided(picture.columns * rows, picture.rows))]
  : [Math.max(1, divided(picture.rows * columns, picture.columns)), columns];

/** Return the picture scaled to rows × columns: each new pixel is the sum over the area that it
 * covers. */
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

/** Return [old, new, length] of each overlap of old and new pixels, on a side of old · new units. */
function overlaps(olds, news) {
  const found = [];
  for (let i = 0; i < olds; i++) {
    for (let j = Math.floor(i * news / olds); j * olds < (i + 1) * news; j++) {
      found.push([i, j, Math.min((i + 1) * news, (j + 1) * olds) - Math.max(i * news, j * olds)]);
    }
  }
  return found;
}

/** Put the bytes of a picture into an image that has `columns`, and return the image. */
function pasted(image, columns, bytes, width, top, left) {
  bytes.forEach((byte, i) => {
    image[(top + Math.floor(i / width)) * columns + left + i % width] = byte;
  });
  return image;
}

/** Return numerator / denominator, rounded to the nearest whole number. */
const divided = (numerator, denominator) =>
  Math.floor((2 * numerator + denominator) / (2 * denominator));
