"""What decides an output uses mlp/arithmetic.py to add and for functions. Imports run one way."""

import ast
import re
import sys
from collections.abc import Iterator

import pytest

from tests.support.project import ROOT

# No standard rounds the first correctly. The others add in an order that the machine chooses.
NAMES = """
    exp exp2 expm1 log log2 log10 log1p logaddexp pow power float_power cbrt hypot sin cos tan asin
    acos atan atan2 sinh cosh tanh asinh acosh atanh arcsin arccos arctan arctan2 arcsinh arccosh
    arctanh erf erfc gamma lgamma

    sum mean average var std cumsum prod cumprod dot vdot inner trace median percentile quantile
    matmul einsum tensordot vecdot outer convolve correlate linalg fft polynomial polyfit polyval
    interp cov corrcoef nansum nanmean linspace
"""
UNSAFE, UNSAFE_MODULES = set(NAMES.split()), {"random", "statistics", "cmath", "scipy"}
SAFE_RANDOM = {"PCG64", "SeedSequence"}  # NumPy promises their numbers

# The files that decide an output, and what they may use all the same
FILES = sorted((ROOT / "mlp").rglob("*.py"))
CHECKED = {path.relative_to(ROOT).as_posix(): set() for path in FILES} | {
    "mlp/arithmetic.py": {"np.add.reduce"},  # tested to be exact
    "mlp/network.py": {"math.prod"},  # of lengths
    "mlp/protocol.py": {"math.prod"},
    "mlp/random.py": {"np.prod", "numbers.sum"},  # lengths; 16-bit numbers, as int64
    "mlp/divided/batches.py": {"lit.sum"},  # counts of images
    "mlp/divided/team.py": {"@"},  # its result is not used
    "pipeline/evaluation/evaluation.py": {"matrix.sum"},  # counts of images
    "pipeline/images/prepare.py": {"sum"},  # histograms, and Python's whole numbers
}


def impurities(source: str) -> Iterator[str]:
    """Yield each use of what may differ between machines, but in `Arithmetic` and `Float32`."""
    tree = ast.parse(source)
    free = ("Arithmetic", "Float32")
    tree.body = [node for node in tree.body if getattr(node, "name", "") not in free]
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(ast.Attribute(_, "random"), name) if name not in SAFE_RANDOM:
                yield ast.unparse(node)
            case ast.Attribute(
                ast.Attribute(ast.Name("np"), "add" | "subtract" | "multiply" | "divide"), _
            ):
                yield ast.unparse(node)
            case ast.Attribute(owner, name) if name in UNSAFE:
                if ast.unparse(owner).rpartition(".")[2] not in ("A", "arithmetic"):
                    yield ast.unparse(node)
            case ast.Name("sum" | "pow" as name):
                yield name
            case ast.ImportFrom(module="math" | "numpy", names=names):
                yield from (alias.name for alias in names if alias.name in UNSAFE)
            case ast.Import(names=names):
                yield from {alias.name for alias in names} & UNSAFE_MODULES
            case ast.BinOp(op=ast.MatMult()) | ast.AugAssign(op=ast.MatMult()):
                yield "@"
            case ast.BinOp(ast.Constant(), ast.Pow(), ast.Constant()):
                pass  # Python computes it once, when it compiles the file
            case ast.BinOp(op=ast.Pow()) | ast.AugAssign(op=ast.Pow()):
                yield "**"


IMPURE = ["np.exp(a)", "a.sum()", "a @ b", "a @= b", "a ** 2", "a **= 2", "sum(a)"]
IMPURE += ["np.add.reduce(a)", "np.random.normal()", "from math import exp", "import random"]


@pytest.mark.parametrize("code", IMPURE)
def test_what_may_differ_between_machines_is_found(code):
    assert list(impurities(f"def f(a, b):\n    {code}\n")) != []
    assert list(impurities("a = A.exp(b) + np.abs(c) * 2.0 ** 3\n")) == []


def test_no_sum_of_floats_and_no_mathematics_library_outside_the_arithmetic():
    found = {file: set(impurities((ROOT / file).read_text(encoding="utf-8"))) for file in CHECKED}
    assert "mlp/layers.py" in found
    assert found == CHECKED, "use mlp/arithmetic.py, or say in CHECKED why it is harmless"


# Packages of the pipeline, in the order of docs/make-it-yours.md
PACKAGES = ["program", "settings", "store", "fetching"]
PACKAGES += ["images", "fitting", "evaluation", "drawing"]


def imports(folder: str) -> set[str]:
    """Return the dotted names that the files in a folder import, at their top or in a function."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / folder).rglob("*.py"))
    return set(re.findall(r"^ *(?:from|import) ([\w.]+)(?: import| as|$)", text, re.MULTILINE))


def test_the_network_needs_numpy_and_nothing_else():
    needed = {name.split(".")[0] for name in imports("mlp")}
    assert "numpy" in needed
    assert needed <= sys.stdlib_module_names | {"numpy", "mlp"}


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_only_packages_above_it(package):
    below = [f"pipeline.{name}." for name in PACKAGES[PACKAGES.index(package) + 1 :]]
    below += ["stages.", "tools.", "records."]
    found = imports(f"pipeline/{package}")
    assert any(name.startswith(("pipeline", "typer")) for name in found)
    assert [name for name in found if f"{name}.".startswith(tuple(below))] == []
