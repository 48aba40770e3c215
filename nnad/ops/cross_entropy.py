"""Softmax cross entropy with integer classes: one primitive instead of a chain of small ones."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from nnad.autodiff.table import Rule, case, explicit
from nnad.errors import ClassRangeError
from nnad.ops.elementwise import equal, not_equal, where
from nnad.ops.places import FRESH, filled
from nnad.ops.reduce import sum as sum_
from nnad.ops.reference import kernel, reference_jvp, reference_vjp
from nnad.ops.shape import astype, expand_dims
from nnad.ops.special import log_softmax

__all__ = ["class_cross_entropy"]


def dense_cross_entropy(
    logits: Any,
    target: Any,
    weight: Any,
    sample_weight: Any,
    *,
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
    reduction: str = "mean",
) -> Any:
    """The same in small operations: what higher derivatives are taken of."""
    n_classes = logits.shape[-1]
    log_p = log_softmax(logits, axis=-1)
    one_hot = astype(equal(expand_dims(target, -1), np.arange(n_classes)), logits.dtype)
    row_weight = sum_(one_hot if weight is None else one_hot * weight, axis=-1)
    share: Any = label_smoothing / n_classes
    if sample_weight is not None:
        row_weight, share = row_weight * sample_weight, share * sample_weight
    if ignore_index is not None:
        kept = astype(not_equal(target, ignore_index), logits.dtype)
        row_weight, share = row_weight * kept, share * kept
    losses = -(row_weight * (1.0 - label_smoothing)) * sum_(one_hot * log_p, axis=-1)
    if label_smoothing:
        losses = losses - share * sum_(log_p if weight is None else log_p * weight, axis=-1)
    if reduction == "none":
        return losses
    if reduction == "sum":
        return sum_(losses)
    total = sum_(row_weight)
    return sum_(losses) / where(equal(total, 0), 1, total)


def _forward(
    logits: Any,
    target: Any,
    weight: Any,
    sample_weight: Any,
    *,
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
    reduction: str = "mean",
    place: Any = FRESH,
) -> Any:
    n_classes = logits.shape[-1]
    rows = logits.reshape(-1, n_classes)
    kept = None if ignore_index is None else (target != ignore_index).reshape(-1)
    places = _places(target.reshape(-1), n_classes, kept, place)
    shifted = place(np.subtract, rows, _highest(rows, place))
    e = place(np.exp, shifted)
    total = place(np.dot, e, filled(n_classes, 1, e.dtype))
    log_total = place(np.log, total)
    losses = _at(shifted, places, place)
    np.subtract(log_total, losses, out=losses)
    if weight is None and sample_weight is None and kept is None and not label_smoothing:
        hard, soft = 1.0 if reduction != "mean" else 1.0 / max(1, len(rows)), None
        ones = filled(len(rows), 1, e.dtype)
        ans = losses if reduction == "none" else np.dot(losses, ones) * hard
    else:
        row_weight, share = _row_weights(
            places, n_classes, weight, sample_weight, kept, target.shape, e.dtype
        )
        scale = _scale(row_weight, reduction)
        hard, soft = row_weight * ((1.0 - label_smoothing) * scale), None
        losses *= hard
        if label_smoothing:
            soft = share * (label_smoothing / n_classes * scale)
            gaps = log_total[:, None] - shifted
            losses += soft * (np.add.reduce(gaps, axis=1) if weight is None else gaps @ weight)
        ans = losses if reduction == "none" else np.add.reduce(losses)
    if reduction == "none":
        ans = ans.reshape(target.shape)
    return ans, (e, total, places, hard, soft)


def _highest(rows: Any, place: Any) -> Any:
    """The maximum of each row, as a column: on short rows twice as fast as a reduction."""
    if not rows.size:
        return 0.0
    places = place(np.ndarray.argmax, rows, 1)
    places += _row_starts(*rows.shape)
    return _at(rows, places, place)[:, None]


def _at(rows: Any, places: Any, place: Any) -> Any:
    """One element of each row, by its place in the flattened array."""
    return place(np.ndarray.take, rows.reshape(-1), places, mode="clip")  # "raise" would copy


@lru_cache(maxsize=64)
def _row_starts(n: int, n_classes: int) -> Any:
    """Where each of `n` rows begins in the flattened array."""
    starts = np.arange(0, n * n_classes, n_classes)
    starts.flags.writeable = False
    return starts


def _places(classes: Any, n_classes: int, kept: Any, place: Any) -> Any:
    """Where in the flattened rows each row's own class stands; raises for a class out of range."""
    if kept is not None:
        classes = np.where(kept, classes, 0)
    if classes.dtype != np.int64:
        classes = classes.astype(np.int64)
    # Seen as unsigned, negative numbers are large: one comparison checks both ends.
    if classes.size and classes.view(np.uint64).max() >= n_classes:
        wrong = classes[(classes < 0) | (classes >= n_classes)][0]
        raise ClassRangeError(
            f"cross_entropy: class {wrong} is out of range; the logits have {n_classes} classes, "
            f"so expected 0 to {n_classes - 1}"
        )
    return place(np.add, classes, _row_starts(classes.size, n_classes))


