"""`--help` answers at once: no tool imports a slow package before it needs it."""

import subprocess
import sys

from tests.support.project import ROOT

PACKAGES = ["compare", "draw", "export", "pack", "sweep"]
TOOLS = [
    *(f"{name}.__main__" for name in PACKAGES),
    "check",
    "curves",
    "predict",
    "report",
    "verify",
]
SLOW = {"distributed", "dvc", "matplotlib", "mlp", "numpy", "onnx", "PIL"}


def test_no_tool_imports_a_slow_package_for_its_help():
    code = f"import {', '.join(f'tools.{tool}' for tool in TOOLS)}, sys; print(*sys.modules)"
    printed = subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True)
    assert not SLOW & set(printed.split())
