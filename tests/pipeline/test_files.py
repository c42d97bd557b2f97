"""Files are written whole or not at all; array files are read back exactly, or refused."""

import errno
import io
import itertools
import os
import pickle
import sys
import tracemalloc
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from pipeline.images.idx import read_images
from pipeline.program.errors import UserError
from pipeline.program.files import read_json, write_json, write_text, written_whole
from pipeline.store.arrays import Blocks, load_arrays, save_arrays, write_arrays
from tests.support.refusals import refused

relaxed = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)

texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=3)
any_array = st.sampled_from(["u1", "<i8", "<f4", "<f8", "?", "<U3"]).flatmap(
    lambda dtype: arrays(
        dtype,
        array_shapes(min_dims=0, min_side=0, max_dims=3, max_side=5),
        elements=texts if dtype == "<U3" else None,
    )
)
any_arrays = st.dictionaries(st.text("abcdefgh_0", min_size=1, max_size=6), any_array, max_size=4)

GOOD = {"images": np.arange(12, dtype=np.uint8).reshape(3, 4), "scale": np.float64(0.1), "names": np.array(["a", "bc"])}


def equal(left: dict, right: dict) -> bool:
    return list(left) == list(right) and all(
        left[name].dtype == right[name].dtype
        and left[name].shape == right[name].shape
        and left[name].tobytes() == right[name].tobytes()
        for name in left
    )


@relaxed
@given(any_arrays)
def test_round_trip(tmp_path, given_arrays):
    path = tmp_path / "some.npz"
    save_arrays(path, **given_arrays)
    assert equal(load_arrays(path), given_arrays)
    with np.load(path, allow_pickle=False) as archive:
        assert equal(dict(archive), given_arrays)


def test_columns_first_is_written_rows_first(tmp_path):
    path = tmp_path / "some.npz"
    save_arrays(path, a=GOOD["images"].T)
    np.testing.assert_array_equal(load_arrays(path)["a"], GOOD["images"].T, strict=True)


@pytest.mark.skipif(sys.platform == "win32", reason="zipfile writes other records on Windows")
@pytest.mark.skipif(sys.version_info < (3, 11, 4), reason="zipfile wrote other records")
def test_bytes_are_those_of_np_savez(tmp_path):
    save_arrays(tmp_path / "ours.npz", **GOOD)
    np.savez(tmp_path / "numpys.npz", **GOOD)
    assert (tmp_path / "ours.npz").read_bytes() == (tmp_path / "numpys.npz").read_bytes()


def test_zipfile_finds_nothing_wrong(tmp_path):
    path = tmp_path / "some.npz"
    save_arrays(path, **GOOD)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["images.npy", "scale.npy", "names.npy"]
        for entry in archive.infolist():
            assert (entry.create_system, entry.date_time) == (3, (1980, 1, 1, 0, 0, 0))


@relaxed
@given(any_array.filter(lambda array: array.ndim > 0), st.lists(st.integers(0, 5)))
def test_blocks_are_written_as_the_array_that_they_fill(tmp_path, array, cuts):
    save_arrays(tmp_path / "whole.npz", a=array)
    blocks = (block for block in np.split(array, sorted(cuts)))
    save_arrays(tmp_path / "blocks.npz", a=Blocks(array.shape, array.dtype, blocks))
    assert (tmp_path / "whole.npz").read_bytes() == (tmp_path / "blocks.npz").read_bytes()


@pytest.mark.parametrize(
    "blocks",
    [[], [np.zeros((2, 3), "u1")], [np.zeros((2, 3), "u1")] * 3, [np.zeros((4, 3), "i1")], [np.zeros((1, 3), "<i4")]],
    ids=["none", "too few", "too many", "another type", "another type of as many bytes"],
)
def test_blocks_that_do_not_fill_the_array_are_not_written(tmp_path, blocks):
    with pytest.raises(ValueError, match="block"):
        save_arrays(tmp_path / "some.npz", a=Blocks((4, 3), np.dtype("u1"), blocks))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("order", ["C", "F"])
