"""Figures for predictions of classes: confusions, ROC, precision and recall, calibration."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from nnad.charts import Line, figure, legend, line_chart, matrix_chart, table
from nnad.training.inference import class_probabilities, sigmoid
from nnad.training.reporting.evidence import Evidence

__all__ = ["Predicted", "calibration", "class_figures", "class_table", "operating_points",
           "predicted"]  # fmt: skip

MOST_CURVES = 8
MOST_CLASSES = 30  # in the matrix
CALIBRATION_BINS = 10
SHOWN_OPEN = 12  # a longer table is folded


@dataclass(frozen=True)
class Predicted:
    """Probabilities beside what was true.

    Attributes:
        names: of the K classes, or of the K labels.
        probability: (n, K), rows adding up to 1 unless `several`.
        truth: (n, K) of 0 and 1.
        several: whether a row may have several labels at once.
    """

    names: list[str]
    probability: np.ndarray
    truth: np.ndarray
    several: bool

    @property
    def chosen(self) -> np.ndarray:
        """(n, K) of 0 and 1: what is predicted."""
        if self.several:
            return (self.probability > 0.5).astype(int)
        return np.eye(len(self.names), dtype=int)[self.probability.argmax(axis=1)]

    @property
    def curves(self) -> list[int]:
        """The classes to draw: of two the second, of many those that are told apart worst."""
        rows = self.truth.sum(axis=0)
        present = np.flatnonzero((rows > 0) & (rows < len(self.truth))).tolist()
        if len(self.names) == 2 and not self.several:
            return present[1:]
        if len(present) <= MOST_CURVES:
            return present
        return sorted(sorted(present, key=lambda k: self.auc(k))[:MOST_CURVES])

    def auc(self, k: int) -> float:
        """Area under the ROC curve of class `k`."""
        hits, alarms = operating_points(self.probability[:, k], self.truth[:, k])
        return float(np.trapezoid(hits / hits[-1], alarms / alarms[-1]))


def predicted(evidence: Evidence) -> Predicted | None:
    """The probabilities of a classifier, of a language model's tokens or of labels; or None."""
    task, loss, outputs = evidence.meta.task, evidence.config.loss.name, evidence.outputs
    target = np.asarray(evidence.split.y)
    names = [visible(str(name)) for name in evidence.meta.class_names or ()]
    if task == "multi_label":
        flat = outputs.reshape(len(outputs), -1)
        p = flat if loss == "binary_cross_entropy" else sigmoid(flat)
        names = names or [str(i) for i in range(p.shape[1])]
        return Predicted(names, p, (target > 0.5).astype(int), True)
    if task not in ("classification", "language_model"):
        return None
    if task == "language_model":
        outputs, target = outputs.reshape(-1, outputs.shape[-1]), target.reshape(-1)
    p = class_probabilities(outputs, loss)
    names = names or [str(i) for i in range(p.shape[1])]
    return Predicted(names, p, np.eye(p.shape[1], dtype=int)[target.astype(int)], False)


def visible(name: str) -> str:
    """A name that can be seen: in quotes if it is blank or holds a line end.

    >>> visible("a"), visible(" "), visible(chr(10))
    ('a', "' '", "'\\\\n'")
    """
    return name if name.strip() and name.isprintable() else repr(name)


def class_figures(evidence: Evidence) -> Iterator[str]:
    """All figures of a classifier; none for another task."""
    found = predicted(evidence)
    if found is None:
        return
    if not found.several:
        yield confusion_figure(found, evidence.part)
    if found.curves:
        yield roc_figure(found)
        yield precision_recall_figure(found)
    yield calibration_figure(found)


def confusion_figure(found: Predicted, part: str) -> str:
    """How often which class is taken for which; of very many classes, the most frequent ones."""
    frequent = np.sort(np.argsort(-found.truth.sum(axis=0), kind="stable")[:MOST_CLASSES])
    counts = (found.truth.T @ found.chosen)[np.ix_(frequent, frequent)]
    left_out = len(found.names) - len(frequent)
    more = f" The {len(frequent)} most frequent of {len(found.names)} classes." if left_out else ""
    return figure(
        "Confusion matrix",
        matrix_chart("Confusion matrix", counts, [found.names[k] for k in frequent],
                     "true class", "predicted class"),
        note=f"Rows of the {part} part; colour: share of the true class.{more}",
    )  # fmt: skip


