// Curves with round ticks, as SVG.

import {$, grouped} from "./dom.js";

const LEFT = 44, RIGHT = 290, TOP = 12, BOTTOM = 156; // of the plot, in units of the picture

/** Return round numbers from about `low` to about `high`, some five. */
function ticks(low, high) {
  const rough = (high - low) / 4 || 1, power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5].find(n => n * power >= rough) ?? 10);
  const first = Math.floor(low / step + 1e-9), last = Math.ceil(high / step - 1e-9);
  return Array.from({length: Math.max(last - first, 1) + 1}, (_, i) => (first + i) * step);
}

/** Draw lines from step 0 to the last step, each with a mark at its end.
 * @param {{name: string, points: number[][]}[]} lines of [step, value]; the name is a class */
export function showCurves(id, iterations, lines) {
  const values = lines.flatMap(({points}) => points.map(([, value]) => value));
  const [low, high] = values.length ? [Math.min(...values), Math.max(...values)] : [0, 100];
  const rows = ticks(low, high), bottom = rows[0], top = rows[rows.length - 1];
  const steps = ticks(0, iterations).filter(n => n <= iterations && Number.isInteger(n));
  const digits = Math.max(0, -Math.floor(Math.log10(rows[1] - bottom) + 1e-9));
  const x = n => (LEFT + (RIGHT - LEFT) * n / iterations).toFixed(1);
  const y = n => (BOTTOM - (BOTTOM - TOP) * (n - bottom) / (top - bottom)).toFixed(1);
  const text = (x, y, anchor, words) =>
    `<text x="${x}" y="${y}" text-anchor="${anchor}">${words}</text>`;
  const grid = rows.map(value => `<path d="M${LEFT} ${y(value)}H${RIGHT}"/>` +
    text(LEFT - 5, Number(y(value)) + 4, "end", value.toFixed(digits)));
  const axis = steps.map(n =>
    text(x(n), BOTTOM + 16, n === iterations ? "end" : "middle", grouped(n)));
  const drawn = lines.filter(({points}) => points.length).map(({name, points}) => {
    const places = points.map(([n, value]) => [x(n), y(value)]), [cx, cy] = places.at(-1) ?? [];
    const mark = `<circle class="${name}" cx="${cx}" cy="${cy}" r="3"/>`;
    return `<polyline class="${name}" points="${places.join(" ")}"/>${mark}`;
  });
  $(id).innerHTML = [...grid, ...axis, ...drawn].join("");
  const said = lines.map(({name, points}) => `${name} ${points.at(-1)?.[1].toFixed(4) ?? "?"}`);
  $(id).setAttribute("aria-label", said.join(", "));
}
