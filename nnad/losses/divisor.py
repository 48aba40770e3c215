"""What the mean loss of a batch is divided by, which weighs it beside those of other batches.

The mean over several parts of a batch is the sum of each part's mean times its divisor, over the
sum of the divisors.  Most losses divide by the number of rows, or the sum of their weights.  Those
that know a weight for each class, or a class that counts nothing, divide by what is left.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from nnad.losses.base import Loss
from nnad.losses.classification import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    cross_entropy,
    nll,
)
from nnad.losses.ranking import multiclass_hinge

__all__ = ["count_rows", "divisor_of", "may_be_one_hot"]

WEIGH_CLASSES = (cross_entropy, nll, multiclass_hinge)
WEIGH_ENTRIES = (binary_cross_entropy, binary_cross_entropy_with_logits)


def divisor_of(loss: Callable[..., Any]) -> Callable[..., float]:
    """The function of (targets, weights of the rows or None) that says what `loss` divides by.

    Args:
        loss: a function or class of `nnad.losses`, or a `functools.partial` of one, maybe wrapped
            (`functools.wraps`).  For any other the rows count, or the sum of their weights.

    Targets that the loss refuses count by rows: it is the loss that says what is wrong with them.

    >>> loss = functools.partial(cross_entropy, weight=[1.0, 5.0], ignore_index=2)
    >>> divisor_of(loss)(np.array([0, 1, 2]), None)
    6.0
    """
    function, settings = _unwrapped(loss)
    weight, ignored = settings.get("weight"), settings.get("ignore_index")
    weights = None if weight is None else np.asarray(weight, np.float64)
    if settings.get("reduction", "mean") != "mean" or (weights is None and ignored is None):
        return count_rows
    if function in WEIGH_ENTRIES and weights is not None:
        return functools.partial(_count_entries, weights)
    if function not in WEIGH_CLASSES or (weights is not None and weights.ndim != 1):
        return count_rows
    return functools.partial(_count_classes, weights, ignored)


def may_be_one_hot(divisor: Any, target: Any) -> bool:
    """Whether only the shape of the outputs says if `target` holds class numbers or ones and zeros.

    If it is theirs, ``partial(divisor, one_hot=True)`` is the right function.
    """
    if getattr(divisor, "func", None) is not _count_classes or divisor.args[0] is None:
        return False
    return _has_axis_of(divisor.args[0], target) and target.dtype.kind in "iu"


def _unwrapped(loss: Any) -> tuple[Any, Mapping[str, Any]]:
    """The function at the bottom, and the settings it is called with."""
    settings: dict[str, Any] = {}
    while True:
        if isinstance(loss, Loss):
            loss, settings = type(loss).function, {**loss.settings, **settings}
        elif isinstance(loss, functools.partial):
            loss, settings = loss.func, {**loss.keywords, **settings}
        elif hasattr(loss, "__wrapped__"):
            loss = loss.__wrapped__
        else:
            return loss, settings


def count_rows(target: Any, sample_weight: Any) -> float:
    """The number of rows, or the sum of their weights."""
    return len(target) if sample_weight is None else float(sample_weight.sum(dtype=np.float64))


def _count_entries(weights: np.ndarray, target: Any, rows: Any) -> float:
    """The sum of weights of entries; those alike in all rows matter beside weights that are not."""
    if rows is None or rows.ndim < 2:
        return count_rows(target, rows)
    return float(np.sum(np.broadcast_to(weights, target.shape) * _spread(rows, target.ndim)))


def _count_classes(
    weights: np.ndarray | None, ignored: int | None, target: Any, rows: Any, one_hot: bool = False
) -> float:
    """The sum of the weights of the classes in `target`, times those of the rows."""
    target = np.asarray(target)
    if one_hot or target.dtype.kind not in "iu":  # shares of the classes, the last axis
        if weights is None or not _has_axis_of(weights, target):
            return count_rows(target, rows)
        counts = target @ weights
    else:
        counts = np.ones(target.shape) if ignored is None else (target != ignored) * 1.0
        if weights is not None:
            classes = np.where(counts > 0, target, 0)
            if not np.all((classes >= 0) & (classes < len(weights))):
                return count_rows(target, rows)
            counts *= weights[classes]
    if rows is not None:
        counts = counts * _spread(rows, counts.ndim)
    return float(counts.sum(dtype=np.float64))


def _has_axis_of(weights: np.ndarray, target: Any) -> bool:
    """Whether the last of several axes of `target` is as long as `weights`."""
    return len(target.shape) > 1 and target.shape[-1] == len(weights)


def _spread(rows: Any, ndim: int) -> Any:
    """Weights of rows with axes appended, `ndim` in all."""
    return rows.reshape(rows.shape + (1,) * (ndim - rows.ndim))
