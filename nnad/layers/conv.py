"""Convolutions over (batch, *positions, channels) and the layers that resize images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from nnad.autodiff.tensor import value_of
from nnad.errors import ShapeError
from nnad.initializers import fans, initializer
from nnad.layers.diagnosis import check_sizes
from nnad.layers.linear import initial_bias
from nnad.layers.module import Module
from nnad.layers.parameter import Parameter
from nnad.ops import broadcast_to, matmul, reshape, swapaxes
from nnad.ops.window import conv, conv_input
from nnad.random import Rng, as_generator

__all__ = [
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "DepthwiseConv2d",
    "SeparableConv2d",
    "Upsample",
    "ZeroPad1d",
    "ZeroPad2d",
]

Size = int | Sequence[int]


def per_axis(value: Size, dims: int, name: str, lowest: int = 1) -> tuple[int, ...]:
    """An argument given as one number, or one per axis, as a tuple.

    Raises:
        ValueError: for a wrong number of axes or a value below `lowest`.
    """
    sizes = (value,) * dims if isinstance(value, (int, np.integer)) else tuple(value)
    if len(sizes) != dims or any(n < lowest for n in sizes):
        raise ValueError(
            f"{name} is one whole number or {dims}, each at least {lowest}, got {value}"
        )
    return sizes


def check_rank(x: Any, dims: int) -> tuple[int, ...]:
    """The shape of `x`, which must be (batch, *positions, channels)."""
    shape = value_of(x).shape
    if len(shape) != dims + 2:
        axes = {1: "time", 2: "height, width", 3: "depth, height, width"}[dims]
        raise ShapeError(f"got an input of shape {shape}, expected (batch, {axes}, channels)")
    return shape


class _Conv(Module):
    """Convolution over `dims` axes; see `Conv2d`."""

    input_sizes: ClassVar[dict[str, int]] = {"in_channels": -1}
    dims: ClassVar[int] = 0

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size | str = 0,
        dilation: Size = 1,
        groups: int = 1,
        bias: bool = True,
        *,
        weight_init: Any = "torch_uniform",
        bias_init: Any = None,
        rng: Rng = None,
        dtype: Any = "float32",
    ) -> None:
        super().__init__()
        check_sizes(self, in_channels=in_channels, out_channels=out_channels, groups=groups)
        rng = as_generator(rng)
        if in_channels % groups or out_channels % groups:
            raise ValueError(
                f"groups={groups} divides neither or only one of in_channels={in_channels} and "
                f"out_channels={out_channels}"
            )
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = per_axis(kernel_size, self.dims, "kernel_size")
        self.stride = per_axis(stride, self.dims, "stride")
        self.dilation = per_axis(dilation, self.dims, "dilation")
        self.groups = groups
        self.padding = padding
        self.pairs = self._pairs(padding)
        shape = (*self.kernel_size, in_channels // groups, out_channels)
        fan_in = fans(shape)[0]
        self.weight = Parameter(initializer(weight_init)(shape, rng=rng, dtype=dtype))
        self.bias = (
            Parameter(initial_bias(bias_init, out_channels, fan_in, rng, dtype)) if bias else None
        )

    def _pairs(self, padding: Any) -> tuple[tuple[int, int], ...]:
        """Padding before and after, per axis; the odd element of "same" goes to the end."""
        if padding == "valid":
            padding = 0
        if padding == "same":
            if self.stride != (1,) * self.dims:
                raise ValueError(f'padding="same" needs stride 1, got stride {self.stride}')
            totals = [d * (k - 1) for d, k in zip(self.dilation, self.kernel_size, strict=True)]
            return tuple((total // 2, total - total // 2) for total in totals)
        if isinstance(padding, str):
            raise ValueError(f'padding is a number, "same" or "valid", got {padding!r}')
        return tuple((p, p) for p in per_axis(padding, self.dims, "padding", 0))

    def forward(self, x: Any) -> Any:
        """(batch, *positions, in_channels) -> (batch, *positions, out_channels)."""
        check_rank(x, self.dims)
        return conv(
            x,
            self.weight,
            self.bias,
            stride=self.stride,
            padding=self.pairs,
            dilation=self.dilation,
            groups=self.groups,
        )

    def multiply_adds(self, inputs: Any, output: Any) -> int:
        """A window's size for each number of the output."""
        return int(output.size) * math.prod(self.weight.shape[:-1])

    def extra_repr(self) -> str:
        """The arguments."""
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}"
        defaults = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1}
        for name, default in defaults.items():
            value = getattr(self, name)
            if value not in (default, (default,) * self.dims):
                text += f", {name}={value!r}"
        return text + ", bias=False" * (self.bias is None)


