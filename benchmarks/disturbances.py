"""What goes wrong with pictures of digits: ruled paper, shadows, dust, noise, a camera held badly."""

import io
import math
import random

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageOps


def lined(size: tuple[int, int], ink: str, paper: str, source: random.Random, upright: bool = False) -> Image.Image:
    """Return a sheet with lines across, or also upright, paler than ink or as strong, turned by up to 1°."""
    sheet, colour = Image.new("RGB", size, paper), Image.new("RGB", size, ink)
    mask = Image.new("L", size)
    draw = ImageDraw.Draw(mask)
    strength = round(255 * source.uniform(0.3, 1))
    distance, width = size[1] * source.uniform(0.08, 0.25), max(1, round(size[1] * source.uniform(0.003, 0.01)))
    slope, first = math.tan(math.radians(source.uniform(-1, 1))), source.random()
    for number in range(-2, round(max(size) / distance) + 2):
        place, end = distance * (number + first), max(size)
        draw.line([(0, place), (end, place + slope * end)], strength, width)
        if upright:
            draw.line([(place, 0), (place - slope * end, end)], strength, width)
    return Image.composite(colour, sheet, mask)


def squared(size: tuple[int, int], ink: str, paper: str, source: random.Random) -> Image.Image:
    """Return a sheet with lines across and upright."""
    return lined(size, ink, paper, source, upright=True)


def photographed(picture: Image.Image, source: random.Random) -> Image.Image:
    """Let the light fall off by a fifth from one side to the other, add noise of up to ±10, and save as poor JPEG."""
    pixels = np.asarray(picture, np.float64)
    light = np.linspace(1.0, 0.8, pixels.shape[1])[:, np.newaxis]
    if source.random() < 0.5:
        light = light[::-1]
    noise = np.frombuffer(source.randbytes(pixels.size), np.uint8).reshape(pixels.shape) / 255 * 20 - 10
    file = io.BytesIO()
    Image.fromarray((pixels * light + noise).clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=40)
    return Image.open(file)


def in_shadow(picture: Image.Image, source: random.Random, soft: float = 0.01) -> Image.Image:
    """Darken one side of the picture to a third or up to two thirds of its light, then photograph it.

    The shadow's edge has any direction and goes through the middle part. It is `soft` wide, of the longer side.
    """
    dark, angle = source.uniform(1 / 3, 2 / 3), source.uniform(0, 2 * math.pi)
    side = max(picture.size)
    x, y = (np.arange(length) / side - length / side * source.uniform(0.3, 0.7) for length in picture.size)
    depth = math.cos(angle) * x + math.sin(angle) * y[:, np.newaxis]
    light = 1 - (1 - dark) * (depth / soft + 0.5).clip(0, 1)
    return photographed(Image.fromarray((np.asarray(picture) * light[..., np.newaxis]).astype(np.uint8)), source)


def in_soft_shadow(picture: Image.Image, source: random.Random) -> Image.Image:
    """Let the light fall to a third or up to two thirds, over half of the picture."""
    return in_shadow(picture, source, soft=0.5)


def with_dust(picture: Image.Image, source: random.Random) -> Image.Image:
    """Put 5 to 40 black and white specks on the picture, a hundredth of its height wide or less."""
    draw = ImageDraw.Draw(picture)
    for _ in range(int(source.uniform(5, 41))):
        x, y = (source.random() * side for side in picture.size)
        radius = picture.height * source.uniform(0.001, 0.005)
        draw.ellipse([x - radius, y - radius, x + radius, y + radius], ("black", "white")[int(source.random() * 2)])
    return picture


def upside_down(picture: Image.Image, source: random.Random) -> Image.Image:
    """Turn the picture by 180°."""
    return picture.transpose(Image.Transpose.ROTATE_180)


def cut(picture: Image.Image, source: random.Random) -> Image.Image:
    """Leave no margin, and cut off 5 to 20 % of the digit's height at the top or bottom."""
    ink = ImageChops.difference(picture, Image.new("RGB", picture.size, picture.getpixel((0, 0))))
    left, top, right, bottom = ink.getbbox()
    missing = round((bottom - top) * source.uniform(0.05, 0.2))
    if source.random() < 0.5:
        return picture.crop((left, top + missing, right, bottom))
    return picture.crop((left, top, right, bottom - missing))


def noise(source: random.Random) -> Image.Image:
    """Return nothing but noise: strong, weak, in grains of 1, 4 or 16 pixels, or rare specks."""
    width, height = (16 * int(source.uniform(4, 20)) for _ in range(2))
    grain = (1, 4, 16)[int(source.random() * 3)]
    size = width // grain, height // grain
    pixels = np.frombuffer(source.randbytes(size[0] * size[1]), np.uint8).reshape(size[1], size[0])
    kind = source.random()
    if kind < 1 / 3:
        pixels = (128 + (pixels.astype(int) - 128) * source.uniform(0.05, 0.2)).astype(np.uint8)
    elif kind < 2 / 3:
        pixels = np.where(pixels < source.uniform(3, 26), 0, 255).astype(np.uint8)  # 1 to 10 % are black
    return Image.fromarray(pixels).resize((width, height), Image.Resampling.NEAREST)


def nearly_black(source: random.Random) -> Image.Image:
    """Return a dark picture with a little light at its edge, and a few scratches."""
    width, height = (int(source.uniform(60, 400)) for _ in range(2))
    picture = Image.new("L", (width, height), "white")
    draw = ImageDraw.Draw(picture)
    edge = [side * source.uniform(0.01, 0.08) for side in (width, height, width, height)]
    draw.rectangle([edge[0], edge[1], width - edge[2], height - edge[3]], "black")
    for _ in range(int(source.random() * 4)):
        draw.line([(source.random() * width, source.random() * height) for _ in range(2)], "white")
    return picture if source.random() < 0.5 else ImageOps.invert(picture)
