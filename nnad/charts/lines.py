"""Curves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import Any

import numpy as np

from nnad.charts.frame import BOTTOM, LEFT, RIGHT, TOP, axes, colour, sheet
from nnad.charts.scales import Scale, fitted, text

__all__ = ["Line", "line_chart"]

MOST_POINTS = 300  # of a curve: more could not be told apart
POINTED_AT = 100  # a curve of so many points tells each of them to the mouse


@dataclass(frozen=True)
class Line:
    """A curve.

    Attributes:
        name: what the legend calls it.
        x, y: its points in order of x; where y is not finite the curve has a gap.
        dashed: draw it so: for what is there to compare with.
        number: of its colour; by default its place among the lines.
    """

    name: str
    x: Any
    y: Any
    dashed: bool = False
    number: int | None = None


def line_chart(
    label: str,
    lines: Sequence[Line],
    *,
    x_label: str = "",
    y_label: str = "",
    x_range: tuple[float, float] | None = None,
    y_range: tuple[float, float] | None = None,
    log: bool = False,
    band: tuple[float, float] | None = None,
    mark: tuple[float, str] | None = None,
) -> str:
    """Curves over a common axis.

    Args:
        label: what the chart shows.
        lines: the curves.
        x_label, y_label: what the axes count.
        x_range, y_range: ends of the axes; by default the data's.
        log: logarithmic y.
        band: values of y between which the background is shaded.
        mark: a value of x with a line across and the text that says why.
    """
    x = _axis(x_range, [line.x for line in lines], LEFT, RIGHT, False, 0.0)
    x = replace(
        x, whole=all(np.equal(np.mod(line.x, 1), 0).all() for line in lines) and not x_range
    )
    y = _axis(y_range, [line.y for line in lines], BOTTOM, TOP, log, 0.05)
    parts = [_band(y, band) if band else "", axes(x, y, x_label, y_label)]
    if mark:
        parts.append(_mark(x, *mark))
    for i, line in enumerate(lines):
        parts.append(_curve(line, i if line.number is None else line.number, x, y))
    return sheet(label, *parts)


def _axis(
    ends: tuple[float, float] | None,
    data: Sequence[Any],
    a: float,
    b: float,
    log: bool,
    room: float,
) -> Scale:
    return Scale(*ends, a, b, log) if ends else fitted(data, a, b, log, room)


def _curve(line: Line, number: int, x: Scale, y: Scale) -> str:
    across, up = (np.asarray(values, np.float64) for values in (line.x, line.y))
    shown = np.isfinite(up) & (up > 0 if y.log else True)
    pieces = np.split(np.flatnonzero(shown), np.flatnonzero(np.diff(np.flatnonzero(shown)) > 1) + 1)
    path = "".join(_path(*_thinned(x(across[rows]), y(up[rows]))) for rows in pieces if len(rows))
    css = f"line {colour(number)}{' dashed' if line.dashed else ''}"
    css += " lone" if shown.sum() == 1 else ""
    title = f"<title>{escape(line.name)}</title>"
    dots = ""
    if shown.sum() <= POINTED_AT and not line.dashed:
        dots = "".join(
            f'<circle class="dot {colour(number)}" cx="{float(x(a)):.1f}" cy="{float(y(b)):.1f}" '
            f'r="5"><title>{escape(line.name)}, {text(a)}: {text(b)}</title></circle>'
            for a, b in zip(across[shown], up[shown], strict=True)
        )
    return f'<g><path class="{css}" d="{path}">{title}</path>{dots}</g>'


def _path(across: np.ndarray, up: np.ndarray) -> str:
    points = [f"{a:.1f},{b:.1f}" for a, b in zip(across, up, strict=True)]
    return f"M{points[0]}h0.01" if len(points) == 1 else "M" + "L".join(points)


def _thinned(across: np.ndarray, up: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of a long curve the first, lowest and highest point of each short piece."""
    if len(across) <= MOST_POINTS:
        return across, up
    kept = {0, len(across) - 1}
    for rows in np.array_split(np.arange(len(across)), MOST_POINTS // 2):
        kept |= {int(rows[up[rows].argmin()]), int(rows[up[rows].argmax()])}
    index = np.array(sorted(kept))
    return across[index], up[index]


def _band(y: Scale, band: tuple[float, float]) -> str:
    bottom, top = (float(place) for place in y(band))
    return (
        f'<rect class="band" x="{LEFT:g}" y="{top:.1f}" width="{RIGHT - LEFT:g}" '
        f'height="{bottom - top:.1f}"/>'
    )


def _mark(x: Scale, value: float, why: str) -> str:
    at = float(x(value))
    left = at > (LEFT + RIGHT) / 2
    anchor = "end" if left else "start"
    return (
        f'<path class="mark" d="M{at:.1f},{TOP:g}V{BOTTOM:g}"/>'
        f'<text class="tick" x="{at + (-5 if left else 5):.1f}" y="{TOP - 5:g}" '
        f'text-anchor="{anchor}">{escape(why)}</text>'
    )
