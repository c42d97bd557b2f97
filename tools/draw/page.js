// The page: a drawing, or an image, goes in; the answer and a look inside the network come out.
"use strict";

const SURE = 0.6; // below this probability, the answer says so
const STRONGEST = 6; // neurons to show
const STEP = 16; // units that an arrow key moves the pen

const $ = id => document.getElementById(id);
const stored = JSON.parse($("data").textContent);
const [rows, columns] = stored.imageShape;
let model = readModel(readBytes($("model").textContent), stored);
const examples = (stored.examples ?? []).map(({image, place, number}) => ({bytes: readBytes(image), place, number, name: stored.classes[number]}));
const paper = $("paper");

// All that can be seen follows from this. `image` has the bytes of a test image, if the network sees one.
const state = {strokes: [], image: null, source: "", pen: [SIDE / 2, SIDE / 2], keyboard: false};

// Return the network's answer, null for nothing: the prepared image, the probabilities, the classes in their order.
function answer() {
  const image = state.image ?? prepare(rasterise(state.strokes), model);
  if (!image) return null;
  const probabilities = predict(model, image);
  return {image, probabilities, ranking: ranking(probabilities)};
}

function show() {
  const found = answer();
  drawPaper();
  showVerdict(found);
  showBars(found);
  drawBytes($("image"), found?.image ?? new Uint8Array(rows * columns));
  showNeurons(found);
  $("invitation").hidden = state.strokes.length > 0 || state.keyboard;
  $("undo").disabled = state.strokes.length === 0;
  $("clear").disabled = state.strokes.length === 0 && state.image === null;
}

// The answer

function ranking(probabilities) {
  return [...probabilities.keys()].sort((a, b) => probabilities[b] - probabilities[a]); // a stable sort
}

const percent = probability => `${(100 * probability).toFixed(1)} %`;

function showVerdict(found) {
  if (!found) {
    say("Nothing there.");
    return;
  }
  const [best, next] = found.ranking;
  const name = document.createElement("b");
  name.textContent = model.classes[best];
  const sure = found.probabilities[best] >= SURE;
  const words = sure
    ? `${percent(found.probabilities[best])} sure`
    : `Not sure: ${percent(found.probabilities[best])}. Perhaps ${model.classes[next]}, ${percent(found.probabilities[next])}.`;
  say(name, ` ${words}`, ...(state.source ? [` (${state.source})`] : []));
}

// Show the words, and let a screen reader say them once the drawing rests.
function say(...words) {
  $("verdict").replaceChildren(...words);
  clearTimeout(timer);
  timer = setTimeout(() => { $("spoken").textContent = $("verdict").textContent; }, 700);
}
let timer = 0;

function makeBars() {
  $("bars").replaceChildren(...model.classes.map(name => {
    const row = document.createElement("li");
    row.innerHTML = '<span class="name"></span><span class="track"><span class="bar"></span></span><span class="percent"></span>';
    row.querySelector(".name").textContent = name;
    return row;
  }));
}

function showBars(found) {
  const best = found?.ranking[0];
  [...$("bars").children].forEach((row, number) => {
    const probability = found ? found.probabilities[number] : 0;
    row.classList.toggle("best", number === best);
    row.querySelector(".bar").style.width = `${100 * probability}%`;
    row.querySelector(".percent").textContent = found ? percent(probability) : "";
  });
}

// Inside the network

function showNeurons(found) {
  const shown = model.layers.length > 1 ? Math.min(model.layers[0].W.columns, STRONGEST) : 0;
  if ($("neurons").children.length !== shown) $("neurons").innerHTML = '<li><canvas class="pixels" role="img"></canvas><span></span></li>'.repeat(shown);
  $("inside").hidden = shown === 0;
  $("neurons").hidden = !found;
  if (!found) return;
  const best = found.ranking[0];
  const shares = contributions(model, best);
  const strongest = [...shares.keys()].sort((a, b) => Math.abs(shares[b]) - Math.abs(shares[a]));
  [...$("neurons").children].forEach((item, place) => {
    const neuron = strongest[place], share = shares[neuron], [canvas, text] = item.children;
    canvas.setAttribute("aria-label", `Weights of neuron ${neuron}`);
    drawWeights(canvas, model.layers[0].W, neuron, found.image);
    text.className = share < 0 ? "against" : "for";
    text.textContent = `${share < 0 ? "−" : "+"}${Math.abs(share).toFixed(2)} for ${model.classes[best]}`;
  });
}

