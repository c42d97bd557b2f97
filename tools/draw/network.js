// mlp/network.py in JavaScript, in its order and with its names: a multi-layer perceptron, its
// gradients by the chain rule, and one step of training. dx means ∂L/∂x. The matrices of a layer
// are made once, and each step overwrites them.

import {
  ROUND_TO_INTEGER, Matrix, columnSums, dot, exp, exponentOf, grid, log, multiply,
  operandBits, powerOfTwo, termBits, transpose, transposeSparse,
} from "./arithmetic.js";
import {WEIGHTS, normals, stream} from "./random.js";

/** @import {Sparse} from "./arithmetic.js" */
/** @typedef {{
 *   apply: (x: number) => number, gradient: (y: number) => number, exponent: number | undefined,
 * }} Activation
 * @typedef {{hidden_sizes: number[], activation: string, weight_init_std: number | string,
 *   seed: number, iterations: number, batch_size: number, learning_rate: number, schedule: string,
 *   warmup: number, momentum: number, nesterov: boolean}} Settings those of section train
 * @typedef {{image_shape: number[], classes: string[], scale: number, shift: number,
 *   whole: boolean, inverted: boolean}} Preparation
 * @typedef {ReturnType<typeof newLayer>} Layer
 * @typedef {{layers: Layer[], f: Activation, scale: number}} Network
 * @typedef {{shifted: Float64Array, total: Float64Array}} Terms of the loss, one for each image */

const sigmoid = x => 1 / (exp(-x) + 1);

/** @type {Record<string, Activation>} */
export const ACTIVATIONS = {
  sigmoid: {apply: sigmoid, gradient: y => y * (1 - y), exponent: 0},
  tanh: {apply: x => 2 * sigmoid(2 * x) - 1, gradient: y => 1 - y * y, exponent: 0},
  relu: {apply: x => Math.max(x, 0), gradient: y => (y > 0 ? 1 : 0), exponent: undefined},
};

/** Return a layer, with room for the numbers of a batch: its inputs h, a = h W + b, and ∂L/∂a; and,
 * if it is trained, for its gradients and the optimizer's state.
 * @param {Matrix} W @param {Matrix} b @param {number} batch */
export function newLayer(W, b, batch, isTrained = false) {
  const h = new Matrix(batch, W.rows);
  const a = new Matrix(batch, W.columns), da = new Matrix(batch, W.columns);
  const weights = isTrained ? W.numbers.length : 0, biases = isTrained ? W.columns : 0;
  const dW = new Matrix(isTrained ? W.rows : 0, W.columns), db = new Matrix(1, biases);
  return {W, b, h, a, da, dW, db, optState: [new Float64Array(weights), new Float64Array(biases)]};
}

/** Return the logits z, (batch, classes), of images X. Each layer keeps its input h.
 * @param {Network} network @param {Matrix | Sparse} X */
export function forward({layers, f, scale}, X) {
  layers.forEach(({W, b, h, a}, l) => {
    if (l === 0) {
      multiply(X, grid(W, operandBits(W.rows)), a);
    } else {
      const before = layers[l - 1].a;
      h.rows = before.rows;
      for (let i = 0; i < h.rows * h.columns; i++) h.numbers[i] = f.apply(before.numbers[i]);
      dot(h, W, a, f.exponent);
    }
    const factor = l === 0 ? scale : 1;
    for (let row = 0, i = 0; row < a.rows; row++) {
      for (let j = 0; j < a.columns; j++, i++) a.numbers[i] = factor * a.numbers[i] + b.numbers[j];
    }
  });
  return layers[layers.length - 1].a;
}

/** Compute y = e^z / Σ e^z over the classes. Return each row's largest logit and total: ln y = z −
 * largest − ln total.
 * @param {Matrix} z @param {Matrix} y */
export function softmax({rows, columns, numbers: z}, {numbers: y}) {
  const rounder = ROUND_TO_INTEGER * powerOfTwo(-termBits(columns));
  const largest = new Float64Array(rows), total = new Float64Array(rows);
  for (let row = 0, begin = 0; row < rows; row++, begin += columns) {
    const end = begin + columns;
    let most = z[begin], sum = 0;
    for (let i = begin; i < end; i++) most = Math.max(most, z[i]);
    for (let i = begin; i < end; i++) {
      y[i] = exp(z[i] - most);
      sum += y[i] + rounder - rounder;
    }
    if (!(sum < Infinity)) throw new RangeError("a logit is not finite");
    for (let i = begin; i < end; i++) y[i] /= sum;
    [largest[row], total[row]] = [most, sum];
  }
  return {largest, total};
}

/** Return the two terms of each image's loss, ln total − shifted of its true class.
 * @param {Matrix} z @param {Uint16Array} labels @param {ReturnType<typeof softmax>} sums
 * @returns {Terms} */
export function lossTerms({columns, numbers: z}, labels, {largest, total}) {
  return {shifted: largest.map((most, row) => z[row * columns + labels[row]] - most), total};
}

