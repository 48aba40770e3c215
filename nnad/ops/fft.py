"""Discrete Fourier transforms: all of `numpy.fft` but the sample frequencies.

The four transforms of one axis are linear maps, entries of the table; the others are made of them,
in NumPy's order.  The matrix of a Fourier transform is symmetric, so `fft` is its own transpose.
`rfft` and `irfft` store half a spectrum; an element of it stands for itself and its mirror image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nnad.autodiff.table import case, implements, linear
from nnad.ops.arguments import as_array, composed, store
from nnad.ops.elementwise import conj
from nnad.ops.joining import concatenate
from nnad.ops.products import conjugate

__all__ = [
    "fft",
    "fft2",
    "fftn",
    "fftshift",
    "hfft",
    "ifft",
    "ifft2",
    "ifftn",
    "ifftshift",
    "ihfft",
    "irfft",
    "irfft2",
    "irfftn",
    "rfft",
    "rfft2",
    "rfftn",
]

SWAPPED = {None: "forward", "backward": "forward", "ortho": "ortho", "forward": "backward"}


def _swapped(norm: str | None) -> str:
    """The normalisation of the inverse transform that carries the same factor."""
    if norm not in SWAPPED:
        raise ValueError(f'fft: got norm={norm!r}, expected "backward", "ortho", "forward" or None')
    return SWAPPED[norm]


def _resized(x: Any, n: int, axis: int) -> Any:
    """`x` cut or padded with zeros to length `n`, as the transforms do with their input."""
    have = x.shape[axis]
    axis %= x.ndim
    if have > n:
        return x[(slice(None),) * axis + (slice(n),)]
    if have == n:
        return x
    shape = list(x.shape)
    shape[axis] = n - have
    return concatenate([x, np.zeros(shape, x.dtype)], axis=axis)


def _mirror_weights(n: int, like: Any, axis: int, double: float) -> np.ndarray:
    """`double` for the elements of a half spectrum that have a mirror image, 1 for the others."""
    weights = np.full(n // 2 + 1, double, np.real(np.empty(0, like.dtype)).dtype)
    weights[0] = 1
    if n % 2 == 0:
        weights[-1] = 1
    return weights.reshape((-1,) + (1,) * (like.ndim - 1 - axis % like.ndim))


def _complex_samples(rng: np.random.Generator) -> list[Any]:
    x = rng.normal(size=(3, 4)) + 1j * rng.normal(size=(3, 4))
    return [
        case(x),
        case(rng.normal(size=(3, 4)), axis=0),
        case(x, n=6, norm="ortho"),
        case(x, n=2, axis=0, norm="forward"),
    ]


def _real_samples(rng: np.random.Generator) -> list[Any]:
    x = rng.normal(size=(3, 4))
    return [
        case(x),
        case(x, axis=0),
        case(x, n=6, norm="ortho"),
        case(x, n=2, axis=0, norm="forward"),
        case(x, n=7),
        case(x, n=1),
    ]


def _half_samples(rng: np.random.Generator) -> list[Any]:
    return [case(c.args[0] + 1j * rng.normal(size=(3, 4)), **c.kwargs) for c in _real_samples(rng)]


# One axis -------------------------------------------------------------------------------------

_fft = linear(
    "fft",
    lambda x, *, n=None, axis=-1, norm=None: np.fft.fft(x, n, axis, norm),
    lambda g, ans, x, *, n=None, axis=-1, norm=None: _resized(
        _fft(g, axis=axis, norm=norm), x.shape[axis], axis
    ),
    formula="y[k] = sum of x[j] * exp(-2i pi j k / n)",
    partials=("fft(g)",),
    samples=_complex_samples,
)
_ifft = linear(
    "ifft",
    lambda x, *, n=None, axis=-1, norm=None: np.fft.ifft(x, n, axis, norm),
    lambda g, ans, x, *, n=None, axis=-1, norm=None: _resized(
        _ifft(g, axis=axis, norm=norm), x.shape[axis], axis
    ),
    formula="y[j] = sum of x[k] * exp(2i pi j k / n) / n",
    partials=("ifft(g)",),
    samples=_complex_samples,
)


def _rfft_transpose(
    g: Any, ans: Any, x: Any, *, n: int | None = None, axis: int = -1, norm: str | None = None
) -> Any:
    n = x.shape[axis] if n is None else n
    half = conj(g) * _mirror_weights(n, g, axis, 0.5)
    return _resized(_irfft(half, n=n, axis=axis, norm=_swapped(norm)), x.shape[axis], axis)


def _irfft_transpose(
    g: Any, ans: Any, x: Any, *, n: int | None = None, axis: int = -1, norm: str | None = None
) -> Any:
    full = _rfft(g, axis=axis, norm=_swapped(norm))
    doubled = conj(full) * _mirror_weights(g.shape[axis], g, axis, 2.0)
    return _resized(doubled, x.shape[axis], axis)


_rfft = linear(
    "rfft",
    lambda x, *, n=None, axis=-1, norm=None: np.fft.rfft(x, n, axis, norm),
    _rfft_transpose,
    formula="first half of fft(x), x real",
    partials=("n * irfft(conj(g) / 2)",),
    samples=_real_samples,
)
_irfft = linear(
    "irfft",
    lambda x, *, n=None, axis=-1, norm=None: np.fft.irfft(x, n, axis, norm),
    _irfft_transpose,
    formula="ifft of the spectrum with the first half x, real",
    partials=("2 * conj(rfft(g)) / n",),
    samples=_half_samples,
)


def _one_axis(name: str, entry: Any) -> Any:
    """The public function of an entry, with NumPy's signature."""

    def transform(
        a: Any, n: int | None = None, axis: int = -1, norm: str | None = None, out: Any = None
    ) -> Any:
        return store(entry(as_array(a), n=n, axis=axis, norm=norm), out, f"fft.{name}")

    transform.__name__ = transform.__qualname__ = name
    transform.__doc__ = f"{entry.formula}; see `numpy.fft.{name}`."
    return implements(getattr(np.fft, name))(transform)