// Paint the weights of a neuron, the strongest in full colour; those where the image is black are pale.
function drawWeights(canvas, {numbers, columns: outputs}, neuron, image) {
  const column = Array.from({length: rows * columns}, (_, i) => numbers[i * outputs + neuron]);
  const largest = column.reduce((most, weight) => Math.max(most, Math.abs(weight)), Number.MIN_VALUE);
  const [excites, inhibits] = [rgb("--for"), rgb("--against")];
  paint(canvas, i => {
    const strength = Math.abs(column[i]) / largest * (image && image[i] === 0 ? 90 : 255);
    return [...(column[i] < 0 ? inhibits : excites), strength];
  });
}

function drawBytes(canvas, bytes) {
  paint(canvas, i => [bytes[i], bytes[i], bytes[i], 255]);
}

// Paint a canvas of the image's size: `colour` gives red, green, blue and opacity of each pixel.
function paint(canvas, colour) {
  if (canvas.width !== columns || canvas.height !== rows) [canvas.width, canvas.height] = [columns, rows];
  const pixels = new ImageData(columns, rows);
  for (let i = 0; i < rows * columns; i++) pixels.data.set(colour(i), 4 * i);
  canvas.getContext("2d").putImageData(pixels, 0, 0);
}

const css = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const rgb = name => [1, 3, 5].map(start => parseInt(css(name).slice(start, start + 2), 16)); // of #rrggbb

// The paper

function drawPaper() {
  const size = Math.round(paper.clientWidth * devicePixelRatio);
  if (paper.width !== size) [paper.width, paper.height] = [size, size];
  const context = paper.getContext("2d");
  context.setTransform(size / SIDE, 0, 0, size / SIDE, 0, 0);
  context.clearRect(0, 0, SIDE, SIDE);
  context.strokeStyle = context.fillStyle = css("--ink");
  context.lineCap = context.lineJoin = "round";
  if (state.image) {
    const unit = SIDE / Math.max(rows, columns);
    state.image.forEach((byte, i) => {
      context.globalAlpha = byte / 255;
      context.fillRect(i % columns * unit, Math.floor(i / columns) * unit, unit, unit);
    });
    context.globalAlpha = 1;
  }
  for (const {width, points} of state.strokes) {
    context.lineWidth = width;
    context.beginPath();
    context.moveTo(...points[0]);
    for (const point of points) context.lineTo(...point);
    context.stroke();
  }
  if (state.keyboard) {
    context.lineWidth = 4;
    context.strokeStyle = css("--accent");
    context.beginPath();
    context.arc(...state.pen, $("width").valueAsNumber / 2 + 8, 0, 2 * Math.PI);
    context.stroke();
  }
}

function begin(point) {
  if (state.image) clear();
  state.strokes.push({width: $("width").valueAsNumber, points: [point]});
}

function extend(point) {
  const {points} = state.strokes.at(-1), last = points.at(-1);
  if (point[0] !== last[0] || point[1] !== last[1]) points.push(point);
}

function undo() {
  state.strokes.pop();
  lift();
}

function clear() {
  Object.assign(state, {strokes: [], image: null, source: ""});
  lift();
}

// The stroke that is being drawn is finished, or has gone.
function lift() {
  pointer = null;
  penDown = false;
}

// Pointers: mouse, pen and finger

let pointer = null; // the one that draws; a second finger does not

function place(event) {
  const box = paper.getBoundingClientRect();
  const unit = (position, start, length) => Math.min(Math.max(Math.round((position - start) / length * SIDE), -SIDE), 2 * SIDE);
  return [unit(event.clientX, box.left, box.width), unit(event.clientY, box.top, box.height)];
}