class Conv1d(_Conv):
    """Convolution (cross-correlation) over (batch, time, channels).

    Arguments as in `Conv2d`; weight (kernel, in_channels / groups, out_channels).
    """

    dims = 1


class Conv2d(_Conv):
    """Convolution (cross-correlation) of images (batch, height, width, channels).

    y[n, h, w, o] = bias[o] + sum over i, j, c of weight[i, j, c, o] x[n, s h + d i, s w + d j, c]

    Args:
        in_channels, out_channels: sizes of the last axis of input and output.
        kernel_size: height and width of the kernel, or one number for both.
        stride: distance of neighbouring positions, per axis or one for all.
        padding: zeros on both sides of each axis; "same" for an output of the input's size.
        dilation: distance of neighbouring kernel points.
        groups: input and output channels fall into this many groups that do not mix;
            groups=in_channels is a depthwise convolution.
        bias: whether to add a bias.
        weight_init, bias_init: see `nnad.initializers`; by default as in PyTorch.
        rng: generator or seed of the initial values.
        dtype: of the parameters.
    """

    dims = 2


class Conv3d(_Conv):
    """Convolution over (batch, depth, height, width, channels); arguments as in `Conv2d`."""

    dims = 3


class DepthwiseConv2d(Conv2d):
    """Each channel convolved on its own: Conv2d with groups=in_channels.

    Args:
        in_channels: size of the last axis.
        kernel_size, stride, padding, dilation, bias: see `Conv2d`.
        multiplier: outputs per channel.
        rng, dtype: see `Conv2d`.
    """

    def __init__(
        self,
        in_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size | str = 0,
        dilation: Size = 1,
        multiplier: int = 1,
        bias: bool = True,
        *,
        rng: Rng = None,
        dtype: Any = "float32",
    ) -> None:
        super().__init__(
            in_channels,
            in_channels * multiplier,
            kernel_size,
            stride,
            padding,
            dilation,
            groups=in_channels,
            bias=bias,
            rng=rng,
            dtype=dtype,
        )


class SeparableConv2d(Module):
    """A depthwise convolution, then one of 1 x 1 that mixes the channels (Chollet 2017).

    Args:
        in_channels, out_channels: sizes of the last axis of input and output.
        kernel_size, stride, padding, dilation: of the depthwise convolution, see `Conv2d`.
        bias: whether the second one adds a bias.
        rng, dtype: see `Conv2d`.
    """

    input_sizes: ClassVar[dict[str, int]] = {"in_channels": -1}

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size | str = 0,
        dilation: Size = 1,
        bias: bool = True,
        *,
        rng: Rng = None,
        dtype: Any = "float32",
    ) -> None:
        super().__init__()
        rng = as_generator(rng)
        self.in_channels = in_channels
        self.depthwise = DepthwiseConv2d(
            in_channels, kernel_size, stride, padding, dilation, bias=False, rng=rng, dtype=dtype
        )
        self.pointwise = Conv2d(in_channels, out_channels, 1, bias=bias, rng=rng, dtype=dtype)

    def forward(self, x: Any) -> Any:
        """(batch, height, width, in_channels) -> (batch, height, width, out_channels)."""
        return self.pointwise(self.depthwise(x))


