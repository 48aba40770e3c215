"""Bars: how many of what."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np

from nnad.charts.frame import BOTTOM, LEFT, RIGHT, TOP, WIDTH, axes, sheet
from nnad.charts.scales import fitted, text

__all__ = ["bars", "histogram"]

ROW = 22.0
NAME_LETTERS = 16


def histogram(label: str, values: Any, *, x_label: str = "", bins: int = 30) -> str:
    """How often `values` fall between equally distant edges; those not finite are left out."""
    data = np.asarray(values, np.float64).reshape(-1)
    data = data[np.isfinite(data)]
    x = fitted([data], LEFT, RIGHT)
    counts, edges = np.histogram(np.clip(data, x.low, x.high), bins, (x.low, x.high))
    y = fitted([counts, [0]], BOTTOM, TOP)
    parts = [axes(x, y, x_label, "rows")]
    for count, low, high in zip(counts, edges, edges[1:], strict=False):
        left, right, top = float(x(low)), float(x(high)), float(y(count))
        parts.append(
            f'<rect class="bar c0" x="{left + 0.5:.1f}" y="{top:.1f}" '
            f'width="{max(right - left - 1, 0.5):.1f}" height="{BOTTOM - top:.1f}">'
            f"<title>{text(low)} to {text(high)}: {count:g}</title></rect>"
        )
    return sheet(label, *parts)


def bars(label: str, names: Sequence[str], values: Sequence[float]) -> str:
    """A bar for each name, one below the other, with its value written beside it."""
    largest = max([abs(v) for v in values if np.isfinite(v)], default=0) or 1.0
    begin, end = 120.0, WIDTH - 70.0
    parts = []
    for i, (name, value) in enumerate(zip(names, values, strict=True)):
        top = i * ROW
        length = (end - begin) * abs(value) / largest if np.isfinite(value) else 0.0
        short = name if len(name) <= NAME_LETTERS else f"{name[: NAME_LETTERS - 1]}…"
        parts.append(
            f"<g><title>{escape(name)}: {text(value)}</title>"
            f'<text class="tick" x="{begin - 8:g}" y="{top + 15:g}" text-anchor="end">'
            f"{escape(short)}</text>"
            f'<rect class="bar c0" x="{begin:g}" y="{top + 4:g}" width="{length:.1f}" '
            f'height="{ROW - 8:g}" rx="2"/>'
            f'<text class="tick" x="{begin + length + 6:.1f}" y="{top + 15:g}">{text(value)}</text>'
            "</g>"
        )
    return sheet(label, *parts, height=max(len(names), 1) * ROW)
