"""What decides an output adds in no order of the machine's choosing, and asks no mathematics library.

Sums of floats, products of matrices, exponentials and logarithms belong to mlp/arithmetic.py; random numbers come from
PCG64's integers. And imports run one way.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.support.project import ROOT, STAGES

# No standard requires the first to be correctly rounded. The others add, in an order that the BLAS or the processor's
# vectors choose.
NAMES = """
    exp exp2 expm1 log log2 log10 log1p logaddexp pow power float_power cbrt hypot sin cos tan asin acos atan atan2
    sinh cosh tanh asinh acosh atanh arcsin arccos arctan arctan2 arcsinh arccosh arctanh erf erfc gamma lgamma

    sum mean average var std cumsum prod cumprod dot vdot inner trace median percentile quantile matmul einsum tensordot
    vecdot outer convolve correlate linalg fft polynomial polyfit polyval interp cov corrcoef nansum nanmean linspace
"""
UNSAFE = set(NAMES.split())
SAFE_RANDOM = {"PCG64", "SeedSequence"}  # NumPy promises their numbers

# The files that decide an output, and what they may use all the same
CHECKED = {path.relative_to(ROOT).as_posix(): set() for path in sorted((ROOT / "mlp").glob("*.py"))} | {
    "mlp/arithmetic.py": {"np.add.reduce"},  # tested to be exact
    "mlp/random.py": {"np.prod", "numbers.sum"},  # lengths; 16-bit numbers, as int64
    "mlp/team.py": {"@"},  # its result is not used
    "pipeline/evaluation/evaluation.py": {"matrix.sum"},  # counts of images
    "pipeline/images/prepare.py": {"sum"},  # histograms, and Python's whole numbers
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


def test_no_sum_of_floats_and_no_mathematics_library_outside_the_arithmetic():
    found = {file: set(impurities((ROOT / file).read_text(encoding="utf-8"))) for file in CHECKED}
    assert found == CHECKED, "use mlp/arithmetic.py, or say in CHECKED why it is harmless"


def test_the_rule_sees_them_and_no_others():
    for code, count in [
        ("np.mean(x); x[0].sum(axis=1); np.add.reduce(x); np.einsum('ij', a); a @ b; f = np.tanh; math.log(x)", 7),
        ("x ** y; x **= 2; pow(x, 2); sum(x); np.random.default_rng(0); import random; from math import exp", 6),
        ("A.sum(x); network.arithmetic.exp(x); np.random.PCG64(0); 2.0**52; x.max(); np.maximum.reduce(x)", 0),
    ]:
        assert len(set(impurities(code))) == count, code


# Each module imports only itself and those on lines above its own. Modules that are not named may do as they like.
LAYERS = """
    mlp.arithmetic mlp.random mlp.team
    mlp.distortions mlp.layers mlp.optimizers mlp.pace mlp.regularization
    mlp.network
    mlp.batches mlp.parallel
    mlp.training
    pipeline.program
    pipeline.settings pipeline.store
    pipeline.evaluation pipeline.fetching pipeline.fitting pipeline.images
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


def test_imports_run_one_way():
    stages = [ROOT / "stages" / f"{stage}.py" for stage in STAGES]
    for path in [*(ROOT / "mlp").glob("*.py"), *(ROOT / "pipeline").rglob("*.py"), *stages]:
        module = path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
        if own := named(module):
            others = {name for name in map(named, imports(path)) if name not in (None, own)}
            assert {name for name in others if LAYER[name] >= LAYER[own]} == set(), module


def test_the_network_needs_numpy_and_nothing_else():
    needed = {name.split(".")[0] for path in (ROOT / "mlp").glob("*.py") for name in imports(path)}
    assert needed <= sys.stdlib_module_names | {"numpy", "mlp"}


def test_nothing_imports_from_the_tests():
    folders = [folder for folder in ROOT.glob("[!.]*/") if folder.name != "tests"]
    paths = [*ROOT.glob("*.py"), *(path for folder in folders for path in folder.rglob("*.py"))]
    assert [path for path in paths if any(f"{name}.".startswith("tests.") for name in imports(path))] == []
