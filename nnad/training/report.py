"""What training tells at its end, and what ``--check`` tells before it: tables of plain text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nnad.layers import summary
from nnad.training.evaluation import evaluating

if TYPE_CHECKING:
    from nnad.data.dataset import DataSplits
    from nnad.training.build import Job

__all__ = ["check_report", "closing_table", "score_table", "table"]


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells with aligned columns: the first to the left, the others to the right.

    >>> print(table([["", "nnad"], ["test loss", "0.1"]]))
               nnad
    test loss   0.1
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def score_table(scores: Mapping[str, float]) -> str:
    """Names and values of scores, one a line."""
    return table([[name, number(value)] for name, value in scores.items()])


def closing_table(run: str, summary: Mapping[str, Any]) -> str:
    """The results of a run and of its baseline, side by side, with times.

    They are those of the test part; without one, those of the validation part.

    Args:
        run: where the run is.
        summary: as in ``summary.json``.
    """
    baseline = summary.get("baseline")
    epochs = summary["epochs"]
    unit = "epoch" if epochs == 1 else "epochs"
    head = (
        f"{run}: {summary['parameters']:,} parameters, {epochs} {unit}, "
        f"weights of epoch {summary['best_epoch']}"
    )
    columns = [("nnad", summary)] + ([(baseline["estimator"], baseline)] if baseline else [])
    rows = [["", *(name for name, _ in columns)]]
    part = "test" if summary["test"] else "validation"
    rows += [
        [f"{part} {name}", *(number(c.get(part, {}).get(name)) for _, c in columns)]
        for name in summary.get(part, {})
    ]
    rows.append(["fit seconds", *(f"{c['fit_seconds']:.2f}" for _, c in columns)])
    return f"{head}\n{table(rows)}"


def check_report(job: Job, data: DataSplits, batch_size: int) -> str:
    """The parts of the data, each layer's shapes, parameters and multiply-adds, a batch's loss."""
    parts = {"train": data.train, "validation": data.validation, "test": data.test}
    lines = [
        f"data: {name} {len(part):,} rows of shape {tuple(part.x.shape[1:])}"
        for name, part in parts.items()
        if part is not None
    ]
    rows = slice(0, batch_size)
    costs = summary(job.model, data.train.x[rows])
    with evaluating(job.model):
        loss = job.loss(job.model(data.train.x[rows]), data.train.y[rows])
    value = float(np.asarray(loss.data))
    return "\n".join([*lines, str(costs), f"loss of the first batch: {number(value)}"])


def number(value: float | None) -> str:
    """A score with the digits that matter; a dash where there is none."""
    return "-" if value is None else f"{value:.4f}" if 1e-3 <= abs(value) < 1e4 else f"{value:.4g}"