/** Return the mean cross-entropy from `lossTerms`. @param {Terms} terms */
export function crossEntropy({shifted, total}) {
  const n = total.length, each = Float64Array.from(total, (sum, i) => log(sum) - shifted[i]);
  const losses = new Matrix(1, n, each);
  return grid(losses, termBits(n)).numbers.reduce((sum, loss) => sum + loss, 0) / n;
}

/**
 * Compute dW and db of each layer for a batch of images X and their labels. Return the terms of the
 * loss.
 * @param {Network} network @param {Sparse} X @param {Uint16Array} labels
 */
function gradients(network, X, labels) {
  const {layers, f, scale} = network, n = X.rows;
  const z = forward(network, X), {da} = layers[layers.length - 1];
  const terms = lossTerms(z, labels, softmax(z, da));
  da.rows = n;
  labels.forEach((label, row) => { da.numbers[row * da.columns + label] -= 1; });
  // ∂L/∂z: softmax and cross-entropy together
  for (let i = 0; i < n * da.columns; i++) da.numbers[i] /= n;
  /** @type {number | undefined} */
  let exponent = exponentOf(1 / n); // bounds da: y and t are from 0 to 1
  for (let l = layers.length - 1; l > 0; l--) {
    const {W, h, da, dW, db} = layers[l], {da: dh} = layers[l - 1];
    dot(transpose(h), da, dW, f.exponent);
    columnSums(da, db);
    dot(da, transpose(W), dh, exponent);
    // da of the layer before
    for (let i = 0; i < n * h.columns; i++) dh.numbers[i] *= f.gradient(h.numbers[i]);
    exponent = undefined;
  }
  const [{da: da1, dW, db}] = layers;
  multiply(transposeSparse(X), grid(da1, operandBits(n)), dW);
  for (let i = 0; i < dW.numbers.length; i++) dW.numbers[i] *= scale;
  columnSums(da1, db);
  return terms;
}

/** Take one training step after `iteration` steps. Return the terms of the loss before it.
 * @param {Network} network @param {Sparse} X @param {Uint16Array} labels
 * @param {Settings} settings @param {number} iteration */
export function step(network, X, labels, settings, iteration) {
  const terms = gradients(network, X, labels), rate = learningRate(settings, iteration);
  for (const {W, b, dW, db, optState: [vW, vb]} of network.layers) {
    update(W.numbers, dW.numbers, vW, settings, iteration, rate);
    update(b.numbers, db.numbers, vb, settings, iteration, rate);
  }
  return terms;
}

/** Change a parameter w by its gradient g. With momentum, v remembers the past steps.
 * @param {Float64Array} w @param {Float64Array} g @param {Float64Array} v
 * @param {Settings} settings @param {number} iteration @param {number} rate */
function update(w, g, v, {momentum, nesterov}, iteration, rate) {
  if (momentum === 0) {
    for (let i = 0; i < w.length; i++) w[i] -= g[i] * rate;
    return;
  }
  // This rounds what is too small to act to 0
  const farAbove = iteration % 8 === 0 ? powerOfTwo(-700) : 0;
  for (let i = 0; i < w.length; i++) {
    v[i] = (v[i] + farAbove - farAbove) * momentum + g[i];
    w[i] -= (nesterov ? g[i] + momentum * v[i] : v[i]) * rate;
  }
}

/** Return the learning rate of the step after `iteration` steps.
 * @param {Settings} settings @param {number} iteration */
export function learningRate({learning_rate: rate, schedule, warmup, iterations}, iteration) {
  if (iteration < warmup) return rate * ((iteration + 1) / warmup);
  const done = (iteration - warmup) / Math.max(iterations - warmup, 1);
  if (schedule === "linear") return rate * (1 - done);
  return schedule === "cosine" ? rate * halfCosine(done) : rate;
}

/** Return (1 + cos π x) / 2 for x from 0 to 1. */
function halfCosine(x) {
  const angle = 90 * Math.min(x, 1 - x) * (Math.PI / 180), square = angle * angle;
  let denominator = 19;
  for (let odd = 17; odd > 0; odd -= 2) denominator = odd - square / denominator;
  const tan = angle / denominator, y = 1 / (1 + tan * tan);
  return x <= 0.5 ? y : 1 - y;
}

/**
 * Return a network with zero biases and random, almost normal weights, for batches of up to `batch`
 * images.
 * @param {Settings} settings @param {Preparation} preparation @param {number} batch
 * @returns {Network}
 */
export function initNetwork(settings, {image_shape: shape, classes, scale}, batch) {
  const {hidden_sizes, activation, weight_init_std: std, seed} = settings;
  const sizes = [shape[0] * shape[1], ...hidden_sizes, classes.length];
  const source = stream(seed, WEIGHTS);
  const layers = sizes.slice(1).map((outputs, l) => {
    const inputs = sizes[l], W = new Matrix(inputs, outputs);
    // Math.sqrt is the processor's, which IEEE 754 rounds correctly
    const size =
      typeof std === "number" ? std : Math.sqrt(2 / (std === "glorot" ? inputs + outputs : inputs));
    W.numbers.set(normals(source, inputs * outputs).map(x => size * x + 0)); // + 0 turns −0 into 0
    return newLayer(W, new Matrix(1, outputs), batch, true);
  });
  return {layers, f: ACTIVATIONS[activation], scale};
}
