"""The fft extension."""

from __future__ import annotations

from typing import Any

import numpy as np

from nnad.array_api.results import returns_tensors

__all__ = [
    "fft",
    "fftfreq",
    "fftn",
    "fftshift",
    "hfft",
    "ifft",
    "ifftn",
    "ifftshift",
    "ihfft",
    "irfft",
    "irfftn",
    "rfft",
    "rfftfreq",
    "rfftn",
]


def _along_axis(name: str) -> Any:
    function = getattr(np.fft, name)

    def transform(x: Any, /, *, n: Any = None, axis: int = -1, norm: str = "backward") -> Any:
        return function(x, n=n, axis=axis, norm=norm)

    return _named(transform, name)


def _over_axes(name: str) -> Any:
    function = getattr(np.fft, name)

    def transform(x: Any, /, *, s: Any = None, axes: Any = None, norm: str = "backward") -> Any:
        if s is not None and axes is None:
            axes = tuple(range(-len(s), 0))
        return function(x, s=s, axes=axes, norm=norm)

    return _named(transform, name)


def _frequencies(name: str) -> Any:
    function = getattr(np.fft, name)

    def transform(n: int, /, *, d: float = 1.0, dtype: Any = None, device: Any = None) -> Any:
        return function(n, d, device=device).astype(dtype or np.float64, copy=False)

    return _named(transform, name)


def _shift(name: str) -> Any:
    function = getattr(np.fft, name)

    def transform(x: Any, /, *, axes: Any = None) -> Any:
        return function(x, axes=axes)

    return _named(transform, name)


def _named(transform: Any, name: str) -> Any:
    transform.__name__ = transform.__qualname__ = name
    transform.__doc__ = f"See `numpy.fft.{name}`; the result is a Tensor."
    return returns_tensors(transform)


fft = _along_axis("fft")
ifft = _along_axis("ifft")
rfft = _along_axis("rfft")
irfft = _along_axis("irfft")
hfft = _along_axis("hfft")
ihfft = _along_axis("ihfft")
fftn = _over_axes("fftn")
ifftn = _over_axes("ifftn")
rfftn = _over_axes("rfftn")
irfftn = _over_axes("irfftn")
fftfreq = _frequencies("fftfreq")
rfftfreq = _frequencies("rfftfreq")
fftshift = _shift("fftshift")
ifftshift = _shift("ifftshift")
