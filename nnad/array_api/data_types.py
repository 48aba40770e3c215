"""Data types and the functions that ask about them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from nnad.array_api.results import returns_tensors
from nnad.autodiff.tensor import value_of

__all__ = [
    "astype",
    "bool",
    "can_cast",
    "complex64",
    "complex128",
    "finfo",
    "float32",
    "float64",
    "iinfo",
    "int8",
    "int16",
    "int32",
    "int64",
    "isdtype",
    "result_type",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
]

# Instances, not scalar types: equal to any `x.dtype` and of the same hash.
bool = np.dtype("bool")
int8, int16, int32, int64 = map(np.dtype, ("int8", "int16", "int32", "int64"))
uint8, uint16, uint32, uint64 = map(np.dtype, ("uint8", "uint16", "uint32", "uint64"))
float32, float64 = np.dtype("float32"), np.dtype("float64")
complex64, complex128 = np.dtype("complex64"), np.dtype("complex128")


@dataclass(frozen=True)
class FloatInfo:
    """Limits of a floating-point type, as Python numbers; of a complex one, those of its parts."""

    bits: int
    eps: float
    max: float
    min: float
    smallest_normal: float
    dtype: Any


def _dtype_of(x: Any) -> Any:
    return getattr(x, "dtype", x)


@returns_tensors
def astype(x: Any, dtype: Any, /, *, copy: Any = True, device: Any = None) -> Any:
    """`x` in another dtype: new memory, or with `copy=False` the same where nothing changes."""
    check_device(device)
    return x.astype(dtype, copy=copy)


def can_cast(from_: Any, to: Any, /) -> Any:
    """Whether the type promotion rules lead from one dtype (or an array's) to another."""
    return np.can_cast(_dtype_of(from_), to)


def finfo(type: Any, /) -> FloatInfo:
    """Limits of a floating-point dtype, or of an array's."""
    info = np.finfo(_dtype_of(type))
    return FloatInfo(
        bits=int(info.bits),
        eps=float(info.eps),
        max=float(info.max),
        min=float(info.min),
        smallest_normal=float(info.smallest_normal),
        dtype=np.dtype(info.dtype),
    )


def iinfo(type: Any, /) -> Any:
    """Limits of an integer dtype, or of an array's."""
    return np.iinfo(_dtype_of(type))


def isdtype(dtype: Any, kind: Any) -> Any:
    """Whether a dtype is one of a kind, such as "real floating", or of a tuple of kinds."""
    return np.isdtype(dtype, kind)


def result_type(*arrays_and_dtypes: Any) -> Any:
    """The dtype of an operation on these arrays, dtypes and Python numbers."""
    return np.result_type(*(value_of(x) for x in arrays_and_dtypes))


def check_device(device: Any) -> None:
    """Raise unless `device` is the only one there is."""
    if device not in (None, "cpu"):
        raise ValueError(f'device={device!r} is not there: Tensors live on "cpu"')
