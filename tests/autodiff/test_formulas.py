"""The formula texts of the table, where they are expressions, against what entries compute."""

import dataclasses
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import nnad.ops  # noqa: F401  (fills the table)
from nnad.autodiff.explain.expression import Formula
from nnad.autodiff.explain.formulas import as_python, defaults, tells_rules
from nnad.autodiff.table import TABLE, Primitive
from nnad.errors import UserError

# Their texts leave metadata out, or name it by other letters than the call does.
SHORTENED = {"rfft", "irfft", "scatter", "conv", "conv_input", "conv_weight"}

ENTRIES = [
    name
    for name, entry in TABLE.items()
    if not (entry.nondifferentiable or entry.has_effect or entry.kind == "composite")
    and name not in SHORTENED
]


def read(text: str, names: dict, entry: Primitive) -> Formula | None:
    """The text as a formula in `names`; None where it is told in words."""
    text = re.sub(r"\bf\(", f"{entry.name}(", as_python(text))
    text = re.sub(r"(\w+)\.T\b", r"matrix_transpose(\1)", text)
    try:
        formula = Formula(text, given=names)
    except UserError:
        return None
    return formula if set(formula.variables) <= set(names) else None


def texts(
    entry: Primitive, rng: np.random.Generator
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """(text, what it says, what the entry computes) of every text that is an expression."""
    case = next(iter(entry.samples(rng)))
    args = [x if x is None else np.asarray(x) for x in case.args]
    kwargs = dict(case.kwargs)
    out = entry.forward(*args, **kwargs)
    if entry.residuals:
        out, kwargs["saved"] = out
    if isinstance(out, tuple):
        return
    names = {**defaults(entry), **case.kwargs, "y": out}
    names |= {f"x{i}": x for i, x in enumerate(args)} | {"x": args[0]}
    names["g"] = g = rng.normal(size=np.shape(out))
    said = read(entry.formula, names, entry)
    if said:
        yield entry.formula, said(*map(names.get, said.variables)), out
    for i, text in enumerate(entry.partials):
        said = read(text, names, entry)
        if said and (entry.kind == "elementwise" or tells_rules(entry)):
            factor = 1 if tells_rules(entry) else g
            computed = cotangent(entry, i, g, out, args, kwargs)
            yield text, factor * said(*map(names.get, said.variables)), computed
    moving = [*entry.differentiable, *[True] * len(args)]
    tangents = [
        rng.normal(size=x.shape) if x is not None and moves else None
        for x, moves in zip(args, moving, strict=False)
    ]
    names |= {f"v{i}": v for i, v in enumerate(tangents)} | {"v": tangents[0]}
    said = read(entry.tangent, names, entry) if entry.tangent else None
    if said:
        computed = entry.jvp(tangents, out, *args, **kwargs)
        yield entry.tangent, said(*map(names.get, said.variables)), computed


def cotangent(entry, i, g, out, args, kwargs):
    if entry.joint_vjp:
        return entry.joint_vjp(g, out, *args, **kwargs)[i]
    rule = entry.vjps[i]
    return 0 * g if rule is None else rule(g, out, *args, **kwargs)


def wrong_texts(entry: Primitive, rng: np.random.Generator) -> list[str]:
    with np.errstate(all="ignore"):
        return [text for text, said, computed in texts(entry, rng) if not same(said, computed)]


def same(said: Any, computed: Any) -> bool:
    try:
        said = np.broadcast_to(said, np.shape(computed))
    except ValueError:
        return False
    return np.allclose(said, computed, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ENTRIES)
def test_formulas_say_what_is_computed(name, rng):
    assert wrong_texts(TABLE[name], rng) == []


def test_most_formulas_are_expressions(rng):
    with np.errstate(all="ignore"):
        read_as_such = {name for name in ENTRIES if list(texts(TABLE[name], rng))}
    assert {"exp", "divide", "power", "matmul", "softmax", "huber_error", "jv"} <= read_as_such
    assert len(read_as_such) > len(ENTRIES) / 2


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("exp", {"partials": ("1.001 * y",)}),
        ("divide", {"partials": ("1 / x1", "y / x1")}),
        ("tanh", {"formula": "sinh(x)"}),
        ("matmul", {"partials": ("g @ x1.T", "g.T @ x0")}),
        ("inv", {"tangent": "y @ v @ y"}),
    ],
)
def test_a_wrong_formula_is_seen(name, change, rng):
    assert wrong_texts(dataclasses.replace(TABLE[name], **change), rng)
