"""Sums in a fixed order: of pairs of neighbours, then of pairs of those sums, and so on.

Rounding depends on the order of additions.  In this one a process can add up what it holds, and
processes what they have added up, and the bits are those of one process that holds everything: if
it holds a power of two of neighbours, as all others do.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["add_in_pairs"]


def add_in_pairs(terms: Sequence[np.ndarray], out: np.ndarray | None = None) -> np.ndarray:
    """The sum of arrays of one shape and dtype, in a new array or in `out`, which may be a term.

    Of arrays without axes the sum is one too, not a number.

    >>> add_in_pairs([np.array([1.0]), np.array([2e16]), np.array([-2e16]), np.array([1.0])])
    array([0.])
    """
    terms = list(terms)
    while len(terms) > 2:
        odd = terms[len(terms) // 2 * 2 :]
        terms = [a + b for a, b in zip(terms[::2], terms[1::2], strict=False)] + odd
    if len(terms) == 2:
        return np.asarray(np.add(terms[0], terms[1], out=out))
    if out is None:
        return terms[0].copy()
    if out is not terms[0]:
        out[...] = terms[0]
    return out
