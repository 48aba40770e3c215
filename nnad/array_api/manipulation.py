"""Manipulation functions: shapes and the order of elements."""

from __future__ import annotations

from typing import Any

import numpy as np

from nnad.array_api.results import as_tensors, returns_tensors

__all__ = [
    "broadcast_arrays",
    "broadcast_shapes",
    "broadcast_to",
    "concat",
    "expand_dims",
    "flip",
    "moveaxis",
    "permute_dims",
    "repeat",
    "reshape",
    "roll",
    "squeeze",
    "stack",
    "tile",
    "unstack",
]

broadcast_shapes = np.broadcast_shapes


@returns_tensors
def broadcast_arrays(*arrays: Any) -> Any:
    """The arrays, all in the shape that they have together."""
    return np.broadcast_arrays(*arrays)


@returns_tensors
def broadcast_to(x: Any, /, shape: Any) -> Any:
    """`x` repeated along new axes and axes of size one."""
    return np.broadcast_to(x, shape)


@returns_tensors
def concat(arrays: Any, /, *, axis: Any = 0) -> Any:
    """Arrays joined along an axis, or with `axis=None` flattened and joined."""
    return np.concatenate(arrays, axis)


@returns_tensors
def expand_dims(x: Any, /, axis: Any = 0) -> Any:
    """`x` with an axis of size one at each place that `axis` names in the result."""
    return np.expand_dims(x, axis)


@returns_tensors
def flip(x: Any, /, *, axis: Any = None) -> Any:
    """The elements in reverse order along an axis, axes, or all."""
    return np.flip(x, axis)


@returns_tensors
def moveaxis(x: Any, source: Any, destination: Any, /) -> Any:
    """Axes moved to other places; the rest stay in order."""
    return np.moveaxis(x, source, destination)


@returns_tensors
def permute_dims(x: Any, /, axes: Any) -> Any:
    """The axes in another order."""
    return np.transpose(x, axes)


@returns_tensors
def repeat(x: Any, repeats: Any, /, *, axis: Any = None) -> Any:
    """Each element repeated a number of times."""
    return np.repeat(x, repeats, axis)


@returns_tensors
def reshape(x: Any, /, shape: Any, *, copy: Any = None) -> Any:
    """The same elements in another shape; with `copy=False` ValueError where memory must move."""
    return as_tensors(x).reshape(shape, copy=copy)


@returns_tensors
def roll(x: Any, /, shift: Any, *, axis: Any = None) -> Any:
    """The elements moved along an axis; what leaves at one end comes in at the other."""
    return np.roll(x, shift, axis)


@returns_tensors
def squeeze(x: Any, /, axis: Any) -> Any:
    """`x` without the named axes, whose sizes must be one."""
    return np.squeeze(x, axis)


@returns_tensors
def stack(arrays: Any, /, *, axis: int = 0) -> Any:
    """Arrays of one shape joined along a new axis."""
    return np.stack(arrays, axis)


@returns_tensors
def tile(x: Any, repetitions: Any, /) -> Any:
    """`x` laid side by side along each axis."""
    return np.tile(x, repetitions)


@returns_tensors
def unstack(x: Any, /, *, axis: int = 0) -> Any:
    """The slices along an axis, as a tuple."""
    return tuple(np.moveaxis(x, axis, 0))