fft = _one_axis("fft", _fft)
ifft = _one_axis("ifft", _ifft)
rfft = _one_axis("rfft", _rfft)
irfft = _one_axis("irfft", _irfft)


@composed(np.fft.hfft, formula="irfft(conj(x)) * n", samples=_half_samples)
def hfft(
    a: Any, n: int | None = None, axis: int = -1, norm: str | None = None, out: Any = None
) -> Any:
    """The real spectrum of a Hermitian signal; see `numpy.fft.hfft`."""
    return irfft(conjugate(as_array(a)), n, axis, _swapped(norm), out)


@composed(np.fft.ihfft, formula="conj(rfft(x)) / n", samples=_real_samples)
def ihfft(
    a: Any, n: int | None = None, axis: int = -1, norm: str | None = None, out: Any = None
) -> Any:
    """Half of the Hermitian signal that has a real spectrum; see `numpy.fft.ihfft`."""
    return store(conj(rfft(a, n, axis, _swapped(norm))), out, "fft.ihfft")


# Several axes ---------------------------------------------------------------------------------


def _lengths_and_axes(
    a: Any, s: Sequence[int] | None, axes: Sequence[int] | None, half: bool = False
) -> tuple[list[int], list[int]]:
    """`s` and `axes` with their defaults filled in, as `numpy.fft.fftn` reads them.

    Args:
        half: the input is half of a spectrum along the last axis.
    """
    if axes is None:
        axes = range(-a.ndim if s is None else -len(s), 0)
    axes = [int(axis) for axis in axes]
    if s is None:
        lengths = [a.shape[axis] for axis in axes]
        if half and axes:
            lengths[-1] = 2 * (lengths[-1] - 1)
    else:
        lengths = [a.shape[axis] if n == -1 else int(n) for n, axis in zip(s, axes, strict=False)]
    if len(lengths) != len(axes):
        raise ValueError(f"fft: got {len(lengths)} lengths s for {len(axes)} axes")
    return lengths, axes


def _samples_of_axes(rng: np.random.Generator) -> list[Any]:
    x = rng.normal(size=(2, 3, 4))
    return [
        case(x, axes=(0, 1)),
        case(x, axes=(2, 0), norm="ortho"),
        case(x, s=(4, 2), axes=(1, 2), norm="forward"),
    ]


def _complex_samples_of_axes(rng: np.random.Generator) -> list[Any]:
    turned = rng.normal(size=(2, 3, 4))
    return [case(c.args[0] + 1j * turned, **c.kwargs) for c in _samples_of_axes(rng)]


def _all_axes(entry: Any, a: Any, s: Any, axes: Any, norm: str | None) -> Any:
    a = as_array(a)
    lengths, axes = _lengths_and_axes(a, s, axes)
    for n, axis in zip(reversed(lengths), reversed(axes), strict=True):
        a = entry(a, n=n, axis=axis, norm=norm)
    return a


