"""Firefox without a screen and without a way to the network, driven by its Marionette protocol over
a local socket.
"""

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FIREFOX = next(filter(None, map(shutil.which, ("firefox-esr", "firefox"))), None)
PREFERENCES = """
user_pref("marionette.port", 0);
user_pref("network.proxy.type", 1);
user_pref("network.proxy.http", "127.0.0.1");
user_pref("network.proxy.http_port", 9);
user_pref("network.proxy.ssl", "127.0.0.1");
user_pref("network.proxy.ssl_port", 9);
"""  # nothing listens at port 9
# The page's security policy forbids eval, and its own constants can be seen from its scripts alone
SCRIPT = """const script = document.createElement("script");
script.textContent = `window.result = (${arguments[0]});`;
document.head.append(script);
script.remove();
return window.wrappedJSObject ? window.wrappedJSObject.result : window.result;"""


class Tab:
    """A page in the browser: as much of `tests.support.chromium.Tab` as is needed to see what
    scripts compute.
    """

    def __init__(self, port: int):
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._answers, self._number = self._socket.makefile("rb"), 0
        self._read()  # a greeting
        self._call("WebDriver:NewSession", capabilities={})
        self._call("WebDriver:SetTimeouts", script=600_000)

    def open(self, page: Path) -> None:
        """Open a file and wait until it has loaded."""
        self._call("WebDriver:Navigate", url=page.as_uri())

    def run(self, expression: str) -> Any:
        """Return the value of a JavaScript expression in the page."""
        return self._call(
            "WebDriver:ExecuteScript", script=SCRIPT, args=[expression], sandbox=None
        )["value"]

    def _call(self, method: str, **params: Any) -> Any:
        self._number += 1
        message = json.dumps([0, self._number, method, params])
        self._socket.sendall(f"{len(message.encode())}:{message}".encode())
        _, _, error, result = self._read()
        assert error is None, f"{method}: {error}"
        return result

    def _read(self) -> Any:
        length = b""
        while not length.endswith(b":"):
            length += self._answers.read(1)
        return json.loads(self._answers.read(int(length[:-1])))


@contextmanager
def new_tab(folder: Path) -> Iterator[Tab]:
    """Start the browser, with its files in `folder`, and end it afterwards."""
    folder.mkdir(parents=True)
    (folder / "user.js").write_text(PREFERENCES, encoding="utf-8")
    options = ["--headless", "--marionette", "--no-remote", "--profile", str(folder)]
    browser = subprocess.Popen(
        [FIREFOX, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    port = folder / "MarionetteActivePort"
    try:
        deadline = time.monotonic() + 120
        while not (port.exists() and port.read_text()):
            assert browser.poll() is None, "the browser has ended"
            assert time.monotonic() < deadline, "the browser does not start"
            time.sleep(0.1)
        yield Tab(int(port.read_text()))
    finally:
        browser.kill()
        browser.wait()
