"""Damaged and hostile files: each is refused with one sentence, or what is read is right; in bounded time and memory.

A case is a file with one damage or several. `count` knows how many there were, refused and accepted.
"""

import gzip
import hashlib
import io
import random
import re
import struct
import tarfile
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import yaml

from mlp.arithmetic import ARITHMETICS
from mlp.layers import ACTIVATIONS
from mlp.network import Network, Preparation, init_network, predict
from pipeline.fetching.fetch import fetch
from pipeline.images.idx import read_labelled
from pipeline.program.errors import UserError
from pipeline.settings.datasets import SAVED_AS, TEST_LABELS, File, load_dataset
from pipeline.settings.params import load_params
from pipeline.store.arrays import StoredRows, load_arrays, save_arrays
from pipeline.store.artifacts import load_model, load_prepared, save_model
from tests.support.faults import SEED, bounded, times
from tests.support.project import ROOT, sample_datasets

pytestmark = pytest.mark.slow


def read(load: Callable[[Path], object], path: Path, count: Counter) -> object:
    """Return what `load` reads, or None if it refuses the file with one sentence."""
    count["damaged"] += 1
    try:
        value = load(path)
    except UserError as error:
        sentence = str(error)
        assert "\n" not in sentence
        assert str(path) in sentence
        assert len(sentence) - len(str(path)) < 500
        count["refused"] += 1
        return None
    count["accepted"] += 1
    return value


def damage(content: bytes, chance: random.Random) -> bytes:
    """Return `content` with a damage such as disks, transfers and people make."""
    place = chance.randrange(len(content))
    end = min(len(content), place + chance.choice([1, 2, 4, 64, 512]))
    kind = chance.randrange(9)
    if kind == 0:  # cut off
        return content[:place]
    if kind == 1:  # something after the end
        return content + chance.randbytes(chance.choice([1, 7, 512]))
    if kind == 2:  # a piece missing
        return content[:place] + content[end:]
    if kind == 3:  # a piece twice
        return content[:end] + content[place:]
    if kind == 4:  # a piece of zeros, as of a sector that was never written
        return content[:place] + bytes(end - place) + content[end:]
    if kind == 5:  # a piece of anything
        return content[:place] + chance.randbytes(end - place) + content[end:]
    if kind == 6:  # two pieces have changed places
        other = chance.randrange(len(content))
        first, second = sorted([place, other])
        return content[:first] + content[second:] + content[first:second]
    if kind == 7:  # line ends converted
        return content.replace(b"\n", b"\r\n") if chance.random() < 0.5 else content.replace(b"\r\n", b"\n")
    damaged = bytearray(content)  # several bits
    for _ in range(chance.randint(1, 8)):
        damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
    return bytes(damaged)


# --- IDX ---


def test_idx(raw, tmp_path, count):
    """Each header byte takes each value, each payload byte a few; then damages of all kinds.

    A payload byte may be anything in images, and any class in labels; nothing else of a file may change.
    """
    chance = random.Random(SEED)
    path = tmp_path / "file"
    images, labels = tmp_path / "images", tmp_path / "labels"

    def load_images(path: Path) -> StoredRows:
        return read_labelled(path, labels, 10)[0]

    def load_labels(path: Path) -> np.ndarray:
        return read_labelled(images, path, 10)[1]

    files = {}
    for name, undamaged, header, load in [
        ("train-images-idx3-ubyte", images, 16, load_images),
        ("train-labels-idx1-ubyte", labels, 8, load_labels),
    ]:
        whole = (raw / name).read_bytes()
        length = 28 * 28 if header == 16 else 1
        good = whole[:4] + struct.pack(">I", 5) + whole[8 : header + 5 * length]
        undamaged.write_bytes(good)
        files[name] = (good, header, load)

    with bounded() as next_case:
        for good, header, load in files.values():
            cases = [set_byte(good, place, value) for place in range(header) for value in range(256)]
            cases += [set_byte(good, place, chance.randrange(256)) for place in range(header, len(good))]
            cases += [good[:length] for length in range(header + 1)]
            cases += [damage(good, chance) for _ in range(times(3000))]
            for case in cases:
                next_case()
                path.write_bytes(case)
                array = read(load, path, count)
                legal = len(case) == len(good) and case[:header] == good[:header]
                legal = legal and (header == 16 or max(case[header:]) < 10)
                assert (array is not None) == legal
                if legal:
                    assert array[:].tobytes() == case[header:]
    assert count["damaged"] >= 10_000


