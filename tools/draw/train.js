// The page's part that trains: parameters go in; curves, pictures and in the end the bytes of a
// model come out.

import {showCurves} from "./curves.js";
import {$, drawWeights, fill, grouped, original, stored} from "./dom.js";
import {drawing, putOnPaper, tellShared, useModel} from "./page.js";
import {readModel} from "./predict.js";
import {readStrokes, writeStrokes} from "./share.js";

// The page cannot do otherwise
const FIXED = {
  "train.arithmetic": "exact", "train.optimizer": "sgd", "train.weight_decay": 0,
  "train.max_norm": 0, "train.input_dropout": 0, "train.hidden_dropout": 0,
  "train.label_smoothing": 0, "train.patience": 0, "train.keep": "last",
  "train.schedule": "constant", "train.warmup": 0, "train.nesterov": false, "distort.rotation": 0,
  "distort.shear": 0, "distort.scaling": 0, "distort.shift": 0, "distort.elastic": 0,
};
const NEURONS = 100; // the most whose weights are shown
const CURVE = 2000; // the most points of a curve
const {proof} = stored, fields = $("settings").elements;

let phase = "none"; // running, paused, done, failed
let worker;
let frame = 0; // the browser's number of the next frame, if one is asked for
let promised = ""; // the MD5 that a link states
/** `latest` are the news of the worker; `recent` is the curve of the running loss. */
const newTraining = (number = 0) => ({
  number, settings: readSettings(), seconds: 0, resumed: 0, latest: undefined, recent: [],
});
let training;

/** Return the values of section train. */
function readSettings() {
  const settings = Object.fromEntries(Array.from(fields, ({name, type, value}) =>
    [name, type === "number" ? Number(value) : value]));
  const {hidden_sizes: sizes, weight_init_std: std} = settings;
  settings.hidden_sizes = (sizes.match(/\d+/g) ?? []).map(Number);
  settings.weight_init_std = std === "glorot" || std === "he" ? std : Number(std);
  return settings;
}

const settingsIn = text => Object.fromEntries(new URLSearchParams(text));
/** Return a setting of dvc.lock, changed by `values`. */
const changed = (values, name) => values[name] ?? proof?.params.train[name];

/** Write values into the fields; the values of dvc.lock, where there is none. */
function writeSettings(values) {
  for (const field of fields) field.value = changed(values, field.name);
  showSettings();
}

/** Return the options of `dvc exp run` that turn the parameters of dvc.lock into these. */
function options(settings) {
  const dotted = Object.entries(settings).map(([key, value]) => [`train.${key}`, value]);
  return [...dotted, ...Object.entries(FIXED)].flatMap(([key, value]) => {
    const [section, name] = key.split("."), locked = proof?.params[section][name];
    const text = Array.isArray(value) ? `'${key}=[${value.join(", ")}]'` : `${key}=${value}`;
    return JSON.stringify(value) === JSON.stringify(locked) ? [] : [`-S ${text}`];
  });
}

function showSettings() {
  const settings = readSettings(), changes = options(settings);
  $("changed").hidden = !(changes.length && $("settings").checkValidity());
  $("command").textContent = ["dvc exp run", ...changes].join(" ");
  for (const preset of $("presets").children) {
    const values = settingsIn(preset.value);
    const isChosen = Object.entries(settings).every(([name, value]) =>
      String(value) === String(changed(values, name)));
    preset.setAttribute("aria-pressed", isChosen);
    if (isChosen) $("about").textContent = preset.title;
  }
}

function start() {
  if (!$("settings").checkValidity()) $("more").open = true; // else no field could have the focus
  if (!$("settings").reportValidity()) return;
  let files = [];
  if (!worker) {
    // A worker needs a file of its own, or a blob; this page is one file
    try {
      worker = new Worker(URL.createObjectURL(new Blob([$("worker").textContent])));
    } catch (error) {
      $("complaint").textContent = `This browser starts no worker, so it cannot train: ${error}`;
      return;
    }
    worker.onmessage = ({data}) => hear(data);
    worker.onerror = ({message}) => hear({error: message ?? "no worker", number: training.number});
    files = proof.files.map(each => ({...each, text: $(each.path).textContent}));
    $("now").textContent = "Unpacking the images…";
  }
  training = newTraining(training.number + 1);
  const {number, settings} = training;
  worker.postMessage({isRunning: true, start: {number, settings, page: stored, files}});
  showPhase("running");
}

/** Start, pause, or go on. */
function go() {
  if (phase === "none") return start();
  const isRunning = phase !== "running";
  worker?.postMessage({isRunning});
  showPhase(isRunning ? "running" : "paused");
}

function restart() {
  worker?.postMessage({isRunning: false});
  training = newTraining(training.number + 1); // late messages are of another training
  useModel(original);
  for (const id of ["proof", "curves", "first"]) $(id).hidden = true;
  for (const id of ["complaint", "now"]) $(id).textContent = "";
  $("progress").value = 0;
  showPhase("none");
}

