"""A PNG writer whose bytes depend on the pixels alone.

Pillow and Matplotlib compress with zlib. Two builds of zlib can write different bytes for the same
picture. This module compresses without it: a palette, each row minus the row above it, runs of
equal bytes, and deflate's fixed Huffman codes. Charts are mostly flat, so the files are about as
large as ordinary PNG files.
"""

import struct
import zlib
from itertools import groupby

import numpy as np


def png_bytes(pixels: np.ndarray, dpi: int) -> bytes:
    """Return `pixels`, (height, width, 3) uint8, as a PNG file of at most 256 colours.

    Each channel is first rounded to 64 levels. If more than 256 colours remain, rare ones become
    the nearest kept one.
    """
    height, width, _ = pixels.shape
    palette, indices = _palette(pixels)
    rows = np.empty((height, 1 + width), np.uint8)
    rows[:, 0] = 2  # PNG's filter "up": the row holds the differences from the row above
    rows[0, 1:] = indices[0]
    rows[1:, 1:] = indices[1:] - indices[:-1]
    per_metre = round(dpi / 0.0254)
    file = b"\x89PNG\r\n\x1a\n"
    file += _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0))
    file += _chunk(b"pHYs", struct.pack(">IIB", per_metre, per_metre, 1))
    file += _chunk(b"PLTE", palette.tobytes())
    file += _chunk(b"IDAT", zlib_bytes(rows.tobytes()))
    return file + _chunk(b"IEND", b"")


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _palette(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the colours, (n, 3) uint8, and each pixel's place among them, (height, width)."""
    levels = (pixels.astype(np.int64) * 63 + 127) // 255
    numbers = (levels[..., 0] * 64 + levels[..., 1]) * 64 + levels[..., 2]
    present, indices, counts = np.unique(numbers, return_inverse=True, return_counts=True)
    colours = np.stack([present // 4096, present // 64 % 64, present % 64], axis=1)
    chosen = colours[np.sort(np.argsort(-counts, kind="stable")[:256])]
    distances = ((colours[:, None] - chosen) ** 2).sum(axis=2)
    nearest = distances.argmin(axis=1).astype(np.uint8)
    return ((chosen * 255 + 31) // 63).astype(np.uint8), nearest[indices].reshape(pixels.shape[:2])


def zlib_bytes(content: bytes) -> bytes:
    """Compress the runs of equal bytes in `content` into a zlib stream (RFC 1950, 1951)."""
    literals = [_huffman(byte) for byte in range(256)]
    repeats = [_repeat(length) for length in range(259)]
    codes = ["110"]  # the last block; fixed Huffman codes
    # A run becomes its byte, repeats of 258, and the rest: one shorter repeat, or one or two bytes
    for byte, run in groupby(content):
        full, left = divmod(len(list(run)) - 1, 258)
        rest = repeats[left] if left >= 3 else literals[byte] * left
        codes.append(literals[byte] + repeats[258] * full + rest)
    bits = "".join([*codes, "0000000"])  # the end of the block
    # The first bit is the lowest
    blocks = int(bits[::-1], 2).to_bytes(-(-len(bits) // 8), "little")
    return b"\x78\x01" + blocks + struct.pack(">I", zlib.adler32(content))


def _huffman(symbol: int) -> str:
    """Return the fixed Huffman code of a symbol, 0 to 287 (RFC 1951, 3.2.6)."""
    if symbol < 144:
        return f"{0b00110000 + symbol:08b}"
    if symbol < 256:
        return f"{0b110010000 + symbol - 144:09b}"
    return f"{symbol - 256:07b}" if symbol < 280 else f"{0b11000000 + symbol - 280:08b}"


def _repeat(length: int) -> str:
    """Return the bits of "repeat the last byte": 3 to 258 times (RFC 1951); none for fewer."""
    if length < 3:
        return ""
    # Lengths 3 to 10 have a symbol each. Then every four have one more extra bit, the lowest first
    extra = max((length - 3).bit_length() - 3, 0) if length < 258 else 0
    symbol = 257 + 4 * extra + ((length - 3) >> extra) if length < 258 else 285
    low = f"{(length - 3) % (1 << extra):0{extra}b}"[::-1] if extra else ""
    return _huffman(symbol) + low + "00000"  # at distance 1
