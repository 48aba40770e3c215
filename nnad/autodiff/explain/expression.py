"""Formulas typed by a user, such as "1/(1+exp(-x))", as functions; read without `eval`.

Allowed are numbers, names, + - * / // % ** @, calls of NumPy's and nnad's functions by name, lists,
indexing with numbers and slices, comparisons, "this if condition else that" by element, and the
constants pi and e.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import reduce
from itertools import pairwise
from typing import Any

import numpy as np

from nnad.autodiff.explain.build import explain
from nnad.autodiff.explain.numbers import cut
from nnad.autodiff.explain.trace import Trace
from nnad.autodiff.table import IMPLEMENTATIONS, TABLE
from nnad.errors import NnadError, UserError, did_you_mean

BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
    ast.MatMult: operator.matmul,
}
UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}
COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
CONSTANTS = {"pi": np.pi, "e": np.e}
ALIASES = {"ln": "log", "sigma": "sigmoid", "expit": "sigmoid", "digamma": "psi", "abs": "absolute"}
LONGEST = 10_000  # letters of a formula
SHOWN = 60  # of them in a message
MOST_BITS = 4096  # of a power of whole numbers, which Python computes to the last digit


def functions() -> dict[str, Callable[..., Any]]:
    """The functions that a formula may call, by name: NumPy's where it has them, else nnad's."""
    found: dict[str, Callable[..., Any]] = {n: e for n, e in TABLE.items() if n.isidentifier()}
    names = {function.__name__ for function in IMPLEMENTATIONS}
    found |= {n: getattr(np, n) for n in names if getattr(np, n, None) in IMPLEMENTATIONS}
    found |= {short: found[name] for short, name in ALIASES.items()}
    for name, pair in (("max", found["maximum"]), ("min", found["minimum"])):
        found[name] = _of_array_or_of_several(found[name], pair)
    return found


def _of_array_or_of_several(whole: Any, pair: Any) -> Callable[..., Any]:
    """As Python's max: `max(x)` of the elements of an array, `max(x, 0)` of several values."""

    def function(*xs: Any, **kwargs: Any) -> Any:
        return whole(*xs, **kwargs) if len(xs) == 1 else reduce(pair, xs)

    return function


