"""Losses for sequences: connectionist temporal classification."""

from __future__ import annotations

from typing import Any

import numpy as np

from nnad import ops
from nnad.autodiff import Tensor
from nnad.errors import ShapeError
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
    batch, time, _ = log_p.shape
    target = target if isinstance(target, Tensor) else np.asarray(target)
    if target.ndim == 1 and target_lengths is not None:
        target = _padded(np.asarray(target), np.asarray(target_lengths))
    if target.ndim != 2 or len(target) != batch:
        raise ShapeError(f"ctc: expected a target of shape ({batch}, longest), got {target.shape}")
    input_lengths = _lengths("input_lengths", input_lengths, batch, time)
    target_lengths = _lengths("target_lengths", target_lengths, batch, target.shape[1])
    losses = ops.ctc_losses(log_p, target, input_lengths, target_lengths, blank=blank)
    if zero_infinity:
        losses = ops.where(ops.isinf(losses), 0.0, losses)
    if reduction == "mean":
        losses = losses / ops.astype(ops.maximum(target_lengths, 1), log_p.dtype)
    return reduced("ctc", losses, sample_weight, reduction)


def _lengths(name: str, lengths: Any, batch: int, longest: int) -> Any:
    """`lengths` as an integer array, one a sequence; by default all are `longest`."""
    if lengths is None:
        return np.full(batch, longest)
    lengths = lengths if isinstance(lengths, Tensor) else np.asarray(lengths)
    if lengths.shape != (batch,) or lengths.dtype.kind not in "iu":
        raise ShapeError(
            f"ctc: {name} must be {batch} integers, one a sequence; got shape {lengths.shape} "
            f"and dtype {lengths.dtype}"
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


CTC = loss_class(ctc, "CTC")
