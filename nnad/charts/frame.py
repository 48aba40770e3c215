"""What charts share: the sheet, the axes, lines across it."""

from __future__ import annotations

from html import escape

from nnad.charts.scales import Scale, text

__all__ = ["BOTTOM", "HEIGHT", "LEFT", "RIGHT", "TOP", "WIDTH", "axes", "colour", "sheet", "tick"]

# Of a sheet, in the units of its viewBox; small, so that its letters stay readable on a telephone.
WIDTH, HEIGHT = 400.0, 250.0
LEFT, RIGHT = 54.0, WIDTH - 12.0
TOP, BOTTOM = 18.0, HEIGHT - 42.0
COLOURS = 10


def sheet(label: str, *parts: str, width: float = WIDTH, height: float = HEIGHT) -> str:
    """An SVG element as wide as its surroundings.

    Args:
        label: what it shows, for those who do not see it.
        parts: what is on it.
        width, height: of the viewBox.
    """
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="nnad-chart" role="img" '
        f'aria-label="{escape(label)}" viewBox="0 0 {width:g} {height:g}">'
        f"{''.join(parts)}</svg>"
    )


def axes(x: Scale, y: Scale, x_label: str = "", y_label: str = "") -> str:
    """Grid, numbers beside it, and what they are numbers of."""
    parts = [
        f'<path class="grid" d="M{LEFT:g},{at:.1f}H{RIGHT:g}"/>'
        f'<text class="tick" x="{LEFT - 6:g}" y="{at + 4:.1f}" text-anchor="end">{tick(t)}</text>'
        for t in y.ticks()
        for at in [float(y(t))]
    ]
    parts += [
        f'<path class="grid" d="M{at:.1f},{TOP:g}V{BOTTOM:g}"/>'
        f'<text class="tick" x="{at:.1f}" y="{BOTTOM + 16:g}" text-anchor="middle">{tick(t)}</text>'
        for t in x.ticks()
        for at in [float(x(t))]
    ]
    middle = (LEFT + RIGHT) / 2
    parts.append(
        f'<text class="axis" x="{middle:g}" y="{HEIGHT - 6:g}" text-anchor="middle">'
        f"{escape(x_label)}</text>"
    )
    if y_label:
        at = (TOP + BOTTOM) / 2
        parts.append(
            f'<text class="axis" transform="translate(11 {at:g}) rotate(-90)" '
            f'text-anchor="middle">{escape(y_label)}</text>'
        )
    return "".join(parts)


def tick(value: float) -> str:
    """A number beside an axis, where there is little room.

    >>> tick(20000.0), tick(1.5e6), tick(0.3)
    ('20k', '1.5M', '0.3')
    """
    for size, letter in ((1e6, "M"), (1e4, "k")):
        if size <= abs(value) < 1e9:
            return f"{value / (1e6 if letter == 'M' else 1e3):g}{letter}"
    return text(value)


def colour(number: int) -> str:
    """The class of the style sheet that colours series `number`; after ten they come again."""
    return f"c{number % COLOURS}"
