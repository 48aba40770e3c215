"""Padding in every mode of `numpy.pad`, axis after axis as NumPy does it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from nnad.autodiff.table import case, composite, explicit, implements
from nnad.ops import reduce as r
from nnad.ops import shape as s
from nnad.ops import statistics
from nnad.ops.arguments import as_array, holds_tensor
from nnad.ops.elementwise import positive
from nnad.ops.index import take
from nnad.ops.joining import concatenate

__all__ = ["pad"]

Pairs = tuple[tuple[Any, Any], ...]


def _inside(g: Any, pad_width: Pairs) -> Any:
    """What lies between the margins."""
    return g[tuple(slice(a, n - b) for (a, b), n in zip(pad_width, g.shape, strict=True))]


_pad = explicit(
    "pad",
    lambda x, *, pad_width, constant_values=0: np.pad(
        x, pad_width, constant_values=constant_values
    ),
    vjps=(lambda g, ans, x, *, pad_width, constant_values=0: _inside(g, pad_width),),
    jvps=(lambda v, ans, x, *, pad_width, constant_values=0: _pad(v, pad_width=pad_width),),
    tangent="v with margins of 0",
    formula="x with margins of constants",
    partials=("1",),
    samples=lambda rng: [
        case(rng.normal(size=3), pad_width=((1, 2),)),
        case(rng.normal(size=(2, 3)), pad_width=((0, 1), (2, 0)), constant_values=1.5),
    ],
)


def _pairs(x: Any, ndim: int) -> Pairs:
    """A number, a pair, or a pair per axis as one (before, after) per axis."""
    if holds_tensor(x) and isinstance(x, (list, tuple)):
        rows = [row if isinstance(row, (list, tuple)) else (row, row) for row in x]
        pairs = rows if isinstance(x[0], (list, tuple)) else [tuple(x)]
        return tuple((p[0], p[-1]) for p in (pairs * ndim if len(pairs) == 1 else pairs))
    if holds_tensor(x) or x is None:
        return ((x, x),) * ndim
    return tuple(map(tuple, np.broadcast_to(np.asarray(x), (ndim, 2)).tolist()))


def _widths(pad_width: Any, ndim: int) -> Pairs:
    if isinstance(pad_width, dict):
        named = [(0, 0)] * ndim
        for axis, width in pad_width.items():
            named[axis] = (width, width) if np.ndim(width) == 0 else tuple(width)
        return tuple(named)
    if np.asarray(pad_width).dtype.kind not in "iu":
        raise TypeError(f"np.pad: pad_width must be made of integers, got {pad_width!r}")
    pairs = _pairs(pad_width, ndim)
    if any(width < 0 for pair in pairs for width in pair):
        raise ValueError(f"np.pad: widths must not be negative, got {pad_width!r}")
    return pairs


# One axis, one mode: f(x, axis, (before, after), setting) ----------------------------------------


def _margins(x: Any, axis: int, width: tuple[int, int], parts: Any) -> Any:
    """`x` between two margins: each of `parts` is stretched to its width."""
    edges = []
    for part, n in zip(parts, width, strict=True):
        shape = (*x.shape[:axis], n, *x.shape[axis + 1 :])
        edges.append(s.astype(s._broadcast_to(as_array(part), shape=shape), x.dtype))
    return concatenate([edges[0], x, edges[1]], axis)


def _ends(x: Any, axis: int) -> tuple[Any, Any]:
    before = (slice(None),) * axis
    return x[(*before, slice(0, 1))], x[(*before, slice(-1, None))]


def _by_places(mode: Any) -> Callable[..., Any]:
    """Every element of the margin is one of x: reflect, symmetric, wrap, edge."""

    def pad_axis(x: Any, axis: int, width: tuple[int, int], kind: Any) -> Any:
        n = x.shape[axis]
        if kind in (None, "even"):
            return take(x, np.pad(np.arange(n), width, mode), axis)
        if kind != "odd":
            raise ValueError(f'np.pad: reflect_type is "even" or "odd", got {kind!r}')
        weights = np.pad(np.eye(n, dtype=x.dtype), (width, (0, 0)), mode, reflect_type="odd")
        return s.moveaxis(s.moveaxis(x, axis, -1) @ weights.T, -1, axis)

    return pad_axis


def _ramp(x: Any, axis: int, width: tuple[int, int], ends: tuple[Any, Any]) -> Any:
    """Straight lines from the edges to the end values."""
    shape = [1] * x.ndim
    shape[axis] = -1
    margins = []
    for i, (edge, end, n) in enumerate(zip(_ends(x, axis), ends, width, strict=True)):
        share = (np.arange(n) / max(n, 1)).astype(x.dtype)[:: -1 if i else 1].reshape(shape)
        margins.append(end + (edge - end) * share)
    return _margins(x, axis, width, margins)


def _by_statistic(function: Callable[..., Any]) -> Callable[..., Any]:
    """Every element of the margin is a statistic of the elements next to it."""

    def pad_axis(x: Any, axis: int, width: tuple[int, int], lengths: tuple[Any, Any]) -> Any:
        n, before = x.shape[axis], (slice(None),) * axis
        first, last = (n if length is None else min(length, n) for length in lengths)
        if 0 in (first, last):
            raise ValueError("np.pad: a stat_length of 0 yields no value for padding")
        chunks = x[(*before, slice(None, first))], x[(*before, slice(n - last, None))]
        stats = [function(chunk, axis=axis, keepdims=True) for chunk in chunks]
        return _margins(x, axis, width, stats)

    return pad_axis


# mode -> (what pads one axis, the keyword it takes, that keyword's default)
MODES: dict[str, tuple[Callable[..., Any], str, Any]] = {
    "constant": (_margins, "constant_values", 0),
    "edge": (_by_places("edge"), "", None),
    "wrap": (_by_places("wrap"), "", None),
    "reflect": (_by_places("reflect"), "reflect_type", "even"),
    "symmetric": (_by_places("symmetric"), "reflect_type", "even"),
    "linear_ramp": (_ramp, "end_values", 0),
    "maximum": (_by_statistic(r.max), "stat_length", None),
    "minimum": (_by_statistic(r.min), "stat_length", None),
    "mean": (_by_statistic(r.mean), "stat_length", None),
    "median": (_by_statistic(statistics.median), "stat_length", None),
    "empty": (_margins, "", None),
}


@implements(np.pad)
def pad(array: Any, pad_width: Any, mode: str = "constant", **kwargs: Any) -> Any:
    """`array` with margins, in every mode of `numpy.pad` but that of a function.

    Margins of mode "empty" are zero.
    """
    if mode not in MODES:
        raise ValueError(
            f"np.pad: mode {mode!r} is none of {', '.join(MODES)}"
            + ("; pad by hand with np.concatenate" if callable(mode) else "")
        )
    pad_axis, keyword, default = MODES[mode]
    unknown = set(kwargs) - {keyword}
    if unknown:
        raise ValueError(f"np.pad: mode {mode!r} does not take {', '.join(sorted(unknown))}")
    x = as_array(array)
    if x.ndim == 0:
        return positive(x)
    widths = _widths(pad_width, x.ndim)
    setting = kwargs.get(keyword, default)
    if mode == "empty":
        setting = 0
    if mode in ("constant", "empty") and not holds_tensor(setting):
        return _pad(x, pad_width=widths, constant_values=setting)
    settings = (setting,) * x.ndim if keyword in ("", "reflect_type") else _pairs(setting, x.ndim)
    for axis, width in enumerate(widths):
        if any(width):
            x = pad_axis(x, axis, width, settings[axis])
    return x


composite(
    "pad_modes",
    pad,
    implements=(),
    formula="x with margins taken from x",
    samples=lambda rng: [
        *(
            case(rng.normal(size=(3, 4)), ((1, 2), (3, 0)), mode=mode)
            for mode in MODES
            if mode != "constant"
        ),
        *(
            case(rng.normal(size=3), (5, 4), mode=mode, reflect_type=kind)
            for mode in ("reflect", "symmetric")
            for kind in ("even", "odd")
        ),
        case(rng.normal(size=(2, 3)), 2, "wrap"),
        case(rng.normal(size=4), 2, "linear_ramp", end_values=(1.0, -2.0)),
        case(rng.normal(size=5), 2, "mean", stat_length=(2, 3)),
        case(rng.normal(size=5), 2, "maximum", stat_length=2),
    ],
)
