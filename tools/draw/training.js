// mlp/training.py in JavaScript: the loop over epochs, in pieces, so that the worker can answer the
// page in between.

const CHUNK = 100; // images that are scored at once, at least

class Training {
  // `settings` are those of params.yaml's section train; `data` has Images: train, validation and
  // test.
  constructor(settings, data, preparation) {
    const n = settings.batch_size, {train, validation} = data;
    if (n > train.labels.length)
      throw new Error(`batch_size is more than the ${train.labels.length} training images.`);
    Object.assign(this, {settings, data, iteration: 0, epochs: [], test: null, scoring: false});
    this.room = Math.max(n, CHUNK);
    this.network = initNetwork(settings, preparation, this.room);
    this.count = Math.floor(train.labels.length / n); // batches in an epoch
    this.X = train.newBatch(n);
    const some = permutation(stream(settings.seed, SAMPLE), train.labels.length);
    // Training images, to score after each epoch
    this.seen = some.subarray(0, validation.labels.length).sort();
    this.shifted = new Float64Array(this.count * n); // the terms of the epoch's loss
    this.total = new Float64Array(this.count * n);
  }

  // Train. Yield after each step, and after each part of the scores.
  *run() {
    const {settings, data: {train, validation, test}, count} = this;
    while (this.iteration < settings.iterations) {
      this.step();
      this.scoring = this.iteration % count === 0 || this.iteration === settings.iterations;
      yield;
      if (!this.scoring) continue;
      const scores = [yield* this.score(train, this.seen), yield* this.score(validation)];
      this.epochs.push({
        epoch: Math.ceil(this.iteration / count),
        iteration: this.iteration,
        loss: this.loss(),
        scores,
      });
      if (this.iteration === settings.iterations) this.test = yield* this.score(test);
      this.scoring = false;
    }
  }

  step() {
    const {
        settings,
        data: {train},
        count,
        iteration,
      } = this,
      n = settings.batch_size,
      place = (iteration % count) * n;
    if (place === 0)
      this.order = permutation(
        stream(settings.seed, ORDER, iteration / count),
        train.labels.length,
      );
    this.labels = train.choose(this.X, this.order.subarray(place, place + n));
    this.terms = step(this.network, this.X, this.labels, settings, iteration);
    this.shifted.set(this.terms.shifted, place);
    this.total.set(this.terms.total, place);
    this.iteration++;
  }

  // Return the mean loss of the epoch's steps so far, each before its step.
  loss() {
    const end = ((this.iteration - 1) % this.count + 1) * this.settings.batch_size;
    return crossEntropy({
      shifted: this.shifted.subarray(0, end),
      total: this.total.subarray(0, end),
    });
  }

  // Return the mean loss and the accuracy on some images. Yield in between.
  *score(images, order = Uint32Array.from(images.labels.keys())) {
    const X = images.newBatch(this.room),
      y = new Matrix(this.room, this.network.layers.at(-1).a.columns);
    const shifted = new Float64Array(order.length), total = new Float64Array(order.length);
    let right = 0;
    for (let start = 0; start < order.length; start += this.room) {
      const labels = images.choose(X, order.subarray(start, start + this.room)),
        z = forward(this.network, X);
      const terms = lossTerms(z, labels, softmax(z, y));
      shifted.set(terms.shifted, start);
      total.set(terms.total, start);
      labels.forEach((label, row) => {
        const logits = z.numbers.subarray(row * z.columns, (row + 1) * z.columns);
        right += logits.indexOf(Math.max(...logits)) === label;
      });
      yield;
    }
    return {loss: crossEntropy({shifted, total}), accuracy: right / order.length};
  }
}
