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
from nnad.losses.classification import cross_entropy, nll
from nnad.losses.ranking import multiclass_hinge

__all__ = ["count_rows", "divisor_of"]

WEIGH_CLASSES = (cross_entropy, nll, multiclass_hinge)


def divisor_of(loss: Callable[..., Any]) -> Callable[[Any, Any], float]:
    """The function of (targets, weights of the rows or None) that says what `loss` divides by.

    Args:
        loss: a function or class of `nnad.losses`, or a `functools.partial` of one, maybe wrapped
            (`functools.wraps`).  For any other the rows count, or the sum of their weights.

    >>> loss = functools.partial(cross_entropy, weight=[1.0, 5.0], ignore_index=2)
    >>> divisor_of(loss)(np.array([0, 1, 2]), None)
    6.0
    """
    function, settings = _unwrapped(loss)
    weight, ignored = settings.get("weight"), settings.get("ignore_index")
    if function not in WEIGH_CLASSES or (weight is None and ignored is None):
        return count_rows
    weights = None if weight is None else np.asarray(weight, np.float64)
    return functools.partial(_counted, weights, ignored)


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


def _counted(weights: np.ndarray | None, ignored: int | None, target: Any, rows: Any) -> float:
    """The sum of the weights of the classes in `target`, times those of the rows."""
    target = np.asarray(target)
    if target.dtype.kind == "f":  # probabilities of the classes, the last axis
        counts = target @ weights if weights is not None else np.ones(target.shape[:-1])
    else:
        counts = np.ones(target.shape) if ignored is None else (target != ignored) * 1.0
        if weights is not None:
            counts *= weights[np.where(counts > 0, target, 0)]
    if rows is not None:
        counts = counts * rows.reshape(rows.shape + (1,) * (counts.ndim - rows.ndim))
    return float(counts.sum(dtype=np.float64))
