"""Normalisation layers; channels and features are the last axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from nnad.autodiff.tensor import value_of
from nnad.distributed.collective import synchronized_batch_norm, synchronizes_batch_norm
from nnad.initializers import ones, zeros
from nnad.layers.diagnosis import check_sizes
from nnad.layers.module import Module
from nnad.layers.parameter import Parameter
from nnad.ops import reshape
from nnad.ops.normalize import (
    batch_norm,
    batch_norm_fixed,
    layer_norm,
    rms_norm,
    standardize,
    update_running_statistics,
)

__all__ = [
    "BatchNorm1d",
    "BatchNorm2d",
    "GroupNorm",
    "InstanceNorm1d",
    "InstanceNorm2d",
    "LayerNorm",
    "RMSNorm",
]


def _check_channels(x: Any, channels: int, ndims: tuple[int, ...], what: str) -> None:
    shape = value_of(x).shape
    if len(shape) not in ndims or shape[-1] != channels:
        axes = " or ".join(f"{n}-d" for n in ndims)
        raise ValueError(
            f"got an input of shape {shape}, expected a {axes} array with a last axis of "
            f"{channels} because {what}={channels}"
        )


class _BatchNorm(Module):
    """Normalise each feature over the batch; see `BatchNorm1d`."""

    input_sizes: ClassVar[dict[str, int]] = {"num_features": -1}
    ndims: ClassVar[tuple[int, ...]] = ()

    running_mean: np.ndarray
    running_var: np.ndarray

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        *,
        dtype: Any = "float32",
    ) -> None:
        super().__init__()
        check_sizes(self, num_features=num_features)
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.weight = Parameter(ones((num_features,), dtype=dtype))
        self.bias = Parameter(zeros((num_features,), dtype=dtype))
        self.register_buffer("running_mean", zeros((num_features,), dtype=dtype))
        self.register_buffer("running_var", ones((num_features,), dtype=dtype))

    def forward(self, x: Any) -> Any:
        """(batch, ..., num_features) to the same shape."""
        _check_channels(x, self.num_features, self.ndims, "num_features")
        if not self.training:
            return batch_norm_fixed(
                x, self.weight, self.bias, self.running_mean, self.running_var, eps=self.eps
            )
        y, mean, variance, count = self._normalize(x)
        if count < 2:
            raise ValueError(
                f"got an input of shape {value_of(x).shape}: one value per feature has no variance "
                "to train on; use batches of 2 rows or more, or drop a last batch of one row"
            )
        update_running_statistics(
            self.running_mean,
            self.running_var,
            mean,
            variance,
            momentum=self.momentum,
            count=count,
        )
        return y

    def _normalize(self, x: Any) -> tuple[Any, Any, Any, int]:
        """Output, mean, variance and number of values, of this batch or of all processes'."""
        if synchronizes_batch_norm():
            return synchronized_batch_norm(x, self.weight, self.bias, eps=self.eps)
        count = value_of(x).size // self.num_features
        return *batch_norm(x, self.weight, self.bias, eps=self.eps), count

    def extra_repr(self) -> str:
        """The arguments."""
        return f"{self.num_features}, eps={self.eps}, momentum={self.momentum}"


class BatchNorm1d(_BatchNorm):
    """(x - mean) / sqrt(variance + eps) * weight + bias, each feature over the batch.

    Training uses the statistics of the batch and moves running_mean and running_var (the unbiased
    variance) by `momentum` towards them; evaluation uses those.

    Takes (batch, features) and (batch, time, features).

    Args:
        num_features: size of the last axis.
        eps: added to the variance.
        momentum: share of the new batch in the running statistics.
        dtype: of parameters and buffers.

    Source: Ioffe and Szegedy 2015.
    """

    ndims = (2, 3)


class BatchNorm2d(_BatchNorm):
    """Batch normalisation of images (batch, height, width, channels); see `BatchNorm1d`."""

    ndims = (4,)


class LayerNorm(Module):
    """(x - mean) / sqrt(variance + eps) * weight + bias, over the last axes of each row.

    Args:
        normalized_shape: sizes of the last axes: a number or several.
        eps: added to the variance.
        bias: whether there is a bias.
        dtype: of the parameters.

    Source: Ba, Kiros and Hinton 2016.
    """

    input_sizes: ClassVar[dict[str, int]] = {"normalized_shape": -1}

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        bias: bool = True,
        *,
        dtype: Any = "float32",
    ) -> None:
        super().__init__()
        check_sizes(self, normalized_shape=normalized_shape)
        self.normalized_shape = normalized_shape
        self.shape = _as_shape(normalized_shape)
        self.eps = eps
        self.weight = Parameter(ones(self.shape, dtype=dtype))
        self.bias = Parameter(zeros(self.shape, dtype=dtype)) if bias else None

    def forward(self, x: Any) -> Any:
        """(..., *normalized_shape) to the same shape."""
        _check_last_axes(x, self.shape)
        bias = np.zeros(self.shape, self.weight.dtype) if self.bias is None else self.bias
        if len(self.shape) == 1:
            return layer_norm(x, self.weight, bias, eps=self.eps)
        rows = _merged(x, self.shape)
        y = layer_norm(rows, reshape(self.weight, (-1,)), reshape(bias, (-1,)), eps=self.eps)
        return reshape(y, value_of(x).shape)

    def extra_repr(self) -> str:
        """The arguments."""
        return f"{self.normalized_shape}, eps={self.eps}"