class Formula:
    """A parsed formula: its text and the function of its variables.

    Args:
        text: such as "1/(1+exp(-x))".
        given: names that are variables even where a function or constant is called the same.

    >>> f = Formula("3*x**2")
    >>> f.variables, f(2.0)
    (['x'], 12.0)
    """

    def __init__(self, text: str, given: Collection[str] = ()) -> None:
        self.text = text.strip()
        if len(text) > LONGEST:
            raise UserError(f"formula: got {len(text)} letters, at most {LONGEST} are read")
        try:
            self.body = ast.parse(self.text, mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise UserError(f"formula: {_where(self.text, error)}") from None
        self.functions = {n: f for n, f in functions().items() if n not in given}
        self.constants = {n: x for n, x in CONSTANTS.items() if n not in given}
        self.variables: list[str] = []
        self.problems: list[str] = []
        try:
            self._check(self.body)
        except RecursionError:
            raise UserError("formula: it is nested too deeply") from None
        if self.problems:
            raise UserError(list(dict.fromkeys(self.problems)))

    def __call__(self, *values: Any) -> Any:
        """The formula at `values`, one per variable in the order they first appear."""
        names = self.constants | dict(zip(self.variables, values, strict=True))
        return self._value(self.body, names)

    # Checking -----------------------------------------------------------------------------------

    def _check(self, node: ast.AST) -> None:
        """Collect variables, and whatever is not allowed."""
        if isinstance(node, ast.Name):
            self._check_name(node.id)
        elif isinstance(node, ast.Call):
            self._check_call(node)
        elif isinstance(node, ast.Constant):
            if type(node.value) not in (int, float, complex, bool, type(None)):
                self._refuse(node, "only numbers may stand in a formula")
        elif why := _refused(node):
            self._refuse(node, why)
        else:
            for part in ast.iter_child_nodes(node):
                if not isinstance(part, _SILENT):
                    self._check(part)

    def _check_name(self, name: str) -> None:
        if name in self.functions:
            self.problems.append(f"formula: {name}: a function needs an argument: {name}(x)")
        elif name not in self.variables and name not in self.constants:
            self.variables.append(name)

    def _check_call(self, node: ast.Call) -> None:
        if not isinstance(node.func, ast.Name):
            self._refuse(node.func, "functions are called by name, as in exp(x)")
        elif node.func.id not in self.functions:
            hint = did_you_mean(node.func.id, self.functions)
            self._refuse(node.func, f"unknown function{hint}")
        if any(keyword.arg is None for keyword in node.keywords):
            self._refuse(node, "** cannot stand before an argument")
        for part in [*node.args, *(keyword.value for keyword in node.keywords)]:
            if not (isinstance(part, ast.Constant) and isinstance(part.value, str)):
                self._check(part)  # texts are allowed here alone: einsum("ij,j->i", a, x)

    def _source(self, node: ast.AST) -> str:
        return ast.get_source_segment(self.text, node) or type(node).__name__

    def _refuse(self, node: ast.AST, why: str) -> None:
        self.problems.append(f"formula: {cut(self._source(node), SHOWN)}: {why}")

    # Evaluating ---------------------------------------------------------------------------------

    def _value(self, node: Any, names: Mapping[str, Any]) -> Any:
        if isinstance(node, ast.Constant):
            return node.value
        if isinstance(node, ast.Name):
            return names[node.id]
        parts = [self._value(part, names) for part in _parts(node)]
        if isinstance(node, ast.BinOp):
            return _binary(node.op, *parts)
        if isinstance(node, ast.UnaryOp):
            return UNARY[type(node.op)](parts[0])
        if isinstance(node, ast.Compare):
            pairs = zip(node.ops, pairwise(parts), strict=True)
            return reduce(self.functions["logical_and"], (COMPARE[type(o)](*p) for o, p in pairs))
        if isinstance(node, ast.IfExp):  # by element; both branches are computed
            test, this, that = parts
            return self.functions["where"](test, this, that)
        if isinstance(node, ast.Call):
            named = {str(k.arg): self._value(k.value, names) for k in node.keywords}
            return self.functions[node.func.id](*parts, **named)  # type: ignore[attr-defined]
        if isinstance(node, ast.Subscript):
            return parts[0][parts[1]]
        if isinstance(node, ast.Slice):
            ends = (node.lower, node.upper, node.step)
            return slice(*(None if x is None else self._value(x, names) for x in ends))
        return tuple(parts) if isinstance(node, ast.Tuple) else list(parts)


_SILENT = (ast.operator, ast.unaryop, ast.cmpop, ast.expr_context)
_ALLOWED = (
    ast.BinOp,
    ast.UnaryOp,
    ast.Compare,
    ast.IfExp,
    ast.Subscript,
    ast.Slice,
    ast.Tuple,
    ast.List,
)


def _refused(node: ast.AST) -> str:
    """Why a part may not stand in a formula; nothing where it may."""
    if isinstance(node, ast.BoolOp) or (
        isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not)
    ):
        return "write logical_and(a, b), logical_or(a, b), logical_not(a)"
    if not isinstance(node, _ALLOWED):
        return f"{type(node).__name__} is not allowed in a formula"
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitXor):
        return "a power is written **"
    if isinstance(node, ast.Compare):
        known = all(type(op) in COMPARE for op in node.ops)
        return "" if known else "this comparison is not allowed in a formula"
    operators: dict[Any, Any] = BINARY if isinstance(node, ast.BinOp) else UNARY
    if isinstance(node, (ast.BinOp, ast.UnaryOp)) and type(node.op) not in operators:
        return "this operator is not allowed in a formula"
    return ""


def _parts(node: ast.AST) -> list[ast.expr]:
    """The operands of a node, from left to right."""
    if isinstance(node, ast.Call):
        return node.args
    if isinstance(node, ast.Slice):
        return []
    return [part for part in ast.iter_child_nodes(node) if isinstance(part, ast.expr)]


def _binary(op: ast.operator, a: Any, b: Any) -> Any:
    a, b = (np.asarray(x) if isinstance(x, (list, tuple)) else x for x in (a, b))
    if isinstance(op, ast.Pow) and type(a) is int and not _stays_whole(a, b):
        a = float(a)
    return BINARY[type(op)](a, b)


