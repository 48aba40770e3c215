"""Metrics of predictions: ``metric(prediction, target, sample_weight=None) -> float``.

The prediction comes first, as in the losses, and is what a network puts out:

- for classes: scores (…, classes), or class numbers, with class numbers as target;
- for two classes also one score a row, above 0 for the positive class;
- for several yes-or-no questions: scores and targets of one shape (rows, questions);
- for numbers: the prediction itself.

Metrics that need probabilities take scores as logits; pass ``from_logits=False`` for probabilities.
Class numbers may be given as any integers from 0. Further axes, such as the time steps of a
sequence, count as rows. What scikit-learn has is computed by scikit-learn, loaded on first use;
only accuracy and the mean errors are not, since that import takes longer than a small job.

Adding a metric: a function here with the decorator :func:`metric`, and its name in ``__all__``.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np

from nnad.autodiff import value_of
from nnad.errors import ClassRangeError, ShapeError

__all__ = [
    "accuracy",
    "balanced_accuracy",
    "brier",
    "calibration_error",
    "confusion_matrix",
    "f1",
    "f_beta",
    "log_loss",
    "mae",
    "mape",
    "mcc",
    "mse",
    "perplexity",
    "pr_auc",
    "precision",
    "r2",
    "recall",
    "rmse",
    "roc_auc",
    "top_k_accuracy",
]

Average = Literal["binary", "macro", "micro", "weighted"]


def metric(higher_is_better: bool) -> Callable[[Callable[..., float]], Callable[..., float]]:
    """Decorator: the function is a metric, and this is the direction of better."""

    def mark(function: Callable[..., float]) -> Callable[..., float]:
        @functools.wraps(function)
        def quiet(*args: Any, **kwargs: Any) -> float:
            # What cannot be computed is NaN; scikit-learn would warn in every epoch as well.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return float(function(*args, **kwargs))

        quiet.higher_is_better = higher_is_better  # type: ignore[attr-defined]
        return quiet

    return mark


def is_score(function: Callable[..., Any]) -> bool:
    """Whether higher values of a metric are better.

    >>> is_score(accuracy), is_score(mse)
    (True, False)
    """
    return bool(getattr(function, "higher_is_better", False))


# Rows of predictions and targets ------------------------------------------------------------------


class Rows(NamedTuple):
    """Predictions, targets and weights, one entry a row."""

    prediction: np.ndarray
    target: np.ndarray
    weight: np.ndarray | None


def _plain(x: Any) -> np.ndarray:
    return np.asarray(value_of(x))


def _class_rows(prediction: Any, target: Any, sample_weight: Any) -> Rows:
    """Scores (rows, classes), or of two classes or class numbers (rows,); targets (rows,).

    Several yes-or-no questions keep their two axes in both.
    """
    prediction, target = _plain(prediction), _plain(target)
    if prediction.shape == (*target.shape, 1):
        prediction = prediction[..., 0]
    if prediction.ndim == target.ndim + 1 and prediction.shape[:-1] == target.shape:
        n_classes = prediction.shape[-1]
        if target.size and not 0 <= target.min() <= target.max() < n_classes:
            wrong = target.max() if target.max() >= n_classes else target.min()
            raise ClassRangeError(
                f"class {wrong} is out of range; the prediction has scores for {n_classes} "
                f"classes, so expected 0 to {n_classes - 1}"
            )
        weight = _row_weights(sample_weight, target.shape)
        return Rows(prediction.reshape(-1, n_classes), target.reshape(-1), weight)
    if prediction.shape != target.shape:
        raise ShapeError(
            f"the prediction has shape {prediction.shape}, the target {target.shape}; expected "
            f"class numbers or scores of shape {target.shape}, or scores with one axis more"
        )
    if target.ndim < 2:
        weight = _row_weights(sample_weight, target.shape)
        return Rows(prediction.reshape(-1), target.reshape(-1), weight)
    if prediction.dtype.kind in "iub":  # class numbers of sequences
        weight = _row_weights(sample_weight, target.shape)
        return Rows(prediction.reshape(-1), target.reshape(-1), weight)
    questions = target.shape[-1]
    weight = _row_weights(sample_weight, target.shape[:-1])
    return Rows(prediction.reshape(-1, questions), target.reshape(-1, questions), weight)


def _row_weights(sample_weight: Any, shape: tuple[int, ...]) -> np.ndarray | None:
    """One weight for each of the rows that `shape` is flattened to."""
    if sample_weight is None:
        return None
    weight = _plain(sample_weight)
    if weight.shape != shape[: weight.ndim]:
        raise ShapeError(
            f"sample_weight has shape {weight.shape}, the rows {shape}; expected one weight a row"
        )
    weight = weight.reshape(weight.shape + (1,) * (len(shape) - weight.ndim))
    return np.broadcast_to(weight, shape).reshape(-1)


def _labels(rows: Rows, from_logits: bool = True) -> np.ndarray:
    """Predicted class numbers, or a 0 or 1 for each yes-or-no question."""
    if _has_classes(rows):
        return rows.prediction.argmax(axis=-1)
    if rows.prediction.dtype.kind in "iub":
        return rows.prediction
    return (rows.prediction > (0.0 if from_logits else 0.5)).astype(int)


def _has_classes(rows: Rows) -> bool:
    """Whether the prediction holds a score for each class."""
    return rows.prediction.ndim > rows.target.ndim


def _probabilities(rows: Rows, from_logits: bool) -> np.ndarray:
    """Probabilities (rows, classes), or of the positive answer in the target's shape."""
    scores = rows.prediction.astype(np.float64)
    if not from_logits:
        return scores
    if _has_classes(rows):
        scores = scores - scores.max(axis=-1, keepdims=True)
        scores = np.exp(scores)
        return scores / scores.sum(axis=-1, keepdims=True)
    with np.errstate(over="ignore"):
        return 1.0 / (1.0 + np.exp(-scores))


