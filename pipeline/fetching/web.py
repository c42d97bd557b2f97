"""Files from a folder on the web. A server may send anything, at any speed."""

import asyncio
import http.client
import os
import ssl
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from typing import TypeVar
from urllib.parse import quote

import aiohttp
import certifi
from yarl import URL

from pipeline.fetching.limits import FileFailure, Limits, MirrorFailure, Read

BUSY = {408, 429, *range(500, 600)}  # a server with this status may answer the next request
ATTEMPTS, MAX_REDIRECTS, LONGEST_WAIT = 3, 5, 5.0  # the last in seconds
ERRORS = (aiohttp.ClientError, OSError, ValueError)  # a failed connection, no HTTP, a wrong address; a piece is late

T = TypeVar("T")


@contextmanager
def opened_web_folder(url: str, limits: Limits) -> Iterator[Read]:
    """Give a function that reads a file in the folder `url`. All files together have `limits.total` seconds."""
    with asyncio.Runner() as runner:
        deadline = runner.get_loop().time() + limits.total

        async def in_time(work: Awaitable[T]) -> T:
            async with asyncio.timeout_at(deadline):
                return await work

        def run(work: Awaitable[T]) -> T:
            try:
                return runner.run(in_time(work))
            except ERRORS as error:
                if runner.get_loop().time() >= deadline:
                    raise MirrorFailure(f"it took longer than {limits.total:g} seconds") from None
                cause = getattr(error, "os_error", error)
                raise MirrorFailure(f"the connection failed ({type(cause).__name__})") from None

        session = run(_session(limits))

        def read(name: str, max_bytes: int) -> Iterator[bytes]:
            left = max_bytes + (1 << 20)  # gzip can make a file a little longer
            response = run(_get(session, f"{url.rstrip('/')}/{quote(name)}", limits))
            try:
                while block := run(response.content.readany()):
                    left -= len(block)
                    if left < 0:
                        raise FileFailure("it is too long")
                    yield block
            finally:
                response.close()

        try:
            yield read
        finally:
            runner.run(session.close())


async def _session(limits: Limits) -> aiohttp.ClientSession:
    authorities = ssl.create_default_context()
    # Some Pythons find none of the system's
    authorities.load_verify_locations(os.environ.get("REQUESTS_CA_BUNDLE") or certifi.where())
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=authorities),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=limits.connect, sock_read=limits.read),
        headers={"Accept-Encoding": "identity"},  # a second compression would need a second limit
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=True,  # proxies
    )


async def _get(session: aiohttp.ClientSession, address: str, limits: Limits) -> aiohttp.ClientResponse:
    """Request an address and follow redirects, but never from https to another scheme."""
    url = URL(address, encoded=True)
    for _ in range(MAX_REDIRECTS + 1):
        response = await _request(session, url, limits)
        if response.status not in (301, 302, 303, 307, 308) or "Location" not in response.headers:
            break
        response.close()
        target = url.join(URL(response.headers["Location"]))
        if url.scheme == "https" != target.scheme:
            raise FileFailure("it redirects from https to an insecure address")
        url = target
    else:
        raise FileFailure("it redirects too often")
    if response.status != 200:
        response.close()
        phrase = http.client.responses.get(response.status, "")  # the server's own may be anything
        failure = MirrorFailure if response.status in BUSY else FileFailure
        raise failure(f"HTTP {response.status} {phrase}".rstrip())
    return response


async def _request(session: aiohttp.ClientSession, url: URL, limits: Limits) -> aiohttp.ClientResponse:
    """Request `url`. Try again where the connection fails or the server is busy."""
    attempt = 0
    while True:
        attempt += 1
        wait = limits.again * 2**attempt
        try:
            response = await session.get(url, allow_redirects=False)
        except aiohttp.InvalidURL:
            raise
        except (aiohttp.ClientError, OSError):
            if attempt == ATTEMPTS:
                raise
        else:
            if response.status not in BUSY or attempt == ATTEMPTS:
                return response
            response.close()
            asked = response.headers.get("Retry-After", "")
            wait = max(wait, float(asked)) if asked.isascii() and asked.isdigit() else wait
        await asyncio.sleep(min(wait, LONGEST_WAIT))
