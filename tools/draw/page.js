// The page: a drawing, or an image, goes in; the answer and a look inside the network come out.

const SURE = 0.6; // below this probability, the answer says so
const STRONGEST = 6; // neurons to show
const STEP = 16; // units that an arrow key moves the pen

const $ = id => document.getElementById(id);
const stored = JSON.parse($("data").textContent);
const [rows, columns] = stored.image_shape;
let model = readModel(readBytes($("model").textContent), stored);
const examples = (stored.examples ?? []).map(example => (
  {...example, bytes: readBytes(example.image), name: stored.classes[example.number]}));
const paper = $("paper");

// All that can be seen follows from this. `image` has the bytes of a test image, if the network
// sees one. `pointer` draws: a second finger does not. `pen` is where the keys have moved it.
const LIFTED = {pointer: null, isDown: false};
const state = {
  strokes: [],
  image: null,
  source: "",
  pen: [SIDE / 2, SIDE / 2],
  keyboard: false,
  ...LIFTED,
};

// Return the network's answer, null for nothing: the prepared image, the probabilities, the classes
// in their order.
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

// It is stable
const ranking = probabilities =>
  [...probabilities.keys()].sort((a, b) => probabilities[b] - probabilities[a]);
const percent = probability => `${(100 * probability).toFixed(1)} %`;

function showVerdict(found) {
  if (!found) return say("Nothing there.");
  const [best, next] = found.ranking,
    [first, second] = [best, next].map(number => percent(found.probabilities[number]));
  const name = document.createElement("b"), isSure = found.probabilities[best] >= SURE;
  name.textContent = model.classes[best];
  const words = isSure
    ? `${first} sure`
    : `Not sure: ${first}. Perhaps ${model.classes[next]}, ${second}.`;
  say(name, ` ${words}`, state.source);
}

// Show the words, and let a screen reader say them once the drawing rests.
function say(...words) {
  $("verdict").replaceChildren(...words);
  clearTimeout(timer);
  timer = setTimeout(() => { $("spoken").textContent = $("verdict").textContent; }, 700);
}
let timer = 0;

function showBars(found) {
  const best = found?.ranking[0],
    name = '<span class="name"></span>',
    bar = '<span class="track"><span class="bar"></span></span>';
  fill("bars", model.classes.length, `<li>${name}${bar}<span class="percent"></span></li>`);
  [...$("bars").children].forEach((row, number) => {
    const probability = found ? found.probabilities[number] : 0;
    row.querySelector(".name").textContent = model.classes[number];
    row.classList.toggle("best", number === best);
    row.querySelector(".bar").style.width = `${100 * probability}%`;
    row.querySelector(".percent").textContent = found ? percent(probability) : "";
  });
}

function showNeurons(found) {
  const shown = model.layers.length > 1 ? Math.min(model.layers[0].W.columns, STRONGEST) : 0;
  fill("neurons", shown, '<li><canvas class="pixels" role="img"></canvas><span></span></li>');
  $("inside").hidden = shown === 0;
  $("neurons").hidden = !found;
  if (!found) return;
  const best = found.ranking[0], shares = contributions(model, best);
  const strongest = [...shares.keys()].sort((a, b) => Math.abs(shares[b]) - Math.abs(shares[a]));
  [...$("neurons").children].forEach((item, place) => {
    const neuron = strongest[place], share = shares[neuron], [canvas, text] = item.children;
    canvas.setAttribute("aria-label", `Weights of neuron ${neuron}`);
    drawWeights(canvas, model.layers[0].W, neuron, found.image);
    text.className = share < 0 ? "against" : "for";
    const size = `${share < 0 ? "−" : "+"}${Math.abs(share).toFixed(2)}`;
    text.textContent = `${size} for ${model.classes[best]}`;
  });
}

// Let an element have n children that are written so.
function fill(id, n, html) {
  if ($(id).children.length !== n) $(id).innerHTML = html.repeat(n);
}

// Paint the weights of a neuron, the strongest in full colour; those where the image is black are
// pale.
function drawWeights(canvas, {numbers, columns: outputs}, neuron, image) {
  const [excites, inhibits] = [ink("--for"), ink("--against")];
  let most = Number.MIN_VALUE;
  for (let i = neuron; i < numbers.length; i += outputs)
    most = Math.max(most, Math.abs(numbers[i]));
  paint(canvas, i => {
    const w = numbers[i * outputs + neuron],
      strength = (Math.abs(w) / most) * (image && image[i] === 0 ? 90 : 255);
    return Math.round(strength) << 24 | (w < 0 ? inhibits : excites);
  });
}

const drawBytes = (canvas, bytes) => paint(canvas, i => 0xff000000 | 0x10101 * bytes[i]);

