"""A PNG writer whose bytes depend on the pixels alone.

Pillow and Matplotlib compress with zlib. Two builds of zlib can write different bytes for the same picture. This module
compresses without it: a palette, each row minus the row above it, runs of equal bytes, and deflate's fixed Huffman
codes. Charts are mostly flat, so the files are about as large as ordinary PNG files.
"""

import struct
import zlib

import numpy as np


def png_bytes(pixels: np.ndarray, dpi: int) -> bytes:
    """Return `pixels`, (height, width, 3) uint8, as a PNG file of at most 256 colours.

    Each channel is first rounded to 64 levels. If more than 256 colours remain, rare ones become the nearest kept one.
    """
    height, width, _ = pixels.shape
    palette, indices = _palette(pixels)
    rows = np.empty((height, 1 + width), np.uint8)
    rows[:, 0] = 2  # PNG's filter "up": the row holds the differences from the row above
    rows[0, 1:] = indices[0]
    rows[1:, 1:] = indices[1:] - indices[:-1]
    per_metre = round(dpi / 0.0254)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in (
            (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
            (b"pHYs", struct.pack(">IIB", per_metre, per_metre, 1)),
            (b"PLTE", palette.tobytes()),
            (b"IDAT", zlib_bytes(rows.tobytes())),
            (b"IEND", b""),
        )
    )


def _palette(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return at most 256 colours, (n, 3), and each pixel's colour, (height, width).

    Red, green and blue have 64 levels each. The most frequent colours stay; each rarer one becomes the nearest of them.
    """
    levels = (pixels.astype(np.int64) * 63 + 127) // 255
    present, indices, counts = np.unique(
        (levels[..., 0] * 64 + levels[..., 1]) * 64 + levels[..., 2], return_inverse=True, return_counts=True
    )
    colours = np.stack([present // 4096, present // 64 % 64, present % 64], axis=1)
    chosen = colours[np.sort(np.argsort(-counts, kind="stable")[:256])]
    distances = ((colours[:, None] - chosen) ** 2).sum(axis=2)
    nearest = distances.argmin(axis=1).astype(np.uint8)
    return ((chosen * 255 + 31) // 63).astype(np.uint8), nearest[indices].reshape(pixels.shape[:2])


def zlib_bytes(content: bytes) -> bytes:
    """Compress the runs of equal bytes in `content`, at least one byte, into a zlib stream (RFC 1950 and 1951)."""
    data = np.frombuffer(content, np.uint8)
    starts = np.flatnonzero(np.diff(data, prepend=data[0] ^ 1))
    repeats = np.diff(starts, append=len(data)) - 1  # of each run's byte after its first

    # A run becomes its byte, then repeats of 258, then the rest: one shorter repeat, or one or two plain bytes.
    full, left = repeats // 258, repeats % 258
    tokens_of_run = 1 + full + np.where(left >= 3, 1, left)
    run = np.repeat(np.arange(len(starts)), tokens_of_run)
    place = np.arange(len(run)) - np.repeat(np.cumsum(tokens_of_run) - tokens_of_run, tokens_of_run)
    byte, shorter = data[starts][run].astype(int), left[run]
    tokens = np.where(
        place == 0, byte, np.where(place <= full[run], 256 + 258, np.where(shorter >= 3, 256 + shorter, byte))
    )

    codes, lengths = (np.array(column)[tokens] for column in zip(*_token_codes(), strict=True))
    first_bits = np.array([1, 1, 0])  # the last block; fixed Huffman codes
    end_of_block = np.zeros(7, int)
    bits = np.zeros(lengths.sum(), int)
    offsets = np.cumsum(lengths) - lengths
    for bit in range(lengths.max()):
        longer = lengths > bit
        bits[offsets[longer] + bit] = codes[longer] >> bit & 1
    blocks = np.packbits(np.concatenate([first_bits, bits, end_of_block]).astype(np.uint8), bitorder="little")
    return b"\x78\x01" + blocks.tobytes() + struct.pack(">I", zlib.adler32(content))


def _token_codes() -> list[tuple[int, int]]:
    """Return the bits of each token and their number: bytes 0 to 255, then at 256 + n "repeat the last byte n times".

    The stream takes the lowest bit first. Huffman codes go into it highest bit first, so they are reversed here.
    """

    def huffman(symbol: int) -> tuple[int, int]:
        if symbol < 144:
            code, length = 0b00110000 + symbol, 8
        elif symbol < 256:
            code, length = 0b110010000 + symbol - 144, 9
        elif symbol < 280:
            code, length = symbol - 256, 7
        else:
            code, length = 0b11000000 + symbol - 280, 8
        return int(f"{code:0{length}b}"[::-1], 2), length

    codes = [huffman(symbol) for symbol in range(256)] + [(0, 0)] * 3
    for length in range(3, 259):
        # RFC 1951, 3.2.5: lengths 3 to 10 have a symbol each; then every four symbols share one more extra bit.
        extra = max((length - 3).bit_length() - 3, 0)
        symbol = 285 if length == 258 else 257 + 4 * extra + ((length - 3) >> extra)
        if length == 258:
            extra = 0
        code, bits = huffman(symbol)
        codes.append((code | ((length - 3) & ((1 << extra) - 1)) << bits, bits + extra + 5))  # distance 1: five zeros
    return codes
