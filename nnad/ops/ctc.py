"""Connectionist temporal classification: the likelihood of a label sequence over all alignments.

Graves et al., 2006. A sequence of labels is written with a blank before, between and after them;
an alignment stays, moves on by one place, or skips a blank between two different labels. The
forward-backward recursions run over all sequences of a batch at once, in logarithms.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nnad.autodiff.table import case, explicit
from nnad.errors import ClassRangeError, ShapeError
from nnad.ops.elementwise import logaddexp, where
from nnad.ops.linalg import matmul
from nnad.ops.reference import kernel, reference_jvp, with_reference
from nnad.ops.shape import swapaxes

__all__ = ["ctc_losses"]

FAR = -1e30  # stands for log 0 where a derivative is taken through it


def _places(target: Any, target_lengths: Any, blank: int) -> tuple[Any, Any]:
    """(the label at each place of the blank-extended sequences, where a blank may be skipped)."""
    n, length = target.shape
    labels = np.full((n, 2 * length + 1), blank)
    inside = np.arange(length) < target_lengths[:, None]
    labels[:, 1::2] = np.where(inside, target, blank)
    skips = np.zeros(labels.shape, bool)
    skips[:, 2:] = (labels[:, 2:] != blank) & (labels[:, 2:] != labels[:, :-2])
    return labels, skips


def _later(row: Any, by: int) -> Any:
    """`row` moved to the right by `by` places; what comes in is log 0."""
    moved = np.full_like(row, -np.inf)
    moved[:, by:] = row[:, : row.shape[1] - by]
    return moved


def _earlier(row: Any, by: int) -> Any:
    moved = np.full_like(row, -np.inf)
    moved[:, : row.shape[1] - by] = row[:, by:]
    return moved


def _sum_of_moves(row: Any, move: Any, skips: Any) -> Any:
    """Logarithm of the sum over staying, moving on by one, and skipping a blank."""
    return np.logaddexp(
        np.logaddexp(row, move(row, 1)), np.where(skips, move(row, 2), row.dtype.type(-np.inf))
    )


def _final_places(labels: Any, target_lengths: Any) -> Any:
    """Where an alignment may end: at the last label or the blank after it."""
    place = np.arange(labels.shape[1])
    last = 2 * target_lengths[:, None]
    return (place == last) | (place == last - 1)


def _check(
    target: Any, input_lengths: Any, target_lengths: Any, time: int, n_classes: int, blank: int
) -> None:
    """Raise for lengths and labels that cannot be."""
    for name, lengths, least, most in (
        ("input_lengths", input_lengths, 1, time),
        ("target_lengths", target_lengths, 0, target.shape[1]),
    ):
        if np.any((lengths < least) | (lengths > most)):
            raise ShapeError(
                f"ctc: {name} must be from {least} to {most}, got {lengths.min()} to "
                f"{lengths.max()}"
            )
    used = target[np.arange(target.shape[1]) < target_lengths[:, None]]
    wrong = used[(used < 0) | (used >= n_classes) | (used == blank)]
    if wrong.size:
        raise ClassRangeError(
            f"ctc: label {wrong[0]} cannot be a target; there are {n_classes} classes, so expected "
            f"0 to {n_classes - 1} without the blank, {blank}"
        )


def _forward(
    log_p: Any,
    target: Any,
    input_lengths: Any,
    target_lengths: Any,
    *,
    blank: int = 0,
    out: Any = None,
) -> Any:
    batch, classes = log_p.shape[1:]
    _check(target, input_lengths, target_lengths, batch, classes, blank)
    labels, skips = _places(target, target_lengths, blank)
    emitted = np.take_along_axis(log_p, labels[:, None, :], axis=2)
    alpha = np.full_like(emitted, -np.inf)
    alpha[:, 0, :2] = emitted[:, 0, :2]
    for t in range(1, log_p.shape[1]):
        alpha[:, t] = _sum_of_moves(alpha[:, t - 1], _later, skips) + emitted[:, t]
    ends = alpha[np.arange(len(alpha)), input_lengths - 1]
    ends = np.where(_final_places(labels, target_lengths), ends, -np.inf)
    losses = np.negative(np.logaddexp.reduce(ends, axis=1), out=out).astype(log_p.dtype)
    return losses, (alpha,)


def _gradient(
    g: Any,
    losses: Any,
    log_p: Any,
    target: Any,
    input_lengths: Any,
    target_lengths: Any,
    alpha: Any,
    *,
    blank: int,
) -> Any:
    """``-g`` times how probable each label is at each time, over all alignments of the target."""
    labels, skips = _places(target, target_lengths, blank)
    emitted = np.take_along_axis(log_p, labels[:, None, :], axis=2)
    finals = np.where(_final_places(labels, target_lengths), 0.0, -np.inf).astype(log_p.dtype)
    onward = np.roll(skips, -2, axis=1)
    onward[:, -2:] = False
    possible = np.isfinite(losses)
    posterior = np.zeros_like(alpha)
    beta = np.full_like(finals, -np.inf)
    for t in range(log_p.shape[1] - 1, -1, -1):
        if t + 1 < log_p.shape[1]:
            beta = _sum_of_moves(beta + emitted[:, t + 1], _earlier, onward)
        beta = np.where((input_lengths - 1 == t)[:, None], finals, beta)
        there = possible & (t < input_lengths)
        exponent = alpha[there, t] + beta[there] + losses[there, None]
        posterior[there, t] = np.exp(exponent)
    one_hot = (labels[:, :, None] == np.arange(log_p.shape[2])).astype(log_p.dtype)
    return (posterior @ one_hot) * -g[:, None, None]


_gradient_kernel = kernel("ctc_gradient", _gradient)


def _backward(g: Any, ans: Any, *args: Any, blank: int = 0, saved: Any) -> tuple[Any, ...]:
    return _gradient_kernel(g, ans, *args, *saved, blank=blank), None, None, None


def _reference(
    log_p: Any, target: Any, input_lengths: Any, target_lengths: Any, *, blank: int = 0
) -> Any:
    """The forward recursion in small operations: what higher derivatives are taken of."""
    # The recursion's form follows from their values, so that these cannot be traced.
    input_lengths, target_lengths = np.asarray(input_lengths), np.asarray(target_lengths)
    labels, skips = _places(np.asarray(target), target_lengths, blank)
    one_hot = (labels[:, :, None] == np.arange(log_p.shape[2])).astype(log_p.dtype)
    emitted = matmul(log_p, swapaxes(one_hot, 1, 2))
    start = np.zeros(labels.shape, bool)
    start[:, :2] = True
    row = where(start, emitted[:, 0], FAR)
    finals = _final_places(labels, target_lengths)
    n_places = labels.shape[1]
    by_one, by_two = (np.eye(n_places, k=k, dtype=log_p.dtype) for k in (1, 2))
    entering = np.where(np.arange(n_places) < 1, FAR, 0.0).astype(log_p.dtype)
    total: Any = 0.0
    for t in range(log_p.shape[1]):
        if t:
            skipped = where(skips, matmul(row, by_two), FAR)
            row = logaddexp(logaddexp(row, matmul(row, by_one) + entering), skipped)
            row = row + emitted[:, t]
        ends = where(finals, row, FAR)
        joined = ends[:, 0]
        for s in range(1, labels.shape[1]):
            joined = logaddexp(joined, ends[:, s])
        total = total + where(input_lengths - 1 == t, joined, 0.0)
    return where(total > FAR / 2, -total, np.inf)


def _samples(rng: np.random.Generator) -> list[Any]:
    from nnad.ops.special import log_softmax

    target = np.array([[1, 1], [3, 2], [2, 0]])
    lengths = np.array([5, 4, 5]), np.array([2, 2, 1])
    return [case(log_softmax(rng.normal(size=(3, 5, 4)), axis=-1), target, *lengths)]


# -log p(target) of each row: log-probabilities (batch, time, classes), labels (batch, length),
# numbers of time steps and of labels (batch,).
ctc_losses = explicit(
    "ctc_losses",
    _forward,
    vjp=with_reference(_reference, _backward),
    jvp=reference_jvp(_reference),
    residuals=True,
    differentiable=(True, False, False, False),
    formula="-log of the sum over alignments of prod_t exp(x0[t, label])",
    partials=("-g times the probability of each label at each time",),
    samples=_samples,
)
