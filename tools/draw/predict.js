// The answer of a trained network to one image, and what its neurons say. The page has its file.

import {Matrix} from "./arithmetic.js";
import {readNpz} from "./arrays.js";
import {ACTIVATIONS, forward, newLayer, softmax} from "./network.js";

/** @import {Network, Preparation} from "./network.js" */
/** @typedef {Preparation & {activation: string, arithmetic: string, md5?: string,
 *   accuracy?: number}} About a network: the MD5 of its file, its accuracy on the test images */
/** @typedef {Network & About} Model */

/** Return the probability of each class. @param {Model} network @param {Uint8Array} image */
export function predict(network, image) {
  const X = new Matrix(1, image.length, Float64Array.from(image, byte => byte - network.shift));
  const {da} = network.layers[network.layers.length - 1];
  softmax(forward(network, X), da);
  return da.numbers.slice();
}

/** Return what each neuron of the first hidden layer adds to the logit of a class, for the image
 * that was predicted last: its output times its gradient. @param {Network} network */
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

/** Return the network in a model's file. @param {About} about @returns {Model} */
export function readModel(bytes, about) {
  const arrays = readNpz(bytes), layers = [];
  const Type = about.arithmetic === "exact" ? Float64Array : Float32Array;
  // They are little-endian, as here
  const numbers = name => Float64Array.from(new Type(arrays[name].slice().buffer));
  for (let l = 1; arrays[`weights_${l}`]; l++) {
    const W = numbers(`weights_${l}`), b = numbers(`biases_${l}`), n = b.length;
    layers.push(newLayer(new Matrix(W.length / n, n, W), new Matrix(1, n, b), 1));
  }
  return {...about, layers, f: ACTIVATIONS[about.activation]};
}
