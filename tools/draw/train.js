// The page's part that trains: parameters go in; curves, pictures and in the end the bytes of a
// model come out.

import {showCurves} from "./curves.js";
import {
  $, drawBytes, drawWeights, fill, fillTable, grouped, onColours, original, percent, stored,
} from "./dom.js";
import {answer, drawing, tellShared, useDrawing, useModel} from "./page.js";
import {readModel} from "./predict.js";
import {readStrokes, writeStrokes} from "./share.js";

/** @import {Settings} from "./network.js" */
/** @import {Epoch} from "./training.js" */
/** @import {Failure, News} from "./worker.js" */
/** @typedef {import("./curves.js").Curve} Curve */

/** @type {Record<string, any>} the page cannot do otherwise */
const FIXED = {
  "train.arithmetic": "exact", "train.optimizer": "sgd", "train.weight_decay": 0,
  "train.max_norm": 0, "train.input_dropout": 0, "train.hidden_dropout": 0,
  "train.label_smoothing": 0, "train.patience": 0, "train.keep": "last", "distort.rotation": 0,
  "distort.shear": 0, "distort.scaling": 0, "distort.shift": 0, "distort.elastic": 0,
};
const NEURONS = 100; // the most whose weights are shown
const {proof} = stored, fields = $("settings").elements;
const QUICK = {iterations: Math.min(1000, proof?.params.train.iterations ?? 1000)};

/** @type {{name: string, says: string, settings: object}[]} */
const PRESETS = [
  {
    name: `${grouped(QUICK.iterations)} steps`, settings: QUICK,
    says: "A first look: a few seconds, and the network reads most digits.",
  },
  {
    name: "A rate too large", settings: {...QUICK, learning_rate: 30},
    says: "Each step jumps too far: the loss leaps about, and nothing is learned for long.",
  },
  {
    name: "No hidden layer", settings: {...QUICK, hidden_sizes: ""},
    says: "Each pixel votes for each class. Simple digits work; curves that look alike do not.",
  },
  {
    name: "One neuron", settings: {...QUICK, hidden_sizes: "1"},
    says: "All that the network sees must pass through one number. It can tell few classes apart.",
  },
  {
    name: "The whole training", settings: {},
    says: "With all the steps of dvc.lock, your browser should make the very bytes of its model.",
  },
];

/** @typedef {"none" | "running" | "paused" | "done" | "failed"} Phase */
/** @type {Phase} */
let phase = "none";
/** @type {Worker | undefined} */
let worker;
let frame = 0; // the browser's number of the next frame, if one is asked for
let promised = ""; // the MD5 that a link states
/** @typedef {{iteration: number, name: string}} Reading of the drawing, from a step on */
const newTraining = (number = 0) => ({
  number, settings: readSettings(), seconds: 0, resumed: 0, image: "",
  /** @type {News | undefined} */ latest: undefined,
  /** @type {Epoch[]} */ epochs: [],
  /** @type {Curve} */ recent: [],
  /** @type {Reading[]} */ trail: [],
});
/** @type {ReturnType<typeof newTraining>} */
let training;

/** @param {any} field @returns {any} */
const valueOf = ({type, checked, value}) =>
  type === "checkbox" ? checked : type === "number" ? Number(value) : value;

/** Return the values of section train. A field with a wrong one says so. @returns {Settings} */
function readSettings() {
  const settings = Object.fromEntries(Array.from(fields, field => [field.name, valueOf(field)]));
  const {weight_init_std: std, learning_rate: rate, momentum, nesterov} = settings;
  const expect = (name, condition, what = "") =>
    fields[name].setCustomValidity(condition ? "" : `Expected ${what}.`);
  settings.hidden_sizes = (settings.hidden_sizes.match(/\d+/g) ?? []).map(Number);
  const isName = std === "glorot" || std === "he";
  if (!isName) settings.weight_init_std = Number(std);
  const isSize = 0 < Number(std) && Number(std) < 1e9;
  expect("weight_init_std", isName || isSize, "glorot, he, or a number above 0");
  expect("learning_rate", rate > 0, "a number above 0");
  expect("nesterov", momentum > 0 || !nesterov, "momentum above 0 with nesterov");
  expect("warmup", settings.warmup <= settings.iterations, "no more than iterations");
  return settings;
}

/** Write values into the fields; the values of dvc.lock, where there is none.
 * @param {Record<string, any>} values */
function writeSettings(values) {
  for (const field of fields) {
    const value = values[field.name] ?? proof?.params.train[field.name];
    field.checked = value === true || value === "true";
    field.value = Array.isArray(value) ? value.join(", ") : value;
  }
  showSettings();
}

