"""A dataset's files: brought from its mirrors, decompressed, verified.

A file's identity is the SHA-256 of its decompressed bytes. Whatever a mirror sends is written beside the file's name.
It takes that name only if the SHA-256 is right, so an error page can never be taken for data.
"""

import hashlib
import itertools
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from pipeline.fetching.mirror import BLOCK, FileFailure, Limits, MirrorFailure, Read
from pipeline.fetching.npm import opened_package
from pipeline.program.errors import UserError, clip
from pipeline.program.files import written_whole
from pipeline.program.progress import progress
from pipeline.settings.datasets import File
from pipeline.settings.mirrors import NPM, WEB

MAX_BYTES = 1 << 30  # of a file whose length datasets.yaml leaves out


def fetch(
    files: dict[str, File],
    mirrors: Sequence[str],
    folder: Path,
    limits: Limits = Limits(),  # noqa: B008, it cannot change
    report: Callable[[str], None] = lambda line: None,
) -> None:
    """Bring `files`, decompressed and verified, into `folder`.

    Files that are there already and have the right SHA-256 stay as they are. One that has another SHA-256 is removed
    at once, so that even after a failure nothing unverified stands under a data file's name.

    Args:
        files: the files by the names to save them under.
        mirrors: the addresses to ask in turn.
        folder: where to put the files; made if it is missing.
        limits: how long to wait for each mirror.
        report: called with a line of text for each file, and at the end for each failure that did not matter.

    Raises:
        UserError: some file came from no mirror; the text lists the mirrors' failures.
    """
    for mirror in mirrors:
        if folder.exists() and Path(mirror).exists() and folder.samefile(mirror):
            raise UserError(f"{folder} is both the mirror and where the data go; put your files into another folder.")
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
                        failures.setdefault(f"{shown}: {clip(str(error))}", []).append(name)
                    else:
                        del missing[name]
                        report(f"{name}: from {shown}")
        except MirrorFailure as error:
            failures[f"{shown}: {error}"] = list(missing)
    reasons = [f"{reason} ({_some(names)})" for reason, names in failures.items()]
    if missing:
        lines = "".join(f"\n  {reason}" for reason in reasons)
        raise UserError(
            f"no mirror has given {_some(list(missing))}:{lines}\n"
            "Set DATA_MIRROR to a folder or web address that has the files, or name it with --mirror if you run this "
            "stage by hand."
        )
    for reason in reasons:
        report(reason)


def is_verified(path: Path, file: File) -> bool:
    """Tell whether `path` has the bytes that `file` must have."""
    if not path.is_file() or (file.bytes is not None and path.stat().st_size != file.bytes):
        return False
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest() == file.sha256


def _some(names: list[str]) -> str:
    return names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else "")


def _opened(mirror: str, limits: Limits) -> AbstractContextManager[Read]:
    """Return a context that gives the function that reads the mirror's files."""
    if npm := NPM.fullmatch(mirror):
        return opened_package(*npm.groups(), limits)
    if WEB.fullmatch(mirror):
        from pipeline.fetching.web import opened_web_folder  # here, since not every run needs the network

        return opened_web_folder(mirror, limits)
    if not Path(mirror).is_dir():
        raise MirrorFailure("no such folder")
    return nullcontext(lambda name, max_bytes: _pieces(Path(mirror, name)))


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as content:
        while block := content.read(BLOCK):
            yield block


def _fetch_file(read: Read, file: File, path: Path) -> None:
    """Bring `file` from one mirror, gzipped or as it is."""
    reasons = []
    for name in [file.name] if file.name.endswith(".gz") else [f"{file.name}.gz", file.name]:
        try:
            return _save(read, name, file, path)
        except FileFailure as error:
            reasons.append(str(error))
    raise FileFailure(" and ".join(dict.fromkeys(reasons)))


def _save(read: Read, name: str, file: File, path: Path) -> None:
    """Write what the mirror calls `name`, decompressed, to `path`, unless it proves to be something else."""
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
    """Yield what a mirror gives, decompressed if its first bytes say that it is gzipped."""
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
                yield gzipped.decompress(block, BLOCK)  # so much, and no more, however far it unfolds
                block = gzipped.unconsumed_tail
        if not gzipped.eof:
            raise FileFailure("it cannot be decompressed (it breaks off)")
    except zlib.error as error:
        raise FileFailure(f"it cannot be decompressed ({error})") from None
    except OSError as error:
        raise FileFailure(f"it cannot be read ({error.strerror or error})") from None


def _blocks(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the bytes of `pieces` in blocks of equal length, but for the last one."""
    block = b""
    for piece in pieces:
        block += piece
        while len(block) >= BLOCK:
            yield block[:BLOCK]
            block = block[BLOCK:]
    if block:
        yield block
