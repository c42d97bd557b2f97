"""Download a dataset's files, decompress them, and verify the SHA-256 of the result."""

import hashlib
import itertools
import os
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from pipeline.fetching.mirrors import BLOCK, FileFailure, MirrorFailure, Read, opened
from pipeline.program.errors import UserError, clip, note
from pipeline.program.files import sha256_of, written_whole
from pipeline.program.progress import progress
from pipeline.settings.datasets import File

MAX_BYTES = 1 << 30  # the most bytes of a file, if datasets.yaml does not give its length
Report = Callable[[str], None]


def fetch(
    files: dict[str, File], mirrors: Sequence[str], folder: Path, report: Report = note
) -> None:
    """Download `files` into `folder`, by the names to save them under, from the first good mirror.

    Files in `folder` with the right SHA-256 are kept. Others are removed first, so even after a
    failure no unverified file has a data file's name. `report` gets a line for each file, and for
    each failure that did not matter. If no mirror gave some file, a UserError lists the failures.
    """
    if os.path.realpath(folder) in map(os.path.realpath, mirrors):
        advice = "put your files into another folder"
        raise UserError(f"{folder} is both the mirror and the output; {advice}.")
    folder.mkdir(parents=True, exist_ok=True)
    missing = {}
    for name, file in files.items():
        path = folder / name
        if path.is_file() and sha256_of(path) == file.sha256:
            report(f"{name}: already there")
        else:
            path.unlink(missing_ok=True)
            missing[name] = file

    failures: dict[str, str] = {}  # which file was the first to fail for each reason
    for mirror in mirrors:
        if not missing:
            break
        shown = clip(re.sub("//[^/]*@", "//", mirror), 200)  # no password
        try:
            with opened(mirror) as read:
                for name, file in list(missing.items()):
                    try:
                        _fetch_file(read, file, folder / name)
                        report(f"{name}: from {shown}")
                        del missing[name]
                    except FileFailure as error:
                        failures.setdefault(f"{shown}: {error}", name)
        except MirrorFailure as error:
            failures[f"{shown}: {error}"] = next(iter(missing), "all files")
    reasons = [f"{reason} ({name})" for reason, name in failures.items()]
    if missing:
        lines = "\n  ".join([f"no mirror gave {', '.join(missing)}:", *reasons])
        cure = "Set DATA_MIRROR to a folder or web address that has the files; else unset it"
        raise UserError(f"{lines}\n{cure}.")
    for reason in reasons:
        report(reason)


def _fetch_file(read: Read, file: File, path: Path) -> None:
    """Download `file` from one mirror, gzipped or not."""
    forms = {"plain": ""} if file.name.endswith(".gz") else {"gzipped": ".gz", "plain": ""}
    reasons = {}
    for form, suffix in forms.items():
        try:
            return _save(read, file.name + suffix, file, path)
        except FileFailure as error:
            reasons[str(error)] = form
    said = [f"{reason} ({form})" for reason, form in reasons.items()]
    raise FileFailure(" and ".join(said if len(said) > 1 else reasons))


def _save(read: Read, name: str, file: File, path: Path) -> None:
    """Write the mirror's file `name`, decompressed, to `path`, if it has the right bytes."""
    digest, length, max_bytes = hashlib.sha256(), 0, file.bytes or MAX_BYTES
    blocks = _decompressed(read, name, max_bytes)
    with written_whole(path) as output:
        for block in progress(blocks, path.name, file.bytes, size=len):
            length += len(block)
            if length > max_bytes:
                raise FileFailure(f"it is longer than {max_bytes} bytes")
            digest.update(block)
            output.write(block)
        if digest.hexdigest() != file.sha256:
            found = f"{length} bytes, and its SHA-256 begins {digest.hexdigest()[:12]}"
            expected = f"{file.bytes or 'some'} bytes and {file.sha256[:12]}"
            raise FileFailure(f"it has {found}; expected {expected}")


def _decompressed(read: Read, name: str, max_bytes: int) -> Iterator[bytes]:
    """Yield the bytes of a mirror's file. Decompress them if the first bytes are those of gzip."""
    try:
        pieces, start = read(name, max_bytes), b""
        while len(start) < 100 and (piece := next(pieces, b"")):
            start += piece
        if start.lstrip().startswith(b"<"):
            raise FileFailure("it is a web page")
        pieces = itertools.chain([start], pieces)
        if not start.startswith(b"\x1f\x8b"):
            yield from pieces
            return
        rest = b""
        while (rest := rest or next(pieces, b"")).startswith(b"\x1f"):  # a file may have several
            gzipped = zlib.decompressobj(wbits=31)
            while not gzipped.eof:
                if not (piece := rest or gzipped.unconsumed_tail or next(pieces, b"")):
                    raise FileFailure("it breaks off")
                yield gzipped.decompress(piece, BLOCK)  # so much at most, however far it unfolds
                rest = gzipped.unused_data
    except (zlib.error, OSError) as error:
        raise FileFailure(f"it cannot be read ({error})") from None
