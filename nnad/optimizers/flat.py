"""Parameters as flat vectors: what an optimizer's kernel runs over.

A :class:`Segment` is a run of parameters whose values lie one after another in memory, so that one
kernel call updates them all. Parameters of a flattened module lie so already; those of another and
free-standing Tensors are moved into a buffer, which they are views of from then on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple, Protocol

import numpy as np

from nnad.autodiff import Tensor
from nnad.autodiff.tensor import Leaf
from nnad.errors import ShapeError
from nnad.layers.parameter import Parameter, house

__all__ = [
    "Division",
    "Moved",
    "Run",
    "Segment",
    "Undivided",
    "address",
    "flat_view",
    "segments_of",
]

SCRATCH_VECTORS = 2
STEPS_BETWEEN_SWEEPS = 32
BLOCK = 2**14  # numbers that a kernel updates at once: its dozen passes over them stay in the cache


class Moved(Exception):
    """A parameter's array was replaced since its segment was made: segments must be made anew."""


class Run(NamedTuple):
    """Kernel calls that have the number of the update in common.

    Attributes:
        blocks: for each call (parameters, gradients, *slots, *scratch): flat vectors, or a
            parameter in its own shape for optimizers that work on matrices.
        step: the number of this update, counted from 1.
    """

    blocks: Sequence[tuple[np.ndarray, ...]]
    step: int


class Division(Protocol):
    """How processes divide the numbers of flat vectors among them.

    Attributes:
        rank: the number of this process.
    """

    rank: int

    def part(self, flat: np.ndarray, rank: int) -> slice:
        """The stretch of a vector of parameters that a process updates."""

    def vectors(self, size: int, dtype: np.dtype) -> list[np.ndarray]:
        """A vector of zeros of each process, which all of them see."""


class Undivided:
    """The division of a process alone."""

    rank = 0

    def part(self, flat: np.ndarray, rank: int) -> slice:
        """All of it."""
        return slice(0, flat.size)

    def vectors(self, size: int, dtype: np.dtype) -> list[np.ndarray]:
        """Its own alone."""
        return [np.zeros(size, dtype)]


def address(array: np.ndarray) -> int:
    """Where in memory an array begins."""
    return array.__array_interface__["data"][0]


def _root(array: np.ndarray) -> np.ndarray:
    """The ndarray that owns the memory `array` looks at."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def _are_adjacent(first: np.ndarray, second: np.ndarray) -> bool:
    return (
        first.dtype == second.dtype
        and address(first) + first.nbytes == address(second)
        and _root(first) is _root(second)
    )


def flat_view(arrays: Sequence[np.ndarray]) -> np.ndarray | None:
    """One vector that is a view of all `arrays`, or None if they do not lie end to end.

    >>> buffer = np.arange(5.0)
    >>> flat_view([buffer[1:3].reshape(1, 2), buffer[3:]])
    array([1., 2., 3., 4.])
    >>> flat_view([buffer[3:], buffer[:3]]) is None
    True
    """
    if not all(array.flags.c_contiguous for array in arrays):
        return None
    if len(arrays) == 1:
        return arrays[0].reshape(-1)
    if not all(map(_are_adjacent, arrays, arrays[1:])):
        return None
    root = _root(arrays[0])
    if not root.flags.c_contiguous:
        return None
    begin = address(arrays[0]) - address(root)
    end = begin + sum(array.nbytes for array in arrays)
    return root.reshape(-1).view(np.uint8)[begin:end].view(arrays[0].dtype)


def _cut(flat: np.ndarray, shapes: Iterable[tuple[int, ...]]) -> list[np.ndarray]:
    """Views of `flat`, one after another, in the given shapes."""
    views, begin = [], 0
    for shape in shapes:
        end = begin + int(np.prod(shape, dtype=int))
        views.append(flat[begin:end].reshape(shape))
        begin = end
    return views


def _leaf(p: Tensor) -> Leaf | None:
    """Where the gradient of `p` is collected; a frozen Parameter keeps its leaf."""
    node = p.leaf if isinstance(p, Parameter) else p.node
    return node if isinstance(node, Leaf) else None


def _buffer(p: Tensor) -> np.ndarray | None:
    """What `backward()` writes the gradient of `p` into, if that is decided."""
    leaf = _leaf(p)
    return None if leaf is None else leaf.buffer


def _pack(params: Sequence[Tensor]) -> np.ndarray:
    """Copy the parameters' values into a new vector and make the parameters views of it."""
    flat = np.concatenate([np.ravel(p.data) for p in params])
    for p, view in zip(params, _cut(flat, [p.shape for p in params]), strict=True):
        p.data = view
        if (leaf := _leaf(p)) is not None:
            leaf.out = view
    return flat


