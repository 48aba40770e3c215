"""Affine maps: Linear, NTKLinear, TiedLinear, Bilinear, Scale."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from nnad.autodiff.tensor import value_of
from nnad.initializers import initializer, ones
from nnad.layers.diagnosis import check_sizes
from nnad.layers.module import Module
from nnad.layers.parameter import Parameter
from nnad.ops import linear, multiply, reshape, transpose
from nnad.random import Rng, as_generator

__all__ = ["Bilinear", "Linear", "NTKLinear", "Scale", "TiedLinear"]


class Linear(Module):
    """y = x @ weight + bias, over the last axis of x.

    Args:
        in_features, out_features: sizes of the last axis of input and output.
        bias: whether to add a bias.
        weight_init, bias_init: see `nnad.initializers`; by default uniform on ±1/sqrt(in_features),
            as in PyTorch.
        rng: generator or seed of the initial values.
        dtype: of the parameters.

    >>> import nnad, numpy as np
    >>> nnad.layers.Linear(3, 2, rng=0)(np.ones((5, 3), "float32")).shape
    (5, 2)
    """

    input_sizes: ClassVar[dict[str, int]] = {"in_features": -1}

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        weight_init: Any = "torch_uniform",
        bias_init: Any = None,
        rng: Rng = None,
        dtype: Any = "float32",
    ) -> None:
        super().__init__()
        check_sizes(self, in_features=in_features, out_features=out_features)
        rng = as_generator(rng)
        self.in_features = in_features
        self.out_features = out_features
        shape = (in_features, out_features)
        self.weight = Parameter(initializer(weight_init)(shape, rng=rng, dtype=dtype))
        self.bias = (
            Parameter(initial_bias(bias_init, out_features, in_features, rng, dtype))
            if bias
            else None
        )

    def forward(self, x: Any) -> Any:
        """(..., in_features) -> (..., out_features)."""
        return linear(x, self.weight, self.bias)

    def multiply_adds(self, inputs: Any, output: Any) -> int:
        """in_features for each number of the output."""
        return int(output.size) * self.in_features

    def extra_repr(self) -> str:
        """The arguments."""
        return f"{self.in_features}, {self.out_features}{', bias=False' * (self.bias is None)}"


def initial_bias(init: Any, size: int, fan_in: int, rng: Any, dtype: Any) -> Any:
    """A bias of `size`: by `init`, or uniform on ±1/sqrt(fan_in), PyTorch's default."""
    if init is None:
        limit = 1 / math.sqrt(fan_in) if fan_in else 0.0
        init = {"name": "uniform", "low": -limit, "high": limit}
    return initializer(init)((size,), rng=rng, dtype=dtype)


