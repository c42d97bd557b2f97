// The network's answer, with the bits of mlp/network.py. JavaScript's numbers are float64, and + − × ÷ round correctly.
// A sum of products is exact, as in mlp/arithmetic.py: so its order does not matter.
"use strict";

const float = new DataView(new ArrayBuffer(8)); // to look at the bits of a number

// Return 2ᵏ for −1022 ≤ k ≤ 1023. No standard requires 2 ** k to be exact.
function powerOfTwo(k) {
  float.setInt32(0, (k + 1023) << 20);
  float.setInt32(4, 0);
  return float.getFloat64(0);
}

const ROUND_TO_INTEGER = 1.5 * powerOfTwo(52); // adding this to a number rounds it to an integer
const LOG2_E = 1.4426950408889634;
const LN2_HIGH = 0x162e42fefa0000 / powerOfTwo(53); // 36 bits of ln 2
const LN2_LOW = 0x1cf79abc9e3b3a / powerOfTwo(92); // ln 2 less that

// Return the smallest e with |x| < 2ᵉ, for normal numbers; some number below −1000 for others.
function exponentOf(x) {
  float.setFloat64(0, x);
  return ((float.getInt32(0) >> 20) & 2047) - 1022;
}

// Round each number to a multiple of 2ᵏ that lies `bits` bits below 2^exponent; without it, below the largest of them.
function grid(numbers, bits, exponent) {
  exponent ??= exponentOf(numbers.reduce((largest, x) => Math.max(largest, Math.abs(x)), 0));
  const rounder = ROUND_TO_INTEGER * powerOfTwo(Math.max(exponent - bits, -500));
  return numbers.map(x => x + rounder - rounder);
}

// Return eˣ as mlp/arithmetic.py does: the same operations in the same order.
function exp(x) {
  x = Math.min(Math.max(x, -708), 709);
  const k = x * LOG2_E + ROUND_TO_INTEGER - ROUND_TO_INTEGER;
  const r = x - k * LN2_HIGH - k * LN2_LOW;
  const square = r * r;
  const odd = ((square + 240) * square + 7920) * (r * 42);
  const even = ((square + 840) * square + 75600) * square + 665280 - odd;
  return ((odd + odd) / even + 1) * powerOfTwo(k);
}

const sigmoid = x => 1 / (exp(-x) + 1);

const ACTIVATIONS = {
  sigmoid: {apply: sigmoid, gradient: y => y * (1 - y), exponent: 0},
  tanh: {apply: x => 2 * sigmoid(2 * x) - 1, gradient: y => 1 - y * y, exponent: 0},
  relu: {apply: x => Math.max(x, 0), gradient: y => (y > 0 ? 1 : 0), exponent: undefined},
};

// Return h W for a layer: h has layer.inputs numbers on a grid, the result layer.outputs.
function product(h, {weights, inputs, outputs}) {
  const sums = new Float64Array(outputs);
  for (let i = 0; i < inputs; i++) {
    const x = h[i];
    if (x === 0) continue; // most pixels are black
    for (let j = 0, w = i * outputs; j < outputs; j++, w++) sums[j] += x * weights[w];
  }
  return sums;
}

// Return the probability of each class, and the inputs of each layer. `image` has the bytes of the pixels.
function predict(model, image) {
  const {apply, exponent} = ACTIVATIONS[model.activation];
  let h = Float64Array.from(image, byte => byte - model.shift);
  const inputs = [];
  let a;
  model.layers.forEach((layer, number) => {
    if (number > 0) h = a.map(apply);
    inputs.push(h);
    const scale = number > 0 ? 1 : model.scale;
    const sums = product(number > 0 ? grid(h, layer.bits, exponent) : h, layer);
    a = sums.map((sum, j) => scale * sum + layer.biases[j]);
  });
  const largest = Math.max(...a);
  const y = a.map(logit => exp(logit - largest));
  const bits = 53 - Math.max(32 - Math.clz32(y.length), 2);
  const total = grid(y, bits, 0).reduce((sum, term) => sum + term, 0);
  return {probabilities: y.map(e => e / total), inputs};
}

// Return what each neuron of the first hidden layer adds to the logit of a class: its output times its gradient.
function contributions(model, inputs, number) {
  const {gradient} = ACTIVATIONS[model.activation];
  const layers = model.layers;
  let da = Float64Array.from({length: layers.at(-1).outputs}, (_, j) => (j === number ? 1 : 0));
  for (let layer = layers.length - 1; layer > 0; layer--) {
    const {weights, outputs} = layers[layer];
    const dh = inputs[layer].map((_, i) => da.reduce((sum, d, j) => sum + d * weights[i * outputs + j], 0));
    if (layer === 1) return dh.map((d, i) => d * inputs[1][i]);
    da = dh.map((d, i) => d * gradient(inputs[layer][i]));
  }
  return new Float64Array(0); // no hidden layer
}

// Return a model from the page's JSON. Weights are whole numbers of 3 bytes, in units of their layer's grid.
function readModel(stored) {
  const layers = stored.layers.map(layer => ({
    inputs: layer.inputs,
    outputs: layer.outputs,
    bits: layer.bits,
    weights: readWeights(layer.weights, powerOfTwo(layer.unit)),
    biases: new Float64Array(readBytes(layer.biases).buffer), // little-endian, as every processor that runs a browser
  }));
  return {...stored, layers};
}

function readWeights(text, unit) {
  const bytes = readBytes(text);
  const weights = new Float64Array(bytes.length / 3);
  for (let i = 0, b = 0; i < weights.length; i++, b += 3) {
    weights[i] = ((bytes[b] << 8 | bytes[b + 1] << 16 | bytes[b + 2] << 24) >> 8) * unit; // >> keeps the sign
  }
  return weights;
}

function readBytes(text) {
  return Uint8Array.from(atob(text), character => character.charCodeAt(0));
}
