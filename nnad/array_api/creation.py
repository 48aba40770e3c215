"""Creation functions: new Tensors, constants until something is differentiated."""

from __future__ import annotations

from typing import Any

import numpy as np

from nnad.array_api.data_types import check_device
from nnad.array_api.results import as_tensors, returns_tensors
from nnad.autodiff.tensor import Tensor, value_of
from nnad.ops.arguments import as_array
from nnad.ops.shape import full as full_of

__all__ = [
    "arange",
    "asarray",
    "empty",
    "empty_like",
    "eye",
    "from_dlpack",
    "full",
    "full_like",
    "linspace",
    "meshgrid",
    "ones",
    "ones_like",
    "tril",
    "triu",
    "zeros",
    "zeros_like",
]


@returns_tensors
def asarray(obj: Any, /, *, dtype: Any = None, device: Any = None, copy: Any = None) -> Any:
    """`obj` (numbers, nested sequences, buffers, arrays, Tensors) as a Tensor.

    What is a Tensor already stays recorded; so does a sequence with Tensors in it.

    Args:
        copy: True: new memory; False: ValueError where a copy is needed; None: only if needed.
    """
    check_device(device)
    x = as_array(obj)
    y = x if dtype is None or x.dtype == dtype else x.astype(dtype)
    listed = isinstance(obj, (list, tuple))
    shared = not listed and np.may_share_memory(value_of(y), value_of(obj))
    if copy is False and not shared:
        raise ValueError(
            f"asarray(copy=False): {type(obj).__name__} to dtype {y.dtype} needs a copy; leave "
            "copy out"
        )
    return np.copy(y) if copy and shared else y


@returns_tensors
def arange(
    start: Any, /, stop: Any = None, step: Any = 1, *, dtype: Any = None, device: Any = None
) -> Any:
    """Evenly spaced numbers from `start` (0 if only one is given) up to `stop`."""
    return np.arange(start, stop, step, dtype=dtype, device=device)


@returns_tensors
def empty(shape: Any, *, dtype: Any = None, device: Any = None) -> Any:
    """An array of `shape` whose elements are not set."""
    return np.empty(shape, dtype=dtype, device=device)


@returns_tensors
def empty_like(x: Any, /, *, dtype: Any = None, device: Any = None) -> Any:
    """An array in the shape of `x` whose elements are not set."""
    return np.empty_like(x, dtype=dtype, device=device)


@returns_tensors
def eye(
    n_rows: int, n_cols: Any = None, /, *, k: int = 0, dtype: Any = None, device: Any = None
) -> Any:
    """Ones on the k-th diagonal and zeros elsewhere."""
    return np.eye(n_rows, n_cols, k, dtype=dtype, device=device)


@returns_tensors
def from_dlpack(x: Any, /, *, device: Any = None, copy: Any = None) -> Any:
    """The values of another library's array, in the same memory where that is possible."""
    check_device(device)
    y = np.from_dlpack(x)
    return y.copy() if copy else y


@returns_tensors
def full(shape: Any, fill_value: Any, *, dtype: Any = None, device: Any = None) -> Any:
    """An array of `shape` with one value everywhere, a number or a Tensor without axes."""
    check_device(device)
    if isinstance(fill_value, Tensor):
        return np.copy(full_of(shape, fill_value, dtype))
    return np.full(shape, fill_value, dtype=dtype)


@returns_tensors
def full_like(x: Any, /, fill_value: Any, *, dtype: Any = None, device: Any = None) -> Any:
    """An array in the shape of `x` with one value everywhere."""
    return np.full_like(as_tensors(x), fill_value, dtype=dtype, device=device)


@returns_tensors
def linspace(
    start: Any,
    stop: Any,
    /,
    num: int,
    *,
    dtype: Any = None,
    device: Any = None,
    endpoint: bool = True,
) -> Any:
    """`num` evenly spaced numbers from `start` to `stop`."""
    check_device(device)
    return np.linspace(start, stop, num, endpoint=endpoint, dtype=dtype)


@returns_tensors
def meshgrid(*arrays: Any, indexing: Any = "xy") -> Any:
    """Coordinates of the grid that vectors of coordinates span."""
    return np.meshgrid(*arrays, indexing=indexing)


@returns_tensors
def ones(shape: Any, *, dtype: Any = None, device: Any = None) -> Any:
    """An array of ones."""
    return np.ones(shape, dtype=dtype, device=device)


@returns_tensors
def ones_like(x: Any, /, *, dtype: Any = None, device: Any = None) -> Any:
    """Ones in the shape of `x`."""
    return np.ones_like(x, dtype=dtype, device=device)


@returns_tensors
def tril(x: Any, /, *, k: int = 0) -> Any:
    """`x` with zeros above the k-th diagonal of each matrix."""
    return np.tril(x, k)


@returns_tensors
def triu(x: Any, /, *, k: int = 0) -> Any:
    """`x` with zeros below the k-th diagonal of each matrix."""
    return np.triu(x, k)


@returns_tensors
def zeros(shape: Any, *, dtype: Any = None, device: Any = None) -> Any:
    """An array of zeros."""
    return np.zeros(shape, dtype=dtype, device=device)


@returns_tensors
def zeros_like(x: Any, /, *, dtype: Any = None, device: Any = None) -> Any:
    """Zeros in the shape of `x`."""
    return np.zeros_like(x, dtype=dtype, device=device)
