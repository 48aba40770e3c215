"""Random masks and noise: effects, so that a compiled program draws afresh on every call."""

from __future__ import annotations

from typing import Any

import numpy as np

from nnad.autodiff.table import effect
from nnad.autodiff.tensor import value_of

__all__ = ["dropout", "dropout_mask", "gaussian_noise"]


def _dropout_mask(
    *, shape: Any, p: float, dtype: Any, generator: np.random.Generator, out: Any = None
) -> np.ndarray:
    """1 / (1 - p) where a draw of 32 random bits is at least p 2³², else 0."""
    mask = np.empty(shape, dtype) if out is None else out
    if p >= 1:
        mask[...] = 0
        return mask
    bits: Any = generator.bit_generator.random_raw((mask.size + 1) // 2)
    draws = bits.view(np.uint32)[: mask.size].reshape(mask.shape)
    kept = draws >= np.uint32(min(round(p * 2**32), 2**32 - 1))
    return np.multiply(kept, mask.dtype.type(1 / (1 - p)), out=mask)


dropout_mask = effect("dropout_mask", _dropout_mask)


def _gaussian_noise(
    *, shape: Any, std: float, dtype: Any, generator: np.random.Generator, out: Any = None
) -> np.ndarray:
    """Independent normal draws of mean 0."""
    drawn = np.dtype(dtype) if np.dtype(dtype) == np.float32 else np.dtype(np.float64)
    noise: Any = generator.standard_normal(shape, dtype=drawn.type)
    noise = np.multiply(noise, drawn.type(std), out=noise).astype(dtype, copy=False)
    if out is None:
        return noise
    out[...] = noise
    return out


gaussian_noise = effect("gaussian_noise", _gaussian_noise)


def dropout(x: Any, p: float, generator: np.random.Generator, *, axes: Any = None) -> Any:
    """`x` with each element set to 0 with probability `p`, the others divided by 1 - p.

    Args:
        x: array.
        p: probability in [0, 1].
        generator: draws the mask.
        axes: axes along which the mask differs; None: all.  The others share their mask.

    Source: Srivastava et al. 2014.
    """
    shape = value_of(x).shape
    if axes is not None:
        kept = {axis % len(shape) for axis in axes}
        shape = tuple(n if i in kept else 1 for i, n in enumerate(shape))
    return x * dropout_mask(shape=shape, p=p, dtype=x.dtype, generator=generator)
