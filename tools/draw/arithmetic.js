// mlp/arithmetic.py in JavaScript, whose numbers are float64, and whose + − × ÷ round correctly.
// Sums of numbers on grids are exact. So they may have any order, and zeros may be left out.

const OPERAND_BITS = 21, SIGNIFICAND_BITS = 53, SMALLEST_UNIT = -500, LARGEST_EXPONENT = 480;

const float = new DataView(new ArrayBuffer(8)); // to look at the bits of a number
// No standard requires 2 ** k to be exact
const POWERS = Float64Array.from({length: 2046}, (_, i) => {
  float.setInt32(0, (i + 1) << 20);
  float.setInt32(4, 0);
  return float.getFloat64(0);
});
export const powerOfTwo = k => POWERS[k + 1022];

// Adding this to a number rounds it to an integer
export const ROUND_TO_INTEGER = 1.5 * powerOfTwo(52);
const LOG2_E = 1.4426950408889634;
const LN2_HIGH = 0x162e42fefa0000 / powerOfTwo(53); // 36 bits of ln 2
const LN2_LOW = 0x1cf79abc9e3b3a / powerOfTwo(92); // ln 2 less that

export const bitLength = n => 32 - Math.clz32(n);
export const operandBits = terms =>
  Math.min(OPERAND_BITS, (SIGNIFICAND_BITS - bitLength(terms - 1)) >> 1);
export const termBits = terms => SIGNIFICAND_BITS - Math.max(bitLength(terms), 2);

/** Return the smallest e with |x| < 2ᵉ, for normal numbers; some number below −1000 for others. */
export function exponentOf(x) {
  float.setFloat64(0, x);
  return ((float.getInt32(0) >> 20) & 2047) - 1022;
}

/** Return eˣ: the operations of Python, in its order. */
export function exp(x) {
  x = Math.min(Math.max(x, -708), 709);
  const k = x * LOG2_E + ROUND_TO_INTEGER - ROUND_TO_INTEGER;
  const r = x - k * LN2_HIGH - k * LN2_LOW;
  const square = r * r;
  const odd = ((square + 240) * square + 7920) * (r * 42);
  const even = ((square + 840) * square + 75600) * square + 665280 - odd;
  return ((odd + odd) / even + 1) * powerOfTwo(k);
}

/** Return ln x for 1 ≤ x < 2¹⁰²²: the operations of Python. */
export function log(x) {
  let k = exponentOf(x), m = x * powerOfTwo(-k);
  if (m < 0.7071067811865476) [m, k] = [2 * m, k - 1]; // below √½
  m -= 1;
  const s = m / (m + 2), square = s * s;
  let series = 1 / 23;
  for (let odd = 21; odd > 1; odd -= 2) series = series * square + 1 / odd;
  return k * LN2_HIGH + (m - (s * (m - 2 * square * series) - k * LN2_LOW));
}

/** A matrix of float64, row by row. It may have fewer rows than there is room for. */
export class Matrix {
  constructor(rows, columns, numbers = new Float64Array(rows * columns)) {
    this.rows = rows;
    this.columns = columns;
    this.numbers = numbers;
    // high[2 i + 1] has the sign and the exponent of number i
    this.high = new Int32Array(numbers.buffer);
    this.onGrid = undefined; // the result of `grid`
    this.turned = undefined; // the result of `transpose`
  }
}

/** A matrix of bytes without its zeros, for the left of `matmul`. Row r has the `numbers` from
 * starts[order[r]] to the next start, in the columns `places`. */
export class Sparse {
  constructor(order, columns, numbers, places, starts) {
    this.rows = order.length;
    this.order = order;
    this.columns = columns;
    this.numbers = numbers;
    this.places = places;
    this.starts = starts;
  }
}

const COUNTING = Uint16Array.from({length: 65536}, (_, i) => i);
const ALL_COLUMNS = {places: COUNTING, starts: undefined, order: undefined};

/** Return the smallest e with |x| < 2ᵉ for all numbers of some rows. @param {Matrix} x */
export function largestExponent({high, columns, rows}, first = 0, last = rows) {
  let largest = 0; // as an integer: NaN and ∞ are larger than all others
  for (let i = 2 * first * columns + 1; i < 2 * last * columns; i += 2)
    largest = Math.max(largest, high[i] & 0x7fffffff);
  const exponent = (largest >> 20) - 1022;
  if (exponent > LARGEST_EXPONENT) throw new RangeError("a value is not finite, or too large");
  return exponent;
}

