"""Optimizers that look at a parameter as a matrix: Adafactor and Muon."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np

from nnad.optimizers.adam import adam_kernel
from nnad.optimizers.base import Optimizer, Params
from nnad.optimizers.kernels import Array, ema, shrink

__all__ = ["Adafactor", "Muon", "adafactor_kernel", "muon_kernel", "orthogonalized"]

UNUSED = (0,)  # shape of a slot that a parameter of this shape has no use for


def adafactor_kernel(
    param: Array,
    grad: Array,
    row_var: Array,
    col_var: Array,
    variance: Array,
    work: Array,
    update: Array,
    lr: float,
    weight: float,
    rho: float,
    eps1: float | None,
    eps2: float,
    d: float,
    weight_decay: float,
) -> None:
    """One Adafactor step of one parameter; a matrix keeps row and column means of squares only."""
    if eps1 is None:
        eps1 = float(np.finfo(param.dtype).eps)
    alpha = max(eps2, _root_mean_square(param)) * rho
    shrink(param, 1.0 - lr * weight_decay)
    np.multiply(grad, grad, work)
    if grad.ndim > 1:
        row_var += weight * (work.mean(axis=-1, keepdims=True) - row_var)
        col_var += weight * (work.mean(axis=-2, keepdims=True) - col_var)
        scale = np.maximum(row_var.mean(axis=-2, keepdims=True), eps1)
        np.matmul(row_var, col_var, work)
        np.divide(work, scale, work)
    else:
        variance += weight * (work - variance)
        np.copyto(work, variance)
    np.maximum(work, eps1 * eps1, out=work)
    np.sqrt(work, work)
    np.divide(grad, work, update)
    factor = alpha / max(1.0, _root_mean_square(update) / d)
    np.multiply(update, factor, update)
    np.subtract(param, update, param)


def _root_mean_square(array: Array) -> float:
    return math.sqrt(float(np.vdot(array, array)) / array.size) if array.size else 0.0


class Adafactor(Optimizer):
    """Adafactor (Shazeer and Stern, 2018), as torch.optim.Adafactor.

    A matrix has slots of the size of a row and a column instead of its own size.

    Args:
        params: parameters or groups of them.
        lr: largest relative step size: the rate is ``min(lr, 1 / sqrt(t))`` times the root mean
            square of the parameter.
        beta2_decay: the averages forget at the rate ``t ** beta2_decay``.
        eps: smallest squared gradient (None: the precision of the dtype) and smallest root mean
            square of a parameter.
        d: threshold above which an update is scaled down.
        weight_decay: decoupled weight decay.
        maximize: climb instead of descend.
    """

    per_parameter = True

    def __init__(
        self,
        params: Params,
        lr: float = 1e-2,
        beta2_decay: float = -0.8,
        eps: tuple[float | None, float] = (None, 1e-3),
        d: float = 1.0,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "beta2_decay": beta2_decay,
                "eps": tuple(eps),
                "d": d,
                "weight_decay": weight_decay,
                "maximize": maximize,
            },
        )

    def check(self, hyper: Mapping[str, Any]) -> None:
        """Averages must forget ever more slowly, and d is a threshold on a ratio."""
        if hyper["beta2_decay"] > 0:
            raise ValueError(
                f"Adafactor: beta2_decay must be at most 0, got {hyper['beta2_decay']}"
            )
        if hyper["d"] < 1:
            raise ValueError(f"Adafactor: d must be at least 1, got {hyper['d']}")

    def slots(self, group: Mapping[str, Any]) -> tuple[str, ...]:
        """Means of squares by row and column, or by entry for vectors."""
        return "row_var", "col_var", "variance"

    def slot_shapes(
        self, group: Mapping[str, Any], shape: tuple[int, ...]
    ) -> dict[str, tuple[int, ...]]:
        """Rows and columns of a matrix; a vector as it is."""
        if len(shape) < 2:
            return {"row_var": UNUSED, "col_var": UNUSED, "variance": shape}
        row, col = (*shape[:-1], 1), (*shape[:-2], 1, shape[-1])
        return {"row_var": row, "col_var": col, "variance": UNUSED}

    def kernel(self, group: Mapping[str, Any]) -> Callable[..., None]:
        """:func:`adafactor_kernel`."""
        return adafactor_kernel

    def scalars(self, group: Mapping[str, Any], step: int) -> tuple[Any, ...]:
        """The weight of the new gradient and the relative step size."""
        weight = float(step) ** group["beta2_decay"]
        rho = min(group["lr"], 1.0 / math.sqrt(step))
        return group["lr"], weight, rho, *group["eps"], group["d"], group["weight_decay"]


def orthogonalized(
    matrix: Array, coefficients: tuple[float, float, float], steps: int, eps: float
) -> Array:
    """An approximation of the nearest semi-orthogonal matrix, by Newton-Schulz iterations.

    Args:
        matrix: two axes.
        coefficients: (a, b, c) of ``X <- a X + b (X X') X + c (X X')^2 X``.
        steps: number of iterations.
        eps: smallest norm that is divided by.
    """
    a, b, c = coefficients
    wide = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    wide = wide / max(float(np.linalg.norm(wide)), eps)
    for _ in range(steps):
        gram = wide @ wide.T
        wide = a * wide + (b * gram + c * (gram @ gram)) @ wide
    return wide.T if matrix.shape[0] > matrix.shape[1] else wide


def _rate_factor(shape: tuple[int, ...], adjust_lr_fn: str | None) -> float:
    rows, columns = shape
    if adjust_lr_fn == "match_rms_adamw":
        return 0.2 * math.sqrt(max(rows, columns))
    return math.sqrt(max(1.0, rows / columns))


def muon_kernel(
    param: Array,
    grad: Array,
    momentum_buffer: Array,
    exp_avg: Array,
    exp_avg_sq: Array,
    work: Array,
    decay: Array,
    lr: float,
    momentum: float,
    nesterov: bool,
    coefficients: tuple[float, float, float],
    steps: int,
    eps: float,
    adjust_lr_fn: str | None,
    factor: float,
    aux_scalars: tuple[float, ...],
) -> None:
    """One Muon step of a matrix, or one AdamW step of a vector."""
    if param.ndim < 2:
        adam_kernel(param, grad, exp_avg, exp_avg_sq, work, decay, *aux_scalars)
        return
    ema(momentum_buffer, grad, 1.0 - momentum, work)
    direction = momentum_buffer
    if nesterov:
        np.copyto(decay, grad)
        ema(decay, momentum_buffer, momentum, work)
        direction = decay
    matrix = direction.reshape(-1, param.shape[-1])
    update = orthogonalized(matrix, coefficients, steps, eps)
    shrink(param, factor)
    rate = lr * _rate_factor(matrix.shape, adjust_lr_fn)
    np.multiply(update.reshape(param.shape), rate, work)
    np.subtract(param, work, param)


class Muon(Optimizer):
    """Muon: momentum, orthogonalised (Jordan et al., 2024), as torch.optim.Muon, in full precision.

    Parameters with fewer than two axes (biases, norms) get an AdamW step instead, at the rate
    ``lr * aux_lr_ratio``, where PyTorch refuses them. A parameter with more than two axes (a
    convolution's kernel) is seen as the matrix (…, last axis). PyTorch iterates in bfloat16; here
    the iteration runs in the parameter's dtype.

    Args:
        params: parameters or groups of them; embeddings and the output layer are better left to
            another optimizer.
        lr: learning rate.
        weight_decay: decoupled weight decay.
        momentum: decay of the average gradient.
        nesterov: Nesterov momentum.
        ns_coefficients: of the Newton-Schulz iteration.
        eps: smallest norm that is divided by.
        ns_steps: number of iterations.
        adjust_lr_fn: "original" (or None): the rate times ``sqrt(max(1, rows / columns))``;
            "match_rms_adamw": times ``0.2 * sqrt(max(rows, columns))``.
        aux_lr_ratio: rate of the AdamW steps as a multiple of lr.
        aux_betas: their averages' decay.
        maximize: climb instead of descend.
    """

    per_parameter = True

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = (3.4445, -4.7750, 2.0315),
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: Literal["original", "match_rms_adamw"] | None = None,
        *,
        aux_lr_ratio: float = 1.0,
        aux_betas: tuple[float, float] = (0.9, 0.95),
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "weight_decay": weight_decay,
                "momentum": momentum,
                "nesterov": nesterov,
                "ns_coefficients": tuple(ns_coefficients),
                "eps": eps,
                "ns_steps": ns_steps,
                "adjust_lr_fn": adjust_lr_fn,
                "aux_lr_ratio": aux_lr_ratio,
                "aux_betas": tuple(aux_betas),
                "maximize": maximize,
            },
        )

    def check(self, hyper: Mapping[str, Any]) -> None:
        """The name of the adjustment of the rate."""
        if hyper["adjust_lr_fn"] not in (None, "original", "match_rms_adamw"):
            raise ValueError(
                "Muon: adjust_lr_fn must be None, 'original' or 'match_rms_adamw', got "
                f"{hyper['adjust_lr_fn']!r}"
            )

    def slots(self, group: Mapping[str, Any]) -> tuple[str, ...]:
        """The average gradient of matrices; Adam's averages for the rest."""
        return "momentum_buffer", "exp_avg", "exp_avg_sq"

    def slot_shapes(
        self, group: Mapping[str, Any], shape: tuple[int, ...]
    ) -> dict[str, tuple[int, ...]]:
        """Only the slots that a parameter of this shape uses take memory."""
        matrix, vector = (shape, UNUSED) if len(shape) > 1 else (UNUSED, shape)
        return {"momentum_buffer": matrix, "exp_avg": vector, "exp_avg_sq": vector}

    def kernel(self, group: Mapping[str, Any]) -> Callable[..., None]:
        """:func:`muon_kernel`."""
        return muon_kernel

    def scalars(self, group: Mapping[str, Any], step: int) -> tuple[Any, ...]:
        """The factor of the decay, and AdamW's scalars for vectors."""
        names = ("momentum", "nesterov", "ns_coefficients", "ns_steps", "eps", "adjust_lr_fn")
        factor = 1.0 - group["lr"] * group["weight_decay"]
        return (
            group["lr"],
            *(group[name] for name in names),
            factor,
            self._aux_scalars(group, step),
        )

    def _aux_scalars(self, group: Mapping[str, Any], step: int) -> tuple[float, ...]:
        beta1, beta2 = group["aux_betas"]
        lr = group["lr"] * group["aux_lr_ratio"]
        root = math.sqrt(1.0 - beta2**step)
        step_size = lr / (1.0 - beta1**step) * root
        return beta1, beta2, step_size, 1e-8 * root, 0.0, 1.0 - lr * group["weight_decay"]
