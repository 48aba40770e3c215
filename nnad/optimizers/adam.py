"""Adam and its relatives: steps divided by the root of an average of squared gradients."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from nnad.optimizers.base import Optimizer, Params
from nnad.optimizers.kernels import Array, decayed, ema, ema_of_squares, shrink

__all__ = [
    "Adam",
    "AdamW",
    "Adamax",
    "NAdam",
    "RAdam",
    "adam_kernel",
    "adamax_kernel",
    "amsgrad_kernel",
    "nadam_kernel",
    "radam_kernel",
]


def decay_scalars(group: Mapping[str, Any]) -> tuple[float, float]:
    """(weight of the L2 penalty, factor on the parameters) of coupled or decoupled decay."""
    if group["decoupled_weight_decay"]:
        return 0.0, 1.0 - group["lr"] * group["weight_decay"]
    return group["weight_decay"], 1.0


def adam_kernel(
    param: Array,
    grad: Array,
    exp_avg: Array,
    exp_avg_sq: Array,
    work: Array,
    decay: Array,
    beta1: float,
    beta2: float,
    step_size: float,
    eps: float,
    weight_decay: float,
    factor: float,
) -> None:
    """One Adam step; `step_size` and `eps` hold the bias corrections."""
    shrink(param, factor)
    grad = decayed(grad, param, weight_decay, decay)
    ema(exp_avg, grad, 1.0 - beta1, work)
    ema_of_squares(exp_avg_sq, grad, beta2, work)
    _descend(param, exp_avg, exp_avg_sq, work, step_size, eps)


def amsgrad_kernel(
    param: Array,
    grad: Array,
    exp_avg: Array,
    exp_avg_sq: Array,
    max_exp_avg_sq: Array,
    work: Array,
    decay: Array,
    beta1: float,
    beta2: float,
    step_size: float,
    eps: float,
    weight_decay: float,
    factor: float,
) -> None:
    """One Adam step divided by the largest average of squares so far."""
    shrink(param, factor)
    grad = decayed(grad, param, weight_decay, decay)
    ema(exp_avg, grad, 1.0 - beta1, work)
    ema_of_squares(exp_avg_sq, grad, beta2, work)
    np.maximum(max_exp_avg_sq, exp_avg_sq, out=max_exp_avg_sq)
    _descend(param, exp_avg, max_exp_avg_sq, work, step_size, eps)


def _descend(
    param: Array, direction: Array, squares: Array, work: Array, step_size: float, eps: float
) -> None:
    """``param -= step_size * direction / (sqrt(squares) + eps)``."""
    np.sqrt(squares, work)
    np.add(work, eps, work)
    np.divide(direction, work, work)
    np.multiply(work, step_size, work)
    np.subtract(param, work, param)


class Adam(Optimizer):
    r"""Adam (Kingma and Ba, 2015; AMSGrad: Reddi et al., 2018), as torch.optim.Adam.

    .. math:: m_t = \beta_1 m_{t-1} + (1-\beta_1) g_t,\quad
              v_t = \beta_2 v_{t-1} + (1-\beta_2) g_t^2

    .. math:: \theta \leftarrow \theta - \eta\,\frac{m_t}{1-\beta_1^t} \Big/
              \Big(\sqrt{\frac{v_t}{1-\beta_2^t}} + \epsilon\Big)

    Args:
        params: parameters or groups of them.
        lr: learning rate :math:`\eta`.
        betas: decay of the averages of the gradient and of its square.
        eps: added to the denominator.
        weight_decay: L2 penalty, or with `decoupled_weight_decay` the fraction of the rate by
            which the parameters shrink each step.
        amsgrad: divide by the largest :math:`v` so far.
        maximize: climb instead of descend.
        decoupled_weight_decay: as :class:`AdamW`.
    """

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        decoupled_weight_decay: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": tuple(betas),
                "eps": eps,
                "weight_decay": weight_decay,
                "amsgrad": amsgrad,
                "maximize": maximize,
                "decoupled_weight_decay": decoupled_weight_decay,
            },
        )

    def slots(self, group: Mapping[str, Any]) -> tuple[str, ...]:
        """Averages of the gradient and of its square; for AMSGrad the largest of the latter."""
        names = ("exp_avg", "exp_avg_sq")
        return (*names, "max_exp_avg_sq") if group["amsgrad"] else names

    def kernel(self, group: Mapping[str, Any]) -> Callable[..., None]:
        """With or without AMSGrad."""
        return amsgrad_kernel if group["amsgrad"] else adam_kernel

    def scalars(self, group: Mapping[str, Any], step: int) -> tuple[Any, ...]:
        """The bias corrections, multiplied through: ``a/(sqrt(v)/r + e) = a*r/(sqrt(v) + e*r)``."""
        beta1, beta2 = group["betas"]
        root = math.sqrt(1.0 - beta2**step)
        step_size = group["lr"] / (1.0 - beta1**step) * root
        return beta1, beta2, step_size, group["eps"] * root, *decay_scalars(group)


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019), as torch.optim.AdamW.

    Every step first multiplies the parameters by ``1 - lr * weight_decay``. Arguments as
    :class:`Adam`.
    """

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            lr,
            betas,
            eps,
            weight_decay,
            amsgrad,
            maximize=maximize,
            decoupled_weight_decay=True,
        )


