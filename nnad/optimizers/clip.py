"""Clipping of gradients by norm and by value."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from nnad.autodiff import Tensor
from nnad.autodiff.tensor import perform
from nnad.optimizers.base import parameter_list

__all__ = ["clip_grad_norm", "clip_grad_value", "grad_norm", "norm_of", "scale_to_norm"]


def grad_norm(params: Iterable[Tensor] | Tensor, norm_type: float = 2.0) -> float:
    """Norm of all gradients together, as if they were one vector; 0 when there are none.

    Args:
        params: parameters; those without a gradient count nothing.
        norm_type: 2, or any other p of a p-norm, or infinity.
    """
    return norm_of(_gradients(parameter_list(params, "grad_norm")), norm_type)


def clip_grad_norm(
    params: Iterable[Tensor] | Tensor, max_norm: float, norm_type: float = 2.0
) -> float:
    """Scale all gradients in place so that their common norm is at most `max_norm`.

    As torch.nn.utils.clip_grad_norm_: the factor is ``max_norm / (norm + 1e-6)`` where that is
    below 1.

    Args:
        params: parameters; those without a gradient are skipped.
        max_norm: largest norm.
        norm_type: 2, or any other p of a p-norm, or infinity.

    Returns:
        The norm before clipping.

    >>> t = Tensor([3.0, 4.0], requires_grad=True)
    >>> (t * t / 2).sum().backward()
    >>> clip_grad_norm([t], max_norm=1.0)
    5.0
    >>> t.grad.round(3)
    array([0.6, 0.8])
    """
    if not max_norm >= 0:
        raise ValueError(f"clip_grad_norm: max_norm must be at least 0, got {max_norm}")
    params = parameter_list(params, "clip_grad_norm")

    def clip() -> float:
        gradients = _gradients(params)
        norm = norm_of(gradients, norm_type)
        scale_to_norm(gradients, norm, max_norm)
        return norm

    return perform("clip_grad_norm", clip, params=params, max_norm=max_norm, norm_type=norm_type)


def clip_grad_value(params: Iterable[Tensor] | Tensor, limit: float) -> float:
    """Clip every entry of the gradients in place to between ``-limit`` and ``limit``.

    Args:
        params: parameters; those without a gradient are skipped.
        limit: largest absolute value.

    Returns:
        The norm of all gradients together before clipping.
    """
    if not limit >= 0:
        raise ValueError(f"clip_grad_value: limit must be at least 0, got {limit}")
    params = parameter_list(params, "clip_grad_value")

    def clip() -> float:
        gradients = _gradients(params)
        norm = norm_of(gradients)
        for grad in gradients:
            np.clip(grad, -limit, limit, out=grad)
        return norm

    return perform("clip_grad_value", clip, params=params, limit=limit)


def _gradients(params: Sequence[Tensor]) -> list[np.ndarray]:
    """The gradients of `params`; as one vector where they fill one buffer."""
    found = [p.grad for p in params]
    return _joined([grad for grad in found if grad is not None])


def _joined(gradients: list[np.ndarray]) -> list[np.ndarray]:
    if len(gradients) < 2:
        return gradients
    base = gradients[0].base
    if (
        base is not None
        and all(grad.base is base for grad in gradients)
        and base.ndim == 1
        and base.flags.c_contiguous
        and base.size == sum(grad.size for grad in gradients)
    ):
        return [base]
    return gradients


def scale_to_norm(gradients: Sequence[np.ndarray], norm: float, max_norm: float) -> None:
    """Scale in place what has the norm `norm`, as `clip_grad_norm` does."""
    factor = max_norm / (norm + 1e-6)
    if not factor >= 1.0:
        for grad in gradients:
            np.multiply(grad, factor, grad)


def norm_of(gradients: Sequence[np.ndarray], norm_type: float = 2.0) -> float:
    """The norm of arrays together, as if they were one vector."""
    if norm_type == math.inf:
        return max((float(np.max(np.abs(g), initial=0.0)) for g in gradients), default=0.0)
    if norm_type != 2.0:
        total = sum(float(np.sum(np.abs(g) ** norm_type)) for g in gradients)
        return total ** (1.0 / norm_type)
    with np.errstate(over="ignore"):
        norm = math.sqrt(sum(float(np.vdot(g, g)) for g in map(_at_least_single, gradients)))
    return norm if math.isfinite(norm) else _scaled_norm(gradients)


def _at_least_single(grad: np.ndarray) -> np.ndarray:
    return grad.astype(np.float32) if grad.dtype == np.float16 else grad


def _scaled_norm(gradients: Sequence[np.ndarray]) -> float:
    """The 2-norm where squares overflow, though the norm itself may not."""
    peak = norm_of(gradients, math.inf)
    if not math.isfinite(peak):
        return peak
    return peak * math.sqrt(sum(float(np.sum(np.square(g / peak))) for g in gradients))