def _row_weights(
    places: Any,
    n_classes: int,
    weight: Any,
    sample_weight: Any,
    kept: Any,
    shape: tuple[int, ...],
    dtype: Any,
) -> tuple[Any, Any]:
    """(weight of each row with that of its class, weight of each row without)."""
    share = np.ones(len(places), dtype)
    if sample_weight is not None:
        share = share * np.broadcast_to(sample_weight, shape).reshape(-1)
    if kept is not None:
        share = share * kept
    return (share if weight is None else share * weight[places % n_classes]), share


def _scale(row_weight: Any, reduction: str) -> Any:
    """What the losses are multiplied by; a batch whose weights are all zero counts nothing."""
    if reduction != "mean":
        return 1.0
    total = np.add.reduce(row_weight)
    return 1.0 / total if total != 0 else total


def _gradient(
    g: Any,
    e: Any,
    total: Any,
    places: Any,
    hard: Any,
    soft: Any,
    weight: Any,
    *,
    place: Any = FRESH,
) -> Any:
    """``g * hard * (p - onehot) + g * soft * (p * sum(weight) - weight)``, with p = e / total."""
    g = np.reshape(g, -1)
    own = g * hard
    slope = own if soft is None else own + g * soft * _sum_of(weight, e.shape[1])
    d = place(np.multiply, e, place(np.divide, slope, total)[:, None], order="C")
    if soft is not None:
        pull = (g * soft)[:, None]
        d -= pull if weight is None else pull * weight
    flat = d.reshape(-1)
    hit = _at(flat, places, place)
    hit -= own
    flat[places] = hit
    return d


def _sum_of(weight: Any, n_classes: int) -> Any:
    return n_classes if weight is None else np.add.reduce(weight)


_gradient_kernel = kernel("cross_entropy_gradient", _gradient)


_derived = reference_vjp(dense_cross_entropy)


def _vjp_logits(
    g: Any, ans: Any, logits: Any, target: Any, weight: Any, *rest: Any, saved: Any, **options: Any
) -> Any:
    if saved is None:
        return _derived(g, ans, logits, target, weight, *rest, **options)[0]
    return _gradient_kernel(g, *saved, weight).reshape(logits.shape)


def _vjp_of(i: int) -> Rule:
    """The rule of a weight: seldom wanted, so it goes through the small operations."""
    return lambda *args, saved, **options: _derived(*args, **options)[i]


def _samples(rng: np.random.Generator) -> list[Any]:
    classes = np.array([2, 0, 3])
    weight = rng.uniform(0.5, 2.0, 4)
    sample_weight = rng.uniform(0.5, 2.0, 3)
    return [
        case(rng.normal(size=(3, 4)), classes, None, None),
        case(rng.normal(size=(3, 4)), classes, None, None, reduction="none"),
        case(rng.normal(size=(3, 4)), classes, None, None, reduction="sum"),
        case(rng.normal(size=(3, 2, 4)), np.array([[1, 0], [3, 3], [2, 1]]), None, None),
        case(rng.normal(size=(4,)), np.array(2), None, None),
        case(rng.normal(size=(3, 4)), classes, weight, sample_weight, label_smoothing=0.1),
        case(rng.normal(size=(3, 4)), classes, weight, None, ignore_index=0, reduction="sum"),
        case(rng.normal(size=(3, 4)), classes, None, sample_weight, reduction="none"),
    ]


# Weighted mean, sum or each of -log softmax(logits)[target]: scores (…, classes), class numbers,
# a weight for each class or None, a weight for each row or None.
class_cross_entropy = explicit(
    "class_cross_entropy",
    _forward,
    vjps=(_vjp_logits, None, _vjp_of(2), _vjp_of(3)),
    jvp=reference_jvp(dense_cross_entropy),
    residuals=True,
    formula="sum(w * -log(softmax(x0)[x1])) / sum(w), w = x2[x1] * x3",
    partials=(
        "g * w * (softmax(x0) - onehot(x1)) / sum(w)",
        "",
        "g * sum over the class of x3 * (-log softmax(x0)[x1] - y) / sum(w)",
        "g * x2[x1] * (-log softmax(x0)[x1] - y) / sum(w)",
    ),
    samples=_samples,
)
