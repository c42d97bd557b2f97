// The page's part that trains: parameters go in; curves, pictures and in the end the bytes of a
// model come out.

const FIXED = {
  // the page cannot do otherwise
  "train.arithmetic": "exact",
  "train.optimizer": "sgd",
  "train.weight_decay": 0,
  "train.max_norm": 0,
  "train.input_dropout": 0,
  "train.hidden_dropout": 0,
  "train.patience": 0,
  "train.keep": "last",
  "distort.rotation": 0,
  "distort.shear": 0,
  "distort.scaling": 0,
  "distort.shift": 0,
  "distort.elastic": 0,
};

const NEURONS = 50; // to show, at most
const proof = stored.proof; // of dvc.lock: MD5s, and the pipeline's parameters
const original = model; // the network that the page came with
const fields = $("settings").elements;
let worker = null, frame = 0;
let phase = "none"; // running, paused, done, failed
let training = {number: 0}; // its settings, epochs, and the latest message

const valueOf = ({type, checked, value}) =>
  type === "checkbox" ? checked : type === "number" ? Number(value) : value;

// Return the values of section train. A field with a wrong one says so.
function readSettings() {
  const settings = Object.fromEntries(Array.from(fields, field => [field.name, valueOf(field)]));
  const {
    hidden_sizes: sizes,
    weight_init_std: std,
    learning_rate: rate,
    momentum,
    nesterov,
    warmup,
    iterations,
  } = settings;
  const expect = (name, condition, what) =>
    fields[name].setCustomValidity(condition ? "" : `Expected ${what}.`);
  settings.hidden_sizes = (sizes.match(/\d+/g) ?? []).map(Number);
  const isName = std === "glorot" || std === "he";
  if (!isName) settings.weight_init_std = Number(std);
  expect("weight_init_std", isName || Number(std) > 0, "glorot, he, or a number above 0");
  expect("learning_rate", rate > 0, "a number above 0");
  expect("nesterov", momentum > 0 || !nesterov, "momentum above 0 with nesterov");
  expect("warmup", warmup <= iterations, "no more than iterations");
  return settings;
}

// Return the options of `dvc exp run` that turn the pipeline's parameters into these.
function options(settings) {
  const dotted = Object.entries(settings).map(([key, value]) => [`train.${key}`, value]);
  return [...dotted, ...Object.entries(FIXED)].flatMap(([key, value]) => {
    const [section, name] = key.split("."),
      text = Array.isArray(value) ? `'${key}=[${value.join(", ")}]'` : `${key}=${value}`;
    return JSON.stringify(value) === JSON.stringify(proof.params[section][name])
      ? []
      : [`-S ${text}`];
  });
}

function showSettings() {
  const changes = options(readSettings());
  $("changed").hidden = !(changes.length && $("settings").checkValidity());
  $("command").textContent = ["dvc exp run", ...changes].join(" ");
}

function start() {
  const settings = readSettings();
  if (!$("settings").reportValidity()) return false;
  let files;
  if (!worker) {
    // A worker needs a file of its own, or a blob; this page is one file
    worker = new Worker(
      URL.createObjectURL(new Blob([$("core").textContent, $("worker").textContent])),
    );
    worker.onmessage = ({data}) => hear(data);
    worker.onerror = event => hear({error: event.message, number: training.number});
    files = proof.files.map(({path, md5}) => ({path, md5, text: $(path).textContent}));
    $("now").textContent = "Unpacking the images…";
  }
  training = {number: training.number + 1, settings, epochs: [], latest: null};
  worker.postMessage({order: "start", number: training.number, settings, page: stored, files});
  return true;
}

// Give an order, after which the phase is the next one.
function order(name, next) {
  if (phase === "none" && !start()) return;
  worker.postMessage({order: name});
  if (name === "run") $("step").hidden = true;
  showPhase(next);
}

function restart() {
  worker.postMessage({order: "pause"});
  training.number++; // late messages are of another training
  useModel(original);
  for (const id of ["step", "proof"]) $(id).hidden = true;
  $("complaint").textContent = $("now").textContent = "";
  $("progress").value = 0;
  showPhase("none");
}

function showPhase(next) {
  phase = next;
  for (const field of fields) field.disabled = phase !== "none";
  $("go").textContent = {running: "Pause", paused: "Go on"}[phase] ?? "Start";
  $("go").disabled = phase === "done" || phase === "failed";
  $("one").disabled = $("go").disabled || phase === "running";
  $("restart").disabled = phase === "none";
}

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
  const {activation} = training.settings;
  return readModel(file, {
    ...stored,
    activation,
    arithmetic: "exact",
    accuracy: undefined,
    md5: undefined,
    ...more,
  });
}

function showProgress() {
  frame = 0;
  if (phase === "none" || phase === "failed") return;
  const {
    epochs,
    settings: {iterations},
    latest: {iteration, seconds, loss, epoch, step, md5, test},
  } = training;
  [$("progress").max, $("progress").value] = [iterations, iteration];
  const speed = iteration / seconds,
    pace = seconds
      ? `, ${grouped(speed)} a second, ${grouped((iterations - iteration) / speed)} s left`
      : "";
  const losses = iteration ? ` Loss of epoch ${epoch} so far: ${loss.toFixed(4)}.` : "";
  $("now").textContent = `${grouped(iteration)} of ${grouped(iterations)} steps${pace}.${losses}`;
  const after = pick => epochs.map(each => [each.iteration, pick(each)]);
  showCurves("losses", after(each => each.loss), after(each => each.scores[1].loss));
  showCurves(
    "accuracies",
    after(each => each.scores[0].accuracy),
    after(each => each.scores[1].accuracy),
  );
  const network = networkOf(training.latest, {md5, accuracy: test?.accuracy}),
    W = step?.change ?? network.layers[0].W;
  fill("weights", Math.min(W.columns, NEURONS), '<canvas class="pixels"></canvas>');
  [...$("weights").children].forEach((canvas, neuron) => drawWeights(canvas, W, neuron));
  $("weights-title").textContent = step
    ? "How far the last step moved the first layer's weights"
    : "Weights of the first layer";
  try { useModel(network); } catch { useModel(original); } // it diverges, as the worker will notice
}

