// The answer of a trained network to one image, and what its neurons say. The page has its file.

import {Matrix} from "./arithmetic.js";
import {readNpz} from "./arrays.js";
import {ACTIVATIONS, forward, newLayer, softmax} from "./network.js";

/** @import {Network, Preparation} from "./network.js" */
/** @typedef {Preparation & {activation: string, arithmetic: string}} About a network's file */
/**
 * @typedef {Network & About & {md5?: string, accuracy?: number}} Model what the page knows: the MD5
 *   of its file, and its accuracy on the test images
 */

/** Return the probability of each class.
 * @param {Network & {shift: number}} network @param {Uint8Array} image the bytes of the pixels */
export function predict(network, image) {
  const X = new Matrix(1, image.length, Float64Array.from(image, byte => byte - network.shift));
  const {da} = network.layers[network.layers.length - 1];
  softmax(forward(network, X), da);
  return da.numbers.slice();
}

/** Return what each neuron of the first hidden layer adds to the logit of a class, for the image
 * that was predicted last: its output times its gradient.
 * @param {Network} network @param {number} number of the class */
export function contributions({layers, f}, number) {
  let da = layers[layers.length - 1].b.numbers.map((_, j) => Number(j === number));
  for (let l = layers.length - 1; l > 0; l--) {
    const {W: {columns, numbers}, h} = layers[l];
    const dh = h.numbers.map((_, i) =>
      da.reduce((sum, d, j) => sum + d * numbers[i * columns + j], 0));
    if (l === 1) return dh.map((d, i) => d * h.numbers[i]);
    da = dh.map((d, i) => d * f.gradient(h.numbers[i]));
  }
  return new Float64Array(0); // no hidden layer
}

/** Return the network in a model's file.
 * @template {About} Known
 * @param {Uint8Array<ArrayBuffer>} bytes @param {Known} about */
export function readModel(bytes, about) {
  const arrays = readNpz(bytes), layers = [];
  const Type = about.arithmetic === "exact" ? Float64Array : Float32Array;
  /** They are little-endian, as here. */
  const numbers = name => Float64Array.from(new Type(arrays[name].slice().buffer));
  for (let l = 1; arrays[`weights_${l}`]; l++) {
    const W = numbers(`weights_${l}`), b = numbers(`biases_${l}`), n = b.length;
    layers.push(newLayer(new Matrix(W.length / n, n, W), new Matrix(1, n, b), 1));
  }
  return {...about, layers, f: ACTIVATIONS[about.activation]};
}

/** @param {string} text in base64 */
export function readBytes(text) {
  const characters = atob(text), bytes = new Uint8Array(characters.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = characters.charCodeAt(i);
  return bytes;
}
