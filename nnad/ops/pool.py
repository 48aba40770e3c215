"""Pooling over windows of any number of axes, channels last.

`max_pool` picks elements (`max_pool_hits` says which), so its derivative is a pair of linear maps,
each the transpose of the other: `max_pool_gather` takes the element out of each window,
`max_pool_scatter` puts one back.  Tied elements of a window share: their weights add up to 1.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from nnad.autodiff.table import Primitive, case, explicit, kink, linear, multilinear, register
from nnad.ops.window import output_sizes

__all__ = [
    "avg_pool",
    "max_pool",
    "max_pool_gather",
    "max_pool_hits",
    "max_pool_scatter",
    "spread_windows",
]

Sizes = tuple[int, ...]


def _places(kernel: Sizes, stride: Sizes, outputs: Sizes) -> list[tuple[Any, ...]]:
    """For each position in the window, the slices of (batch, *sizes, channels) it meets."""
    return [
        (
            slice(None),
            *(slice(i, i + s * (n - 1) + 1, s) for i, s, n in zip(k, stride, outputs, strict=True)),
        )
        for k in itertools.product(*map(range, kernel))
    ]


def _outputs(sizes: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes) -> Sizes:
    pairs = tuple((p, p) for p in padding)
    return output_sizes(sizes, kernel, stride, pairs, (1,) * len(kernel))


def _padded(x: np.ndarray, padding: Sizes, fill: float) -> np.ndarray:
    if not any(padding):
        return x
    sizes = (n + 2 * p for n, p in zip(x.shape[1:-1], padding, strict=True))
    full = np.full((len(x), *sizes, x.shape[-1]), fill, x.dtype)
    full[_inside(padding, x.shape[1:-1])] = x
    return full


def _inside(padding: Sizes, sizes: Sizes) -> tuple[slice, ...]:
    return (slice(None), *(slice(p, p + n) for p, n in zip(padding, sizes, strict=True)))


# Maximum --------------------------------------------------------------------------------------


def _max_pool(
    x: Any, *, kernel: Sizes, stride: Sizes, padding: Sizes, out: Any = None
) -> np.ndarray:
    """One axis after the other: a maximum of maxima."""
    outputs = _outputs(x.shape[1:-1], kernel, stride, padding)
    y = _padded(x, padding, -np.inf)
    for axis, (k, s, n) in enumerate(zip(kernel, stride, outputs, strict=True), start=1):
        lead = (slice(None),) * axis
        parts = [y[(*lead, slice(i, i + s * (n - 1) + 1, s))] for i in range(k)]
        if k == 1:
            y = parts[0]
            continue
        y = np.maximum(parts[0], parts[1])
        for part in parts[2:]:
            np.maximum(y, part, out=y)
    if out is None:
        return y if y.base is None else y.copy()
    out[...] = y
    return out


def _hits(x: Any, y: Any, *, kernel: Sizes, stride: Sizes, padding: Sizes) -> np.ndarray:
    """For each position in the window, where its element is the maximum: (positions, *y.shape)."""
    padded = _padded(x, padding, -np.inf)
    places = _places(kernel, stride, y.shape[1:-1])
    hits = np.empty((len(places), *y.shape), bool)
    for place, hit in zip(places, hits, strict=True):
        np.equal(padded[place], y, out=hit)
    return hits


def _share(hits: np.ndarray, dtype: Any) -> Any:
    """1 / the number of tied elements of each window; None where no window has ties."""
    counts = hits.sum(axis=0, dtype=np.min_scalar_type(len(hits)))
    if counts.size == 0 or counts.max() <= 1:
        return None
    return (1 / np.maximum(counts, 1)).astype(dtype)


def _scatter(
    g: Any, hits: Any, *, sizes: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes
) -> Any:
    share = _share(hits, g.dtype)
    if share is not None:
        g = g * share
    padded = (n + 2 * p for n, p in zip(sizes, padding, strict=True))
    full = np.zeros((len(g), *padded, g.shape[-1]), g.dtype)
    apart = all(k <= s for k, s in zip(kernel, stride, strict=True))  # no two windows overlap
    for place, hit in zip(_places(kernel, stride, g.shape[1:-1]), hits, strict=True):
        if apart:
            np.multiply(g, hit, out=full[place])
        else:
            full[place] += g * hit
    if not any(padding):
        return full
    return np.ascontiguousarray(full[_inside(padding, sizes)])


def _gather(
    v: Any, hits: Any, *, sizes: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes
) -> Any:
    places = _places(kernel, stride, hits.shape[2:-1])
    share = _share(hits, v.dtype)
    v = _padded(v, padding, 0.0)
    total = v[places[0]] * hits[0]
    for place, hit in zip(places[1:], hits[1:], strict=True):
        total += v[place] * hit
    return total if share is None else total * share


def _window_samples(rng: np.random.Generator) -> list[Any]:
    windows: list[tuple[Sizes, Sizes, Sizes, Sizes]] = [
        ((2, 6, 3), (2,), (2,), (0,)),
        ((2, 5, 4, 2), (2, 2), (2, 2), (0, 0)),
        ((1, 5, 5, 2), (3, 2), (2, 1), (1, 0)),
        ((1, 4, 4, 1), (1, 1), (3, 3), (0, 0)),
    ]
    return [
        case(rng.normal(size=shape), kernel=k, stride=s, padding=p) for shape, k, s, p in windows
    ]


def _picked_samples(of_input: bool) -> Callable[..., Any]:
    def samples(rng: np.random.Generator) -> list[Any]:
        cases = []
        for sample in _window_samples(rng):
            (x,), window = sample.args, sample.kwargs
            y = _max_pool(x, **window)
            shape = x.shape if of_input else y.shape
            hits = _hits(x, y, **window)
            cases.append(case(rng.normal(size=shape), hits, sizes=x.shape[1:-1], **window))
        return cases

    return samples


max_pool = explicit(
    "max_pool",
    _max_pool,
    vjps=(
        lambda g, ans, x, **window: max_pool_scatter(
            g, max_pool_hits(x, ans, **window), sizes=x.shape[1:-1], **window
        ),
    ),
    jvps=(
        lambda v, ans, x, **window: max_pool_gather(
            v, max_pool_hits(x, ans, **window), sizes=x.shape[1:-1], **window
        ),
    ),
    tangent="v at the maxima",
    formula="max of x over windows",
    partials=("1 at the maximum",),
    samples=_window_samples,
    kinks=[
        kink(
            np.array([[[1.0], [1.0], [0.0]]]),
            np.array([[[0.5], [0.5], [0.0]]]),
            "ties share the gradient",
            kernel=(3,),
            stride=(3,),
            padding=(0,),
        )
    ],
)
max_pool_hits = register(
    Primitive(
        "max_pool_hits",
        _hits,
        "explicit",
        nondifferentiable="where the maximum of each window is: a truth value",
        samples=lambda rng: [
            case(c.args[0], _max_pool(c.args[0], **c.kwargs), **c.kwargs)
            for c in _window_samples(rng)
        ],
    )
)
max_pool_scatter = multilinear(
    "max_pool_scatter",
    _scatter,
    lambda h, ans, g, hits, **window: max_pool_gather(h, hits, **window),
    None,
    formula="x0 put at the maximum of each window",
    partials=("the elements of g at the maxima",),
    samples=_picked_samples(of_input=False),
)
max_pool_gather = multilinear(
    "max_pool_gather",
    _gather,
    lambda g, ans, v, hits, **window: max_pool_scatter(g, hits, **window),
    None,
    formula="the element of x0 at the maximum of each window",
    partials=("g put at the maxima",),
    samples=_picked_samples(of_input=True),
)


# Average --------------------------------------------------------------------------------------


def _avg_pool(
    x: Any, *, kernel: Sizes, stride: Sizes, padding: Sizes, out: Any = None
) -> np.ndarray:
    outputs = _outputs(x.shape[1:-1], kernel, stride, padding)
    y = _padded(x, padding, 0.0)
    for axis, (k, s, n) in enumerate(zip(kernel, stride, outputs, strict=True), start=1):
        lead = (slice(None),) * axis
        total = y[(*lead, slice(0, s * (n - 1) + 1, s))]
        total = total.copy() if total.base is not None else total
        for i in range(1, k):
            total += y[(*lead, slice(i, i + s * (n - 1) + 1, s))]
        y = total
    return np.multiply(y, y.dtype.type(1 / math.prod(kernel)), out=y if out is None else out)


def _spread(g: Any, *, sizes: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes) -> Any:
    """Each element of g, divided by the window's size, at every position of its window."""
    share = g * g.dtype.type(1 / math.prod(kernel))
    padded = (n + 2 * p for n, p in zip(sizes, padding, strict=True))
    full = np.zeros((len(g), *padded, g.shape[-1]), g.dtype)
    for place in _places(kernel, stride, g.shape[1:-1]):
        full[place] += share
    if not any(padding):
        return full
    return np.ascontiguousarray(full[_inside(padding, sizes)])


def _spread_samples(rng: np.random.Generator) -> Sequence[Any]:
    return [
        case(
            rng.normal(size=_avg_pool(c.args[0], **c.kwargs).shape),
            sizes=c.args[0].shape[1:-1],
            **c.kwargs,
        )
        for c in _window_samples(rng)
    ]


# Zeros of the padding count.
avg_pool = linear(
    "avg_pool",
    _avg_pool,
    lambda g, ans, x, **window: spread_windows(g, sizes=x.shape[1:-1], **window),
    formula="mean of x over windows",
    partials=("1 / n",),
    samples=_window_samples,
)
spread_windows = linear(
    "spread_windows",
    _spread,
    lambda h, ans, g, *, sizes, **window: avg_pool(h, **window),
    formula="transpose of avg_pool",
    partials=("1 / n",),
    samples=_spread_samples,
)
