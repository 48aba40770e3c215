"""Stochastic gradient descent with momentum, and resilient propagation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from nnad.optimizers.base import Optimizer, Params
from nnad.optimizers.kernels import Array, decayed

__all__ = ["SGD", "Rprop", "momentum_kernel", "rprop_kernel", "sgd_kernel"]


def sgd_kernel(
    param: Array, grad: Array, work: Array, decay: Array, lr: float, weight_decay: float
) -> None:
    """``param -= lr * (grad + weight_decay * param)``."""
    grad = decayed(grad, param, weight_decay, decay)
    np.multiply(grad, lr, work)
    np.subtract(param, work, param)


def momentum_kernel(
    param: Array,
    grad: Array,
    momentum_buffer: Array,
    work: Array,
    decay: Array,
    lr: float,
    momentum: float,
    gain: float,
    weight_decay: float,
    nesterov: bool,
) -> None:
    """``buffer = momentum * buffer + gain * grad; param -= lr * buffer`` (or Nesterov's form)."""
    grad = decayed(grad, param, weight_decay, decay)
    np.multiply(momentum_buffer, momentum, momentum_buffer)
    if gain == 1.0:
        np.add(momentum_buffer, grad, momentum_buffer)
    else:
        np.multiply(grad, gain, work)
        np.add(momentum_buffer, work, momentum_buffer)
    if nesterov:
        np.multiply(momentum_buffer, momentum, work)
        np.add(grad, work, work)
        np.multiply(work, lr, work)
    else:
        np.multiply(momentum_buffer, lr, work)
    np.subtract(param, work, param)


class SGD(Optimizer):
    r"""Stochastic gradient descent, as torch.optim.SGD.

    .. math:: g_t = \nabla_t + \lambda\theta,\quad b_t = \mu b_{t-1} + (1 - \tau) g_t,\quad
              \theta \leftarrow \theta - \eta b_t

    with :math:`b_1 = g_1`; Nesterov steps along :math:`g_t + \mu b_t`.

    Args:
        params: parameters or groups of them.
        lr: learning rate :math:`\eta`.
        momentum: :math:`\mu`.
        dampening: :math:`\tau`.
        weight_decay: L2 penalty :math:`\lambda`.
        nesterov: Nesterov momentum; needs momentum and no dampening.
        maximize: climb instead of descend.
    """

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "dampening": dampening,
                "weight_decay": weight_decay,
                "nesterov": nesterov,
                "maximize": maximize,
            },
        )

    def check(self, hyper: Mapping[str, Any]) -> None:
        """Nesterov momentum needs a momentum and no dampening."""
        if hyper["nesterov"] and (hyper["momentum"] <= 0 or hyper["dampening"] != 0):
            raise ValueError(
                "SGD: nesterov=True needs momentum above 0 and dampening 0, got momentum "
                f"{hyper['momentum']} and dampening {hyper['dampening']}"
            )

    def slots(self, group: Mapping[str, Any]) -> tuple[str, ...]:
        """The momentum buffer, if there is momentum."""
        return ("momentum_buffer",) if group["momentum"] else ()

    def kernel(self, group: Mapping[str, Any]) -> Callable[..., None]:
        """With or without momentum."""
        return momentum_kernel if group["momentum"] else sgd_kernel

    def scalars(self, group: Mapping[str, Any], step: int) -> tuple[Any, ...]:
        """The first gradient enters the momentum buffer undamped."""
        if not group["momentum"]:
            return group["lr"], group["weight_decay"]
        gain = 1.0 if step == 1 else 1.0 - group["dampening"]
        return group["lr"], group["momentum"], gain, group["weight_decay"], group["nesterov"]


def rprop_kernel(
    param: Array,
    grad: Array,
    prev: Array,
    step_size: Array,
    work: Array,
    agreement: Array,
    shrinkage: float,
    growth: float,
    smallest: float,
    largest: float,
) -> None:
    """Steps grow where the gradient keeps its sign and shrink, without a move, where it flips."""
    np.multiply(grad, prev, agreement)
    flipped = agreement < 0
    np.multiply(step_size, growth, step_size, where=agreement > 0)
    np.multiply(step_size, shrinkage, step_size, where=flipped)
    np.clip(step_size, smallest, largest, step_size)
    np.copyto(prev, grad)
    np.copyto(prev, 0.0, where=flipped)
    np.sign(prev, work)
    np.multiply(work, step_size, work)
    np.subtract(param, work, param)


class Rprop(Optimizer):
    """Resilient propagation for full batches (Riedmiller and Braun, 1993), as torch.optim.Rprop.

    Only signs of the gradient count: each parameter has its own step size, which grows while the
    sign stays and shrinks when it flips.

    Args:
        params: parameters or groups of them.
        lr: first step size.
        etas: factors on the step size where the sign flips and where it stays.
        step_sizes: smallest and largest step size.
        maximize: climb instead of descend.
    """

    def __init__(
        self,
        params: Params,
        lr: float = 1e-2,
        etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50.0),
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params, {"lr": lr, "etas": etas, "step_sizes": step_sizes, "maximize": maximize}
        )

    def check(self, hyper: Mapping[str, Any]) -> None:
        """One factor shrinks, the other grows."""
        shrinkage, growth = hyper["etas"]
        if not 0 < shrinkage < 1 < growth:
            raise ValueError(f"Rprop: expected 0 < etas[0] < 1 < etas[1], got {hyper['etas']}")

    def slots(self, group: Mapping[str, Any]) -> tuple[str, ...]:
        """The last gradient and the step sizes."""
        return "prev", "step_size"

    def initial(self, group: Mapping[str, Any]) -> dict[str, float]:
        """Step sizes begin at the learning rate."""
        return {"step_size": group["lr"]}

    def kernel(self, group: Mapping[str, Any]) -> Callable[..., None]:
        """:func:`rprop_kernel`."""
        return rprop_kernel

    def scalars(self, group: Mapping[str, Any], step: int) -> tuple[Any, ...]:
        """The factors and limits of the step size."""
        return *group["etas"], *group["step_sizes"]
