// The worker trains, a tenth of a second at a time, and tells the page in between. So the page
// never stalls.

import {md5, modelFile, readNpz} from "./arrays.js";
import {Images} from "./batches.js";
import {learningRate} from "./network.js";
import {readBytes} from "./predict.js";
import {Training} from "./training.js";

/** @import {Preparation, Settings} from "./network.js" */
/** @import {Epoch, Score} from "./training.js" */
/** @typedef {{path: string, md5: string, text: string}} Packed a file: gzip, in base64 */
/** @typedef {{label: number, bytes: Uint8Array<ArrayBuffer>, logits: number[]}} Row of a batch */
/** @typedef {{batch: Row[], loss: number, rate: number}} Step */
/** @typedef {{order: "start", number: number, settings: Settings, page: Preparation,
 *   files: Packed[]} | {order: "run" | "pause" | "step"}} Order */
/** @typedef {{number: number, iteration: number, loss?: number, recent?: number,
 *   epoch: number, epochs: Epoch[], file: Uint8Array<ArrayBuffer>, step?: Step, md5?: string,
 *   test?: Score}} News of a training: `loss` is that of the epoch so far, `recent`
 *   that of the steps since the last news */
/** @typedef {{number: number, error: string}} Failure */

const TICK = 100, ROWS = 5; // milliseconds of work in between; images of a batch to show

/** @type {{page?: Preparation, images?: Promise<Images[]>, training?: Training, number: number,
 *   run?: Generator, timer?: ReturnType<typeof setTimeout>, told: number, losses: number[]}} */
const work = {number: 0, told: 0, losses: []}; // `told` epochs are known to the page

/** Obey an order. @param {Order} message */
async function obey(message) {
  if (message.order === "start") await start(message);
  else if (!work.training) return; // it failed
  else if (message.order === "run") tick(work.training);
  else if (message.order === "step") oneStep(work.training);
  else tell(work.training);
}

/** @param {Extract<Order, {order: "start"}>} message */
async function start({number, settings, page, files}) {
  Object.assign(work, {number, page, training: undefined, told: 0, losses: []});
  work.images ??= Promise.all(files.map(file => unpack(file, page)));
  const [train, validation, test] = await work.images;
  work.training = new Training(settings, {train, validation, test}, page);
  work.run = work.training.run();
  tell(work.training);
}

/** Take a step, and say whether it was the last one. */
function advance() {
  const training = /** @type {Training} */ (work.training), before = training.iteration;
  const isDone = work.run?.next().done ?? true;
  if (training.iteration > before) work.losses.push(training.loss(true));
  return isDone;
}

/** @param {Training} training */
function oneStep(training) {
  while (training.isScoring) advance();
  advance();
  const {X, network: {layers}, iteration, settings} = training;
  const {numbers, columns} = layers[layers.length - 1].a;
  const batch = Array.from(training.labels.subarray(0, ROWS), (label, row) => {
    const bytes = new Uint8Array(X.columns);
    for (let k = X.begins[row]; k < X.ends[row]; k++) bytes[X.places[k]] = X.numbers[k];
    return {label, bytes, logits: [...numbers.subarray(row * columns, (row + 1) * columns)]};
  });
  const step = {batch, loss: training.loss(true), rate: learningRate(settings, iteration - 1)};
  let isDone = false;
  while (!isDone && (training.isScoring || iteration === settings.iterations)) isDone = advance();
  tell(training, isDone, step);
}

// Orders are obeyed one after the other, and the first one waits for the data
let last = Promise.resolve();
onmessage = ({data: message}) => {
  last = last.then(() => {
    clearTimeout(work.timer); // an order ends the one before, also if it is the same
    return obey(message);
  }).catch(fail);
};

/** Return the images of a file, if it is the one in dvc.lock.
 * @param {Packed} file @param {Preparation} page */
async function unpack({path, md5: expected, text}, page) {
  if (typeof DecompressionStream === "undefined")
    throw new Error("This browser is too old to train; get a newer one.");
  const bytes = await decompressed(text).catch(error => {
    throw new Error(`This page is damaged: its ${path} cannot be unpacked (${error.message}).`);
  });
  if (md5(bytes) !== expected)
    throw new Error(`This page is damaged: its ${path} is not the one in dvc.lock. Load it again.`);
  const {images, labels: t} = readNpz(bytes), classes = page.classes.length, n = t.length / classes;
  const labels = Uint16Array.from({length: n}, (_, i) =>
    t.subarray(i * classes, (i + 1) * classes).indexOf(1));
  return new Images(images, labels, images.length / n);
}

/** Without a Blob: WebKit's workers cannot read one in a page that is a file. */
async function decompressed(text) {
  const {readable, writable} = new DecompressionStream("gzip"), writer = writable.getWriter();
  const content = new Response(readable).arrayBuffer();
  const [bytes] = await Promise.all([content, writer.write(readBytes(text)), writer.close()]);
  return new Uint8Array(bytes);
}

/** Train for a while, then let the page be heard. @param {Training} training */
function tick(training) {
  const end = performance.now() + TICK;
  let isDone = false;
  while (!isDone && performance.now() < end) isDone = advance();
  tell(training, isDone);
  const again = () => { try { tick(training); } catch (error) { fail(error); } };
  if (!isDone) work.timer = setTimeout(again);
}

/** @param {Training} training @param {Step=} step */
function tell(training, isDone = false, step) {
  const {iteration, count, network, settings} = training, {losses, number} = work;
  const file = modelFile(network, settings, /** @type {Preparation} */ (work.page));
  const epochs = training.epochs.slice(work.told), epoch = Math.ceil(iteration / count);
  const loss = iteration ? training.loss() : undefined;
  const recent = losses.length ? losses.reduce((a, b) => a + b) / losses.length : undefined;
  const result = isDone ? {md5: md5(file), test: training.test} : {};
  /** @type {News} */
  const news = {number, iteration, loss, recent, epoch, epochs, file, step, ...result};
  postMessage(news);
  work.told += epochs.length;
  work.losses = [];
}

/** @param {unknown} error */
function fail(error) {
  const {training, number} = work, step = (training?.iteration ?? 0) + 1;
  const advice = "Lower learning_rate, or choose a smaller weight_init_std.";
  const diverged = `Training diverged at step ${step}: its numbers are no longer finite. ${advice}`;
  const text = error instanceof Error ? error.message : String(error);
  work.training = undefined;
  /** @type {Failure} */
  const failure = {number, error: error instanceof RangeError ? diverged : text};
  postMessage(failure);
}
