"""Convolutions of any number of axes, channels last, by columns and one matrix product.

Three operations, each linear in both of its arrays, are each other's derivatives:

    conv(x, w)            y[n, p, o] = sum_{k, c} x[n, s p + d k, c] w[k, c, o]
    conv_input(g, w)      its transpose with respect to x: what comes back to the input
    conv_weight(x, g)     its transpose with respect to w

(p positions, k kernel positions, s stride, d dilation.)  With them any order of derivative follows.
`conv` copies the windows of x as columns next to each other and multiplies by the kernel as a
matrix; `conv_input` multiplies by its transpose and adds the columns back to where they came from.
"""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from nnad.autodiff.table import add_up, case, explicit, multilinear
from nnad.errors import ShapeError
from nnad.ops.linalg import matmul
from nnad.ops.shape import reshape

__all__ = ["conv", "conv_input", "conv_weight", "output_sizes"]

COLUMN_LIMIT = 1 << 20  # elements of a column buffer; a longer batch is done in parts
SHORT_RUN = 16  # contiguous elements below which copying row by row is slow

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
class _Geometry:
    """Sizes of one convolution: of the padded input, the kernel and the output."""

    padded: Sizes
    kernel: Sizes
    outputs: Sizes
    stride: Sizes
    padding: Pairs
    dilation: Sizes

    @classmethod
    def of(cls, sizes: Sizes, kernel: Sizes, stride: Sizes, padding: Pairs, dilation: Sizes) -> Any:
        outputs = output_sizes(sizes, kernel, stride, padding, dilation)
        padded = tuple(n + a + b for n, (a, b) in zip(sizes, padding, strict=True))
        return cls(padded, kernel, outputs, stride, padding, dilation)

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

    def parts(self, x: np.ndarray) -> Iterator[slice]:
        """The batch in stretches whose columns fit the buffer."""
        column = math.prod(self.outputs) * math.prod(self.kernel) * x.shape[-1]
        step = max(1, COLUMN_LIMIT // max(column, 1))
        return (slice(i, i + step) for i in range(0, len(x), step))


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


def _columns(geometry: _Geometry, x: np.ndarray) -> np.ndarray:
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


# The three kernels of one group ---------------------------------------------------------------


def _forward(geometry: _Geometry, x: np.ndarray, w: np.ndarray, y: np.ndarray) -> None:
    x = geometry.pad(x)
    matrix = np.ascontiguousarray(w).reshape(-1, w.shape[-1])
    for part in geometry.parts(x):
        target = y[part]
        columns = _columns(geometry, x[part])
        np.matmul(columns, matrix, out=target.reshape(-1, w.shape[-1]))


def _weight_gradient(geometry: _Geometry, x: np.ndarray, g: np.ndarray) -> np.ndarray:
    if not len(x):
        return np.zeros((*geometry.kernel, x.shape[-1], g.shape[-1]), g.dtype)
    x = geometry.pad(x)
    total: Any = None
    for part in geometry.parts(x):
        rows = g[part].reshape(-1, g.shape[-1])
        product = _columns(geometry, x[part]).T @ rows
        total = product if total is None else total + product
    return total.reshape(*geometry.kernel, x.shape[-1], g.shape[-1])


def _input_gradient(geometry: _Geometry, g: np.ndarray, w: np.ndarray) -> np.ndarray:
    """One product per kernel position, added to where it came from.

    The axes of positions stand first meanwhile, so that those additions run over contiguous
    stretches of whole rows, batch and channels.
    """
    channels, outputs = w.shape[-2:]
    if geometry.is_pointwise:
        flat = g.reshape(-1, outputs) @ w.reshape(channels, outputs).T
        return flat.reshape(len(g), *geometry.padded, channels)
    rows = np.ascontiguousarray(np.moveaxis(g, 0, -2)).reshape(-1, outputs)
    transposed = np.ascontiguousarray(w.swapaxes(-1, -2))
    full = np.zeros((*geometry.padded, len(g), channels), g.dtype)
    product = np.empty((*geometry.outputs, len(g), channels), g.dtype)
    for k, place in geometry.positions():
        np.matmul(rows, transposed[k], out=product.reshape(-1, channels))
        full[place] += product
    return np.ascontiguousarray(np.moveaxis(full[geometry.inside], -2, 0))


# Depthwise: one input channel per group, without columns or products ---------------------------


def _depthwise_forward(geometry: _Geometry, x: np.ndarray, w: np.ndarray, y: np.ndarray) -> None:
    """`w` (*kernel, 1, channels * m): sums of shifted inputs times a number per channel."""
    x = geometry.pad(x)[..., None]
    taps = w.reshape(*geometry.kernel, x.shape[-2], -1)
    total = y.reshape(*y.shape[:-1], *taps.shape[-2:])
    total[...] = 0
    for k, place in geometry.positions():
        total += x[(slice(None), *place)] * taps[k]


def _depthwise_weight(geometry: _Geometry, x: np.ndarray, g: np.ndarray) -> np.ndarray:
    if not len(x):
        return np.zeros((*geometry.kernel, 1, g.shape[-1]), g.dtype)
    x = geometry.pad(x)
    channels = x.shape[-1]
    split = g.reshape(*g.shape[:-1], channels, -1)
    dw = np.empty((*geometry.kernel, channels, split.shape[-1]), g.dtype)
    ones = np.ones(g.size // g.shape[-1], g.dtype)
    for k, place in geometry.positions():
        product = x[(slice(None), *place)][..., None] * split
        dw[k] = (ones @ product.reshape(len(ones), -1)).reshape(channels, -1)
    return dw.reshape(*geometry.kernel, 1, -1)


def _depthwise_input(geometry: _Geometry, g: np.ndarray, w: np.ndarray, channels: int) -> Any:
    split = g.reshape(*g.shape[:-1], channels, g.shape[-1] // channels)
    taps = w.reshape(*geometry.kernel, channels, -1)
    full = np.zeros((len(g), *geometry.padded, channels), g.dtype)
    for k, place in geometry.positions():
        product = split * taps[k]
        full[(slice(None), *place)] += (
            product[..., 0] if product.shape[-1] == 1 else product.sum(axis=-1)
        )
    return np.ascontiguousarray(full[(slice(None), *geometry.inside)])


def _slices(total: int, groups: int) -> list[slice]:
    size = total // groups
    return [slice(i * size, (i + 1) * size) for i in range(groups)]


# The operations -------------------------------------------------------------------------------


def _check(x_channels: int, w: Any, groups: int) -> None:
    inputs, outputs = w.shape[-2:]
    if x_channels != inputs * groups or outputs % groups:
        raise ShapeError(
            f"{x_channels} input channels do not fit a kernel of shape {w.shape}"
            f"{f' in {groups} groups' if groups > 1 else ''}, which takes {inputs * groups}"
        )


def _conv(
    x: Any,
    w: Any,
    bias: Any,
    *,
    stride: Sizes,
    padding: Pairs,
    dilation: Sizes,
    groups: int = 1,
    out: Any = None,
) -> Any:
    _check(x.shape[-1], w, groups)
    geometry = _Geometry.of(x.shape[1:-1], w.shape[:-2], stride, padding, dilation)
    shape = (len(x), *geometry.outputs, w.shape[-1])
    y = np.empty(shape, np.result_type(x, w)) if out is None else out
    if groups == 1:
        _forward(geometry, x, w, y)
    elif w.shape[-2] == 1:
        _depthwise_forward(geometry, x, w, y)
    else:
        pairs = zip(_slices(x.shape[-1], groups), _slices(w.shape[-1], groups), strict=True)
        for i, o in pairs:
            part = np.empty((*shape[:-1], o.stop - o.start), y.dtype)
            _forward(geometry, x[..., i], w[..., o], part)
            y[..., o] = part
    if bias is not None:
        y += bias
    return y


def _conv_input(
    g: Any,
    w: Any,
    *,
    sizes: Sizes,
    stride: Sizes,
    padding: Pairs,
    dilation: Sizes,
    groups: int = 1,
) -> Any:
    geometry = _Geometry.of(sizes, w.shape[:-2], stride, padding, dilation)
    channels = w.shape[-2] * groups
    if g.shape[1:] != (*geometry.outputs, w.shape[-1]):
        raise ShapeError(
            f"got shape {g.shape}, expected (batch, {', '.join(map(str, geometry.outputs))}, "
            f"{w.shape[-1]})"
        )
    if groups == 1:
        return _input_gradient(geometry, g, w)
    if w.shape[-2] == 1:
        return _depthwise_input(geometry, g, w, channels)
    parts = _slices(w.shape[-1], groups)
    return np.concatenate([_input_gradient(geometry, g[..., o], w[..., o]) for o in parts], axis=-1)


def _conv_weight(
    x: Any,
    g: Any,
    *,
    kernel: Sizes,
    stride: Sizes,
    padding: Pairs,
    dilation: Sizes,
    groups: int = 1,
) -> Any:
    geometry = _Geometry.of(x.shape[1:-1], kernel, stride, padding, dilation)
    if groups == 1:
        return _weight_gradient(geometry, x, g)
    if x.shape[-1] == groups:
        return _depthwise_weight(geometry, x, g)
    pairs = zip(_slices(x.shape[-1], groups), _slices(g.shape[-1], groups), strict=True)
    return np.concatenate(
        [_weight_gradient(geometry, x[..., i], g[..., o]) for i, o in pairs], axis=-1
    )


def _bias_gradient(g: Any, ans: Any, x: Any, w: Any, bias: Any, **geometry: Any) -> Any:
    rows = reshape(g, (-1, g.shape[-1]))
    return matmul(np.ones(rows.shape[0], rows.dtype), rows)


def _conv_jvp(tangents: Sequence[Any], ans: Any, x: Any, w: Any, bias: Any, **geometry: Any) -> Any:
    dx, dw, dbias = tangents
    parts = (
        None if dx is None else conv(dx, w, None, **geometry),
        None if dw is None else conv(x, dw, None, **geometry),
        dbias,
    )
    return add_up(part for part in parts if part is not None)


def _geometry(dims: int, stride: int = 1, pad: int = 0, dilation: int = 1, **more: Any) -> Any:
    return {
        "stride": (stride,) * dims,
        "padding": ((pad, pad),) * dims,
        "dilation": (dilation,) * dims,
        **more,
    }


# (x shape, kernel shape, arguments) of the samples of all three operations.
_CASES: list[tuple[Sizes, Sizes, dict[str, Any]]] = [
    ((2, 5, 3), (3, 3, 2), _geometry(1)),
    ((2, 4, 5, 2), (3, 2, 2, 3), _geometry(2, pad=1)),
    ((1, 6, 7, 2), (2, 3, 1, 4), _geometry(2, stride=2, groups=2)),
    ((2, 6, 6, 4), (2, 2, 2, 4), _geometry(2, dilation=2, groups=2)),
    ((2, 3, 3, 2), (1, 1, 2, 3), _geometry(2)),
    ((1, 5, 4, 1), (2, 2, 1, 2), {**_geometry(2, stride=3), "padding": ((0, 1), (2, 0))}),
    ((1, 3, 4, 3, 2), (2, 2, 2, 2, 2), _geometry(3)),
    ((1, 4, 4, 8), (2, 2, 8, 2), _geometry(2)),
]


def _output_shape(x: Sizes, w: Sizes, geometry: dict[str, Any]) -> Sizes:
    plain = {k: v for k, v in geometry.items() if k != "groups"}
    return (x[0], *output_sizes(x[1:-1], w[:-2], **plain), w[-1])


# The convolution; stride and dilation per axis, padding (before, after) per axis.
conv = explicit(
    "conv",
    _conv,
    vjps=(
        lambda g, ans, x, w, bias, **geometry: conv_input(g, w, sizes=x.shape[1:-1], **geometry),
        lambda g, ans, x, w, bias, **geometry: conv_weight(x, g, kernel=w.shape[:-2], **geometry),
        _bias_gradient,
    ),
    affine=True,
    jvp=_conv_jvp,
    tangent="conv(v0, x1) + conv(x0, v1) + v2",
    formula="sum over window and channels of x0 * x1, + x2",
    partials=("conv_input(g, x1)", "conv_weight(x0, g)", "sum of g"),
    samples=lambda rng: [
        case(rng.normal(size=x), rng.normal(size=w), rng.normal(size=w[-1]), **geometry)
        for x, w, geometry in _CASES
    ],
)
conv_input = multilinear(
    "conv_input",
    _conv_input,
    lambda h, ans, g, w, *, sizes, **geometry: conv(h, w, None, **geometry),
    lambda h, ans, g, w, *, sizes, **geometry: conv_weight(h, g, kernel=w.shape[:-2], **geometry),
    formula="transpose of conv with respect to its input",
    partials=("conv(g, x1)", "conv_weight(g, x0)"),
    samples=lambda rng: [
        case(
            rng.normal(size=_output_shape(x, w, geometry)),
            rng.normal(size=w),
            sizes=x[1:-1],
            **geometry,
        )
        for x, w, geometry in _CASES
    ],
)
conv_weight = multilinear(
    "conv_weight",
    _conv_weight,
    lambda v, ans, x, g, *, kernel, **geometry: conv_input(g, v, sizes=x.shape[1:-1], **geometry),
    lambda v, ans, x, g, *, kernel, **geometry: conv(x, v, None, **geometry),
    formula="transpose of conv with respect to its kernel",
    partials=("conv_input(x1, g)", "conv(x0, g)"),
    samples=lambda rng: [
        case(
            rng.normal(size=x),
            rng.normal(size=_output_shape(x, w, geometry)),
            kernel=w[:-2],
            **geometry,
        )
        for x, w, geometry in _CASES
    ],
)
