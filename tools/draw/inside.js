// A look inside the network: its answer as bars, its layers as a picture, its strongest neurons.

import {$, columns, css, drawWeights, fill, inked, percent, rows} from "./dom.js";
import {contributions} from "./predict.js";

/** @import {Model} from "./predict.js" */
/** @typedef {{image: Uint8Array, probabilities: Float64Array, ranking: number[]}} Answer the
 *   prepared image, the probabilities, and the classes from the most probable on */

const STRONGEST = 6, SHOWN = 50; // neurons as squares, neurons in the picture
const TRACED = 10, PIXELS_EACH = 6; // neurons whose pixels are traced, and how many of these

/** Return the places of the n numbers of largest size, the largest first.
 * @param {ArrayLike<number>} numbers @param {number} n */
const largest = (numbers, n) =>
  [...Array(numbers.length).keys()].sort((a, b) => Math.abs(numbers[b]) - Math.abs(numbers[a]))
    .slice(0, n);

/** @param {Model} model @param {Answer | null} found */
export function showInside(model, found) {
  showBars(model, found);
  showNeurons(model, found);
  drawGraph(model, found);
}

/** @param {Model} model @param {Answer | null} found */
function showBars({classes}, found) {
  const name = '<span class="name"></span>';
  const bar = '<span class="track"><span class="bar"></span></span>';
  const html = `<li>${name}${bar}<span class="percent"></span></li>`;
  fill("bars", classes.length, html).forEach((row, number) => {
    const probability = found ? found.probabilities[number] : 0;
    row.querySelector(".name").textContent = classes[number];
    row.classList.toggle("best", number === found?.ranking[0]);
    row.querySelector(".bar").style.width = `${100 * probability}%`;
    row.querySelector(".percent").textContent = found ? percent(probability) : "";
  });
  showColumns(fill("mini", classes.length, "<i></i>"), found?.probabilities, found?.ranking[0]);
}

/** @param {HTMLElement[]} bars @param {Float64Array=} probabilities @param {number=} marked */
export function showColumns(bars, probabilities, marked) {
  bars.forEach((bar, number) => {
    bar.style.height = `${100 * (probabilities?.[number] ?? 0)}%`;
    bar.className = number === marked ? "true" : "";
  });
}

/** @param {Model} model @param {Answer | null} found */
function showNeurons(model, found) {
  const {W} = model.layers[0], shown = model.layers.length > 1 ? Math.min(W.columns, STRONGEST) : 0;
  const html = '<li><canvas class="pixels" role="img"></canvas><span></span></li>';
  const items = fill("neurons", shown, html);
  $("inside").hidden = shown === 0;
  $("neurons").hidden = !found;
  if (!found) return;
  const best = found.ranking[0], shares = contributions(model, best);
  const strongest = largest(shares, STRONGEST);
  items.forEach((item, place) => {
    const neuron = strongest[place], share = shares[neuron], [canvas, text] = item.children;
    canvas.setAttribute("aria-label", `Weights of neuron ${neuron}`);
    drawWeights(canvas, W, neuron, found.image);
    text.className = share < 0 ? "against" : "for";
    const size = `${share < 0 ? "−" : "+"}${Math.abs(share).toFixed(2)}`;
    text.textContent = `${size} for ${model.classes[best]}`;
  });
}

/** Draw the image, the first hidden layer and the classes, and how they add up to the answer.
 * Several hidden layers are drawn as one: a neuron's line shows all that it adds to a class.
 * @param {Model} model @param {Answer | null} found */
export function drawGraph(model, found) {
  const {classes, layers: [{W, a}], shift} = model, canvas = $("graph");
  const [width, height, ratio] = [canvas.clientWidth, canvas.clientHeight, devicePixelRatio];
  [canvas.width, canvas.height] = [Math.round(width * ratio), Math.round(height * ratio)];
  const context = canvas.getContext("2d"), hasHidden = model.layers.length > 1;
  context.scale(ratio, ratio);
  const side = Math.min(.44 * width, .7 * height), unit = side / Math.max(rows, columns);
  const top = (height - unit * rows) / 2;
  context.imageSmoothingEnabled = false;
  if (found) context.drawImage(inked(found.image), 2, top, unit * columns, unit * rows);
  context.strokeStyle = css("--edge");
  context.strokeRect(2, top, unit * columns, unit * rows);
  const pixelAt = i =>
    [2 + (i % columns + .5) * unit, top + (Math.floor(i / columns) + .5) * unit];
  const classAt = number => {
    const row = $("bars").children[number];
    return [width - 2, row.offsetTop - canvas.offsetTop + row.offsetHeight / 2];
  };
  const line = (from, to, value = 0, size = 2) => {
    const middle = (from[0] + to[0]) / 2;
    context.strokeStyle = css(value < 0 ? "--against" : "--for");
    context.globalAlpha = Math.min(1, Math.abs(value));
    context.lineWidth = size * Math.min(1, .3 + Math.abs(value));
    context.beginPath();
    context.moveTo(from[0], from[1]);
    context.bezierCurveTo(middle, from[1], middle, to[1], to[0], to[1]);
    context.stroke();
  };
  // What each pixel adds to an output of the first layer
  const adds = output => Float64Array.from(found?.image ?? [],
    (byte, i) => (byte - shift) * W.numbers[i * W.columns + output]);
  const best = found?.ranking[0] ?? 0;
  if (!hasHidden) {
    const shares = adds(best), strongest = largest(shares, 8 * PIXELS_EACH);
    for (const i of strongest.reverse())
      line(pixelAt(i), classAt(best), shares[i] / Math.abs(shares[strongest[0]] || 1));
    return;
  }
  const shares = found ? classes.map((_, number) => contributions(model, number)) : [];
  const strength = a.numbers.slice(0, W.columns).map((_, neuron) =>
    Math.max(0, ...shares.map(each => Math.abs(each[neuron]))));
  const shown = largest(strength, SHOWN).sort((x, y) => x - y), x = .68 * width;
  const neuronAt = neuron =>
    [x, (shown.indexOf(neuron) + .5) * height / shown.length];
  const most = Math.max(...strength) || 1;
  shares.forEach((each, number) => {
    if (number !== best)
      for (const neuron of shown)
        line(neuronAt(neuron), classAt(number), .2 * each[neuron] / most, 1);
  });
  for (const neuron of largest(shares[best] ?? [], TRACED).reverse()) {
    const pixels = adds(neuron), strongest = largest(pixels, PIXELS_EACH);
    const scale = Math.abs(pixels[strongest[0]] * most) || 1;
    for (const i of strongest)
      line(pixelAt(i), neuronAt(neuron), pixels[i] * Math.abs(shares[best][neuron]) / scale, 1.5);
  }
  for (const neuron of shown) {
    const share = (shares[best]?.[neuron] ?? 0) / most;
    if (found) line(neuronAt(neuron), classAt(best), share, 3.5);
    context.globalAlpha = 1;
    context.fillStyle = css(!share ? "--edge" : share < 0 ? "--against" : "--for");
    context.beginPath();
    const radius = 1.3 + 3.2 * Math.sqrt(Math.abs(share));
    context.arc(...neuronAt(neuron), radius, 0, 2 * Math.PI);
    context.fill();
  }
  const name = found ? `: the strongest neurons for ${classes[best]} light up` : "";
  const layers = `Pixels, ${W.columns} neurons, ${classes.length} classes`;
  canvas.setAttribute("aria-label", `${layers}${name}`);
}
