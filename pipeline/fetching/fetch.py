"""Download a dataset's files from its mirrors, decompress and verify them.

A file's identity is the SHA-256 of its decompressed bytes. A download is written under a temporary name. It gets the
file's name only if the SHA-256 is right, so an error page can never be taken for data.
"""

import hashlib
import itertools
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from pipeline.fetching.limits import BLOCK, FileFailure, Limits, MirrorFailure, Read
from pipeline.fetching.npm import opened_package
from pipeline.program.errors import UserError
from pipeline.program.files import written_whole
from pipeline.program.progress import progress
from pipeline.settings.datasets import File
from pipeline.settings.mirrors import NPM, WEB

MISSING = ("no such file", "HTTP 404 Not Found")
MAX_BYTES = 1 << 30  # the most bytes of a file, if datasets.yaml does not give its length


def fetch(
    files: dict[str, File],
    mirrors: Sequence[str],
    folder: Path,
    limits: Limits = Limits(),  # noqa: B008, it cannot change
    report: Callable[[str], None] = lambda line: None,
) -> None:
    """Download `files` into `folder`, decompressed and verified.

    Files in `folder` with the right SHA-256 are kept. Files with another SHA-256 are removed first, so even after a
    failure no unverified file has a data file's name.

    Args:
        files: the files, by the names to save them under.
        mirrors: the addresses to try, in this order.
        folder: the folder for the files. It is made if it is missing.
        limits: how long to wait for each mirror.
        report: a function that is called with a line of text for each file, and for each failure that did not matter.

    Raises:
        UserError: no mirror gave some file. The text lists the mirrors' failures.
    """
    for mirror in mirrors:
        if folder.exists() and Path(mirror).exists() and folder.samefile(mirror):
            raise UserError(f"{folder} is both the mirror and the output; put your files into another folder.")
    folder.mkdir(parents=True, exist_ok=True)
    missing = {}
    for name, file in files.items():
        if is_verified(folder / name, file):
            report(f"{name}: already there")
        else:
            (folder / name).unlink(missing_ok=True)
            missing[name] = file

    failures: dict[str, list[str]] = {}  # which files failed for each reason
    for mirror in mirrors:
        if not missing:
            break
        shown = re.sub("//[^/]*@", "//", mirror)  # no password
        try:
            with _opened(mirror, limits) as read:
                for name, file in list(missing.items()):
                    try:
                        _fetch_file(read, file, folder / name)
                    except FileFailure as error:
                        failures.setdefault(f"{shown}: {error}", []).append(name)
                    else:
                        del missing[name]
                        report(f"{name}: from {shown}")
        except MirrorFailure as error:
            failures[f"{shown}: {error}"] = list(missing)
    reasons = [f"{reason} ({_some(names)})" for reason, names in failures.items()]
    if missing:
        lines = "".join(f"\n  {reason}" for reason in reasons)
        raise UserError(
            f"no mirror gave {_some(list(missing))}:{lines}\n"
            "Set DATA_MIRROR to a folder or web address that has the files, or name it with --mirror if you run this "
            "stage by hand."
        )
    for reason in reasons:
        report(reason)


def is_verified(path: Path, file: File) -> bool:
    """Return whether `path` has the bytes that `file` must have."""
    if not path.is_file() or (file.bytes is not None and path.stat().st_size != file.bytes):
        return False
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest() == file.sha256


def _some(names: list[str]) -> str:
    return names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else "")


def _opened(mirror: str, limits: Limits) -> AbstractContextManager[Read]:
    """Return a context with a function that reads the mirror's files."""
    if npm := NPM.fullmatch(mirror):
        package, folder = npm.groups()
        return opened_package(package, folder, limits)
    if WEB.fullmatch(mirror):
        from pipeline.fetching.web import opened_web_folder  # here, because not every run needs the network

        return opened_web_folder(mirror, limits)
    if not Path(mirror).is_dir():
        raise MirrorFailure("no such folder")
    return nullcontext(lambda name, max_bytes: _pieces(Path(mirror, name)))


def _pieces(path: Path) -> Iterator[bytes]:
    if not path.is_file():
        raise FileFailure("no such file")
    with path.open("rb") as content:
        while block := content.read(BLOCK):
            yield block


def _fetch_file(read: Read, file: File, path: Path) -> None:
    """Download `file` from one mirror, gzipped or not."""
    reasons = []
    for name in [file.name] if file.name.endswith(".gz") else [f"{file.name}.gz", file.name]:
        try:
            return _save(read, name, file, path)
        except FileFailure as error:
            reasons.append(str(error))
    telling = [reason for reason in reasons if reason not in MISSING] or reasons[:1]
    raise FileFailure(" and ".join(dict.fromkeys(telling)))


def _save(read: Read, name: str, file: File, path: Path) -> None:
    """Write the mirror's file `name`, decompressed, to `path`, if it has the right bytes."""
    digest = hashlib.sha256()
    length = 0
    max_bytes = file.bytes or MAX_BYTES
    total = file.bytes and -(-file.bytes // BLOCK)
    with written_whole(path) as output:
        for block in progress(_blocks(_decompressed(read(name, max_bytes))), path.name, total):
            length += len(block)
            if length > max_bytes:
                raise FileFailure(f"it is longer than {max_bytes} bytes")
            digest.update(block)
            output.write(block)
        if file.bytes is not None and length != file.bytes:
            raise FileFailure(f"it has {length} bytes, not {file.bytes}")
        if digest.hexdigest() != file.sha256:
            raise FileFailure(f"its SHA-256 begins {digest.hexdigest()[:12]}, not {file.sha256[:12]}")


def _decompressed(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the bytes of a mirror's file. Decompress them if the first bytes are those of gzip."""
    try:
        blocks = _blocks(pieces)
        start = next(blocks, b"")
        if start.lstrip().startswith(b"<"):
            raise FileFailure("it is a web page")
        blocks = itertools.chain([start], blocks)
        if not start.startswith(b"\x1f\x8b"):
            yield from blocks
            return
        gzipped = zlib.decompressobj(wbits=31)
        for block in blocks:
            while block and not gzipped.eof:
                yield gzipped.decompress(block, BLOCK)  # at most so much at once, however far it unfolds
                block = gzipped.unconsumed_tail
        if not gzipped.eof:
            raise FileFailure("it cannot be decompressed (it breaks off)")
    except zlib.error as error:
        raise FileFailure(f"it cannot be decompressed ({error})") from None
    except OSError as error:
        raise FileFailure(f"it cannot be read ({error.strerror or error})") from None


def _blocks(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the bytes of `pieces` in blocks of equal length. Only the last one may be shorter."""
    block = b""
    for piece in pieces:
        block += piece
        while len(block) >= BLOCK:
            yield block[:BLOCK]
            block = block[BLOCK:]
    if block:
        yield block
