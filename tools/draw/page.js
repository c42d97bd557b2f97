// The page: a drawing, or an image, goes in; the answer and a look inside the network come out.

import {
  $, columns, css, drawBytes, fill, inked, onColours, original, percent, rows, save, stored,
} from "./dom.js";
import {drawGraph, showColumns, showInside} from "./inside.js";
import {predict, readBytes} from "./predict.js";
import {prepare} from "./preparation.js";
import {picture} from "./share.js";
import {SIDE, rasterise} from "./strokes.js";

/** @import {Model} from "./predict.js" */
/** @import {Answer} from "./inside.js" */
/** @import {Point, Stroke} from "./strokes.js" */
/** @typedef {{bytes: Uint8Array<ArrayBuffer>, place: number, number: number, name: string}} Example
 *   a test image and its true class */

const SURE = 0.6; // below this probability, the answer says so
const STEP = 16; // units that an arrow key moves the pen

let model = original;
const examples = (stored.examples ?? []).map(({image, place, number}) => (
  {bytes: readBytes(image), place, number, name: stored.classes[number]}));
const paper = $("paper");

// All that can be seen follows from this. `pointer` draws: a second finger does not. `pen` is where
// the keys have moved it. `example` is the test image that the network sees.
const LIFTED = {pointer: null, isDown: false};
/** @type {{strokes: Stroke[], example: Example | null, pen: Point, keyboard: boolean,
 *   pointer: number | null, isDown: boolean}} */
const state = {
  strokes: [], example: null, pen: [SIDE / 2, SIDE / 2], keyboard: false, ...LIFTED,
};

/** Return the network's answer, null for nothing. @returns {Answer | null} */
export function answer() {
  const image = state.example?.bytes ?? prepare(rasterise(state.strokes), model);
  if (!image) return null;
  const probabilities = predict(model, image);
  return {image, probabilities, ranking: ranking(probabilities)};
}

/** Return the classes, from the most probable on; the sort is stable. */
const ranking = probabilities =>
  [...probabilities.keys()].sort((a, b) => probabilities[b] - probabilities[a]);

function show() {
  const found = answer(), {strokes, example} = state;
  drawPaper();
  showVerdict(found);
  drawBytes($("image"), found?.image ?? new Uint8Array(rows * columns));
  showInside(model, found);
  $("invitation").hidden = strokes.length > 0 || state.keyboard;
  $("invitation").textContent = example ? "A test image. Draw your own over it" : "Draw here";
  $("undo").disabled = $("picture").disabled = strokes.length === 0;
  $("clear").disabled = strokes.length === 0 && !example;
}

/** @param {Answer | null} found */
function showVerdict(found) {
  if (!found) return say("Nothing there.");
  const [best, next] = found.ranking, {probabilities} = found, {example} = state;
  const name = document.createElement("b");
  name.textContent = model.classes[best];
  name.title = model.classes[best];
  const source = example ? ` (test image ${example.place}, really ${example.name})` : "";
  say(name, ` ${sureness(probabilities[best], model.classes[next], probabilities[next])}${source}`);
}

const sureness = (first, name, second) => first >= SURE
  ? `${percent(first)} sure` : `Not sure: ${percent(first)}. Perhaps ${name}, ${percent(second)}.`;

let timer = 0;
/** Show the words, and let a screen reader say them once the drawing rests.
 * @param {(string | HTMLElement)[]} words */
function say(...words) {
  $("verdict").replaceChildren(...words);
  clearTimeout(timer);
  timer = setTimeout(() => { $("spoken").textContent = $("verdict").textContent; }, 700);
}

function drawPaper() {
  const size = Math.round(paper.clientWidth * devicePixelRatio);
  if (paper.width !== size) [paper.width, paper.height] = [size, size];
  const context = paper.getContext("2d");
  context.setTransform(size / SIDE, 0, 0, size / SIDE, 0, 0);
  context.clearRect(0, 0, SIDE, SIDE);
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

/** @param {Point} point */
function begin(point) {
  if (state.example) clear();
  state.strokes.push({width: $("width").valueAsNumber, points: [point]});
}

/** @param {Point} point */
function extend(point) {
  const {points} = state.strokes[state.strokes.length - 1], last = points[points.length - 1];
  if (point[0] !== last[0] || point[1] !== last[1]) points.push(point);
}

const undo = () => Object.assign(state, {strokes: state.strokes.slice(0, -1), ...LIFTED});
const clear = () => Object.assign(state, {strokes: [], example: null, ...LIFTED});

/** @param {PointerEvent} event @returns {Point} */
function place(event) {
  const box = paper.getBoundingClientRect();
  const unit = (position, length) =>
    Math.min(Math.max(Math.round((position / length) * SIDE), -SIDE), 2 * SIDE);
  return [unit(event.clientX - box.left, box.width), unit(event.clientY - box.top, box.height)];
}

paper.addEventListener("pointerdown", (/** @type {PointerEvent} */ event) => {
  if (state.pointer !== null || event.button !== 0) return;
  begin(place(event));
  Object.assign(state, {pointer: event.pointerId, keyboard: false, isDown: false});
  paper.setPointerCapture(event.pointerId);
  show();
});
paper.addEventListener("pointermove", (/** @type {PointerEvent} */ event) => {
  if (event.pointerId !== state.pointer) return;
  const events = event.getCoalescedEvents?.() ?? [];
  for (const each of events.length ? events : [event]) extend(place(each));
  show();
});
for (const end of ["pointerup", "pointercancel"]) {
  paper.addEventListener(end, (/** @type {PointerEvent} */ event) => {
    if (event.pointerId === state.pointer) state.pointer = null;
  });
}

/** @type {Record<string, Point>} */
const ARROWS = {
  ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP],
};
paper.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
  const arrow = ARROWS[event.key];
  if ((!arrow && event.key !== " ") || event.ctrlKey || event.altKey || event.metaKey) return;
  event.preventDefault();
  if (state.pointer !== null || (!arrow && event.repeat)) return;
  state.keyboard = true;
  if (arrow) {
    const inside = n => Math.min(Math.max(n, 0), SIDE);
    state.pen = [inside(state.pen[0] + arrow[0]), inside(state.pen[1] + arrow[1])];
    if (state.isDown) extend(state.pen);
  } else {
    if (!state.isDown) begin(state.pen);
    state.isDown = !state.isDown;
  }
  show();
});
paper.addEventListener("blur", () => { state.keyboard = state.isDown = false; show(); });

