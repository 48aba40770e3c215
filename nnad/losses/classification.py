"""Losses for classes: cross entropy and its kin, binary and multi-class."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from nnad import ops
from nnad.autodiff import Tensor, value_of
from nnad.errors import ShapeError
from nnad.losses.base import (
    as_array,
    check_reduction,
    like,
    loss_class,
    operands,
    reduced,
    weights_for,
)

__all__ = [
    "BinaryCrossEntropy",
    "BinaryCrossEntropyWithLogits",
    "CrossEntropy",
    "Focal",
    "KLDiv",
    "NLL",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "cross_entropy",
    "focal",
    "kl_div",
    "nll",
]

LEAST_LOG = -100.0  # PyTorch's bound on the logarithm of a probability


def cross_entropy(
    logits: Any,
    target: Any,
    *,
    weight: Any = None,
    sample_weight: Any = None,
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
    reduction: str = "mean",
) -> Any:
    r"""Softmax cross entropy :math:`-\sum_c q_c \log p_c`, p being the softmax of the logits.

    Args:
        logits: scores (…, classes), the classes along the last axis.
        target: class numbers (…), or probabilities or a one-hot array of the logits' shape.
        weight: a weight for each class.
        sample_weight: a weight for each row, or for each class number in `target`.
        label_smoothing: share of the target that is spread evenly over all classes.
        ignore_index: rows with this class number count nothing.
        reduction: "mean" (divided by the sum of the weights), "sum" or "none".

    Raises:
        ClassRangeError: a class number is negative or not below the number of classes.
        ShapeError: shapes do not fit.

    >>> import numpy as np
    >>> logits = np.log([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1]])
    >>> float(np.exp(-cross_entropy(logits, np.array([0, 1]), reduction="none")).sum().round(6))
    1.3
    """
    if not isinstance(logits, (Tensor, np.ndarray)) or logits.dtype.kind != "f":
        logits = as_array(logits)
    if not isinstance(target, (Tensor, np.ndarray)):
        target = np.asarray(target)
    check_reduction(reduction)
    if not 0 <= label_smoothing <= 1:
        raise ValueError(
            f"cross_entropy: label_smoothing is a share between 0 and 1, got {label_smoothing}"
        )
    if weight is not None:
        weight = _class_weights("cross_entropy", weight, logits)
    if target.shape == logits.shape:
        return _soft_cross_entropy(
            logits, target, weight, sample_weight, label_smoothing, ignore_index, reduction
        )
    _check_classes("cross_entropy", logits, target)
    if sample_weight is not None:
        sample_weight = _row_weights(sample_weight, logits, target)
    return ops.class_cross_entropy(
        logits,
        target,
        weight,
        sample_weight,
        label_smoothing=label_smoothing,
        ignore_index=ignore_index,
        reduction=reduction,
    )


def _check_classes(name: str, logits: Any, target: Any) -> None:
    """Raise unless `target` holds one class number for each row of `logits`."""
    if target.shape != logits.shape[:-1]:
        raise ShapeError(
            f"{name}: the logits have shape {logits.shape}, so the target must be class numbers "
            f"of shape {logits.shape[:-1]} or probabilities of shape {logits.shape}; got shape "
            f"{target.shape}"
        )
    if target.dtype.kind not in "iu":
        raise TypeError(
            f"{name}: class numbers must be integers, got {target.dtype}; convert with "
            "target.astype('int64')"
        )


def _class_weights(name: str, weight: Any, logits: Any) -> Any:
    weight = like(logits, weight)
    if weight.shape != logits.shape[-1:]:
        raise ShapeError(
            f"{name}: weight has shape {weight.shape}, expected one weight for each of the "
            f"{logits.shape[-1]} classes"
        )
    return weight


def _row_weights(sample_weight: Any, logits: Any, target: Any) -> Any:
    """`sample_weight` with the shape of `target`."""
    sample_weight = like(logits, sample_weight)
    if sample_weight.shape == target.shape:
        return sample_weight
    fitted = weights_for("cross_entropy", sample_weight, logits[..., 0])
    return ops.broadcast_to(fitted, target.shape)


def _soft_cross_entropy(
    logits: Any,
    target: Any,
    weight: Any,
    sample_weight: Any,
    label_smoothing: float,
    ignore_index: int | None,
    reduction: str,
) -> Any:
    """Cross entropy with probabilities; the weight of a row is the mean weight of its classes."""
    if ignore_index is not None:
        raise ValueError(
            "cross_entropy: ignore_index names a class number, but the target holds "
            "probabilities; give such rows a sample_weight of 0"
        )
    target = like(logits, target)
    smooth = target
    if label_smoothing:
        smooth = target * (1.0 - label_smoothing) + label_smoothing / logits.shape[-1]
    log_p = ops.log_softmax(logits, axis=-1)
    if weight is None:
        return reduced("cross_entropy", -ops.sum(smooth * log_p, axis=-1), sample_weight, reduction)
    losses = -ops.sum(smooth * weight * log_p, axis=-1)
    row_weight = ops.sum(target * weight, axis=-1)
    return _mean_over(row_weight, losses, sample_weight, reduction)


def _mean_over(row_weight: Any, losses: Any, sample_weight: Any, reduction: str) -> Any:
    """Reduce losses that hold the weights `row_weight` already."""
    if sample_weight is not None:
        fitted = weights_for("cross_entropy", sample_weight, losses)
        losses, row_weight = losses * fitted, row_weight * fitted
    if reduction != "mean":
        return losses if reduction == "none" else ops.sum(losses)
    total = ops.sum(row_weight)
    return ops.sum(losses) / ops.where(ops.equal(total, 0), 1, total)


def nll(
    log_probabilities: Any,
    target: Any,
    *,
    weight: Any = None,
    sample_weight: Any = None,
    ignore_index: int | None = None,
    reduction: str = "mean",
) -> Any:
    r"""Negative log likelihood :math:`-\log p_y` of predicted log-probabilities.

    Args:
        log_probabilities: (…, classes), for example from log_softmax.
        target: class numbers (…).
        weight: a weight for each class.
        sample_weight: a weight for each row.
        ignore_index: rows with this class number count nothing.
        reduction: "mean" (divided by the sum of the weights), "sum" or "none".
    """
    log_p = as_array(log_probabilities)
    target = target if isinstance(target, Tensor) else np.asarray(target)
    _check_classes("nll", log_p, target)
    picked, row_weight = ops.pick_class(log_p, target, ignore_index=ignore_index), None
    if weight is not None:
        weight = ops.broadcast_to(_class_weights("nll", weight, log_p), log_p.shape)
        row_weight = ops.pick_class(weight, target, ignore_index=ignore_index)
    elif ignore_index is not None:
        row_weight = ops.astype(ops.not_equal(target, ignore_index), log_p.dtype)
    return reduced("nll", -picked, sample_weight, reduction, row_weight)


def binary_cross_entropy_with_logits(
    logits: Any,
    target: Any,
    *,
    weight: Any = None,
    pos_weight: Any = None,
    sample_weight: Any = None,
    reduction: str = "mean",
) -> Any:
    r"""Cross entropy of a sigmoid: :math:`-y \log \sigma(x) - (1 - y) \log(1 - \sigma(x))`.

    Args:
        logits: scores, any shape; one column an output for several yes-or-no questions.
        target: 0, 1 or a probability, in the shape of the logits.
        weight: weights that broadcast against the logits, such as one for each output.
        pos_weight: factor on the term of the target 1, broadcasts against the logits.
        sample_weight: a weight for each row, or for each loss.
        reduction: "mean" (divided by the sum of the weights), "sum" or "none".

    >>> float(binary_cross_entropy_with_logits([0.0], [1.0]).round(4))
    0.6931
    """
    name = "binary_cross_entropy_with_logits"
    logits, target = operands(name, logits, target)
    if pos_weight is None:
        losses = ops.logistic_loss(logits, target)
    else:
        factor = 1.0 + (like(logits, pos_weight) - 1.0) * target
        losses = (1.0 - target) * logits + factor * ops.logaddexp(-logits, 0.0)
    return reduced(name, losses, sample_weight, reduction, _spread(weight, losses))


def _spread(weight: Any, losses: Any) -> Any:
    """`weight` in the shape of `losses`, or None."""
    if weight is None:
        return None
    return ops.broadcast_to(like(losses, weight), losses.shape)


def binary_cross_entropy(
    probabilities: Any,
    target: Any,
    *,
    weight: Any = None,
    sample_weight: Any = None,
    reduction: str = "mean",
) -> Any:
    r"""Binary cross entropy of probabilities: :math:`-y \log p - (1 - y) \log(1 - p)`.

    Logarithms are bounded below by -100, as in PyTorch.
    :func:`binary_cross_entropy_with_logits` is more precise.

    Args:
        probabilities: from 0 to 1, any shape.
        target: 0, 1 or a probability, in the same shape.
        weight: weights that broadcast against the probabilities.
        sample_weight: a weight for each row, or for each loss.
        reduction: "mean" (divided by the sum of the weights), "sum" or "none".
    """
    name = "binary_cross_entropy"
    p, target = operands(name, probabilities, target)
    losses = -(target * _bounded_log(p) + (1.0 - target) * _bounded_log(1.0 - p))
    return reduced(name, losses, sample_weight, reduction, _spread(weight, losses))


def _bounded_log(p: Any) -> Any:
    """``max(log(p), -100)`` without a warning, and with slope 0, at p = 0."""
    usable = ops.greater(p, math.exp(LEAST_LOG))
    return ops.where(usable, ops.log(ops.where(usable, p, 1.0)), LEAST_LOG)


def focal(
    logits: Any,
    target: Any,
    *,
    gamma: float = 2.0,
    alpha: Any = None,
    sample_weight: Any = None,
    reduction: str = "mean",
) -> Any:
    r"""Focal loss :math:`-\alpha (1 - p_t)^\gamma \log p_t` (Lin et al., 2017).

    Logits of the target's shape are sigmoid scores (as torchvision's sigmoid_focal_loss); with one
    axis more they are softmax scores, and the target holds class numbers.

    Args:
        logits: scores.
        target: 0, 1 or probabilities in the logits' shape, or class numbers.
        gamma: how much easy examples are discounted.
        alpha: None; for sigmoid scores the weight of the target 1, 0 having ``1 - alpha``; for
            softmax scores a weight for each class. It scales the losses and does not count as a
            weight in the mean.
        sample_weight: a weight for each row, or for each loss.
        reduction: "mean" (divided by the sum of the sample weights), "sum" or "none".
    """
    logits = as_array(logits)
    target = target if isinstance(target, Tensor) else np.asarray(target)
    if target.shape == logits.shape:
        losses = _sigmoid_focal(logits, like(logits, target), gamma, alpha)
    else:
        losses = _softmax_focal(logits, target, gamma, alpha)
    return reduced("focal", losses, sample_weight, reduction)


def _sigmoid_focal(logits: Any, target: Any, gamma: float, alpha: Any) -> Any:
    p = ops.sigmoid(logits)
    missed = p * (1.0 - target) + (1.0 - p) * target
    losses = ops.logistic_loss(logits, target) * missed**gamma
    if alpha is None:
        return losses
    return losses * (alpha * target + (1.0 - alpha) * (1.0 - target))


def _softmax_focal(logits: Any, target: Any, gamma: float, alpha: Any) -> Any:
    _check_classes("focal", logits, target)
    log_p = ops.pick_class(ops.log_softmax(logits, axis=-1), target)
    losses = -((1.0 - ops.exp(log_p)) ** gamma) * log_p
    if alpha is None:
        return losses
    weight = ops.broadcast_to(_class_weights("focal", alpha, logits), logits.shape)
    return losses * ops.pick_class(weight, target)


def kl_div(
    log_probabilities: Any,
    target: Any,
    *,
    log_target: bool = False,
    sample_weight: Any = None,
    reduction: str = "mean",
) -> Any:
    r"""Kullback-Leibler divergence, per entry: :math:`q (\log q - \log p)`, 0 where :math:`q = 0`.

    As in PyTorch, "mean" is over all entries; "batchmean" divides the sum by the number of rows,
    which is the divergence between distributions along the last axes.

    Args:
        log_probabilities: :math:`\log p`.
        target: :math:`q`, or :math:`\log q` with `log_target`, in the same shape.
        log_target: the target holds logarithms.
        sample_weight: a weight for each row, or for each entry.
        reduction: "mean", "batchmean" (both divided by the sum of the weights), "sum" or "none".
    """
    log_p, target = operands("kl_div", log_probabilities, target)
    if log_target:
        losses = ops.exp(target) * (target - log_p)
    else:
        positive = ops.greater(target, 0)
        losses = target * (ops.log(ops.where(positive, target, 1.0)) - log_p)
    if reduction != "batchmean":
        return reduced("kl_div", losses, sample_weight, reduction)
    rows = ops.sum(losses, axis=tuple(range(1, value_of(losses).ndim)))
    return reduced("kl_div", rows, sample_weight, "mean")


CrossEntropy = loss_class(cross_entropy, "CrossEntropy")
NLL = loss_class(nll, "NLL")
BinaryCrossEntropyWithLogits = loss_class(
    binary_cross_entropy_with_logits, "BinaryCrossEntropyWithLogits"
)
BinaryCrossEntropy = loss_class(binary_cross_entropy, "BinaryCrossEntropy")
Focal = loss_class(focal, "Focal")
KLDiv = loss_class(kl_div, "KLDiv")
