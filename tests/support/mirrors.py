"""A tiny dataset, and a web server for it that can be told to misbehave."""

import gzip
import hashlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import yaml

from pipeline.settings.datasets import (
    SAVED_AS,
    TEST_IMAGES,
    TEST_LABELS,
    TRAIN_IMAGES,
    TRAIN_LABELS,
)
from tests.support.files import idx

CONTENT = {
    TRAIN_IMAGES: idx(np.arange(800).reshape(50, 4, 4) % 251),
    TRAIN_LABELS: idx(np.arange(50) % 10),
    TEST_IMAGES: idx(np.arange(320).reshape(20, 4, 4) % 241),
    TEST_LABELS: idx(np.arange(20) % 10),
}
HTML = b"<!DOCTYPE html><html><body>This project has moved.</body></html>"

Answer = bytes | list[bytes] | Callable[[], Iterator[bytes]]


def answer(body=b"", status="200 OK", *headers: str, length: int | None = None) -> bytes:
    """Return an answer's bytes. It announces `length` bytes, by default as many as there are."""
    length = len(body) if length is None else length
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {length}", "Connection: close"]
    return "\r\n".join([*lines, *headers, "", ""]).encode("latin1") + body


RAW_FILES = {name: answer(content) for name, content in CONTENT.items()}
ZIPPED_FILES = {f"{name}.gz": answer(gzip.compress(content)) for name, content in CONTENT.items()}


class Server:
    """A server on the loopback device, at the level of sockets.

    `answers` has what to send, by file name, "*" for every other name: bytes; a list of bytes, with
    the last item repeated; or a function that yields bytes. `asked` are the names of the requests.
    """

    def __init__(self, answers: dict[str, Answer], certificate: Path | None = None):
        self.answers = answers
        self.asked: list[str] = []
        self.requests: list[str] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._tls = None
        if certificate:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.load_cert_chain(certificate)
        self.port = self._socket.getsockname()[1]
        self.url = f"{'https' if certificate else 'http'}://localhost:{self.port}/data"
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection = self._socket.accept()[0]
                threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            if self._tls:
                connection = self._tls.wrap_socket(connection, server_side=True)
            request = b""
            while b"\r\n\r\n" not in request:
                if not (more := connection.recv(65_536)):
                    return
                request += more
            name = request.split()[1].decode().rpartition("/")[2]
            self.asked.append(name)
            self.requests.append(request.decode())
            other = self.answers.get("*", answer(HTML, "404 Not Found"))
            self._send(connection, self.answers.get(name, other))
            with suppress(OSError):
                connection.shutdown(socket.SHUT_WR)
            connection.recv(1)

    def _send(self, connection: socket.socket, content: Answer) -> None:
        if isinstance(content, list):
            content = content.pop(0) if len(content) > 1 else content[0]
        for piece in [content] if isinstance(content, bytes) else content():
            connection.sendall(piece)


def endless(start: bytes, piece: bytes, pause: float = 0) -> Callable[[], Iterator[bytes]]:
    """Send `start`, then `piece` for ever (for twelve seconds, so that a test can fail)."""

    def pieces() -> Iterator[bytes]:
        end = time.monotonic() + 12
        yield start
        while time.monotonic() < end:
            yield piece
            time.sleep(pause)

    return pieces


def entry(mirrors: list) -> dict:
    """Return the tiny dataset's entry as it stands in datasets.yaml."""
    files = {}
    for key, name in SAVED_AS.items():
        digest = hashlib.sha256(CONTENT[name]).hexdigest()
        files[key] = {"name": name, "bytes": len(CONTENT[name]), "sha256": digest}
    return {"classes": [str(digit) for digit in range(10)], "mirrors": mirrors, "files": files}


def write_datasets(folder: Path, mirrors: list, **changes: object) -> Path:
    """Write a datasets.yaml that has the entry `tiny`, and return its path."""
    path = folder / "datasets.yaml"
    path.write_text(yaml.safe_dump({"tiny": entry(mirrors) | changes}), encoding="utf-8")
    return path


def folder_mirror(folder: Path) -> str:
    """Make a folder with the tiny dataset's files; return its path."""
    folder.mkdir()
    for name, content in CONTENT.items():
        (folder / name).write_bytes(content)
    return str(folder)
