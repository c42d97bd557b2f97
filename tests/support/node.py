"""The page's scripts in Node.js, without a page."""

import json
import shutil
import subprocess

import pytest

from tools.draw.page import bundle

NODE = shutil.which("node")
needs_node = pytest.mark.skipif(
    NODE is None, reason="needs Node.js; the slow tests run the same in Chromium"
)


def javascript(expression: str, data: object) -> object:
    """Return the value of an expression that may use the page's functions, and `data`."""
    scripts = bundle("training.js", "share.js", "predict.js", "preparation.js")
    answer = f"const data = {json.dumps(data)}; process.stdout.write(JSON.stringify({expression}));"
    program = "\n".join([scripts, answer])
    # From standard input: Windows has a limit on the length of commands
    done = subprocess.run(
        [NODE, "--input-type=module", "-"],
        input=program,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
