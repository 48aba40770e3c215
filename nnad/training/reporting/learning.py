"""Learning curves: loss, metrics and rate by epoch, the baseline beside them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from nnad.charts import Line, figure, legend, line_chart
from nnad.training.history import column_groups
from nnad.training.reporting.evidence import Evidence

__all__ = ["learning_figures"]

LOG_FROM = 50.0  # losses that differ by this factor are shown on a logarithmic axis


def learning_figures(evidence: Evidence) -> Iterator[str]:
    """A figure for the loss, one for each metric, one for the learning rate."""
    history, epochs = evidence.history, evidence.history.get("epoch", [])
    if not epochs:
        return
    for score, names in column_groups(history).items():
        lines = [Line(name, epochs, history[name]) for name in names]
        reference = baseline_line(evidence, score, epochs)
        lines += [reference] if reference else []
        yield figure(
            f"Learning curve: {score}",
            line_chart(
                f"{score} by epoch",
                lines,
                x_label="epoch",
                log=spread(lines) > LOG_FROM,
                mark=best_mark(evidence),
            ),
            legend([line.name for line in lines], [line.name for line in lines if line.dashed]),
        )
    rates = history.get("learning_rate", [])
    if rates:
        yield figure(
            "Learning rate",
            line_chart("Learning rate by epoch", [Line("learning rate", epochs, rates)],
                       x_label="epoch"),
            note="At the last step of each epoch.",
        )  # fmt: skip


def baseline_line(evidence: Evidence, score: str, epochs: Sequence[float]) -> Line | None:
    """The baseline's score on the test part, as a level; None where there is none."""
    baseline = evidence.summary.get("baseline") or {}
    value = baseline.get("test", {}).get(score)
    if value is None:
        return None
    ends = [epochs[0], epochs[-1]] if len(epochs) > 1 else [epochs[0], epochs[0] + 1]
    return Line(f"{baseline['estimator']} (test)", ends, [value, value], dashed=True)


def best_mark(evidence: Evidence) -> tuple[float, str] | None:
    """Where the weights that are kept come from."""
    best = evidence.summary.get("best_epoch")
    return None if not best else (float(best), f"weights of epoch {best}")


def spread(lines: Sequence[Line]) -> float:
    """The largest over the smallest value of all lines but 0; nothing if any is negative."""
    values = np.concatenate([np.asarray(line.y, np.float64) for line in lines])
    values = values[np.isfinite(values) & (values != 0)]
    return float(values.max() / values.min()) if values.size and values.min() > 0 else 0.0
