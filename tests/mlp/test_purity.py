"""What decides an output adds in no order of the machine's choosing, and asks no mathematics library.

Sums of floats, products of matrices, exponentials and logarithms belong to mlp/arithmetic.py; random numbers come from
PCG64's integers. And imports run one way.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.project import ROOT

SOURCES = sorted(path for folder in ("mlp", "pipeline", "stages") for path in (ROOT / folder).rglob("*.py"))
ARITHMETIC = ROOT / "mlp" / "arithmetic.py"

LIBM = """
    exp exp2 expm1 log log2 log10 log1p logaddexp logaddexp2 pow power float_power cbrt hypot
    sin cos tan asin acos atan atan2 sinh cosh tanh asinh acosh atanh
    arcsin arccos arctan arctan2 arcsinh arccosh arctanh sinc erf erfc gamma lgamma i0
"""
REDUCTIONS = "sum mean average var std cumsum prod cumprod dot vdot inner trace"
NUMPY_ONLY = """
    matmul einsum tensordot matvec vecmat vecdot outer kron convolve correlate linalg fft polynomial polyfit polyval
    nansum nanmean nanvar nanstd nanprod cumulative_sum cumulative_prod median percentile quantile interp trapezoid
    cov corrcoef gradient geomspace logspace linspace
"""
LIBM, REDUCTIONS, NUMPY_ONLY = ({*names.split()} for names in (LIBM, REDUCTIONS, NUMPY_ONLY))

# Where it may be, because it is of whole numbers, or decides no output: {(file, function): (what, …)}
ALLOWED = {
    ("pipeline/evaluation/report.py", "classification_report"): (".sum",),  # counts of images
    ("mlp/random.py", "normal_like"): ("np.prod", ".sum"),  # lengths; 16-bit numbers, as int64
    ("mlp/team.py", "_work"): ("@",),  # its result is not used
    ("pipeline/drawing/figures.py", "draw_confusion"): (".sum", ".trace"),  # counts of images
    ("pipeline/store/arrays.py", "load_arrays"): ("sum",),  # lengths of entries
    ("pipeline/drawing/png.py", "_palette"): ("**", ".sum"),  # distances of colours, as int64
    ("pipeline/drawing/png.py", "zlib_bytes"): ("np.cumsum", ".sum"),  # numbers of tokens and bits
    ("pipeline/images/scaling.py", "scaling_of"): ("sum",),  # histograms, and Python's whole numbers
}


def impurities(tree: ast.AST) -> Iterator[tuple[str, str, int]]:
    """Yield each use of what may differ between machines: its function, what it is, and its line."""
    function_of = {}
    for parent in ast.walk(tree):  # from outside to inside, so that the innermost function remains
        if isinstance(parent, ast.FunctionDef | ast.AsyncFunctionDef):
            for node in ast.walk(parent):
                function_of[node] = parent.name
    for node in ast.walk(tree):
        if what := impurity(node):
            yield function_of.get(node, ""), what, node.lineno


def impurity(node: ast.AST) -> str | None:
    match node:
        case ast.Attribute(ast.Name("np" | "numpy" | "math" | "cmath" as module), name):
            numpy = module in ("np", "numpy")
            if name in LIBM or name in REDUCTIONS - {"prod"} or (numpy and name in NUMPY_ONLY | {"prod"}):
                return f"{module}.{name}"
        case ast.Attribute(ast.Attribute(ast.Name("np" | "numpy"), "random"), name):
            if name not in ("PCG64", "SeedSequence"):  # NumPy promises the numbers of both
                return f"np.random.{name}"
        case ast.Attribute(ast.Attribute(ast.Name("np" | "numpy"), "add" | "subtract" | "multiply" | "divide"), name):
            return f"np.….{name}"
        case ast.Call(ast.Attribute(ast.Name("arithmetic" | "A"), _)):
            return None
        case ast.Call(ast.Attribute(ast.Name("np" | "numpy" | "math" | "cmath"), _)):
            return None  # seen above
        case ast.Call(ast.Attribute(_, name)) if name in REDUCTIONS:
            return f".{name}"
        case ast.Call(ast.Name("sum" | "pow" as name)):
            return name
        case ast.ImportFrom(module="math" | "cmath" | "random" | "statistics" | "numpy" | "scipy", names=names):
            if bad := [alias.name for alias in names if alias.name not in ("isqrt", "ceil", "floor", "prod")]:
                return f"from {node.module} import {', '.join(bad)}"
        case ast.Import(names=names):
            if bad := [alias.name for alias in names if alias.name in ("random", "statistics", "cmath", "scipy")]:
                return f"import {', '.join(bad)}"
        case ast.BinOp(op=ast.MatMult()) | ast.AugAssign(op=ast.MatMult()):
            return "@"
        case ast.BinOp(ast.Constant(), ast.Pow(), ast.Constant()):
            return None  # folded into a constant
        case ast.BinOp(op=ast.Pow()) | ast.AugAssign(op=ast.Pow()):
            return "**"
    return None


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", [path for path in SOURCES if path != ARITHMETIC], ids=name_of)
def test_no_sum_of_floats_and_no_mathematics_library_outside_the_arithmetic(path):
    found = [
        f"{name_of(path)}:{line}: {what} in {function or 'the module'}"
        for function, what, line in impurities(ast.parse(path.read_text(encoding="utf-8")))
        if what not in ALLOWED.get((name_of(path), function), ())
    ]
    assert not found, "use mlp/arithmetic.py, or say in ALLOWED why it is harmless"


def test_exact_arithmetic_asks_no_mathematics_library():
    tree = ast.parse(ARITHMETIC.read_text(encoding="utf-8"))
    plain = ("Arithmetic", "Float32")  # the interface, and the other arithmetic
    tree.body = [node for node in tree.body if not (isinstance(node, ast.ClassDef) and node.name in plain)]
    assert "Exact" in {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
    # Products and sums are its business; they are tested to be exact.
    harmless = {"np.matmul", "@", "np.….reduce"}
    assert [(function, what) for function, what, _ in impurities(tree) if what not in harmless] == []


def test_every_exception_is_still_needed():
    used = {
        (name_of(path), function, what)
        for path in SOURCES
        for function, what, _ in impurities(ast.parse(path.read_text(encoding="utf-8")))
    }
    assert {(*place, what) for place, whats in ALLOWED.items() for what in whats} - used == set()


@pytest.mark.parametrize(
    ("code", "what"),
    [
        ("np.mean(x)", "np.mean"),
        ("np.sum(x)", "np.sum"),
        ("x.mean()", ".mean"),
        ("x[0].sum(axis=1)", ".sum"),
        ("np.std(x)", "np.std"),
        ("x.var()", ".var"),
        ("np.add.reduce(x)", "np.….reduce"),
        ("np.einsum('ij,jk', a, b)", "np.einsum"),
        ("np.dot(a, b)", "np.dot"),
        ("a.dot(b)", ".dot"),
        ("a @ b", "@"),
        ("a @= b", "@"),
        ("np.exp(x)", "np.exp"),
        ("f = np.tanh", "np.tanh"),
        ("math.log(x)", "math.log"),
        ("math.pow(x, 2)", "math.pow"),
        ("x ** 2", "**"),
        ("2 ** x", "**"),
        ("x **= 2", "**"),
        ("pow(x, 2)", "pow"),
        ("sum(losses)", "sum"),
        ("np.random.default_rng(0)", "np.random.default_rng"),
        ("np.random.seed(0)", "np.random.seed"),
        ("np.random.Generator(source)", "np.random.Generator"),
        ("np.linalg.norm(x)", "np.linalg"),
        ("np.linspace(0, 1, 7)", "np.linspace"),
        ("from math import exp", "from math import exp"),
        ("from numpy import dot", "from numpy import dot"),
        ("import random", "import random"),
    ],
)
def test_the_rule_sees(code, what):
    assert list(impurities(ast.parse(f"def f():\n    {code}"))) == [("f", what, 2)]


@pytest.mark.parametrize(
    "code",
    ["arithmetic.sum(x)", "arithmetic.exp(x)", "np.random.PCG64(0)", "2**128", "10.0**3", "x.max()", "math.sqrt(x)"],
)
def test_the_rule_lets_pass(code):
    assert list(impurities(ast.parse(code))) == []


# Imports

# Each module of mlp imports only those on lines above its own
ORDER = [
    {"arithmetic", "random", "team"},
    {"distortions", "layers", "optimizers", "regularization"},
    {"network"},
    {"batches", "parallel"},
    {"training"},
]


def imports(path: Path) -> set[str]:
    """Return the dotted names of the modules that a file imports, at its top or inside a function."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)}:{node.lineno}: a relative import"
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def files(folder: str) -> list[Path]:
    return [path for path in SOURCES if ROOT / folder in path.parents and path.stem != "__init__"]


