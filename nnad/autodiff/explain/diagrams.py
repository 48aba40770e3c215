"""The graph of a trace in the languages of other tools: Graphviz's DOT, and Mermaid."""

from __future__ import annotations

from nnad.autodiff.explain.svg import box_lines, label_text
from nnad.autodiff.explain.trace import Step, Trace


def dot(trace: Trace) -> str:
    """The graph in Graphviz's language, for `dot -Tsvg`."""
    ids = _ids(trace)
    lines = ["digraph {", "  rankdir=TB", '  node [shape=box, fontname="monospace"]']
    lines.append('  edge [fontname="monospace", fontsize=10]')
    for step in trace.steps:
        style = ' style="rounded"' if step.kind != "operation" else ""
        style = ' style="bold"' if step in trace.outputs else style
        label = "\\n".join(_quoted(text) for _, text in box_lines(step))
        lines.append(f'  {ids[step]} [label="{label}"{style}]')
    for step in trace.steps:
        for partial in step.partials:
            label = _quoted(label_text(partial))
            lines.append(f'  {ids[partial.step]} -> {ids[step]} [label="{label}"]')
        lines += [f"  {ids[c]} -> {ids[step]} [style=dashed]" for c in _constants(step)]
    return "\n".join([*lines, "}"])


def mermaid(trace: Trace) -> str:
    """The graph in Mermaid's language, for a fenced block ```mermaid in Markdown."""
    ids = _ids(trace)
    lines = ["flowchart TB"]
    for step in trace.steps:
        left, right = ("[", "]") if step.kind == "operation" else ("(", ")")
        label = "<br>".join(_entities(text) for _, text in box_lines(step))
        lines.append(f'  {ids[step]}{left}"{label}"{right}')
    for step in trace.steps:
        for partial in step.partials:
            label = _entities(label_text(partial))
            lines.append(f'  {ids[partial.step]} -->|"{label}"| {ids[step]}')
        lines += [f"  {ids[c]} -.-> {ids[step]}" for c in _constants(step)]
    if trace.outputs:
        lines.append(f"  style {ids[trace.outputs[0]]} stroke-width:3px")
    return "\n".join(lines)


def _ids(trace: Trace) -> dict[Step, str]:
    return {step: f"n{i}" for i, step in enumerate(trace.steps)}


def _constants(step: Step) -> list[Step]:
    """The constant arrays that go into a step, each once."""
    return list(dict.fromkeys(x.constant for x in step.operands if x.constant))


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _entities(text: str) -> str:
    """Letters that mean something to Mermaid or to HTML, as its numbered entities."""
    return "".join(f"#{ord(c)};" if c in '#"<>&|`\\' else c for c in text)
