// The page's part that trains: parameters go in; curves, pictures and in the end the bytes of a model come out.
"use strict";

const NEURONS = 50; // to show, at most

// What the page cannot do otherwise. An experiment has these values, whatever the pipeline has.
const FIXED = {
  "train.arithmetic": "exact", "train.optimizer": "sgd", "train.weight_decay": 0, "train.max_norm": 0, "train.input_dropout": 0,
  "train.hidden_dropout": 0, "train.patience": 0, "train.keep": "last", "distort.rotation": 0, "distort.shear": 0,
  "distort.scaling": 0, "distort.shift": 0, "distort.elastic": 0,
};

const proof = stored.proof; // of dvc.lock: MD5s, and the pipeline's parameters
const original = model; // the network that the page came with
const fields = $("settings").elements;
let worker = null;
let phase = "none"; // running, paused, done, failed
let training = {number: 0}; // its settings, epochs, and the latest message
let frame = 0;

// Parameters

function fillFields() {
  for (const field of fields) {
    const value = proof.params.train[field.name];
    if (field.type === "checkbox") field.checked = value;
    else field.value = Array.isArray(value) ? value.join(", ") : value;
  }
  fields.batch_size.max = Math.min(fields.batch_size.max, proof.images);
}

// Return the values of section train. A field with a wrong one says so.
function readSettings() {
  const values = Array.from(fields, field => [field.name, field.type === "checkbox" ? field.checked : field.type === "number" ? Number(field.value) : field.value]);
  const settings = Object.fromEntries(values), std = settings.weight_init_std;
  settings.hidden_sizes = (settings.hidden_sizes.match(/\d+/g) ?? []).map(Number);
  if (!["glorot", "he"].includes(std)) settings.weight_init_std = Number(std);
  fields.learning_rate.setCustomValidity(settings.learning_rate > 0 ? "" : "Expected a number above 0.");
  fields.weight_init_std.setCustomValidity(std === "" || settings.weight_init_std <= 0 ? "Expected glorot, he, or a number above 0." : "");
  fields.nesterov.setCustomValidity(settings.nesterov && !settings.momentum ? "nesterov needs momentum above 0." : "");
  fields.warmup.setCustomValidity(settings.warmup > settings.iterations ? "Expected no more than iterations." : "");
  return settings;
}

// Return the options of `dvc exp run` that turn the pipeline's parameters into these.
function options(settings) {
  const dotted = Object.entries(settings).map(([key, value]) => [`train.${key}`, value]);
  return [...dotted, ...Object.entries(FIXED)].flatMap(([key, value]) => {
    const [section, name] = key.split("."), isSame = JSON.stringify(value) === JSON.stringify(proof.params[section][name]);
    const change = `${key}=${Array.isArray(value) ? `[${value.join(", ")}]` : value}`;
    return isSame ? [] : [/^[\w.=+-]+$/.test(change) ? `-S ${change}` : `-S '${change}'`];
  });
}

function showSettings() {
  const changes = options(readSettings()), isValid = $("settings").checkValidity();
  const code = document.createElement("code");
  code.textContent = ["dvc exp run", ...changes].join(" ");
  $("command").replaceChildren(...(isValid && changes.length ? ["Not the values of dvc.lock. In Python the same bytes come from ", code] : []));
}

// Orders to the worker

function start() {
  const settings = readSettings();
  if (!$("settings").reportValidity()) return false;
  if (!worker) {
    // A worker needs a file of its own, or a blob; this page is one file
    worker = new Worker(URL.createObjectURL(new Blob([$("core").textContent, $("worker").textContent])));
    worker.onmessage = ({data}) => hear(data);
    worker.onerror = event => hear({error: event.message, number: training.number});
    const {scale, imageShape, classes, fitted, inverted} = stored;
    const files = proof.files.map(({path, md5}) => ({path, md5, text: $(path).textContent}));
    worker.postMessage({order: "open", files, scale, imageShape, classes, fitted, inverted});
    $("now").textContent = "Unpacking the images…";
  }
  training = {number: training.number + 1, settings, epochs: [], latest: null};
  worker.postMessage({order: "start", number: training.number, settings});
  return true;
}

