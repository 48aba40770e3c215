"""The picture of a trace: a box per step with its value and adjoint, an arrow per derivative.

The SVG needs nothing else to be shown, fits itself to the width it is given, and has colours for
light and dark surroundings.
"""

from __future__ import annotations

from html import escape

from nnad.autodiff.explain.assets import asset
from nnad.autodiff.explain.layout import Arrow, Item, lay_out
from nnad.autodiff.explain.numbers import cut, is_scalar, value, width
from nnad.autodiff.explain.trace import Partial, Step, Trace

LETTER = 7.83  # width of one letter of the monospaced font at 13 pixels
LABEL_LETTER = 6.63  # at 11 pixels
LINE = 18.0
PAD_X, PAD_Y = 12.0, 8.0
MARGIN = 14.0
BOX_LETTERS = 38
LABEL_LETTERS = 28
HEAD = 7.0  # of an arrow


def picture(trace: Trace) -> str:
    """The graph of a trace as an SVG document."""
    boxes, arrows = _graph(trace)
    across, down = lay_out(list(boxes.values()), [arrow for arrow, _ in arrows])
    across, down = across + 2 * MARGIN, down + 2 * MARGIN
    for item in [*boxes.values(), *(item for arrow, _ in arrows for item in arrow.path[1:-1])]:
        item.x += MARGIN
        item.y += MARGIN
    ids = {box: i for i, box in enumerate(boxes.values())}
    parts = []
    for arrow, partial in arrows:
        ends = f'data-from="{ids[arrow.source]}" data-to="{ids[arrow.target]}"'
        parts.append(f'<g class="link" {ends}>{_arrow(arrow, partial)}{_label(arrow, partial)}</g>')
    outputs = set(trace.outputs)
    parts += [_box(box, i, box.key in outputs) for box, i in ids.items()]
    title = f"Graph of {trace.title}"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" class="nnad-graph" role="img" '
            f'aria-label="{escape(title)}" viewBox="0 0 {across:.0f} {down:.0f}" '
            f'width="{across:.0f}" height="{down:.0f}" '
            f'style="max-width: 100%; height: auto">',
            f"<title>{escape(title)}</title>",
            f"<desc>{escape(_description(trace))}</desc>",
            f"<style>{asset('graph.css')}</style>",
            f'<rect class="page" width="{across:.0f}" height="{down:.0f}" rx="10"/>',
            *parts,
            "</svg>",
            "",
        ]
    )


def _description(trace: Trace) -> str:
    """The graph in a sentence a step, for those who do not see it."""
    sentences = []
    for step in trace.steps:
        how = f" = {step.formula}" if step.formula else f", {step.kind},"
        adjoint = "" if step.adjoint is None else f", adjoint {value(step.adjoint)}"
        sentences.append(f"{step.name}{how} = {value(step.value)}{adjoint}.")
    return " ".join(sentences)


def box_lines(step: Step) -> list[tuple[str, str]]:
    """(class, text) of the lines in the box of a step."""
    head = f"{step.name} = {step.formula}" if step.formula else step.name
    mark = "  ⚠" if step.note else ""
    lines = [("name", head), ("value", value(step.value) + mark)]
    if step.tangent is not None:
        lines.append(("tangent", f"{step.dot} = {value(step.tangent)}"))
    if step.adjoint is not None:
        lines.append(("adjoint", f"{step.bar} = {value(step.adjoint)}"))
    return [(kind, cut(text, BOX_LETTERS)) for kind, text in lines]


def label_text(partial: Partial) -> str:
    """What stands on an arrow: the local derivative, or the rule where that is no single array."""
    if partial.value is None:
        return cut(partial.formula or partial.rule, LABEL_LETTERS)
    plain = is_scalar(partial.value) or not partial.formula
    text = value(partial.value) if plain else partial.formula
    return cut(f"{partial.name} = {text}", LABEL_LETTERS)


def _graph(trace: Trace) -> tuple[dict[int, Item], list[tuple[Arrow, Partial | None]]]:
    """Boxes and arrows, not yet placed."""
    boxes: dict[int, Item] = {}
    arrows: list[tuple[Arrow, Partial | None]] = []
    for step in trace.steps:
        lines = box_lines(step)
        across = max(width(text) for _, text in lines) * LETTER + 2 * PAD_X
        boxes[id(step)] = box = Item(step, across, len(lines) * LINE + 2 * PAD_Y)
        for partial in step.partials:
            label = Item(partial, width(label_text(partial)) * LABEL_LETTER + 12, 20.0)
            arrows.append((Arrow(boxes[id(partial.step)], box, label), partial))
        constants = {id(x.constant): x.constant for x in step.operands if x.constant}
        arrows += [
            (Arrow(boxes[key], box, Item(None, 2.0, 0.0, passing=True)), None) for key in constants
        ]
    return boxes, arrows


def _box(box: Item, number: int, is_output: bool) -> str:
    step = box.key
    assert isinstance(step, Step)
    left, top = box.x - box.width / 2, box.y - box.height / 2
    kind = f"step {step.kind}{' output' if is_output else ''}"
    radius = 5 if step.kind == "operation" else box.height / 3
    texts = "".join(
        f'<text class="{css}" x="{box.x:.1f}" y="{top + PAD_Y + LINE * (i + 0.73):.1f}">'
        f"{escape(text)}</text>"
        for i, (css, text) in enumerate(box_lines(step))
    )
    full = f"{step.name} = {step.formula or step.kind} = {value(step.value)}"
    return (
        f'<g class="{kind}" data-step="{number}"><title>{escape(full)}</title>'
        f'<rect x="{left:.1f}" y="{top:.1f}" width="{box.width:.1f}" height="{box.height:.1f}" '
        f'rx="{radius:.1f}"/>{texts}</g>'
    )


def _label(arrow: Arrow, partial: Partial | None) -> str:
    if partial is None:
        return ""
    label = arrow.label
    left, top = label.x - label.width / 2, label.y - label.height / 2
    return (
        f'<g class="label"><title>{escape(_full(partial))}</title>'
        f'<rect x="{left:.1f}" y="{top:.1f}" width="{label.width:.1f}" '
        f'height="{label.height:.1f}" rx="9"/><text x="{label.x:.1f}" y="{label.y + 4:.1f}">'
        f"{escape(label_text(partial))}</text></g>"
    )


def _full(partial: Partial) -> str:
    from nnad.autodiff.explain.tables import describe

    return f"{describe(partial)}; {partial.step.bar} gets {partial.rule}"


def _arrow(arrow: Arrow, partial: Partial | None) -> str:
    """A smooth line through the places of the arrow, straight down past each layer."""
    x, y = arrow.source.x, arrow.source.y + arrow.source.height / 2
    path = f"M{x:.1f},{y:.1f}"
    for item in arrow.path[1:]:
        top = item.y - item.height / 2
        if item is arrow.target:
            top -= HEAD
        bend = (top - y) / 2
        path += f"C{x:.1f},{y + bend:.1f} {item.x:.1f},{top - bend:.1f} {item.x:.1f},{top:.1f}"
        x, y = item.x, item.y + item.height / 2
        if item is not arrow.target:
            path += f"V{y:.1f}"
    tip = arrow.target.y - arrow.target.height / 2
    head = f"{x:.1f},{tip:.1f} {x - 4:.1f},{tip - HEAD - 1:.1f} {x + 4:.1f},{tip - HEAD - 1:.1f}"
    css = "arrow" if partial else "arrow constant"
    return f'<g class="{css}"><path d="{path}"/><polygon points="{head}"/></g>'
