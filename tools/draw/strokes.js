// Strokes become pixels here, in whole numbers. Browsers that guard privacy add noise to what a
// canvas shows, so the page never reads its canvas.

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
 * numbers of units.
 * @param {Uint8Array} bytes @param {Point} p @param {Point} q @param {number} width */
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
