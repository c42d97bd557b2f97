// What a user can send on: a link with settings and a drawing, and a picture of both.

import {ascii, crc32, joined} from "./arrays.js";
import {PIXELS, SIDE} from "./strokes.js";

/** @import {Picture} from "./preparation.js" */
/** @import {Point, Stroke} from "./strokes.js" */

const DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/** Return strokes as text: two digits a number, counted from −SIDE. @param {Stroke[]} strokes */
export function writeStrokes(strokes) {
  const write = n => DIGITS[(n + SIDE) >> 6] + DIGITS[(n + SIDE) & 63];
  return strokes.map(({width, points}) => [width, ...points.flat()].map(write).join("")).join(".");
}

/** Return the strokes in a text; none, if it is not one. */
export function readStrokes(text) {
  if (!/^([\w-]{6}([\w-]{4})*(\.|$))+$/.test(text)) return [];
  return text.split(".").filter(Boolean).map(stroke => {
    const numbers = (stroke.match(/../g) ?? []).map(([high, low]) =>
      64 * DIGITS.indexOf(high) + DIGITS.indexOf(low) - SIDE);
    /** @type {Point[]} */
    const points = [];
    for (let i = 1; i + 1 < numbers.length; i += 2) points.push([numbers[i], numbers[i + 1]]);
    return {width: Math.min(Math.max(numbers[0], 1), SIDE), points};
  });
}

const SCALE = 4, PAPER = SCALE * PIXELS, PANEL = 320; // pixels of the picture
const PALE = 180; // the blue of the panel, and of all that is on it

/** Return a picture of a drawing and its answer, from which tools.predict reads the drawing alone,
 * to the bit. It takes the colour channel that varies most, blue, and ignores what is pale in it.
 * @param {Picture} drawing
 * @param {{name: string, says: string, bars: [name: string, probability: number][]}=} answer
 * @returns {Promise<Blob>} a PNG */
export async function picture(drawing, answer) {
  const width = PAPER + (answer ? PANEL : 0), pixels = new Uint8Array(PAPER * (3 * width + 1));
  const panel = answer && drawPanel(answer);
  for (let row = 0, at = 0; row < PAPER; row++) {
    pixels[at++] = 0; // PNG: this row is not filtered
    for (let x = 0; x < width; x++) {
      const place = Math.floor(row / SCALE) * PIXELS + Math.floor(x / SCALE);
      const from = 4 * (row * PANEL + x - PAPER), ink = 255 - drawing.bytes[place];
      const [red, green] = panel ? [panel[from], panel[from + 1]] : [];
      pixels.set(x < PAPER ? [ink, ink, ink] : [red ?? 0, green ?? 0, PALE], at);
      at += 3;
    }
  }
  const {readable, writable} = new CompressionStream("deflate"), writer = writable.getWriter();
  const content = new Response(readable).arrayBuffer();
  const [packed] = await Promise.all([content, writer.write(pixels), writer.close()]);
  const sizes = new DataView(new ArrayBuffer(13));
  sizes.setUint32(0, width);
  sizes.setUint32(4, PAPER);
  sizes.setUint16(8, 0x0802); // 8 bits, red, green and blue
  /** @param {string} name @param {Uint8Array<ArrayBuffer>} content */
  const chunk = (name, content) => {
    const body = joined([ascii(name), content]), ends = new DataView(new ArrayBuffer(8));
    ends.setUint32(0, content.length);
    ends.setUint32(4, crc32(body));
    const [length, crc] = [0, 4].map(at => new Uint8Array(ends.buffer.slice(at, at + 4)));
    return joined([length, body, crc]);
  };
  const signature = new Uint8Array([0x89, ...ascii("PNG\r\n\x1a\n")]);
  const header = chunk("IHDR", new Uint8Array(sizes.buffer));
  const end = chunk("IEND", new Uint8Array());
  const parts = [signature, header, chunk("IDAT", new Uint8Array(packed)), end];
  return new Blob(parts, {type: "image/png"});
}

/** Return the pixels of the answer: the name, how sure it is, and bars.
 * @param {NonNullable<Parameters<typeof picture>[1]>} answer */
function drawPanel({name, says, bars}) {
  const canvas = document.createElement("canvas"), left = 24, most = PANEL - 2 * left;
  [canvas.width, canvas.height] = [PANEL, PAPER];
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.fillStyle = "#ffffb4";
  context.fillRect(0, 0, PANEL, PAPER);
  context.fillStyle = "#0046b4";
  context.font = "bold 88px system-ui, sans-serif";
  context.fillText(name, left, 110, most);
  context.font = "22px system-ui, sans-serif";
  context.fillText(says, left, 152, most);
  bars.forEach(([label, probability], n) => {
    const y = 200 + n * 288 / bars.length;
    context.fillText(label, left, y, 60);
    context.fillRect(left + 70, y - 16, Math.max(1, (most - 160) * probability), 18);
    context.fillText(`${(100 * probability).toFixed(1)} %`, left + most - 80, y, 80);
  });
  return context.getImageData(0, 0, PANEL, PAPER).data;
}
