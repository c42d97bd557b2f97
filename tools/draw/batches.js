// mlp/batches.py in JavaScript: images, and mini-batches of them.

// Images without their black pixels: image i has `numbers` from starts[i] to starts[i + 1], at the
// pixels `places`.
class Images {
  constructor(bytes, labels, pixels) {
    const lit = bytes.reduce((count, byte) => count + (byte > 0), 0), n = labels.length;
    const room = {
      numbers: new Uint8Array(lit),
      places: new Uint16Array(lit),
      starts: new Uint32Array(n + 1),
    };
    Object.assign(this, {labels, pixels, ...room});
    for (let i = 0, k = 0, at = 0; i < n; i++) {
      for (let pixel = 0; pixel < pixels; pixel++, at++) {
        if (bytes[at] === 0) continue;
        this.numbers[k] = bytes[at];
        this.places[k++] = pixel;
      }
      this.starts[i + 1] = k;
    }
  }

  // Return room for batches of up to `most` images.
  newBatch(most) {
    return newSparse(most, this.pixels, this.numbers, this.places);
  }

  // Let the batch X have some images, by their numbers. Return their labels.
  choose(X, order) {
    X.rows = order.length;
    order.forEach((image, row) => {
      [X.begins[row], X.ends[row]] = [this.starts[image], this.starts[image + 1]];
    });
    return Uint16Array.from(order, image => this.labels[image]);
  }
}
