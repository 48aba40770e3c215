"""Targets: what kind of task they make, classes as integers, weights of classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from nnad.data.dataset import Raw
from nnad.errors import DataError, did_you_mean

__all__ = ["Target", "class_weights", "encode"]

FEW_CLASSES = 20  # whole numbers with no more distinct values than this are taken for classes


@dataclass(frozen=True)
class Target:
    """Encoded targets.

    Attributes:
        task: what is learned.
        y: int64 classes, or float64.
        class_names: names of classes 0, 1, ..., or of the labels; None for a regression.
    """

    task: str
    y: np.ndarray
    class_names: list[str] | None


def encode(raw: Raw, task: str | None) -> Target:
    """Find out the task, unless it is given, and encode the targets for it.

    Raises:
        DataError: if the target does not fit the task, or does not tell which one it is.
    """
    y = raw.y
    assert y is not None
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    _check_values(y, raw.label)
    task = task or raw.task or _infer(y, raw)
    if task == "classification":
        return _classes(y, raw)
    if _is_text(y):
        raise DataError(
            f"{raw.label}: target {', '.join(raw.target_names)} holds text, which cannot be "
            f"learned as {task}; set data.task: classification, or name a column of numbers"
        )
    if task == "multi_label":
        return _labels(y, raw)
    return Target("regression", y.astype(np.float64), None)


def _is_text(y: np.ndarray) -> bool:
    return y.dtype.kind in "OUS"


def _check_values(y: np.ndarray, label: str) -> None:
    if y.dtype.kind == "f" and not np.isfinite(y).all():
        rows = np.unique(np.argwhere(~np.isfinite(y))[:, 0])
        shown = ", ".join(map(str, rows[:10])) + (", ..." if len(rows) > 10 else "")
        raise DataError(f"{label}: the target is not finite in {len(rows)} rows: {shown}")
    if y.dtype.kind not in "fiubOUS":
        raise DataError(f"{label}: targets of type {y.dtype}; expected numbers or text")


def _infer(y: np.ndarray, raw: Raw) -> str:
    """Text, booleans and few whole numbers are classes; other numbers are a regression."""
    if y.ndim > 1:
        if np.isin(y, (0, 1)).all() if not _is_text(y) else True:
            raise DataError(
                f"{raw.label}: several targets of 0 and 1 or of text do not tell the task; set "
                "data.task: multi_label (0/1 columns) or regression (numbers)"
            )
        return "regression"
    if _is_text(y) or y.dtype.kind == "b":
        return "classification"
    if y.dtype.kind == "f" and (y != np.round(y)).any():
        return "regression"
    values, sizes = np.unique(y, return_counts=True)
    if len(values) <= FEW_CLASSES:
        return "classification"
    consecutive = values[0] in (0, 1) and values[-1] - values[0] + 1 == len(values)
    if consecutive and sizes.min() > 1:
        raise DataError(
            f"{raw.label}: the target holds the whole numbers {values[0]:g} to {values[-1]:g}, "
            "which may be classes or amounts; set data.task: classification or regression"
        )
    return "regression"


def _classes(y: np.ndarray, raw: Raw) -> Target:
    if y.ndim > 1:
        raise DataError(
            f"{raw.label}: classification takes one target, got {y.shape[1]}; for several 0/1 "
            "columns set data.task: multi_label"
        )
    if raw.class_names is not None:
        return Target("classification", y.astype(np.int64), raw.class_names)
    if y.dtype.kind == "f" and (y != np.round(y)).any():
        raise DataError(
            f"{raw.label}: the target holds numbers such as {y[y != np.round(y)][0]:g}, which are "
            "no classes; set data.task: regression"
        )
    values, codes = np.unique(y.astype(str) if _is_text(y) else y, return_inverse=True)
    if len(values) < 2:
        raise DataError(
            f"{raw.label}: the target has a single class, {values[0]!s}; nothing to learn"
        )
    return Target("classification", codes.astype(np.int64), [_class_name(v) for v in values])


def _class_name(value: Any) -> str:
    """Whole numbers without a decimal point.

    >>> _class_name(np.float64(3.0)), _class_name(np.str_("red"))
    ('3', 'red')
    """
    return f"{value:.0f}" if isinstance(value, float | np.floating) else str(value)


def _labels(y: np.ndarray, raw: Raw) -> Target:
    if not np.isin(y, (0, 1)).all():
        bad = y[~np.isin(y, (0, 1))].flat[0]
        raise DataError(f"{raw.label}: multi_label targets must be 0 or 1, got {bad:g}")
    y = y.reshape(len(y), -1)
    names = raw.target_names
    if len(names) != y.shape[1]:
        names = [f"{names[0] if names else 'y'}{i}" for i in range(y.shape[1])]
    return Target("multi_label", y.astype(np.float64), list(names))


def class_weights(
    spec: Literal["balanced"] | Mapping[Any, float] | None,
    class_names: list[str] | None,
    y: np.ndarray,
    label: str = "class_weight",
) -> np.ndarray | None:
    """Weight of each class in the loss.

    Args:
        spec: ``balanced`` for rows / (classes * rows of the class), as scikit-learn has it; a
            mapping of class names to weights, others 1; or None.
        class_names: names of classes 0, 1, ...; None if the task has no classes.
        y: (rows,) classes of the training part.
        label: the key in the configuration, for messages.

    Returns:
        (classes,) float64 weights, or None if ``spec`` is.

    Raises:
        DataError: for names that are no class of the target, negative weights, or no classes.

    >>> class_weights("balanced", ["a", "b"], np.array([0, 0, 0, 1]))
    array([0.66666667, 2.        ])
    >>> class_weights({"b": 3}, ["a", "b"], np.array([0, 1]))
    array([1., 3.])
    """
    if spec is None:
        return None
    if class_names is None or y.ndim != 1:
        raise DataError(f"{label}: the target has no classes; class weights need a classification")
    if not isinstance(spec, Mapping):
        counts = np.bincount(y, minlength=len(class_names))
        return np.where(counts > 0, len(y) / (len(class_names) * np.maximum(counts, 1)), 0.0)
    named = {str(name): weight for name, weight in spec.items()}
    problems = [
        f"{label}.{name}: the target has no class {name!r}{did_you_mean(name, class_names)} "
        f"(classes: {', '.join(class_names)})"
        for name in named
        if name not in class_names
    ]
    problems += [
        f"{label}.{name}: got {weight!r}, expected a finite number of at least 0"
        for name, weight in named.items()
        if not 0 <= weight < np.inf
    ]
    if problems:
        raise DataError(problems)
    return np.array([float(named.get(name, 1.0)) for name in class_names])