/** Return the options of `dvc exp run` that turn the pipeline's parameters into these.
 * @param {Settings} settings */
function options(settings) {
  const dotted = Object.entries(settings).map(([key, value]) => [`train.${key}`, value]);
  return [...dotted, ...Object.entries(FIXED)].flatMap(([key, value]) => {
    const [section, name] = String(key).split("."), locked = proof?.params[section][name];
    const text = Array.isArray(value) ? `'${key}=[${value.join(", ")}]'` : `${key}=${value}`;
    return JSON.stringify(value) === JSON.stringify(locked) ? [] : [`-S ${text}`];
  });
}

function showSettings() {
  const settings = readSettings(), changes = options(settings);
  $("changed").hidden = !(changes.length && $("settings").checkValidity());
  $("command").textContent = ["dvc exp run", ...changes].join(" ");
  fields.nesterov.parentElement.hidden = !(settings.momentum > 0 || settings.nesterov);
  const now = JSON.stringify(settings);
  [...$("presets").children].forEach((button, n) => {
    const isChosen = now === button.dataset.settings;
    button.setAttribute("aria-pressed", isChosen);
    if (isChosen) $("about").textContent = PRESETS[n].says;
  });
}

/** Make a button for each preset. It knows the settings that it makes. */
function showPresets() {
  fill("presets", PRESETS.length, '<button type="button"></button>').forEach((button, n) => {
    const {name, settings} = PRESETS[n];
    button.textContent = name;
    button.onclick = () => writeSettings(settings);
    button.onclick();
    button.dataset.settings = JSON.stringify(readSettings());
  });
}

function start() {
  const settings = readSettings();
  if (!$("settings").checkValidity()) $("more").open = true; // else no field could have the focus
  if (!$("settings").reportValidity()) return false;
  /** @type {object[]} */
  let files = [];
  if (!worker) {
    // A worker needs a file of its own, or a blob; this page is one file
    try {
      worker = new Worker(URL.createObjectURL(new Blob([$("worker").textContent])));
    } catch (error) {
      $("complaint").textContent = `This browser starts no worker, so it cannot train: ${error}`;
      return false;
    }
    worker.onmessage = ({data}) => hear(data);
    worker.onerror = ({message}) => hear({error: message ?? "no worker", number: training.number});
    files = proof?.files.map(each => ({...each, text: $(each.path).textContent})) ?? [];
    $("now").textContent = "Unpacking the images…";
  }
  training = newTraining(training.number + 1);
  const {number} = training;
  worker.postMessage({order: "start", number, settings, page: stored, files});
  return true;
}

/** Give an order, after which the phase is the next one.
 * @param {"run" | "pause" | "step"} name @param {Phase} next */
function order(name, next) {
  if (phase === "none" && !start()) return;
  worker?.postMessage({order: name});
  if (name === "run") {
    $("step").hidden = true;
    training.resumed = performance.now();
  }
  showPhase(next);
}

function restart() {
  worker?.postMessage({order: "pause"});
  training = newTraining(training.number + 1); // late messages are of another training
  useModel(original);
  for (const id of ["step", "proof", "curves", "first"]) $(id).hidden = true;
  for (const id of ["complaint", "now", "trail"]) $(id).textContent = "";
  $("progress").value = 0;
  showPhase("none");
}

/** @param {Phase} next */
function showPhase(next) {
  if (phase === "running" && next !== "running") training.seconds = secondsOf(training);
  phase = next;
  const isIdle = phase === "none", hasEnded = phase === "done" || phase === "failed";
  for (const field of [...fields, ...$("presets").children]) field.disabled = !isIdle;
  $("go").textContent = phase === "running" ? "Pause" : phase === "paused" ? "Go on" : "Start";
  $("go").disabled = hasEnded;
  $("one").disabled = hasEnded || phase === "running";
  $("restart").disabled = isIdle;
}

/** Return the seconds since the start, less the pauses. @param {typeof training} training */
const secondsOf = ({seconds, resumed}) =>
  seconds + (phase === "running" ? (performance.now() - resumed) / 1000 : 0);

/** @param {News | Failure} message */
function hear(message) {
  if (message.number !== training.number) return;
  if ("error" in message) {
    $("complaint").textContent = message.error;
    useModel(original);
    return showPhase("failed");
  }
  const {iteration, recent, epochs, step, md5} = message;
  training.epochs.push(...epochs);
  if (recent !== undefined) training.recent.push([iteration, recent]);
  if (step && training.latest) showStep(message, training.latest);
  training.latest = message;
  if (md5) showResult(message);
  frame ||= requestAnimationFrame(showProgress);
}