def adamax_kernel(
    param: Array,
    grad: Array,
    exp_avg: Array,
    exp_inf: Array,
    work: Array,
    decay: Array,
    beta1: float,
    beta2: float,
    step_size: float,
    eps: float,
    weight_decay: float,
) -> None:
    """``exp_inf = max(beta2 * exp_inf, |grad| + eps); param -= step_size * exp_avg / exp_inf``."""
    grad = decayed(grad, param, weight_decay, decay)
    ema(exp_avg, grad, 1.0 - beta1, work)
    np.multiply(exp_inf, beta2, exp_inf)
    np.abs(grad, work)
    np.add(work, eps, work)
    np.maximum(exp_inf, work, out=exp_inf)
    np.divide(exp_avg, exp_inf, work)
    np.multiply(work, step_size, work)
    np.subtract(param, work, param)


class Adamax(Optimizer):
    """Adam with the infinity norm in place of squares (Kingma and Ba, 2015), as torch.optim.Adamax.

    Args:
        params: parameters or groups of them.
        lr: learning rate.
        betas: decay of the average gradient and of the largest absolute gradient.
        eps: added to the absolute gradient.
        weight_decay: L2 penalty.
        maximize: climb instead of descend.
    """

    def __init__(
        self,
        params: Params,
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": tuple(betas),
                "eps": eps,
                "weight_decay": weight_decay,
                "maximize": maximize,
            },
        )

    def slots(self, group: Mapping[str, Any]) -> tuple[str, ...]:
        """The average gradient and the decayed largest absolute gradient."""
        return "exp_avg", "exp_inf"

    def kernel(self, group: Mapping[str, Any]) -> Callable[..., None]:
        """:func:`adamax_kernel`."""
        return adamax_kernel

    def scalars(self, group: Mapping[str, Any], step: int) -> tuple[Any, ...]:
        """The rate, corrected for the bias of the average."""
        beta1, beta2 = group["betas"]
        step_size = group["lr"] / (1.0 - beta1**step)
        return beta1, beta2, step_size, group["eps"], group["weight_decay"]


def nadam_kernel(
    param: Array,
    grad: Array,
    exp_avg: Array,
    exp_avg_sq: Array,
    work: Array,
    decay: Array,
    beta1: float,
    beta2: float,
    grad_size: float,
    average_size: float,
    correction: float,
    eps: float,
    weight_decay: float,
    factor: float,
) -> None:
    """``param -= (grad_size * grad + average_size * exp_avg) / (sqrt(exp_avg_sq / c) + eps)``."""
    shrink(param, factor)
    grad = decayed(grad, param, weight_decay, decay)
    ema(exp_avg, grad, 1.0 - beta1, work)
    ema_of_squares(exp_avg_sq, grad, beta2, work)
    np.multiply(grad, grad_size, decay)
    np.multiply(exp_avg, average_size, work)
    np.add(decay, work, decay)
    np.divide(exp_avg_sq, correction, work)
    np.sqrt(work, work)
    np.add(work, eps, work)
    np.divide(decay, work, work)
    np.subtract(param, work, param)


