// What all parts of the page use: its elements, its data, and how images are painted.

import {readBytes} from "./arrays.js";
import {readModel} from "./predict.js";

/** @returns {any} the element, of whatever kind the page has there */
export const $ = id => document.getElementById(id);
// What Python wrote here: about the network, test images, and the state that dvc.lock describes
export const stored = JSON.parse($("data").textContent);
export const [rows, columns] = stored.image_shape;
export const original = readModel(readBytes($("model").textContent), stored); // Python trained it

/** Let an element have n children that are written so. */
export function fill(id, n, html) {
  if ($(id).children.length !== n) $(id).innerHTML = html.repeat(n);
  return [...$(id).children];
}

export const percent = probability => `${(100 * probability).toFixed(1)}\u00a0%`;
export const grouped = n => Math.round(n).toLocaleString("en");
export const css = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
/** Return a colour's blue, green and red as one number. */
const ink = name => parseInt(css(name).replace(/#(..)(..)(..)/, "$3$2$1"), 16);

/** Paint a canvas of the image's size.
 * @param {(pixel: number) => number} colour opacity, blue, green and red, 8 bits each */
function paint(canvas, colour) {
  [canvas.width, canvas.height] = [columns, rows];
  const image = new ImageData(columns, rows), pixels = new Uint32Array(image.data.buffer);
  for (let i = 0; i < rows * columns; i++) pixels[i] = colour(i);
  canvas.getContext("2d").putImageData(image, 0, 0);
}

/** Paint an image, light on black. */
export const drawBytes = (canvas, bytes) => paint(canvas, i => 0xff000000 | 0x10101 * bytes[i]);

/** Return an image as ink on paper. */
export function inked(bytes) {
  const canvas = document.createElement("canvas"), colour = ink("--ink");
  paint(canvas, i => bytes[i] << 24 | colour);
  return canvas;
}

/** Paint the weights of a neuron, the strongest in full colour. */
export function drawWeights(canvas, {numbers, columns: outputs}, neuron) {
  const [excites, inhibits] = [ink("--for"), ink("--against")];
  const weight = i => numbers[i * outputs + neuron];
  let most = Number.MIN_VALUE;
  for (let i = 0; i < rows * columns; i++) most = Math.max(most, Math.abs(weight(i)));
  paint(canvas, i =>
    Math.round(255 * Math.abs(weight(i)) / most) << 24 | (weight(i) < 0 ? inhibits : excites));
}
