"""Functions of arrays that have no derivative: about shapes and dtypes, comparisons, rounding.

They take Tensors and return what NumPy returns for the values.
"""

from __future__ import annotations

import inspect
from contextlib import suppress
from typing import Any

import numpy as np

from nnad.autodiff.table import IMPLEMENTATIONS, implements
from nnad.ops.arguments import as_array, constant, known, plain

__all__ = [
    "allclose",
    "around",
    "array_equal",
    "array_equiv",
    "fix",
    "histogram",
    "histogram_bin_edges",
    "isclose",
    "iscomplex",
    "isneginf",
    "isposinf",
    "isreal",
    "ndim",
    "result_type",
    "round",
    "size",
]

_TRUTH = "the result is true or false"
_STEP = "the derivative is zero wherever it exists"
_COUNT = "the results are counts"

# Comparison -----------------------------------------------------------------------------------

allclose = constant(np.allclose, "a", "b", reason=_TRUTH)
isclose = constant(np.isclose, "a", "b", reason=_TRUTH)
array_equal = constant(np.array_equal, "a1", "a2", reason=_TRUTH)
array_equiv = constant(np.array_equiv, "a1", "a2", reason=_TRUTH)
isposinf = constant(np.isposinf, "x", reason=_TRUTH)
isneginf = constant(np.isneginf, "x", reason=_TRUTH)
iscomplex = constant(np.iscomplex, "x", reason=_TRUTH)
isreal = constant(np.isreal, "x", reason=_TRUTH)

# Rounding -------------------------------------------------------------------------------------

round = constant(np.round, "a", reason=_STEP)
around = constant(np.around, "a", reason=_STEP)
fix = constant(np.fix, "x", reason=_STEP)

# Counting -------------------------------------------------------------------------------------

histogram_bin_edges = constant(
    np.histogram_bin_edges, "a", reason="edges are a description of the data, not differentiated"
)
histogram = constant(np.histogram, "a", reason=_COUNT)
constant(np.histogram2d, "x", "y", reason=_COUNT)
constant(np.histogramdd, "sample", reason=_COUNT)


# Shapes, dtypes, memory, text: asked of the values, never recorded ------------------------------


@implements(np.shape)
def shape(a: Any) -> tuple[int, ...]:  # not exported: nnad.ops.shape is a module
    """The sizes of the axes."""
    return tuple(as_array(a).shape)


@implements(np.ndim)
def ndim(a: Any) -> int:
    """The number of axes."""
    return len(shape(a))


@implements(np.size)
def size(a: Any, axis: Any = None) -> int:
    """The number of elements, or of places along an axis; see `numpy.size`."""
    return int(np.size(np.broadcast_to(0, shape(a)), axis))


def _asked(function: Any, *, of_values: bool = False) -> Any:
    """`function` of plain arrays: it tells something that no derivative depends on.

    With `of_values` a captured program refuses it, as it could not tell it again.
    """

    def asked(*args: Any, **kwargs: Any) -> Any:
        if of_values:
            known((args, kwargs), f"np.{function.__name__}")
        return function(*(plain(x) for x in args), **plain(kwargs))

    asked.__name__ = asked.__qualname__ = function.__name__
    with suppress(ValueError):  # some of NumPy's compiled functions do not tell theirs
        asked.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]
    asked.__doc__ = f"See `numpy.{function.__name__}`; of the values."
    IMPLEMENTATIONS[function] = asked
    return asked


result_type = _asked(np.result_type)
for _function in (
    np.can_cast,
    np.common_type,
    np.min_scalar_type,
    np.iscomplexobj,
    np.isrealobj,
    np.may_share_memory,
    np.shares_memory,
):
    _asked(_function)
for _reading in (
    np.array2string,
    np.array_repr,
    np.array_str,
    np.ix_,
    np.ravel_multi_index,
    np.unravel_index,
    np.packbits,
    np.unpackbits,
):
    _asked(_reading, of_values=True)
