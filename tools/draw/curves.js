// Curves with round ticks, as SVG.

import {$, grouped} from "./dom.js";

/** @typedef {[iteration: number, value: number][]} Curve */
/** @typedef {{name: string, points: Curve}} Line of a plot; the name is its class, too */

const LEFT = 44, RIGHT = 290, TOP = 12, BOTTOM = 156; // of the plot, in units of the picture

/** Return round numbers from about `low` to about `high`, some five. */
function ticks(low, high) {
  const rough = (high - low) / 4 || 1, power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5].find(n => n * power >= rough) ?? 10);
  const first = Math.floor(low / step + 1e-9), last = Math.ceil(high / step - 1e-9);
  return Array.from({length: Math.max(last - first, 1) + 1}, (_, i) => (first + i) * step);
}

/** Draw lines from step 0 to the last step. The first two have a mark at their end.
 * @param {string} id @param {number} iterations @param {Line[]} lines
 * @param {(value: number) => string} write a value */
export function showCurves(id, iterations, lines, write) {
  const values = lines.flatMap(({points}) => points.map(([, value]) => value));
  const [low, high] = values.length ? [Math.min(...values), Math.max(...values)] : [0, 100];
  const rows = ticks(low, high), columns = ticks(0, iterations).filter(n => n <= iterations);
  const [bottom, top] = [rows[0], rows[rows.length - 1]], step = rows[1] - rows[0];
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  const x = n => (LEFT + (RIGHT - LEFT) * n / iterations).toFixed(1);
  const y = n =>
    (BOTTOM - (BOTTOM - TOP) * (n - bottom) / (top - bottom)).toFixed(1);
  const text = (x, y, anchor, words) =>
    `<text x="${x}" y="${y}" text-anchor="${anchor}">${words}</text>`;
  const grid = rows.map(value => `<path d="M${LEFT} ${y(value)}H${RIGHT}"/>` +
    text(LEFT - 5, Number(y(value)) + 4, "end", value.toFixed(digits)));
  const steps = columns.filter(Number.isInteger).map(n =>
    text(x(n), BOTTOM + 16, n === iterations ? "end" : "middle", grouped(n)));
  const drawn = lines.map(({name, points}) => {
    const last = points[points.length - 1];
    const mark = last && `<circle class="${name}" cx="${x(last[0])}" cy="${y(last[1])}" r="3"/>`;
    const path = points.map(([n, value]) => `${x(n)},${y(value)}`).join(" ");
    return `<polyline class="${name}" points="${path}"/>${mark ?? ""}`;
  });
  $(id).innerHTML = [...grid, ...steps, ...drawn].join("");
  const said = lines.map(({name, points}) =>
    `${name} ${points.length ? write(points[points.length - 1][1]) : "not yet known"}`);
  $(id).setAttribute("aria-label", said.join(", "));
}