class _ConvTranspose(Module):
    """The transpose of a convolution over `dims` axes; see `ConvTranspose2d`."""

    input_sizes: ClassVar[dict[str, int]] = {"in_channels": -1}
    dims: ClassVar[int] = 0

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size = 0,
        bias: bool = True,
        output_padding: Size = 0,
        dilation: Size = 1,
        groups: int = 1,
        *,
        weight_init: Any = None,
        bias_init: Any = None,
        rng: Rng = None,
        dtype: Any = "float32",
    ) -> None:
        super().__init__()
        check_sizes(self, in_channels=in_channels, out_channels=out_channels, groups=groups)
        rng = as_generator(rng)
        if in_channels % groups or out_channels % groups:
            raise ValueError(
                f"groups={groups} divides neither or only one of in_channels={in_channels} and "
                f"out_channels={out_channels}"
            )
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = per_axis(kernel_size, self.dims, "kernel_size")
        self.stride = per_axis(stride, self.dims, "stride")
        self.padding = per_axis(padding, self.dims, "padding", 0)
        self.output_padding = per_axis(output_padding, self.dims, "output_padding", 0)
        self.dilation = per_axis(dilation, self.dims, "dilation")
        self.groups = groups
        shape = (*self.kernel_size, in_channels, out_channels // groups)
        fan_in = math.prod(self.kernel_size) * out_channels // groups  # PyTorch's convention
        if weight_init is None:
            limit = 1 / math.sqrt(fan_in)
            weight_init = {"name": "uniform", "low": -limit, "high": limit}
        self.weight = Parameter(initializer(weight_init)(shape, rng=rng, dtype=dtype))
        self.bias = (
            Parameter(initial_bias(bias_init, out_channels, fan_in, rng, dtype)) if bias else None
        )

    def forward(self, x: Any) -> Any:
        """(batch, *positions, in_channels) -> (batch, *positions, out_channels)."""
        shape = check_rank(x, self.dims)
        if shape[-1] != self.in_channels:
            raise ShapeError(f"got an input of shape {shape}, expected {self.in_channels} channels")
        y = conv_input(
            x,
            swapaxes(self.weight, -1, -2),
            sizes=self._output_sizes(shape[1:-1]),
            stride=self.stride,
            padding=tuple((p, p) for p in self.padding),
            dilation=self.dilation,
            groups=self.groups,
        )
        return y if self.bias is None else y + self.bias

    def _output_sizes(self, sizes: tuple[int, ...]) -> tuple[int, ...]:
        """(n - 1) stride - 2 padding + dilation (kernel - 1) + output_padding + 1 per axis."""
        outputs = tuple(
            (n - 1) * s - 2 * p + d * (k - 1) + extra + 1
            for n, k, s, p, extra, d in zip(
                sizes,
                self.kernel_size,
                self.stride,
                self.padding,
                self.output_padding,
                self.dilation,
                strict=True,
            )
        )
        if min(outputs) < 1:
            raise ShapeError(f"an input of size {sizes} gives an empty output of size {outputs}")
        return outputs

    def multiply_adds(self, inputs: Any, output: Any) -> int:
        """The kernel's size times its outputs, for each number of the input."""
        spread = math.prod(self.kernel_size) * self.out_channels // self.groups
        return int(value_of(inputs[0]).size) * spread

    def extra_repr(self) -> str:
        """The arguments."""
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, "
            f"stride={self.stride}, padding={self.padding}"
        )


class ConvTranspose1d(_ConvTranspose):
    """The transpose of Conv1d; see `ConvTranspose2d`."""

    dims = 1


class ConvTranspose2d(_ConvTranspose):
    """The transpose of Conv2d as a linear map: from its output's shape to its input's.

    Each number of the input adds a multiple of the kernel to the output; with stride s the output
    is about s times as large.

    Args:
        in_channels, out_channels: sizes of the last axis of input and output.
        kernel_size, stride, padding, dilation, groups: of the convolution it is the transpose of.
        bias: whether to add a bias.
        output_padding: rows and columns to add at the end, for the sizes that a stride leaves
            open.
        weight_init, bias_init, rng, dtype: see `Conv2d`; weight (*kernel, in, out / groups).
    """

    dims = 2


# Resizing -------------------------------------------------------------------------------------