function showPhase(next) {
  training.seconds = secondsOf(training);
  training.resumed = performance.now();
  phase = next;
  const isIdle = phase === "none";
  for (const field of [...fields, ...$("presets").children]) field.disabled = !isIdle;
  $("go").textContent = phase === "running" ? "Pause" : phase === "paused" ? "Go on" : "Start";
  $("go").disabled = phase === "done" || phase === "failed";
  $("restart").disabled = isIdle;
}

/** Return the seconds since the start, less the pauses. */
const secondsOf = ({seconds, resumed}) =>
  seconds + (phase === "running" ? (performance.now() - resumed) / 1000 : 0);

/** Hear news of the worker, or an error. */
function hear(message) {
  if (message.number !== training.number) return;
  if (message.error) {
    $("complaint").textContent = message.error;
    useModel(original);
    return showPhase("failed");
  }
  const {recent} = training;
  if (recent.length > CURVE) training.recent = recent.filter((_, n) => n % 2);
  if (message.loss !== undefined) training.recent.push([message.iteration, message.loss]);
  training.latest = message;
  if (message.md5) showResult(message);
  frame ||= requestAnimationFrame(showProgress);
}

function showProgress() {
  frame = 0;
  const {latest, settings: {activation, iterations}} = training;
  if (!latest || phase === "none" || phase === "failed") return;
  const {iteration, file, test, md5} = latest, [, loss] = training.recent.at(-1) ?? [];
  [$("progress").max, $("progress").value] = [iterations, iteration];
  const speed = iteration / secondsOf(training), left = (iterations - iteration) / speed;
  const pace = phase === "done" || !(speed > 0) ? ""
    : iteration === iterations ? ", and now the scores"
    : `, ${grouped(speed)} a second, ${grouped(left)} s left`;
  const losses = loss === undefined ? "" : ` Loss: ${loss.toFixed(4)}.`;
  $("now").textContent = `${grouped(iteration)} of ${grouped(iterations)} steps${pace}.${losses}`;
  showPlots(latest);
  const about = {...stored, activation, arithmetic: "exact", accuracy: test?.accuracy, md5};
  const network = readModel(file, about), {W} = network.layers[0];
  $("first").hidden = false;
  fill("weights", Math.min(W.columns, NEURONS), '<canvas class="pixels"></canvas>')
    .forEach((canvas, neuron) => drawWeights(canvas, W, neuron));
  try { useModel(network); } catch { useModel(original); } // it diverges, as the worker will notice
}

function showPlots({epochs}) {
  const {recent, settings: {iterations}} = training;
  const after = (name, pick) =>
    ({name, points: epochs.map(({iteration, scores}) => [iteration, pick(scores)])});
  $("curves").hidden = false;
  showCurves("losses", iterations, [
    after("training", ([train]) => train.loss),
    after("validation", ([, validation]) => validation.loss),
    {name: "running", points: recent},
  ]);
  showCurves("accuracies", iterations, [
    after("training", ([train]) => 100 * train.accuracy),
    after("validation", ([, validation]) => 100 * validation.accuracy),
  ]);
}

/** Show the end of a training. */
function showResult({file, md5, test}) {
  showPhase("done");
  const {settings, seconds} = training;
  const made = options(settings).length
    ? `In Python, the command in the settings must give models/mlp.npz this MD5: ${md5}.`
    : md5 === proof.model ? `The same bytes as in dvc.lock: MD5 ${md5}.`
    : `Not the same bytes: MD5 ${md5}; in dvc.lock ${proof.model}.`;
  const linked = !promised ? "" : md5 === promised ? " They are the bytes that the link states."
    : ` The link states another MD5: ${promised}.`;
  $("bytes").textContent = made + linked;
  $("results").textContent = `${grouped(settings.iterations)} steps in ${seconds.toFixed(1)} s. ` +
    `The network classifies ${(100 * test.accuracy).toFixed(2)} % of the test images correctly, ` +
    `with a loss of ${test.loss.toFixed(5)}. Draw above: it answers.`;
  $("save").href = URL.createObjectURL(new Blob([file]));
  $("proof").hidden = false;
}

/** Put the settings, the drawing and, if there is one, the MD5 into the address, and copy it. */
async function copyLink() {
  const parts = new URLSearchParams(proof ? Object.entries(readSettings()) : []);
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
  if (strokes.length) putOnPaper({strokes});
  if (!proof || phase !== "none" || !parts.has("seed")) return;
  writeSettings(Object.fromEntries(parts));
  promised = /^[0-9a-f]{32}$/.test(md5) ? md5 : "";
  $("sent").textContent = "These are the settings of a link." +
    (promised && ` Press Start: your browser should make the same bytes, MD5 ${promised}.`);
}

$("link").addEventListener("click", copyLink);
if (proof) {
  $("train").hidden = $("to-train").hidden = false;
  $("more").open = matchMedia("(min-width: 68rem)").matches;
  for (const preset of $("presets").children)
    preset.onclick = () => writeSettings(settingsIn(preset.value));
  const {firstElementChild: quick, lastElementChild: whole} = $("presets");
  (proof.params.train.iterations > 1000 ? quick : whole).click();
  $("settings").addEventListener("input", showSettings);
  // A double click is one
  $("go").addEventListener("click", ({detail}) => detail < 2 && go());
  $("restart").addEventListener("click", restart);
}
training = newTraining();
openLink();
addEventListener("hashchange", openLink);