def test_large_array_is_written_without_a_copy(tmp_path, order):
    array = np.ones((4000, 8000), np.uint8, order)
    tracemalloc.start()
    save_arrays(tmp_path / "some.npz", a=array)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < array.nbytes / 8
    np.testing.assert_array_equal(load_arrays(tmp_path / "some.npz")["a"], array)


class Sparse(io.FileIO):
    """A file that leaves a hole where it is given a large block of zeros: gigabytes of them take no room."""

    def write(self, content) -> int:
        if np.asarray(content).nbytes < 1 << 20:
            return super().write(content)
        self.seek(np.asarray(content).nbytes, os.SEEK_CUR)
        return 0


def zeros(length: int) -> Iterator[np.ndarray]:
    """Yield bytes that are 0, `length` in all, in large blocks."""
    block = np.zeros(1 << 22, np.uint8)
    yield from itertools.repeat(block, length // len(block))
    yield block[: length % len(block)]


LIMIT = (1 << 31) - 1  # the largest number that zipfile writes in 32 bits
HEADERS = 128 + 30 + len("a.npy") + 20  # of an array and of its entry


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a hole in a file may take room")
@pytest.mark.skipif(sys.version_info < (3, 11, 4), reason="zipfile wrote other records")
@pytest.mark.parametrize(
    "lengths",
    [[LIMIT - 128, LIMIT + 1 - 128, 5], [LIMIT - HEADERS]],
    ids=["entries at the limit, and one beyond 4 GiB", "directory at the limit"],
)
def test_large_archive_is_the_one_that_zipfile_writes(tmp_path, lengths):
    arrays = {name: Blocks((n,), np.dtype(np.uint8), zeros(n)) for name, n in zip("abc", lengths, strict=False)}
    with Sparse(tmp_path / "ours.npz", "w") as file:
        write_arrays(file, arrays)
    with Sparse(tmp_path / "zipfiles.npz", "w+") as file, zipfile.ZipFile(file, "w") as archive:
        for name, n in zip("abc", lengths, strict=False):
            header = npy(shape=f"({n},)", content=b"")
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                for content in [header, *zeros(n)]:
                    member.write(content)
    ours, zipfiles = ((tmp_path / name).open("rb") for name in ("ours.npz", "zipfiles.npz"))
    with ours, zipfiles:
        for place in [*np.cumsum([0, *lengths]).tolist()]:  # around the beginning of each entry, and the end
            for file in (ours, zipfiles):
                file.seek(max(0, place - 1000))
            assert ours.read(4000) == zipfiles.read(4000)
        assert ours.seek(0, os.SEEK_END) == zipfiles.seek(0, os.SEEK_END)
    if len(lengths) > 1:
        with np.load(tmp_path / "ours.npz") as archive:
            assert archive["c"].tolist() == [0] * 5


@pytest.mark.parametrize("stored", [(), ("images",)])
@relaxed
@given(data=st.data())
def test_one_damage_is_refused_or_changes_nothing(tmp_path, stored, data):
    path = tmp_path / "some.npz"
    save_arrays(path, **GOOD)
    content = path.read_bytes()
    place = data.draw(st.integers(0, len(content) - 1))
    path.write_bytes(
        data.draw(
            st.sampled_from(
                [
                    content[:place],
                    content[:place] + content[place + 1 :],
                    content[:place] + bytes([content[place] ^ data.draw(st.integers(1, 255))]) + content[place + 1 :],
                ]
            )
        )
    )
    try:
        read = load_arrays(path, stored)
    except UserError:
        assert "`dvc repro`" in str(refused(load_arrays, path, stored))
    else:
        for name in read.keys() & GOOD.keys():
            found = read[name][:] if name in stored else read[name]
            np.testing.assert_array_equal(found, GOOD[name], strict=True)


@relaxed
@given(st.binary(max_size=200))
def test_any_bytes_are_refused(tmp_path, content):
    path = tmp_path / "some.npz"
    path.write_bytes(content)
    assert refused(load_arrays, path).about == ""


def npy(descr: str = "'|u1'", order: str = "False", shape: str = "(2,)", content: bytes = b"ab") -> bytes:
    """Return an .npy file with a header of one's own."""
    header = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}".encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + content


