// mlp/layers.py, network.py and optimizers.py in JavaScript, with their names: a multi-layer
// perceptron, its gradients by the chain rule, and one step of training. dx means ∂L/∂x. The
// matrices of a layer are made once, and each step overwrites them.

import {
  ROUND_TO_INTEGER, Matrix, columnSums, dot, exp, exponentOf, grid, log, matmul,
  operandBits, powerOfTwo, termBits, transpose, transposeSparse,
} from "./arithmetic.js";
import {WEIGHTS, normalLike, stream} from "./random.js";

/** @import {Sparse} from "./arithmetic.js" */
/** @typedef {{hidden_sizes: number[], activation: string, weight_init_std: number | string,
 *   seed: number, iterations: number, batch_size: number, learning_rate: number,
 *   momentum: number}} Settings those of section train
 * @typedef {{image_shape: [number, number], classes: string[], scale: number, shift: number,
 *   whole: boolean, inverted: boolean}} Preparation
 * @typedef {Preparation & {layers: any[], activation: string, f: any}} Network */

const sigmoid = x => 1 / (exp(-x) + 1);

export const ACTIVATIONS = {
  sigmoid: {apply: sigmoid, gradient: y => y * (1 - y), exponent: 0},
  tanh: {apply: x => 2 * sigmoid(2 * x) - 1, gradient: y => 1 - y * y, exponent: 0},
  relu: {apply: x => Math.max(x, 0), gradient: y => (y > 0 ? 1 : 0), exponent: undefined},
};

/** Return a layer, with room for the numbers of a batch: its inputs h, a = h W + b, and ∂L/∂a.
 * @param {Matrix} W @param {Matrix} b */
export function newLayer(W, b, batch) {
  const h = new Matrix(batch, W.rows);
  const a = new Matrix(batch, W.columns), da = new Matrix(batch, W.columns);
  return {W, b, h, a, da};
}

/** Return the logits z, (batch, classes), of images X. Each layer keeps its input h.
 * @param {Network} network @param {Matrix | Sparse} X */
export function forward({layers, f, scale}, X) {
  layers.forEach(({W, b, h, a}, l) => {
    if (l === 0) {
      matmul(X, grid(W, operandBits(W.rows)), a);
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
 * largest − ln total. */
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

/** Return the loss of each image: ln total − (z − largest) of its true class. */
export function imageLosses({columns, numbers: z}, labels, {largest, total}) {
  return total.map((sum, row) => log(sum) - (z[row * columns + labels[row]] - largest[row]));
}

/** Return the mean loss of some images. @param {Float64Array<ArrayBuffer>} losses */
export function crossEntropy(losses) {
  const n = losses.length, row = new Matrix(1, n, losses);
  return grid(row, termBits(n)).numbers.reduce((sum, loss) => sum + loss, 0) / n;
}

/** Compute dW and db of each layer. Return the loss of each image. @param {Sparse} X */
function gradients(network, X, labels) {
  const {layers, f, scale} = network, n = X.rows;
  const z = forward(network, X), {da} = layers[layers.length - 1];
  const losses = imageLosses(z, labels, softmax(z, da));
  da.rows = n;
  labels.forEach((label, row) => { da.numbers[row * da.columns + label] -= 1; });
  // ∂L/∂z: softmax and cross-entropy together
  for (let i = 0; i < n * da.columns; i++) da.numbers[i] /= n;
  for (let l = layers.length - 1; l > 0; l--) {
    const {W, h, da, dW, db} = layers[l], {da: dh} = layers[l - 1];
    // In the last layer, y and t are from 0 to 1
    const exponent = l === layers.length - 1 ? exponentOf(1 / n) : undefined;
    dot(transpose(h), da, dW, f.exponent);
    columnSums(da, db);
    dot(da, transpose(W), dh, exponent);
    // da of the layer before
    for (let i = 0; i < n * h.columns; i++) dh.numbers[i] *= f.gradient(h.numbers[i]);
  }
  const [{da: da1, dW, db}] = layers;
  matmul(transposeSparse(X), grid(da1, operandBits(n)), dW);
  for (let i = 0; i < dW.numbers.length; i++) dW.numbers[i] *= scale;
  columnSums(da1, db);
  return losses;
}

/** Take one training step after `iteration` steps. Return the loss of each image before it. */
export function step(network, X, labels, settings, iteration) {
  const losses = gradients(network, X, labels);
  for (const {W, b, dW, db, optState: [vW, vb]} of network.layers) {
    update(W.numbers, dW.numbers, vW, settings, iteration);
    update(b.numbers, db.numbers, vb, settings, iteration);
  }
  return losses;
}

/** Change a parameter w by its gradient g. With momentum, v remembers the past steps. */
function update(w, g, v, {momentum, learning_rate: rate}, iteration) {
  if (momentum === 0) {
    for (let i = 0; i < w.length; i++) w[i] -= g[i] * rate;
    return;
  }
  // This rounds what is too small to act to 0
  const farAbove = iteration % 8 === 0 ? powerOfTwo(-700) : 0;
  for (let i = 0; i < w.length; i++) {
    v[i] = (v[i] + farAbove - farAbove) * momentum + g[i];
    w[i] -= v[i] * rate;
  }
}

/** Return a network with zero biases and random, almost normal weights. A batch has up to `batch`
 * images.
 * @param {Settings} settings @param {Preparation} preparation */
export function initNetwork(settings, preparation, batch) {
  const {image_shape: shape, classes} = preparation;
  const {hidden_sizes, activation, weight_init_std: std, seed} = settings;
  const sizes = [shape[0] * shape[1], ...hidden_sizes, classes.length];
  const source = stream(seed, WEIGHTS);
  const layers = sizes.slice(1).map((outputs, l) => {
    const inputs = sizes[l], W = new Matrix(inputs, outputs);
    // Math.sqrt is the processor's, which IEEE 754 rounds correctly
    const size =
      typeof std === "number" ? std : Math.sqrt(2 / (std === "glorot" ? inputs + outputs : inputs));
    // + 0 turns −0 into 0
    W.numbers.set(normalLike(source, inputs * outputs).map(x => size * x + 0));
    const dW = new Matrix(inputs, outputs), db = new Matrix(1, outputs);
    const optState = [dW, db].map(({numbers}) => new Float64Array(numbers.length));
    return {...newLayer(W, new Matrix(1, outputs), batch), dW, db, optState};
  });
  return {...preparation, layers, activation, f: ACTIVATIONS[activation]};
}
