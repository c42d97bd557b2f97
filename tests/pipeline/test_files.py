"""Files are written whole or not at all; array files and tables are exact."""

import csv
import errno
import os
import pickle
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from mlp.prediction import Score
from mlp.training import Epoch
from pipeline.program.errors import UserError
from pipeline.program.files import check_distinct, read_json, write_json, write_text, written_whole
from pipeline.store.arrays import load_arrays, save_arrays
from pipeline.store.tables import HISTORY_COLUMNS, write_confusion, write_history
from tests.support.files import memory_below
from tests.support.refusals import refused

GOOD = {"images": np.arange(12, dtype=np.uint8).reshape(3, 4), "scale": np.float64(0.1)}
GOOD |= {"names": np.array(["a", "bc"])}
ODD = {"texts": np.array(["", "a\U0001f600"]), "0": np.zeros((0, 3))}
ODD |= {"nan": np.array([[-0.0, 5e-324, np.nan]])}


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "some.npz"


def stored(path, name="a"):
    """Return an array that stays in its file."""
    return load_arrays(path, mapped=[name])[name]


@pytest.mark.parametrize("given", [{}, GOOD, ODD], ids=["none", "good", "odd"])
def test_arrays_are_read_back_to_the_last_bit(path, given):
    save_arrays(path, **given)
    with np.load(path, allow_pickle=False) as archive:
        some = [name for name, array in given.items() if array.size]  # nothing cannot be mapped
        for found in (load_arrays(path), load_arrays(path, mapped=some), dict(archive)):
            assert list(found) == list(given)
            for name, array in given.items():
                np.testing.assert_array_equal(found[name], array, strict=True)
                assert found[name].tobytes() == array.tobytes()


@pytest.mark.skipif(sys.platform == "win32", reason="zipfile writes other records on Windows")
def test_bytes_are_those_of_np_savez_on_every_system(tmp_path):
    odd = {"swapped": np.arange(3, dtype=">i8"), "columns": np.asfortranarray(GOOD["images"])}
    save_arrays(tmp_path / "ours.npz", **GOOD, **odd)
    plain = {"swapped": np.arange(3, dtype="<i8"), "columns": GOOD["images"]}
    np.savez(tmp_path / "numpys.npz", **GOOD, **plain)
    assert (tmp_path / "ours.npz").read_bytes() == (tmp_path / "numpys.npz").read_bytes()


def test_large_array_is_written_without_a_copy_and_its_damage_is_found(path):
    array = np.ones((8000, 8000), np.uint8)
    with memory_below(40_000_000):  # of 64,000,000
        save_arrays(path, a=array)
        assert stored(path)[-1, -1] == 1
        with path.open("r+b") as file:
            file.seek(32_000_000)
            file.write(b"\2")
        refused(stored, path)


def test_one_damage_is_refused_or_changes_nothing(path):
    """Each byte has another value, is missing, or is the end."""
    save_arrays(path, **GOOD)
    good, refusals = path.read_bytes(), []
    for place, byte in enumerate(good):
        for damaged in (bytes([byte ^ 1]) + good[place + 1 :], good[place + 1 :], b""):
            path.write_bytes(good[:place] + damaged)
            try:
                read = load_arrays(path, mapped=("images",))
            except UserError as error:
                refusals.append(str(error))
            else:
                for name in read.keys() & GOOD.keys():
                    np.testing.assert_array_equal(read[name], GOOD[name], strict=True)
    assert len(refusals) > 2 * len(good)
    assert all(refusal.startswith(str(path)) and "`dvc repro`" in refusal for refusal in refusals)


@pytest.mark.parametrize("content", [b"", b"<!DOCTYPE html>", b"PK\3\4" + bytes(30), None])
def test_other_files_are_refused(path, content):
    if content is not None:
        path.write_bytes(content)
    error = refused(load_arrays, path)
    assert error.about == ""
    assert "`dvc repro`" in str(error)


def npy(descr: str = "'|u1'", shape: str = "(2,)", content: bytes = b"ab") -> bytes:
    """Return an .npy file with a header of one's own."""
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + content


def pack(path, *entries: bytes, compression: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for entry in entries:
            archive.writestr("a.npy", entry)


NO_ARRAYS = {
    "too short": npy(shape="(3,)"),
    "enormous": npy(shape="(999999999999999999, 999999999999999999)"),
    "nested": npy(shape=f"{'(' * 3000}2"),
    "objects": npy(descr="'|O'", shape="(1,)", content=pickle.dumps(np.array(["a"], object))),
    "no bytes": npy(descr="'<U0'", shape="(20000000,)", content=b""),
    "no characters": npy(descr="'<U1'", shape="(1,)", content=b"\xff\xff\xff\xff"),
}


@pytest.mark.parametrize("kind", NO_ARRAYS)
def test_entries_that_are_no_plain_arrays_are_refused(path, kind):
    pack(path, npy())
    assert load_arrays(path)["a"].tobytes() == stored(path).tobytes() == b"ab"
    pack(path, NO_ARRAYS[kind])
    assert refused(load_arrays, path).about == "a"


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compressed_entry_is_refused_before_it_is_unfolded(path, compression):
    """The archive says that it is short."""
    pack(path, npy(shape="(20000000,)", content=bytes(20_000_000)), compression=compression)
    content = bytearray(path.read_bytes())
    length = content.rindex(b"PK\1\2") + 24
    content[length : length + 4] = (99).to_bytes(4, "little")
    path.write_bytes(content)
    with memory_below(1_000_000):
        for load in (load_arrays, stored):
            assert refused(load, path).about == ""


def test_a_path_given_twice_is_refused_and_links_in_a_circle_are_not(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "link").symlink_to("a")
    check_distinct(tmp_path / "a", tmp_path / "b", tmp_path / "loop")
    for name in ("b/../a", "link"):
        with pytest.raises(UserError) as caught:
            check_distinct(tmp_path / "a", tmp_path / name)
        assert str(caught.value).startswith(f"{tmp_path / name}: given twice")


def test_a_file_of_thousands_of_arrays_is_refused(path):
    save_arrays(path, **{str(number): np.zeros(1) for number in range(2000)})
    refused(load_arrays, path)


def test_failed_write_leaves_the_old_file_and_nothing_else(path):
    save_arrays(path, **GOOD)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="Object arrays cannot be saved"):
        save_arrays(path, a=np.zeros(1000), b=np.array([{}], object))
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == ["some.npz"]


