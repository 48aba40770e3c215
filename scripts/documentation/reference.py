"""docs/reference.md from the table: every operation, its formula, its rules, its kinks."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import nnad.ops
from nnad.autodiff.explain.formulas import as_python, tells_rules
from nnad.autodiff.explain.numbers import number
from nnad.autodiff.table import IMPLEMENTATIONS, LATE, TABLE, Case, Primitive, Variadic
from nnad.autodiff.tensor import value_of
from nnad.autodiff.transforms import Linearization
from nnad.autodiff.trees import flatten

HEAD = """# Reference of operations

Made from the table of operations by `python scripts/make_docs.py` under NumPy {numpy}; do not edit.

What the columns hold, for an operation *y = f(x)* of one argument, or of several, x0, x1, ...:

- **VJP** (reverse mode): the cotangent of each argument, from the cotangent `g` of the result.
  Where arguments were broadcast it is summed back to their shapes; `.T` swaps the last two axes.
- **JVP** (forward mode): the tangent of the result, from the tangents `v` of the arguments.
- **No derivative at**: points where *f* has a kink, a pole or a jump, and what is returned there by
  choice. Where the column is empty, the rules hold on the whole domain.

Every rule is written with operations of this same table, so each can be differentiated again.
A composite has no rules of its own: it is made of other operations, which are named.
"""

FIRST = (
    "elementwise",
    "reduce",
    "cumulative",
    "shape",
    "joining",
    "index",
    "selection",
    "ordering",
)
COLUMNS = ("operation", "formula", "VJP", "JVP", "no derivative at")


def reference() -> str:
    """The text of docs/reference.md."""
    families = _families()
    numpy_version = ".".join(np.__version__.split(".")[:2])
    parts = [HEAD.format(numpy=numpy_version), *_contents(families)]
    for module, names in families.items():
        parts += _family(module, [TABLE[name] for name in names])
    return "\n".join(parts).rstrip("\n") + "\n"


# Families -------------------------------------------------------------------------------------


def _families() -> dict[Any, list[str]]:
    """The modules of nnad.ops, by title, with the names of the entries that each makes."""
    modules = [
        importlib.import_module(info.name)
        for info in pkgutil.iter_modules(nnad.ops.__path__, "nnad.ops.")
    ]
    first = {f"nnad.ops.{name}": i for i, name in enumerate(FIRST)}
    modules.sort(key=lambda module: first.get(module.__name__, len(first)))
    by_name = {module.__name__: module for module in modules}
    found: dict[Any, list[str]] = {module: [] for module in modules}
    for name, entry in TABLE.items():
        homes = [m for m in modules if name in getattr(m, "__all__", ())]
        homes = homes or [by_name[home] for home in _written_in(entry) if home in by_name]
        found[homes[0]].append(name)
    return {m: names for m, names in found.items() if names or _functions(m)}


def _written_in(entry: Primitive) -> Iterator[str]:
    """The modules of the functions that an entry is made of."""
    vjps = [entry.vjps.rule] if isinstance(entry.vjps, Variadic) else entry.vjps
    rules = [entry.forward, entry.joint_vjp, *vjps, *entry.derivatives]
    yield from (getattr(rule, "__module__", "") for rule in rules if callable(rule))


def _title(module: Any) -> str:
    """The first clause of the module's docstring."""
    return re.split(r"[:,]|\.  |\.$", _lead(module))[0].replace("`", "")


def _lead(module: Any) -> str:
    """The first paragraph of the module's docstring."""
    return (inspect.getdoc(module) or "").split("\n\n")[0].replace("\n", " ")


def _contents(families: dict[Any, list[str]]) -> Iterator[str]:
    yield from (f"- [{_title(m)}](#{_anchor(_title(m))})" for m in families)


def _anchor(title: str) -> str:
    kept = "".join(c for c in title.lower() if c.isalnum() or c in " -_")
    return kept.replace(" ", "-")


def _family(module: Any, entries: list[Primitive]) -> Iterator[str]:
    path = module.__name__.replace(".", "/") + ".py"
    yield f"\n## {_title(module)}\n"
    yield f"{_lead(module)} ([`{path}`](../{path}))\n"
    smooth = [e for e in entries if not (e.nondifferentiable or e.has_effect)]
    if smooth:
        yield "| " + " | ".join(COLUMNS) + " |"
        yield "| " + " | ".join("---" for _ in COLUMNS) + " |"
        yield from (_row(entry) for entry in smooth)
        yield ""
    others = [name for name in _functions(module) if not _has_entry(name)]
    if others:
        yield f"Made of these or of other operations: {_listed(others)}.\n"
    reasons: dict[str, list[str]] = {}
    for entry in entries:
        if entry.nondifferentiable or entry.has_effect:
            reasons.setdefault(entry.nondifferentiable, []).append(entry.name)
    for reason, names in reasons.items():
        yield f"Without a derivative, because {reason}: {_listed(names)}.\n"


def _functions(module: Any) -> list[str]:
    """NumPy's functions that a function of this module does the work of, by dotted name."""
    return sorted(
        _dotted(numpy_function)
        for numpy_function, ours in IMPLEMENTATIONS.items()
        if not isinstance(ours, Primitive) and ours.__module__ == module.__name__
    )


def _dotted(function: Any) -> str:
    module = getattr(function, "__module__", None) or "numpy"
    return f"{module}.{function.__name__}"


