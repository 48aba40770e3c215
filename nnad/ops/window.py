"""Convolutions of any number of axes, channels last, by columns and one matrix product.

Three operations, each linear in both of its arrays, are each other's derivatives:

    conv(x, w)            y[n, p, o] = sum_{k, c} x[n, s p + d k, c] w[k, c, o]
    conv_input(g, w)      its transpose with respect to x: what comes back to the input
    conv_weight(x, g)     its transpose with respect to w

(p positions, k kernel positions, s stride, d dilation.)  With them any order of derivative follows.
`conv` copies the windows of x as columns next to each other and multiplies by the kernel as a
matrix; `conv_input` multiplies by its transpose and adds the columns back to where they came from.

All three do the batch in parts whose columns stay in a core's cache, shared among threads.  The
parts depend on the sizes alone, so the results do not depend on the number of threads.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from nnad.autodiff.table import add_up, case, explicit, multilinear
from nnad.cores.team import batch_parts, share, stretches
from nnad.errors import ShapeError
from nnad.ops.columns import (
    Geometry,
    Sizes,
    forward,
    input_gradient,
    output_sizes,
    turned,
    weight_gradient,
)
from nnad.ops.linalg import matmul
from nnad.ops.shape import reshape

__all__ = ["conv", "conv_input", "conv_weight", "output_sizes"]

SUMS = 8  # at most so many stretches of the batch are summed apart in a kernel's gradient


# The operations -------------------------------------------------------------------------------


def _check(x_channels: int, w: Any, groups: int) -> None:
    inputs, outputs = w.shape[-2:]
    if not inputs or not outputs:
        raise ShapeError(
            f"a kernel of shape {w.shape} has {inputs} input and {outputs} output channels, "
            "expected 1 or more of each; leave such a convolution out"
        )
    if x_channels != inputs * groups or outputs % groups:
        raise ShapeError(
            f"{x_channels} input channels do not fit a kernel of shape {w.shape}"
            f"{f' in {groups} groups' if groups > 1 else ''}, which takes {inputs * groups}"
        )


def _conv(x: Any, w: Any, bias: Any, *, groups: int = 1, out: Any = None, **options: Any) -> Any:
    _check(x.shape[-1], w, groups)
    geometry = Geometry.of(x.shape[1:-1], w.shape[:-2], groups=groups, **options)
    shape = (len(x), *geometry.outputs, w.shape[-1])
    y = np.empty(shape, np.result_type(x, w)) if out is None else out
    row = None if bias is None else np.tile(bias, shape[-2])

    def do(part: slice) -> None:
        forward(geometry, x[part], w, y[part])
        if row is not None:
            rows = y[part].reshape(-1, len(row))
            rows += row

    share(do, batch_parts(len(x), geometry.elements(x.shape[-1], w.shape[-1])))
    return y


def _conv_input(g: Any, w: Any, *, sizes: Sizes, groups: int = 1, **options: Any) -> Any:
    geometry = Geometry.of(sizes, w.shape[:-2], groups=groups, **options)
    channels = w.shape[-2] * groups
    if g.shape[1:] != (*geometry.outputs, w.shape[-1]):
        raise ShapeError(
            f"got shape {g.shape}, expected (batch, {', '.join(map(str, geometry.outputs))}, "
            f"{w.shape[-1]})"
        )
    dx = np.empty((len(g), *sizes, channels), g.dtype)
    transposed = geometry.transposed()
    parts = batch_parts(len(g), (transposed or geometry).elements(g.shape[-1], channels))
    if transposed is None or groups > 1:
        share(lambda part: input_gradient(geometry, g[part], w, dx[part]), parts)
    else:
        kernel = turned(w)
        share(lambda part: forward(transposed, g[part], kernel, dx[part]), parts)
    return dx


def _conv_weight(x: Any, g: Any, *, kernel: Sizes, groups: int = 1, **options: Any) -> Any:
    geometry = Geometry.of(x.shape[1:-1], kernel, groups=groups, **options)
    if not len(x):
        return np.zeros((*kernel, x.shape[-1] // groups, g.shape[-1]), g.dtype)
    parts = batch_parts(len(x), geometry.elements(x.shape[-1], g.shape[-1]))
    stretch = stretches(len(parts), min(len(parts), SUMS))
    sums: list[Any] = [None] * len(stretch)

    def do(i: int) -> None:
        for part in parts[stretch[i]]:
            dw = weight_gradient(geometry, x[part], g[part])
            sums[i] = dw if sums[i] is None else sums[i] + dw

    share(do, range(len(stretch)))
    return functools.reduce(operator.iadd, sums)


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
    ((2, 5, 16), (3, 16, 2), _geometry(1, dilation=2)),
    ((2, 4, 3, 9), (2, 2, 9, 3), {**_geometry(2), "padding": ((0, 1), (2, 0))}),
    ((1, 3, 2, 3, 4), (2, 2, 2, 4, 2), _geometry(3)),
    ((1, 2, 3, 2), (1, 2, 2, 2), _geometry(2, pad=2)),
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
