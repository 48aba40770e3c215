"""A page that stands alone: the picture and the tables, stepped through forwards, then backwards.

The page holds everything it needs.  Without scripts it shows the whole computation at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from html import escape

from nnad.autodiff.explain.assets import asset
from nnad.autodiff.explain.numbers import value
from nnad.autodiff.explain.svg import picture
from nnad.autodiff.explain.tables import (
    FORWARD,
    REVERSE,
    TANGENT,
    describe,
    forward_rows,
    result,
    reverse_rows,
    summed,
    tangent_rows,
    tangent_terms,
)
from nnad.autodiff.explain.trace import DRAWN, Step, Trace
from nnad.charts import document


def page(trace: Trace) -> str:
    """The whole document."""
    events = list(_events(trace))
    body = f"""<header>
<h1>{escape(trace.title)}</h1>
<p class="result">{_result(trace)}</p>
</header>
<div class="stepper" hidden>
<div class="controls">
<button type="button" data-move="first" aria-label="First step">|◀</button>
<button type="button" data-move="back" aria-label="Step back">◀</button>
<button type="button" data-move="on" class="main">Next step ▶</button>
<button type="button" data-move="last" aria-label="Last step">▶|</button>
<input type="range" min="0" max="{len(events) - 1}" value="0" aria-label="Step">
<output></output>
</div>
</div>
<ol class="events" aria-live="polite">
{"".join(events)}</ol>
<main>
<figure tabindex="0" role="group" aria-label="Graph">
{picture(trace)}</figure>
<div class="tables">
{_tables(trace)}</div>
</main>"""
    title = f"{trace.title}, step by step"
    return document(title, body, asset("page.css"), script=asset("page.js"))


def fragment(trace: Trace) -> str:
    """What a notebook shows: the picture (of a trace that is not too long) and the tables."""
    drawing = picture(trace) if len(trace.steps) <= DRAWN else ""
    opened = "" if drawing else " open"
    return (
        f'<div class="nnad-trace"><style>{asset("tables.css")}</style>{drawing}'
        f"<details{opened}><summary>{escape(trace.title)}: {len(trace.operations)} operations, "
        f"row by row</summary>{_tables(trace)}</details></div>"
    )


def _result(trace: Trace) -> str:
    """The value and the derivatives, a line each."""
    return "<br>".join(escape(line.strip()) for line in result(trace).splitlines()[1:])


# Tables ---------------------------------------------------------------------------------------


def _tables(trace: Trace) -> str:
    back = list(trace.backward())
    parts = [_table(trace, "Forward: values", "forward", FORWARD, trace.steps, forward_rows)]
    if trace.has_tangents:
        moving = [step for step in trace.steps if step.tangent is not None]
        title = "Forward mode: tangents"
        parts.append(_table(trace, title, "tangent", TANGENT, moving, tangent_rows))
    parts.append(_table(trace, "Backward: adjoints", "reverse", REVERSE, back, reverse_rows))
    return "".join(parts)


def _table(
    trace: Trace,
    caption: str,
    css: str,
    head: Sequence[str],
    steps: Sequence[Step],
    rows_of: Callable[[Sequence[Step]], Iterable[list[str]]],
) -> str:
    """One table with a row per step; its further lines are lines of its cells."""
    rows = []
    for step in steps:
        lines = [[*row, *[""] * (len(head) - len(row))] for row in rows_of([step])]
        columns = zip(*lines, strict=True)
        rows.append(["<br>".join(escape(x.strip()) for x in column if x) for column in columns])
    kept = [j for j in range(1, len(head)) if any(row[j] for row in rows)]
    body = ""
    for step, row in zip(steps, rows, strict=True):
        cells = "".join(f'<td data-column="{head[j]}">{row[j]}</td>' for j in kept)
        number = trace.steps.index(step)
        body += f'<tr data-step="{number}"><th scope="row">{row[0]}</th>{cells}</tr>\n'
    heads = "".join(f'<th scope="col" data-column="{head[j]}">{head[j]}</th>' for j in [0, *kept])
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{caption}">'
        f'<table class="{css}"><caption>{caption}</caption><thead><tr>{heads}</tr></thead>\n'
        f"<tbody>{body}</tbody></table></div>\n"
    )


# Events ---------------------------------------------------------------------------------------


def _events(trace: Trace) -> Iterator[str]:
    """A list item per event: each value from the inputs on, then each adjoint from the result."""
    numbers = {step: i for i, step in enumerate(trace.steps)}
    for step in trace.steps:
        yield _event("forward", numbers[step], _forward_lines(step))
    for step in trace.backward():
        yield _event("reverse", numbers[step], _reverse_lines(step))


def _event(phase: str, number: int, lines: Iterable[str]) -> str:
    first, *others = lines
    body = "".join(f"<p>{escape(line)}</p>" for line in others)
    return (
        f'<li data-phase="{phase}" data-step="{number}">'
        f"<p><strong>{escape(first)}</strong></p>{body}</li>\n"
    )


def _forward_lines(step: Step) -> Iterator[str]:
    if step.kind != "operation":
        what = "An input" if step.kind == "input" else "A constant"
        yield f"{step.name} = {value(step.value)}"
        yield f"{what} of the function." + (
            f" Its tangent, in forward mode, is given: {step.dot} = {value(step.tangent)}."
            if step.tangent is not None
            else ""
        )
        return
    between = [step.in_numbers] if step.in_numbers not in ("", step.formula) else []
    yield " = ".join([step.name, step.formula, *between, value(step.value)])
    if step.note:
        yield f"⚠ {step.note}"
    yield from (f"Local derivative: {describe(partial)}" for partial in step.partials)
    if step.tangent is not None:
        rules = summed([rule for rule, _, _ in tangent_terms(step)])
        yield f"Tangent, in forward mode: {step.dot} = {rules} = {value(step.tangent)}"


def _reverse_lines(step: Step) -> Iterator[str]:
    terms = step.terms()
    if step.seed is not None and len(terms) == 1:
        yield f"{step.bar} = {value(step.adjoint)}"
        yield "The result itself: here the backward pass starts."
        return
    if len(terms) == 1:
        rule, in_numbers, _ = terms[0]
        between = [in_numbers] if in_numbers else []
        yield " = ".join([step.bar, rule, *between, value(step.adjoint)])
        yield f"{step.name} is used once: in {step.uses[0].operation.name}."
        return
    yield f"{step.bar} = {summed([rule for rule, _, _ in terms])} = {value(step.adjoint)}"
    if not terms:
        yield "The result does not depend on it."
        return
    yield f"{step.name} is used {len(step.uses)} times; what comes back along each use adds up:"
    for rule, in_numbers, part in terms:
        yield " = ".join(filter(None, [rule, in_numbers, value(part)]))