/** Return the network of a message. @param {News} message */
function networkOf({file, md5, test}) {
  const {activation} = training.settings, accuracy = test?.accuracy;
  return readModel(file, {...stored, activation, arithmetic: "exact", accuracy, md5});
}

function showProgress() {
  frame = 0;
  const {latest, settings: {iterations}} = training;
  if (!latest || phase === "none" || phase === "failed") return;
  const {iteration, loss, epoch, step} = latest;
  [$("progress").max, $("progress").value] = [iterations, iteration];
  const speed = iteration / secondsOf(training), left = (iterations - iteration) / speed;
  const pace = phase === "done" || !(speed > 0) ? ""
    : iteration === iterations ? ", and now the scores"
    : `, ${grouped(speed)} a second, ${grouped(left)} s left`;
  const losses = loss === undefined ? "" : ` Loss of epoch ${epoch} so far: ${loss.toFixed(4)}.`;
  const steps = `${grouped(iteration)} of ${grouped(iterations)} steps`;
  $("now").textContent = `${steps}${pace}.${losses}`;
  showPlots();
  const network = networkOf(latest), W = step ? changeOf(latest) : network.layers[0].W;
  $("first").hidden = false;
  fill("weights", Math.min(W.columns, NEURONS), '<canvas class="pixels"></canvas>')
    .forEach((canvas, neuron) => drawWeights(canvas, W, neuron));
  $("weights-title").textContent = step
    ? "How far the last step moved the first layer's weights" : "Weights of the first layer";
  try { useModel(network); } catch { useModel(original); } // it diverges, as the worker will notice
  showTrail(iteration);
}

function showPlots() {
  const {epochs, recent, settings: {iterations}} = training;
  const after = (/** @type {(epoch: Epoch) => number} */ pick) =>
    epochs.map(each => /** @type {[number, number]} */ ([each.iteration, pick(each)]));
  $("curves").hidden = false;
  showCurves("losses", iterations, [
    {name: "training", points: after(each => each.scores[0].loss)},
    {name: "validation", points: after(each => each.scores[1].loss)},
    {name: "running", points: recent},
  ], value => value.toFixed(4));
  showCurves("accuracies", iterations, [
    {name: "training", points: after(each => 100 * each.scores[0].accuracy)},
    {name: "validation", points: after(each => 100 * each.scores[1].accuracy)},
  ], value => `${value.toFixed(2)} %`);
}

/** Tell how the answer to the drawing has changed since it was drawn. */
function showTrail(iteration) {
  const found = answer(), image = String(found?.image);
  const name = stored.classes[found?.ranking[0] ?? 0];
  if (image !== training.image) Object.assign(training, {image, trail: []});
  const {trail} = training;
  if (trail[trail.length - 1]?.name !== name) trail.push({iteration, name});
  const words = trail.slice(-4).map(each => `${each.name} from step ${grouped(each.iteration)}`);
  const sure = found ? `; now ${percent(found.probabilities[found.ranking[0]])} sure` : "";
  $("trail").textContent = found ? `Your drawing is read as ${words.join(", ")}${sure}.` : "";
}

/** Return how far the last step moved the weights of the first layer. @param {News} message */
const changeOf = ({step}) => /** @type {any} */ (step).change;

/** One step in numbers: its batch, and how far it moved the parameters.
 * @param {News} message @param {News} before */
function showStep(message, before) {
  const {batch, loss, rate} = /** @type {NonNullable<News["step"]>} */ (message.step);
  const [old, now] = [before, message].map(each => networkOf(each).layers);
  const moves = now.flatMap(({W, b}, l) => [
    {name: `W${l + 1}`, to: W, from: old[l].W}, {name: `b${l + 1}`, to: b, from: old[l].b},
  ]).map(({name, to: {rows, columns, numbers}, from}) =>
    ({name, rows, columns, numbers: numbers.map((x, i) => x - from.numbers[i])}));
  Object.assign(message.step ?? {}, {change: moves[0]});
  $("step").hidden = false;
  $("step-loss").textContent =
    `The batch has ${training.settings.batch_size} images; here are the first. Its loss before ` +
    `the step was ${loss.toFixed(6)}, the learning rate ${rate}.`;
  const heads = ["image", "class", ...stored.classes.map(name => `logit ${name}`)];
  fillTable("batch", heads, ...batch.map(({label, bytes, logits}) => {
    const canvas = document.createElement("canvas");
    canvas.className = "pixels";
    drawBytes(canvas, bytes);
    return [canvas, stored.classes[label], ...logits.map(logit => logit.toFixed(3))];
  }));
  const columnsOfMoves = ["parameter", "shape", "largest move", "mean move"];
  fillTable("moves", columnsOfMoves, ...moves.map(({name, rows, columns, numbers}) => {
    const sizes = numbers.map(Math.abs), mean = sizes.reduce((a, b) => a + b, 0) / sizes.length;
    const most = sizes.reduce((a, b) => Math.max(a, b));
    return [name, `${rows} × ${columns}`, most.toPrecision(3), mean.toPrecision(3)];
  }));
}

