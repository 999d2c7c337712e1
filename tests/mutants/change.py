"""What can be changed in a source: one operator, constant, term, sign, condition or statement."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

ORDER = {ast.Lt: (ast.LtE, ast.GtE), ast.LtE: (ast.Lt, ast.Gt)}
ORDER |= {ast.Gt: (ast.GtE, ast.LtE), ast.GtE: (ast.Gt, ast.Lt)}
COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    **ORDER,
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Div,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
NAMES = {
    "max": "min",
    "amax": "amin",
    "argmax": "argmin",
    "any": "all",
    "maximum": "minimum",
    "clamp_min": "clamp_max",
    "floor": "ceil",
}
NAMES |= {new: old for old, new in NAMES.items()}
# Methods without which their object is still of the same kind.
STEPS = ("abs", "clamp", "clamp_max", "clamp_min", "detach", "exp", "log", "sqrt", "square", "flip")
# What is only shown: how far the work is, and words.
SHOWN = ("task", "advance", "say")
WORDS = ("in_words", "describe", "__repr__", "__str__")
NUMBERS = ("Tensor", "float", "int", "Array", "Floats")


@dataclass(frozen=True)
class Mutant:
    """One change: in `function` of `path`, `old` at `line`, whose `text` is this, becomes `new`."""

    path: Path
    function: str
    line: int
    text: str
    old: str
    new: str
    source: str


def mutants(path: Path) -> list[Mutant]:
    """All changes to a file, in the order of its lines."""
    text = path.read_text(encoding="utf-8")
    encoded, found = text.encode(), {}
    lines = text.splitlines(keepends=True)
    starts = [0, *accumulate(len(line.encode()) for line in lines)]
    for function, node, new in _changes(ast.parse(text)):
        start, end = _offsets(starts, node)
        old = " ".join(encoded[start:end].decode().split())
        if new != f"({ast.unparse(node)})":
            changed = (encoded[:start] + new.encode() + encoded[end:]).decode()
            line = lines[node.lineno - 1].strip()
            found[changed] = Mutant(path, function, node.lineno, line, old, new, changed)
    return sorted(found.values(), key=lambda each: each.line)


def _offsets(starts: list[int], node: ast.expr | ast.stmt) -> tuple[int, int]:
    """Bytes at which a node starts and ends, of lines that start at `starts`."""
    assert node.end_lineno is not None and node.end_col_offset is not None
    first, last = starts[node.lineno - 1], starts[node.end_lineno - 1]
    return first + node.col_offset, last + node.end_col_offset


def _changes(tree: ast.Module) -> Iterator[tuple[str, ast.expr | ast.stmt, str]]:
    for function in _functions(tree):
        numeric, name = False, "lambda"
        if isinstance(function, ast.FunctionDef):
            name, returns = function.name, function.returns
            numeric = returns is not None and ast.unparse(returns) in NUMBERS
        for node in _inside(function):
            for place, new in _of(node, numeric):
                yield name, place, new


def _of(node: ast.AST, numeric: bool) -> Iterator[tuple[ast.expr | ast.stmt, str]]:
    if isinstance(node, ast.stmt):
        yield from ((node, new) for new in _statements(node))
    if isinstance(node, ast.Return) and numeric and isinstance(node.value, NEGATED):
        yield node.value, f"(-({ast.unparse(node.value)}))"
    if isinstance(node, ast.If | ast.While):
        yield node.test, f"(not ({ast.unparse(node.test)}))"
    if isinstance(node, ast.expr):
        yield from ((node, f"({new})") for new in _expressions(node))


NEGATED = (ast.BinOp, ast.Call, ast.Name)


def _functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.Lambda]:
    """The outermost functions; constants of a module are chosen, not derived, and stay."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.Lambda):
            if getattr(node, "name", "") not in WORDS:
                yield node
        else:
            yield from _functions(node)


def _inside(node: ast.AST) -> Iterator[ast.AST]:
    """What is computed in a function: no annotations, messages, documentation or assertions."""
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "type_params"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not _is_no_work(child):
                yield child
                yield from _inside(child)


def _is_no_work(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Attribute) and node.func.attr in SHOWN
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant) or _is_no_work(node.value)
    return isinstance(node, ast.Raise | ast.Assert | ast.JoinedStr | ast.Import | ast.ImportFrom)


def _statements(node: ast.stmt) -> Iterator[str]:
    if isinstance(node, ast.Expr | ast.AugAssign):
        yield "pass"
    if isinstance(node, ast.AugAssign) and type(node.op) in OPERATORS:
        other = OPERATORS[type(node.op)]()
        yield ast.unparse(ast.AugAssign(node.target, other, node.value))


def _expressions(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.Compare):
        yield from _comparisons(node)
    elif isinstance(node, ast.BoolOp):
        opposite = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        yield ast.unparse(ast.BoolOp(opposite, node.values))
        yield from map(ast.unparse, node.values)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.Not):
        yield ast.unparse(node.operand)
    elif isinstance(node, ast.BinOp):
        if type(node.op) in OPERATORS:
            yield ast.unparse(ast.BinOp(node.left, OPERATORS[type(node.op)](), node.right))
        yield from map(ast.unparse, (node.left, node.right))
    elif isinstance(node, ast.IfExp):
        yield ast.unparse(ast.IfExp(node.test, node.orelse, node.body))
    elif isinstance(node, ast.Constant):
        yield from _constants(node.value)
    elif isinstance(node, ast.Call):
        yield from _calls(node)


def _comparisons(node: ast.Compare) -> Iterator[str]:
    for place, op in enumerate(node.ops):
        for other in COMPARISONS.get(type(op), ()):
            ops = [*node.ops[:place], other(), *node.ops[place + 1 :]]
            yield ast.unparse(ast.Compare(node.left, ops, node.comparators))


def _constants(value: object) -> Iterator[str]:
    if isinstance(value, bool):
        yield repr(not value)
    elif isinstance(value, int):
        yield repr(value + 1)
    elif isinstance(value, float):
        yield repr(2 * value if value else 1.0)


def _calls(node: ast.Call) -> Iterator[str]:
    arguments = node.args
    symmetric = isinstance(node.func, ast.Name) and node.func.id in ("max", "min")
    starred = any(isinstance(each, ast.Starred) for each in arguments[:2])
    if len(arguments) >= 2 and not starred and not symmetric:
        swapped = [arguments[1], arguments[0], *arguments[2:]]
        yield ast.unparse(ast.Call(node.func, swapped, node.keywords))
    if isinstance(node.func, ast.Attribute):
        owner, name = node.func.value, node.func.attr
        if name in NAMES:
            renamed = ast.Attribute(owner, NAMES[name], ast.Load())
            yield ast.unparse(ast.Call(renamed, arguments, node.keywords))
        if name in STEPS and ast.unparse(owner) not in ("torch", "np", "math"):
            yield ast.unparse(owner)
    elif isinstance(node.func, ast.Name) and node.func.id in NAMES:
        builtin = ast.Name(NAMES[node.func.id], ast.Load())
        yield ast.unparse(ast.Call(builtin, arguments, node.keywords))
        if node.func.id in ("max", "min") and len(arguments) == 2:
            yield from map(ast.unparse, arguments)
