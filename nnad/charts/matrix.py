"""Tables of numbers as coloured squares."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from nnad.charts.frame import sheet

__all__ = ["matrix_chart", "pixels"]

SIDE = 400.0
MARGIN = 74.0
NUMBERED = 12  # with so many rows there is room for numbers in the squares
NAMED = 30
LETTERS = 9


def matrix_chart(
    label: str, counts: np.ndarray, names: Sequence[str], rows: str, columns: str
) -> str:
    """A square matrix of counts, each row coloured by its shares.

    Args:
        label: what it shows.
        counts: (n, n) numbers of at least 0.
        names: of rows and columns alike.
        rows, columns: what they are.
    """
    n = len(counts)
    cell = (SIDE - MARGIN - 2) / n
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1e-300)
    parts = []
    for i, j in np.ndindex(n, n):
        x, y, share = MARGIN + j * cell, MARGIN + i * cell, float(shares[i, j])
        css = "hit" if i == j else "miss"
        tip = f"{rows} {names[i]}, {columns} {names[j]}: {counts[i, j]:g} ({share:.1%})"
        parts.append(
            f'<g><title>{escape(tip)}</title><rect class="cell" x="{x:.1f}" y="{y:.1f}" '
            f'width="{cell:.1f}" height="{cell:.1f}"/>'
            f'<rect class="{css}" x="{x:.1f}" y="{y:.1f}" width="{cell:.1f}" height="{cell:.1f}" '
            f'fill-opacity="{share:.3f}"/>{_number(float(counts[i, j]), share, x, y, cell, n)}</g>'
        )
    if n <= NAMED:
        parts += [_names(name, i, cell) for i, name in enumerate(names)]
    middle = (MARGIN + SIDE) / 2
    parts.append(
        f'<text class="axis" x="{middle:g}" y="12" text-anchor="middle">{escape(columns)}</text>'
    )
    parts.append(
        f'<text class="axis" transform="translate(11 {middle:g}) rotate(-90)" '
        f'text-anchor="middle">{escape(rows)}</text>'
    )
    return sheet(label, *parts, width=SIDE, height=SIDE)


def _number(count: float, share: float, x: float, y: float, cell: float, n: int) -> str:
    if n > NUMBERED or not count:
        return ""
    css = "on" if share > 0.55 else "off"
    return (
        f'<text class="{css}" x="{x + cell / 2:.1f}" y="{y + cell / 2 + 4:.1f}" '
        f'text-anchor="middle">{count:g}</text>'
    )


def _names(name: str, i: int, cell: float) -> str:
    at = MARGIN + (i + 0.5) * cell
    short = escape(name if len(name) <= LETTERS else f"{name[: LETTERS - 1]}…")
    slanted = f'transform="translate({at + 3:.1f} {MARGIN - 6:g}) rotate(-45)"'
    if len(name) <= 2:
        slanted = f'x="{at:.1f}" y="{MARGIN - 6:g}" text-anchor="middle"'
    return (
        f'<text class="tick" x="{MARGIN - 6:g}" y="{at + 4:.1f}" text-anchor="end">{short}</text>'
        f'<text class="tick" {slanted}>{short}</text>'
    )


def pixels(label: str, image: np.ndarray) -> str:
    """A small picture, a square a pixel.

    Args:
        label: what it shows.
        image: (height, width) or (height, width, 3), in any units: its range becomes dark to light.
    """
    low, high = float(np.min(image)), float(np.max(image))
    grey = np.rint((image - low) / ((high - low) or 1.0) * 255).astype(np.uint8)
    colours = np.broadcast_to(grey[..., None], (*grey.shape, 3)) if grey.ndim == 2 else grey
    height, width = grey.shape[:2]
    squares = "".join(
        f'<rect x="{j}" y="{i}" width="1.02" height="1.02" fill="#{r:02x}{g:02x}{b:02x}"/>'
        for i, line in enumerate(colours)
        for j, (r, g, b) in enumerate(line)
        if r or g or b
    )
    ground = f'<rect width="{width}" height="{height}" fill="#000000"/>'
    return sheet(label, ground, squares, width=width, height=height).replace(
        'class="nnad-chart"', 'class="nnad-pixels"'
    )
