// The answer of a trained network to one image, and what its neurons say. The page has its file.

// Return the probability of each class. `image` has the bytes of the pixels.
function predict(network, image) {
  const X = new Matrix(
      1,
      image.length,
      Float64Array.from(image, byte => byte - network.shift),
    ),
    {da} = network.layers.at(-1);
  softmax(forward(network, X), da);
  return da.numbers.slice();
}

// Return what each neuron of the first hidden layer adds to the logit of a class, for the image
// that was predicted last: its output times its gradient.
function contributions({layers, f}, number) {
  let da = Float64Array.from(layers.at(-1).b.numbers, (_, j) => (j === number ? 1 : 0));
  for (let l = layers.length - 1; l > 0; l--) {
    const {W: {columns, numbers}, h} = layers[l];
    const dh = h.numbers.map((_, i) =>
      da.reduce((sum, d, j) => sum + d * numbers[i * columns + j], 0),
    );
    if (l === 1) return dh.map((d, i) => d * h.numbers[i]);
    da = dh.map((d, i) => d * f.gradient(h.numbers[i]));
  }
  return new Float64Array(0); // no hidden layer
}

// Return the network in a model's file. `about` is known of it: its activation, arithmetic, scale
// and shift.
function readModel(bytes, about) {
  const arrays = readNpz(bytes),
    layers = [],
    Type = about.arithmetic === "exact" ? Float64Array : Float32Array;
  // They are little-endian, as here
  const numbers = name => Float64Array.from(new Type(arrays[name].slice().buffer));
  for (let l = 1; arrays[`weights_${l}`]; l++) {
    const W = numbers(`weights_${l}`), b = numbers(`biases_${l}`);
    layers.push(
      newLayer(new Matrix(W.length / b.length, b.length, W), new Matrix(1, b.length, b), 1),
    );
  }
  return {...about, layers, f: ACTIVATIONS[about.activation]};
}

function readBytes(text) {
  const characters = atob(text), bytes = new Uint8Array(characters.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = characters.charCodeAt(i);
  return bytes;
}
