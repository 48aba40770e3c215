"""Arguments of NumPy's functions: brought into one form, or refused by name."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from nnad.autodiff.table import IMPLEMENTATIONS, Primitive, composite, explicit
from nnad.autodiff.tensor import Tensor, state, value_of
from nnad.autodiff.trees import flatten

__all__: list[str] = []

Axis = int | tuple[int, ...] | None


def as_array(x: Any) -> Any:
    """`x` as an array or Tensor; lists that hold Tensors are stacked."""
    if isinstance(x, (Tensor, np.ndarray, np.generic)):
        return x
    if isinstance(x, (list, tuple)) and holds_tensor(x):
        from nnad.ops.joining import stack

        return stack([as_array(part) for part in x])
    return np.asarray(x)


def holds_tensor(x: Any) -> bool:
    """Whether `x` is a Tensor, or a list or tuple with one somewhere inside."""
    if isinstance(x, (list, tuple)):
        return any(map(holds_tensor, x))
    return isinstance(x, Tensor)


def plain(x: Any) -> Any:
    """`x` without history: Tensors in it, also inside containers, as arrays."""
    if type(x) in (list, tuple):
        return type(x)(plain(part) for part in x)
    if type(x) is dict:
        return {key: plain(part) for key, part in x.items()}
    return value_of(x)


def known(x: Any, how: str) -> Any:
    """`plain(x)` where more than numbers hangs on it, such as a shape or a choice.

    A program that is being captured could not replay that, so `how` refuses it there.
    """
    if state.capture is not None:
        for part in flatten(x)[0]:
            if isinstance(part, Tensor):
                state.capture.refuse_value(part, how)
    return plain(x)


def shape_of(x: Any) -> tuple[int, ...]:
    """The shape of an array, a number or a Tensor."""
    return np.shape(value_of(x))


def scalar(x: Any) -> Any:
    """A plain array without axes as a number; anything else as it is."""
    return x[()] if isinstance(x, np.ndarray) else x


def dummy(shape: Iterable[int]) -> np.ndarray:
    """An array of `shape` without memory, to ask NumPy what a function makes of shapes."""
    return np.broadcast_to(np.float64(0), tuple(shape))


def axis_of(axis: Any) -> Axis:
    """`axis` as it is, a list of axes as a tuple."""
    return tuple(axis) if isinstance(axis, list) else axis


def axes_of(axis: Axis, ndim: int) -> tuple[int, ...]:
    """`axis` as a tuple of numbers from 0 to ndim - 1; None is all of them."""
    if axis is None:
        return tuple(range(ndim))
    if ndim == 0 and axis in (0, -1):
        return ()
    return np.lib.array_utils.normalize_axis_tuple(axis, ndim, allow_duplicate=False)


def store(result: Any, out: Any, name: str) -> Any:
    """`result`, put into `out` if that was given."""
    if out is None:
        return result
    if isinstance(out, Tensor):
        if out.shape != shape_of(result):
            raise ValueError(
                f"np.{name}(..., out=x): the result has shape {shape_of(result)}, but x has shape "
                f"{out.shape}"
            )
        return out.become(result, f"np.{name}(..., out=x)")
    if isinstance(result, Tensor):
        raise TypeError(
            f"np.{name}(..., out=ndarray) with a Tensor among the inputs: an ndarray cannot hold a "
            f"recorded result; write y = np.{name}(x) instead"
        )
    out[...] = result
    return out


def refuse(name: str, remedy: str, **given: Any) -> None:
    """Raise TypeError for the first of the keyword arguments that is not None."""
    for keyword, value in given.items():
        if value is not None:
            raise TypeError(f"np.{name} on a Tensor does not take {keyword}={value!r}; {remedy}")


def composed(
    *functions: Any, name: str = "", formula: str, samples: Any, **options: Any
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator: a function made of other entries, as an entry that implements `functions`."""

    def enter(function: Callable[..., Any]) -> Callable[..., Any]:
        return composite(
            name or function.__name__,
            function,
            implements=functions,
            formula=formula,
            samples=samples,
            **options,
        )

    return enter


def constant(
    function: Callable[..., Any],
    *arrays: str,
    reason: str,
    name: str = "",
    samples: Any = None,
    counts: bool = False,
) -> Callable[..., Any]:
    """An entry for a NumPy function whose result has no derivative: it runs on plain values.

    Args:
        function: NumPy's function.
        arrays: names of its array parameters, the leading ones in their order.
        reason: why there is no derivative.
        counts: the shape of the result depends on the values, so no program can replay it.
    """
    name = name or function.__name__

    def forward(*xs: Any, **metadata: Any) -> Any:
        return function(*(value_of(x) for x in xs), **metadata)

    entry: Primitive = explicit(name, forward, nondifferentiable=reason, samples=samples)
    try:
        signature = inspect.signature(function)
    except ValueError:  # some of NumPy's compiled functions do not tell theirs
        signature = None

    def operation(*args: Any, **kwargs: Any) -> Any:
        out = kwargs.pop("out", None)
        if signature is not None:
            kwargs = dict(signature.bind(*args, **kwargs).arguments)
            args = tuple(kwargs.pop(a) for a in arrays if a in kwargs)
        what = f"np.{name} of values"
        listed = (list, tuple, Tensor) if counts else (list, tuple)
        args = tuple(known(x, what) if isinstance(x, listed) else x for x in args)
        return store(entry(*args, **known(kwargs, what)), out, name)

    operation.__name__ = operation.__qualname__ = name
    operation.__doc__ = f"See `numpy.{name}`; a constant for every derivative: {reason}."
    operation.__signature__ = signature  # type: ignore[attr-defined]
    operation.__module__ = sys._getframe(1).f_globals["__name__"]  # where the entry is made
    IMPLEMENTATIONS[function] = operation
    return operation
