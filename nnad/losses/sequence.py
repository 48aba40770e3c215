"""Losses for sequences: connectionist temporal classification."""

from __future__ import annotations

from typing import Any

import numpy as np

from nnad import ops
from nnad.autodiff import value_of
from nnad.errors import ClassRangeError, ShapeError
from nnad.losses.base import as_array, loss_class, reduced

__all__ = ["CTC", "ctc"]


def ctc(
    log_probabilities: Any,
    target: Any,
    input_lengths: Any = None,
    target_lengths: Any = None,
    *,
    blank: int = 0,
    zero_infinity: bool = False,
    sample_weight: Any = None,
    reduction: str = "mean",
) -> Any:
    r"""Connectionist temporal classification (Graves et al., 2006): :math:`-\log p` of a label
    sequence, summed over all its alignments with the time steps.

    As in PyTorch, "mean" first divides the loss of each sequence by its number of labels. The axes
    are batch first, where PyTorch's are time first.

    Args:
        log_probabilities: (batch, time, classes), for example from log_softmax.
        target: labels (batch, longest), padded at the end with anything; or all of them in one row.
        input_lengths: time steps of each sequence; None: all.
        target_lengths: labels of each sequence; None: all.
        blank: the class that stands for no label.
        zero_infinity: a target longer than its input allows counts 0 instead of infinity.
        sample_weight: a weight for each sequence.
        reduction: "mean" (divided by the sum of the weights), "sum" or "none".

    Raises:
        ClassRangeError: a label is the blank, negative or not below the number of classes.
        ShapeError: shapes or lengths do not fit.
    """
    log_p = as_array(log_probabilities)
    if log_p.ndim != 3:
        raise ShapeError(
            f"ctc: log_probabilities must have shape (batch, time, classes), got {log_p.shape}"
        )
    batch, time, n_classes = log_p.shape
    target = np.asarray(value_of(target))
    input_lengths = _lengths("input_lengths", input_lengths, batch, time)
    if target.ndim == 1 and target_lengths is not None:
        target = _padded(target, np.asarray(value_of(target_lengths)))
    if target.ndim != 2 or len(target) != batch:
        raise ShapeError(f"ctc: expected a target of shape ({batch}, longest), got {target.shape}")
    target_lengths = _lengths("target_lengths", target_lengths, batch, target.shape[1], least=0)
    _check_labels(target, target_lengths, blank, n_classes)
    losses = ops.ctc_losses(log_p, target, input_lengths, target_lengths, blank=blank)
    if zero_infinity:
        losses = ops.where(ops.isinf(losses), 0.0, losses)
    if reduction == "mean":
        losses = losses / np.maximum(target_lengths, 1).astype(log_p.dtype)
    return reduced("ctc", losses, sample_weight, reduction)


def _lengths(name: str, lengths: Any, batch: int, longest: int, least: int = 1) -> np.ndarray:
    """`lengths` as an integer array, one a sequence; by default all are `longest`."""
    if lengths is None:
        return np.full(batch, longest)
    lengths = np.asarray(value_of(lengths))
    if lengths.shape != (batch,) or lengths.dtype.kind not in "iu":
        raise ShapeError(
            f"ctc: {name} must be {batch} integers, one a sequence; got shape {lengths.shape} "
            f"and dtype {lengths.dtype}"
        )
    if np.any((lengths < least) | (lengths > longest)):
        raise ShapeError(
            f"ctc: {name} must be from {least} to {longest}, got {lengths.min()} to {lengths.max()}"
        )
    return lengths


def _padded(labels: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Labels of all sequences in one row, as one row a sequence."""
    if labels.size != lengths.sum():
        raise ShapeError(
            f"ctc: the target holds {labels.size} labels, but target_lengths add up to "
            f"{lengths.sum()}"
        )
    padded = np.zeros((len(lengths), max(1, lengths.max(initial=0))), labels.dtype)
    padded[np.arange(padded.shape[1]) < lengths[:, None]] = labels
    return padded


def _check_labels(target: np.ndarray, lengths: np.ndarray, blank: int, n_classes: int) -> None:
    used = target[np.arange(target.shape[1]) < lengths[:, None]]
    wrong = used[(used < 0) | (used >= n_classes) | (used == blank)]
    if wrong.size:
        raise ClassRangeError(
            f"ctc: label {wrong[0]} cannot be a target; there are {n_classes} classes, so expected "
            f"0 to {n_classes - 1} without the blank, {blank}"
        )


CTC = loss_class(ctc, "CTC")
