"""Figures of what went on inside: weights, gradients and updates of each layer, its activity."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

import numpy as np

from nnad.charts import Line, figure, legend, line_chart, table
from nnad.charts.scales import LARGEST, text
from nnad.training.reporting.evidence import Evidence
from nnad.training.reporting.learning import spread
from nnad.training.watch import Norms

__all__ = ["HEALTHY_RATIO", "activity_table", "internal_figures", "matrices", "norm_table"]

MOST_CURVES = 8
LOG_FROM = 10.0  # values that differ by this factor are shown on a logarithmic axis
HEALTHY_RATIO = (1e-4, 1e-2)  # of an update to the weights; 1e-3 is a common rule of thumb


def internal_figures(norms: Norms) -> Iterator[str]:
    """Weights, gradients and update ratios by step, a curve for each weight."""
    shown = _spread(matrices(norms))
    names = [norms.names[k] for k in shown]
    key = legend(names)
    root = np.sqrt(norms.sizes[shown])

    def chart(title: str, values: np.ndarray, **options: object) -> str:
        lines = [Line(n, norms.steps, column) for n, column in zip(names, values.T, strict=True)]
        log = spread(lines) > LOG_FROM or "band" in options
        return line_chart(title, lines, x_label="step", log=log, **options)  # type: ignore[arg-type]

    left_out = len(matrices(norms)) - len(shown)
    more = f" {left_out} more are left out." if left_out else ""
    yield figure(
        "Weights by step",
        chart("Size of the weights by step", norms.weights[:, shown] / root),
        key,
        f"Root mean square of each weight's entries.{more}",
    )
    yield figure(
        "Gradients by step",
        chart("Size of the gradients by step", norms.gradients[:, shown] / root),
        key,
        "Root mean square, after clipping. Layers far apart learn at different speeds.",
    )
    yield figure(
        "Update ratio by step",
        chart(
            "Updates over weights by step",
            norms.ratios[:, shown],
            band=HEALTHY_RATIO,
            y_range=_covering(norms.ratios[:, shown]),
        ),
        key,
        "Norm of a step over norm of the weights; most networks learn well in the shaded band.",
    )


def _covering(ratios: np.ndarray) -> tuple[float, float]:
    """Ends of an axis that show the healthy band and the data."""
    shown = np.clip(ratios[np.isfinite(ratios) & (ratios > 0)], 1 / LARGEST, LARGEST)
    low, high = (shown.min(), shown.max()) if shown.size else HEALTHY_RATIO
    return min(low, HEALTHY_RATIO[0]) / 2, max(high, HEALTHY_RATIO[1]) * 2


def matrices(norms: Norms) -> list[int]:
    """The parameters that multiply, not biases and scales; all where there are none."""
    found = np.flatnonzero(norms.axes > 1).tolist()
    return found or list(range(len(norms.names)))


def _spread(parameters: Sequence[int]) -> list[int]:
    """A few of many, the first and the last among them."""
    places = np.linspace(0, len(parameters) - 1, min(len(parameters), MOST_CURVES)).round()
    return [parameters[int(i)] for i in places]


def norm_table(norms: Norms) -> str:
    """The last record of every parameter, and the median of its update ratio."""
    with np.errstate(invalid="ignore"):
        middle = [_median(column) for column in norms.ratios.T]
    rows = [
        [
            escape(name),
            f"{norms.sizes[k]:,}",
            text(norms.weights[-1, k]),
            text(norms.gradients[-1, k]),
            text(middle[k]),
        ]
        for k, name in enumerate(norms.names)
    ]
    head = ["parameter", "numbers", "norm", "gradient's norm", "median update ratio"]
    return table(head, rows, f"Parameters at step {norms.steps[-1]:,}")


def _median(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if finite.size else float("nan")


def activity_table(evidence: Evidence) -> str:
    """What each layer gives for rows of the data."""
    rows = [
        [
            escape(a.path or "(model)"),
            a.layer,
            text(a.mean),
            text(a.std),
            f"{a.units:,}",
            "" if a.dead is None else f"{a.dead:,}",
            "" if a.saturated is None else f"{a.saturated:.1%}",
        ]
        for a in evidence.activity
    ]
    head = ["layer", "kind", "mean", "deviation", "units", "dead units", "saturated"]
    return table(head, rows, f"Outputs of the layers for rows of the {evidence.part} part")