def _mean(values: np.ndarray, weight: np.ndarray | None) -> float:
    return float(np.average(values, weights=weight)) if values.size else float("nan")


# Classes ------------------------------------------------------------------------------------------


@metric(higher_is_better=True)
def accuracy(prediction: Any, target: Any, sample_weight: Any = None) -> float:
    """Share of rows whose class, or all of whose yes-or-no answers, are right.

    >>> accuracy([[0.1, 0.9], [0.8, 0.2]], [1, 1])
    0.5
    """
    rows = _class_rows(prediction, target, sample_weight)
    right = _labels(rows) == rows.target
    return _mean(right if right.ndim == 1 else right.all(axis=1), rows.weight)


@metric(higher_is_better=True)
def top_k_accuracy(prediction: Any, target: Any, sample_weight: Any = None, *, k: int = 5) -> float:
    """Share of rows whose class is among the `k` with the highest scores."""
    from sklearn.metrics import top_k_accuracy_score

    rows = _class_rows(prediction, target, sample_weight)
    if not _has_classes(rows):
        raise ShapeError("top_k_accuracy needs a score for each class: shape (…, classes)")
    n_classes = rows.prediction.shape[1]
    if k >= n_classes:
        return 1.0
    scores = rows.prediction if n_classes > 2 else rows.prediction[:, 1] - rows.prediction[:, 0]
    return top_k_accuracy_score(
        rows.target, scores, k=k, labels=np.arange(n_classes), sample_weight=rows.weight
    )


@metric(higher_is_better=True)
def balanced_accuracy(prediction: Any, target: Any, sample_weight: Any = None) -> float:
    """Mean over the classes of the share of their rows that are right."""
    from sklearn.metrics import balanced_accuracy_score

    rows = _class_rows(prediction, target, sample_weight)
    return balanced_accuracy_score(rows.target, _labels(rows), sample_weight=rows.weight)


@metric(higher_is_better=True)
def precision(
    prediction: Any, target: Any, sample_weight: Any = None, *, average: Average | None = None
) -> float:
    """Share of the rows predicted to be of a class that are.

    Args:
        average: "binary" (class 1), or "macro", "micro" or "weighted" over the classes; None:
            binary for two classes, else macro. A class that nobody predicts counts 0.
    """
    from sklearn.metrics import precision_score

    return _averaged(precision_score, prediction, target, sample_weight, average)


@metric(higher_is_better=True)
def recall(
    prediction: Any, target: Any, sample_weight: Any = None, *, average: Average | None = None
) -> float:
    """Share of the rows of a class that are found; `average` as in :func:`precision`."""
    from sklearn.metrics import recall_score

    return _averaged(recall_score, prediction, target, sample_weight, average)


@metric(higher_is_better=True)
def f_beta(
    prediction: Any,
    target: Any,
    sample_weight: Any = None,
    *,
    beta: float = 1.0,
    average: Average | None = None,
) -> float:
    """Weighted harmonic mean of precision and recall; `average` as in :func:`precision`.

    Args:
        beta: how many times as important recall is.
    """
    from sklearn.metrics import fbeta_score

    score = functools.partial(fbeta_score, beta=beta)
    return _averaged(score, prediction, target, sample_weight, average)


@metric(higher_is_better=True)
def f1(
    prediction: Any, target: Any, sample_weight: Any = None, *, average: Average | None = None
) -> float:
    """Harmonic mean of precision and recall; `average` as in :func:`precision`."""
    from sklearn.metrics import f1_score

    return _averaged(f1_score, prediction, target, sample_weight, average)