class NAdam(Optimizer):
    """Adam with Nesterov momentum (Dozat, 2016), as torch.optim.NAdam.

    Args:
        params: parameters or groups of them.
        lr: learning rate.
        betas: decay of the averages of the gradient and of its square.
        eps: added to the denominator.
        weight_decay: L2 penalty, or decoupled decay.
        momentum_decay: how fast the momentum schedule rises.
        decoupled_weight_decay: shrink the parameters as :class:`AdamW` does.
        maximize: climb instead of descend.
    """

    def __init__(
        self,
        params: Params,
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        self._products: dict[tuple[float, float], list[float]] = {}
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": tuple(betas),
                "eps": eps,
                "weight_decay": weight_decay,
                "momentum_decay": momentum_decay,
                "decoupled_weight_decay": decoupled_weight_decay,
                "maximize": maximize,
            },
        )

    def slots(self, group: Mapping[str, Any]) -> tuple[str, ...]:
        """Averages of the gradient and of its square."""
        return "exp_avg", "exp_avg_sq"

    def kernel(self, group: Mapping[str, Any]) -> Callable[..., None]:
        """:func:`nadam_kernel`."""
        return nadam_kernel

    def scalars(self, group: Mapping[str, Any], step: int) -> tuple[Any, ...]:
        """The momentum schedule ``mu_t = beta1 * (1 - 0.96**(t * momentum_decay) / 2)``."""
        beta1, beta2 = group["betas"]
        product = self._momentum_product(beta1, group["momentum_decay"], step)
        mu = _nadam_momentum(beta1, group["momentum_decay"], step)
        mu_next = _nadam_momentum(beta1, group["momentum_decay"], step + 1)
        grad_size = group["lr"] * (1.0 - mu) / (1.0 - product)
        average_size = group["lr"] * mu_next / (1.0 - product * mu_next)
        correction = 1.0 - beta2**step
        sizes = (grad_size, average_size, correction, group["eps"])
        return beta1, beta2, *sizes, *decay_scalars(group)

    def _momentum_product(self, beta1: float, momentum_decay: float, step: int) -> float:
        """Product of the momenta of all steps so far; a function of the step, so it is no state."""
        products = self._products.setdefault((beta1, momentum_decay), [1.0])
        while len(products) <= step:
            products.append(products[-1] * _nadam_momentum(beta1, momentum_decay, len(products)))
        return products[step]


def _nadam_momentum(beta1: float, momentum_decay: float, step: int) -> float:
    return beta1 * (1.0 - 0.5 * 0.96 ** (step * momentum_decay))


def radam_kernel(
    param: Array,
    grad: Array,
    exp_avg: Array,
    exp_avg_sq: Array,
    work: Array,
    decay: Array,
    beta1: float,
    beta2: float,
    step_size: float,
    rectified: bool,
    eps: float,
    weight_decay: float,
    factor: float,
) -> None:
    """An Adam step once the variance is known well enough, a momentum step before."""
    shrink(param, factor)
    grad = decayed(grad, param, weight_decay, decay)
    ema(exp_avg, grad, 1.0 - beta1, work)
    ema_of_squares(exp_avg_sq, grad, beta2, work)
    if rectified:
        _descend(param, exp_avg, exp_avg_sq, work, step_size, eps)
    else:
        np.multiply(exp_avg, step_size, work)
        np.subtract(param, work, param)


class RAdam(Optimizer):
    """Rectified Adam (Liu et al., 2020), as torch.optim.RAdam.

    Args:
        params: parameters or groups of them.
        lr: learning rate.
        betas: decay of the averages of the gradient and of its square.
        eps: added to the denominator.
        weight_decay: L2 penalty, or decoupled decay.
        decoupled_weight_decay: shrink the parameters as :class:`AdamW` does.
        maximize: climb instead of descend.
    """

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        decoupled_weight_decay: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": tuple(betas),
                "eps": eps,
                "weight_decay": weight_decay,
                "decoupled_weight_decay": decoupled_weight_decay,
                "maximize": maximize,
            },
        )

    def slots(self, group: Mapping[str, Any]) -> tuple[str, ...]:
        """Averages of the gradient and of its square."""
        return "exp_avg", "exp_avg_sq"

    def kernel(self, group: Mapping[str, Any]) -> Callable[..., None]:
        """:func:`radam_kernel`."""
        return radam_kernel

    def scalars(self, group: Mapping[str, Any], step: int) -> tuple[Any, ...]:
        """The rectification: the length `rho` of the average that the variance is worth."""
        beta1, beta2 = group["betas"]
        correction = 1.0 - beta2**step
        rho_inf = 2.0 / (1.0 - beta2) - 1.0
        rho = rho_inf - 2.0 * step * beta2**step / correction
        step_size = group["lr"] / (1.0 - beta1**step)
        rectified = rho > 5.0
        if rectified:
            step_size *= math.sqrt(
                correction
                * ((rho - 4.0) * (rho - 2.0) * rho_inf)
                / ((rho_inf - 4.0) * (rho_inf - 2.0) * rho)
            )
        return beta1, beta2, step_size, rectified, group["eps"], *decay_scalars(group)