addEventListener("keydown", event => {
  const {target, code, key, ctrlKey, metaKey} = event;
  if (target instanceof Element && target.closest("#train")) return; // fields to type in
  // The code also where letters are not Latin
  if ((ctrlKey || metaKey) && (code === "KeyZ" || key === "z")) undo();
  else if (key === "Delete" || key === "Backspace") clear();
  else return;
  event.preventDefault();
  show();
});

$("undo").addEventListener("click", () => { undo(); show(); });
$("clear").addEventListener("click", () => { clear(); show(); });
$("picture").addEventListener("click", savePicture);

/** Save the drawing with its answer; alone, where the network reads whole pictures. */
async function savePicture() {
  const found = answer();
  if (!found) return;
  const {classes} = model, {probabilities, ranking: [best, next, ...rest]} = found;
  const says = sureness(probabilities[best], classes[next], probabilities[next]);
  const shown = [best, next, ...rest].slice(0, 10).sort((a, b) => a - b);
  /** @type {[string, number][]} */
  const bars = shown.map(number => [classes[number], probabilities[number]]);
  const side = model.whole ? undefined : {name: classes[best], says, bars};
  const file = picture(rasterise(state.strokes), side);
  await file.then(png => save(png, "drawing.png"), error => tellShared(error.message));
}

export const tellShared = words => { $("shared").textContent = words; };

export const drawing = () => state.strokes;

/** Let the paper have a drawing. @param {Stroke[]} strokes */
export function useDrawing(strokes) {
  clear();
  state.strokes = strokes;
  show();
}

// Show what the network says to each test image: a bar for each class.
function showThumbnails() {
  const bars = `<span class="columns">${"<i></i>".repeat(model.classes.length)}</span>`;
  const content = `<canvas class="pixels"></canvas>${bars}<span></span>`;
  const html = `<button type="button">${content}</button>`;
  fill("thumbnails", examples.length, html).forEach((button, n) => {
    const example = examples[n], {bytes, number, name} = example;
    const probabilities = predict(model, bytes), [best] = ranking(probabilities);
    const [canvas, bars, caption] = button.children, isRight = best === number;
    drawBytes(canvas, bytes);
    showColumns([...bars.children], probabilities, number);
    caption.textContent = isRight ? name : `✗ ${model.classes[best]}, not ${name}`;
    button.className = isRight ? "right" : "wrong";
    button.setAttribute("aria-label", `Test image ${example.place}: ${caption.textContent}`);
    button.onclick = () => look(example);
  });
}

/** @param {Example} example */
function look(example) {
  clear();
  state.example = example;
  show();
}

/** Answer with another network from now on. @param {Model} network */
export function useModel(network) {
  model = network;
  showThumbnails();
  showFoot();
  show();
}

function showFoot() {
  const {accuracy, arithmetic, layers, md5} = model;
  const sizes = [rows * columns, ...layers.map(({W}) => W.columns)].join("-");
  const share = accuracy === undefined ? ""
    : ` It classifies ${(100 * accuracy).toFixed(2)} % of the test images correctly.`;
  const bits = arithmetic === "exact" ? "Its probabilities have"
    : "Trained in float32, its probabilities need not have";
  const name = md5 ? `Model ${md5}` : "A model in training";
  $("foot").textContent = `${name}, ${sizes}.${share} ${bits} the same bits as in Python.`;
}

if (!model.classes.every(name => /^\d$/.test(name)))
  document.title = $("title").textContent = `Draw one of ${model.classes.length} classes`;
$("examples").hidden = examples.length === 0;
useModel(model);
if (examples.length) look(examples[0]);
addEventListener("resize", () => { drawPaper(); drawGraph(model, answer()); });
onColours(show);
