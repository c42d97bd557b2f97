"""Random distortions of training images: affine maps and elastic fields, exact to the bit.

A digit that is turned a little is still the same digit. So a network can also learn from distorted
copies of its images: P. Simard, D. Steinkraus and J. Platt, Best practices for convolutional neural
networks applied to visual document analysis, ICDAR 2003. Each pixel of the copy takes its value
from a place in the image:

    place = M p + shift + elastic field at p

p is the pixel's position, in pixels from the centre. M rotates, shears and scales. The elastic
field is smooth noise: a sum of Gaussian bumps with random heights, σ apart. Simard et al. smooth
one random number per pixel, by a Gaussian with the standard deviation σ. That has almost the same
covariance, and takes far more random numbers.

Two products of matrices compute all places: x = Σ f(row) C g(column), with the functions of `basis`
as f and g. Every factor is a multiple of a power of two, so the sums are exact in any order:

    factor                binary places   bound
    bump                  13              1; all bumps at one pixel sum to less than 3
    height of a bump      13
    p                     1               half the size of the image; the centre can be half a pixel
    M and shift           24

Bump · height · bump has 39 binary places. Other products have fewer. `Distortion` refuses sizes for
which the absolute values of the terms could sum to 2¹⁴. So every partial sum has at most 14 + 39 =
53 bits, which fit into a float64.
"""

import math
from typing import NamedTuple

import numpy as np

from mlp.arithmetic import Exact, tan
from mlp.random import DISTORTION, stream, uniform_integers

A = Exact()
REACH = 14  # every sum is less than 2¹⁴ pixels
BUMP_PLACES, AFFINE_PLACES = 13, 24  # binary places of bumps and their heights; of M and shift
AFFINE_NUMBERS = 6  # random numbers of an image for rotation, shear, scaling (two) and shift (two)
TWO_BYTES = 0x00FF00FF  # the low byte of each half of 32 bits
CHUNK = 2**16  # pixels that are distorted at once: their places fit into the processor's cache


class Strength(NamedTuple):
    """How strong the random distortions are. A distortion of strength 0 is off."""

    rotation: float  # largest angle, in degrees
    shear: float  # largest angle by which a vertical line leans, in degrees
    # Largest change of distances, in percent: 50 makes a digit 1/1.5 to 1/0.5 times as wide
    scaling: float
    shift: float  # largest shift along each axis, in pixels
    elastic: float  # root mean square of the elastic field along each axis, in pixels
    smoothness: float  # standard deviation σ of the elastic field's bumps, in pixels; more than 0