def packed(path, *entries: bytes, compression: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", compression) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of duplicate names
        for entry in entries:
            archive.writestr("a.npy", entry)


def test_the_header_made_here_is_readable(tmp_path):
    path = tmp_path / "some.npz"
    packed(path, npy())
    assert load_arrays(path)["a"].tobytes() == b"ab"


@pytest.mark.parametrize(
    "entry",
    [
        b"",
        b"ab",
        npy(shape="(3,)"),
        npy(shape="(1,)"),
        npy(shape="(-1,)"),
        npy(shape="(2, -1, -1)"),
        npy(shape="(1000000000000,)"),
        npy(shape="(999999999999999999, 999999999999999999)"),
        npy(shape="(0, 999999999999999999, 999999999999999999)", content=b""),
        npy(shape=f"({'1, ' * 70}2)"),
        npy(shape="(1.0, 2)"),
        npy(shape="2"),
        npy(shape="(2"),
        npy(shape=f"{'(' * 3000}2"),
        npy(descr="'|O'"),
        npy(descr="()"),
        npy(descr="[('x', '|u1')]"),
        npy(descr="'|V1'"),
        npy(descr="'<U0'", content=b""),
        npy(descr="'<U1'", shape="(1,)", content=b"\xff\xff\xff\xff"),
        npy(descr="'<M8[ns]'", shape="(1,)", content=bytes(8)),
        npy(order="True"),
        npy(order="__import__('os')"),
        pickle.dumps(["a"]),
    ],
    ids=lambda entry: repr(entry[10:70]),
)
def test_entries_that_are_no_plain_arrays_are_refused(tmp_path, entry):
    path = tmp_path / "some.npz"
    packed(path, entry)
    assert refused(load_arrays, path).about == "a"
    if b"<U" not in entry:  # only text can have wrong elements, and they are looked at when all is read
        assert refused(load_arrays, path, ["a"]).about == "a"


def test_pickles_are_refused(tmp_path):
    path = tmp_path / "some.npz"
    np.savez(path, good=np.zeros(3), a=np.array([{}], object))
    assert refused(load_arrays, path).about == "a"


def test_name_that_stands_twice_is_refused(tmp_path):
    path = tmp_path / "some.npz"
    packed(path, npy(), npy())
    assert refused(load_arrays, path).about == "a"


def test_compressed_entry_is_refused_before_it_is_unfolded(tmp_path):
    path = tmp_path / "some.npz"
    packed(path, npy(shape="(100000000,)", content=bytes(100_000_000)), compression=zipfile.ZIP_DEFLATED)
    tracemalloc.start()
    for stored in [(), ("a",)]:
        assert refused(load_arrays, path, stored).about == "a"
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000


def test_entry_longer_than_the_file_is_refused_before_memory_is_taken(tmp_path):
    path = tmp_path / "some.npz"
    packed(path, npy())
    content = bytearray(path.read_bytes())
    directory = content.index(b"PK\x01\x02")
    content[directory + 20 : directory + 28] = (2_000_000_000).to_bytes(4, "little") * 2  # both sizes
    path.write_bytes(content)
    tracemalloc.start()
    assert refused(load_arrays, path).about == ""
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000


def test_entry_that_begins_where_the_file_ends_is_refused(tmp_path):
    path = tmp_path / "some.npz"
    packed(path, npy())
    content = path.read_bytes()
    header = content[: 30 + len("a.npy")]
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = header  # the last bytes of the file
    content = bytearray(path.read_bytes())
    offset = content.index(b"PK\x01\x02") + 42
    content[offset : offset + 4] = (len(content) - len(header)).to_bytes(4, "little")
    path.write_bytes(content)
    refused(load_arrays, path)


@relaxed
@given(any_array.filter(lambda array: array.ndim > 0), st.data())
def test_stored_rows_are_those_of_the_array(tmp_path, array, data):
    save_arrays(tmp_path / "some.npz", before=GOOD["images"], a=array)
    stored = load_arrays(tmp_path / "some.npz", stored=["a"])["a"]
    assert (stored.shape, stored.dtype, stored.ndim, len(stored)) == (array.shape, array.dtype, array.ndim, len(array))
    a_slice = data.draw(st.slices(len(array)))
    places = data.draw(st.lists(st.integers(0, len(array) - 1) if len(array) else st.nothing()))
    chosen = [np.array(places, dtype) for dtype in (np.int64, np.uint8)]
    for rows in [slice(None), slice(None, None, 2**63), a_slice, *chosen]:
        np.testing.assert_array_equal(stored[rows], array[rows], strict=True)


def test_stored_rows_of_several_blocks(tmp_path):
    array = np.arange(3 << 20, dtype=np.uint32).reshape(-1, 3)
    save_arrays(tmp_path / "some.npz", a=array)
    stored = load_arrays(tmp_path / "some.npz", stored=["a"])["a"]
    rows = np.flatnonzero(np.arange(len(array)) % 12)
    np.testing.assert_array_equal(stored[:], array)
    np.testing.assert_array_equal(stored[rows], array[rows])
    blocks = list(stored.blocks(rows))
    assert len(blocks) > 1
    np.testing.assert_array_equal(np.concatenate(blocks), array[rows])


def test_rows_larger_than_a_block(tmp_path):
    array = np.arange(3, dtype=np.uint8)[:, np.newaxis].repeat(2 << 20, axis=1)
    save_arrays(tmp_path / "some.npz", a=array)
    stored = load_arrays(tmp_path / "some.npz", stored=["a"])["a"]
    for rows in (np.array([2, 0]), np.array([0, 1, 2])):
        np.testing.assert_array_equal(stored[rows], array[rows])
        np.testing.assert_array_equal(np.concatenate(list(stored.blocks(rows))), array[rows])


@pytest.mark.parametrize(
    ("rows", "error"),
    [
        (np.array([0, 3]), IndexError),
        (np.array([-1]), IndexError),
        (np.array([2, -1]), IndexError),
        (np.array([True, False, True]), TypeError),
        (np.array([0.0]), TypeError),
        (np.array([[0], [1]]), TypeError),
        (1, TypeError),
        ((slice(None), 0), TypeError),
    ],
    ids=repr,
)
def test_other_indices_are_refused(tmp_path, rows, error):
    save_arrays(tmp_path / "some.npz", **GOOD)
    images = load_arrays(tmp_path / "some.npz", stored=["images"])["images"]
    with pytest.raises(error, match=r"^expected "):
        images[rows]


def test_the_wrong_rows_are_named(tmp_path):
    save_arrays(tmp_path / "some.npz", **GOOD)
    images = load_arrays(tmp_path / "some.npz", stored=["images"])["images"]
    with pytest.raises(IndexError, match="expected rows from 0 to 2, found -1 to 3"):
        images[np.array([0, 3, -1])]


@pytest.mark.parametrize("change", ["replaced", "cut off", "removed"])
def test_file_that_changed_while_it_was_in_use_is_not_read(tmp_path, change):
    path = tmp_path / "some.npz"
    save_arrays(path, **GOOD)
    images = load_arrays(path, stored=["images"])["images"]
    if change == "replaced":
        save_arrays(path, **GOOD | {"images": GOOD["images"] + 1})
    elif change == "cut off":
        path.write_bytes(path.read_bytes()[:100])
    else:
        path.unlink()
    refused(lambda path: images[:], path)


def test_stored_rows_take_memory_for_what_is_asked_for(tmp_path):
    path = tmp_path / "some.npz"
    save_arrays(path, a=np.zeros((40_000, 784), np.uint8))
    tracemalloc.start()
    stored = load_arrays(path, stored=["a"])["a"]
    stored[np.arange(0, 40_000, 100)]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5_000_000  # of 31,360,000


def test_missing_file_says_what_makes_it(tmp_path):
    assert "`dvc repro`" in str(refused(load_arrays, tmp_path / "absent.npz"))


class Unwritable:
    """Something whose conversion to an array fails."""

    def __array__(self, *args, **kwargs):
        raise RuntimeError("in the middle")


def test_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "some.npz"
    save_arrays(path, **GOOD)
    before = path.read_bytes()
    with pytest.raises(RuntimeError, match="in the middle"):
        save_arrays(path, a=np.zeros(1000), b=Unwritable())
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["some.npz"]


def test_file_changes_only_when_all_is_written(tmp_path):
    path, linked = tmp_path / "some.txt", tmp_path / "linked.txt"
    write_text(path, "old")
    os.link(path, linked)  # as who has the file open: sees the old content to the end
    with written_whole(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert linked.read_text() == "old"
    assert sorted(os.listdir(tmp_path)) == ["linked.txt", "some.txt"]


def test_two_processes_write_the_same_file_whole(tmp_path, monkeypatch):
    """Each has a temporary file of its own, and the later one's stays."""
    path = tmp_path / "some.txt"
    with written_whole(path) as first:
        first.write(b"first")
        monkeypatch.setattr(os, "getpid", lambda: -1)
        write_text(path, "second")
    assert path.read_text() == "first"


@pytest.mark.parametrize("name", [".", "..", "/", "folder"])
def test_folder_is_refused_before_anything_is_written(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError) as caught, written_whole(Path(name)):
        pytest.fail("it was opened")
    assert caught.value.filename == name
    assert os.listdir(tmp_path) == ["folder"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_a_device_or_a_pipe_is_not_replaced(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    assert "regular file" in str(refused(write_text, path, "text"))
    assert path.is_fifo()
    assert os.listdir(tmp_path) == ["pipe"]


def fail(path, named):
    """Begin to write a file, and fail as on a full disk, with an error that names some file."""
    with written_whole(path) as file:
        raise OSError(errno.ENOSPC, "No space left on device", named(file))


@pytest.mark.parametrize("named", [lambda file: None, lambda file: file.name], ids=["no file", "the temporary file"])
def test_error_of_the_system_names_the_file_itself(tmp_path, named):
    path = tmp_path / "some.txt"
    with pytest.raises(OSError, match="No space") as caught:
        fail(path, named)
    assert caught.value.filename == str(path)
    assert os.listdir(tmp_path) == []


def test_error_that_names_another_file_goes_on_naming_it(tmp_path):
    with pytest.raises(OSError, match="No space") as caught:
        fail(tmp_path / "some.txt", lambda file: "another.txt")
    assert caught.value.filename == "another.txt"


def test_error_of_a_folder_that_cannot_be_replaced_names_it(tmp_path):
    (tmp_path / "some.txt").mkdir()
    with pytest.raises(OSError, match=r"some\.txt'") as caught:
        write_text(tmp_path / "some.txt", "text")
    assert caught.value.filename == str(tmp_path / "some.txt")
    assert os.listdir(tmp_path) == ["some.txt"]


def test_objects_are_not_written(tmp_path):
    with pytest.raises(ValueError, match="Object arrays cannot be saved"):
        save_arrays(tmp_path / "some.npz", a=np.array([{}], object))
    assert os.listdir(tmp_path) == []


def test_text_has_newlines_and_utf8_everywhere(tmp_path):
    path = tmp_path / "new" / "folder" / "some.csv"
    write_text(path, "a,ö\n1,2\n")
    assert path.read_bytes() == "a,ö\n1,2\n".encode()


def test_json_keeps_order_and_bits(tmp_path):
    path = tmp_path / "some.json"
    write_json(path, {"b": 0.1 + 0.2, "a": 1})
    assert path.read_bytes() == b'{\n  "b": 0.30000000000000004,\n  "a": 1\n}\n'
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"a": float("nan")})
    assert path.read_bytes().startswith(b'{\n  "b"')


def test_json_is_read_whole_or_not_at_all(tmp_path):
    path = tmp_path / "some.json"
    assert "no such file" in str(refused(read_json, path))
    write_json(path, {"b": 0.1 + 0.2})
    assert read_json(path) == {"b": 0.1 + 0.2}
    for damaged in (path.read_bytes()[:-3], b"", b"\xff\xfe"):
        path.write_bytes(damaged)
        assert str(refused(read_json, path)).startswith(f"{path}: ")


def test_np_load_of_bytes_in_memory_agrees(tmp_path):
    save_arrays(tmp_path / "some.npz", **GOOD)
    with np.load(io.BytesIO((tmp_path / "some.npz").read_bytes())) as archive:
        assert list(archive) == list(GOOD)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_named_pipe_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert "regular file" in str(refused(load_arrays, tmp_path / "pipe"))
    assert "regular file" in str(refused(read_images, tmp_path / "pipe"))
