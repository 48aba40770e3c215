"""Pages that stand alone: everything they show is in them, and they may load nothing."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from html import escape
from importlib.resources import files

__all__ = ["NOTHING_LOADED", "document", "figure", "legend", "style", "table"]

NOTHING_LOADED = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


def document(title: str, body: str, *styles: str, script: str = "") -> str:
    """A whole page, which its own policy forbids to load anything.

    Args:
        title: plain text.
        body: HTML.
        styles: the text of style sheets.
        script: the text of a script that runs when the body is there.
    """
    end = f"<script>{script}</script>\n" if script else ""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{NOTHING_LOADED}">
<title>{escape(title)}</title>
<style>{"".join(styles)}</style>
</head>
<body>
{body}
{end}</body>
</html>
"""


@cache
def style(name: str = "charts") -> str:
    """A style sheet of this folder: of ``charts``, or of the pages that hold them (``report``)."""
    return (files("nnad.charts.assets") / f"{name}.css").read_text(encoding="utf-8")


def figure(title: str, chart: str, key: str = "", note: str = "") -> str:
    """A chart with its title, its legend and a line that says how to read it."""
    below = f'<p class="note">{escape(note)}</p>' if note else ""
    return (
        f'<figure data-figure="{escape(title)}"><figcaption>{escape(title)}</figcaption>'
        f"{chart}{key}{below}</figure>"
    )


def legend(
    names: Sequence[str], dashed: Sequence[str] = (), numbers: Sequence[int] | None = None
) -> str:
    """The names of a chart's series beside their colours.

    Args:
        names: of the series.
        dashed: those that are drawn dashed.
        numbers: of the colours; by default in the series' order.
    """
    items = "".join(
        f'<li><svg viewBox="0 0 18 8" aria-hidden="true"><path class="line c{i % 10}'
        f'{" dashed" if name in dashed else ""}" d="M1,4H17"/></svg>{escape(name)}</li>'
        for i, name in zip(numbers or range(len(names)), names, strict=True)
    )
    return f'<ul class="legend">{items}</ul>'


def table(head: Sequence[str], rows: Sequence[Sequence[str]], caption: str = "") -> str:
    """A table; cells are HTML, those of the first column head their rows.

    On a narrow screen it scrolls by itself.
    """
    heads = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    body = "".join(
        f'<tr><th scope="row">{first}</th>{"".join(f"<td>{cell}</td>" for cell in others)}</tr>\n'
        for first, *others in rows
    )
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(caption or "Table")}">'
        f"<table>{title}<thead><tr>{heads}</tr></thead><tbody>\n{body}</tbody></table></div>"
    )