def set_byte(content: bytes, place: int, value: int) -> bytes:
    return content[:place] + bytes([value]) + content[place + 1 :]


# --- Models and prepared images ---


@pytest.fixture
def model(tmp_path) -> Path:
    """A small model's file."""
    path = tmp_path / "model.npz"
    preparation = Preparation(1.5, 1 / 255, (3, 4), ("a", "b", "c"))
    save_model(path, init_network((5,), ACTIVATIONS["tanh"], 0.5, ARITHMETICS["exact"], preparation, SEED))
    return path


def flat(network: Network) -> tuple:
    """Return all there is in a model, for comparison bit by bit."""
    arrays = [*network.weights, *network.biases]
    numbers = [(array.tobytes(), array.shape, array.dtype.str) for array in arrays]
    return numbers, network.activation, network.arithmetic, network.preparation


def zip_parts(content: bytes) -> dict[str, set[int]]:
    """Return the places of the bytes of a zip file of arrays, by what they are."""
    parts: dict[str, set[int]] = {name: set() for name in ("local header", "array header", "numbers", "directory")}
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for entry in archive.infolist():
            name, extra = struct.unpack("<HH", content[entry.header_offset + 26 : entry.header_offset + 30])
            start = entry.header_offset + 30 + name + extra
            numbers = start + 10 + struct.unpack("<H", content[start + 8 : start + 10])[0]
            parts["local header"] |= set(range(entry.header_offset, start))
            parts["array header"] |= set(range(start, numbers))
            parts["numbers"] |= set(range(numbers, start + entry.file_size))
        parts["directory"] = set(range(archive.start_dir, len(content) - 22))
    parts["end"] = set(range(len(content) - 22, len(content)))
    assert sum(map(len, parts.values())) == len(content)
    return parts


def test_model(model, count):
    """Each byte changes, whatever it is for; then damages of all kinds. What is read is the same, or nothing."""
    chance = random.Random(SEED)
    good = model.read_bytes()
    right = flat(load_model(model))
    checked = zip_parts(good)
    protected = checked["array header"] | checked["numbers"]
    with bounded() as next_case:
        for place in range(len(good)):
            values = {good[place] ^ 1, good[place] ^ 128, 255 - good[place], chance.randrange(256)} - {good[place]}
            for value in values:
                next_case()
                model.write_bytes(set_byte(good, place, value))
                model_read = read(load_model, model, count)
                assert model_read is None or (place not in protected and flat(model_read) == right)
        for _ in range(times(4000)):
            next_case()
            model.write_bytes(damage(good, chance))
            model_read = read(load_model, model, count)
            assert model_read is None or flat(model_read) == right
    assert count["damaged"] >= 10_000


def test_model_with_false_checksums(model, count):
    """Somebody who writes the checksums again can write any network, but only one that works as a network."""
    chance = random.Random(SEED)
    with zipfile.ZipFile(model) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with bounded() as next_case:
        for _ in range(times(3000)):
            changed = dict(entries)
            for _ in range(chance.choice([1, 1, 2])):
                name = chance.choice(list(changed))
                kind = chance.randrange(6)
                if kind == 0 and len(changed) > 1:
                    del changed[name]
                elif kind == 1:
                    changed[chance.choice(["weights_3.npy", "x", "", "a/b.npy", name.upper()])] = changed[name]
                elif kind == 2:
                    changed[name] = changed[chance.choice(list(changed))]
                else:
                    changed[name] = damage(changed[name] or b"x", chance)
            seal(model, list(changed.items()))
            next_case()
            network = read(load_model, model, count)
            if network is not None:
                assert_works(network)


