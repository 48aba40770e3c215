"""One thread of BLAS for small products, where a second costs more than it brings."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from nnad.cores.blas import numpy_blas

__all__ = ["is_small", "threads_for"]

SMALL = 8_000_000  # operations of the products in one pass forward


def is_small(operations: int) -> bool:
    """Whether products of so many operations are for one thread."""
    return operations <= SMALL


@contextmanager
def threads_for(operations: int) -> Iterator[None]:
    """Within the block NumPy's products run on one thread, if they are small.

    Args:
        operations: multiplications and additions of one pass forward.
    """
    blas = numpy_blas() if is_small(operations) else None
    with nullcontext() if blas is None else blas.on_one_thread:
        yield
