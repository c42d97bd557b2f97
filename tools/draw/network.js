// mlp/network.py in JavaScript, in its order and with its names: a multi-layer perceptron, its
// gradients by the chain rule, and one step of training. dx means ∂L/∂x. The matrices of a layer
// are made once, and each step overwrites them.

const sigmoid = x => 1 / (exp(-x) + 1);

const ACTIVATIONS = {
  sigmoid: {apply: sigmoid, gradient: y => y * (1 - y), exponent: 0},
  tanh: {apply: x => 2 * sigmoid(2 * x) - 1, gradient: y => 1 - y * y, exponent: 0},
  relu: {apply: x => Math.max(x, 0), gradient: y => (y > 0 ? 1 : 0), exponent: undefined},
};

// Return a layer, with room for the numbers of a batch: its inputs h, a = h W + b, and ∂L/∂a.
function newLayer(W, b, batch) {
  return {
    W,
    b,
    h: new Matrix(batch, W.rows),
    a: new Matrix(batch, W.columns),
    da: new Matrix(batch, W.columns),
  };
}

// Return the logits z, (batch, classes), of images X, without zeros. Each layer keeps its input h.
function forward({layers, f, scale}, X) {
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
  return layers.at(-1).a;
}

// Compute y = e^z / Σ e^z over the classes. Return each row's largest logit and total: ln y = z −
// largest − ln total.
function softmax({rows, columns, numbers: z}, {numbers: y}) {
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

// Return the two terms of each image's loss, ln total − shifted of its true class.
const lossTerms = ({columns, numbers: z}, labels, {largest, total}) =>
  ({shifted: largest.map((most, row) => z[row * columns + labels[row]] - most), total});

// Return the mean cross-entropy from `lossTerms`.
function crossEntropy({shifted, total}) {
  const n = total.length, losses = new Matrix(1, n, total.map((sum, i) => log(sum) - shifted[i]));
  return grid(losses, termBits(n)).numbers.reduce((sum, loss) => sum + loss, 0) / n;
}

// Compute dW and db of each layer for a batch of images X and their labels. Return the terms of the
// loss.
function gradients(network, X, labels) {
  const {layers, f, scale} = network, n = X.rows;
  const z = forward(network, X), {da} = layers.at(-1);
  const terms = lossTerms(z, labels, softmax(z, da));
  da.rows = n;
  labels.forEach((label, row) => { da.numbers[row * da.columns + label] -= 1; });
  // ∂L/∂z: softmax and cross-entropy together
  for (let i = 0; i < n * da.columns; i++) da.numbers[i] /= n;
  let exponent = exponentOf(1 / n); // bounds da: y and t are from 0 to 1
  for (let l = layers.length - 1; l > 0; l--) {
    const {W, h, da, dW, db} = layers[l], {da: dh} = layers[l - 1];
    dot(transpose(h), da, dW, f.exponent);
    columnSums(da, db);
    dot(da, transpose(W), dh, exponent);
    // Da of the layer before
    for (let i = 0; i < n * h.columns; i++) dh.numbers[i] *= f.gradient(h.numbers[i]);
    exponent = undefined;
  }
  const [{da: da1, dW, db}] = layers;
  multiply(transposeSparse(X), grid(da1, operandBits(n)), dW);
  for (let i = 0; i < dW.numbers.length; i++) dW.numbers[i] *= scale;
  columnSums(da1, db);
  return terms;
}

// Take one training step after `iteration` steps. Return the terms of the loss before it.
function step(network, X, labels, settings, iteration) {
  const terms = gradients(network, X, labels), rate = learningRate(settings, iteration);
  for (const {W, b, dW, db, vW, vb} of network.layers) {
    update(W.numbers, dW.numbers, vW, settings, iteration, rate);
    update(b.numbers, db.numbers, vb, settings, iteration, rate);
  }
  return terms;
}

// Change a parameter w by its gradient g. With momentum, v remembers the past steps.
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

// Return the learning rate of the step after `iteration` steps.
function learningRate({learning_rate: rate, schedule, warmup, iterations}, iteration) {
  if (iteration < warmup) return rate * ((iteration + 1) / warmup);
  const done = (iteration - warmup) / Math.max(iterations - warmup, 1);
  if (schedule === "linear") return rate * (1 - done);
  return schedule === "cosine" ? rate * halfCosine(done) : rate;
}

// Return (1 + cos π x) / 2 for x from 0 to 1.
function halfCosine(x) {
  const angle = 90 * Math.min(x, 1 - x) * (Math.PI / 180), square = angle * angle;
  let denominator = 19;
  for (let odd = 17; odd > 0; odd -= 2) denominator = odd - square / denominator;
  const tan = angle / denominator, y = 1 / (1 + tan * tan);
  return x <= 0.5 ? y : 1 - y;
}

// Return a network with zero biases and random, almost normal weights, for batches of up to `batch`
// images.
function initNetwork(
  {hidden_sizes, activation, weight_init_std: std, seed},
  {image_shape: shape, classes, scale},
  batch,
) {
  const sizes = [shape[0] * shape[1], ...hidden_sizes, classes.length],
    source = stream(seed, WEIGHTS);
  const layers = sizes.slice(1).map((outputs, l) => {
    const inputs = sizes[l],
      W = new Matrix(inputs, outputs);
    // Math.sqrt is the processor's, which IEEE 754 rounds correctly
    const size =
      typeof std === "number" ? std : Math.sqrt(2 / (std === "glorot" ? inputs + outputs : inputs));
    W.numbers.set(normals(source, inputs * outputs).map(x => size * x + 0)); // + 0 turns −0 into 0
    return {
      ...newLayer(W, new Matrix(1, outputs), batch),
      dW: new Matrix(inputs, outputs),
      db: new Matrix(1, outputs),
      vW: new Float64Array(inputs * outputs),
      vb: new Float64Array(outputs),
    };
  });
  return {layers, f: ACTIVATIONS[activation], scale};
}
