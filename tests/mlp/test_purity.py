"""What decides an output adds in no order of the machine's choosing, and asks no mathematics library.

Sums of floats, products of matrices, exponentials and logarithms belong to mlp/arithmetic.py; random numbers come from
PCG64's integers. And imports run one way.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.project import ROOT, STAGES

# No standard requires these functions to be correctly rounded
LIBRARY = """
    exp exp2 expm1 log log2 log10 log1p logaddexp logaddexp2 pow power float_power cbrt hypot
    sin cos tan asin acos atan atan2 sinh cosh tanh asinh acosh atanh
    arcsin arccos arctan arctan2 arcsinh arccosh arctanh sinc erf erfc gamma lgamma i0
"""
# These add, in an order that the BLAS or the processor's vectors choose
SUMS = """
    sum mean average var std cumsum prod cumprod dot vdot inner trace median percentile quantile
    matmul einsum tensordot matvec vecmat vecdot outer kron convolve correlate linalg fft polynomial polyfit polyval
    nansum nanmean nanvar nanstd nanprod cumulative_sum cumulative_prod interp trapezoid cov corrcoef geomspace linspace
"""
UNSAFE = {*LIBRARY.split(), *SUMS.split()}
SAFE_RANDOM = {"PCG64", "SeedSequence"}  # NumPy promises their numbers

# The files that decide an output, and what they may use all the same
CHECKED = {path.relative_to(ROOT).as_posix(): set() for path in sorted((ROOT / "mlp").glob("*.py"))} | {
    "mlp/arithmetic.py": {"np.add.reduce"},  # tested to be exact
    "mlp/random.py": {"np.prod", "numbers.sum"},  # lengths; 16-bit numbers, as int64
    "mlp/team.py": {"@"},  # its result is not used
    "pipeline/evaluation/evaluation.py": set(),
    "pipeline/evaluation/report.py": {"matrix.sum"},  # counts of images
    "pipeline/images/hold_out.py": set(),
    "pipeline/images/one_hot.py": set(),
    "pipeline/images/scaling.py": {"sum"},  # histograms, and Python's whole numbers
}


def impurities(source: str) -> Iterator[str]:
    """Yield each use of what may differ between machines. The interface of arithmetics and float32 may have any."""
    tree = ast.parse(source)
    tree.body = [node for node in tree.body if getattr(node, "name", "") not in ("Arithmetic", "Float32")]
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(ast.Attribute(_, "random"), name) if name not in SAFE_RANDOM:
                yield ast.unparse(node)
            case ast.Attribute(ast.Attribute(ast.Name("np"), "add" | "subtract" | "multiply" | "divide"), _):
                yield ast.unparse(node)
            case ast.Attribute(owner, name) if name in UNSAFE:
                if ast.unparse(owner).rpartition(".")[2] not in ("A", "arithmetic"):
                    yield ast.unparse(node)
            case ast.Name("sum" | "pow" as name):
                yield name
            case ast.ImportFrom(module="math" | "numpy", names=names):
                yield from (alias.name for alias in names if alias.name in UNSAFE)
            case ast.Import(names=names):
                yield from (alias.name for alias in names if alias.name in ("random", "statistics", "cmath", "scipy"))
            case ast.BinOp(op=ast.MatMult()) | ast.AugAssign(op=ast.MatMult()):
                yield "@"
            case ast.BinOp(ast.Constant(), ast.Pow(), ast.Constant()):
                pass  # Python computes it once, when it compiles the file
            case ast.BinOp(op=ast.Pow()) | ast.AugAssign(op=ast.Pow()):
                yield "**"


@pytest.mark.parametrize("file", CHECKED)
def test_no_sum_of_floats_and_no_mathematics_library_outside_the_arithmetic(file):
    found = set(impurities((ROOT / file).read_text(encoding="utf-8")))
    assert found == CHECKED[file], "use mlp/arithmetic.py, or say in CHECKED why it is harmless"


def test_the_rule_sees_them_and_no_others():
    unsafe = "np.mean(x); x[0].sum(axis=1); np.add.reduce(x); np.einsum('ij', a); a @ b; f = np.tanh; math.log(x); y**2"
    unsafe += "; x **= 2; x @= b; sum(x); pow(x, 2); np.random.default_rng(0); np.linalg.norm(x); import random"
    for code in unsafe.split("; "):
        assert len(set(impurities(f"def f():\n    {code}")) - {"np.linalg.norm"}) == 1, code
    safe = (
        "A.sum(x); network.arithmetic.exp(x); np.random.PCG64(0); 2.0**52; x.max(); math.sqrt(x); np.maximum.reduce(x)"
    )
    assert list(impurities(safe)) == []


# Each module imports only itself and those on lines above its own. Modules that are not named may do as they like.
LAYERS = """
    mlp.arithmetic mlp.random mlp.team
    mlp.distortions mlp.layers mlp.optimizers mlp.regularization
    mlp.network
    mlp.batches mlp.parallel
    mlp.training
    pipeline.program
    pipeline.settings pipeline.store
    pipeline.evaluation pipeline.fetching pipeline.images pipeline.training
    pipeline.drawing
    pipeline.plots_page
    stages.download stages.preprocess stages.train stages.evaluate stages.plot
    tools records benchmarks tests
"""
LAYER = {name: layer for layer, names in enumerate(LAYERS.split("\n")) for name in names.split()}


def imports(path: Path) -> set[str]:
    """Return the dotted names of what a file imports, at its top or inside a function."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def named(module: str) -> str | None:
    """Return the name in LAYERS of a module, or of a package that it is in."""
    return next((name for name in LAYER if f"{module}.".startswith(f"{name}.")), None)


def product() -> list[Path]:
    files = [*(ROOT / "mlp").glob("*.py"), *(ROOT / "pipeline").rglob("*.py")]
    return [*files, *(ROOT / "stages" / f"{stage}.py" for stage in STAGES)]


def test_imports_run_one_way():
    for path in product():
        module = path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
        if own := named(module):
            below = {name for name in map(named, imports(path)) if name not in (None, own)}
            assert {name for name in below if LAYER[name] >= LAYER[own]} == set(), module


def test_the_network_needs_numpy_and_nothing_else():
    needed = {name.split(".")[0] for path in (ROOT / "mlp").glob("*.py") for name in imports(path)}
    assert needed <= sys.stdlib_module_names | {"numpy", "mlp"}
