"""Activation functions as layers, under PyTorch's names; the formulas are in `nnad.ops`."""

from __future__ import annotations

from typing import Any

from nnad import ops
from nnad.initializers import constant
from nnad.layers.containers import Identity, Lambda
from nnad.layers.module import Module
from nnad.layers.parameter import Parameter

__all__ = [
    "ACTIVATIONS",
    "CELU",
    "ELU",
    "GELU",
    "GLU",
    "SELU",
    "Hardshrink",
    "Hardsigmoid",
    "Hardswish",
    "Hardtanh",
    "LeakyReLU",
    "LogSigmoid",
    "LogSoftmax",
    "Mish",
    "PReLU",
    "ReLU",
    "ReLU6",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Softshrink",
    "Softsign",
    "Tanh",
    "activation",
]


class _Activation(Module):
    """A layer without parameters that applies one function to whatever it is given."""

    def extra_repr(self) -> str:
        """The arguments."""
        hidden = ("training", "flat")
        return ", ".join(
            f"{k}={v!r}" for k, v in vars(self).items() if k not in hidden and k[0] != "_"
        )


class ReLU(_Activation):
    """max(x, 0), with slope 0 at 0."""

    def forward(self, x: Any) -> Any:
        """Elementwise."""
        return ops.relu(x)


class ReLU6(_Activation):
    """min(max(x, 0), 6)."""

    def forward(self, x: Any) -> Any:
        """Elementwise."""
        return ops.relu6(x)


class LeakyReLU(_Activation):
    """x if x > 0 else negative_slope * x.

    Args:
        negative_slope: slope below 0.
    """

    def __init__(self, negative_slope: float = 0.01) -> None:
        super().__init__()
        self.negative_slope = negative_slope

    def forward(self, x: Any) -> Any:
        """Elementwise."""
        return ops.leaky_relu(x, negative_slope=self.negative_slope)


class PReLU(Module):
    """x if x > 0 else weight * x, the weight learned.

    Args:
        num_parameters: 1, or the number of channels (the last axis).
        init: initial slope.
        dtype: of the weight.

    Source: He et al. 2015.
    """

    def __init__(
        self, num_parameters: int = 1, init: float = 0.25, *, dtype: Any = "float32"
    ) -> None:
        super().__init__()
        self.num_parameters = num_parameters
        self.weight = Parameter(constant((num_parameters,), value=init, dtype=dtype))

    def forward(self, x: Any) -> Any:
        """Elementwise."""
        if self.num_parameters not in (1, x.shape[-1]):
            raise ValueError(
                f"got an input of shape {x.shape}, expected (..., {self.num_parameters}) because "
                f"num_parameters={self.num_parameters}"
            )
        return ops.prelu(x, self.weight)

    def extra_repr(self) -> str:
        """The argument."""
        return f"{self.num_parameters}"


class ELU(_Activation):
    """x if x > 0 else alpha * (exp(x) - 1) (Clevert et al. 2016).

    Args:
        alpha: minus the limit for x -> -inf.
    """

    def __init__(self, alpha: float = 1.0) -> None:
        super().__init__()
        self.alpha = alpha

    def forward(self, x: Any) -> Any:
        """Elementwise."""
        return ops.elu(x, alpha=self.alpha)


class CELU(ELU):
    """x if x > 0 else alpha * (exp(x / alpha) - 1) (Barron 2017).

    Args:
        alpha: minus the limit for x -> -inf.
    """

    def forward(self, x: Any) -> Any:
        """Elementwise."""
        return ops.celu(x, alpha=self.alpha)


class SELU(_Activation):
    """1.0507 * (x if x > 0 else 1.6733 * (exp(x) - 1)) (Klambauer et al. 2017)."""

    def forward(self, x: Any) -> Any:
        """Elementwise."""
        return ops.selu(x)


class GELU(_Activation):
    """x times the normal distribution function of x (Hendrycks and Gimpel 2016).

    Args:
        approximate: "none", or "tanh" for an approximation by tanh.
    """

    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        if approximate not in ("none", "tanh"):
            raise ValueError(f'GELU: approximate is "none" or "tanh", got {approximate!r}')
        self.approximate = approximate

    def forward(self, x: Any) -> Any:
        """Elementwise."""
        return ops.gelu(x, approximate=self.approximate)


class SiLU(_Activation):
    """x * sigmoid(x), also called swish."""

    def forward(self, x: Any) -> Any:
        """Elementwise."""
        return ops.silu(x)


class Mish(_Activation):
    """x * tanh(softplus(x)) (Misra 2019)."""

    def forward(self, x: Any) -> Any:
        """Elementwise."""
        return ops.mish(x)