class Distortion:
    """Random distortions of images of one size."""

    def __init__(self, image_shape: tuple[int, int], strength: Strength):
        """Compute what all images share. A ValueError says that sums would not be exact."""
        rotation, shear, scaling, shift, elastic, smoothness = strength
        angles = 0.0 <= rotation <= 90.0 and 0.0 <= shear <= 45.0
        if not (angles and 0.0 <= scaling < 100.0 and shift >= 0.0 <= elastic and smoothness > 0.0):
            raise ValueError(f"a number is out of its range in {strength}")
        self.height, self.width = image_shape
        self.strength = strength
        self.tan_half_rotation, self.tan_shear = tan(rotation / 2.0), tan(shear)
        largest = (1.0 + scaling / 100.0) * (1.0 + self.tan_shear)  # bounds the elements of M
        affine = largest * (self.height + self.width) / 2.0 + shift + max(image_shape)
        # No bump is higher than 2 elastic
        if affine + 3.0 * 3.0 * 2.0 * elastic >= 1 << REACH:
            size = f"{self.height} × {self.width} pixels"
            raise ValueError(f"images of {size} are too large for exact distortions")
        # (H, m_y + 2) and (W, m_x + 2)
        self.rows, self.columns = (basis(n, strength) for n in image_shape)
        self.bumps = self.rows.shape[1] - 2, self.columns.shape[1] - 2  # m_y and m_x
        self.amplitude = 0.0  # the largest height of a bump, in pixels
        if elastic != 0.0:
            # Heights are uniform up to ±amplitude, so their variance is amplitude² / 3. The field's
            # is that times the sum of the squared bumps. At the centre it must be elastic².
            y, x = self.rows[self.height // 2, :-2], self.columns[self.width // 2, :-2]
            self.amplitude = elastic * math.sqrt(3.0 / float(A.sum(y * y) * A.sum(x * x)))
        # Random numbers per image
        self.numbers = AFFINE_NUMBERS + 2 * self.bumps[0] * self.bumps[1]
        self.words = -(-self.numbers // 4)  # the same in words of 64 bits
        # Freed at once. From then on glibc's malloc reuses memory: see M_MMAP_THRESHOLD, mallopt(3)
        np.empty(2**20)

    def distort(self, images: np.ndarray, seed: int, epoch: int, first: int) -> np.ndarray:
        """Return distorted copies of images, (n, features) uint8, from number `first` of an epoch.

        An image's distortion depends only on its bytes, the seed, the epoch and its number in it,
        both from 0. So any process may distort any part of an epoch, in any order.
        """
        out = np.empty(images.shape, np.uint8)
        source = stream(seed, DISTORTION, epoch)
        source.advance(first * self.words)
        step = max(CHUNK // max(self.height * self.width, self.numbers), 1)
        for start in range(0, len(images), step):
            chunk = images[start : start + step].reshape(-1, self.height, self.width)
            x, y = self.places(source, len(chunk))
            values = interpolate(neighbours(chunk), x, y)
            out[start : start + step].reshape(chunk.shape)[...] = values.transpose(1, 0, 2)
        return out

    def places(self, source: np.random.PCG64, n: int) -> np.ndarray:
        """Return where the pixels of n images take their values from: x and y, (2, H, n, W) uint32.

        The unit is 1/256 pixel. Row i and column j of an image are at y = 256 (i + 1) and x = 256
        (j + 1), because `neighbours` puts a border around the image. A place beyond the border
        moves to it.
        """
        places = np.empty((2, self.height, n, self.width), np.int32)
        C = self.coefficients(source, n)
        for axis, size in enumerate((self.width, self.height)):
            sums = A.matmul(self.rows, C[axis].reshape(len(C[axis]), -1))
            place = A.matmul(sums.reshape(-1, self.columns.shape[1]), self.columns.T)
            np.clip(place, 0.0, 256.0 * (size + 1), out=place)
            places[axis] = np.rint(place, out=place).reshape(places[axis].shape)
        return places.view(np.uint32)

    def coefficients(self, source: np.random.PCG64, n: int) -> np.ndarray:
        """Return the factors C of x and y, in 1/256 pixel: (2, m_y + 2, n images, m_x + 2)."""
        integers = uniform_integers(source, 4 * self.words * n).reshape(n, -1)[:, : self.numbers]
        u = (2.0 * integers - 65535.0) / 65536.0  # exact, between −1 and 1
        m_y, m_x = self.bumps
        C = np.zeros((2, m_y + 2, n, m_x + 2))
        heights = A.grid(self.amplitude * u[:, AFFINE_NUMBERS:], REACH + BUMP_PLACES, REACH)
        C[:, :m_y, :, :m_x] = heights.reshape(n, 2, m_y, m_x).transpose(1, 2, 0, 3)
        # Each basis ends with 1 and the position: the last rows and columns of C are of 1, x, y, xy
        a, b, c = A.grid(self.affine(u[:, :AFFINE_NUMBERS].T), REACH + AFFINE_PLACES, REACH)
        C[:, -2, :, -1], C[:, -1, :, -2], C[:, -2, :, -2] = a, b, c
        C[:, -2, :, -2] += [[(self.width + 1) / 2.0], [(self.height + 1) / 2.0]]  # the centre
        C *= 256.0  # exact
        return C

    def affine(self, u: np.ndarray) -> np.ndarray:
        """Return a, b and c of the maps a x + b y + c, for the x and the y of n places: (3, 2, n).

        u has the random numbers, between −1 and 1: (6, n). M is scaling · rotation · shear:

            (p 0)  (cos −sin)  (1 s)
            (0 q)  (sin  cos)  (0 1)

        With t = u tan(rotation / 2) the angle is 2 arctan t, almost uniform up to ±rotation. Its
        cos = (1 − t²) / (1 + t²) and sin = 2 t / (1 + t²) are rational.
        """
        t, s, p, q, shift_x, shift_y = u
        t, s = t * self.tan_half_rotation, s * self.tan_shear
        p, q = 1.0 + p * (self.strength.scaling / 100.0), 1.0 + q * (self.strength.scaling / 100.0)
        cos, sin = (1.0 - t * t) / (1.0 + t * t), 2.0 * t / (1.0 + t * t)
        a = [p * cos, q * sin]
        b = [p * (cos * s - sin), q * (sin * s + cos)]
        c = [self.strength.shift * shift_x, self.strength.shift * shift_y]
        return np.array([a, b, c])


def basis(n: int, strength: Strength) -> np.ndarray:
    """Return the functions that places are made of, at the n pixels of an axis: (n, m + 2).

    They are m Gaussian bumps, then 1, then the position. The bumps are σ apart, from beyond one end
    of the axis to beyond the other. Without an elastic field m is 0.
    """
    position = np.arange(n) - (n - 1) / 2.0
    bumps = np.empty((n, 0))
    if strength.elastic != 0.0:
        # Bumps on each side of the centre
        side = math.ceil((n - 1) / 2.0 / strength.smoothness) + 1
        distance = position[:, np.newaxis] / strength.smoothness - np.arange(-side, side + 1)
        bumps = A.grid(A.exp(-0.5 * distance * distance), BUMP_PLACES, 0)
    return np.column_stack([bumps, np.ones(n), position])


def neighbours(images: np.ndarray) -> np.ndarray:
    """Return four bytes in each number: (n, H + 2, W + 2) uint32 from images, (n, H, W).

    From the lowest byte: the pixel at this place, the one below it, the one to its right, and the
    one below that. The images get a border of zeros, one pixel wide.
    """
    n, height, width = images.shape
    four = np.zeros((n, height + 2, width + 2), np.uint32)
    four[:, 1:-1, 1:-1] = images
    flat, row = four.reshape(-1), width + 2
    flat[:-row] |= flat[row:] << 8  # in the last row and column this adds zeros of the border
    flat[:-1] |= flat[1:] << 16
    return four


def interpolate(four: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the values of images, from `neighbours`, at places: bilinear, in integers.

    The result, and the columns x and rows y of the places in 1/256 pixel, are (H, n, W) uint32.
    """
    height, width = four.shape[1:]
    place = y >> 8
    place *= width
    place += x >> 8
    place += np.arange(0, four.size, height * width, dtype=np.uint32)[:, np.newaxis]
    four = four.reshape(-1).take(place)
    # Downwards, for the left and the right pixel
    both = between(four & TWO_BYTES, four >> 8 & TWO_BYTES, y & 255)
    return between(both & 255, both >> 16, x & 255)


def between(a: np.ndarray, b: np.ndarray, part: np.ndarray) -> np.ndarray:
    """Return a + part (b − a) / 256, rounded, for the byte in each half. Overwrite a and b.

    b − a may borrow from the upper half. The sum, (256 − part) a + part b < 2¹⁶, gives it back.
    """
    b -= a
    b *= part
    a <<= 8
    b += a
    b += 0x00800080
    b >>= 8
    b &= TWO_BYTES
    return b
