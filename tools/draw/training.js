// mlp/training.py in JavaScript: the loop over epochs, in pieces, so that the worker can answer the
// page in between.

import {Matrix, Sparse} from "./arithmetic.js";
import {crossEntropy, forward, imageLosses, initNetwork, softmax, step} from "./network.js";
import {ORDER, SAMPLE, permutation, stream} from "./random.js";

/** @import {Preparation, Settings} from "./network.js" */

const CHUNK = 100; // images that are scored at once, at least

/** Images without their black pixels, and their labels. */
export class Images {
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

  /** Return some images and their labels, by their numbers. @param {Uint32Array} order */
  batch(order) {
    const X = new Sparse(order, this.pixels, this.numbers, this.places, this.starts);
    return {X, labels: Uint16Array.from(order, image => this.labels[image])};
  }
}

export class Training {
  /** @param {Settings} settings @param {Record<string, Images>} data has train, validation, test
   * @param {Preparation} preparation */
  constructor(settings, data, preparation) {
    const n = settings.batch_size, {train, validation} = data;
    if (n > train.labels.length)
      throw new Error(`batch_size is more than the ${train.labels.length} training images.`);
    this.settings = settings;
    this.data = data;
    this.iteration = 0;
    this.epochs = []; // their losses and scores
    this.test = undefined; // the score on the test images
    this.room = Math.max(n, CHUNK);
    this.network = initNetwork(settings, preparation, this.room);
    this.count = Math.floor(train.labels.length / n); // batches in an epoch
    this.order = new Uint32Array();
    // Training images, to score after each epoch
    this.trainSample = permutation(stream(settings.seed, SAMPLE), train.labels.length)
      .subarray(0, validation.labels.length).sort();
    this.losses = new Float64Array(this.count * n); // of the epoch's images so far
  }

  /** Train. Yield the loss of each step's batch; nothing after each part of the scores. */
  *run() {
    const {settings: {iterations}, data: {train, validation, test}, count} = this;
    while (this.iteration < iterations) {
      yield crossEntropy(this.step());
      const {iteration} = this, isLast = iteration === iterations;
      if (!isLast && iteration % count !== 0) continue;
      const scores = [yield* this.score(train, this.trainSample), yield* this.score(validation)];
      const epoch = Math.ceil(iteration / count), steps = iteration - (epoch - 1) * count;
      const loss = crossEntropy(this.losses.slice(0, steps * this.settings.batch_size));
      this.epochs.push({epoch, iteration, loss, scores});
      if (isLast) this.test = yield* this.score(test);
    }
  }

  step() {
    const {settings, data: {train}, count, iteration} = this, {batch_size: n, seed} = settings;
    const place = (iteration % count) * n;
    if (place === 0)
      this.order = permutation(stream(seed, ORDER, iteration / count), train.labels.length);
    const {X, labels} = train.batch(this.order.subarray(place, place + n));
    const losses = step(this.network, X, labels, settings, iteration);
    this.losses.set(losses, place);
    this.iteration++;
    return losses;
  }

  /** Return the mean loss and the accuracy on some images. Yield in between.
   * @param {Images} images */
  *score(images, order = Uint32Array.from(images.labels.keys())) {
    const {room, network} = this, n = order.length;
    const y = new Matrix(room, network.layers[network.layers.length - 1].a.columns);
    const losses = new Float64Array(n);
    let right = 0;
    for (let start = 0; start < n; start += room) {
      const {X, labels} = images.batch(order.subarray(start, start + room));
      const z = forward(network, X);
      losses.set(imageLosses(z, labels, softmax(z, y)), start);
      labels.forEach((label, row) => {
        const logits = z.numbers.subarray(row * z.columns, (row + 1) * z.columns);
        right += Number(logits.indexOf(Math.max(...logits)) === label);
      });
      yield;
    }
    return {loss: crossEntropy(losses), accuracy: right / n};
  }
}
