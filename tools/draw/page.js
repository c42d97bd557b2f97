// The page: a drawing, or an image, goes in; the answer and a look inside the network come out.

import {readBytes} from "./arrays.js";
import {$, columns, css, drawBytes, fill, inked, original, percent, rows, stored} from "./dom.js";
import {drawGraph, showBars} from "./inside.js";
import {predict} from "./predict.js";
import {SIDE, prepare, rasterise} from "./preparation.js";
import {picture} from "./share.js";

/** @import {Stroke} from "./preparation.js" */

const SURE = 0.6; // below this probability, the answer says so
const STEP = 16; // units that an arrow key moves the pen

let model = original;
const paper = $("paper");
const examples = (stored.examples ?? []).map(({image, place, number}) => (
  {bytes: readBytes(image), place, number, name: stored.classes[number]}));

// All that can be seen follows from this. `pointer` draws: a second finger does not. `pen` is where
// the keys have moved it. `example` is the test image that the network sees.
const LIFTED = {pointer: undefined, isDown: false};
const state = {
  /** @type {Stroke[]} */ strokes: [],
  example: examples[0], pen: [SIDE / 2, SIDE / 2], keyboard: false, ...LIFTED,
};

/** Return the network's answer, null for nothing. */
function answer() {
  const image = state.example?.bytes ?? prepare(rasterise(state.strokes), model);
  return image && answerTo(image);
}

function answerTo(image) {
  const probabilities = predict(model, image);
  const ranking = [...probabilities.keys()].sort((a, b) => probabilities[b] - probabilities[a]);
  return {image, probabilities, ranking};
}

function show() {
  const found = answer(), {strokes, example} = state;
  drawPaper();
  showVerdict(found);
  drawBytes($("image"), found?.image ?? new Uint8Array(rows * columns));
  showBars(model, found);
  drawGraph(model, found);
  $("invitation").hidden = strokes.length > 0 || state.keyboard;
  $("invitation").textContent = example ? "Draw over it" : "Draw here";
  $("undo").disabled = $("picture").disabled = strokes.length === 0;
  $("clear").disabled = strokes.length === 0 && !example;
}

let timer = 0;
/** Show the answer in words, and let a screen reader say them once the drawing rests. */
function showVerdict(found) {
  const name = document.createElement("b"), {example} = state;
  name.textContent = name.title = found ? model.classes[found.ranking[0]] : "";
  const source = example ? ` (test image ${example.place}, really ${example.name})` : "";
  const words = found ? [name, ` ${sureness(found)}${source}`] : ["Nothing there."];
  $("verdict").replaceChildren(...words);
  clearTimeout(timer);
  timer = setTimeout(() => { $("spoken").textContent = $("verdict").textContent; }, 700);
}

function sureness({probabilities, ranking}) {
  const [best, next] = ranking;
  const first = percent(probabilities[best]), second = percent(probabilities[next]);
  return probabilities[best] >= SURE ? `${first} sure`
    : `Not sure: ${first}. Perhaps ${model.classes[next]}, ${second}.`;
}

function drawPaper() {
  const size = Math.round(paper.clientWidth * devicePixelRatio), context = paper.getContext("2d");
  [paper.width, paper.height] = [size, size];
  context.scale(size / SIDE, size / SIDE);
  context.strokeStyle = css("--ink");
  context.lineCap = context.lineJoin = "round";
  context.imageSmoothingEnabled = false;
  if (state.example) {
    const unit = SIDE / Math.max(rows, columns);
    context.drawImage(inked(state.example.bytes), 0, 0, unit * columns, unit * rows);
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
  if (state.example) clear();
  state.strokes.push({width: $("width").valueAsNumber, points: [point]});
}

function extend(point) {
  const {points} = state.strokes[state.strokes.length - 1], last = points[points.length - 1];
  if (point[0] !== last[0] || point[1] !== last[1]) points.push(point);
}

const undo = () => Object.assign(state, {strokes: state.strokes.slice(0, -1), ...LIFTED});
const clear = () => Object.assign(state, {strokes: [], example: undefined, ...LIFTED});
/** Let the paper have other strokes, or a test image. @param {Partial<typeof state>} content */
export function putOnPaper(content) {
  clear();
  Object.assign(state, content);
  show();
}
export const drawing = () => state.strokes;

/** Return where a pointer is, in units. */
function place(event) {
  const box = paper.getBoundingClientRect();
  const unit = (position, length) =>
    Math.min(Math.max(Math.round((position / length) * SIDE), -SIDE), 2 * SIDE);
  return [unit(event.clientX - box.left, box.width), unit(event.clientY - box.top, box.height)];
}

paper.addEventListener("pointerdown", event => {
  if (state.pointer !== undefined || event.button !== 0) return;
  begin(place(event));
  Object.assign(state, {pointer: event.pointerId, keyboard: false, isDown: false});
  paper.setPointerCapture(event.pointerId);
  show();
});
paper.addEventListener("pointermove", event => {
  if (event.pointerId !== state.pointer) return;
  const events = event.getCoalescedEvents?.() ?? [];
  for (const each of events.length ? events : [event]) extend(place(each));
  show();
});
for (const end of ["pointerup", "pointercancel"]) {
  paper.addEventListener(end, event => {
    if (event.pointerId === state.pointer) state.pointer = undefined;
  });
}

const ARROWS = {
  ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP],
};