def _bind_gradients(params: Sequence[Tensor]) -> np.ndarray:
    """The vector that `backward()` writes these parameters' gradients into."""
    buffers = [_buffer(p) for p in params]
    present = [buffer for buffer in buffers if buffer is not None]
    if len(present) == len(params) and (flat := flat_view(present)) is not None:
        return flat
    flat = np.zeros(sum(p.size for p in params), params[0].dtype)
    for p, view in zip(params, _cut(flat, [p.shape for p in params]), strict=True):
        if (leaf := _leaf(p)) is not None:
            if leaf.grad is not None:
                view[...] = leaf.grad
                leaf.grad = view
            leaf.buffer = view
    return flat


class Segment:
    """Parameters that lie end to end, their gradients, and the optimizer's slots beside them.

    Args:
        indices: number of each parameter in the optimizer.
        params: the parameters.
        slot_shapes: gives the shapes of a parameter's slots by name, from its own shape.
        per_parameter: update each parameter on its own, in its own shape.
        division: which stretch this process updates; not with `per_parameter`.

    Attributes:
        steps: updates done, per parameter: one that had no gradient was skipped.
        whole: (parameters, gradients, *slots), flat vectors, as far as this process updates them.
    """

    def __init__(
        self,
        indices: Sequence[int],
        params: Sequence[Tensor],
        slot_shapes: Callable[[tuple[int, ...]], Mapping[str, tuple[int, ...]]],
        per_parameter: bool = False,
        division: Division | None = None,
    ) -> None:
        self.indices = list(indices)
        self.params = list(params)
        self.per_parameter = per_parameter
        flat = flat_view([p.data for p in self.params])
        self.flat = _pack(self.params) if flat is None else flat
        self.flat_grad = _bind_gradients(self.params)
        shapes = [p.shape for p in self.params]
        self.values = [p.data for p in self.params]
        self.gradients = _cut(self.flat_grad, shapes)
        self._adopt_buffers()
        most = max(p.size for p in self.params) if per_parameter else min(self.flat.size, BLOCK)
        self.scratch = [np.empty(most, self.flat.dtype) for _ in range(SCRATCH_VECTORS)]
        self.steps = [0] * len(self.params)
        self.division = division or Undivided()
        self.own = self.division.part(self.flat, self.division.rank)
        self._make_slots([slot_shapes(shape) for shape in shapes])
        self._vectors = (self.flat, self.flat_grad, *self.flat_slots)
        self.whole = tuple(vector[self.own] for vector in self._vectors)
        self.blocks = [] if per_parameter else self._blocks(0, self.flat.size)

    def _make_slots(self, shapes: Sequence[Mapping[str, tuple[int, ...]]]) -> None:
        """One zero vector a slot, and views of it per parameter."""
        self.flat_slots: list[np.ndarray] = []
        self._slots_by_rank: list[list[np.ndarray]] = []
        self.slots: list[dict[str, np.ndarray]] = [{} for _ in self.params]
        for name in shapes[0]:
            own = [shape[name] for shape in shapes]
            size = sum(int(np.prod(shape, dtype=int)) for shape in own)
            by_rank = self.division.vectors(size, self.flat.dtype)
            flat = by_rank[self.division.rank]
            self._slots_by_rank.append(by_rank)
            self.flat_slots.append(flat)
            for slots, view in zip(self.slots, _cut(flat, own), strict=True):
                slots[name] = view

    def collect_slots(self) -> None:
        """Copy from the other processes the stretches of the slots that they update."""
        for by_rank, mine in zip(self._slots_by_rank, self.flat_slots, strict=True):
            for rank, theirs in enumerate(by_rank):
                if theirs is not mine:
                    part = self.division.part(self.flat, rank)
                    mine[part] = theirs[part]

    def _adopt_buffers(self) -> None:
        """Hold the very objects that `backward()` writes into, so that `is` tells them."""
        for i, p in enumerate(self.params):
            buffer = _buffer(p)
            if buffer is not None and address(buffer) == address(self.gradients[i]):
                self.gradients[i] = buffer

    def runs(self) -> Iterator[Run]:
        """The kernel calls of this step: parameters with a gradient, together where possible.

        Counts the step, and copies gradients that were assigned rather than written by
        `backward()` to their place in the flat vector.

        Raises:
            Moved: a parameter's array is not the one this segment was made of.
        """
        present = self._collect_gradients()
        steps = self.steps
        if self.per_parameter or not all(present) or steps.count(steps[0]) != len(steps):
            return self._partial_runs(present)
        return iter((Run(self.blocks, self.count()),))

    def count(self) -> int:
        """Count an update of all parameters, which all have had as many; returns its number."""
        step = self.steps[0] + 1
        self.steps = [step] * len(self.steps)
        return step

    @property
    def sweep_is_due(self) -> bool:
        """Whether `sweep` should come before the next update; half precision knows no such need."""
        return (max(self.steps) + 1) % STEPS_BETWEEN_SWEEPS == 0 and self.flat.itemsize > 2

    @property
    def least(self) -> float:
        """The smallest number of full precision."""
        return float(np.finfo(self.flat.dtype).smallest_normal)

    def sweep(self) -> None:
        """Set to zero what is too small for full precision.

        Averages of a gradient that stays zero shrink until rounding holds them, at a few times the
        smallest number there is: not zero, and a processor takes many times as long on each.
        """
        least = self.least
        sizes, small = self.scratch[0], self.scratch[1].view(np.bool_)
        for vector in self.flat_slots:
            mine = vector[self.own]
            for begin in range(0, mine.size, max(1, sizes.size)):
                block = mine[begin : begin + sizes.size]
                np.abs(block, out=sizes[: block.size])
                np.less(sizes[: block.size], least, out=small[: block.size])
                np.copyto(block, 0, where=small[: block.size])

    def _collect_gradients(self) -> list[bool]:
        present = []
        for i, p in enumerate(self.params):
            if p.data is not self.values[i]:
                raise Moved
            grad = p.grad
            if grad is not None and grad is not self.gradients[i]:
                self._take(i, grad)
            present.append(grad is not None)
        return present

    def _take(self, i: int, grad: np.ndarray) -> None:
        """Copy a gradient that lies elsewhere to its place in the flat vector."""
        place = self.gradients[i]
        if np.shape(grad) != place.shape:
            raise ShapeError(
                f"parameter {self.indices[i]} of the optimizer has shape {place.shape}, but its "
                f"gradient has shape {np.shape(grad)}"
            )
        place[...] = grad

    def _partial_runs(self, present: Sequence[bool]) -> Iterator[Run]:
        def key(i: int) -> Any:
            return i if self.per_parameter else (present[i], self.steps[i])

        offsets = np.cumsum([0, *(value.size for value in self.values)]).tolist()
        for _, group in groupby(range(len(self.params)), key):
            members = list(group)
            first, last = members[0], members[-1]
            if not present[first]:
                continue
            for i in members:
                self.steps[i] += 1
            if self.per_parameter:
                blocks = [self._own(first)]
            else:
                blocks = self._blocks(offsets[first], offsets[last + 1])
            yield Run(blocks, self.steps[first])

    def _blocks(self, begin: int, end: int) -> list[tuple[np.ndarray, ...]]:
        """The flat vectors from `begin` to `end`, as far as they are updated, cut into blocks."""
        begin, end = max(begin, self.own.start), min(end, self.own.stop)
        bounds = [slice(i, min(i + BLOCK, end)) for i in range(begin, end, BLOCK)]
        return [
            (
                *(vector[part] for vector in self._vectors),
                *(vector[: part.stop - part.start] for vector in self.scratch),
            )
            for part in bounds
        ]

    def _own(self, i: int) -> tuple[np.ndarray, ...]:
        value = self.values[i]
        scratch = (vector[: value.size].reshape(value.shape) for vector in self.scratch)
        return (value, self.gradients[i], *self.slots[i].values(), *scratch)