def _averaged(
    score: Callable[..., float],
    prediction: Any,
    target: Any,
    sample_weight: Any,
    average: str | None,
) -> float:
    rows = _class_rows(prediction, target, sample_weight)
    labels = _labels(rows)
    if average is None:
        average = "binary" if _is_binary(rows, labels) else "macro"
    return score(rows.target, labels, average=average, sample_weight=rows.weight, zero_division=0.0)


def _is_binary(rows: Rows, labels: np.ndarray) -> bool:
    if _has_classes(rows):
        return rows.prediction.shape[1] == 2
    return rows.target.ndim == 1 and max(labels.max(initial=0), rows.target.max(initial=0)) < 2


@metric(higher_is_better=True)
def mcc(prediction: Any, target: Any, sample_weight: Any = None) -> float:
    """Matthews' correlation between predicted and true classes, from -1 to 1."""
    from sklearn.metrics import matthews_corrcoef

    rows = _class_rows(prediction, target, sample_weight)
    return matthews_corrcoef(rows.target, _labels(rows), sample_weight=rows.weight)


def confusion_matrix(prediction: Any, target: Any, sample_weight: Any = None) -> np.ndarray:
    """How many rows of each class (rows of the result) are predicted as which (columns).

    >>> confusion_matrix([0, 1, 1, 2], [0, 1, 2, 2])
    array([[1, 0, 0],
           [0, 1, 0],
           [0, 1, 1]])
    """
    from sklearn.metrics import confusion_matrix as matrix

    rows = _class_rows(prediction, target, sample_weight)
    predicted = _labels(rows)
    highest = max(predicted.max(initial=0), rows.target.max(initial=0)) + 1
    n_classes = rows.prediction.shape[1] if _has_classes(rows) else int(highest)
    return matrix(rows.target, predicted, labels=np.arange(n_classes), sample_weight=rows.weight)


# Scores and probabilities -------------------------------------------------------------------------


@metric(higher_is_better=True)
def roc_auc(
    prediction: Any, target: Any, sample_weight: Any = None, *, from_logits: bool = True
) -> float:
    """Area under the ROC curve: how often a positive row scores higher than a negative one.

    The mean over classes (each against the rest) or questions; those of one kind only in the target
    are left out.
    """
    from sklearn.metrics import roc_auc_score

    return _mean_of_columns(roc_auc_score, prediction, target, sample_weight, from_logits)


@metric(higher_is_better=True)
def pr_auc(
    prediction: Any, target: Any, sample_weight: Any = None, *, from_logits: bool = True
) -> float:
    """Average precision: the area under the precision-recall curve, as a step function.

    The mean over classes (each against the rest) or questions; those of one kind only in the target
    are left out.
    """
    from sklearn.metrics import average_precision_score

    return _mean_of_columns(average_precision_score, prediction, target, sample_weight, from_logits)


def _mean_of_columns(
    score: Callable[..., float],
    prediction: Any,
    target: Any,
    sample_weight: Any,
    from_logits: bool,
) -> float:
    rows = _class_rows(prediction, target, sample_weight)
    values = [
        score(truth, column, sample_weight=rows.weight)
        for truth, column in _columns(rows, from_logits)
        if truth.min(initial=1) != truth.max(initial=0)
    ]
    return float(np.mean(values)) if values else float("nan")


def _columns(rows: Rows, from_logits: bool) -> list[tuple[np.ndarray, np.ndarray]]:
    """(0 or 1, score) for each class or question; for two classes that of class 1 alone."""
    if not _has_classes(rows):
        target = rows.target.reshape(len(rows.target), -1)
        scores = rows.prediction.reshape(target.shape)
        return [(target[:, i], scores[:, i]) for i in range(target.shape[1])]
    p = _probabilities(rows, from_logits)
    if p.shape[1] == 2:
        # The logits themselves: probabilities that round to 1 would tie.
        return [(rows.target, rows.prediction[:, 1] - rows.prediction[:, 0])]
    return [((rows.target == c).astype(int), p[:, c]) for c in range(p.shape[1])]


@metric(higher_is_better=False)
def log_loss(
    prediction: Any, target: Any, sample_weight: Any = None, *, from_logits: bool = True
) -> float:
    """Mean negative logarithm of the probability given to the true class or answer."""
    from sklearn.metrics import log_loss as loss

    rows = _class_rows(prediction, target, sample_weight)
    p = _probabilities(rows, from_logits)
    if _has_classes(rows):
        labels = np.arange(p.shape[1])
        return loss(rows.target, p, labels=labels, sample_weight=rows.weight)
    target = rows.target.reshape(len(rows.target), -1)
    p = p.reshape(target.shape)
    columns = (
        loss(target[:, i], p[:, i], labels=[0, 1], sample_weight=rows.weight)
        for i in range(target.shape[1])
    )
    return float(np.mean(list(columns)))


