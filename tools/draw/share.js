// What a user can send on: a link with settings and a drawing, and a picture of both.

import {ascii, crc32, joined, streamed} from "./arrays.js";
import {PIXELS, SIDE} from "./preparation.js";

const DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/** Return strokes as text: two digits a number, counted from −SIDE. */
export function writeStrokes(strokes) {
  const write = n => DIGITS[(n + SIDE) >> 6] + DIGITS[(n + SIDE) & 63];
  return strokes.map(({width, points}) => [width, ...points.flat()].map(write).join("")).join(".");
}

/** Return the strokes in a text; none, if it is not one. */
export function readStrokes(text) {
  if (!/^([\w-]{6}([\w-]{4})*(\.|$))+$/.test(text)) return [];
  const read = two => 64 * DIGITS.indexOf(two[0]) + DIGITS.indexOf(two[1]) - SIDE;
  return text.split(".").filter(Boolean).map(stroke => {
    const width = Math.min(Math.max(read(stroke), 1), SIDE);
    const point = four => [read(four), read(four.slice(2))];
    return {width, points: (stroke.slice(2).match(/..../g) ?? []).map(point)};
  });
}

const SCALE = 4, PAPER = SCALE * PIXELS, PANEL = 320; // pixels of the picture
const PALE = 180; // the blue of the panel, and of all that is on it

/** Return a picture of a drawing and its answer as a PNG. From it, tools.predict reads the drawing
 * alone, to the bit: it takes the colour channel that varies most, blue, and ignores what is pale.
 * @param {{name: string, says: string, bars: {name: string, probability: number}[]}=} answer */
export async function picture(drawing, answer) {
  const width = PAPER + (answer ? PANEL : 0), pixels = new Uint8Array(PAPER * (3 * width + 1));
  const panel = answer ? drawPanel(answer) : [];
  for (let row = 0, at = 0; row < PAPER; row++) {
    pixels[at++] = 0; // PNG: this row is not filtered
    for (let x = 0; x < width; x++, at += 3) {
      const place = Math.floor(row / SCALE) * PIXELS + Math.floor(x / SCALE);
      const from = 4 * (row * PANEL + x - PAPER), ink = 255 - drawing.bytes[place];
      pixels.set(x < PAPER ? [ink, ink, ink] : [panel[from], panel[from + 1], PALE], at);
    }
  }
  const big = n => [n >>> 24, n >>> 16 & 255, n >>> 8 & 255, n & 255];
  const chunk = (name, content) => {
    const body = joined([ascii(name), content]);
    return joined([big(content.length), body, big(crc32(body))]);
  };
  const header = [...big(width), ...big(PAPER), 8, 2, 0, 0, 0]; // 8 bits, red, green and blue
  const packed = await streamed(new CompressionStream("deflate"), pixels);
  const chunks = [chunk("IHDR", header), chunk("IDAT", packed), chunk("IEND", [])];
  return new Blob([joined([[0x89], ascii("PNG\r\n\x1a\n"), ...chunks])], {type: "image/png"});
}

/** Return the pixels of the answer: the name, how sure it is, and bars. */
function drawPanel({name, says, bars}) {
  const canvas = document.createElement("canvas"), left = 24, most = PANEL - 2 * left;
  [canvas.width, canvas.height] = [PANEL, PAPER];
  const context = /** @type {any} */ (canvas.getContext("2d"));
  context.fillStyle = "#ffffb4";
  context.fillRect(0, 0, PANEL, PAPER);
  context.fillStyle = "#0046b4";
  context.font = "bold 88px system-ui, sans-serif";
  context.fillText(name, left, 110, most);
  context.font = "22px system-ui, sans-serif";
  context.fillText(says, left, 152, most);
  bars.forEach(({name, probability}, n) => {
    const y = 200 + n * 288 / bars.length;
    context.fillText(name, left, y, 60);
    context.fillRect(left + 70, y - 16, Math.max(1, (most - 160) * probability), 18);
    context.fillText(`${(100 * probability).toFixed(1)} %`, left + most - 80, y, 80);
  });
  return context.getImageData(0, 0, PANEL, PAPER).data;
}
