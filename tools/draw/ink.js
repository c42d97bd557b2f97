// Which pixels of a picture are ink, and how its pieces lie, with the bytes of tools/ink.py: all numbers are whole.
"use strict";

const LEAST_CONTRAST = 13, DARKEST_PAPER = 64, INK = 3, WINDOW = 6, THIN = 64, SPECK = 8, EDGE = 2; // as in tools/ink.py

// Return each pixel's contrast to its paper, 0 where there is no ink, and the findings; null if the picture is blank.
function findInk({rows, columns, bytes}) {
  const grey = isDark({rows, columns, bytes}) ? bytes.map(value => 255 - value) : bytes;
  const radius = Math.floor(Math.max(rows, columns) / WINDOW);
  const widest = values => greatest(greatest({rows, columns, bytes: values}, radius, 0), radius, 1).bytes;
  const paper = widest(widest(grey).map(value => 255 - value)).map(value => 255 - value); // a closing
  const difference = paper.map((value, i) => value - grey[i]);
  const largest = most(difference);
  if (largest < LEAST_CONTRAST) return null;
  const contrast = difference.map((value, i) => Math.floor(value * 255 / Math.max(paper[i], DARKEST_PAPER)));
  const least = Math.floor(most(contrast) / INK);
  const strong = {rows, columns, bytes: contrast.map(value => (value > least ? 1 : 0))};
  const {ink, findings} = withoutSpecks(withoutLines(strong), largest);
  const near = greatest(greatest(ink, 1, 0), 1, 1).bytes;
  return {ink: {rows, columns, bytes: contrast.map((value, i) => value * near[i])}, findings};
}

// Is the border, which is mainly paper, nearer to the darkest pixel than to the lightest?
function isDark(picture) {
  const pixels = border(picture);
  const darkest = picture.bytes.reduce((a, b) => Math.min(a, b));
  return 2 * pixels.reduce((sum, value) => sum + value, 0) < pixels.length * (darkest + most(picture.bytes));
}

// Return the ink, 0 and 1, without thin lines that cross the whole picture. If there is nothing else, they stay.
function withoutLines(ink) {
  const across = lines(ink, 0), down = lines(ink, 1);
  const bytes = ink.bytes.map((value, i) => value & ~(across[i] | down[i]));
  return bytes.some(value => value) ? {...ink, bytes} : ink;
}

// Return the thin ink of lines along rows (axis 0) or along columns (axis 1).
function lines({rows, columns, bytes}, axis) {
  const near = Math.floor(Math.max(rows, columns) / THIN);
  const wide = values => greatest({rows, columns, bytes: values}, near, axis).bytes;
  const along = axis === 0 ? i => Math.floor(i / columns) : i => i % columns;
  const crossed = new Uint8Array(axis === 0 ? rows : columns).fill(1);
  const inked = wide(bytes);
  for (let i = 0; i < inked.length; i++) crossed[along(i)] &= inked[i];
  if (!crossed.includes(1)) return new Uint8Array(bytes.length);
  const crossing = wide(bytes.map((_, i) => crossed[along(i)]));
  const thick = wide(wide(bytes.map(value => 1 - value)).map(value => 1 - value));
  return bytes.map((value, i) => value & crossing[i] & (1 - thick[i]));
}

// Return the ink, 0 and 1, without specks and without what reaches into the picture; and the findings.
function withoutSpecks({rows, columns, bytes}, contrast) {
  const {piece, boxes} = pieces({rows, columns, bytes});
  const lengthOf = ({top, bottom, left, right}) => Math.max(bottom - top, right - left);
  const longest = boxes.reduce((length, box) => Math.max(length, lengthOf(box)), 0);
  const stays = boxes.map(box => {
    const atBorder = box.top === 0 || box.left === 0 || box.bottom === rows || box.right === columns;
    return lengthOf(box) * (atBorder ? EDGE : SPECK) >= longest;
  });
  const left = boxes.filter((_, number) => stays[number]);
  const whole = left.reduce(around), height = whole.bottom - whole.top, width = whole.right - whole.left;
  const ink = bytes.map((value, i) => (value && stays[piece[i]] ? 1 : 0));
  const findings = {
    contrast,
    sides: [whole.top === 0, whole.left === 0, whole.bottom === rows, whole.right === columns].filter(Boolean).length,
    pieces: left.length,
    tall: left.filter(({top, bottom}) => 3 * (bottom - top) > 2 * height).length,
    height,
    width,
    pixels: ink.reduce((sum, value) => sum + value, 0),
  };
  return {ink: {rows, columns, bytes: ink}, findings};
}

// Return the box around two boxes.
function around(a, b) {
  return {
    top: Math.min(a.top, b.top), bottom: Math.max(a.bottom, b.bottom),
    left: Math.min(a.left, b.left), right: Math.max(a.right, b.right),
  };
}

// Return the number of each pixel's piece, and each piece's box. A piece is all ink that touches, also by corners.
function pieces({rows, columns, bytes}) {
  const piece = new Int32Array(bytes.length).fill(-1), boxes = [];
  for (let first = 0; first < bytes.length; first++) {
    if (!bytes[first] || piece[first] >= 0) continue;
    const waiting = [first];
    let top = rows, bottom = 0, left = columns, right = 0;
    piece[first] = boxes.length;
    while (waiting.length) {
      const i = waiting.pop(), row = Math.floor(i / columns), column = i % columns;
      top = Math.min(top, row);
      bottom = Math.max(bottom, row + 1);
      left = Math.min(left, column);
      right = Math.max(right, column + 1);
      for (let r = Math.max(row - 1, 0); r <= Math.min(row + 1, rows - 1); r++) {
        for (let c = Math.max(column - 1, 0); c <= Math.min(column + 1, columns - 1); c++) {
          const next = r * columns + c;
          if (!bytes[next] || piece[next] >= 0) continue;
          piece[next] = boxes.length;
          waiting.push(next);
        }
      }
    }
    boxes.push({top, bottom, left, right});
  }
  return {piece, boxes};
}

// Return for each byte the greatest of itself and its neighbours up to `radius` away, along columns (axis 0) or rows (1).
function greatest({rows, columns, bytes}, radius, axis) {
  const [lineCount, length, first, stride] = axis === 0 ? [columns, rows, 1, columns] : [rows, columns, columns, 1];
  const found = new Uint8Array(bytes.length), line = new Uint8Array(length + 2 * radius), window = 2 * radius + 1;
  for (let n = 0; n < lineCount; n++) {
    line.fill(0);
    for (let i = 0; i < length; i++) line[radius + i] = bytes[n * first + i * stride];
    for (let covered = 1, step; covered < window; covered += step) { // each is the greatest of `covered` from its own on
      step = Math.min(covered, window - covered);
      for (let i = 0; i + step < line.length; i++) if (line[i + step] > line[i]) line[i] = line[i + step];
    }
    for (let i = 0; i < length; i++) found[n * first + i * stride] = line[i];
  }
  return {rows, columns, bytes: found};
}

const most = bytes => bytes.reduce((a, b) => Math.max(a, b), 0);
