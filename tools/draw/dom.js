// What all parts of the page use: its elements, its data, and how images are painted.

import {readBytes, readModel} from "./predict.js";

/** @import {Matrix} from "./arithmetic.js" */
/** @import {About, Model} from "./predict.js" */
/** @typedef {About & {md5?: string, accuracy?: number, proof?: Proof,
 *   examples?: {image: string, number: number, place: number}[]}} Stored what Python wrote here */
/** @typedef {{files: {path: string, md5: string}[], model: string,
 *   params: Record<string, Record<string, any>>}} Proof the state that dvc.lock describes */

/** @param {string} id @returns {any} the element, of whatever kind the page has there */
export const $ = id => document.getElementById(id);
/** @type {Stored} */
export const stored = JSON.parse($("data").textContent);
export const [rows, columns] = stored.image_shape;
/** @type {Model} the network that Python trained */
export const original = readModel(readBytes($("model").textContent), stored);

/** Let an element have n children that are written so. */
export function fill(id, n, html) {
  if ($(id).children.length !== n) $(id).innerHTML = html.repeat(n);
  return [...$(id).children];
}

export const percent = probability => `${(100 * probability).toFixed(1)}\u00a0%`;
export const grouped = n => Math.round(n).toLocaleString("en");
/** @param {string} name of a variable of the style sheet */
export const css = name =>
  getComputedStyle(document.documentElement).getPropertyValue(name).trim();
/** @param {string} name of a colour */
const ink = name => parseInt(css(name).replace(/#(..)(..)(..)/, "$3$2$1"), 16); // blue, green, red
const colours = matchMedia("(prefers-color-scheme: dark)");
/** @param {() => void} then what to do when the user prefers other colours */
export const onColours = then => colours.addEventListener("change", then);

/** Paint a canvas of the image's size.
 * @param {HTMLCanvasElement} canvas
 * @param {(pixel: number) => number} colour opacity, blue, green and red, 8 bits each */
function paint(canvas, colour) {
  if (canvas.width !== columns || canvas.height !== rows)
    [canvas.width, canvas.height] = [columns, rows];
  const image = new ImageData(columns, rows), pixels = new Uint32Array(image.data.buffer);
  for (let i = 0; i < rows * columns; i++) pixels[i] = colour(i);
  canvas.getContext("2d")?.putImageData(image, 0, 0);
}

/** Paint an image, light on black. */
export const drawBytes = (canvas, bytes) => paint(canvas, i => 0xff000000 | 0x10101 * bytes[i]);

/** Return an image as ink on paper. @param {ArrayLike<number>} bytes */
export function inked(bytes) {
  const canvas = document.createElement("canvas"), colour = ink("--ink");
  paint(canvas, i => bytes[i] << 24 | colour);
  return canvas;
}

/** Paint the weights of a neuron, the strongest in full colour; where the image is black, pale.
 * @param {HTMLCanvasElement} canvas @param {Matrix} W @param {number} neuron
 * @param {Uint8Array=} image */
export function drawWeights(canvas, {numbers, columns: outputs}, neuron, image) {
  const [excites, inhibits] = [ink("--for"), ink("--against")];
  let most = Number.MIN_VALUE;
  for (let i = neuron; i < numbers.length; i += outputs)
    most = Math.max(most, Math.abs(numbers[i]));
  paint(canvas, i => {
    const w = numbers[i * outputs + neuron];
    const strength = (Math.abs(w) / most) * (image?.[i] === 0 ? 90 : 255);
    return Math.round(strength) << 24 | (w < 0 ? inhibits : excites);
  });
}

/** Fill a table, its heads first. A cell's content is a text or an element.
 * @param {string} id @param {(string | HTMLElement)[][]} lines */
export function fillTable(id, ...lines) {
  fill(id, lines.length, "<tr></tr>").forEach((row, n) => row.replaceChildren(
    ...lines[n].map(content => {
      const cell = document.createElement(n ? "td" : "th");
      cell.append(content);
      return cell;
    }),
  ));
}

/** Let the browser save a file. @param {Blob} file */
export function save(file, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(file);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
