// mlp/training.py in JavaScript: the loop over epochs, in pieces, so that the worker can answer the
// page in between.

import {Matrix} from "./arithmetic.js";
import {crossEntropy, forward, initNetwork, lossTerms, softmax, step} from "./network.js";
import {ORDER, SAMPLE, permutation, stream} from "./random.js";

/** @import {Images} from "./batches.js" */
/** @import {Preparation, Settings} from "./network.js" */
/** @typedef {{loss: number, accuracy: number}} Score */
/** @typedef {{epoch: number, iteration: number, loss: number, scores: Score[]}} Epoch */

const CHUNK = 100; // images that are scored at once, at least

export class Training {
  /** @param {Settings} settings
   * @param {{train: Images, validation: Images, test: Images}} data
   * @param {Preparation} preparation */
  constructor(settings, data, preparation) {
    const n = settings.batch_size, {train, validation} = data;
    if (n > train.labels.length)
      throw new Error(`batch_size is more than the ${train.labels.length} training images.`);
    this.settings = settings;
    this.data = data;
    this.iteration = 0;
    this.isScoring = false;
    /** @type {Epoch[]} */
    this.epochs = [];
    /** @type {Score | undefined} */
    this.test = undefined;
    this.room = Math.max(n, CHUNK);
    this.network = initNetwork(settings, preparation, this.room);
    this.count = Math.floor(train.labels.length / n); // batches in an epoch
    this.X = train.newBatch(n);
    this.order = new Uint32Array();
    this.labels = new Uint16Array();
    // Training images, to score after each epoch
    this.trainSample = permutation(stream(settings.seed, SAMPLE), train.labels.length)
      .subarray(0, validation.labels.length).sort();
    // Of the epoch's steps so far
    this.terms = {
      shifted: new Float64Array(this.count * n), total: new Float64Array(this.count * n),
    };
  }

  /** Train. Yield after each step, and after each part of the scores. */
  *run() {
    const {settings, data: {train, validation, test}, count} = this;
    while (this.iteration < settings.iterations) {
      this.step();
      const isLast = this.iteration === settings.iterations;
      this.isScoring = isLast || this.iteration % count === 0;
      yield;
      if (!this.isScoring) continue;
      const scores = [yield* this.score(train, this.trainSample), yield* this.score(validation)];
      const {iteration} = this, epoch = Math.ceil(iteration / count);
      this.epochs.push({epoch, iteration, loss: this.loss(), scores});
      if (isLast) this.test = yield* this.score(test);
      this.isScoring = false;
    }
  }

  step() {
    const {settings, data: {train}, count, iteration, X} = this, {batch_size: n, seed} = settings;
    const place = (iteration % count) * n;
    if (place === 0)
      this.order = permutation(stream(seed, ORDER, iteration / count), train.labels.length);
    this.labels = train.choose(X, this.order.subarray(place, place + n));
    const terms = step(this.network, X, this.labels, settings, iteration);
    this.terms.shifted.set(terms.shifted, place);
    this.terms.total.set(terms.total, place);
    this.iteration++;
  }

  /** Return the mean loss of the epoch's steps so far, or of the last one, each before its step. */
  loss(ofLast = false) {
    const n = this.settings.batch_size, end = ((this.iteration - 1) % this.count + 1) * n;
    const start = ofLast ? end - n : 0, {shifted, total} = this.terms;
    return crossEntropy({
      shifted: shifted.subarray(start, end), total: total.subarray(start, end),
    });
  }

  /** Return the mean loss and the accuracy on some images. Yield in between.
   * @param {Images} images @returns {Generator<undefined, Score>} */
  *score(images, order = Uint32Array.from(images.labels.keys())) {
    const {room, network} = this, X = images.newBatch(room), n = order.length;
    const y = new Matrix(room, network.layers[network.layers.length - 1].a.columns);
    const shifted = new Float64Array(n), total = new Float64Array(n);
    let right = 0;
    for (let start = 0; start < n; start += room) {
      const labels = images.choose(X, order.subarray(start, start + room));
      const z = forward(network, X), terms = lossTerms(z, labels, softmax(z, y));
      shifted.set(terms.shifted, start);
      total.set(terms.total, start);
      labels.forEach((label, row) => {
        const logits = z.numbers.subarray(row * z.columns, (row + 1) * z.columns);
        right += Number(logits.indexOf(Math.max(...logits)) === label);
      });
      yield;
    }
    return {loss: crossEntropy({shifted, total}), accuracy: right / n};
  }
}