def _has_entry(dotted: str) -> bool:
    """Whether an entry of the same name shows the rules of a NumPy function."""
    return dotted.removeprefix("numpy.") in TABLE or dotted.rsplit(".", 1)[1] in TABLE


def _listed(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


# Rows -----------------------------------------------------------------------------------------


def _row(entry: Primitive) -> str:
    name = f'<a id="{entry.name}"></a>`{entry.name}`'
    also = [f"`{dotted}`" for dotted in _implemented(entry)]
    cells = ["<br>".join([name, *also]), _code(entry.formula)]
    if entry.kind == "composite":
        parts = ", ".join(f"[{part}](#{part})" for part in _parts(entry))
        cells += [f"of {parts}", "of the same"]
    else:
        cells += ["<br>".join(map(_code, _vjps(entry))), _code(_jvp(entry))]
    cells.append("<br>".join(_kinks(entry)).replace("|", "\\|"))
    return "| " + " | ".join(cells) + " |"


def _code(text: str) -> str:
    """A formula as code inside a table; words as they are."""
    return f"`{text}`".replace("|", "\\|") if text else ""


def _implemented(entry: Primitive) -> list[str]:
    """Functions of NumPy and SciPy that lead to this entry, under other names than its own."""
    found = [_dotted(f) for f, ours in IMPLEMENTATIONS.items() if ours is entry]
    found += [name for name, ours in LATE.items() if ours is entry]
    found += [
        _dotted(f)
        for f, ours in IMPLEMENTATIONS.items()
        if not isinstance(ours, Primitive) and f.__name__ == entry.name
    ]
    return sorted(set(found))


def _vjps(entry: Primitive) -> list[str]:
    """The cotangent of each argument; one text for all of an operation whose rules are joint."""
    given = list(entry.partials)
    texts = given if tells_rules(entry) else [text and times("g", text) for text in given]
    if len(texts) <= 1:
        return texts
    return [f"x{i}: {text}" for i, text in enumerate(texts) if text]


def times(factor: str, text: str) -> str:
    """A derivative as the rule that uses it."""
    if text == "unknown":
        return "not known: raises an error"
    if text in ("0", "1"):
        return factor if text == "1" else "0"
    try:
        node = ast.parse(as_python(text), mode="eval").body
    except SyntaxError:
        return f"{factor} * ({text})"
    product = isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Mult, ast.Div, ast.Pow))
    if text[0] == "-" and (product or isinstance(node, ast.UnaryOp)):
        return f"-{times(factor, text[1:])}"
    if text.startswith("1 / ") and product:
        return f"{factor} / {text[4:]}"
    whole = isinstance(node, (ast.Name, ast.Constant, ast.Call, ast.Subscript, ast.Attribute))
    return f"{factor} * {text if whole or product else f'({text})'}"


def _jvp(entry: Primitive) -> str:
    if entry.tangent:
        return entry.tangent
    arity = max(len(entry.partials), len(entry.differentiable))
    moving = [i for i in range(arity) if i >= len(entry.differentiable) or entry.differentiable[i]]
    xs = ["x"] if arity <= 1 else [f"x{i}" for i in range(arity)]
    vs = [x.replace("x", "v") for x in xs]
    if entry.kind in ("linear", "multilinear"):
        calls = [", ".join([*xs[:i], vs[i], *xs[i + 1 :]]) for i in moving]
        return " + ".join(f"{entry.name}({call})" for call in calls)
    if entry.kind == "elementwise":
        known = [i for i in moving if i < len(entry.partials) and entry.partials[i] != "unknown"]
        return " + ".join(times(vs[i], entry.partials[i]) for i in known).replace("+ -", "- ")
    if getattr(entry.jvp, "__module__", "") == "nnad.ops.reference":
        return "that of the formula, operation by operation"
    return "the VJP, transposed" if entry.jvp is None else "a rule of its own"


def _kinks(entry: Primitive) -> Iterator[str]:
    for kink in entry.kinks:
        at = ", ".join([*map(_short, kink.args), *(f"{k}={v}" for k, v in kink.kwargs.items())])
        given = ", ".join(map(_short, kink.grads))
        yield f"{at}: returns {given} ({kink.why})"


def _short(x: Any) -> str:
    if x is None:
        return "none"
    x = np.asarray(x)
    return number(x[()]) if x.ndim == 0 else str(x.tolist())


def _parts(entry: Primitive) -> list[str]:
    """The operations that a composite is made of, as its samples run."""
    assert entry.samples is not None
    found: set[str] = set()
    for case in entry.samples(np.random.default_rng(0)):
        found |= _recorded(_own(entry.forward), case)
    return sorted(found)


def _recorded(function: Callable[..., Any], case: Case) -> set[str]:
    """The names of the operations that one call records."""
    leaves, rebuild = flatten(case.args)
    places = [i for i, x in enumerate(leaves) if np.asarray(value_of(x)).dtype.kind in "fc"]

    def call(*xs: Any) -> Any:
        filled = list(leaves)
        for i, x in zip(places, xs, strict=True):
            filled[i] = x
        return function(*rebuild(filled), **case.kwargs)

    lin = Linearization(call, [leaves[i] for i in places], range(len(places)), "reference")
    return {node.primitive.name for node in lin.graph.nodes if node.primitive is not None}


def _own(function: Callable[..., Any]) -> Callable[..., Any]:
    """What does the work of a NumPy function on Tensors, the function itself if it is ours."""
    ours = IMPLEMENTATIONS.get(function, function)
    return ours.forward if isinstance(ours, Primitive) else ours