// Draw the curves of training and validation images, each a list of [iteration, value].
function showCurves(id, ...curves) {
  const values = curves.flat().map(([, value]) => value),
    low = Math.min(...values),
    high = Math.max(...values);
  const digits = value => (Number.isFinite(value) ? value.toFixed(4) : ""),
    {iterations} = training.settings;
  const point = ([i, value]) =>
    `${6 + (288 * i) / iterations},${158 - (134 * (value - low)) / (high - low || 1)}`;
  const lines = curves
    .map(points => `<polyline points="${points.map(point).join(" ")}"/>`)
    .join("");
  const texts = `<text x="6" y="18">${digits(high)}</text>` +
    `<text x="6" y="173">${digits(low)}</text>`;
  $(id).innerHTML = `<path d="M6 24H294M6 158H294"/>${texts}${lines}`;
  const [ofTraining, ofValidation] = curves.map(
    points => digits(points.at(-1)?.[1]) || "not yet known",
  );
  $(id).setAttribute(
    "aria-label",
    `Training images ${ofTraining}, validation images ${ofValidation}`,
  );
}

// One step in numbers: its batch, and how far it moved the parameters.
function showStep(message, before) {
  const {batch, loss, rate} = message.step,
    [old, now] = [before, message].map(each => networkOf(each).layers);
  const moved = ({numbers, ...shape}, from) => ({
    ...shape,
    numbers: numbers.map((x, i) => x - from.numbers[i]),
  });
  const moves = now.flatMap(({W, b}, l) => [
    [`W${l + 1}`, moved(W, old[l].W)],
    [`b${l + 1}`, moved(b, old[l].b)],
  ]);
  message.step.change = moves[0][1];
  $("step").hidden = false;
  $("step-loss").textContent =
    `The batch has ${training.settings.batch_size} images; here are the first. ` +
    `Its loss before the step was ` +
    `${loss.toFixed(6)}, the learning rate ${rate}.`;
  fillTable(
    "batch",
    ["image", "class", ...model.classes.map(name => `logit ${name}`)],
    ...batch.map(({label, bytes, logits}) => {
      const canvas = document.createElement("canvas");
      canvas.className = "pixels";
      drawBytes(canvas, bytes);
      return [canvas, model.classes[label], ...logits.map(logit => logit.toFixed(3))];
    }),
  );
  fillTable(
    "moves",
    ["parameter", "shape", "largest move", "mean move"],
    ...moves.map(([name, {rows, columns, numbers}]) => {
      const sizes = numbers.map(Math.abs).sort(),
        mean = sizes.reduce((sum, x) => sum + x, 0) / sizes.length;
      return [name, `${rows} × ${columns}`, sizes.at(-1).toPrecision(3), mean.toPrecision(3)];
    }),
  );
}

// Fill a table, its heads first. A cell's content is a text or an element.
function fillTable(id, ...lines) {
  fill(id, lines.length, "<tr></tr>");
  lines.forEach((line, n) => $(id).rows[n].replaceChildren(...line.map(content => {
    const cell = document.createElement(n ? "td" : "th");
    cell.append(content);
    return cell;
  })));
}

async function finish({file, md5, test, seconds}) {
  const changes = options(training.settings),
    isSame = md5 === proof.model,
    steps = grouped(training.settings.iterations);
  const share = (100 * test.accuracy).toFixed(2), loss = test.loss.toFixed(5);
  const scores = `${share} % of the test images correctly, with a loss of ${loss}`;
  const same = isSame
    ? `The same bytes as in dvc.lock: MD5 ${md5}.`
    : `Not the same bytes: MD5 ${md5}; in dvc.lock ${proof.model}.`;
  $("bytes").textContent = changes.length
    ? `In Python, the command above must give models/mlp.npz this MD5: ${md5}.`
    : same;
  $("results").textContent =
    `${steps} steps in ${seconds.toFixed(1)} s. ` +
    `The network classifies ${scores}. Draw above: it answers.`;
  URL.revokeObjectURL($("save").href);
  $("save").href = URL.createObjectURL(new Blob([file]));
  $("proof").hidden = false;
  showPhase("done");
  // Chromium alone has it
  const told = await navigator.userAgentData?.getHighEntropyValues(["architecture", "bitness"]);
  const processor = told?.architecture
    ? `${told.architecture} ${told.bitness}`
    : navigator.platform;
  const answer = changes.length ? changes.join(" ") : isSame ? "yes" : "no";
  $("line").value =
    `| ${navigator.userAgent} | ${processor} | ${seconds.toFixed(0)} | ${answer} | ${md5} |`;
}

if (proof) {
  $("train").hidden = $("to-train").hidden = false;
  for (const field of fields) {
    const value = proof.params.train[field.name];
    [field.checked, field.value] = [
      value === true,
      Array.isArray(value) ? value.join(", ") : value,
    ];
  }
  showSettings();
  $("settings").addEventListener("input", showSettings);
  $("settings").addEventListener("submit", event => event.preventDefault());
  $("go").addEventListener("click", event => { // a double click is one
    if (event.detail < 2)
      order(...(phase === "running" ? ["pause", "paused"] : ["run", "running"]));
  });
  $("one").addEventListener("click", () => order("step", "paused"));
  $("restart").addEventListener("click", restart);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    if (training.latest) showProgress();
  });
}