def test_file_changes_only_when_all_is_written(path, monkeypatch):
    linked = path.with_name("linked")
    write_text(path, "old")
    # Like a program that has the file open: it sees the old content to the end
    os.link(path, linked)
    with written_whole(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_text() == "old"
        monkeypatch.setattr(os, "getpid", lambda: -1)
        write_text(path, "of another process")  # it has a temporary file of its own
    assert path.read_text() == "new"
    assert linked.read_text() == "old"
    assert sorted(os.listdir(path.parent)) == ["linked", "some.npz"]


@pytest.mark.parametrize("name", [".", "/", "folder"])
def test_folder_is_refused_before_anything_is_written(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError) as caught, written_whole(Path(name)):
        pytest.fail("it was opened")
    assert str(caught.value).startswith(f"{Path(name)}: ")
    assert os.listdir(tmp_path) == ["folder"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_a_device_or_a_pipe_is_not_replaced(path):
    os.mkfifo(path)
    refused(write_text, path, "text")
    assert path.is_fifo()
    assert os.listdir(path.parent) == ["some.npz"]


def test_error_of_the_system_names_the_file_that_the_user_knows(path):
    for named, told in ((None, path), ("the file's", path), ("/x", Path("/x"))):
        with pytest.raises(OSError, match="No space") as caught, written_whole(path) as file:
            raise OSError(errno.ENOSPC, "No space", file.name if named == "the file's" else named)
        assert Path(caught.value.filename) == told
        assert os.listdir(path.parent) == []


def test_json_keeps_order_and_bits_and_is_read_whole_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "folder" / "some.json"
    refused(read_json, path)
    write_json(path, {"b": 0.1 + 0.2, "a": 1})
    # Line ends are those of Unix, everywhere
    content = b'{\n  "b": 0.30000000000000004,\n  "a": 1\n}\n'
    assert path.read_bytes() == content
    assert list(read_json(path).items()) == [("b", 0.1 + 0.2), ("a", 1)]
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"a": float("nan")})
    assert path.read_bytes() == content
    for damaged in (content[:-3], b"", b"\xff\xfe"):
        path.write_bytes(damaged)
        refused(read_json, path)


# The two tables


def epoch(number, iteration, loss, train_accuracy, validation_loss, validation_accuracy):
    scores = (Score(0.0, train_accuracy), Score(validation_loss, validation_accuracy))
    return Epoch(number, iteration, loss, scores, f"{number:016x}")


def cells(path):
    assert b"\r" not in path.read_bytes()
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_history_has_each_number_to_its_last_bit(tmp_path):
    first = epoch(1, 550, 0.1 + 0.2, 1 / 3, 1e-320, 1.0)
    second = epoch(2, 1100, 5e22, 0.0, 123456789.123, 2 / 3)
    write_history(tmp_path / "history.csv", [first, second], best=2)
    head, *rows = cells(tmp_path / "history.csv")
    assert head == list(HISTORY_COLUMNS)
    third = "0.3333333333333333"
    assert rows == [
        ["1", "550", "0.30000000000000004", third, "1e-320", "1.0", f"{1:016x}", "0"],
        ["2", "1100", "5e+22", "0.0", "123456789.123", "0.6666666666666666", f"{2:016x}", "1"],
    ]


@pytest.mark.parametrize("case", [(1, 0, 1), (500, 500, 1), (501, 7, 2), (16_667, 5, 34)])
def test_history_has_some_epochs_the_last_one_and_the_one_that_is_kept(tmp_path, case):
    (total, kept, every), third = case, 1 / 3  # 18 characters
    path = tmp_path / "history.csv"
    epochs = [epoch(number, 3 * number, *[third] * 4) for number in range(1, total + 1)]
    write_history(path, epochs, kept)
    _, *rows = cells(path)
    assert [int(row[0]) for row in rows] == sorted({*range(every, total, every), kept, total} - {0})
    assert [int(row[0]) for row in rows if row[-1] == "1"] == [kept] * (kept > 0)
    assert path.stat().st_size < 60_000  # it is in Git, and drawn on a page


def test_confusion_has_the_classes_whatever_they_are_called(tmp_path):
    classes = ("T-shirt/top", "a, b", 'the "c"', "é")
    write_confusion(tmp_path / "confusion.csv", classes, np.array([0, 1, 2]), np.array([1, 3, 2]))
    expected = [["T-shirt/top", "a, b"], ["a, b", "é"], ['the "c"', 'the "c"']]
    assert cells(tmp_path / "confusion.csv") == [["actual", "predicted"], *expected]