function movePen([right, down]) {
  const inside = n => Math.min(Math.max(n, 0), SIDE);
  state.pen = [inside(state.pen[0] + right), inside(state.pen[1] + down)];
  state.keyboard = true;
  if (state.isDown) extend(state.pen);
}

function putPenDownOrLift() {
  if (!state.isDown) begin(state.pen);
  state.isDown = !state.isDown;
  state.keyboard = true;
}

paper.addEventListener("keydown", event => {
  const {key, code, repeat} = event, isCommand = event.ctrlKey || event.metaKey;
  // The code also where letters are not Latin
  if (isCommand && (code === "KeyZ" || key === "z")) undo();
  else if (key === "Delete" || key === "Backspace") clear();
  else if (isCommand || event.altKey || state.pointer !== undefined) return;
  else if (ARROWS[key]) movePen(ARROWS[key]);
  else if (key !== " ") return;
  else if (!repeat) putPenDownOrLift();
  event.preventDefault();
  show();
});
paper.addEventListener("blur", () => { state.keyboard = state.isDown = false; show(); });

$("undo").addEventListener("click", () => { undo(); show(); });
$("clear").addEventListener("click", () => { clear(); show(); });
$("picture").addEventListener("click", savePicture);

/** Save the drawing with its answer; alone, where the network reads whole pictures. */
async function savePicture() {
  const found = answer(), {classes} = model;
  if (!found) return;
  const {probabilities, ranking} = found;
  const shown = ranking.slice(0, 10).sort((a, b) => a - b);
  const bars = shown.map(number => ({name: classes[number], probability: probabilities[number]}));
  const side = {name: classes[ranking[0]], says: sureness(found), bars};
  const file = picture(rasterise(state.strokes), model.whole ? undefined : side);
  await file.then(png => save(png, "drawing.png"), error => tellShared(error.message));
}

/** Let the browser save a file. */
function save(file, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(file);
  link.download = name;
  link.click();
}

export const tellShared = words => { $("shared").textContent = words; };

// Show what the network says to each test image
function showThumbnails() {
  const html = '<button type="button"><canvas class="pixels"></canvas><span></span></button>';
  fill("thumbnails", examples.length, html).forEach((button, n) => {
    const {bytes, number, name, place} = examples[n], [best] = answerTo(bytes).ranking;
    const [canvas, caption] = button.children, isRight = best === number;
    drawBytes(canvas, bytes);
    caption.textContent = isRight ? name : `✗ ${model.classes[best]}`;
    button.className = isRight ? "right" : "wrong";
    const truth = isRight ? "" : `, really ${name}`;
    button.ariaLabel = button.title = `Test image ${place}: ${caption.textContent}${truth}`;
    button.onclick = () => putOnPaper({example: examples[n]});
  });
}

/** Answer with another network from now on. @param {typeof original} network */
export function useModel(network) {
  model = network;
  const {accuracy, arithmetic, layers, md5} = model;
  const sizes = [rows * columns, ...layers.map(({W}) => W.columns)].join("-");
  const name = md5 ? `Model ${md5}` : "A model in training", score = 100 * (accuracy ?? 0);
  const share = score ? ` It classifies ${score.toFixed(2)} % of the test images correctly.` : "";
  const bits = arithmetic === "exact" ? " Its probabilities have the same bits as in Python." : "";
  $("foot").textContent = `${name}, ${sizes}.${share}${bits}`;
  showThumbnails();
  show();
}

if (!model.classes.every(name => /^\d$/.test(name)))
  document.title = $("title").textContent = `Draw one of ${model.classes.length} classes`;
$("examples").hidden = examples.length === 0;
useModel(model);
addEventListener("resize", show);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);
