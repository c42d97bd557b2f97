// pipeline/store/arrays.py in JavaScript: array files, .npz, byte for byte, and their MD5.

/** @import {Network} from "./network.js" */
/** @typedef {Uint8Array<ArrayBuffer>} Bytes */

const CRC_TABLE = Uint32Array.from({length: 256}, (_, n) => {
  for (let i = 0; i < 8; i++) n = n & 1 ? (n >>> 1) ^ 0xedb88320 : n >>> 1;
  return n;
});

export function crc32(bytes) {
  let crc = -1;
  for (let i = 0; i < bytes.length; i++) crc = CRC_TABLE[(crc ^ bytes[i]) & 255] ^ (crc >>> 8);
  return ~crc >>> 0;
}

/** Return whole numbers as little-endian bytes, `size` for each. @param {number[]} numbers */
const little = (size, ...numbers) =>
  numbers.flatMap(n => Array.from({length: size}, (_, i) => Math.floor(n / 256 ** i) & 255));

export const ascii = text => Array.from(text, character => character.charCodeAt(0));

/** @param {(Bytes | number[])[]} parts */
export function joined(parts) {
  const whole = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** Return an .npy file. `type` is NumPy's name of the elements' type. */
function npy(type, shape, numbers) {
  const sizes = shape.length === 1 ? `${shape[0]},` : shape.join(", ");
  const text = `{'descr': '${type}', 'fortran_order': False, 'shape': (${sizes}), }`;
  // NumPy leaves room for a first axis that grows
  const room = shape.length ? 21 - String(shape[0]).length : 0;
  const length = Math.ceil((11 + text.length + room) / 64) * 64 - 10;
  const begin = [0x93, ...ascii("NUMPY\x01\x00"), ...little(2, length)];
  return joined([begin, ascii(text.padEnd(length - 1) + "\n"), new Uint8Array(numbers.buffer)]);
}

/** Return texts as an .npy file. They have 4 bytes a character. @param {string[]} texts */
function npyOfTexts(shape, texts) {
  const width = Math.max(...texts.map(text => Array.from(text).length));
  const points = text =>
    Array.from({length: width}, (_, i) => Array.from(text)[i]?.codePointAt(0) ?? 0);
  return npy(`<U${width}`, shape, Uint32Array.from(texts.flatMap(points)));
}

/** Return an uncompressed .npz, from .npy files. */
function npz(files) {
  const n = Object.keys(files).length, directory = [], parts = [];
  let offset = 0;
  for (const [key, content] of Object.entries(files)) {
    const name = ascii(`${key}.npy`), crc = crc32(content), size = content.length;
    // Version, not compressed, 1 January 1980
    const alike = [...little(2, 45, 0, 0, 0, 33), ...little(4, crc)];
    // Of 64 bits, for those that say 2³² − 1
    const sizes = [...little(2, 1, 16), ...little(8, size, size)];
    const begin = [...ascii("PK\x03\x04"), ...alike, ...little(4, 0xffffffff, 0xffffffff)];
    const header = [...begin, ...little(2, name.length, sizes.length), ...name, ...sizes];
    parts.push(header, content);
    // 3: made on Unix
    directory.push(...ascii("PK\x01\x02"), 45, 3, ...alike, ...little(4, size, size));
    directory.push(...little(2, name.length, 0, 0, 0, 0));
    directory.push(...little(4, 0o600 * 65536, offset), ...name);
    offset += header.length + size;
  }
  const end = [...little(2, 0, 0, n, n), ...little(4, directory.length, offset), ...little(2, 0)];
  return joined([...parts, directory, ascii("PK\x05\x06"), end]);
}

/** Return the bytes of each array of such a file, by its name. @param {Bytes} bytes */
export function readNpz(bytes) {
  const view = new DataView(bytes.buffer), arrays = {};
  for (let at = 0; view.getUint32(at) === 0x504b0304;) { // "PK\x03\x04"
    const [entry, extra] = [26, 28].map(place => view.getUint16(at + place, true));
    const start = at + 30 + entry + extra;
    const name = String.fromCharCode(...bytes.subarray(at + 30, at + 26 + entry)); // without .npy
    at = start + view.getUint32(at + 34 + entry, true);
    arrays[name] = bytes.subarray(start + 10 + view.getUint16(start + 8, true), at);
  }
  return arrays;
}

/** Return a network as the train stage saves it. @param {Network} network */
export function modelFile({layers, activation, scale, image_shape, classes, whole, inverted}) {
  const files = {};
  layers.forEach(({W, b}, l) => {
    files[`weights_${l + 1}`] = npy("<f8", [W.rows, W.columns], W.numbers);
    files[`biases_${l + 1}`] = npy("<f8", [W.columns], b.numbers);
  });
  files.activation = npyOfTexts([], [activation]);
  files.arithmetic = npyOfTexts([], ["exact"]);
  files.shift = npy("<f8", [], Float64Array.of(0));
  files.scale = npy("<f8", [], Float64Array.of(scale));
  files.image_shape = npy("<i8", [2], BigInt64Array.from(image_shape, BigInt));
  files.classes = npyOfTexts([classes.length], classes);
  for (const [name, flag] of Object.entries({whole, inverted}))
    if (flag) files[name] = npy("|b1", [], Uint8Array.of(1));
  return npz(files);
}

const SINES = Int32Array.from({length: 64}, (_, i) =>
  Math.floor(2 ** 32 * Math.abs(Math.sin(i + 1))),
);
const ROUND = [[7, 12, 17, 22], [5, 9, 14, 20], [4, 11, 16, 23], [6, 10, 15, 21]];
const TURNS = Int32Array.from({length: 64}, (_, i) => ROUND[i >> 4][i & 3]);
const PLACES = Array.from({length: 64}, (_, i) => [i, 5 * i + 1, 3 * i + 5, 7 * i][i >> 4]);
const WORDS = Int32Array.from(PLACES, place => place & 15);

/** Return the MD5 of some bytes, the whole of a buffer, in hexadecimal digits (RFC 1321). Browsers
 * have none. @param {Bytes} bytes */
export function md5(bytes) {
  const whole = bytes.length & ~63, end = new Uint8Array(bytes.length - whole < 56 ? 64 : 128);
  end.set(bytes.subarray(whole));
  end[bytes.length - whole] = 128;
  new DataView(end.buffer).setBigUint64(end.length - 8, 8n * BigInt(bytes.length), true);
  const state = Int32Array.of(0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476);
  for (const words of [new Int32Array(bytes.buffer, 0, whole / 4), new Int32Array(end.buffer)]) {
    for (let start = 0; start < words.length; start += 16) {
      let a = state[0], b = state[1], c = state[2], d = state[3];
      for (let i = 0; i < 64; i++) {
        const f =
          i < 16 ? (b & c) | (~b & d)
          : i < 32 ? (b & d) | (c & ~d)
          : i < 48 ? b ^ c ^ d
          : c ^ (b | ~d);
        const sum = (a + f + SINES[i] + words[start + WORDS[i]]) | 0;
        a = d;
        d = c;
        c = b;
        b = (b + ((sum << TURNS[i]) | (sum >>> (32 - TURNS[i])))) | 0;
      }
      [a, b, c, d].forEach((x, i) => { state[i] += x; });
    }
  }
  const hex = byte => byte.toString(16).padStart(2, "0");
  return Array.from(new Uint8Array(state.buffer), hex).join("");
}

/** @param {string} text in base64 */
export function readBytes(text) {
  const characters = atob(text), bytes = new Uint8Array(characters.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = characters.charCodeAt(i);
  return bytes;
}

/** Return what a stream makes of bytes. It needs no Blob: WebKit's workers of a file read none. */
export async function streamed({readable, writable}, bytes) {
  const writer = writable.getWriter(), content = new Response(readable).arrayBuffer();
  const [made] = await Promise.all([content, writer.write(bytes), writer.close()]);
  return new Uint8Array(made);
}
