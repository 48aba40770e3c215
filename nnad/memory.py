"""Memory that a step frees stays with the process for the next step."""

from __future__ import annotations

import sys

import numpy as np

LARGEST = 31 * 2**20  # bytes; glibc learns nothing from blocks of 32 MiB or more


def keep_freed_memory() -> None:
    """Have the C library keep what is freed, up to twice `LARGEST`.

    A training step frees its intermediates and soon wants as much again; memory that went back to
    the system comes anew page by page, which took a quarter to a third of an eager step.  glibc
    raises the size from which it maps blocks singly, and the amount it keeps, to what it has
    seen freed.  So one large block is had and given back, untouched; elsewhere that does nothing.
    """
    np.empty(LARGEST, np.uint8)


def give_back_memory() -> None:
    """Return to the system what is free now: after something large that does not come again."""
    if sys.platform == "linux":
        import ctypes

        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc has it
        if trim is not None:
            trim(0)
