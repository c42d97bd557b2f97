"""A PNG writer whose bytes depend on the pixels alone.

Pillow and Matplotlib leave the compression to a zlib, and zlib's builds differ: two systems, or two
releases, write other bytes for the same picture. Here the compression is written out: a palette, each row minus the
row above it, runs of equal bytes, and deflate's fixed Huffman codes. Charts are mostly flat: it comes to about the
size of an ordinary PNG.
"""

import struct
import zlib

import numpy as np


def png_bytes(pixels: np.ndarray, dpi: int) -> bytes:
    """Return `pixels`, bytes of shape (height, width, 3), as a PNG of at most 256 colours."""
    height, width, _ = pixels.shape
    palette, indices = _palette(pixels)
    rows = np.empty((height, 1 + width), np.uint8)
    rows[:, 0] = 2  # PNG's filter "up": what follows is the difference to the row above
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

    They are the most frequent ones, of 64 levels of red, green and blue each; a rarer colour becomes the nearest.
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
    """Compress `content`, which is not empty, into a zlib stream by its runs of equal bytes (RFC 1950 and 1951)."""
    data = np.frombuffer(content, np.uint8)
    starts = np.flatnonzero(np.diff(data, prepend=data[0] ^ 1))
    repeats = np.diff(starts, append=len(data)) - 1  # of each run's byte after its first

    # A run becomes its byte, repeats of 258, and what is left: one shorter repeat, or up to two bytes as they are.
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
    """Return (bits, how many) of each token: bytes 0 to 255, then at 256 + n "the byte before, n times more".

    The lowest bit is written first; Huffman codes are written from their highest bit, so they are reversed here.
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