function order(name, next) {
  if (phase === "none" && !start()) return;
  worker.postMessage({order: name});
  if (name === "run") $("step").hidden = true;
  showPhase(next);
}

function anew() {
  worker.postMessage({order: "pause"});
  training.number++; // late messages are of another training
  if (phase === "failed") worker = worker.terminate() ?? null;
  useModel(original);
  for (const id of ["step", "proof"]) $(id).hidden = true;
  $("complaint").textContent = "";
  showPhase("none");
}

function showPhase(next) {
  phase = next;
  for (const field of fields) field.disabled = phase !== "none";
  $("go").textContent = {running: "Pause", paused: "Go on"}[phase] ?? "Start";
  $("go").disabled = phase === "done" || phase === "failed";
  $("one").disabled = $("go").disabled || phase === "running";
  $("anew").disabled = phase === "none";
}

// Answers of the worker

function hear(message) {
  if (message.number !== training.number) return;
  if (message.error) {
    $("complaint").textContent = message.error;
    useModel(original);
    return showPhase("failed");
  }
  training.epochs.push(...message.epochs);
  if (message.step) showStep(message, training.latest);
  training.latest = message;
  if (message.md5) finish(message);
  frame ||= requestAnimationFrame(showProgress);
}

const grouped = n => Math.round(n).toLocaleString("en");

// Return the network of a message. `more` is known of it, too.
function networkOf({file}, more) {
  return readModel(file, {...stored, activation: training.settings.activation, arithmetic: "exact", accuracy: undefined, md5: "", ...more});
}

function showProgress() {
  frame = 0;
  if (phase === "none" || phase === "failed") return;
  const {epochs, settings, latest} = training, {iterations} = settings, {iteration, seconds, loss, epoch} = latest;
  [$("progress").max, $("progress").value] = [iterations, iteration];
  const speed = iteration / seconds, left = grouped((iterations - iteration) / speed);
  const pace = seconds > 0 ? `, ${grouped(speed)} a second, ${left} s left` : "";
  $("now").textContent = `${grouped(iteration)} of ${grouped(iterations)} steps${pace}.${iteration ? ` Loss of epoch ${epoch} so far: ${loss.toFixed(4)}.` : ""}`;
  const after = pick => epochs.map(each => [each.iteration, pick(each)]);
  showCurves("losses", 4, [...after(each => each.loss), ...(iteration ? [[iteration, loss]] : [])], after(each => each.scores[1].loss));
  showCurves("accuracies", 4, after(each => each.scores[0].accuracy), after(each => each.scores[1].accuracy));
  const network = networkOf(latest, {md5: latest.md5, accuracy: latest.test?.accuracy});
  paintNeurons(latest.step ? latest.step.change : network.layers[0].W);
  $("weights-title").textContent = latest.step ? "How far the last step moved the first layer's weights" : "Weights of the first layer";
  useModel(network);
}

// Draw curves, each a list of [iteration, value].
function showCurves(id, digits, ...curves) {
  const values = curves.flat().map(([, value]) => value), low = Math.min(...values), high = Math.max(...values);
  const x = iteration => 6 + 288 * iteration / training.settings.iterations, y = value => 158 - 134 * (value - low) / (high - low || 1);
  const line = points => `<polyline points="${points.map(([i, value]) => `${x(i).toFixed(1)},${y(value).toFixed(1)}`).join(" ")}"/>`;
  const [top, bottom] = values.length ? [high, low].map(value => value.toFixed(digits)) : ["", ""];
  $(id).innerHTML = `<path d="M6 24H294M6 158H294"/><text x="6" y="18">${top}</text><text x="6" y="173">${bottom}</text>${curves.map(line).join("")}`;
  const [training_, validation] = curves.map(points => points.at(-1)?.[1].toFixed(digits) ?? "none yet");
  $(id).setAttribute("aria-label", `training images ${training_}, validation images ${validation}`);
}

// Paint the numbers that belong to each neuron of the first layer.
function paintNeurons(W) {
  const n = Math.min(W.columns, NEURONS);
  if ($("weights").children.length !== n) $("weights").innerHTML = '<canvas class="pixels"></canvas>'.repeat(n);
  [...$("weights").children].forEach((canvas, neuron) => drawWeights(canvas, W, neuron));
}