/** Show the end of a training. @param {News} message */
async function showResult({file, md5, test}) {
  showPhase("done");
  const {settings, seconds} = training, changes = options(settings), isSame = md5 === proof?.model;
  const score = test && `${(100 * test.accuracy).toFixed(2)} % of the test images correctly`;
  const same = isSame ? `The same bytes as in dvc.lock: MD5 ${md5}.`
    : `Not the same bytes: MD5 ${md5}; in dvc.lock ${proof?.model}.`;
  const linked = !promised ? "" : md5 === promised ? " They are the bytes that the link states."
    : ` The link states another MD5: ${promised}.`;
  $("bytes").textContent = (!changes.length ? same
    : `In Python, the command in the settings must give models/mlp.npz this MD5: ${md5}.`) + linked;
  $("results").textContent =
    `${grouped(settings.iterations)} steps in ${seconds.toFixed(1)} s. The network classifies ` +
    `${score}, with a loss of ${test?.loss.toFixed(5)}. Draw above: it answers.`;
  URL.revokeObjectURL($("save").href);
  $("save").href = URL.createObjectURL(new Blob([file]));
  $("proof").hidden = false;
  // Chromium alone has it
  const {userAgentData} = /** @type {any} */ (navigator);
  const told = await userAgentData?.getHighEntropyValues(["architecture", "bitness"]);
  const processor = told?.architecture
    ? `${told.architecture} ${told.bitness}` : navigator.platform;
  const result = changes.length ? changes.join(" ") : isSame ? "yes" : "no";
  $("line").value =
    `| ${navigator.userAgent} | ${processor} | ${seconds.toFixed(0)} | ${result} | ${md5} |`;
}

/** Put the settings, the drawing and, if there is one, the MD5 into the address, and copy it. */
async function copyLink() {
  const written = Array.from(fields, field => [field.name, String(valueOf(field))]);
  const parts = new URLSearchParams(proof ? written : []);
  const strokes = writeStrokes(drawing()), {md5} = training.latest ?? {};
  if (strokes) parts.set("drawing", strokes);
  if (md5) parts.set("md5", md5);
  history.replaceState(null, "", `#${parts}`);
  const copied = navigator.clipboard?.writeText(location.href) ?? Promise.reject();
  await copied.then(() => "Copied.", () => "It is in the address bar.").then(tellShared);
}

/** Read what `copyLink` wrote. Other addresses change nothing. */
function openLink() {
  const parts = new URLSearchParams(location.hash.slice(1)), md5 = parts.get("md5") ?? "";
  const strokes = readStrokes(parts.get("drawing") ?? "");
  if (strokes.length) useDrawing(strokes);
  if (!proof || phase !== "none" || !parts.has("seed")) return;
  writeSettings(Object.fromEntries(parts));
  promised = /^[0-9a-f]{32}$/.test(md5) ? md5 : "";
  $("sent").hidden = false;
  $("sent").textContent = "These are the settings of a link." +
    (promised && ` Press Start: your browser should make the same bytes, MD5 ${promised}.`);
}

$("link").addEventListener("click", copyLink);
if (proof) {
  $("train").hidden = $("to-train").hidden = false;
  $("more").open = matchMedia("(min-width: 68rem)").matches;
  showPresets();
  writeSettings(QUICK);
  $("settings").addEventListener("input", showSettings);
  $("settings").addEventListener("submit", (/** @type {Event} */ event) => event.preventDefault());
  $("go").addEventListener("click", (/** @type {MouseEvent} */ event) => {
    if (event.detail > 1) return; // a double click is one
    if (phase === "running") order("pause", "paused");
    else order("run", "running");
  });
  $("one").addEventListener("click", () => order("step", "paused"));
  $("restart").addEventListener("click", restart);
  onColours(() => { if (training.latest) showProgress(); });
}
training = newTraining();
openLink();
addEventListener("hashchange", openLink);
