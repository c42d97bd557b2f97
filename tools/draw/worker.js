// The worker trains, a tenth of a second at a time, and tells the page in between. So the page
// never stalls.

import {md5, modelFile, readBytes, readNpz, streamed} from "./arrays.js";
import {Images, Training} from "./training.js";

const TICK = 100; // milliseconds of work between two messages

let number = 0; // of the training
let isRunning = false;
let images, training, run, timer;
let losses = []; // of the steps since the last message

// A new training, or whether the last one goes on
onmessage = ({data: {start, isRunning: next}}) => {
  isRunning = next;
  if (start) begin(start).catch(fail);
  else tick();
};

/** Begin a training. The first one brings the files of the images, gzipped and in base64. */
async function begin({number: own, settings, page, files}) {
  [number, training, losses] = [own, undefined, []];
  images ??= Promise.all(files.map(file => unpack(file, page)));
  const [train, validation, test] = await images;
  if (number !== own) return; // there is a newer one
  training = new Training(settings, {train, validation, test}, page);
  run = training.run();
  tick();
}

/** Train for a while, then let the page be heard. */
function tick() {
  clearTimeout(timer);
  if (!isRunning || !training) return;
  try {
    const end = performance.now() + TICK;
    let isDone = false;
    while (!isDone && performance.now() < end) {
      const {done, value} = run.next();
      if (value !== undefined) losses.push(value);
      isDone = done;
    }
    postMessage(newsOf(training, isDone));
    losses = [];
    if (!isDone) timer = setTimeout(tick);
  } catch (error) {
    fail(error);
  }
}

/** Return what the page is told; at the end, with the MD5. */
function newsOf({iteration, epochs, test, network}, isDone) {
  const file = modelFile(network);
  const loss = losses.length ? losses.reduce((a, b) => a + b) / losses.length : undefined;
  return {number, iteration, loss, epochs, test, file, md5: isDone ? md5(file) : undefined};
}

/** Return the images of a file, if it is the one in dvc.lock. */
async function unpack({path, md5: expected, text}, page) {
  const unpacked = async () => streamed(new DecompressionStream("gzip"), readBytes(text));
  const bytes = await unpacked().catch(error => {
    const what = `The page's ${path} cannot be unpacked (${error.message})`;
    throw new Error(`${what}: the page is damaged, or the browser too old.`);
  });
  if (md5(bytes) !== expected)
    throw new Error(`This page is damaged: its ${path} is not the one in dvc.lock. Load it again.`);
  const {images, labels: t} = readNpz(bytes), classes = page.classes.length, n = t.length / classes;
  const labels = Uint16Array.from({length: n}, (_, i) =>
    t.subarray(i * classes, (i + 1) * classes).indexOf(1));
  return new Images(images, labels, images.length / n);
}

/** Tell the page what went wrong. @param {any} error */
function fail(error) {
  const step = (training?.iteration ?? 0) + 1;
  const diverged = `Training diverged at step ${step}: its numbers are no longer finite.`;
  const advice = "Lower learning_rate, or choose a smaller weight_init_std.";
  const text = error instanceof RangeError ? `${diverged} ${advice}` : error.message;
  training = undefined;
  postMessage({number, error: text});
}