// One step in numbers: its batch, and how far it moved the parameters.
function showStep(message, before) {
  const {batch, loss, rate} = message.step, [old, now] = [before, message].map(each => networkOf(each).layers);
  const moved = ({numbers, ...shape}, from) => ({...shape, numbers: numbers.map((x, i) => x - from.numbers[i])});
  const moves = now.flatMap(({W, b}, l) => [[`W${l + 1}`, moved(W, old[l].W)], [`b${l + 1}`, moved(b, old[l].b)]]);
  message.step.change = moves[0][1];
  $("step").hidden = false;
  $("step-loss").textContent = `A batch of ${training.settings.batch_size} images; here are the first. Its loss before the step is ${loss.toFixed(6)}, the learning rate ${rate}.`;
  fillTable("batch", ["image", "class", ...model.classes.map(name => `logit ${name}`)], batch.map(({label, bytes, logits}) => {
    const canvas = document.createElement("canvas");
    canvas.className = "pixels";
    drawBytes(canvas, bytes);
    return [canvas, model.classes[label], ...logits.map(logit => logit.toFixed(3))];
  }));
  fillTable("moves", ["parameter", "shape", "largest move", "mean move"], moves.map(([name, {rows, columns, numbers}]) => {
    const sizes = numbers.map(Math.abs), mean = sizes.reduce((sum, x) => sum + x, 0) / sizes.length;
    return [name, `${rows} × ${columns}`, sizes.reduce((x, y) => Math.max(x, y), 0).toPrecision(3), mean.toPrecision(3)];
  }));
}

function fillTable(id, heads, lines) {
  const table = $(id);
  table.innerHTML = `<thead><tr>${heads.map(() => '<th scope="col"></th>').join("")}</tr></thead><tbody></tbody>`;
  heads.forEach((text, i) => { table.tHead.rows[0].cells[i].textContent = text; });
  for (const line of lines) {
    const row = table.tBodies[0].insertRow();
    for (const content of line) row.insertCell().append(content);
  }
}

// The proof

async function finish({file, md5, test, seconds}) {
  const changes = options(training.settings), isSame = md5 === proof.model;
  $("proof").hidden = false;
  $("bytes").textContent = changes.length ? `A model with the MD5 ${md5}.`
    : isSame ? `The same bytes as in dvc.lock: MD5 ${md5}.`
    : `Not the same bytes as in dvc.lock: MD5 ${md5}, and there ${proof.model}.`;
  const steps = `${grouped(training.settings.iterations)} steps in ${seconds.toFixed(1)} s.`;
  const scores = `It classifies ${(100 * test.accuracy).toFixed(2)} % of the test images correctly, with a loss of ${test.loss.toFixed(5)}.`;
  $("results").textContent = `${steps} ${scores}${changes.length ? " The command above must give models/mlp.npz this MD5." : ""} Above, draw: this network reads it now.`;
  URL.revokeObjectURL($("save").href);
  $("save").href = URL.createObjectURL(new Blob([file]));
  showPhase("done");
  const told = await navigator.userAgentData?.getHighEntropyValues(["architecture", "bitness"]); // Chromium alone has it
  const processor = told?.architecture ? `${told.architecture} ${told.bitness}` : navigator.platform;
  const answer = changes.length ? changes.join(" ") : isSame ? "yes" : "no";
  $("line").value = `| ${navigator.userAgent} | ${processor} | ${seconds.toFixed(0)} | ${answer} | ${md5} |`;
}

if (proof) {
  $("train").hidden = $("to-train").hidden = false;
  fillFields();
  showSettings();
  $("settings").addEventListener("input", showSettings);
  $("settings").addEventListener("submit", event => event.preventDefault());
  $("go").addEventListener("click", event => { // a double click is one
    if (event.detail < 2) order(...(phase === "running" ? ["pause", "paused"] : ["run", "running"]));
  });
  $("one").addEventListener("click", () => order("step", "paused"));
  $("anew").addEventListener("click", anew);
}
