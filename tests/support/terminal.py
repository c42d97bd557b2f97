"""Run a command on a terminal of a given width."""

import os
import re
import struct
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def on_terminal(columns: int, module: str, *arguments: object) -> str:
    """Run `python -m module` in the current folder, on a terminal with this many columns; return its text."""
    import fcntl
    import pty
    import termios

    terminal, end = pty.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    size = ("COLUMNS", "LINES")  # these would replace the terminal's own size
    environment = {name: value for name, value in os.environ.items() if name not in size}
    environment |= {"TERM": "xterm", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", module, *map(str, arguments)]
    with subprocess.Popen(command, stdout=end, stderr=end, stdin=end, env=environment) as process:
        os.close(end)
        printed = b""
        while block := _read(terminal):
            printed += block
    os.close(terminal)
    assert process.returncode == 0, printed.decode()
    without_styles = re.sub(rb"\x1b\[[0-9;]*m", b"", printed)
    return without_styles.decode().replace("\r\n", "\n")


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 1 << 16)
    except OSError:  # Linux: the last process has closed its end
        return b""
