"""A trace as plain text: a row per operation, then the adjoints in the order they are computed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from nnad.autodiff.explain.numbers import cut, exact, pad, product, value, width
from nnad.autodiff.explain.trace import Partial, Step, Trace
from nnad.errors import ExplainError

WIDEST = 44  # columns that one cell may take
ROWS = 60  # of a part that are shown; of a longer one the first and last ones
FORWARD = ("step", "operation", "in numbers", "value", "local derivatives", "adjoint")
TANGENT = ("tangent", "is the sum over its inputs", "in numbers", "value")
REVERSE = ("adjoint", "is the sum over its uses", "in numbers", "value")


def table(trace: Trace, order: str) -> str:
    """The text of `Trace.table`."""
    parts = {
        "forward": ("Forward: values, from the inputs to the result", FORWARD, forward_rows),
        "tangent": ("Forward mode: tangents, along with the values", TANGENT, tangent_rows),
        "reverse": ("Backward: adjoints, from the result to the inputs", REVERSE, reverse_rows),
    }
    if order != "all" and order not in parts:
        raise ExplainError(f'table: order is "all", {", ".join(map(repr, parts))}, got {order!r}')
    if order == "tangent" and not trace.has_tangents:
        raise ExplainError(
            "table: no tangents were carried; write explain(f, x, tangents=(v,)), one per argument"
        )
    if order != "all":
        parts = {order: parts[order]}
    elif not trace.has_tangents:
        del parts["tangent"]
    steps = {"forward": trace.steps, "tangent": trace.steps, "reverse": list(trace.backward())}
    texts = [
        f"{heading}\n{aligned(head, rows(_abridged(steps[name])))}"
        for name, (heading, head, rows) in parts.items()
    ]
    return "\n\n".join([trace.title, *texts, result(trace)] if order == "all" else texts)


def result(trace: Trace) -> str:
    """The value and the derivatives to the last digit, and what is remarkable at this point."""
    lines = [f"  {trace.title} = {exact(trace.value)}"]
    if isinstance(trace.value, (tuple, list, dict)):
        lines = [f"  {step.name} = {exact(step.value)}" for step in trace.outputs]
    lines += [f"  {step.bar} = {exact(step.adjoint)}" for step in trace.inputs]
    if trace.has_tangents:
        lines += [f"  {step.dot} = {exact(step.tangent)}" for step in trace.outputs]
    return "\n".join(["Result", *lines, *(f"  ! {line}" for line in trace.notes)])


def forward_rows(steps: Iterable[Step | None]) -> Iterable[list[str]]:
    """A row per step (None: what is left out), a further line for each further derivative."""
    for step in steps:
        if step is None:
            yield ["…"]
            continue
        partials = [describe(partial) for partial in step.partials] or [""]
        formula = step.formula or step.kind
        in_numbers = step.in_numbers if step.in_numbers != step.formula else ""
        adjoint = f"{step.bar} = {value(step.adjoint)}" if step.adjoint is not None else ""
        mark = " !" if step.note else ""
        yield [step.name, formula, in_numbers, value(step.value) + mark, partials[0], adjoint]
        yield from (["", "", "", "", partial] for partial in partials[1:])


def reverse_rows(steps: Iterable[Step | None]) -> Iterable[list[str]]:
    """A row per adjoint."""
    for step in steps:
        yield from _sum_rows(step.bar, step.terms(), step.adjoint) if step else [["…"]]


def tangent_rows(steps: Iterable[Step | None]) -> Iterable[list[str]]:
    """A row per tangent."""
    for step in steps:
        if step is None:
            yield ["…"]
        elif step.kind == "input":
            yield [step.dot, "given", "", value(step.tangent)]
        elif step.kind == "operation":
            yield from _sum_rows(step.dot, tangent_terms(step), step.tangent)


def tangent_terms(step: Step) -> list[tuple[str, str, Any]]:
    """The tangent as the sum over the inputs of the operation: (in names, in numbers, value)."""
    return [
        (partial.tangent_rule, product(partial.value, partial.step.tangent), partial.tangent)
        for partial in step.partials
    ]


def _sum_rows(name: str, terms: Sequence[tuple[str, str, Any]], total: Any) -> Iterable[list[str]]:
    """A sum on one line, or with a line for each term where it is long."""
    rules = summed([rule for rule, _, _ in terms])
    parts = [value(part) for _, _, part in terms]
    if len(terms) == 1:
        in_numbers = terms[0][1]
    else:
        in_numbers = " + ".join(f"({p})" if i and p[0] == "-" else p for i, p in enumerate(parts))
    if len(terms) < 2 or max(width(rules), width(in_numbers)) <= WIDEST:
        yield [name, rules, "" if in_numbers == value(total) else in_numbers, value(total)]
        return
    for i, ((rule, numbers, _), part) in enumerate(zip(terms, parts, strict=True)):
        sign = "+ " if i else "  "
        left, dot, right = numbers.partition(" · ")
        shown = f"({left}){dot}{right}" if i and left.startswith("-") else numbers
        shown = f"{shown} = {part}" if shown else part
        first = [name, sign + rule, sign + shown, value(total)]
        yield first if i == 0 else ["", *first[1:3]]


def summed(rules: Sequence[str]) -> str:
    """Rules as a sum; what could be misread beside a + gets parentheses.

    >>> summed(["v̄2 if c1 else 0", "v̄1 · ∂₁v1"]), summed([])
    ('(v̄2 if c1 else 0) + v̄1 · ∂₁v1', '0')
    """
    if len(rules) > 1:
        rules = [f"({rule})" if " if " in rule else rule for rule in rules]
    return " + ".join(rules) or "0"


def describe(partial: Partial) -> str:
    """A local derivative: its name, its formula and its value.

    >>> from nnad.autodiff.explain.build import explain
    >>> import numpy as np
    >>> describe(explain(np.exp, 0.0).steps[1].partials[0])
    '∂v1/∂x = v1 = 1'
    """
    number = "" if partial.value is None else value(partial.value)
    formula = partial.formula
    if not formula and not number:
        return f"{partial.step.bar} gets {partial.rule}"
    if number == formula or re.fullmatch(r"-?[\d.]+", formula):
        number = ""
    return " = ".join(filter(None, [partial.name, formula, number]))


def _abridged(steps: Sequence[Step]) -> list[Step | None]:
    if len(steps) <= ROWS:
        return list(steps)
    return [*steps[: ROWS // 2], None, *steps[-ROWS // 2 :]]


def aligned(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns of text under their headings; columns without content are left out.

    >>> print(aligned(["a", "b", "c"], [["x", "", "1"], ["long", "", "2"]]))
      a     c
      x     1
      long  2
    """
    cells = [[cut(cell, WIDEST) for cell in row] for row in rows]
    cells = [[*row, *[""] * (len(head) - len(row))] for row in cells]
    kept = [j for j in range(len(head)) if any(row[j] for row in cells)]
    lines = [[row[j] for j in kept] for row in [list(head), *cells]]
    widths = [max(width(line[j]) for line in lines) for j in range(len(kept))]
    return "\n".join(
        ("  " + "  ".join(pad(x, n) for x, n in zip(line, widths, strict=True))).rstrip()
        for line in lines
    )