def operating_points(score: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(hits, false alarms) for every threshold, from the strictest to the most lenient.

    >>> operating_points(np.array([0.9, 0.8, 0.8, 0.1]), np.array([1, 1, 0, 0]))
    (array([0, 1, 2, 2]), array([0, 0, 1, 2]))
    """
    order = np.argsort(-score, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(score[order]) != 0, True))
    hits = np.cumsum(truth[order])[ends]
    return np.append(0, hits), np.append(0, ends + 1 - hits)


def roc_figure(found: Predicted) -> str:
    """Hits against false alarms."""
    lines, names = [], []
    for k in found.curves:
        hits, alarms = operating_points(found.probability[:, k], found.truth[:, k])
        names.append(f"{found.names[k]} (AUC {found.auc(k):.3f})")
        lines.append(Line(names[-1], alarms / max(alarms[-1], 1), hits / max(hits[-1], 1)))
    chance = Line("chance", [0, 1], [0, 1], dashed=True, number=9)
    return figure(
        "ROC curve",
        line_chart("ROC curve", [*lines, chance], x_label="false positive rate",
                   y_label="true positive rate", x_range=(0, 1), y_range=(0, 1)),
        legend(names),
        _which(found),
    )  # fmt: skip


def precision_recall_figure(found: Predicted) -> str:
    """Precision against recall."""
    lines, names = [], []
    for k in found.curves:
        hits, alarms = operating_points(found.probability[:, k], found.truth[:, k])
        recall, precision = hits[1:] / max(hits[-1], 1), hits[1:] / (hits[1:] + alarms[1:])
        average = float(np.sum(np.diff(recall, prepend=0) * precision))
        names.append(f"{found.names[k]} (AP {average:.3f})")
        lines.append(Line(names[-1], np.append(0, recall), np.append(precision[0], precision)))
    return figure(
        "Precision and recall",
        line_chart("Precision by recall", lines, x_label="recall", y_label="precision",
                   x_range=(0, 1), y_range=(0, 1)),
        legend(names),
        _which(found),
    )  # fmt: skip


def _which(found: Predicted) -> str:
    drawn, there = len(found.curves), len(found.names)
    if there == 2 and not found.several:
        return f"Of {found.names[1]} against {found.names[0]}."
    each = "Each label by itself" if found.several else "Each class against all others"
    return f"{each}{f'; the {drawn} that are told apart worst' if drawn == MOST_CURVES else ''}."


def calibration(found: Predicted) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(confidence, share that is right, rows) in equally wide bins of confidence, empty ones out.

    Of two classes the second's probability is the confidence, of several the winner's, of labels
    each one's own.
    """
    if found.several or len(found.names) == 2:
        columns = slice(None) if found.several else slice(1, 2)
        confidence = found.probability[:, columns].reshape(-1)
        right = found.truth[:, columns].reshape(-1)
    else:
        confidence = found.probability.max(axis=1)
        right = (found.chosen * found.truth).sum(axis=1)
    known = np.isfinite(confidence)  # a model of huge weights may give no number
    confidence, right = confidence[known], right[known]
    bins = np.minimum((confidence * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    rows = np.bincount(bins, minlength=CALIBRATION_BINS)
    full = rows > 0
    sums = [np.bincount(bins, values, CALIBRATION_BINS)[full] for values in (confidence, right)]
    return sums[0] / rows[full], sums[1] / rows[full], rows[full]


def calibration_figure(found: Predicted) -> str:
    """Whether 80 % sure is right in 80 % of cases."""
    confidence, right, rows = calibration(found)
    error = float(np.sum(np.abs(confidence - right) * rows) / max(1, rows.sum()))
    lines = [
        Line("model", confidence, right),
        Line("perfectly calibrated", [0, 1], [0, 1], dashed=True, number=9),
    ]
    winner = len(found.names) > 2 and not found.several
    return figure(
        "Calibration",
        line_chart("Calibration", lines, x_label="predicted probability",
                   y_label="how often it is so", x_range=(0, 1), y_range=(0, 1)),
        note=f"Expected calibration error {error:.3f}"
        f"{', of the predicted class' if winner else ''}; below the dashed line the model is "
        "surer than it should be.",
    )  # fmt: skip


def class_table(evidence: Evidence) -> str:
    """Rows, precision, recall and F1 of each class or label; nothing for another task."""
    found = predicted(evidence)
    if found is None or len(found.names) > 4 * MOST_CLASSES:
        return ""
    truth, chosen = found.truth, found.chosen
    hits = (truth * chosen).sum(axis=0)
    rows = [
        [escape(name), f"{n:,}", share(hit, c), share(hit, n), share(2 * hit, n + c)]
        for name, hit, n, c in zip(
            found.names, hits, truth.sum(axis=0), chosen.sum(axis=0), strict=True
        )
    ]
    what = "label" if found.several else "class"
    whole = table([what, "rows", "precision", "recall", "F1"], rows, f"Each {what} by itself")
    if len(rows) <= SHOWN_OPEN:
        return whole
    return f"<details><summary>All {len(rows)} by themselves</summary>{whole}</details>"


def share(part: float, whole: float) -> str:
    """A quotient; a dash where there is nothing to divide by."""
    return "–" if not whole else f"{part / whole:.3f}"


def recalls(found: Predicted) -> Sequence[float]:
    """Of each class the share of its rows that is found; NaN without rows."""
    rows = found.truth.sum(axis=0)
    with np.errstate(invalid="ignore"):
        return (found.truth * found.chosen).sum(axis=0) / np.where(rows, rows, np.nan)
