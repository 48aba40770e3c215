"""Figures for predictions of numbers: predicted beside true, residuals, quantiles."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from nnad.charts import Line, Points, figure, histogram, legend, line_chart, point_chart
from nnad.training.reporting.evidence import Evidence

__all__ = ["number_figures", "predicted_numbers", "quantiles"]

MOST_OUTPUTS = 6


def quantiles(evidence: Evidence) -> list[float] | None:
    """The quantiles that the model's outputs stand for, if its loss asks for several."""
    asked = (
        evidence.config.loss.arguments.get("q") if evidence.config.loss.name == "quantile" else 0
    )
    return list(asked) if isinstance(asked, list) else None


def predicted_numbers(evidence: Evidence) -> tuple[np.ndarray, np.ndarray] | None:
    """(predictions, targets), both (n, outputs) and in the target's units; None for other tasks."""
    if evidence.meta.task not in ("regression", "autoencoder"):
        return None
    inverse = evidence.meta.preprocessor.inverse_target
    rows = len(evidence.outputs)
    outputs, target = evidence.outputs, np.asarray(evidence.split.y)
    asked = quantiles(evidence)
    if asked:
        outputs = outputs[:, [int(np.argmin(np.abs(np.array(asked) - 0.5)))]]
    shaped = outputs.reshape(target.shape) if outputs.size == target.size else outputs
    return (
        np.asarray(inverse(shaped), np.float64).reshape(rows, -1),
        np.asarray(inverse(target), np.float64).reshape(rows, -1),
    )


def number_figures(evidence: Evidence) -> Iterator[str]:
    """All figures of a regression; none for another task."""
    found = predicted_numbers(evidence)
    if found is None:
        return
    prediction, target = found
    names = evidence.meta.target_names
    outputs = prediction.shape[1]
    names = names if len(names) == outputs else [str(i) for i in range(outputs)]
    shown = range(outputs) if outputs <= MOST_OUTPUTS else [0]
    if outputs > MOST_OUTPUTS:  # as one cloud
        prediction, target, names = prediction.reshape(-1, 1), target.reshape(-1, 1), ["all"]
    key = legend([names[k] for k in shown]) if len(shown) > 1 else ""
    yield figure(
        "Predicted and true",
        point_chart(
            "Predictions by true values",
            [Points(names[k], target[:, k], prediction[:, k]) for k in shown],
            x_label="true",
            y_label="predicted",
            diagonal=True,
        ),
        key,
        f"Rows of the {evidence.part} part, in the target's units; on the line both agree.",
    )
    residual = prediction - target
    yield figure(
        "Residuals",
        point_chart(
            "Residuals by prediction",
            [Points(names[k], prediction[:, k], residual[:, k]) for k in shown],
            x_label="predicted",
            y_label="predicted - true",
            level=0.0,
        ),
        key,
        "A funnel or a bend says that something about the target is not caught yet.",
    )
    yield figure(
        "Distribution of residuals",
        histogram("Distribution of residuals", residual, x_label="predicted - true"),
        note=f"Mean {residual.mean():.4g}, standard deviation {residual.std():.4g}.",
    )
    if asked := quantiles(evidence):
        yield coverage_figure(evidence, asked)


def coverage_figure(evidence: Evidence, asked: list[float]) -> str:
    """Of how many targets each predicted quantile is an upper bound: a calibration of quantiles."""
    target = np.asarray(evidence.split.y).reshape(-1, 1)
    below = (target <= evidence.outputs).mean(axis=0)
    order = np.argsort(asked)
    lines = [
        Line("model", np.array(asked)[order], below[order]),
        Line("perfectly calibrated", [0, 1], [0, 1], dashed=True, number=9),
    ]
    return figure(
        "Calibration",
        line_chart("Calibration of the quantiles", lines, x_label="quantile",
                   y_label="share of targets below", x_range=(0, 1), y_range=(0, 1)),
    )  # fmt: skip