class NTKLinear(Linear):
    """y = x @ weight / sqrt(in_features) + bias: the neural tangent parametrisation.

    Weights begin with variance 1 and the factor stands outside, so one learning rate suits layers
    of every width under Adam (Jacot et al. 2018; in RealMLP, Holzmüller et al. 2024).

    Args:
        in_features, out_features, bias, rng, dtype: see `Linear`.
        weight_init, bias_init: see `nnad.initializers`; standard normal by default.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        weight_init: Any = "normal",
        bias_init: Any = "normal",
        rng: Rng = None,
        dtype: Any = "float32",
    ) -> None:
        super().__init__(
            in_features,
            out_features,
            bias,
            weight_init=weight_init,
            bias_init=bias_init,
            rng=rng,
            dtype=dtype,
        )
        self.factor = 1 / math.sqrt(max(1, in_features))

    def forward(self, x: Any) -> Any:
        """(..., in_features) -> (..., out_features)."""
        return linear(multiply(x, self.factor), self.weight, self.bias)


class TiedLinear(Module):
    """y = x @ weight.T + bias, with the weight of another layer: of an Embedding, most often.

    A language model that scores tokens by the vectors it reads them with learns from both uses
    (Press and Wolf 2017). In YAML the weight is a path, as in ``TiedLinear: {weight: 0.weight}``.

    Args:
        weight: the shared Parameter (out_features, in_features).
        bias: whether to add a bias of this layer's own, which begins at 0.
        dtype: of the bias.
    """

    def __init__(self, weight: Parameter, bias: bool = True, *, dtype: Any = "float32") -> None:
        super().__init__()
        if not isinstance(weight, Parameter) or weight.ndim != 2:
            raise ValueError(
                "TiedLinear: weight is a Parameter with two axes, such as embedding.weight, got "
                f"{type(weight).__name__} of shape {getattr(weight, 'shape', None)}"
            )
        self.weight = weight
        self.bias = Parameter(np.zeros(weight.shape[0], dtype)) if bias else None

    def forward(self, x: Any) -> Any:
        """(..., in_features) -> (..., out_features)."""
        shape, weight = value_of(x).shape, self.weight
        if shape[-1] != weight.shape[1]:
            raise ValueError(
                f"got an input of shape {shape}, expected (..., {weight.shape[1]}) because the "
                f"shared weight has shape {weight.shape}"
            )
        return linear(x, transpose(weight, (1, 0)), self.bias)

    def multiply_adds(self, inputs: Any, output: Any) -> int:
        """in_features for each number of the output."""
        return int(output.size) * self.weight.shape[1]

    def extra_repr(self) -> str:
        """The sizes."""
        out_features, in_features = self.weight.shape
        return f"{in_features}, {out_features}{', bias=False' * (self.bias is None)}"


class Scale(Module):
    """y = scale * x, one learned factor for each feature of the last axis.

    In front of a network for tables it learns which columns matter (RealMLP, Holzmüller et al.
    2024).

    Args:
        num_features: size of the last axis.
        dtype: of the factors, which begin at 1.
    """

    input_sizes: ClassVar[dict[str, int]] = {"num_features": -1}

    def __init__(self, num_features: int, *, dtype: Any = "float32") -> None:
        super().__init__()
        check_sizes(self, num_features=num_features)
        self.num_features = num_features
        self.scale = Parameter(ones((num_features,), dtype=dtype))

    def forward(self, x: Any) -> Any:
        """(..., num_features) to the same shape."""
        shape = value_of(x).shape
        if shape[-1] != self.num_features:
            raise ValueError(f"got an input of shape {shape}, expected (..., {self.num_features})")
        return multiply(x, self.scale)

    def extra_repr(self) -> str:
        """The arguments."""
        return str(self.num_features)


class Bilinear(Module):
    """y_k = x1 @ weight[:, :, k] @ x2 + bias_k.

    Args:
        in1_features, in2_features, out_features: sizes of the last axes.
        bias: whether to add a bias.
        weight_init, bias_init, rng, dtype: see `Linear`.
    """

    def __init__(
        self,
        in1_features: int,
        in2_features: int,
        out_features: int,
        bias: bool = True,
        *,
        weight_init: Any = None,
        bias_init: Any = None,
        rng: Rng = None,
        dtype: Any = "float32",
    ) -> None:
        super().__init__()
        sizes = {"in1_features": in1_features, "in2_features": in2_features}
        check_sizes(self, **sizes, out_features=out_features)
        rng = as_generator(rng)
        self.in1_features = in1_features
        self.in2_features = in2_features
        self.out_features = out_features
        if weight_init is None:
            limit = 1 / math.sqrt(in1_features)
            weight_init = {"name": "uniform", "low": -limit, "high": limit}
        shape = (in1_features, in2_features, out_features)
        self.weight = Parameter(initializer(weight_init)(shape, rng=rng, dtype=dtype))
        self.bias = (
            Parameter(initial_bias(bias_init, out_features, in1_features, rng, dtype))
            if bias
            else None
        )

    def forward(self, x1: Any, x2: Any) -> Any:
        """(..., in1_features), (..., in2_features) -> (..., out_features)."""
        n1, n2, m = self.weight.shape
        self._check(value_of(x1).shape, value_of(x2).shape)
        products = x1[..., :, None] * x2[..., None, :]
        flat = reshape(products, (*products.shape[:-2], n1 * n2))
        return linear(flat, reshape(self.weight, (n1 * n2, m)), self.bias)

    def _check(self, shape1: tuple[int, ...], shape2: tuple[int, ...]) -> None:
        expected = (self.in1_features, self.in2_features)
        if (shape1[-1], shape2[-1]) != expected or shape1[:-1] != shape2[:-1]:
            raise ValueError(
                f"got inputs of shape {shape1} and {shape2}, expected the same shape but for last "
                f"axes of {expected[0]} and {expected[1]}"
            )

    def multiply_adds(self, inputs: Any, output: Any) -> int:
        """in1_features · in2_features for each number of the output."""
        return int(output.size) * self.in1_features * self.in2_features

    def extra_repr(self) -> str:
        """The arguments."""
        return f"{self.in1_features}, {self.in2_features}, {self.out_features}"
