// mlp/random.py in JavaScript, with NumPy's SeedSequence and PCG64.

import {bitLength, powerOfTwo} from "./arithmetic.js";

export const WEIGHTS = 1, ORDER = 2, SAMPLE = 3; // the purposes of random numbers

/** Return the two numbers of 128 bits that SeedSequence makes of three words of 32 bits. */
function seedSequence(words) {
  let hash = 0x43b0d7e5;
  const scramble = (value, factor) => {
    value ^= hash;
    hash = Math.imul(hash, factor);
    value = Math.imul(value, hash);
    return value ^ (value >>> 16);
  };
  const mix = (x, y) => {
    const z = Math.imul(0xca01f9dd, x) - Math.imul(0x4973f715, y);
    return z ^ (z >>> 16);
  };
  const pool = [...words, 0].map(word => scramble(word, 0x931e8875));
  for (let from = 0; from < 4; from++) {
    for (let to = 0; to < 4; to++)
      if (to !== from) pool[to] = mix(pool[to], scramble(pool[from], 0x931e8875));
  }
  hash = 0x8b51f9dd;
  const made = Uint32Array.from({length: 8}, (_, i) => scramble(pool[i % 4], 0x58f38ded));
  const long = i => [1, 0, 3, 2].reduce((sum, place) => (sum << 32n) | BigInt(made[i + place]), 0n);
  return [long(0), long(4)];
}

/** Return a function that gives the next n words of 64 bits of the random stream for a purpose. */
export function stream(seed, purpose, number = 0) {
  const FACTOR = 0x2360ed051fc65da44385df649fccf645n;
  const [start, sequence] = seedSequence([seed, purpose, number]);
  const increment = (sequence << 1n) | 1n;
  const next = state => BigInt.asUintN(128, state * FACTOR + increment);
  let state = next(increment + start);
  return n => BigUint64Array.from({length: n}, () => { // it keeps the low 64 bits
    state = next(state);
    const mixed = BigInt.asUintN(64, (state >> 64n) ^ state);
    return ((mixed << 64n) | mixed) >> (state >> 122n); // rotated to the right
  });
}

/** Return the numbers 0 to n − 1 in random order. */
export function permutation(source, n) {
  const bits = bitLength(Math.max(n - 1, 1)), shift = BigInt(bits);
  const words = source(n).map((word, i) => ((word >> shift) << shift) | BigInt(i)).sort();
  // Little-endian, as every processor that runs a browser
  const low = new Uint32Array(words.buffer);
  return Uint32Array.from({length: n}, (_, i) => low[2 * i] & (powerOfTwo(bits) - 1));
}

/** Return n random numbers with mean 0 and standard deviation 1, almost normally distributed. */
export function normalLike(source, n) {
  const parts = new Uint16Array(source(3 * n).buffer);
  return Float64Array.from({length: n}, (_, i) => {
    let sum = -6 * 0xffff;
    for (let k = 12 * i; k < 12 * i + 12; k++) sum += parts[k];
    return sum / 0x10000;
  });
}
