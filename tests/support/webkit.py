"""WebKitGTK on a screen in memory, driven by the WebDriver protocol."""

import http.client
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.firefox import SCRIPT

DRIVER = shutil.which("WebKitWebDriver") if shutil.which("Xvfb") else None


class Tab:
    """A page in the browser: as much of `tests.support.chromium.Tab` as is needed to see what
    scripts compute.
    """

    def __init__(self, port: int):
        self._port, self._path = port, "/session"
        binary = next(Path("/usr/lib").glob("*/webkit2gtk-4*/MiniBrowser"))
        options = {"binary": str(binary), "args": ["--automation"]}
        capabilities = {"webkitgtk:browserOptions": options, "timeouts": {"script": 600_000}}
        made = self._call("", capabilities={"alwaysMatch": capabilities})
        self._path = f"/session/{made['sessionId']}"

    def open(self, page: Path) -> None:
        """Open a file and wait until it has loaded."""
        self._call("/url", url=page.as_uri())

    def run(self, expression: str) -> Any:
        """Return the value of a JavaScript expression in the page."""
        return self._call("/execute/sync", script=SCRIPT, args=[expression])

    def _call(self, path: str, **params: Any) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=600)
        headers = {"Content-Type": "application/json"}
        connection.request("POST", self._path + path, json.dumps(params), headers)
        value = json.loads(connection.getresponse().read())["value"]
        connection.close()
        assert not (isinstance(value, dict) and "error" in value), f"{path}: {value}"
        return value


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


@contextmanager
def new_tab(folder: Path) -> Iterator[Tab]:
    """Start a screen and the browser, with its files in `folder`, and end them afterwards."""
    folder.mkdir(parents=True)
    read, write = os.pipe()
    screen = subprocess.Popen(
        ["Xvfb", "-displayfd", str(write)], pass_fds=[write], stderr=subprocess.DEVNULL
    )
    os.close(write)
    with os.fdopen(read) as answer:
        display = answer.readline().strip()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    homes = dict.fromkeys(("HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME"), str(folder))
    driver = subprocess.Popen(
        [DRIVER, f"--port={port}"],
        env=os.environ | homes | {"DISPLAY": f":{display}"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        while not _answers(port):
            assert driver.poll() is None, "the driver has ended"
            time.sleep(0.1)
        yield Tab(port)
    finally:
        os.killpg(driver.pid, 9)
        driver.wait()
        screen.kill()
        screen.wait()