/** Return some rows of x on one grid, whose unit is `bits` bits below 2^exponent.
 * @param {Matrix} x */
export function grid(x, bits, exponent = largestExponent(x), first = 0, last = x.rows) {
  const rounder = ROUND_TO_INTEGER * powerOfTwo(Math.max(exponent - bits, SMALLEST_UNIT));
  const to = x.onGrid ??= new Matrix(x.numbers.length / x.columns, x.columns);
  const from = x.numbers, {numbers} = to;
  for (let i = first * x.columns; i < last * x.columns; i++)
    numbers[i] = from[i] + rounder - rounder;
  to.rows = x.rows;
  return to;
}

/** Return x with a grid for each row, unless an exponent is known. @param {Matrix} x */
function gridRows(x, bits, exponent) {
  if (exponent !== undefined) return grid(x, bits, exponent);
  let onGrid = x;
  for (let row = 0; row < x.rows; row++)
    onGrid = grid(x, bits, largestExponent(x, row, row + 1), row, row + 1);
  return onGrid;
}

/** Compute out = left right. Both are on grids. @param {Matrix | Sparse} left */
export function matmul(left, {numbers: right, columns}, out) {
  const {numbers, rows, columns: inner} = left, sums = out.numbers;
  const {places, starts, order} = left instanceof Sparse ? left : ALL_COLUMNS;
  out.rows = rows;
  for (let row = 0, o = 0; row < rows; row++, o += columns) {
    const start = starts ? starts[order[row]] : row * inner;
    const end = starts ? starts[order[row] + 1] : start + inner;
    const first = starts ? 0 : start; // the places begin again in each row
    sums.fill(0, o, o + columns);
    let k = start;
    for (; k + 3 < end; k += 4) {
      // four terms at once: the sums are read and written less often
      const p = k - first;
      const x0 = numbers[k], x1 = numbers[k + 1], x2 = numbers[k + 2], x3 = numbers[k + 3];
      const r0 = places[p] * columns, r1 = places[p + 1] * columns;
      const r2 = places[p + 2] * columns, r3 = places[p + 3] * columns;
      for (let j = 0; j < columns; j++) {
        sums[o + j] +=
          x0 * right[r0 + j] + x1 * right[r1 + j] + (x2 * right[r2 + j] + x3 * right[r3 + j]);
      }
    }
    for (; k < end; k++) {
      const x = numbers[k], r = places[k - first] * columns;
      for (let j = 0; j < columns; j++) sums[o + j] += x * right[r + j];
    }
  }
}

/** Compute out = a b. All numbers of a are below 2^exponent, if it is known. */
export function dot(a, b, out, exponent) {
  const bits = operandBits(a.columns);
  matmul(gridRows(a, bits, exponent), grid(b, bits), out);
}

/** Compute the sum of each column. */
export function columnSums(x, {numbers: sums}) {
  const {numbers} = grid(x, operandBits(x.rows));
  sums.fill(0);
  for (let row = 0, i = 0; row < x.rows; row++)
    for (let j = 0; j < x.columns; j++, i++) sums[j] += numbers[i];
}

/** @param {Matrix} x */
export function transpose(x) {
  const {rows, columns, numbers} = x, to = x.turned ??= new Matrix(columns, rows);
  for (let row = 0, i = 0; row < rows; row++)
    for (let j = 0; j < columns; j++, i++) to.numbers[j * rows + row] = numbers[i];
  return to;
}

/** @param {Sparse} x */
export function transposeSparse({rows, columns, numbers, places, starts, order}) {
  const turned = new Uint32Array(columns + 2); // the counts, then the ends, then the starts
  const eachNumber = then => {
    for (let row = 0; row < rows; row++)
      for (let k = starts[order[row]]; k < starts[order[row] + 1]; k++) then(k, row);
  };
  eachNumber(k => { turned[places[k] + 2]++; });
  for (let column = 2; column < columns + 2; column++) turned[column] += turned[column - 1];
  const size = turned[columns + 1], bytes = new Uint8Array(size), rowsOf = new Uint16Array(size);
  eachNumber((k, row) => {
    const place = turned[places[k] + 1]++;
    bytes[place] = numbers[k];
    rowsOf[place] = row;
  });
  return new Sparse(COUNTING.subarray(0, columns), rows, bytes, rowsOf, turned);
}
