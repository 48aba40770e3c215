"""What the kernels of several optimizers share: in-place steps on flat vectors.

Every function writes only into its first argument or into `out`, and takes `out` positionally into
the ufuncs, which saves a third of the call at these sizes.
"""

from __future__ import annotations

import numpy as np

__all__ = ["decayed", "ema", "ema_of_squares", "shrink"]

Array = np.ndarray


def decayed(grad: Array, param: Array, weight_decay: float, out: Array) -> Array:
    """``grad + weight_decay * param`` in `out`; `grad` itself when there is no decay."""
    if not weight_decay:
        return grad
    np.multiply(param, weight_decay, out)
    return np.add(grad, out, out)


def shrink(param: Array, factor: float) -> None:
    """Decoupled weight decay: ``param *= factor``."""
    if factor != 1.0:
        np.multiply(param, factor, param)


def ema(average: Array, value: Array, weight: float, scratch: Array) -> None:
    """``average += weight * (value - average)``."""
    np.subtract(value, average, scratch)
    np.multiply(scratch, weight, scratch)
    np.add(average, scratch, average)


def ema_of_squares(average: Array, value: Array, beta: float, scratch: Array) -> None:
    """``average = beta * average + (1 - beta) * value**2``."""
    np.multiply(average, beta, average)
    np.multiply(value, value, scratch)
    np.multiply(scratch, 1.0 - beta, scratch)
    np.add(average, scratch, average)
