"""RMSprop, Adagrad, Adadelta and Lion: per-parameter rates from past gradients."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from nnad.optimizers.base import Optimizer, Params
from nnad.optimizers.kernels import Array, decayed, ema, ema_of_squares, shrink

__all__ = [
    "Adadelta",
    "Adagrad",
    "Lion",
    "RMSprop",
    "adadelta_kernel",
    "adagrad_kernel",
    "lion_kernel",
    "rmsprop_kernel",
]


def rmsprop_kernel(
    param: Array,
    grad: Array,
    square_avg: Array,
    *rest: Any,
) -> None:
    """``param -= lr * grad / (sqrt(square_avg - grad_avg**2) + eps)``, with momentum if any.

    `rest`: the slots grad_avg (if centered) and momentum_buffer (if momentum), two scratch vectors,
    then lr, alpha, eps, weight_decay, momentum, centered.
    """
    *slots, work, decay, lr, alpha, eps, weight_decay, momentum, centered = rest
    grad = decayed(grad, param, weight_decay, decay)
    ema_of_squares(square_avg, grad, alpha, work)
    if centered:
        grad_avg = slots[0]
        ema(grad_avg, grad, 1.0 - alpha, work)
        np.multiply(grad_avg, grad_avg, work)
        np.subtract(square_avg, work, work)
        np.maximum(work, 0.0, out=work)  # less by rounding, for a gradient that stays the same
        np.sqrt(work, work)
    else:
        np.sqrt(square_avg, work)
    np.add(work, eps, work)
    np.divide(grad, work, work)
    if momentum:
        momentum_buffer = slots[-1]
        np.multiply(momentum_buffer, momentum, momentum_buffer)
        np.add(momentum_buffer, work, momentum_buffer)
        np.multiply(momentum_buffer, lr, work)
    else:
        np.multiply(work, lr, work)
    np.subtract(param, work, param)


class RMSprop(Optimizer):
    """RMSprop (Hinton, lecture 6e, 2012; centered: Graves, 2013), as torch.optim.RMSprop.

    Args:
        params: parameters or groups of them.
        lr: learning rate.
        alpha: decay of the average of squared gradients.
        eps: added to the denominator.
        weight_decay: L2 penalty.
        momentum: momentum on the scaled gradient.
        centered: divide by the standard deviation of the gradient instead of its root mean square.
            Where the gradient stays the same that is nothing but `eps`, and steps become huge.
        maximize: climb instead of descend.
    """

    def __init__(
        self,
        params: Params,
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "alpha": alpha,
                "eps": eps,
                "weight_decay": weight_decay,
                "momentum": momentum,
                "centered": centered,
                "maximize": maximize,
            },
        )

    def slots(self, group: Mapping[str, Any]) -> tuple[str, ...]:
        """Average of squares; average of gradients if centered; the momentum buffer if any."""
        names = ["square_avg"]
        if group["centered"]:
            names.append("grad_avg")
        if group["momentum"]:
            names.append("momentum_buffer")
        return tuple(names)

    def kernel(self, group: Mapping[str, Any]) -> Callable[..., None]:
        """:func:`rmsprop_kernel`."""
        return rmsprop_kernel

    def scalars(self, group: Mapping[str, Any], step: int) -> tuple[Any, ...]:
        """The hyper-parameters as they are."""
        names = ("lr", "alpha", "eps", "weight_decay", "momentum", "centered")
        return tuple(group[name] for name in names)


def adagrad_kernel(
    param: Array,
    grad: Array,
    sum_of_squares: Array,
    work: Array,
    decay: Array,
    lr: float,
    eps: float,
    weight_decay: float,
) -> None:
    """``sum += grad**2; param -= lr * grad / (sqrt(sum) + eps)``."""
    grad = decayed(grad, param, weight_decay, decay)
    np.multiply(grad, grad, work)
    np.add(sum_of_squares, work, sum_of_squares)
    np.sqrt(sum_of_squares, work)
    np.add(work, eps, work)
    np.divide(grad, work, work)
    np.multiply(work, lr, work)
    np.subtract(param, work, param)


class Adagrad(Optimizer):
    """Adagrad (Duchi, Hazan and Singer, 2011), as torch.optim.Adagrad.

    Args:
        params: parameters or groups of them.
        lr: learning rate.
        lr_decay: the rate at update t is ``lr / (1 + (t - 1) * lr_decay)``.
        weight_decay: L2 penalty.
        initial_accumulator_value: first value of the sums of squares.
        eps: added to the denominator.
        maximize: climb instead of descend.
    """

    def __init__(
        self,
        params: Params,
        lr: float = 1e-2,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "lr_decay": lr_decay,
                "weight_decay": weight_decay,
                "initial_accumulator_value": initial_accumulator_value,
                "eps": eps,
                "maximize": maximize,
            },
        )

    def slots(self, group: Mapping[str, Any]) -> tuple[str, ...]:
        """The sums of squared gradients."""
        return ("sum",)

    def initial(self, group: Mapping[str, Any]) -> dict[str, float]:
        """The sums begin at `initial_accumulator_value`."""
        return {"sum": group["initial_accumulator_value"]}

    def kernel(self, group: Mapping[str, Any]) -> Callable[..., None]:
        """:func:`adagrad_kernel`."""
        return adagrad_kernel

    def scalars(self, group: Mapping[str, Any], step: int) -> tuple[Any, ...]:
        """The decayed rate."""
        rate = group["lr"] / (1.0 + (step - 1) * group["lr_decay"])
        return rate, group["eps"], group["weight_decay"]


def adadelta_kernel(
    param: Array,
    grad: Array,
    square_avg: Array,
    acc_delta: Array,
    work: Array,
    decay: Array,
    lr: float,
    rho: float,
    eps: float,
    weight_decay: float,
) -> None:
    """``delta = sqrt((acc_delta + eps) / (square_avg + eps)) * grad; param -= lr * delta``."""
    grad = decayed(grad, param, weight_decay, decay)
    ema_of_squares(square_avg, grad, rho, work)
    np.add(square_avg, eps, work)
    np.sqrt(work, work)
    np.divide(grad, work, decay)
    np.add(acc_delta, eps, work)
    np.sqrt(work, work)
    np.multiply(work, decay, decay)
    ema_of_squares(acc_delta, decay, rho, work)
    np.multiply(decay, lr, work)
    np.subtract(param, work, param)


class Adadelta(Optimizer):
    """Adadelta (Zeiler, 2012), as torch.optim.Adadelta.

    Args:
        params: parameters or groups of them.
        lr: factor on the step.
        rho: decay of the averages of squared gradients and squared steps.
        eps: added to both averages.
        weight_decay: L2 penalty.
        maximize: climb instead of descend.
    """

    def __init__(
        self,
        params: Params,
        lr: float = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "rho": rho,
                "eps": eps,
                "weight_decay": weight_decay,
                "maximize": maximize,
            },
        )

    def slots(self, group: Mapping[str, Any]) -> tuple[str, ...]:
        """Averages of squared gradients and of squared steps."""
        return "square_avg", "acc_delta"

    def kernel(self, group: Mapping[str, Any]) -> Callable[..., None]:
        """:func:`adadelta_kernel`."""
        return adadelta_kernel

    def scalars(self, group: Mapping[str, Any], step: int) -> tuple[Any, ...]:
        """The hyper-parameters as they are."""
        return group["lr"], group["rho"], group["eps"], group["weight_decay"]


def lion_kernel(
    param: Array,
    grad: Array,
    exp_avg: Array,
    work: Array,
    decay: Array,
    beta1: float,
    beta2: float,
    lr: float,
    factor: float,
) -> None:
    """``param = factor * param - lr * sign(beta1 * exp_avg + (1 - beta1) * grad)``."""
    shrink(param, factor)
    np.multiply(exp_avg, beta1, work)
    np.multiply(grad, 1.0 - beta1, decay)
    np.add(work, decay, work)
    np.sign(work, work)
    np.multiply(work, lr, work)
    np.subtract(param, work, param)
    ema(exp_avg, grad, 1.0 - beta2, work)


class Lion(Optimizer):
    """Lion: the sign of an average gradient (Chen et al., 2023).

    Args:
        params: parameters or groups of them.
        lr: learning rate: the size of every step; three to ten times smaller than Adam's.
        betas: weight of the average in the step, and its decay.
        weight_decay: decoupled weight decay.
        maximize: climb instead of descend.
    """

    def __init__(
        self,
        params: Params,
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": tuple(betas),
                "weight_decay": weight_decay,
                "maximize": maximize,
            },
        )

    def slots(self, group: Mapping[str, Any]) -> tuple[str, ...]:
        """The average gradient."""
        return ("exp_avg",)

    def kernel(self, group: Mapping[str, Any]) -> Callable[..., None]:
        """:func:`lion_kernel`."""
        return lion_kernel

    def scalars(self, group: Mapping[str, Any], step: int) -> tuple[Any, ...]:
        """The factor of the decoupled decay."""
        return *group["betas"], group["lr"], 1.0 - group["lr"] * group["weight_decay"]
