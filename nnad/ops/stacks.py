"""How operations act on stacks of arrays: what `jacobian` runs once instead of once per row.

A rule takes the operation, its arguments, some of which are `Stacked`, and its metadata, and
returns the stacked result, or None where it does not apply (the operation then runs row by row).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from nnad.autodiff.batching import Stacked
from nnad.autodiff.table import STACKED, TABLE
from nnad.autodiff.tensor import value_of
from nnad.ops.index import Slot

Args = Sequence[Any]


def rule(*names: str) -> Callable[[Any], Any]:
    """Decorator: the rule for the operations called `names`."""

    def enter(function: Any) -> Any:
        STACKED.update(dict.fromkeys(names, function))
        return function

    return enter


def _rows(x: Any, ndim: int) -> Any:
    """The rows of `x`, with ones after the first axis until each row has `ndim` axes."""
    if not isinstance(x, Stacked):
        return x
    missing = ndim - x.ndim
    if missing <= 0:
        return x.rows
    shape = np.shape(value_of(x.rows))
    return TABLE["reshape"](x.rows, shape=(shape[0], *(1,) * missing, *shape[1:]))


def _ndim(x: Any) -> int:
    return np.ndim(value_of(x))


@rule("elementwise", "where", "conj", "identity", "astype", "equal", "not_equal", "less", "greater")
@rule("less_equal", "greater_equal", "isnan", "sign", "floor_divide", "trunc", "real", "imag")
def elementwise(operation: Any, args: Args, **kwargs: Any) -> Any:
    """Broadcasting does it, once the axes of the rows are aligned."""
    ndim = max(map(_ndim, args))
    return operation(*(_rows(x, ndim) for x in args), **kwargs)


def _shifted(axis: Any, ndim: int) -> Any:
    """`axis` of a row as the axis of the stack; None is all axes of a row."""
    if axis is None:
        return tuple(range(1, ndim + 1))
    if isinstance(axis, tuple):
        return tuple(i % ndim + 1 for i in axis)
    return axis % ndim + 1 if ndim else None


@rule("sum", "mean", "prod", "max", "min", "var", "std", "logsumexp")
def reduction(operation: Any, args: Args, axis: Any = None, **kwargs: Any) -> Any:
    """Over the axes of each row."""
    if args[0].ndim == 0:
        return None
    return operation(args[0].rows, axis=_shifted(axis, args[0].ndim), **kwargs)


@rule("softmax", "log_softmax", "cumsum", "cumprod")
def along_axis(operation: Any, args: Args, axis: Any = -1, **kwargs: Any) -> Any:
    """Along one axis of each row."""
    if args[0].ndim == 0 or not isinstance(axis, int):
        return None
    return operation(args[0].rows, axis=_shifted(axis, args[0].ndim), **kwargs)


@rule("reshape")
def reshape(operation: Any, args: Args, shape: Any, order: str = "C") -> Any:
    """Each row in the new shape."""
    if order != "C" or args[0].size == 0:
        return None
    sizes = shape if isinstance(shape, tuple) else (shape,)
    return operation(args[0].rows, shape=(len(value_of(args[0].rows)), *sizes))


@rule("broadcast_to")
def broadcast_to(operation: Any, args: Args, shape: Any) -> Any:
    """Each row in the new shape."""
    rows = _rows(args[0], len(shape))
    return operation(rows, shape=(np.shape(value_of(rows))[0], *shape))


@rule("transpose")
def transpose(operation: Any, args: Args, axes: Any = None) -> Any:
    """The axes of each row permuted."""
    ndim = args[0].ndim
    order = range(ndim)[::-1] if axes is None else [i % ndim for i in axes]
    return operation(args[0].rows, axes=(0, *(i + 1 for i in order)))


@rule("matmul")
def matmul(operation: Any, args: Args) -> Any:
    """A batched product; vectors become matrices of one row or column meanwhile."""
    x, y = args
    left, right = _ndim(x) == 1, _ndim(y) == 1
    ndim = max(2, _ndim(x), _ndim(y))
    a = _matrix(x, left, ndim, -2)
    b = _matrix(y, right, ndim, -1)
    out = operation(a, b)
    if right:
        out = out[..., 0]
    return out[..., 0] if left and right else (out[..., 0, :] if left else out)


def _matrix(x: Any, vector: bool, ndim: int, axis: int) -> Any:
    """An argument of matmul as a stack of matrices."""
    rows = x.rows if isinstance(x, Stacked) else x
    if vector:
        rows = rows[..., None, :] if axis == -2 else rows[..., :, None]
    if not isinstance(x, Stacked):
        return rows
    shape = np.shape(value_of(rows))
    missing = ndim + 1 - len(shape)
    return (
        TABLE["reshape"](rows, shape=(shape[0], *(1,) * missing, *shape[1:])) if missing else rows
    )


@rule("linear")
def linear(operation: Any, args: Args) -> Any:
    """An affine map is a product and a sum."""
    x, weight, bias = args
    if _ndim(x) == 0 or not (isinstance(x, Stacked) or isinstance(weight, Stacked)):
        return None
    product = Stacked(matmul(TABLE["matmul"], (x, weight)))
    return product.rows if bias is None else elementwise(TABLE["add"], (product, bias))


@rule("getitem")
def getitem(operation: Any, args: Args, key: Any) -> Any:
    """The same selection in each row, if the index arrays are the same and stand together."""
    if any(isinstance(x, Stacked) for x in args[1:]) or not _is_compact(key):
        return None
    return operation(args[0].rows, *args[1:], key=_below(key))


@rule("scatter")
def scatter(operation: Any, args: Args, key: Any, shape: Any) -> Any:
    """Each row added into zeros of its own."""
    if any(isinstance(x, Stacked) for x in args[1:]) or not _is_compact(key):
        return None
    count = len(value_of(args[0].rows))
    return operation(args[0].rows, *args[1:], key=_below(key), shape=(count, *shape))


def _below(key: Any) -> Any:
    """The key with a full slice in front."""
    return (slice(None), *(key if type(key) is tuple else (key,)))


def _is_compact(key: Any) -> bool:
    """Whether index arrays, if any, are neighbours, so that their axes stay where they stand."""
    if type(key) is not tuple:
        return True
    places = [i for i, part in enumerate(key) if type(part) is Slot or isinstance(part, int)]
    slots = any(type(part) is Slot for part in key)
    return not slots or places[-1] - places[0] == len(places) - 1


@rule("concatenate", "stack")
def joined(operation: Any, args: Args, axis: int = 0) -> Any:
    """Rows joined with rows; what is the same for all rows is repeated."""
    count = next(len(value_of(x.rows)) for x in args if isinstance(x, Stacked))
    ndim = _ndim(args[0]) + (operation.name == "stack")
    full = (
        x.rows
        if isinstance(x, Stacked)
        else TABLE["broadcast_to"](x, shape=(count, *np.shape(value_of(x))))
        for x in args
    )
    return operation(*full, axis=axis % ndim + 1)