// Paint a canvas of the image's size: `colour` gives each pixel's opacity, blue, green and red, 8
// bits each.
function paint(canvas, colour) {
  if (canvas.width !== columns || canvas.height !== rows)
    [canvas.width, canvas.height] = [columns, rows];
  const image = new ImageData(columns, rows), pixels = new Uint32Array(image.data.buffer);
  for (let i = 0; i < rows * columns; i++) pixels[i] = colour(i);
  canvas.getContext("2d").putImageData(image, 0, 0);
}

const css = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const ink = name => parseInt(css(name).replace(/#(..)(..)(..)/, "$3$2$1"), 16); // blue, green, red

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

const undo = () => Object.assign(state, {strokes: state.strokes.slice(0, -1), ...LIFTED});
const clear = () => Object.assign(state, {strokes: [], image: null, source: "", ...LIFTED});

function place(event) {
  const box = paper.getBoundingClientRect();
  const unit = (position, start, length) =>
    Math.min(Math.max(Math.round(((position - start) / length) * SIDE), -SIDE), 2 * SIDE);
  return [unit(event.clientX, box.left, box.width), unit(event.clientY, box.top, box.height)];
}

paper.addEventListener("pointerdown", event => {
  if (state.pointer !== null || event.button !== 0) return;
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
    if (event.pointerId === state.pointer) state.pointer = null;
  });
}

const ARROWS = {
  ArrowLeft: [-STEP, 0],
  ArrowRight: [STEP, 0],
  ArrowUp: [0, -STEP],
  ArrowDown: [0, STEP],
};
paper.addEventListener("keydown", event => {
  const arrow = ARROWS[event.key];
  if ((!arrow && event.key !== " ") || event.ctrlKey || event.altKey || event.metaKey) return;
  event.preventDefault();
  if (state.pointer !== null || (!arrow && event.repeat)) return;
  state.keyboard = true;
  if (arrow) {
    state.pen = state.pen.map((position, axis) =>
      Math.min(Math.max(position + arrow[axis], 0), SIDE),
    );
    if (state.isDown) extend(state.pen);
  } else {
    if (!state.isDown) begin(state.pen);
    state.isDown = !state.isDown;
  }
  show();
});
paper.addEventListener("blur", () => { state.keyboard = state.isDown = false; show(); });

addEventListener("keydown", event => {
  if (event.target.closest?.("#train")) return; // there are fields to type in
  // The code also where letters are not Latin
  const isZ = event.code === "KeyZ" || event.key === "z";
  if ((event.ctrlKey || event.metaKey) && isZ) undo();
  else if (event.key === "Delete" || event.key === "Backspace") clear();
  else return;
  event.preventDefault();
  show();
});

$("undo").addEventListener("click", () => { undo(); show(); });
$("clear").addEventListener("click", () => { clear(); show(); });

// Show what the network says to each test image: a bar for each class.
function showThumbnails() {
  const bars = `<span class="columns">${"<i></i>".repeat(model.classes.length)}</span>`;
  fill(
    "thumbnails",
    examples.length,
    `<button type="button"><canvas class="pixels"></canvas>${bars}<span></span></button>`,
  );
  examples.forEach((example, n) => {
    const {bytes, place, name, number} = example, probabilities = predict(model, bytes);
    const button = $("thumbnails").children[n], [canvas, bars, caption] = button.children;
    drawBytes(canvas, bytes);
    probabilities.forEach((y, i) => { bars.children[i].style.height = `${100 * y}%`; });
    bars.children[number].className = "true";
    caption.textContent = name;
    button.className = ranking(probabilities)[0] === number ? "right" : "wrong";
    button.setAttribute("aria-label", `Test image ${place}: ${name}`);
    button.onclick = () => {
      look(example);
      // On a telephone it is far above
      document.querySelector(".answer").scrollIntoView({block: "nearest"});
    };
  });
}

function look({bytes, place, name}) {
  clear();
  Object.assign(state, {image: bytes, source: ` (test image ${place}, really ${name})`});
  show();
}

// Answer with another network from now on.
function useModel(network) {
  model = network;
  showThumbnails();
  showFoot();
  show();
}

function showFoot() {
  const {accuracy, arithmetic, layers, md5} = model,
    sizes = [rows * columns, ...layers.map(({W}) => W.columns)].join("-");
  const share =
    accuracy === undefined
      ? ""
      : ` It classifies ${(100 * accuracy).toFixed(2)} % of the test images correctly.`;
  const bits =
    arithmetic === "exact"
      ? "Its probabilities have"
      : "Trained in float32, its probabilities need not have";
  const name = md5 ? `Model ${md5}` : "A model in training";
  $("foot").textContent = `${name}, ${sizes}.${share} ${bits} the same bits as in Python.`;
}

if (!model.classes.every(name => /^\d$/.test(name))) {
  document.title = $("title").textContent = `Draw one of ${model.classes.length} classes`;
}
$("examples").hidden = examples.length === 0;
useModel(model);
if (examples.length) look(examples[0]);
addEventListener("resize", drawPaper);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);
