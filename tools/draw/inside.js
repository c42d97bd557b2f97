// A look inside the network: its answer as bars, and its layers as a picture.

import {$, columns, css, fill, inked, percent, rows} from "./dom.js";
import {contributions} from "./predict.js";

const SHOWN = 50, TRACED = 10, PIXELS_EACH = 6; // neurons; those with lines to pixels; how many

/** Return the places of the n numbers of largest size, the largest first. */
const largest = (numbers, n) =>
  [...numbers.keys()].sort((a, b) => Math.abs(numbers[b]) - Math.abs(numbers[a])).slice(0, n);

export function showBars({classes}, found) {
  const bar = '<span class="track"><span class="bar"></span></span>';
  const html = `<li><span class="name"></span>${bar}<span class="percent"></span></li>`;
  const minis = fill("mini", classes.length, "<i></i>");
  fill("bars", classes.length, html).forEach((row, number) => {
    const probability = found?.probabilities[number] ?? 0;
    const isBest = number === found?.ranking[0], [name, track, text] = row.children;
    name.textContent = classes[number];
    track.firstChild.style.width = minis[number].style.height = `${100 * probability}%`;
    text.textContent = found ? percent(probability) : "";
    for (const each of [row, minis[number]]) each.classList.toggle("best", isBest);
  });
}

/** Draw the image, the first hidden layer and the classes, and how they add up to the answer.
 * Several hidden layers are drawn as one: a neuron's line shows all that it adds to a class. */
export function drawGraph(model, found) {
  const {classes, layers: [{W}], shift} = model, canvas = $("graph"), best = found?.ranking[0] ?? 0;
  const {clientWidth: width, clientHeight: height} = canvas, hasHidden = model.layers.length > 1;
  [canvas.width, canvas.height] = [width, height].map(side => Math.round(side * devicePixelRatio));
  const neurons = hasHidden ? `, ${W.columns} neurons` : "";
  const lit = found ? `: what counts for ${classes[best]} lights up` : "";
  canvas.setAttribute("aria-label", `Pixels${neurons}, ${classes.length} classes${lit}`);

  const context = canvas.getContext("2d");
  const [plus, minus, edge] = ["--for", "--against", "--edge"].map(css);
  context.scale(devicePixelRatio, devicePixelRatio);
  const unit = Math.min(.44 * width, .7 * height) / Math.max(rows, columns);
  const top = (height - unit * rows) / 2, box = [2, top, unit * columns, unit * rows];
  context.imageSmoothingEnabled = false;
  if (found) context.drawImage(inked(found.image), ...box);
  context.strokeStyle = edge;
  context.strokeRect(...box);

  const pixelAt = i => [2 + (i % columns + .5) * unit, top + (Math.floor(i / columns) + .5) * unit];
  const classAt = number => {
    const row = $("bars").children[number];
    return [width - 2, row.offsetTop - canvas.offsetTop + row.offsetHeight / 2];
  };
  const line = (from, to, value, size) => {
    const [x, y] = from, [toX, toY] = to;
    const middle = (x + toX) / 2;
    context.strokeStyle = value < 0 ? minus : plus;
    context.globalAlpha = Math.min(1, Math.abs(value));
    context.lineWidth = size * Math.min(1, .3 + Math.abs(value));
    context.beginPath();
    context.moveTo(x, y);
    context.bezierCurveTo(middle, y, middle, toY, toX, toY);
    context.stroke();
  };
  // Lines from the pixels that add most to an output of the first layer
  const trace = (output, place, strength, n) => {
    const adds = Float64Array.from(found?.image ?? [],
      (byte, i) => (byte - shift) * W.numbers[i * W.columns + output]);
    const pixels = largest(adds, n), most = Math.abs(adds[pixels[0]]) || 1;
    for (const i of pixels) line(pixelAt(i), place, strength * adds[i] / most, 1.5);
  };
  if (!hasHidden) return trace(best, classAt(best), 1, TRACED * PIXELS_EACH);

  const none = new Float64Array(W.columns);
  const shares = classes.map((_, number) => found ? contributions(model, number) : none);
  const strength = none.map((_, neuron) => Math.max(...shares.map(each => Math.abs(each[neuron]))));
  const shown = largest(strength, SHOWN).sort((a, b) => a - b), most = Math.max(...strength) || 1;
  const neuronAt = neuron => [.68 * width, (shown.indexOf(neuron) + .5) * height / shown.length];
  shares.forEach((each, number) => {
    for (const neuron of shown)
      line(neuronAt(neuron), classAt(number), .2 * each[neuron] / most, 1);
  });
  for (const neuron of largest(shares[best], TRACED))
    trace(neuron, neuronAt(neuron), Math.abs(shares[best][neuron]) / most, PIXELS_EACH);
  for (const neuron of shown) {
    const share = shares[best][neuron] / most, [x, y] = neuronAt(neuron);
    line([x, y], classAt(best), share, 3.5);
    context.globalAlpha = 1;
    context.fillStyle = !share ? edge : share < 0 ? minus : plus;
    context.beginPath();
    context.arc(x, y, 1.3 + 3.2 * Math.sqrt(Math.abs(share)), 0, 2 * Math.PI);
    context.fill();
  }
}