class Sigmoid(_Activation):
    """1 / (1 + exp(-x))."""

    def forward(self, x: Any) -> Any:
        """Elementwise."""
        return ops.sigmoid(x)


class LogSigmoid(_Activation):
    """log(1 / (1 + exp(-x)))."""

    def forward(self, x: Any) -> Any:
        """Elementwise."""
        return ops.log_sigmoid(x)


class Hardsigmoid(_Activation):
    """min(max(x / 6 + 1/2, 0), 1)."""

    def forward(self, x: Any) -> Any:
        """Elementwise."""
        return ops.hard_sigmoid(x)


class Tanh(_Activation):
    """The hyperbolic tangent."""

    def forward(self, x: Any) -> Any:
        """Elementwise."""
        return ops.tanh(x)


class Hardtanh(_Activation):
    """min(max(x, min_val), max_val).

    Args:
        min_val, max_val: the bounds.
    """

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0) -> None:
        super().__init__()
        if not min_val < max_val:
            raise ValueError(f"Hardtanh: min_val={min_val} is not below max_val={max_val}")
        self.min_val = min_val
        self.max_val = max_val

    def forward(self, x: Any) -> Any:
        """Elementwise."""
        return ops.hard_tanh(x, min_val=self.min_val, max_val=self.max_val)


class Softplus(_Activation):
    """log(1 + exp(beta x)) / beta, and x itself where beta x exceeds the threshold.

    Args:
        beta: sharpness of the bend.
        threshold: where the function counts as linear.
    """

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        super().__init__()
        self.beta = beta
        self.threshold = threshold

    def forward(self, x: Any) -> Any:
        """Elementwise."""
        return ops.softplus(x, beta=self.beta, threshold=self.threshold)


class Softsign(_Activation):
    """x / (1 + |x|)."""

    def forward(self, x: Any) -> Any:
        """Elementwise."""
        return ops.softsign(x)


class Hardswish(_Activation):
    """x * hard_sigmoid(x) (Howard et al. 2019)."""

    def forward(self, x: Any) -> Any:
        """Elementwise."""
        return ops.hardswish(x)


class Hardshrink(_Activation):
    """x if |x| > lambd else 0.

    Args:
        lambd: the threshold.
    """

    def __init__(self, lambd: float = 0.5) -> None:
        super().__init__()
        self.lambd = lambd

    def forward(self, x: Any) -> Any:
        """Elementwise."""
        return ops.hard_shrink(x, lambd=self.lambd)


class Softshrink(Hardshrink):
    """sign(x) * max(|x| - lambd, 0).

    Args:
        lambd: the threshold.
    """

    def forward(self, x: Any) -> Any:
        """Elementwise."""
        return ops.soft_shrink(x, lambd=self.lambd)


class _AlongAxis(_Activation):
    """An activation that mixes the elements along one axis."""

    def __init__(self, axis: int = -1) -> None:
        super().__init__()
        self.axis = axis


class Softmax(_AlongAxis):
    """exp(x) / sum(exp(x)) along an axis.

    Args:
        axis: the axis that sums to 1.
    """

    def forward(self, x: Any) -> Any:
        """Any shape to the same shape."""
        return ops.softmax(x, axis=self.axis)


class LogSoftmax(_AlongAxis):
    """log(exp(x) / sum(exp(x))) along an axis.

    Args:
        axis: the axis whose exponentials sum to 1.
    """

    def forward(self, x: Any) -> Any:
        """Any shape to the same shape."""
        return ops.log_softmax(x, axis=self.axis)


class GLU(_AlongAxis):
    """a * sigmoid(b), a and b the two halves of x along an axis (Dauphin et al. 2017).

    Args:
        axis: of even length.
    """

    def forward(self, x: Any) -> Any:
        """The axis comes out half as long."""
        return ops.glu(x, axis=self.axis)


ACTIVATIONS: dict[str, type[Module]] = {
    "relu": ReLU,
    "gelu": GELU,
    "silu": SiLU,
    "swish": SiLU,
    "tanh": Tanh,
    "sigmoid": Sigmoid,
    "elu": ELU,
    "selu": SELU,
    "leaky_relu": LeakyReLU,
    "mish": Mish,
    "identity": Identity,
}


def activation(spec: Any) -> Module:
    """The activation layer that an argument `activation=` stands for.

    Args:
        spec: a name ("relu"), a module, or a function.
    """
    if isinstance(spec, Module):
        return spec
    if callable(spec):
        return Lambda(spec)
    if spec not in ACTIVATIONS:
        raise ValueError(f"no activation is named {spec!r}; the names are {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[spec]()
