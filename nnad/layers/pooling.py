"""Pooling over (batch, *positions, channels)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from nnad.autodiff.tensor import value_of
from nnad.errors import ShapeError
from nnad.layers.conv import Size, check_rank, per_axis
from nnad.layers.module import Module
from nnad.ops import matmul, mean, swapaxes
from nnad.ops import max as maximum_along
from nnad.ops.pool import avg_pool, max_pool

__all__ = [
    "AdaptiveAvgPool1d",
    "AdaptiveAvgPool2d",
    "AdaptiveMaxPool1d",
    "AdaptiveMaxPool2d",
    "AvgPool1d",
    "AvgPool2d",
    "GlobalAvgPool",
    "GlobalMaxPool",
    "MaxPool1d",
    "MaxPool2d",
]


class _Pool(Module):
    """Windows of one size at regular places."""

    dims: ClassVar[int] = 0

    def __init__(self, kernel_size: Size, stride: Size | None = None, padding: Size = 0) -> None:
        super().__init__()
        self.kernel_size = per_axis(kernel_size, self.dims, "kernel_size")
        self.stride = self.kernel_size if stride is None else per_axis(stride, self.dims, "stride")
        self.padding = per_axis(padding, self.dims, "padding", 0)
        if any(2 * p > k for p, k in zip(self.padding, self.kernel_size, strict=True)):
            raise ValueError(
                f"padding is at most half the kernel_size, got padding {self.padding} with "
                f"kernel_size {self.kernel_size}"
            )

    def extra_repr(self) -> str:
        """The arguments."""
        padding = f", padding={self.padding}" if any(self.padding) else ""
        return f"kernel_size={self.kernel_size}, stride={self.stride}{padding}"


class _MaxPool(_Pool):
    def forward(self, x: Any) -> Any:
        """(batch, *positions, channels) -> (batch, *fewer positions, channels)."""
        check_rank(x, self.dims)
        return max_pool(x, kernel=self.kernel_size, stride=self.stride, padding=self.padding)


class _AvgPool(_Pool):
    def forward(self, x: Any) -> Any:
        """(batch, *positions, channels) -> (batch, *fewer positions, channels)."""
        check_rank(x, self.dims)
        return avg_pool(x, kernel=self.kernel_size, stride=self.stride, padding=self.padding)


class MaxPool1d(_MaxPool):
    """The maximum of each window of (batch, time, channels); see `MaxPool2d`."""

    dims = 1


class MaxPool2d(_MaxPool):
    """The maximum of each window of images (batch, height, width, channels).

    Args:
        kernel_size: size of the windows, per axis or one number.
        stride: their distance; None: their size.
        padding: width of a border that is never the maximum; at most half the kernel.

    Tied elements of a window share its gradient equally.
    """

    dims = 2


class AvgPool1d(_AvgPool):
    """The mean of each window of (batch, time, channels); see `AvgPool2d`."""

    dims = 1


class AvgPool2d(_AvgPool):
    """The mean of each window of images (batch, height, width, channels).

    Args:
        kernel_size: size of the windows, per axis or one number.
        stride: their distance; None: their size.
        padding: width of a border of zeros, which count; at most half the kernel.
    """

    dims = 2


class _Global(Module):
    def _axes(self, x: Any) -> tuple[int, ...]:
        shape = value_of(x).shape
        if len(shape) < 3:
            raise ShapeError(f"got an input of shape {shape}, expected (batch, ..., channels)")
        _check_positions(shape)
        return tuple(range(1, len(shape) - 1))


def _check_positions(shape: tuple[int, ...]) -> None:
    if 0 in shape[1:-1]:
        raise ShapeError(
            f"got an input of shape {shape}, expected one position or more between batch and "
            "channels"
        )


class GlobalAvgPool(_Global):
    """The mean over all positions: (batch, *positions, channels) -> (batch, channels)."""

    def forward(self, x: Any) -> Any:
        """(batch, *positions, channels) -> (batch, channels)."""
        return mean(x, axis=self._axes(x))


class GlobalMaxPool(_Global):
    """The maximum over all positions: (batch, *positions, channels) -> (batch, channels)."""

    def forward(self, x: Any) -> Any:
        """(batch, *positions, channels) -> (batch, channels)."""
        return maximum_along(x, axis=self._axes(x))


# Adaptive -------------------------------------------------------------------------------------


def _bounds(size: int, outputs: int) -> tuple[np.ndarray, np.ndarray]:
    """Window i of `outputs` over an axis of `size`: from floor(i n / m) to ceil((i + 1) n / m)."""
    i = np.arange(outputs)
    return i * size // outputs, -(-(i + 1) * size // outputs)


class _Adaptive(Module):
    """As many windows as asked for, each as large as that makes it."""

    dims: ClassVar[int] = 0

    def __init__(self, output_size: int | Sequence[int]) -> None:
        super().__init__()
        self.output_size = per_axis(output_size, self.dims, "output_size")

    def forward(self, x: Any) -> Any:
        """(batch, *positions, channels) -> (batch, *output_size, channels)."""
        shape = check_rank(x, self.dims)
        _check_positions(shape)
        for axis, (n, m) in enumerate(zip(shape[1:-1], self.output_size, strict=True), start=1):
            if n != m:
                x = self._reduce(x, axis, *_bounds(n, m))
        return x

    def _reduce(self, x: Any, axis: int, begin: np.ndarray, end: np.ndarray) -> Any:
        raise NotImplementedError

    def extra_repr(self) -> str:
        """The argument."""
        return f"output_size={self.output_size}"


class _AdaptiveAvgPool(_Adaptive):
    def _reduce(self, x: Any, axis: int, begin: np.ndarray, end: np.ndarray) -> Any:
        """The mean of each window along `axis`, as a product with a matrix."""
        place = np.arange(value_of(x).shape[axis])
        inside = (place >= begin[:, None]) & (place < end[:, None])
        weights = (inside / (end - begin)[:, None]).astype(value_of(x).dtype)
        return swapaxes(matmul(weights, swapaxes(x, axis, -2)), axis, -2)


class _AdaptiveMaxPool(_Adaptive):
    def _reduce(self, x: Any, axis: int, begin: np.ndarray, end: np.ndarray) -> Any:
        """The maximum of each window along `axis`; short windows repeat their last element."""
        longest = int((end - begin).max())
        index = np.minimum(begin[:, None] + np.arange(longest), end[:, None] - 1)
        windows = x[(slice(None),) * axis + (index,)]
        return maximum_along(windows, axis=axis + 1)


class AdaptiveAvgPool1d(_AdaptiveAvgPool):
    """The means of `output_size` windows over time; see `AdaptiveAvgPool2d`."""

    dims = 1


class AdaptiveAvgPool2d(_AdaptiveAvgPool):
    """The means of as many windows as `output_size` asks for, whatever the size of the image.

    Args:
        output_size: windows per axis, or one number for all.
    """

    dims = 2


class AdaptiveMaxPool1d(_AdaptiveMaxPool):
    """The maxima of `output_size` windows over time; see `AdaptiveAvgPool2d`."""

    dims = 1


class AdaptiveMaxPool2d(_AdaptiveMaxPool):
    """The maxima of as many windows as `output_size` asks for; see `AdaptiveAvgPool2d`."""

    dims = 2
