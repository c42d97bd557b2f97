"""IDX files: valid ones are read exactly, and any damage is refused by name."""

import struct

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from pipeline.images.idx import read_images, read_labels
from tests.support.files import idx
from tests.support.refusals import numbers, refused

few = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
THREE_DIMENSIONS = bytes([0, 0, 8, 3])
some_images = arrays(np.uint8, array_shapes(min_dims=3, max_dims=3, max_side=6))
some_labels = arrays(np.uint8, array_shapes(min_dims=1, max_dims=1, max_side=6))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "images"


@few
@given(images=some_images, labels=some_labels)
def test_round_trip(path, images, labels):
    path.write_bytes(idx(images))
    np.testing.assert_array_equal(read_images(path)[:], images, strict=True)
    path.write_bytes(idx(labels))
    np.testing.assert_array_equal(read_labels(path, 256), labels, strict=True)


@few
@given(images=some_images, data=st.data())
def test_one_damage_is_refused(path, images, data):
    good = idx(images)
    place, byte = data.draw(st.integers(0, len(good) - 1)), data.draw(st.integers(0, 15))
    changed = bytes([good[byte] ^ data.draw(st.integers(1, 255))])
    damages = [good[:place], good + bytes(place + 1), good[:place] + good[place + 1 :]]
    path.write_bytes(data.draw(st.sampled_from([*damages, good[:byte] + changed + good[byte + 1 :]])))
    assert refused(read_images, path).about in ("header", "length")


@pytest.mark.parametrize(
    ("content", "about", "told"),
    [
        (b"", "header", "none"),
        (b"<!DOCTYPE html>", "header", "3c 21 44 4f"),
        (bytes([0, 0, 13, 3]) + bytes(12), "header", "00 00 0d 03"),
        (THREE_DIMENSIONS + bytes(2), "length", "16 bytes for 0 × 0 × 0, found 6"),
        (THREE_DIMENSIONS + struct.pack(">III", 2, 0, 3), "length", "2 × 0 × 3"),
        (THREE_DIMENSIONS + struct.pack(">III", 2, 1, 3) + bytes(5), "length", "22 bytes for 2 × 1 × 3, found 21"),
        (THREE_DIMENSIONS + b"\xff" * 12, "length", "79228162458924105385300197391 bytes"),
    ],
)
def test_what_is_wrong_is_told(path, content, about, told):
    path.write_bytes(content)
    error = refused(read_images, path)
    assert error.about == about
    assert told in str(error)


def test_label_out_of_range(path):
    path.write_bytes(idx(np.array([0, 9, 10, 3], np.uint8)))
    error = refused(read_labels, path, 10)
    assert (error.about, numbers(error)) == ("labels", [0, 9, 10, 2])
    assert read_labels(path, 11).tolist() == [0, 9, 10, 3]


def test_missing_file_and_folder(tmp_path):
    for path in [tmp_path / "absent", tmp_path]:
        error = refused(read_images, path)
        assert error.about == ""
        assert "`dvc repro download`" in str(error)
