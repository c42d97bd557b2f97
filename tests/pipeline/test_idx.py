"""IDX files: valid ones are read exactly, and any damage is refused by name."""

import struct

import numpy as np
import pytest

from pipeline.images.idx import read_images, read_labels
from tests.support.files import idx
from tests.support.refusals import numbers, refused

THREE_DIMENSIONS = bytes([0, 0, 8, 3])
IMAGES = np.arange(250, 256, dtype=np.uint8).reshape(1, 2, 3)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "images"


def test_whole_files_are_read(path):
    path.write_bytes(idx(IMAGES))
    np.testing.assert_array_equal(read_images(path)[:], IMAGES, strict=True)
    path.write_bytes(idx(IMAGES.ravel()))
    np.testing.assert_array_equal(read_labels(path, 256), IMAGES.ravel(), strict=True)


def test_one_damage_is_refused(path):
    """Each byte is the end, is missing, or has another value in the header; or bytes are added."""
    good = idx(IMAGES)
    for place, byte in enumerate(good):
        damages = [good[:place], good[:place] + good[place + 1 :], good + bytes(place + 1)]
        for other in (byte ^ 1, byte ^ 0x80) if place < 16 else ():
            damages.append(good[:place] + bytes([other]) + good[place + 1 :])
        for damaged in damages:
            path.write_bytes(damaged)
            assert refused(read_images, path).about in ("header", "length")


@pytest.mark.parametrize(
    ("content", "about", "told"),
    [
        (b"", "header", "none"),
        (b"<!DOCTYPE html>", "header", "3c 21 44 4f"),
        (bytes([0, 0, 13, 3]) + bytes(12), "header", "00 00 0d 03"),
        (THREE_DIMENSIONS + bytes(2), "length", "16 bytes for 0 × 0 × 0, found 6"),
        (THREE_DIMENSIONS + struct.pack(">III", 2, 0, 3), "length", "2 × 0 × 3"),
        (idx(np.zeros((2, 1, 3)))[:-1], "length", "22 bytes for 2 × 1 × 3, found 21"),
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
