"""How a convolution of arrays is computed: by columns and matrix products.

The windows of the input are copied next to each other, as columns or rather rows of a matrix, which
is multiplied by the kernel as a matrix.  The transpose with respect to the kernel is a product with
the same columns; that with respect to the input is a convolution with the turned kernel or, where
the stride is not 1, products that are added back to where the columns came from.
"""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.lib.stride_tricks import as_strided

from nnad.cores.team import matrix_product, stretches
from nnad.errors import ShapeError

__all__ = [
    "Geometry",
    "Pairs",
    "Sizes",
    "forward",
    "input_gradient",
    "output_sizes",
    "turned",
    "weight_gradient",
]

SHORT_RUN = 16  # contiguous elements below which copying row by row is slow
PER_AXIS = ("padded", "kernel", "outputs", "stride", "padding", "dilation")

Pairs = tuple[tuple[int, int], ...]
Sizes = tuple[int, ...]


def output_sizes(
    sizes: Sizes, kernel: Sizes, stride: Sizes, padding: Pairs, dilation: Sizes
) -> Sizes:
    """Positions of a kernel along each axis.

    Raises:
        ShapeError: if it does not fit in even once.
    """
    outputs = []
    for n, k, s, (before, after), d in zip(sizes, kernel, stride, padding, dilation, strict=True):
        room = n + before + after - d * (k - 1) - 1
        if room < 0:
            raise ShapeError(
                f"a kernel of size {kernel}{f' with dilation {dilation}' if d > 1 else ''} does "
                f"not fit into an input of size {sizes} with padding {padding}"
            )
        outputs.append(room // s + 1)
    return tuple(outputs)


@dataclass(frozen=True)
class Geometry:
    """Sizes of one convolution: of the padded input, the kernel and the output; channel groups."""

    padded: Sizes
    kernel: Sizes
    outputs: Sizes
    stride: Sizes
    padding: Pairs
    dilation: Sizes
    groups: int

    @classmethod
    def of(
        cls,
        sizes: Sizes,
        kernel: Sizes,
        stride: Sizes,
        padding: Pairs,
        dilation: Sizes,
        groups: int,
    ) -> Geometry:
        outputs = output_sizes(sizes, kernel, stride, padding, dilation)
        padded = tuple(n + a + b for n, (a, b) in zip(sizes, padding, strict=True))
        return cls(padded, kernel, outputs, stride, padding, dilation, groups)

    @property
    def is_pointwise(self) -> bool:
        """Whether the kernel is one point at every position: the columns are the input."""
        return (
            math.prod(self.kernel) == 1
            and math.prod(self.stride) == 1
            and self.padded == self.outputs
        )

    @property
    def inside(self) -> tuple[slice, ...]:
        """Where the input lies in the padded one."""
        return tuple(slice(a, n - b) for n, (a, b) in zip(self.padded, self.padding, strict=True))

    def positions(self) -> Iterator[tuple[Sizes, tuple[slice, ...]]]:
        """Each kernel position, and the slices of the padded input that meet it."""
        for k in itertools.product(*map(range, self.kernel)):
            yield (
                k,
                tuple(
                    slice(i * d, i * d + s * (n - 1) + 1, s)
                    for i, d, s, n in zip(k, self.dilation, self.stride, self.outputs, strict=True)
                ),
            )

    def pad(self, x: np.ndarray) -> np.ndarray:
        """`x` (batch, *sizes, channels) with zeros around."""
        if x.shape[1:-1] == self.padded:
            return x
        full = np.zeros((len(x), *self.padded, x.shape[-1]), x.dtype)
        full[(slice(None), *self.inside)] = x
        return full

    def windows(self, x: np.ndarray) -> np.ndarray:
        """A view (batch, *outputs, *kernel, channels) of the padded input."""
        batch, *axes, channel = x.strides
        steps = (a * s for a, s in zip(axes, self.stride, strict=True))
        taps = (a * d for a, d in zip(axes, self.dilation, strict=True))
        shape = (len(x), *self.outputs, *self.kernel, x.shape[-1])
        return as_strided(x, shape, (batch, *steps, *taps, channel), writeable=False)

    def pairs(self, inputs: int, outputs: int) -> Iterator[tuple[slice, slice]]:
        """The input and the output channels of each group."""
        return zip(stretches(inputs, self.groups), stretches(outputs, self.groups), strict=True)

    @property
    def rest(self) -> Geometry:
        """The same without the first axis."""
        return replace(self, **{name: getattr(self, name)[1:] for name in PER_AXIS})

    def by_rows(self, channels: int) -> bool:
        """Whether columns are copied for one position along the kernel's first axis at a time.

        That is much less to copy, for one product more a position.  It needs the windows of all
        positions to be at neighbouring places along the first axis.
        """
        wide = math.prod(self.kernel[1:]) * channels >= SHORT_RUN
        return wide and self.kernel[0] > 1 and self.stride[0] == 1

    def elements(self, channels: int, outputs: int) -> int:
        """How many are made of one image: columns and results."""
        columns = math.prod(self.outputs) * math.prod(self.kernel) * channels
        if self.by_rows(channels):
            columns = columns * self.padded[0] // (self.outputs[0] * self.kernel[0])
        return columns + math.prod(self.outputs) * outputs

    def transposed(self) -> Geometry | None:
        """The convolution with the turned kernel that is the transpose; None where it is none."""
        if math.prod(self.stride) != 1:
            return None
        reach = [d * (k - 1) for k, d in zip(self.kernel, self.dilation, strict=True)]
        padding = tuple((r - a, r - b) for r, (a, b) in zip(reach, self.padding, strict=True))
        if any(min(pair) < 0 for pair in padding):
            return None
        padded = tuple(n + a + b for n, (a, b) in zip(self.outputs, padding, strict=True))
        sizes = tuple(s.stop - s.start for s in self.inside)
        return replace(self, padded=padded, outputs=sizes, padding=padding)


class _Scratch(threading.local):
    """A thread's column buffer, kept: fresh memory costs more than what is written to it."""

    buffer = np.empty(0, np.uint8)

    def copy(self, x: np.ndarray) -> np.ndarray:
        """`x` contiguous, valid until the next copy."""
        if x.nbytes > self.buffer.nbytes:
            self.buffer = np.empty(x.nbytes, np.uint8)
        made = self.buffer[: x.nbytes].view(x.dtype).reshape(x.shape)
        np.copyto(made, x)
        return made


_scratch = _Scratch()


def _columns(geometry: Geometry, x: np.ndarray) -> np.ndarray:
    """The windows of the padded `x` as rows of a matrix (batch * outputs, kernel * channels)."""
    channels = x.shape[-1]
    width = math.prod(geometry.kernel) * channels
    if geometry.is_pointwise:
        return x.reshape(-1, channels)
    windows = geometry.windows(x)
    dims = len(geometry.kernel)
    run = channels * (geometry.kernel[-1] if geometry.dilation[-1] == 1 else 1)
    if run >= SHORT_RUN:
        return _scratch.copy(windows).reshape(-1, width)
    # Few channels: the transpose is copied, in which the last axis of positions is contiguous.
    taps_first = (*range(dims + 1, 2 * dims + 2), *range(dims + 1))
    return _scratch.copy(windows.transpose(taps_first)).reshape(width, -1).T


def _blocks(geometry: Geometry, x: np.ndarray) -> list[np.ndarray]:
    """The windows of `x` as matrices, one for each stretch of the kernel that they meet.

    Either one matrix (batch * outputs, kernel * channels), or one for each position along the
    kernel's first axis, whose rows have the first axis of positions before the batch: these are
    parts of one matrix, whose columns are windows over the other axes.
    """
    channels = x.shape[-1]
    if not geometry.by_rows(channels):
        return [_columns(geometry, geometry.pad(x))]
    first, *others = geometry.inside
    rows = np.zeros((geometry.padded[0], len(x), *geometry.padded[1:], channels), x.dtype)
    rows[(first, slice(None), *others)] = x.swapaxes(0, 1)
    columns = _columns(geometry.rest, rows.reshape(-1, *rows.shape[2:]))
    pitch = len(columns) // geometry.padded[0]
    places = (i * geometry.dilation[0] for i in range(geometry.kernel[0]))
    return [columns[pitch * i : pitch * (i + geometry.outputs[0])] for i in places]


# The three kernels of one group ---------------------------------------------------------------


def _forward(geometry: Geometry, x: np.ndarray, w: np.ndarray, y: np.ndarray) -> None:
    blocks = _blocks(geometry, x)
    kernels = np.ascontiguousarray(w).reshape(len(blocks), -1, w.shape[-1])
    if len(blocks) == 1:
        matrix_product(blocks[0], kernels[0], out=y.reshape(-1, w.shape[-1]))
        return
    total = matrix_product(blocks[0], kernels[0])
    term = np.empty_like(total)
    for block, kernel in zip(blocks[1:], kernels[1:], strict=True):
        total += matrix_product(block, kernel, out=term)
    y.swapaxes(0, 1)[...] = total.reshape(y.shape[1], len(y), *y.shape[2:])


def _weight_gradient(geometry: Geometry, x: np.ndarray, g: np.ndarray) -> np.ndarray:
    blocks = _blocks(geometry, x)
    rows = (g if len(blocks) == 1 else g.swapaxes(0, 1)).reshape(-1, g.shape[-1])
    dw = np.concatenate([matrix_product(block.T, rows) for block in blocks])
    return dw.reshape(*geometry.kernel, x.shape[-1], g.shape[-1])


def _input_gradient(geometry: Geometry, g: np.ndarray, w: np.ndarray, dx: np.ndarray) -> None:
    transposed = geometry.transposed()
    if transposed is None:
        _add_back(geometry, g, w, dx)
    else:
        _forward(transposed, g, turned(w), dx)


def turned(w: np.ndarray) -> np.ndarray:
    """A kernel backwards along every axis, inputs and outputs exchanged."""
    backwards = w[(slice(None, None, -1),) * (w.ndim - 2)]
    return np.ascontiguousarray(backwards.swapaxes(-1, -2))


def _add_back(geometry: Geometry, g: np.ndarray, w: np.ndarray, dx: np.ndarray) -> None:
    """One product per kernel position, added to where it came from.

    The axes of positions stand first meanwhile, so that those additions run over contiguous
    stretches of whole rows, batch and channels.
    """
    channels, outputs = w.shape[-2:]
    rows = np.ascontiguousarray(np.moveaxis(g, 0, -2)).reshape(-1, outputs)
    transposed = np.ascontiguousarray(w.swapaxes(-1, -2))
    full = np.zeros((*geometry.padded, len(g), channels), g.dtype)
    part = np.empty((*geometry.outputs, len(g), channels), g.dtype)
    for k, place in geometry.positions():
        matrix_product(rows, transposed[k], out=part.reshape(-1, channels))
        full[place] += part
    dx[...] = np.moveaxis(full[geometry.inside], -2, 0)


# Depthwise: one input channel per group, without columns or products ---------------------------


def _depthwise_forward(geometry: Geometry, x: np.ndarray, w: np.ndarray, y: np.ndarray) -> None:
    """`w` (*kernel, 1, channels * m): sums of shifted inputs times a number per channel."""
    x = geometry.pad(x)[..., None]
    taps = w.reshape(*geometry.kernel, x.shape[-2], -1)
    total = y.reshape(*y.shape[:-1], *taps.shape[-2:])
    total[...] = 0
    for k, place in geometry.positions():
        total += x[(slice(None), *place)] * taps[k]


def _depthwise_weight(geometry: Geometry, x: np.ndarray, g: np.ndarray) -> np.ndarray:
    x = geometry.pad(x)
    channels = x.shape[-1]
    split = g.reshape(*g.shape[:-1], channels, -1)
    dw = np.empty((*geometry.kernel, channels, split.shape[-1]), g.dtype)
    ones = np.ones(g.size // g.shape[-1], g.dtype)
    for k, place in geometry.positions():
        terms = x[(slice(None), *place)][..., None] * split
        dw[k] = (ones @ terms.reshape(len(ones), -1)).reshape(channels, -1)
    return dw.reshape(*geometry.kernel, 1, -1)


def _depthwise_input(geometry: Geometry, g: np.ndarray, w: np.ndarray, dx: np.ndarray) -> None:
    taps = w.reshape(*geometry.kernel, geometry.groups, -1)
    split = g.reshape(*g.shape[:-1], *taps.shape[-2:])
    full = np.zeros((len(g), *geometry.padded, geometry.groups), g.dtype)
    for k, place in geometry.positions():
        terms = split * taps[k]
        full[(slice(None), *place)] += terms[..., 0] if terms.shape[-1] == 1 else terms.sum(axis=-1)
    dx[...] = full[(slice(None), *geometry.inside)]


# The three kernels of any number of groups ------------------------------------------------------


def forward(geometry: Geometry, x: np.ndarray, w: np.ndarray, y: np.ndarray) -> None:
    """The convolution of a batch, into `y`."""
    if geometry.groups == 1:
        _forward(geometry, x, w, y)
    elif w.shape[-2] == 1:
        _depthwise_forward(geometry, x, w, y)
    else:
        for i, o in geometry.pairs(x.shape[-1], w.shape[-1]):
            part = np.empty((*y.shape[:-1], o.stop - o.start), y.dtype)
            _forward(geometry, x[..., i], w[..., o], part)
            y[..., o] = part


def weight_gradient(geometry: Geometry, x: np.ndarray, g: np.ndarray) -> np.ndarray:
    """The cotangent of the kernel."""
    if geometry.groups == 1:
        return _weight_gradient(geometry, x, g)
    if x.shape[-1] == geometry.groups:
        return _depthwise_weight(geometry, x, g)
    pairs = geometry.pairs(x.shape[-1], g.shape[-1])
    parts = [_weight_gradient(geometry, x[..., i], g[..., o]) for i, o in pairs]
    return np.concatenate(parts, axis=-1)


def input_gradient(geometry: Geometry, g: np.ndarray, w: np.ndarray, dx: np.ndarray) -> None:
    """The cotangent of the input, into `dx`."""
    if geometry.groups == 1:
        _input_gradient(geometry, g, w, dx)
    elif w.shape[-2] == 1:
        _depthwise_input(geometry, g, w, dx)
    else:
        for i, o in geometry.pairs(dx.shape[-1], g.shape[-1]):
            part = np.empty((*dx.shape[:-1], i.stop - i.start), dx.dtype)
            _input_gradient(geometry, g[..., o], w[..., o], part)
            dx[..., i] = part