@pytest.mark.parametrize("path", files("mlp"), ids=name_of)
def test_the_network_needs_numpy_and_nothing_else(path):
    assert {name.split(".")[0] for name in imports(path)} <= sys.stdlib_module_names | {"numpy", "mlp"}


@pytest.mark.parametrize("path", files("mlp"), ids=name_of)
def test_each_module_of_the_network_imports_only_those_below_it(path):
    (place,) = (number for number, modules in enumerate(ORDER) if path.stem in modules)
    below = {f"mlp.{module}" for modules in ORDER[:place] for module in modules}
    everything = {f"mlp.{module}" for modules in ORDER for module in modules}
    assert imports(path) & everything <= below


# Each room of pipeline imports only itself and those before its own. The last are the commands beside the rooms.
ROOMS = [
    {"program"},
    {"settings", "store"},
    {"evaluation", "fetching", "images", "training"},
    {"drawing"},
    {"pipeline"},
]


@pytest.mark.parametrize("path", files("pipeline"), ids=name_of)
def test_each_room_imports_only_those_below_it(path):
    (place,) = (number for number, rooms in enumerate(ROOMS) if path.parent.name in rooms)
    allowed = {path.parent.name, *(room for rooms in ROOMS[:place] for room in rooms)}
    assert {name.split(".")[1] for name in imports(path) if name.startswith("pipeline.")} <= allowed


@pytest.mark.parametrize("path", [*files("mlp"), *files("pipeline"), *files("stages")], ids=name_of)
def test_what_a_stage_uses_imports_no_stage_and_no_tool(path):
    assert not {name for name in imports(path) if name.split(".")[0] in ("stages", "tools", "tests", "benchmarks")}