@composed(np.fft.fftn, formula="fft over several axes", samples=_complex_samples_of_axes)
def fftn(a: Any, s: Any = None, axes: Any = None, norm: str | None = None, out: Any = None) -> Any:
    """Fourier transform over several axes; see `numpy.fft.fftn`."""
    return store(_all_axes(_fft, a, s, axes, norm), out, "fft.fftn")


@composed(np.fft.ifftn, formula="ifft over several axes", samples=_complex_samples_of_axes)
def ifftn(a: Any, s: Any = None, axes: Any = None, norm: str | None = None, out: Any = None) -> Any:
    """Inverse Fourier transform over several axes; see `numpy.fft.ifftn`."""
    return store(_all_axes(_ifft, a, s, axes, norm), out, "fft.ifftn")


@composed(
    np.fft.rfftn, formula="rfft over the last axis, fft over the rest", samples=_samples_of_axes
)
def rfftn(a: Any, s: Any = None, axes: Any = None, norm: str | None = None, out: Any = None) -> Any:
    """Fourier transform of a real array over several axes; see `numpy.fft.rfftn`."""
    a = as_array(a)
    lengths, axes = _lengths_and_axes(a, s, axes)
    a = _rfft(a, n=lengths[-1], axis=axes[-1], norm=norm)
    for n, axis in zip(lengths[-2::-1], axes[-2::-1], strict=True):
        a = _fft(a, n=n, axis=axis, norm=norm)
    return store(a, out, "fft.rfftn")


@composed(
    np.fft.irfftn,
    formula="ifft over all but the last axis, irfft over that",
    samples=_complex_samples_of_axes,
)
def irfftn(
    a: Any, s: Any = None, axes: Any = None, norm: str | None = None, out: Any = None
) -> Any:
    """Inverse of `rfftn`; see `numpy.fft.irfftn`."""
    a = as_array(a)
    lengths, axes = _lengths_and_axes(a, s, axes, half=True)
    for n, axis in zip(lengths[:-1], axes[:-1], strict=True):
        a = _ifft(a, n=n, axis=axis, norm=norm)
    return store(_irfft(a, n=lengths[-1], axis=axes[-1], norm=norm), out, "fft.irfftn")


def _two_axes(name: str, transform: Any) -> Any:
    """`transform` over two axes, the last ones if not said otherwise."""

    def planar(
        a: Any, s: Any = None, axes: Any = (-2, -1), norm: str | None = None, out: Any = None
    ) -> Any:
        return transform(a, s, axes, norm, out)

    planar.__name__ = planar.__qualname__ = name
    planar.__doc__ = f"`{transform.__name__}` over two axes; see `numpy.fft.{name}`."
    return implements(getattr(np.fft, name))(planar)


fft2 = _two_axes("fft2", fftn)
ifft2 = _two_axes("ifft2", ifftn)
rfft2 = _two_axes("rfft2", rfftn)
irfft2 = _two_axes("irfft2", irfftn)


# Order of the frequencies ---------------------------------------------------------------------


def _shift_samples(rng: np.random.Generator) -> list[Any]:
    x = rng.normal(size=(3, 4))
    return [case(x, axes=None), case(x, axes=0), case(x, axes=(1,))]


_fftshift = linear(
    "fftshift",
    lambda x, *, axes=None: np.fft.fftshift(x, axes),
    lambda g, ans, x, *, axes=None: _ifftshift(g, axes=axes),
    formula="x with the zero frequency in the middle",
    partials=("ifftshift(g)",),
    samples=_shift_samples,
)
_ifftshift = linear(
    "ifftshift",
    lambda x, *, axes=None: np.fft.ifftshift(x, axes),
    lambda g, ans, x, *, axes=None: _fftshift(g, axes=axes),
    formula="x with the zero frequency from the middle to the start",
    partials=("fftshift(g)",),
    samples=_shift_samples,
)


def _axes(axes: Any) -> Any:
    return tuple(axes) if isinstance(axes, list) else axes


@implements(np.fft.fftshift)
def fftshift(x: Any, axes: Any = None) -> Any:
    """The zero frequency moved to the middle; see `numpy.fft.fftshift`."""
    return _fftshift(as_array(x), axes=_axes(axes))


@implements(np.fft.ifftshift)
def ifftshift(x: Any, axes: Any = None) -> Any:
    """Undo `fftshift`; see `numpy.fft.ifftshift`."""
    return _ifftshift(as_array(x), axes=_axes(axes))
