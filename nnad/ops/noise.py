"""Random masks and noise: effects, so that a compiled program draws afresh on every call."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from nnad.autodiff.table import effect
from nnad.autodiff.tensor import value_of
from nnad.ops.places import FRESH

__all__ = ["dropout", "dropout_mask", "gaussian_noise", "share_argument", "sharing_draws"]

BLOCK = 2**15  # draws that are made at a time: they stay in the cache, and few arrays are needed
Share = tuple[int, int, int]  # first row, row after the last, rows in all
_share: ContextVar[Share | None] = ContextVar("share", default=None)


@contextmanager
def sharing_draws(begin: int, end: int, total: int) -> Iterator[None]:
    """Within the block arrays are rows `begin` to `end` of a batch of `total`.

    What is drawn for their rows is what would be drawn for them in the whole batch, and the
    generator moves on by the whole batch: processes that hold its parts draw as one.
    """
    before = _share.set((begin, end, total))
    try:
        yield
    finally:
        _share.reset(before)


def share_argument() -> dict[str, Share]:
    """The argument `share=` of a draw for every row; none where no rows are shared."""
    share = _share.get()
    return {} if share is None else {"share": share}


def _whole(shape: Any, share: Share | None) -> tuple[tuple[int, ...], slice]:
    """The shape to draw for the whole batch, and the rows of it that are wanted here."""
    if share is None or not shape:
        return shape, slice(None)
    begin, end, total = share
    times = max(1, shape[0] // max(1, end - begin))  # rows here to one of the batch
    return (total * times, *shape[1:]), slice(begin * times, end * times)


def _dropout_mask(
    *,
    shape: Any,
    p: float,
    dtype: Any,
    generator: np.random.Generator,
    share: Share | None = None,
    out: Any = None,
) -> np.ndarray:
    """1 / (1 - p) where a draw of 32 random bits is at least p 2³², else 0."""
    mask = np.empty(shape, dtype) if out is None else out
    if p >= 1:
        mask[...] = 0
        return mask
    drawn, rows = _whole(mask.shape, share)
    whole = mask if share is None else np.empty(drawn, mask.dtype)
    threshold, scale = np.uint32(min(round(p * 2**32), 2**32 - 1)), mask.dtype.type(1 / (1 - p))
    flat = whole.reshape(-1)
    for start in range(0, flat.size, BLOCK):
        part = flat[start : start + BLOCK]
        np.multiply(_draws(generator, part.size) >= threshold, scale, out=part)
    if share is not None:
        mask[...] = whole[rows]
    return mask


def _draws(generator: np.random.Generator, count: int) -> np.ndarray:
    """32 random bits each."""
    bits: Any = generator.bit_generator.random_raw((count + 1) // 2)
    return bits.view(np.uint32)[:count]


dropout_mask = effect("dropout_mask", _dropout_mask)


def _gaussian_noise(
    *,
    shape: Any,
    std: float,
    dtype: Any,
    generator: np.random.Generator,
    share: Share | None = None,
    place: Any = FRESH,
) -> np.ndarray:
    """Independent normal draws of mean 0."""
    precision = np.dtype(dtype) if np.dtype(dtype) == np.float32 else np.dtype(np.float64)
    drawn, rows = _whole(shape, share)
    noise = place(np.empty, drawn, precision)
    generator.standard_normal(dtype=precision.type, out=noise)
    noise *= precision.type(std)
    return noise[rows].astype(dtype, copy=False)


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
    share = share_argument() if shape[:1] == x.shape[:1] else {}
    return x * dropout_mask(shape=shape, p=p, dtype=x.dtype, generator=generator, **share)
