"""Chromium without a network and without a screen, driven by the DevTools protocol over a pair of
pipes.
"""

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"),
    *("--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    "--host-resolver-rules=MAP * ~NOTFOUND",
)


class Tab:
    """A page in the browser.

    Attributes:
        errors: what the page complained of: exceptions, messages of errors, and what the browser
            refused.
    """

    def __init__(self, commands: int, answers: int):
        self._commands = os.fdopen(commands, "wb")
        self._answers = os.fdopen(answers, "rb")
        self._number, self._session, self._rest = 0, None, b""
        self._has_loaded = False
        self.errors: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)[
            "sessionId"
        ]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict:
        """Call a method of the protocol and return its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        self._commands.write(json.dumps(message).encode() + b"\0")
        self._commands.flush()
        while True:
            answer = self._read()
            if answer.get("id") == self._number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]
            self._note(answer)

    def open(self, page: Path) -> None:
        """Open a file and wait until it has loaded."""
        self._has_loaded = False
        self.call("Page.navigate", url=page.as_uri())
        while not self._has_loaded:
            self._note(self._read())

    def run(self, expression: str) -> Any:
        """Return the value of a JavaScript expression in the page."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def screen(
        self, width: int, height: int = 900, dark: bool = False, mobile: bool = False
    ) -> None:
        """Set the size of the window, and which colours the user prefers."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def screenshot(self, path: Path, element: str = "document.documentElement") -> None:
        """Save a picture of an element, which a JavaScript expression gives: the whole page, if not
        given.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        box = "({x: x + scrollX, y: y + scrollY, width, height, scale: 1})"
        clip = self.run(
            f"(({{x, y, width, height}}) => {box})(({element}).getBoundingClientRect())"
        )
        data = self.call("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)["data"]
        path.write_bytes(base64.b64decode(data))

    def press(self, element: str, touch: bool = False) -> None:
        """Click or tap in the middle of an element, which a JavaScript expression gives."""
        rectangle = (
            "(e => (e.scrollIntoView({block: 'center'}), e.getBoundingClientRect().toJSON()))"
        )
        box = self.run(f"{rectangle}({element})")
        self.drag([(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)], touch)

    def drag(self, places: list[tuple[float, float]], touch: bool, clicks: int = 1) -> None:
        """Put the mouse or a finger down at the first place, move it to the others, lift it.

        A double click has 2.
        """
        last = len(places) - 1
        if touch:
            for number, (x, y) in enumerate(places):
                kind = "touchMove" if number else "touchStart"
                self.call("Input.dispatchTouchEvent", type=kind, touchPoints=[{"x": x, "y": y}])
            self.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
            return
        kinds = ["mousePressed", *["mouseMoved"] * last, "mouseReleased"]
        for kind, (x, y) in zip(kinds, [*places, places[-1]], strict=True):
            mouse = {"x": x, "y": y, "button": "left", "buttons": 1, "clickCount": clicks}
            self.call("Input.dispatchMouseEvent", type=kind, **mouse)

    def key(self, name: str, control: bool = False, text: str = "") -> None:
        """Press a key and release it, with Ctrl held down or not. `text` is what it types."""
        for kind in ("keyDown", "keyUp"):
            key = {"key": name, "text": text, "modifiers": 2 if control else 0}
            self.call("Input.dispatchKeyEvent", type=kind, **key)

    def _read(self) -> dict:
        while b"\0" not in self._rest:
            received = self._answers.read1(1 << 20)
            assert received, "the browser has ended"
            self._rest += received
        message, self._rest = self._rest.split(b"\0", 1)
        return json.loads(message)

    def _note(self, event: dict) -> None:
        self._has_loaded |= event["method"] == "Page.loadEventFired"
        if event["method"] == "Runtime.exceptionThrown":
            self.errors.append(
                event["params"]["exceptionDetails"]["exception"].get("description", "?")
            )
        elif event["method"] == "Log.entryAdded" and event["params"]["entry"]["level"] == "error":
            self.errors.append(event["params"]["entry"]["text"])
        elif event["method"] == "Runtime.consoleAPICalled" and event["params"]["type"] == "error":
            self.errors.append(str(event["params"]["args"]))


@contextmanager
def new_tab(folder: Path) -> Iterator[Tab]:
    """Start the browser, with its files in `folder`, and end it afterwards."""
    read_commands, commands = os.pipe()
    answers, write_answers = os.pipe()
    # The browser reads from descriptor 3 and writes to 4
    shell = f'exec 3<&{read_commands} 4>&{write_answers}; exec "$@"'
    options = [*OPTIONS, "--remote-debugging-pipe", f"--user-data-dir={folder}"]
    browser = subprocess.Popen(
        ["bash", "-c", shell, "-", CHROMIUM, *options],
        pass_fds=(read_commands, write_answers),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(read_commands)
    os.close(write_answers)
    try:
        yield Tab(commands, answers)
    finally:
        browser.kill()
        browser.wait()
