"""IDX files: valid ones are read exactly, and any damage is refused by name."""

import gzip
import os
import struct
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from pipeline.images.idx import read_images, read_labelled, read_labels
from pipeline.program.errors import UserError

relaxed = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
bytes_of = lambda dimensions: arrays(np.uint8, array_shapes(min_dims=dimensions, max_dims=dimensions, max_side=6))  # noqa: E731


def idx(array: np.ndarray) -> bytes:
    """Return the bytes of an IDX file."""
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@relaxed
@given(images=bytes_of(3), labels=bytes_of(1))
def test_round_trip(tmp_path, images, labels):
    path = tmp_path / "file"
    path.write_bytes(idx(images))
    read = read_images(path)
    np.testing.assert_array_equal(read[:], images, strict=True)
    path.write_bytes(idx(labels))
    np.testing.assert_array_equal(read_labels(path, 256), labels, strict=True)


@relaxed
@given(images=bytes_of(3), data=st.data())
def test_one_damage_is_refused(tmp_path, images, data):
    good = idx(images)
    place = data.draw(st.integers(0, len(good) - 1))
    damaged = data.draw(
        st.sampled_from(
            [
                good[:place],
                good + bytes(place + 1),
                good[:place] + good[place + 1 :],
                good[: place % 16]
                + bytes([good[place % 16] ^ data.draw(st.integers(1, 255))])
                + good[place % 16 + 1 :],
            ]
        )
    )
    path = tmp_path / "images"
    path.write_bytes(damaged)
    with pytest.raises(UserError, match=r"images: expected .*, found .*\."):
        read_images(path)


@relaxed
@given(content=st.binary(max_size=40) | st.binary(max_size=40).map(lambda tail: bytes([0, 0, 8, 1]) + tail))
def test_any_bytes_are_read_or_refused(tmp_path, content):
    path = tmp_path / "file"
    path.write_bytes(content)
    for read in [read_images, lambda path: read_labels(path, 10)]:
        try:
            array = read(path)
        except UserError:
            continue
        assert idx(array[:]) == content


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "expected the first bytes 00 00 08 03 of an IDX file of bytes in 3-D, found none."),
        (b"<!DOCTYPE html>", "expected the first bytes 00 00 08 03 of an IDX file of bytes in 3-D, found 3c 21 44 4f."),
        (
            gzip.compress(b"", mtime=0),
            "expected the first bytes 00 00 08 03 of an IDX file of bytes in 3-D, found 1f 8b 08 00.",
        ),
        (bytes([0, 0, 13, 3]) + bytes(12), "found 00 00 0d 03."),  # type float
        (bytes([0, 0, 8, 1]) + bytes(12), "found 00 00 08 01."),  # labels
        (bytes([0, 0, 8, 3, 0, 0]), "expected a header of 16 bytes, found 6."),
        (bytes([0, 0, 8, 3]) + struct.pack(">III", 2, 0, 3), "expected lengths of 1 or more, found 2 × 0 × 3."),
        (bytes([0, 0, 8, 3]) + struct.pack(">III", 2, 1, 3) + bytes(5), "expected 22 bytes for 2 × 1 × 3, found 21."),
        (
            bytes([0, 0, 8, 3]) + b"\xff" * 12,  # nobody reserves the memory it needs
            "expected 79228162458924105385300197391 bytes for 4294967295 × 4294967295 × 4294967295, found 16.",
        ),
    ],
)
def test_sentences(tmp_path, content, sentence):
    path = tmp_path / "images"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_images(path)
    assert str(caught.value).startswith(f"{path}: expected ")
    assert str(caught.value).endswith(sentence)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a hole in a file may take room")
def test_file_of_more_than_4_gib(tmp_path):
    path = tmp_path / "images"
    n = 5 << 20
    with path.open("wb") as file:
        file.write(bytes([0, 0, 8, 3]) + struct.pack(">III", n, 32, 32))
        file.truncate(16 + n * 1024)
        file.seek(-1, os.SEEK_END)
        file.write(b"\7")
    images = read_images(path)
    assert images.shape == (n, 32, 32)
    assert [image[-1, -1] for image in images[np.array([n - 1, 0])]] == [7, 0]


def test_label_out_of_range(tmp_path):
    path = tmp_path / "labels"
    path.write_bytes(idx(np.array([0, 9, 10, 3], np.uint8)))
    with pytest.raises(UserError, match=r"labels: expected labels from 0 to 9, found 10 for image 2."):
        read_labels(path, 10)
    assert read_labels(path, 11).tolist() == [0, 9, 10, 3]


def test_counts_must_agree(tmp_path):
    images, labels = tmp_path / "images", tmp_path / "labels"
    images.write_bytes(idx(np.zeros((3, 2, 2), np.uint8)))
    labels.write_bytes(idx(np.zeros(2, np.uint8)))
    with pytest.raises(UserError, match=r"labels: expected 3 labels, one for each image in .*images, found 2."):
        read_labelled(images, labels, 10)
    images.write_bytes(idx(np.zeros((2, 2, 2), np.uint8)))
    assert [len(read) for read in read_labelled(images, labels, 10)] == [2, 2]


def test_missing_file_and_folder(tmp_path):
    for path in [tmp_path / "absent", tmp_path]:
        with pytest.raises(UserError, match="dvc repro download"):
            read_images(path)


def test_sample_is_of_real_digits(raw):
    images = read_images(raw / "train-images-idx3-ubyte")
    labels = read_labels(raw / "train-labels-idx1-ubyte", 10)
    assert images.shape == (600, 28, 28)
    assert labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]  # as every MNIST tutorial shows them
