"""`--help` answers at once: no tool imports a slow package before it needs it."""

import subprocess
import sys

from tests.support.project import ROOT

TOOLS = (
    "check compare.__main__ curves draw.__main__ export.__main__ pack.__main__ predict report "
    "sweep.__main__ verify"
)
SLOW = {"distributed", "dvc", "matplotlib", "mlp", "numpy", "onnx", "PIL"}


def test_no_tool_imports_a_slow_package_for_its_help():
    code = (
        f"import {', '.join(f'tools.{tool}' for tool in TOOLS.split())}, sys; print(*sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert not SLOW & set(result.stdout.split())
