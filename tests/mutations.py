"""Faults to put into a module, one at a time: a comparison flipped, a constant off by one, a statement gone …"""

import ast
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]


class Mutant(NamedTuple):
    """A module with one change, which is described by the statement or the header around it."""

    path: str
    line: int
    before: str
    after: str
    change: Callable[[], str]  # returns the source of the changed module


FLIPPED = {
    ast.Lt: [ast.LtE, ast.GtE], ast.LtE: [ast.Lt, ast.Gt], ast.Gt: [ast.GtE, ast.LtE], ast.GtE: [ast.Gt, ast.Lt],
    ast.Eq: [ast.NotEq], ast.NotEq: [ast.Eq], ast.In: [ast.NotIn], ast.NotIn: [ast.In],
    ast.Is: [ast.IsNot], ast.IsNot: [ast.Is], ast.And: [ast.Or], ast.Or: [ast.And],
    ast.Add: [ast.Sub], ast.Sub: [ast.Add], ast.Mult: [ast.Div], ast.Div: [ast.Mult], ast.FloorDiv: [ast.Mult],
    ast.Mod: [ast.FloorDiv], ast.Pow: [ast.Mult], ast.LShift: [ast.RShift], ast.RShift: [ast.LShift],
    ast.BitAnd: [ast.BitOr], ast.BitOr: [ast.BitAnd], ast.BitXor: [ast.BitOr],
}  # fmt: skip
SWAPPED = {"min": "max", "minimum": "maximum", "argmin": "argmax", "any": "all", "floor": "ceil"}
SWAPPED |= {after: before for before, after in SWAPPED.items()}
COMMUTE = ("min", "max", "minimum", "maximum", "add", "suppress")  # functions
TEXT_FOR_PEOPLE = ("help", "description", "show_default")  # keywords


def changes(node: ast.AST) -> Iterator[tuple[str, object]]:
    """Yield the fields of `node` that a mutant changes, each with its new value."""
    match node:
        case ast.Compare(ops=[op, *rest]):
            yield from (("ops", [new(), *rest]) for new in FLIPPED[type(op)])
            if rest:
                yield from (("ops", [op, *rest[:-1], new()]) for new in FLIPPED[type(rest[-1])])
        case ast.BoolOp(op=op) | ast.BinOp(op=op) | ast.AugAssign(op=op) if type(op) in FLIPPED:
            yield from (("op", new()) for new in FLIPPED[type(op)])
            if isinstance(node, ast.BoolOp):
                yield from (("values", [v for v in node.values if v is not left_out]) for left_out in node.values)
        case ast.Constant(value=bool(value)):
            yield "value", not value
        case ast.Constant(value=int() | float() as value):
            yield from (("value", value + 1), ("value", value - 1))
        case ast.If(test=test) | ast.IfExp(test=test) | ast.While(test=test) if not isinstance(test, ast.Compare):
            yield "test", ast.UnaryOp(ast.Not(), test)
        case ast.comprehension(ifs=[_, *_] as ifs):
            yield from (("ifs", [test for test in ifs if test is not left_out]) for left_out in ifs)
        case ast.Return(value=ast.expr() as value) if not isinstance(value, ast.Constant):
            yield "value", ast.Constant(None)
        case ast.Slice(lower=lower, upper=upper):
            for name, bound in ("lower", lower), ("upper", upper):
                if bound is not None and not isinstance(bound, ast.Constant):
                    yield name, ast.BinOp(bound, ast.Add(), ast.Constant(1))
                    yield name, None
        case ast.Call(func=function, args=args, keywords=keywords):
            yield from (
                ("keywords", [keyword for keyword in keywords if keyword is not left_out])
                for left_out in keywords
                if not left_alone(node, left_out)
            )
            commutes = ast.unparse(function).rpartition(".")[2] in COMMUTE
            if len(args) > 1 and not commutes and not any(isinstance(arg, ast.Starred) for arg in args[:2]):
                yield "args", [args[1], args[0], *args[2:]]
            if isinstance(function, ast.Name) and function.id in SWAPPED:
                yield "func", ast.Name(SWAPPED[function.id])
        case ast.Attribute(attr=name) if name in SWAPPED:
            yield "attr", SWAPPED[name]
        case ast.Subscript(slice=ast.Constant(value=str(key))):
            yield "slice", ast.Constant(f"{key}_")
        case ast.Dict(keys=keys):
            for place, key in enumerate(keys):
                if isinstance(key, ast.Constant) and isinstance(key.value, str):
                    yield "keys", [*keys[:place], ast.Constant(f"{key.value}_"), *keys[place + 1 :]]
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield "operand", ast.UnaryOp(ast.Not(), operand)
        case ast.UnaryOp(op=ast.USub()):
            yield "op", ast.UAdd()
    for name in ("body", "orelse", "finalbody"):
        statements = getattr(node, name, None)
        if isinstance(statements, list):
            for place, statement in enumerate(statements):
                if deletable(statement):
                    yield name, [*statements[:place], ast.Pass(), *statements[place + 1 :]]


def deletable(statement: ast.stmt) -> bool:
    """Tell whether the code without the statement is more than a NameError or a missing docstring."""
    match statement:
        case ast.Expr(value=ast.Constant()):
            return False
        case ast.Assign(targets=[target]):
            return isinstance(target, ast.Attribute | ast.Subscript)
        case ast.If(orelse=[]):
            return not is_main(statement)
    return isinstance(statement, ast.Expr | ast.AugAssign | ast.Raise | ast.Continue | ast.Break)


def children(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the parts of `node` to change: no annotations, no texts for people, nothing that only `python -m` runs."""
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "type_params"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not left_alone(node, child):
                yield child


def left_alone(parent: ast.AST, node: ast.AST) -> bool:
    """Tell whether this is a text for people, what only `python -m` runs, or `strict` in zip.

    The last is an assertion about lengths that differ only after another fault.
    """
    if isinstance(node, ast.keyword):
        in_zip = isinstance(parent, ast.Call) and ast.unparse(parent.func) == "zip"
        return node.arg in TEXT_FOR_PEOPLE or (in_zip and node.arg == "strict")
    return is_main(node)


def is_main(node: ast.AST) -> bool:
    """Tell whether this is what only `python -m` runs."""
    return isinstance(node, ast.If) and "__name__" in ast.unparse(node.test)


def mutants_of(path: str) -> list[Mutant]:
    """Return all mutants of a module, whose `path` is relative to the repository."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    found: dict[tuple[int, str, str], Mutant] = {}

    def visit(node: ast.AST, around: ast.AST, line: int) -> None:
        line = getattr(node, "lineno", line)
        if isinstance(node, ast.stmt) or (isinstance(around, ast.stmt) and hasattr(around, "body")):
            around = node  # a simple statement, or a part of the header of one that has a body
        for name, new in changes(node):
            old, place = getattr(node, name), around
            if name in ("body", "orelse", "finalbody"):  # a statement goes
                place = next(before for before, after in zip(old, new, strict=True) if before is not after)
            before = ast.unparse(place)
            setattr(node, name, new)
            after = ast.unparse(around) if place is around else "pass"
            setattr(node, name, old)

            def change(node: ast.AST = node, name: str = name, old: object = old, new: object = new) -> str:
                setattr(node, name, new)
                source = ast.unparse(ast.fix_missing_locations(tree))
                setattr(node, name, old)
                return source

            if before != after:
                at = line if place is around else place.lineno
                found.setdefault((at, before, after), Mutant(path, at, before, after, change))
        for child in children(node):
            visit(child, around, line)

    visit(tree, tree, 0)
    return list(found.values())
