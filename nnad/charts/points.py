"""Clouds of points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np

from nnad.charts.frame import BOTTOM, LEFT, RIGHT, TOP, axes, colour, sheet
from nnad.charts.scales import fitted

__all__ = ["Points", "point_chart"]

MOST_POINTS = 1000  # in a chart: the page stays small


@dataclass(frozen=True)
class Points:
    """A cloud: its name, its coordinates, and if wanted what each point is called."""

    name: str
    x: Any
    y: Any
    titles: Sequence[str] = ()


def point_chart(
    label: str,
    clouds: Sequence[Points],
    *,
    x_label: str = "",
    y_label: str = "",
    log_x: bool = False,
    diagonal: bool = False,
    level: float | None = None,
) -> str:
    """Points; of very many, an even choice.

    Args:
        label: what the chart shows.
        clouds: the points, each cloud in its colour.
        x_label, y_label: what the axes count.
        log_x: logarithmic x.
        diagonal: equal axes, and the line on which both coordinates are the same.
        level: a value of y with a line across.
    """
    xs, ys = [c.x for c in clouds], [c.y for c in clouds]
    x = fitted([*xs, *ys] if diagonal else xs, LEFT, RIGHT, log_x, 0.04)
    y = fitted(
        [*xs, *ys] if diagonal else [*ys, [] if level is None else level], BOTTOM, TOP, margin=0.04
    )
    parts = [axes(x, y, x_label, y_label)]
    if diagonal:
        parts.append(f'<path class="mark" d="M{LEFT:g},{BOTTOM:g}L{RIGHT:g},{TOP:g}"/>')
    if level is not None:
        parts.append(f'<path class="mark" d="M{LEFT:g},{float(y(level)):.1f}H{RIGHT:g}"/>')
    every = max(1, -(-sum(map(len, xs)) // MOST_POINTS))
    for i, cloud in enumerate(clouds):
        across, up = (np.asarray(v, np.float64)[::every] for v in (cloud.x, cloud.y))
        titles = list(cloud.titles)[::every] or [""] * len(across)
        parts += [
            f'<circle class="point {colour(i)}" cx="{a:.1f}" cy="{b:.1f}" r="2.6">'
            f"{f'<title>{escape(title)}</title>' if title else ''}</circle>"
            for a, b, title in zip(x(across), y(up), titles, strict=True)
            if np.isfinite(a) and np.isfinite(b)
        ]
    return sheet(label, *parts)
