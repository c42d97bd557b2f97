// pipeline/store/arrays.py in JavaScript: array files, .npz, byte for byte, and their MD5.
"use strict";

const CRC_TABLE = Uint32Array.from({length: 256}, (_, n) => {
  for (let i = 0; i < 8; i++) n = n & 1 ? (n >>> 1) ^ 0xedb88320 : n >>> 1;
  return n;
});

function crc32(bytes) {
  let crc = -1;
  for (let i = 0; i < bytes.length; i++) crc = CRC_TABLE[(crc ^ bytes[i]) & 255] ^ (crc >>> 8);
  return ~crc >>> 0;
}

// Return little-endian bytes of pairs: a whole number, and how many bytes it takes.
const little = (...pairs) =>
  pairs.flatMap(([number, size]) => Array.from({length: size}, (_, i) => Math.floor(number / 256 ** i) & 255));

const ascii = text => Array.from(text, character => character.charCodeAt(0));

function joined(parts) {
  const whole = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

// Return an .npy file. `type` is NumPy's name of the elements' type, `numbers` a typed array of them.
function npy(type, shape, numbers) {
  const sizes = shape.length === 1 ? `${shape[0]},` : shape.join(", ");
  const text = `{'descr': '${type}', 'fortran_order': False, 'shape': (${sizes}), }`;
  const room = shape.length ? 21 - String(shape[0]).length : 0; // NumPy leaves room for a first axis that grows
  const length = Math.ceil((11 + text.length + room) / 64) * 64 - 10;
  const header = [0x93, ...ascii("NUMPY\x01\x00"), ...little([length, 2]), ...ascii(text.padEnd(length - 1) + "\n")];
  return joined([header, new Uint8Array(numbers.buffer)]);
}

// Return texts as an .npy file. They have 4 bytes a character.
function npyOfTexts(shape, texts) {
  const characters = texts.map(text => Array.from(text, character => character.codePointAt(0)));
  const width = Math.max(...characters.map(points => points.length));
  return npy(`<U${width}`, shape, Uint32Array.from(characters.flatMap(points => Array.from({length: width}, (_, i) => points[i] ?? 0))));
}

// Return an uncompressed .npz, from .npy files by their names.
function npz(files) {
  const parts = [], directory = [], names = Object.keys(files);
  const version = little([45, 2], [0, 6], [33, 2]); // no flags, not compressed, midnight of 1 January 1980
  let offset = 0;
  for (const name of names) {
    const content = files[name], crc = crc32(content), size = content.length, entry = ascii(`${name}.npy`);
    const header = [
      ...ascii("PK\x03\x04"), ...version, ...little([crc, 4], [0xffffffff, 4], [0xffffffff, 4], [entry.length, 2], [20, 2]),
      ...entry, ...little([1, 2], [16, 2], [size, 8], [size, 8]), // sizes of 64 bits
    ];
    parts.push(header, content);
    directory.push(
      ...ascii("PK\x01\x02"), 45, 3, ...version, ...little([crc, 4], [size, 4], [size, 4], [entry.length, 2], [0, 8]),
      ...little([0o600 * 65536, 4], [offset, 4]), ...entry,
    );
    offset += header.length + size;
  }
  const n = names.length;
  const end = little([0, 4], [n, 2], [n, 2], [directory.length, 4], [offset, 4], [0, 2]);
  return joined([...parts, directory, ascii("PK\x05\x06"), end]);
}

// Return the bytes of each array of such a file, by its name.
function readNpz(bytes) {
  const view = new DataView(bytes.buffer), arrays = {};
  for (let at = 0; view.getUint32(at) === 0x504b0304;) { // "PK\x03\x04"
    const [entry, extra] = [26, 28].map(place => view.getUint16(at + place, true)), start = at + 30 + entry + extra;
    const name = String.fromCharCode(...bytes.subarray(at + 30, at + 26 + entry)); // without .npy
    at = start + view.getUint32(at + 34 + entry, true);
    arrays[name] = bytes.subarray(start + 10 + view.getUint16(start + 8, true), at);
  }
  return arrays;
}

// Return a network as the train stage saves it.
function modelFile({layers}, {activation}, {scale, imageShape, classes, fitted, inverted}) {
  const files = {}, number = x => npy("<f8", [], Float64Array.of(x));
  layers.forEach(({W, b}, l) => {
    files[`weights_${l + 1}`] = npy("<f8", [W.rows, W.columns], W.numbers);
    files[`biases_${l + 1}`] = npy("<f8", [W.columns], b.numbers);
  });
  files.activation = npyOfTexts([], [activation]);
  files.arithmetic = npyOfTexts([], ["exact"]);
  files.shift = number(0);
  files.scale = number(scale);
  files.image_shape = npy("<i8", [2], BigInt64Array.from(imageShape, BigInt));
  files.classes = npyOfTexts([classes.length], classes);
  for (const [name, flag] of Object.entries({fitted, inverted})) if (flag) files[name] = npy("|b1", [], Uint8Array.of(1));
  return npz(files);
}

const MD5_SINES = Int32Array.from({length: 64}, (_, i) => Math.floor(2 ** 32 * Math.abs(Math.sin(i + 1))));
const MD5_TURNS = Uint8Array.from({length: 64}, (_, i) => [[7, 12, 17, 22], [5, 9, 14, 20], [4, 11, 16, 23], [6, 10, 15, 21]][i >> 4][i & 3]);
const MD5_WORDS = Uint8Array.from({length: 64}, (_, i) => [i, 5 * i + 1, 3 * i + 5, 7 * i][i >> 4] & 15);

// Return the MD5 of some bytes, the whole of a buffer, in hexadecimal digits (RFC 1321). Browsers have none.
function md5(bytes) {
  const whole = bytes.length & ~63, end = new Uint8Array(bytes.length - whole < 56 ? 64 : 128);
  end.set(bytes.subarray(whole));
  end[bytes.length - whole] = 128;
  new DataView(end.buffer).setBigUint64(end.length - 8, 8n * BigInt(bytes.length), true);
  const state = Int32Array.of(0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476);
  for (const words of [new Int32Array(bytes.buffer, 0, whole / 4), new Int32Array(end.buffer)]) {
    for (let start = 0; start < words.length; start += 16) {
      let a = state[0], b = state[1], c = state[2], d = state[3];
      for (let i = 0; i < 64; i++) {
        const f = i < 16 ? (b & c) | (~b & d) : i < 32 ? (b & d) | (c & ~d) : i < 48 ? b ^ c ^ d : c ^ (b | ~d);
        const sum = (a + f + MD5_SINES[i] + words[start + MD5_WORDS[i]]) | 0, turn = MD5_TURNS[i];
        a = d;
        d = c;
        c = b;
        b = (b + ((sum << turn) | (sum >>> (32 - turn)))) | 0;
      }
      state[0] += a;
      state[1] += b;
      state[2] += c;
      state[3] += d;
    }
  }
  return Array.from(new Uint8Array(state.buffer), byte => byte.toString(16).padStart(2, "0")).join("");
}