def _stays_whole(a: int, b: Any) -> bool:
    """Whether a**b may be computed in whole numbers: not without end, and not of arrays of them."""
    if type(b) is int:
        return a.bit_length() * abs(b) <= MOST_BITS
    return getattr(b, "dtype", np.dtype(float)).kind not in "iu"


def _where(text: str, error: BaseException) -> str:
    """A syntax error as one line that points at its place."""
    if not isinstance(error, SyntaxError) or not text:
        return f"{cut(text, SHOWN)!r} cannot be read; expected something like 1/(1+exp(-x))"
    place = f" at letter {error.offset}" if error.offset else ""
    return f"{cut(text, SHOWN)!r} cannot be read{place}: {error.msg}"


def read_values(assignments: Sequence[str]) -> dict[str, Any]:
    """`x=0.5`, `w=[1, 2]`, `t=pi/2`, `z=1+2j` as values; whole numbers become floating-point.

    >>> read_values(["x=2", "w=[[1, 2], [3, 4]]"])
    {'x': 2.0, 'w': array([[1., 2.],
           [3., 4.]])}
    """
    values: dict[str, Any] = {}
    problems = []
    for assignment in assignments:
        name, sign, text = (part.strip() for part in assignment.partition("="))
        if not sign or not name.isidentifier():
            problems.append(f"{assignment!r}: expected name=value, such as x=0.5")
        elif name in values:
            problems.append(f"{name}: given twice")
        else:
            try:
                values[name] = _read(text)
            except (*_COMPUTING, UserError):
                problems.append(f"{name}: got {text!r}, expected a number or a list of numbers")
    if problems:
        raise UserError(problems)
    return values


_COMPUTING = (ValueError, TypeError, LookupError, ArithmeticError, MemoryError, RecursionError)


def _read(text: str) -> Any:
    array = np.asarray(Formula(text)())
    if array.dtype.kind not in "fciu":
        raise ValueError
    array = array if array.dtype.kind in "fc" else array.astype(float)
    return array if array.ndim else array.item()


def explain_text(
    text: str, assignments: Sequence[str], tangents: Sequence[str] | None = None
) -> Trace:
    """The trace of a typed formula at typed values.

    Args:
        tangents: forward mode is shown too: "x" has tangent one, "x=0.5" another; the rest zero.

    Raises:
        UserError: a line for every problem with any of these.

    >>> explain_text("x*y", ["x=2", "y=3"]).gradients
    (np.float64(3.0), np.float64(2.0))
    """
    values = read_values(assignments)
    formula = Formula(text, given=values)
    problems = [
        f"{x}: no value, write {x}=0.5{did_you_mean(x, set(values) - set(formula.variables))}"
        for x in formula.variables
        if x not in values
    ]
    problems += [
        f"{x}: not in the formula{did_you_mean(x, formula.variables)}"
        for x in values
        if x not in formula.variables
    ]
    if not formula.variables:
        problems.append("formula: it has no variable to differentiate by, such as x")
    if problems:
        raise UserError(problems)
    xs = [values[x] for x in formula.variables]
    vs = None if tangents is None else _read_tangents(tangents, values, formula.variables)
    try:
        return explain(_named(formula), *xs, tangents=vs, title=formula.text)
    except NnadError:
        raise
    except _COMPUTING as error:
        message = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"formula: {message}") from None


def _read_tangents(
    texts: Sequence[str], values: Mapping[str, Any], variables: Sequence[str]
) -> tuple[Any, ...]:
    """A tangent per variable; None is zero."""
    found: dict[str, Any] = {}
    for text in texts:
        name = text.partition("=")[0].strip()
        if name not in variables:
            raise UserError(f"--tangent {name}: not in the formula{did_you_mean(name, variables)}")
        found |= {name: np.ones_like(values[name])} if "=" not in text else read_values([text])
    return tuple(found.get(name) for name in variables)


def _named(formula: Formula) -> Callable[..., Any]:
    """The formula as a function whose parameters have the names of its variables."""
    from inspect import Parameter, Signature

    def function(*xs: Any) -> Any:
        return formula(*xs)

    kind = Parameter.POSITIONAL_OR_KEYWORD
    function.__signature__ = Signature([Parameter(x, kind) for x in formula.variables])  # type: ignore[attr-defined]
    return function