paper.addEventListener("pointerdown", event => {
  if (pointer !== null || event.button !== 0) return;
  state.keyboard = penDown = false;
  begin(place(event));
  pointer = event.pointerId;
  paper.setPointerCapture(pointer);
  show();
});
paper.addEventListener("pointermove", event => {
  if (event.pointerId !== pointer) return;
  const events = event.getCoalescedEvents?.() ?? [];
  for (const each of events.length ? events : [event]) extend(place(each));
  show();
});
for (const end of ["pointerup", "pointercancel"]) {
  paper.addEventListener(end, event => { if (event.pointerId === pointer) pointer = null; });
}

// Keys

let penDown = false;
const ARROWS = {ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP]};

paper.addEventListener("keydown", event => {
  const arrow = ARROWS[event.key];
  if ((!arrow && event.key !== " ") || event.ctrlKey || event.altKey || event.metaKey) return;
  event.preventDefault();
  if (pointer !== null || (!arrow && event.repeat)) return;
  state.keyboard = true;
  if (arrow) {
    state.pen = state.pen.map((position, axis) => Math.min(Math.max(position + arrow[axis], 0), SIDE));
    if (penDown) extend(state.pen);
  } else {
    if (!penDown) begin(state.pen);
    penDown = !penDown;
  }
  show();
});
paper.addEventListener("blur", () => { state.keyboard = penDown = false; show(); });

addEventListener("keydown", event => {
  const isZ = event.code === "KeyZ" || event.key === "z"; // the code also where letters are not Latin
  if ((event.ctrlKey || event.metaKey) && isZ) undo();
  else if (event.key === "Delete" || event.key === "Backspace") clear();
  else return;
  event.preventDefault();
  show();
});

$("undo").addEventListener("click", () => { undo(); show(); });
$("clear").addEventListener("click", () => { clear(); show(); });

// Test images

function makeThumbnails() {
  $("examples").hidden = examples.length === 0;
  $("thumbnails").replaceChildren(...examples.map(({bytes, place, name, number}) => {
    const button = document.createElement("button");
    button.type = "button";
    button.innerHTML = `<canvas class="pixels"></canvas><span class="columns">${"<i></i>".repeat(model.classes.length)}</span><span></span>`;
    const [canvas, bars, caption] = button.children;
    drawBytes(canvas, bytes);
    bars.children[number].className = "true";
    caption.textContent = name;
    button.setAttribute("aria-label", `Test image ${place}: ${name}`);
    button.addEventListener("click", () => {
      look({bytes, place, name});
      document.querySelector(".answer").scrollIntoView({block: "nearest"}); // on a telephone it is far above
    });
    return button;
  }));
}

// Show what the network says to each test image: a bar for each class.
function showThumbnails() {
  examples.forEach(({bytes, number}, place) => {
    const button = $("thumbnails").children[place], probabilities = predict(model, bytes);
    button.className = ranking(probabilities)[0] === number ? "right" : "wrong";
    probabilities.forEach((y, i) => { button.children[1].children[i].style.height = `${100 * y}%`; });
  });
}

// Let the network see a test image.
function look({bytes, place, name}) {
  clear();
  Object.assign(state, {image: bytes, source: `test image ${place}, really ${name}`});
  show();
}

// The page as a whole

// Answer with another network from now on.
function useModel(network) {
  model = network;
  showThumbnails();
  showFoot();
  show();
}

function showFoot() {
  const accuracy = model.accuracy === undefined ? "" : ` It classifies ${(100 * model.accuracy).toFixed(2)} % of the test images correctly.`;
  const sizes = [rows * columns, ...model.layers.map(({W}) => W.columns)].join("-");
  const bits = model.arithmetic === "exact" ? "Its probabilities have the same bits as in Python." : "It was trained in float32: in Python the last digits differ.";
  $("foot").textContent = `${model.md5 ? `Model ${model.md5}` : "A model in training"}, ${sizes}.${accuracy} ${bits}`;
}

if (!model.classes.every(name => /^\d$/.test(name))) {
  document.title = $("title").textContent = `Draw one of ${model.classes.length} classes`;
}
makeBars();
makeThumbnails();
useModel(model);
if (examples.length) look(examples[0]);
addEventListener("resize", drawPaper);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);