@metric(higher_is_better=False)
def brier(
    prediction: Any, target: Any, sample_weight: Any = None, *, from_logits: bool = True
) -> float:
    """Mean squared error of the probabilities; for more than two classes summed over them."""
    rows = _class_rows(prediction, target, sample_weight)
    p = _probabilities(rows, from_logits)
    if not _has_classes(rows):
        errors = np.square(p - rows.target).reshape(len(p), -1).mean(axis=1)
    elif p.shape[1] == 2:
        errors = np.square(p[:, 1] - rows.target)
    else:
        errors = np.square(p - np.eye(p.shape[1])[rows.target]).sum(axis=1)
    return _mean(errors, rows.weight)


@metric(higher_is_better=False)
def calibration_error(
    prediction: Any,
    target: Any,
    sample_weight: Any = None,
    *,
    n_bins: int = 15,
    from_logits: bool = True,
) -> float:
    """Expected calibration error: mean gap of confidence and accuracy over bins of confidence.

    Guo et al., 2017: bins of equal width, each weighted with its share of the rows.

    Args:
        n_bins: number of bins between 0 and 1.
    """
    rows = _class_rows(prediction, target, sample_weight)
    p = _probabilities(rows, from_logits)
    if _has_classes(rows):
        confidence, right = p.max(axis=1), p.argmax(axis=1) == rows.target
    else:
        confidence, right = np.maximum(p, 1.0 - p).ravel(), ((p > 0.5) == rows.target).ravel()
    weight = np.ones(len(rows.target)) if rows.weight is None else rows.weight
    weight = np.repeat(weight, confidence.size // max(1, len(weight)))
    bins = np.clip(np.ceil(confidence * n_bins).astype(int) - 1, 0, n_bins - 1)
    gaps = np.bincount(bins, weight * (right - confidence), n_bins)
    return float(np.abs(gaps).sum() / weight.sum())


@metric(higher_is_better=False)
def perplexity(
    prediction: Any, target: Any, sample_weight: Any = None, *, from_logits: bool = True
) -> float:
    """Exponential of the log loss: among how many classes the model seems to guess."""
    return float(
        np.exp(log_loss(prediction, target, sample_weight=sample_weight, from_logits=from_logits))
    )


# Numbers ------------------------------------------------------------------------------------------


def _number_rows(prediction: Any, target: Any, sample_weight: Any) -> Rows:
    """Predictions and targets of one shape, (rows, outputs)."""
    prediction, target = _plain(prediction), _plain(target)
    if prediction.shape == (*target.shape, 1):
        prediction = prediction[..., 0]
    if prediction.shape != target.shape:
        raise ShapeError(
            f"the prediction has shape {prediction.shape}, the target {target.shape}; both must "
            "have the same shape"
        )
    outputs = target.shape[-1] if target.ndim > 1 else 1
    shape = target.shape[:-1] if target.ndim > 1 else target.shape
    weight = _row_weights(sample_weight, shape)
    wide = prediction.astype(np.float64).reshape(-1, outputs)
    return Rows(wide, target.astype(np.float64).reshape(-1, outputs), weight)


def _of_numbers(
    score: Callable[..., float], prediction: Any, target: Any, sample_weight: Any
) -> float:
    rows = _number_rows(prediction, target, sample_weight)
    return score(rows.target, rows.prediction, sample_weight=rows.weight)


@metric(higher_is_better=False)
def mse(prediction: Any, target: Any, sample_weight: Any = None) -> float:
    """Mean squared error."""
    rows = _number_rows(prediction, target, sample_weight)
    return _mean(((rows.prediction - rows.target) ** 2).mean(axis=1), rows.weight)


@metric(higher_is_better=False)
def rmse(prediction: Any, target: Any, sample_weight: Any = None) -> float:
    """Root of the mean squared error over all rows and outputs."""
    return float(np.sqrt(mse(prediction, target, sample_weight=sample_weight)))


@metric(higher_is_better=False)
def mae(prediction: Any, target: Any, sample_weight: Any = None) -> float:
    """Mean absolute error."""
    rows = _number_rows(prediction, target, sample_weight)
    return _mean(np.abs(rows.prediction - rows.target).mean(axis=1), rows.weight)


@metric(higher_is_better=True)
def r2(prediction: Any, target: Any, sample_weight: Any = None) -> float:
    """Coefficient of determination: 1 for a perfect prediction, 0 for that of the mean."""
    from sklearn.metrics import r2_score

    return _of_numbers(r2_score, prediction, target, sample_weight)


@metric(higher_is_better=False)
def mape(prediction: Any, target: Any, sample_weight: Any = None) -> float:
    """Mean absolute error as a fraction of the target."""
    from sklearn.metrics import mean_absolute_percentage_error

    return _of_numbers(mean_absolute_percentage_error, prediction, target, sample_weight)
