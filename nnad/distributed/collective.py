"""Operations of the table that span processes: a sum over all of them, and what is made of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from nnad.autodiff.table import case, linear
from nnad.autodiff.tensor import state, value_of
from nnad.distributed.launch import world
from nnad.errors import CannotCompile
from nnad.ops import sqrt, square
from nnad.ops.reduce import sum as sum_over

__all__ = [
    "all_reduce_sum",
    "synchronized_batch_norm",
    "synchronizes_batch_norm",
    "synchronizing_batch_norm",
]

_synchronizing = ContextVar("synchronizing", default=False)


def _all_reduce_sum(x: Any) -> Any:
    if state.capture is not None and world().size > 1:
        raise CannotCompile(
            "all_reduce_sum sends messages, and processes do not all compile at the same moment; "
            "leave steps with it uncompiled (trainer.compile: false)"
        )
    return world().sum(np.array(x))


# y = sum of x over all processes.  Every process holds y and adds to its cotangent, so that of x is
# again the sum over all: the operation is its own transpose.
all_reduce_sum: Any = linear(
    "all_reduce_sum",
    _all_reduce_sum,
    lambda g, ans, x: all_reduce_sum(g),
    formula="sum of x0 over all processes",
    partials=("sum of g over all processes",),
    samples=lambda rng: [case(rng.normal(size=3)), case(rng.normal(size=(2, 2)))],
)


def synchronized_batch_norm(x: Any, weight: Any, bias: Any, *, eps: float) -> tuple[Any, ...]:
    """Batch norm over the rows of all processes, as if they were one batch.

    Args:
        x: (rows here, ..., features); a process may have no rows.
        weight, bias: (features,).
        eps: added to the variance.

    Returns:
        (output, mean, biased variance, number of values per feature in all).
    """
    axes = tuple(range(x.ndim - 1))
    here = value_of(x).size // x.shape[-1]
    count = int(world().sum(np.array([here]))[0])
    mean = all_reduce_sum(sum_over(x, axis=axes)) / count
    centred = x - mean
    variance = all_reduce_sum(sum_over(square(centred), axis=axes)) / count
    return centred / sqrt(variance + eps) * weight + bias, mean, variance, count


def synchronizes_batch_norm() -> bool:
    """Whether batch normalisation is to be over the rows of all processes."""
    return _synchronizing.get()


@contextmanager
def synchronizing_batch_norm() -> Iterator[None]:
    """Within the block batch normalisation layers train on the rows of all processes."""
    before = _synchronizing.set(True)
    try:
        yield
    finally:
        _synchronizing.reset(before)