def _as_shape(size: int | Sequence[int]) -> tuple[int, ...]:
    return (size,) if isinstance(size, (int, np.integer)) else tuple(size)


def _check_last_axes(x: Any, shape: tuple[int, ...]) -> None:
    got = value_of(x).shape
    if got[-len(shape) :] != shape:
        expected = ", ".join(map(str, shape))
        raise ValueError(f"got an input of shape {got}, expected (..., {expected})")


def _merged(x: Any, shape: tuple[int, ...]) -> Any:
    """`x` with its last axes, of sizes `shape`, made one."""
    return reshape(x, (*value_of(x).shape[: -len(shape)], math.prod(shape)))


class RMSNorm(Module):
    """x / sqrt(mean(x²) + eps) * weight, over the last axes of each row.

    Args:
        normalized_shape: sizes of the last axes: a number or several.
        eps: added to the mean square.
        dtype: of the parameters.

    Source: Zhang and Sennrich 2019.
    """

    input_sizes: ClassVar[dict[str, int]] = {"normalized_shape": -1}

    def __init__(
        self, normalized_shape: int | Sequence[int], eps: float = 1e-5, *, dtype: Any = "float32"
    ) -> None:
        super().__init__()
        check_sizes(self, normalized_shape=normalized_shape)
        self.normalized_shape = normalized_shape
        self.shape = _as_shape(normalized_shape)
        self.eps = eps
        self.weight = Parameter(ones(self.shape, dtype=dtype))

    def forward(self, x: Any) -> Any:
        """(..., *normalized_shape) to the same shape."""
        _check_last_axes(x, self.shape)
        if len(self.shape) == 1:
            return rms_norm(x, self.weight, eps=self.eps)
        y = rms_norm(_merged(x, self.shape), reshape(self.weight, (-1,)), eps=self.eps)
        return reshape(y, value_of(x).shape)

    def extra_repr(self) -> str:
        """The arguments."""
        return f"{self.normalized_shape}, eps={self.eps}"


class GroupNorm(Module):
    """Normalise each sample over groups of channels and all positions.

    (batch, ..., num_channels) to the same shape.

    Args:
        num_groups: number of groups; divides num_channels.
        num_channels: size of the last axis.
        eps: added to the variance.
        dtype: of the parameters.

    Source: Wu and He 2018.
    """

    input_sizes: ClassVar[dict[str, int]] = {"num_channels": -1}

    def __init__(
        self, num_groups: int, num_channels: int, eps: float = 1e-5, *, dtype: Any = "float32"
    ) -> None:
        super().__init__()
        check_sizes(self, num_groups=num_groups, num_channels=num_channels)
        if num_channels % num_groups:
            raise ValueError(
                f"GroupNorm: num_channels={num_channels} does not divide into "
                f"num_groups={num_groups} groups"
            )
        self.num_groups = num_groups
        self.num_channels = num_channels
        self.eps = eps
        self.weight = Parameter(ones((num_channels,), dtype=dtype))
        self.bias = Parameter(zeros((num_channels,), dtype=dtype))

    def forward(self, x: Any) -> Any:
        """(batch, ..., num_channels) to the same shape."""
        shape = value_of(x).shape
        if len(shape) < 2 or shape[-1] != self.num_channels:
            raise ValueError(
                f"got an input of shape {shape}, expected (batch, ..., {self.num_channels})"
            )
        places = math.prod(shape[1:-1])
        groups = (shape[0], places, self.num_groups, self.num_channels // self.num_groups)
        normal = standardize(reshape(x, groups), axis=(1, 3), eps=self.eps)
        return reshape(normal, shape) * self.weight + self.bias

    def extra_repr(self) -> str:
        """The arguments."""
        return f"{self.num_groups}, {self.num_channels}, eps={self.eps}"


class _InstanceNorm(Module):
    """Normalise each channel of each sample over its positions."""

    input_sizes: ClassVar[dict[str, int]] = {"num_features": -1}
    ndims: ClassVar[tuple[int, ...]] = ()

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        affine: bool = False,
        *,
        dtype: Any = "float32",
    ) -> None:
        super().__init__()
        check_sizes(self, num_features=num_features)
        self.num_features = num_features
        self.eps = eps
        self.weight = Parameter(ones((num_features,), dtype=dtype)) if affine else None
        self.bias = Parameter(zeros((num_features,), dtype=dtype)) if affine else None

    def forward(self, x: Any) -> Any:
        """(batch, ..., num_features) to the same shape."""
        _check_channels(x, self.num_features, self.ndims, "num_features")
        axes = tuple(range(1, self.ndims[0] - 1))
        normal = standardize(x, axis=axes, eps=self.eps)
        return normal if self.weight is None else normal * self.weight + self.bias

    def extra_repr(self) -> str:
        """The arguments."""
        affine = ", affine=True" if self.weight is not None else ""
        return f"{self.num_features}, eps={self.eps}{affine}"


class InstanceNorm1d(_InstanceNorm):
    """Normalise each channel of each sample of (batch, time, channels) over time.

    Args:
        num_features: number of channels.
        eps: added to the variance.
        affine: whether a weight and a bias follow.
        dtype: of the parameters.

    Source: Ulyanov et al. 2016.
    """

    ndims = (3,)


class InstanceNorm2d(_InstanceNorm):
    """Normalise each channel of each image (batch, height, width, channels) over its pixels.

    Arguments as in `InstanceNorm1d`.
    """

    ndims = (4,)