def segments_of(
    indexed: Sequence[tuple[int, Tensor]],
    slot_shapes: Callable[[tuple[int, ...]], Mapping[str, tuple[int, ...]]],
    per_parameter: bool = False,
    division: Division | None = None,
) -> list[Segment]:
    """Divide numbered parameters into as few segments as their places in memory allow.

    Parameters without a flat buffer move into one, and so do Tensors that own their memory; views
    of somebody's buffer stay where they are.
    """
    house(p for _, p in indexed if isinstance(p, Parameter))
    runs: list[list[tuple[int, Tensor]]] = []
    for index, p in indexed:
        if runs and _can_join(runs[-1][-1][1], p):
            runs[-1].append((index, p))
        else:
            runs.append([(index, p)])
    loose: dict[np.dtype, list[tuple[int, Tensor]]] = {}
    kept = []
    for run in runs:
        if len(run) == 1 and _is_free_standing(run[0][1]):
            loose.setdefault(run[0][1].dtype, []).append(run[0])
        else:
            kept.append(run)
    return [
        Segment([i for i, _ in run], [p for _, p in run], slot_shapes, per_parameter, division)
        for run in [*kept, *loose.values()]
    ]


def _can_join(first: Tensor, second: Tensor) -> bool:
    """Whether values and gradients of two parameters lie end to end."""
    a, b = _buffer(first), _buffer(second)
    if a is None or b is None:
        return a is b and _are_adjacent(first.data, second.data)
    return _are_adjacent(first.data, second.data) and _are_adjacent(a, b)


def _is_free_standing(p: Tensor) -> bool:
    """Whether moving `p` would take it out of nobody's buffer."""
    if isinstance(p, Parameter):
        return False
    return not p.data.flags.c_contiguous or _root(p.data).nbytes == p.data.nbytes
