"""Files are written whole or not at all; array files are read back exactly, or refused."""

import io
import os
import pickle
import sys
import tracemalloc
import warnings
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from pipeline.errors import UserError
from pipeline.files import load_arrays, save_arrays, write_json, write_text

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


def test_same_bytes_on_every_system(tmp_path, monkeypatch):
    save_arrays(tmp_path / "one.npz", **GOOD)
    monkeypatch.setattr(sys, "platform", "win32")  # decides ZipInfo's create_system
    save_arrays(tmp_path / "two.npz", **GOOD)
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    with zipfile.ZipFile(tmp_path / "two.npz") as archive:
        for entry in archive.infolist():
            assert entry.create_system == 3
            assert entry.date_time == (1980, 1, 1, 0, 0, 0)


@relaxed
@given(data=st.data())
def test_one_damage_is_refused_or_changes_nothing(tmp_path, data):
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
        read = load_arrays(path)
    except UserError as error:
        sentence = str(error)
        assert sentence.startswith(f"{path}: not an array file of this pipeline (")
        assert "dvc repro" in sentence
    else:
        for name in read.keys() & GOOD.keys():
            np.testing.assert_array_equal(read[name], GOOD[name], strict=True)


@relaxed
@given(st.binary(max_size=200))
def test_any_bytes_are_refused(tmp_path, content):
    path = tmp_path / "some.npz"
    path.write_bytes(content)
    with pytest.raises(UserError):
        load_arrays(path)


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
    with pytest.raises(UserError, match="not an array file"):
        load_arrays(path)


def test_pickles_are_refused(tmp_path):
    path = tmp_path / "some.npz"
    np.savez(path, a=np.array([{}], object))
    with pytest.raises(UserError, match="not a plain array"):
        load_arrays(path)


def test_name_that_stands_twice_is_refused(tmp_path):
    path = tmp_path / "some.npz"
    packed(path, npy(), npy())
    with pytest.raises(UserError, match="a name stands twice"):
        load_arrays(path)


def test_compressed_entry_is_refused_before_it_is_unfolded(tmp_path):
    path = tmp_path / "some.npz"
    packed(path, npy(shape="(100000000,)", content=bytes(100_000_000)), compression=zipfile.ZIP_DEFLATED)
    tracemalloc.start()
    with pytest.raises(UserError, match="is compressed"):
        load_arrays(path)
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
    with pytest.raises(UserError, match="longer than the file"):
        load_arrays(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000


def test_missing_file_says_what_makes_it(tmp_path):
    with pytest.raises(UserError, match=r"absent.npz: no such file; run `dvc repro`"):
        load_arrays(tmp_path / "absent.npz")


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


def test_np_load_of_bytes_in_memory_agrees(tmp_path):
    save_arrays(tmp_path / "some.npz", **GOOD)
    with np.load(io.BytesIO((tmp_path / "some.npz").read_bytes())) as archive:
        assert list(archive) == list(GOOD)
