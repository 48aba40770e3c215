"""Stand-ins: what a step gets in place of its arrays while it is captured.

A stand-in looks like an array and records like a Tensor, so that plain NumPy expressions on raw
arrays (arguments, `t.data`, `p.grad`, buffers of modules) enter the program as well.  Its values
are hidden: what would branch on them, or compute on them unseen, is refused with the user's line.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from nnad.autodiff.protocols import array_function, array_ufunc
from nnad.autodiff.tensor import DATA, Tensor, raw_of, state, watched

# NumPy's functions that read no values: they run on the example itself.
SHAPE_ONLY = frozenset(
    (
        np.shape,
        np.ndim,
        np.size,
        np.result_type,
        np.can_cast,
        np.common_type,
        np.iscomplexobj,
        np.isrealobj,
        np.may_share_memory,
        np.shares_memory,
    )
)
BLANK = frozenset((np.zeros_like, np.ones_like, np.empty_like))  # the same, and make an array


class StandIn(Tensor):
    """An array of the program: what is an ndarray, or a NumPy scalar, in an ordinary call."""

    __slots__ = ()
    __hash__ = object.__hash__
    is_stand_in = True

    shape = property(lambda self: raw_of(self).shape, doc="Sizes of the axes.")
    ndim = property(lambda self: raw_of(self).ndim, doc="Number of axes.")
    size = property(lambda self: raw_of(self).size, doc="Number of elements.")
    dtype = property(lambda self: raw_of(self).dtype, doc="NumPy dtype of the elements.")
    itemsize = property(lambda self: raw_of(self).itemsize, doc="Bytes of one element.")
    nbytes = property(lambda self: raw_of(self).nbytes, doc="Bytes of all elements.")
    strides = property(lambda self: raw_of(self).strides, doc="Bytes from element to element.")
    flags = property(lambda self: raw_of(self).flags, doc="How the array lies in memory.")

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            f"an array of a step that is being compiled has no attribute {name!r}: the step gets "
            "stand-ins for its arrays, which know NumPy's functions, operators and methods"
        )

    def __len__(self) -> int:
        return len(raw_of(self))

    def __repr__(self) -> str:
        if state.capture is None:
            return repr(raw_of(self))
        return f"<array of a step being compiled, {self.shape} {self.dtype}>"

    def numpy(self) -> Any:
        """The array, which is still a part of the program."""
        return self.data

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if state.capture is None:
            inputs, kwargs = plain(inputs), plain(kwargs)
            return getattr(ufunc, method)(*inputs, **kwargs)
        if kwargs.get("out"):
            state.capture.bare(kwargs["out"])
            kwargs["out"] = state.capture.hide(kwargs["out"])
        return state.capture.dispatch(ufunc, array_ufunc, (self, ufunc, method, *inputs), kwargs)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if state.capture is None or function in SHAPE_ONLY:
            return function(*plain(args), **plain(kwargs))
        if function in BLANK or _fills_with_number(function, args):
            return state.capture.stand_in(function(*plain(args), **plain(kwargs)))
        return state.capture.dispatch(
            function, array_function, (self, function, types, args, kwargs), {}
        )

    def __setitem__(self, key: Any, value: Any) -> None:
        _capture("x[i] = ...").write_at(self, key, value)

    def become(self, result: Any, statement: str) -> Any:
        """Hold other values from now on: an in-place statement on an array of the program."""
        _capture(statement).write(self, result, statement)
        return self


def _capture(statement: str) -> Any:
    if state.capture is None:
        raise RuntimeError(
            f"`{statement}` on an array that stood for another one while a step was compiled: "
            "return it from the step in place of keeping it"
        )
    return state.capture


def make_stand_in(array: Any) -> StandIn:
    """A stand-in for `array`."""
    made = StandIn.__new__(StandIn)
    DATA.__set__(made, array)
    made.node = None
    return made


def _fills_with_number(function: Any, args: Any) -> bool:
    return (
        function is np.full_like
        and len(args) > 1
        and isinstance(args[1], (int, float, complex, np.generic))
    )


def plain(item: Any) -> Any:
    """`item` with Tensors and stand-ins, also inside containers, as the arrays they hold."""
    if isinstance(item, Tensor):
        return raw_of(item)
    if type(item) in (tuple, list):
        return type(item)(plain(part) for part in item)
    if isinstance(item, dict):
        return {key: plain(part) for key, part in item.items()}
    return item


# Watching -------------------------------------------------------------------------------------


class _WatchedData:
    """Takes the place of the slot `Tensor.data` while a step is captured, in any thread."""

    def __get__(self, tensor: Any, owner: Any = None) -> Any:
        if tensor is None:
            return self
        if state.capture is None:
            return DATA.__get__(tensor)
        return state.capture.read(tensor)

    def __set__(self, tensor: Any, value: Any) -> None:
        if state.capture is None:
            DATA.__set__(tensor, value)
        else:
            state.capture.rebind(tensor, value)


def _watched_attribute(owner: Any, name: str) -> Any:
    value = object.__getattribute__(owner, name)
    if state.capture is None or name.startswith("__"):
        return value
    return state.capture.attribute(owner, name, value)


_lock = threading.Lock()
_watchers = 0


@contextmanager
def watching() -> Iterator[None]:
    """Within the block the capture of the thread is asked about `.data` and module attributes."""
    global _watchers
    with _lock:
        _watchers += 1
        if _watchers == 1:
            _set_watch(on=True)
    try:
        yield
    finally:
        with _lock:
            _watchers -= 1
            if _watchers == 0:
                _set_watch(on=False)


def _set_watch(on: bool) -> None:
    Tensor.data = _WatchedData() if on else DATA  # type: ignore[misc]
    for kind in watched:
        if on:
            kind.__getattribute__ = _watched_attribute  # type: ignore[assignment, method-assign]
        elif "__getattribute__" in vars(kind):  # not in one whose module a step imported meanwhile
            del kind.__getattribute__
