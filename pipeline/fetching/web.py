"""Files from a folder on the web.

A server may send anything, at any speed. A watchdog limits the time. Reading in pieces limits the memory.
"""

import http.client
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import quote, urlsplit

import requests
import urllib3

from pipeline.fetching.limits import BLOCK, FileFailure, Limits, MirrorFailure, Read

BUSY = {408, 429, *range(500, 600)}  # a server with this status may answer the next request
MAX_REDIRECTS = 5

# The libraries' errors for failed connections and wrong addresses. Requests' own errors are OSErrors.
ERRORS = (OSError, ValueError, http.client.HTTPException, urllib3.exceptions.HTTPError)


@contextmanager
def opened_web_folder(url: str, limits: Limits) -> Iterator[Read]:
    """Give a function that reads a file in the folder `url`. All files together have `limits.total` seconds."""
    with _Watchdog(limits.total) as watchdog, requests.Session() as session:
        for scheme in ("https://", "http://"):
            session.mount(scheme, _Adapter(watchdog, limits))
        session.headers["Accept-Encoding"] = "identity"  # a second compression would need a second limit

        def read(name: str, max_bytes: int) -> Iterator[bytes]:
            left = max_bytes + (1 << 20)  # gzip can make a file a little longer
            try:
                with _get(session, f"{url.rstrip('/')}/{quote(name)}", limits) as response:
                    # read1 returns the bytes that are there. read would accept a chunk of −1 bytes and never end.
                    while block := response.raw.read1(BLOCK, decode_content=False):
                        left -= len(block)
                        if left < 0:
                            raise FileFailure("it is too long")
                        yield block
            except ERRORS as error:
                watchdog.check()
                cause = getattr(error.args[0] if error.args else None, "reason", None) or error
                raise MirrorFailure(f"the connection failed ({type(cause).__name__})") from None
            watchdog.check()  # it may also have ended a body without a stated length

        yield read


def _get(session: requests.Session, url: str, limits: Limits) -> requests.Response:
    """Request `url` and follow redirects, but never from https to another scheme."""
    for _ in range(MAX_REDIRECTS + 1):
        response = session.get(url, stream=True, allow_redirects=False, timeout=(limits.connect, limits.read))
        if response.next is None:
            break
        target = str(response.next.url)
        if urlsplit(url).scheme == "https" != urlsplit(target).scheme:
            raise FileFailure("it redirects from https to an insecure address")
        url = target
    else:
        raise FileFailure("it redirects too often")
    if response.status_code != 200:
        phrase = http.client.responses.get(response.status_code, "")  # the server's own may be anything
        failure = MirrorFailure if response.status_code in BUSY else FileFailure
        raise failure(f"HTTP {response.status_code} {phrase}".rstrip())
    return response


class _Watchdog:
    """Shuts all connections down after some seconds. A socket's own timeout does not end a slow stream of bytes."""

    def __init__(self, seconds: float):
        self._seconds = seconds
        self._late = False
        self._sockets: list[socket.socket] = []
        self._timer = threading.Timer(seconds, self._shut_down)
        self._timer.daemon = True
        self._timer.start()

    def __enter__(self) -> "_Watchdog":
        return self

    def __exit__(self, *error: object) -> None:
        self._timer.cancel()
        for watched in self._sockets:
            watched.close()

    def watch(self, connection: socket.socket) -> None:
        """Shut `connection` down when the time is over."""
        self._sockets.append(connection.dup())  # a copy, because TLS replaces the socket
        self.check()

    def check(self) -> None:
        """Raise MirrorFailure if the time is over."""
        if self._late:
            raise MirrorFailure(f"it took longer than {self._seconds:g} seconds")

    def _shut_down(self) -> None:
        self._late = True
        for watched in self._sockets:
            with suppress(OSError):  # it may be closed already
                watched.shutdown(socket.SHUT_RDWR)


class _Connection(urllib3.connection.HTTPConnection):
    """A connection with a watchdog. It closes after each answer that is not a file."""

    watchdog: _Watchdog

    def _new_conn(self) -> socket.socket:  # TLS and proxies begin after this
        connection = super()._new_conn()
        self.watchdog.watch(connection)
        return connection

    def getresponse(self) -> Any:
        response = super().getresponse()
        if response.status != 200:  # Requests reads the whole body of a redirect, urllib3 that of an error
            response.close()
            self.close()
        return response


class _Adapter(requests.adapters.HTTPAdapter):
    """Gives Requests' connections a watchdog, and repeats requests that failed."""

    def __init__(self, watchdog: _Watchdog, limits: Limits):
        self._watchdog = watchdog
        retries = urllib3.Retry(
            2, connect=1, other=0, status_forcelist=BUSY, raise_on_status=False, backoff_factor=limits.again
        )
        retries.retry_after_max = min(5, int(limits.total))  # seconds, even if the server says more
        super().__init__(max_retries=retries)

    def get_connection_with_tls_context(self, *args: Any, **options: Any) -> Any:
        pool: Any = super().get_connection_with_tls_context(*args, **options)
        if not issubclass(pool.ConnectionCls, _Connection):
            bases = (_Connection, pool.ConnectionCls)
            pool.ConnectionCls = type("WatchedConnection", bases, {"watchdog": self._watchdog})
        return pool
