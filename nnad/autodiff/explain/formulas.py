"""Formula texts of the table with the names or values of one application put in.

A formula such as "x0 / x1" or a derivative such as "-y / x1" is parsed, its variables are replaced
by texts ("v3", "1.607"), and it is written out with the parentheses it needs.  A formula in words
("sum of x over axes") is shown as a call instead: sum(v3, axis=0).
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nnad.autodiff.explain.numbers import number, value
from nnad.autodiff.table import Primitive, Variadic

CONSTANTS = {"pi": "π"}
SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")

# How tightly an expression is bound: what stands inside something tighter gets parentheses.
CHOICE, COMPARISON, SUM, PRODUCT, SIGN, POWER, ATOM = range(1, 8)
BINARY: dict[type[ast.operator], tuple[str, int]] = {
    ast.Add: (" + ", SUM),
    ast.Sub: (" - ", SUM),
    ast.Mult: (" · ", PRODUCT),
    ast.Div: (" / ", PRODUCT),
    ast.MatMult: (" @ ", PRODUCT),
    ast.Mod: (" % ", PRODUCT),
    ast.FloorDiv: (" // ", PRODUCT),
}
COMPARE: dict[type[ast.cmpop], str] = {
    ast.Lt: " < ",
    ast.LtE: " <= ",
    ast.Gt: " > ",
    ast.GtE: " >= ",
    ast.Eq: " = ",
    ast.NotEq: " != ",
}


class NotAFormulaError(Exception):
    """A text that is not an expression in the variables at hand."""


class Literal(str):
    """The text of a number that stands in the program itself, such as the 2 in x**2."""


class _Writer:
    """Writes a parsed formula with `names` put in for its variables.

    `fold`: do arithmetic with whole numbers of the program, as one does in writing: (x**3)' = 3 x².
    """

    def __init__(self, names: Mapping[str, str], fold: bool) -> None:
        self.names = names
        self.fold = fold

    def write(self, node: ast.expr) -> tuple[str, int]:
        """The text of a node and how tightly it is bound."""
        node = _with_literals(node, self.names)
        if self.fold:
            node = _folded(node)
        method = getattr(self, f"_{type(node).__name__.lower()}", None)
        if method is None:
            raise NotAFormulaError(ast.dump(node))
        return method(node)

    def _inside(self, node: ast.expr, least: int, right: bool = False) -> str:
        """A part in parentheses, if it is bound less tightly or a signed right operand."""
        text, bound = self.write(node)
        if bound < least or (right and text.startswith("-")):
            return f"({text})"
        return text

    def _name(self, node: ast.Name) -> tuple[str, int]:
        text = self.names.get(node.id) or CONSTANTS.get(node.id)
        if text is None:
            raise NotAFormulaError(node.id)
        return text, binding(text)

    def _constant(self, node: ast.Constant) -> tuple[str, int]:
        if not isinstance(node.value, (int, float, complex)):
            raise NotAFormulaError(repr(node.value))
        text = number(node.value)
        return text, binding(text)

    def _binop(self, node: ast.BinOp) -> tuple[str, int]:
        if isinstance(node.op, ast.Pow):
            base = self._inside(node.left, ATOM)
            if isinstance(node.right, ast.Constant) and str(node.right.value).isdigit():
                return base + str(node.right.value).translate(SUPERSCRIPTS), POWER
            return f"{base}^{self._inside(node.right, ATOM)}", POWER
        if type(node.op) not in BINARY:
            raise NotAFormulaError(ast.dump(node.op))
        sign, bound = BINARY[type(node.op)]
        commutes = isinstance(node.op, (ast.Add, ast.Mult))
        left = self._inside(node.left, bound)
        right = self._inside(node.right, bound if commutes else bound + 1, right=True)
        return left + sign + right, bound

    def _unaryop(self, node: ast.UnaryOp) -> tuple[str, int]:
        sign = {ast.USub: "-", ast.UAdd: "+"}.get(type(node.op))
        if sign is None:
            raise NotAFormulaError(ast.dump(node))
        return sign + self._inside(node.operand, PRODUCT, right=True), SIGN

    def _call(self, node: ast.Call) -> tuple[str, int]:
        if not isinstance(node.func, ast.Name):
            raise NotAFormulaError(ast.dump(node.func))
        arguments = ", ".join(self.write(x)[0] for x in node.args)
        if node.func.id == "abs":
            return f"|{arguments}|", ATOM
        return f"{node.func.id}({arguments})", ATOM

    def _attribute(self, node: ast.Attribute) -> tuple[str, int]:
        return f"{self._inside(node.value, ATOM)}.{node.attr}", ATOM

    def _subscript(self, node: ast.Subscript) -> tuple[str, int]:
        return f"{self._inside(node.value, ATOM)}[{self.write(node.slice)[0]}]", ATOM

    def _tuple(self, node: ast.Tuple) -> tuple[str, int]:
        return ", ".join(self.write(x)[0] for x in node.elts), CHOICE

    def _ifexp(self, node: ast.IfExp) -> tuple[str, int]:
        body, test, other = (self.write(x)[0] for x in (node.body, node.test, node.orelse))
        return f"{body} if {test} else {other}", CHOICE

    def _compare(self, node: ast.Compare) -> tuple[str, int]:
        text = self._inside(node.left, SUM)
        for op, right in zip(node.ops, node.comparators, strict=True):
            if type(op) not in COMPARE:
                raise NotAFormulaError(ast.dump(op))
            text += COMPARE[type(op)] + self._inside(right, SUM)
        return text, COMPARISON


def binding(text: str) -> int:
    """How tightly a text that is put in for a variable is bound.

    >>> binding("v1") == ATOM, binding("-0.5") == SIGN, binding("1+2j") == SUM
    (True, True, True)
    """
    if re.fullmatch(r"-[\d.]+(e[+-]?\d+)?", text):
        return SIGN
    if re.fullmatch(r"-?[\d.e+-]+[+-][\d.e+-]+j", text):
        return SUM
    return ATOM


def _with_literals(node: ast.expr, names: Mapping[str, str]) -> ast.expr:
    """Variables that stand for whole numbers of the program replaced by these."""
    if isinstance(node, ast.Name):
        text = names.get(node.id, "")
        return ast.Constant(int(text)) if isinstance(text, Literal) and text.isdigit() else node
    if isinstance(node, ast.BinOp):
        parts = (_with_literals(part, names) for part in (node.left, node.right))
        return ast.BinOp(next(parts), node.op, next(parts))
    return node


def _folded(node: ast.expr) -> ast.expr:
    """Differences of whole numbers done; powers and factors of 1 left out."""
    if not isinstance(node, ast.BinOp):
        return node
    left, right = _folded(node.left), _folded(node.right)
    a, b = _whole(left), _whole(right)
    if a is not None and b is not None and isinstance(node.op, ast.Sub) and a >= b:
        return ast.Constant(a - b)
    if isinstance(node.op, ast.Pow) and b == 1:
        return left
    if isinstance(node.op, ast.Mult) and 1 in (a, b):
        return right if a == 1 else left
    return ast.BinOp(left, node.op, right)


def _whole(node: ast.expr) -> int | None:
    value = getattr(node, "value", None)
    return value if type(value) is int else None


def as_python(formula: str) -> str:
    """A formula of the table as Python reads it: |x| is abs(x).

    >>> as_python("x / (1 + |x|)")
    'x / (1 + abs(x))'
    """
    return re.sub(r"\|([^|]+)\|", r"abs(\1)", formula)


def put_in(formula: str, names: Mapping[str, str], fold: bool = False) -> str | None:
    """The formula with `names` in place of its variables, or None if it is not an expression.

    >>> put_in("x1 * x0**(x1 - 1)", {"x0": "v1", "x1": Literal("3")}, fold=True)
    '3 · v1²'
    >>> put_in("-y / x1", {"y": "0.6", "x1": "-2"})
    '-0.6 / (-2)'
    >>> put_in("sum of x over axes", {"x": "v1"}) is None
    True
    """
    try:
        return _Writer(names, fold).write(ast.parse(as_python(formula), mode="eval").body)[0]
    except (SyntaxError, NotAFormulaError):
        return None


def put_into_words(text: str, names: Mapping[str, str]) -> str:
    """A rule that is told in words, with `names` in place of x0, x1, y and g.

    >>> put_into_words("sum of g over rows", {"g": "v̄3"})
    'sum of v̄3 over rows'
    """
    return re.sub(r"\b(x\d?|y|g)\b", lambda found: names.get(found[0], found[0]), text)


def derivative(text: str, names: Mapping[str, str]) -> str:
    """The text of a derivative with `names` put in, be it an expression or told in words."""
    found = put_in(text, names, fold=True)
    return put_into_words(text, names).replace(" * ", " · ") if found is None else found


def partial_text(entry: Primitive, i: int) -> str:
    """The text of the derivative by argument i, or nothing; one may hold for any number of them."""
    if isinstance(entry.vjps, Variadic) and len(entry.partials) == 1:
        i = 0
    text = entry.partials[i] if i < len(entry.partials) else ""
    return "" if text == "unknown" else text


def tells_rules(entry: Primitive) -> bool:
    """Whether the derivatives of an entry are told as rules in g, such as "g @ x1.T"."""
    return any(re.search(r"\bg\b", text) for text in entry.partials)


def defaults(entry: Primitive) -> Mapping[str, Any]:
    """The metadata of an operation that need not be given, by name."""
    if not entry.forward.__module__.startswith("nnad."):  # NumPy's out= and where= are none
        return {}
    parameters = inspect.signature(entry.forward).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty}


def variables(
    entry: Primitive, operands: Sequence[str], kwargs: Mapping[str, Any]
) -> dict[str, str]:
    """What the variables of a formula stand for: x or x0, x1, ..., and metadata by name.

    What was left out (None) stands for nothing: a formula that needs it is not shown as such.
    """
    known = {**defaults(entry), **kwargs}
    names = {k: text for k, v in known.items() if (text := metadata(v)) not in (None, "None")}
    names |= {f"x{i}": operand for i, operand in enumerate(operands) if operand != "None"}
    if operands:
        names["x"] = operands[0]
    return names


def operation(entry: Primitive, operands: Sequence[str], kwargs: Mapping[str, Any]) -> str:
    """One application of `entry`: as a formula where it has one, else as a call.

    >>> from nnad.autodiff.table import TABLE
    >>> operation(TABLE["divide"], ["1", "v3"], {}), operation(TABLE["sum"], ["v3"], {"axis": 0})
    ('1 / v3', 'sum(v3, axis=0)')
    """
    found = put_in(entry.formula, variables(entry, operands, kwargs))
    if found is not None:
        return found
    while operands and operands[-1] == "None":  # optional arrays that were left out
        operands = operands[:-1]
    usual = {k: metadata(v) for k, v in defaults(entry).items()}
    shown = [
        f"{k}={text}"
        for k, v in kwargs.items()
        if v is not None and v is not False and (text := metadata(v)) not in (None, usual.get(k))
    ]
    return f"{entry.name}({', '.join([*operands, *shown])})"


def metadata(x: Any) -> str | None:
    """Metadata of an operation as it is written in Python; None for what has no short text.

    >>> metadata((slice(None), 0)), metadata((2, 3)), metadata(object())
    (':, 0', '(2, 3)', None)
    """
    if isinstance(x, tuple) and any(isinstance(part, (slice, type(...))) for part in x):
        parts = [metadata(part) for part in x]
        return None if None in parts else ", ".join(part or "" for part in parts)
    if isinstance(x, slice):
        ends = ["" if part is None else str(part) for part in (x.start, x.stop)]
        return ":".join(ends) + ("" if x.step is None else f":{x.step}")
    if x is ...:
        return "..."
    if isinstance(x, (np.ndarray, np.generic)):
        return value(x)
    if isinstance(x, np.dtype) or (isinstance(x, type) and issubclass(x, np.generic)):
        return str(np.dtype(x))
    if isinstance(x, (tuple, list)):
        parts = [metadata(part) for part in x]
        return None if None in parts else repr(x)
    if isinstance(x, (int, float, complex)):
        return number(x)
    return repr(x) if isinstance(x, (str, type(None))) else None
