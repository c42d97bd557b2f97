"""Random numbers: what they are made of, their distribution, and which arguments decide them."""

import math

import numpy as np
import pytest

from mlp.random import (
    DISTORTION,
    DROPOUT,
    ORDER,
    SAMPLE,
    WEIGHTS,
    normal_like,
    permutation,
    stream,
    uniform_integers,
)


def words_of(seed: int, n: int) -> list[int]:
    return np.random.PCG64(seed).random_raw(n).tolist()


def test_stream_is_that_of_numpys_seed_sequence():
    assert (WEIGHTS, ORDER, SAMPLE, DROPOUT, DISTORTION) == (1, 2, 3, 4, 5)
    assert (
        stream(7, ORDER, 3).random_raw()
        == np.random.PCG64(np.random.SeedSequence([7, 2, 3])).random_raw()
    )
    assert (
        stream(7, WEIGHTS).random_raw()
        == np.random.PCG64(np.random.SeedSequence([7, 1, 0])).random_raw()
    )


# Permutations


@pytest.mark.parametrize("n", [0, 1, 2, 3, 255, 256, 257, 54321])
def test_permutation_has_every_number_once_in_the_order_of_pcg64s_words(n):
    order, words = permutation(np.random.PCG64(n), n), words_of(n, n)
    assert order.dtype == np.int64
    assert order.tolist() == sorted(range(n), key=words.__getitem__)


# Whole numbers and almost normal numbers


@pytest.mark.parametrize("n", [0, 1, 3, 4, 5, 1000])
def test_uniform_integers_are_the_quarters_of_words_from_the_low_bits_up(n):
    words = math.ceil(n / 4)
    quarters = [word >> shift & 0xFFFF for word in words_of(3, words) for shift in (0, 16, 32, 48)]
    source = np.random.PCG64(3)
    found = uniform_integers(source, n)
    assert found.dtype == np.uint16
    assert found.dtype.isnative
    assert found.tolist() == quarters[:n]
    assert source.random_raw() == words_of(3, words + 1)[-1], "no other word was taken"


def test_normal_like_is_the_sum_of_twelve_uniform_numbers_less_its_mean():
    sixteen_bits = [word >> shift & 0xFFFF for word in words_of(3, 18) for shift in (0, 16, 32, 48)]
    expected = [
        (sum(sixteen_bits[start : start + 12]) - 6 * 65535) / 65536 for start in range(0, 72, 12)
    ]
    found = normal_like(np.random.PCG64(3), (2, 3))
    assert found.dtype == np.float64
    assert found.tolist() == [expected[:3], expected[3:]]