class _ZeroPad(Module):
    dims: ClassVar[int] = 0

    def __init__(self, padding: int | Sequence[int]) -> None:
        super().__init__()
        given = (padding,) if isinstance(padding, int) else tuple(padding)
        counts = {1: 2 * self.dims, self.dims: 2, 2 * self.dims: 1}
        if len(given) not in counts or any(p < 0 for p in given):
            raise ValueError(
                f"padding is 1 number, {self.dims} (one per axis) or {2 * self.dims} (before and "
                f"after each axis), all at least 0, got {padding}"
            )
        if len(given) == self.dims and self.dims > 1:
            given = tuple(p for p in given for _ in range(2))
        elif len(given) == 1:
            given *= 2 * self.dims
        self.pairs = tuple(zip(given[::2], given[1::2], strict=True))

    def forward(self, x: Any) -> Any:
        """(batch, *positions, channels) with zeros around the positions."""
        check_rank(x, self.dims)
        return np.pad(x, ((0, 0), *self.pairs, (0, 0)))

    def extra_repr(self) -> str:
        """The padding before and after each axis."""
        return f"{self.pairs}"


class ZeroPad1d(_ZeroPad):
    """Zeros before and after the time axis of (batch, time, channels).

    Args:
        padding: one number, or (before, after).
    """

    dims = 1


class ZeroPad2d(_ZeroPad):
    """Zeros around images (batch, height, width, channels).

    Args:
        padding: one number, (vertical, horizontal), or (top, bottom, left, right).
    """

    dims = 2


class Upsample(Module):
    """Make (batch, *positions, channels) larger by whole numbers.

    Args:
        scale_factor: how many times larger, per axis or one for all.
        mode: "nearest" repeats each element; "bilinear" interpolates (over one axis too), edges
            as in PyTorch with align_corners=False.
    """

    def __init__(self, scale_factor: Size, mode: str = "nearest") -> None:
        super().__init__()
        if mode not in ("nearest", "bilinear"):
            raise ValueError(f'Upsample: mode is "nearest" or "bilinear", got {mode!r}')
        check_sizes(self, scale_factor=scale_factor)
        self.scale_factor = scale_factor
        self.mode = mode

    def forward(self, x: Any) -> Any:
        """(batch, *positions, channels) -> (batch, *larger positions, channels)."""
        shape = value_of(x).shape
        if len(shape) < 3:
            raise ShapeError(f"got an input of shape {shape}, expected (batch, ..., channels)")
        factors = per_axis(self.scale_factor, len(shape) - 2, "scale_factor")
        if self.mode == "nearest":
            return _repeat(x, shape, factors)
        for axis, factor in enumerate(factors, start=1):
            weights = interpolation(shape[axis], factor, value_of(x).dtype)
            x = swapaxes(matmul(weights, swapaxes(x, axis, -2)), axis, -2)
        return x

    def extra_repr(self) -> str:
        """The arguments."""
        return f"scale_factor={self.scale_factor}, mode={self.mode!r}"


def _repeat(x: Any, shape: tuple[int, ...], factors: tuple[int, ...]) -> Any:
    """Each element `factor` times along each axis, by broadcasting over new axes."""
    spaced, wide = [shape[0]], [shape[0]]
    for n, factor in zip(shape[1:-1], factors, strict=True):
        spaced += [n, 1]
        wide += [n, factor]
    sizes = (n * factor for n, factor in zip(shape[1:-1], factors, strict=True))
    repeated = broadcast_to(reshape(x, (*spaced, shape[-1])), (*wide, shape[-1]))
    return reshape(repeated, (shape[0], *sizes, shape[-1]))


def interpolation(size: int, factor: int, dtype: Any) -> np.ndarray:
    """The matrix (size * factor, size) of linear interpolation between centres of cells."""
    centres = np.clip((np.arange(size * factor) + 0.5) / factor - 0.5, 0, size - 1)
    left = np.minimum(centres.astype(int), max(size - 2, 0))
    share = centres - left
    weights = np.zeros((size * factor, size))
    rows = np.arange(size * factor)
    weights[rows, left] = 1 - share
    if size > 1:
        weights[rows, left + 1] = share
    return weights.astype(dtype)