def seal(path: Path, entries: list[tuple[str, bytes]]) -> None:
    with zipfile.ZipFile(path, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of duplicate names
        for name, content in entries:
            archive.writestr(zipfile.ZipInfo(name), content)


def assert_works(network: Network) -> None:
    rows, columns = network.preparation.image_shape
    with suppress(FloatingPointError), np.errstate(all="ignore"):  # weights of 1e300 end a command with a sentence
        y, _ = predict(network, np.zeros((1, rows * columns), np.uint8))
        assert y.shape == (1, len(network.preparation.classes))


def test_prepared(pipeline, tmp_path, count):
    """Prepared images are guarded by the same checksums."""
    chance = random.Random(SEED)
    arrays = load_arrays(pipeline.folder / "data/prepared/test.npz")
    path = tmp_path / "prepared.npz"
    save_arrays(path, **arrays | {"images": arrays["images"][:3], "labels": arrays["labels"][:3]})
    good = path.read_bytes()
    right = load_prepared(path)
    images = right.split.images[:]
    with bounded() as next_case:
        for _ in range(times(2000)):
            next_case()
            path.write_bytes(damage(good, chance))
            prepared = read(load_prepared, path, count)
            assert prepared is None or prepared[1:] == right[1:]
            if prepared:
                assert (prepared.split.images[:] == images).all()
                assert (prepared.split.labels == right.split.labels).all()


def patched(content: bytes, offset: int, value: bytes, where: bytes = b"PK\x01\x02") -> bytes:
    """Return a zip file with some bytes changed, `offset` bytes after the first `where`."""
    place = content.index(where) + offset
    return content[:place] + value + content[place + len(value) :]


HOSTILE: dict[str, Callable[[bytes], bytes]] = {
    "encrypted, says the directory": lambda good: patched(good, 8, b"\x01\x00"),
    "encrypted, say both": lambda good: patched(patched(good, 8, b"\x01\x00"), 6, b"\x01\x00", b"PK\x03\x04"),
    "compressed by an unknown method": lambda good: patched(good, 10, b"\x63\x00"),
    "compressed by LZMA": lambda good: patched(good, 10, b"\x0e\x00"),
    "entry of 4 GiB": lambda good: patched(good, 20, b"\xfe\xff\xff\xff" * 2),
    "entry unfolding to 4 GiB": lambda good: patched(good, 24, b"\xfe\xff\xff\xff"),
    "zip64 sizes that are not there": lambda good: patched(good, 20, b"\xff\xff\xff\xff" * 2),
    "entry far outside": lambda good: patched(good, 42, b"\xf0\xff\xff\xff"),
    "entry inside another": lambda good: patched(good, 42, b"\x01\x00\x00\x00"),
    "directory far outside": lambda good: patched(good, 16, b"\xf0\xff\xff\xff", b"PK\x05\x06"),
    "directory of 4 GiB": lambda good: patched(good, 12, b"\xf0\xff\xff\xff", b"PK\x05\x06"),
    "something before": lambda good: b"#!/bin/sh\nexit\n" + good[:-1],
    "another name inside": lambda good: patched(good, 30, b"W", b"PK\x03\x04"),
    "newer zip": lambda good: patched(good, 6, b"\xff\x00"),
    "in several volumes": lambda good: patched(good, 4, b"\x01\x00", b"PK\x05\x06"),
    "a zip in a zip": lambda good: zipped([("weights_1.npy", good)]),
    "a folder": lambda good: zipped([("weights_1/", b"")]),
    "names that lead outside": lambda good: zipped([("../../weights_1.npy", b"x"), ("/etc/passwd", b"x")]),
    "50,000 entries": lambda good: zipped([(f"{number}.npy", b"") for number in range(50_000)]),
    "the same entry 5,000 times": lambda good: overlapping(5_000),
    "pickle for an array": lambda good: zipped([("weights_1.npy", b"\x80\x04c__builtin__\nexec\n(S'raise'\ntR.")]),
}


def zipped(entries: list[tuple[str, bytes]]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return file.getvalue()


def overlapping(number: int) -> bytes:
    """Return a zip whose directory leads again and again to the same bytes, each time with another name."""
    content = zipped([("00000", bytes(100_000))])
    start = content.index(b"PK\x01\x02")
    record = content[start:-22]
    directory = b"".join(record.replace(b"00000", b"%05d" % index) for index in range(number))
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, number, number, len(directory), start, 0)
    return content[:start] + directory + end


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_archive(model, count, name):
    """Refused, or the lie is about something that no reader uses."""
    right = flat(load_model(model))
    model.write_bytes(HOSTILE[name](model.read_bytes()))
    with bounded(256) as next_case:
        next_case()
        model_read = read(load_model, model, count)
    assert model_read is None or flat(model_read) == right


# --- An npm package ---


def test_package(tmp_path, monkeypatch, count):
    """A damaged package, its tar headers' checksums right or wrong, gives the right files or none."""
    chance = random.Random(SEED)
    archive = tmp_path / "package.tgz"
    (tmp_path / "npm").write_text(f'#!/bin/sh\nexec /bin/cp "{archive}" small-1.0.0.tgz\n')
    (tmp_path / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    content = {name: chance.randbytes(300) for name in SAVED_AS.values()}
    files = {
        name: File(name=name, bytes=300, sha256=hashlib.sha256(data).hexdigest()) for name, data in content.items()
    }
    tar = packed(content)
    with bounded() as next_case:
        for number in range(times(1000)):
            damaged = bytearray(damage(tar, chance))
            for start in range(0, len(damaged) - 511, 512) if number % 2 else ():
                if damaged[start + 257 : start + 262] == b"ustar":
                    blank = damaged[start : start + 148] + b" " * 8 + damaged[start + 156 : start + 512]
                    damaged[start + 148 : start + 156] = b"%06o\0 " % sum(blank)
            zipped = gzip.compress(damaged, 1)
            archive.write_bytes(damage(zipped, chance) if number % 5 == 0 else zipped)
            raw = tmp_path / f"raw{number}"
            next_case()
            count["damaged"] += 1
            try:
                fetch(files, ["npm:small@1.0.0/data"], raw)
            except UserError:
                count["refused"] += 1
            else:
                assert len(list(raw.iterdir())) == 4
                count["accepted"] += 1
            assert all(content[path.name] == path.read_bytes() for path in raw.iterdir())


def packed(content: dict[str, bytes]) -> bytes:
    """Return a tar archive as npm makes it, long headers included."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, data in content.items():
            info = tarfile.TarInfo(f"package/data/{name}")
            info.size = len(data)
            info.pax_headers = (
                {"comment": "x", "GNU.sparse.name": info.name} if name == TEST_LABELS else {"mtime": "1.5"}
            )
            tar.addfile(info, io.BytesIO(data))
    return file.getvalue()


# --- params.yaml and datasets.yaml ---

WORDS = r"""
0 -1 1 50 1e3 1E-3 1e999 1e-400 -0.0 .5 5. 0x10 0o7 010 1_000 99999999999999999999 1:30 .inf -.inf .nan nan true yes on
No null ~ '' "" "5" '1' relu tanh exact none [] [1] [50,20] [1.5] [[1]] {} {a:1} [,] 2001-01-01 !!int !x &a *a @ ` % | >
- ? : # "\u0000" "\uD800" "\UFFFFFFFF" "\x41" mnist ../x é 😀
"""
SCALARS = [*WORDS.split(), *"\0\x85\u2028\u202e\ufeff"]
PIECES = [*SCALARS, *"[]{},'\"\n\t", "\n  ", "\n\n", ": ", "- ", " #", "\r\n", "---\n", "...\n"]


def edited(text: str, chance: random.Random) -> str:
    """Return a YAML text after what careless or hostile editing does to it."""
    for _ in range(chance.choice([1, 1, 1, 2, 5])):
        lines = text.split("\n")
        place = chance.randrange(len(lines))
        at = chance.randint(0, len(text))
        kind = chance.randrange(8)
        if kind <= 2 and ":" in lines[place]:  # another value, behind a key or in a list
            lines[place] = f"{lines[place].partition(':')[0]}: {chance.choice(SCALARS)}"
        elif kind == 3:
            del lines[place]
        elif kind == 4:
            lines.insert(place, chance.choice(lines))
        elif kind == 5:
            lines[place] = " " * chance.randrange(5) + lines[place].lstrip()
        elif kind == 6:
            lines = list(text[:at] + chance.choice(PIECES) + text[at + chance.choice([0, 0, 1, 5]) :])
            text = "".join(lines)
            continue
        else:
            line = lines[place]
            at = chance.randint(0, len(line))
            lines[place] = line[:at] + chr(chance.choice([0, 9, 13, 34, 35, 58, 91, 127, 0xA0, 0xFEFF])) + line[at:]
        text = "\n".join(lines)
    return text


def any_text(chance: random.Random) -> bytes:
    """Return a text of YAML's building blocks, or any bytes."""
    if chance.random() < 0.2:
        return chance.randbytes(chance.randrange(200))
    return "".join(chance.choices(PIECES, k=chance.randrange(60))).encode("utf-8", "surrogatepass")


def yaml_cases(good: str, number: int) -> list[bytes]:
    chance = random.Random(SEED)
    plain = yaml.safe_dump(yaml.safe_load(good), sort_keys=False)
    cases = [edited(chance.choice([good, plain]), chance).encode("utf-8", "surrogatepass") for _ in range(number)]
    return cases + [any_text(chance) for _ in range(number // 5)]


def test_params(tmp_path, count):
    """Whatever is read is in range, and is what DVC reads and locks."""
    from dvc.exceptions import DvcException
    from dvc.utils.serialize import load_yaml

    path = tmp_path / "params.yaml"
    good = (ROOT / "params.yaml").read_text(encoding="utf-8")
    seen = set()
    with bounded() as next_case:
        for case in yaml_cases(good, times(3000)):
            path.write_bytes(case)
            next_case()
            params = read(load_params, path, count)
            if params is None or params in seen:
                continue
            seen.add(params)
            assert 0 <= params.train.seed < 2**32
            assert 1 <= params.train.iterations <= 10**9
            assert 0 < params.train.learning_rate < np.inf
            try:
                by_dvc = load_yaml(str(path))
            except DvcException:
                continue  # DVC stops before the stage begins
            ours = params.model_dump(exclude_none=True)
            ours["train"]["hidden_sizes"] = list(ours["train"]["hidden_sizes"])
            assert by_dvc == ours
    assert len(seen) > 20


def test_datasets(tmp_path, count):
    path = tmp_path / "datasets.yaml"
    text = yaml.safe_dump(sample_datasets(), sort_keys=False)
    with bounded() as next_case:
        for case in yaml_cases(text, times(1500)):
            path.write_bytes(case)
            next_case()
            dataset = read(lambda path: load_dataset(path, "mnist"), path, count)
            if dataset is None:
                continue
            assert 2 <= len(set(dataset.classes)) == len(dataset.classes) <= 256
            assert np.array(dataset.classes).tolist() == list(dataset.classes)
            assert list(dataset.by_name()) == list(SAVED_AS.values())
            assert all(re.fullmatch("[0-9a-f]{64}", file.sha256) for file in dataset.by_name().values())
            assert dataset.mirrors
