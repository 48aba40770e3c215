"""Parameters, and the flat buffers they live in.

All parameters of a model are views into one array per dtype, their gradients into another.  An
optimizer then updates one vector, the norm of the gradient is one dot product, and a checkpoint is
one write.  A parameter is made on its own and moves into a buffer on the first `flatten`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from nnad.autodiff.tensor import Leaf, Tensor, gradient_of, state, value_of
from nnad.errors import ShapeError

__all__ = ["FlatBuffer", "Parameter", "flatten", "house"]

_set = object.__setattr__


class Parameter(Tensor):
    """A Tensor that a layer learns: a leaf whose values and gradient keep their place in memory.

    Args:
        data: initial values; copied.
        requires_grad: False freezes it; `p.requires_grad = True` later thaws it.

    `p.data = array`, `p.data[...] = array` and `p.grad = array` copy into that place.
    """

    __slots__ = ("home", "leaf", "offset")

    leaf: Leaf
    home: FlatBuffer | None
    offset: int

    def __init__(self, data: Any, requires_grad: bool = True) -> None:
        array = np.array(value_of(data))
        _set(self, "data", array)
        _set(self, "leaf", Leaf(array))
        _set(self, "node", self.leaf if requires_grad else None)
        _set(self, "home", None)
        _set(self, "offset", 0)

    def __setattr__(self, name: str, value: Any) -> None:
        if name != "data":
            _set(self, name, value)
            return
        if state.capture is not None:
            state.capture.rebind(self, value)
            return
        array = np.asarray(value_of(value))
        if array.shape != self.data.shape:
            raise ShapeError(
                f"a parameter of shape {self.data.shape} cannot take values of shape {array.shape}"
            )
        self.data[...] = array

    @property
    def requires_grad(self) -> bool:
        """Whether gradients are collected; False while the parameter is frozen."""
        return self.node is not None

    @requires_grad.setter
    def requires_grad(self, wanted: bool) -> None:
        self.node = self.leaf if wanted else None
        if not wanted:
            self.leaf.grad = None

    @property
    def grad(self) -> np.ndarray | None:
        """The gradient, or None before the first backward pass and after `zero_grad`.

        In a flat buffer, where models that are trained or compiled have them, it is its place in
        memory: later backward passes change what was read, even after `p.grad = None`, so copy it
        to keep it.
        """
        return gradient_of(self.leaf)

    @grad.setter
    def grad(self, value: Any) -> None:
        leaf = self.leaf
        if state.capture is not None:
            state.capture.set_gradient(leaf, value)
            return
        if value is None:
            leaf.grad = None
            return
        array = np.asarray(value_of(value))
        if array.shape != self.data.shape:
            raise ShapeError(
                f"the gradient of a parameter of shape {self.data.shape} cannot be of shape "
                f"{array.shape}"
            )
        leaf.grad = np.array(array, self.data.dtype) if leaf.buffer is None else leaf.buffer
        leaf.grad[...] = array

    def _move(self, home: FlatBuffer | None, offset: int, data: Any, grad: Any) -> None:
        """Live in `data` and `grad` from now on, keeping values and gradient."""
        data[...] = self.data
        leaf = self.leaf
        if leaf.grad is not None:
            place = np.empty_like(data) if grad is None else grad
            place[...] = leaf.grad
            leaf.grad = place
        leaf.out = data
        leaf.buffer = grad
        _set(self, "data", data)
        _set(self, "home", home)
        _set(self, "offset", offset)

    def astype(self, dtype: Any) -> None:
        """Change to `dtype` in place, leaving the flat buffer."""
        if self.data.dtype != np.dtype(dtype):
            self._move(None, 0, np.empty(self.data.shape, dtype), None)


class FlatBuffer:
    """Parameters laid end to end in one array, their gradients in another.

    Attributes:
        data, grad: vectors; every parameter's `.data` and gradient are views of them.
        parameters: in the order they lie in.
    """

    __slots__ = ("data", "grad", "parameters")

    def __init__(self, data: np.ndarray, grad: np.ndarray, parameters: Sequence[Parameter]) -> None:
        self.data = data
        self.grad = grad
        self.parameters = tuple(parameters)

    @classmethod
    def holding(cls, parameters: Sequence[Parameter]) -> FlatBuffer:
        """A new buffer into which `parameters`, all of one dtype, move."""
        size = sum(p.data.size for p in parameters)
        dtype = parameters[0].data.dtype
        return cls.within(np.empty(size, dtype), np.zeros(size, dtype), parameters)

    @classmethod
    def within(
        cls, data: np.ndarray, grad: np.ndarray, parameters: Sequence[Parameter]
    ) -> FlatBuffer:
        """A buffer of these vectors, into which `parameters` move; they are as long together."""
        buffer = cls(data, grad, parameters)
        offset = 0
        for p in parameters:
            stop = offset + p.data.size
            shape = p.data.shape
            data, grad = buffer.data[offset:stop], buffer.grad[offset:stop]
            p._move(buffer, offset, data.reshape(shape), grad.reshape(shape))
            offset = stop
        return buffer

    def part(self, parameters: Sequence[Parameter]) -> FlatBuffer:
        """The stretch of this buffer that `parameters`, which lie in it end to end, take up."""
        if len(parameters) == len(self.parameters):
            return self
        start = parameters[0].offset
        span = slice(start, parameters[-1].offset + parameters[-1].data.size)
        return FlatBuffer(self.data[span], self.grad[span], parameters)


def _by_dtype(parameters: Iterable[Parameter]) -> dict[np.dtype, list[Parameter]]:
    groups: dict[np.dtype, list[Parameter]] = {}
    for p in dict.fromkeys(parameters):
        groups.setdefault(p.data.dtype, []).append(p)
    return groups


def _lie_end_to_end(parameters: Sequence[Parameter]) -> bool:
    return parameters[0].home is not None and all(
        p.home is q.home and p.offset + p.data.size == q.offset for p, q in pairwise(parameters)
    )


def house(parameters: Iterable[Parameter]) -> None:
    """Lay those `parameters` that live in no flat buffer yet end to end in one per dtype."""
    for group in _by_dtype(p for p in parameters if p.home is None).values():
        FlatBuffer.holding(group)


def flatten(parameters: Iterable[Parameter]) -> dict[np.dtype, FlatBuffer]:
    """Lay `parameters` end to end in one buffer per dtype, moving them only if they do not lie so.

    Whoever holds views of the places they left (an optimizer) sees that `p.data` is another array.
    """
    return {
        dtype: group[0].home.part(group)  # type: ignore[union-attr]
        if _lie_end_to_end(group)
        else FlatBuffer.holding(group)
        for dtype, group in _by_dtype(parameters).items()
    }
