// mlp/batches.py in JavaScript: images, and mini-batches of them.

import {Sparse} from "./arithmetic.js";

/** Images without their black pixels: image i has `numbers` from starts[i] to starts[i + 1], at the
 * pixels `places`. */
export class Images {
  /** @param {Uint8Array} bytes @param {Uint16Array} labels @param {number} pixels of an image */
  constructor(bytes, labels, pixels) {
    const lit = bytes.reduce((count, byte) => count + Number(byte > 0), 0), n = labels.length;
    this.labels = labels;
    this.pixels = pixels;
    this.numbers = new Uint8Array(lit);
    this.places = new Uint16Array(lit);
    this.starts = new Uint32Array(n + 1);
    for (let i = 0, k = 0, at = 0; i < n; i++) {
      for (let pixel = 0; pixel < pixels; pixel++, at++) {
        if (bytes[at] === 0) continue;
        this.numbers[k] = bytes[at];
        this.places[k++] = pixel;
      }
      this.starts[i + 1] = k;
    }
  }

  /** Return room for batches of up to `most` images. */
  newBatch(most) {
    return new Sparse(most, this.pixels, this.numbers, this.places);
  }

  /** Let the batch X have some images, by their numbers. Return their labels.
   * @param {Sparse} X @param {Uint32Array} order */
  choose(X, order) {
    X.rows = order.length;
    order.forEach((image, row) => {
      [X.begins[row], X.ends[row]] = [this.starts[image], this.starts[image + 1]];
    });
    return Uint16Array.from(order, image => this.labels[image]);
  }
}
