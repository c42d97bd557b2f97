// The worker trains, a tenth of a second at a time, and tells the page in between. So the page never stalls.
"use strict";

const TICK = 100; // milliseconds
const ROWS = 5; // images of a batch to show

let page, data; // what the page sent first; the images
let number, settings, training, run; // the page's number of a training, the training, and its generator
let timer = 0, seconds = 0, told = 0; // epochs that the page knows of

const ORDERS = {
  async open(message) {
    page = message;
    const [train, validation, test] = await Promise.all(page.files.map(unpack));
    data = {train, validation, test};
  },
  start(message) {
    ({number, settings} = message);
    clearTimeout(timer);
    training = new Training(settings, data, page);
    run = training.run();
    seconds = told = 0;
    tell();
  },
  run() {
    clearTimeout(timer); // an order given twice is one
    tick();
  },
  pause() {
    clearTimeout(timer);
    tell();
  },
  step() {
    clearTimeout(timer);
    while (training.scoring) run.next();
    run.next();
    const {X, network, iteration} = training, {a} = network.layers.at(-1), labels = Array.from(training.labels);
    const batch = labels.slice(0, ROWS).map((label, row) => {
      const bytes = new Uint8Array(X.columns), logits = Array.from(a.numbers.subarray(row * a.columns, (row + 1) * a.columns));
      for (let k = X.begins[row]; k < X.ends[row]; k++) bytes[X.places[k]] = X.numbers[k];
      return {label, bytes, logits};
    });
    const step = {batch, loss: crossEntropy(training.terms), rate: learningRate(settings, iteration - 1)};
    let isDone = false;
    while (!isDone && (training.scoring || iteration === settings.iterations)) isDone = run.next().done;
    tell({step, ...(isDone && result())});
  },
};

// Orders are obeyed one after the other; the first one waits until the data are there.
let last = Promise.resolve();
onmessage = ({data: message}) => { last = last.then(() => ORDERS[message.order](message)).catch(fail); };

// Return the images of a file, if it is the one in dvc.lock.
async function unpack({path, md5: expected, text}) {
  if (typeof DecompressionStream === "undefined") throw new Error("This browser is too old to train; get a newer one.");
  const packed = new Blob([readBytes(text)]).stream().pipeThrough(new DecompressionStream("gzip"));
  const bytes = new Uint8Array(await new Response(packed).arrayBuffer().catch(() => new ArrayBuffer(0)));
  if (md5(bytes) !== expected) throw new Error(`This page is damaged: its ${path} is not the one in dvc.lock. Get the page again.`);
  const {images, labels} = readNpz(bytes), classes = page.classes.length, n = labels.length / classes;
  return new Images(images, Uint16Array.from({length: n}, (_, i) => labels.subarray(i * classes, (i + 1) * classes).indexOf(1)), images.length / n);
}

function tick() {
  const began = performance.now();
  let isDone = false;
  while (!isDone && performance.now() < began + TICK) isDone = run.next().done;
  seconds += (performance.now() - began) / 1000;
  tell(isDone && result());
  if (!isDone) timer = setTimeout(() => { try { tick(); } catch (error) { fail(error); } });
}

const file = () => modelFile(training.network, settings, page);
const result = () => ({md5: md5(file()), test: training.test});

function tell(more) {
  const {iteration, count, epochs} = training;
  const loss = iteration ? training.loss() : undefined; // of the epoch so far
  postMessage({number, iteration, seconds, loss, epoch: Math.ceil(iteration / count), epochs: epochs.slice(told), file: file(), ...more});
  told = epochs.length;
}

function fail(error) {
  clearTimeout(timer);
  const diverged = `Training diverged at step ${training?.iteration + 1}: its numbers are no longer finite. ` +
    "Lower learning_rate, or choose a smaller weight_init_std.";
  postMessage({number, error: error instanceof RangeError ? diverged : error.message});
}
