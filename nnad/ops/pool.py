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
from nnad.errors import ShapeError
from nnad.ops.columns import output_sizes
from nnad.ops.places import FRESH

__all__ = [
    "avg_pool",
    "max_pool",
    "max_pool_gather",
    "max_pool_hits",
    "max_pool_scatter",
    "spread_windows",
]

Sizes = tuple[int, ...]


def _positions(kernel: Sizes, stride: Sizes, outputs: Sizes) -> list[tuple[Any, ...]]:
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


def _padded(x: np.ndarray, padding: Sizes, fill: float, place: Any) -> np.ndarray:
    if not any(padding):
        return x
    sizes = (n + 2 * p for n, p in zip(x.shape[1:-1], padding, strict=True))
    full = place(np.empty, (len(x), *sizes, x.shape[-1]), x.dtype)
    full[...] = fill
    full[_inside(padding, x.shape[1:-1])] = x
    return full


def _least(dtype: np.dtype[Any]) -> float:
    """What no element of this dtype is less than."""
    if dtype.kind in "iu":
        return int(np.iinfo(dtype).min)
    return False if dtype.kind == "b" else -np.inf


def _inside(padding: Sizes, sizes: Sizes) -> tuple[slice, ...]:
    return (slice(None), *(slice(p, p + n) for p, n in zip(padding, sizes, strict=True)))


# Maximum --------------------------------------------------------------------------------------


def _joined(
    join: np.ufunc, y: np.ndarray, kernel: Sizes, stride: Sizes, outputs: Sizes, place: Any
) -> np.ndarray:
    """Each window of `y` joined into one element, one axis after the other."""
    for axis, (k, s, n) in enumerate(zip(kernel, stride, outputs, strict=True), start=1):
        lead = (slice(None),) * axis
        parts = [y[(*lead, slice(i, i + s * (n - 1) + 1, s))] for i in range(k)]
        y = parts[0] if k == 1 else place(join, parts[0], parts[1])
        for part in parts[2:]:
            join(y, part, out=y)
    return y


def _max_pool(
    x: Any, *, kernel: Sizes, stride: Sizes, padding: Sizes, place: Any = FRESH
) -> np.ndarray:
    outputs = _outputs(x.shape[1:-1], kernel, stride, padding)
    padded = _padded(x, padding, _least(x.dtype), place)
    y = _joined(np.maximum, padded, kernel, stride, outputs, place)
    return place(np.positive, y) if math.prod(kernel) == 1 else y


def _hits(
    x: Any, y: Any, *, kernel: Sizes, stride: Sizes, padding: Sizes, place: Any = FRESH
) -> np.ndarray:
    """For each position in the window, where its element is the maximum: (positions, *y.shape)."""
    padded = _padded(x, padding, _least(x.dtype), place)
    positions = _positions(kernel, stride, y.shape[1:-1])
    hits = place(np.empty, (len(positions), *y.shape), bool)
    part = place(np.empty, y.shape, padded.dtype)
    if hits.size:
        pixels = _pixels(np.ascontiguousarray(padded))
        for position, hit in zip(positions, hits, strict=True):
            _pixels(part)[...] = pixels[position]
            np.equal(part, y, out=hit)
    return hits


def _pixels(x: np.ndarray) -> np.ndarray:
    """`x` with all channels of a position as one element: they are copied as one piece.

    Loops over windows whose innermost runs over a few channels cost several times more.
    """
    return x.view(np.dtype((np.void, x.shape[-1] * x.itemsize)))


def _over_ties(g: np.ndarray, hits: np.ndarray, place: Any) -> np.ndarray:
    """`g` over the number of tied elements of each window."""
    counted = np.min_scalar_type(len(hits))
    counts = place(np.add.reduce, hits.view(np.uint8), axis=0, dtype=counted)
    if counts.size == 0 or counts.max() <= 1:
        return g
    return np.divide(g, np.maximum(counts, 1, out=counts), dtype=g.dtype)


def _check_shape(got: Sizes, expected: Sizes) -> None:
    if got != expected:
        raise ShapeError(f"got shape {got}, expected {expected} for maxima of these windows")


def _spread_over(
    windows: Any, g: Any, sizes: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes, place: Any
) -> np.ndarray:
    """Zeros of `sizes`, to which `windows`, one for each position in the window, are added.

    Args:
        windows: factors of `g` by position; None: `g` itself at every position.
    """
    padded = tuple(n + 2 * p for n, p in zip(sizes, padding, strict=True))
    full = place(np.empty, (len(g), *padded, g.shape[-1]), g.dtype)
    positions = _positions(kernel, stride, g.shape[1:-1])
    apart = all(k <= s for k, s in zip(kernel, stride, strict=True))  # no two windows overlap
    covered = math.prod(kernel) * math.prod(g.shape[1:-1]) == math.prod(padded)
    if not (apart and covered and windows is not None):
        full[...] = 0
    part = g if windows is None else place(np.empty, g.shape, g.dtype)
    for i, position in enumerate(positions):
        if windows is not None:
            np.multiply(g, windows[i], out=part)
        if apart and part.size and windows is not None:
            _pixels(full)[position] = _pixels(part)
        else:
            full[position] += part
    return place(np.positive, full[_inside(padding, sizes)]) if any(padding) else full


def _scatter(
    g: Any,
    hits: Any,
    *,
    sizes: Sizes,
    kernel: Sizes,
    stride: Sizes,
    padding: Sizes,
    place: Any = FRESH,
) -> Any:
    _check_shape(g.shape, hits.shape[1:])
    g = _over_ties(g, hits, place)
    return _spread_over(hits, g, sizes, kernel, stride, padding, place)


def _gather(
    v: Any,
    hits: Any,
    *,
    sizes: Sizes,
    kernel: Sizes,
    stride: Sizes,
    padding: Sizes,
    place: Any = FRESH,
) -> Any:
    positions = _positions(kernel, stride, hits.shape[2:-1])
    _check_shape(v.shape, (hits.shape[1], *sizes, hits.shape[-1]))
    v = _padded(v, padding, 0.0, place)
    total = place(np.multiply, v[positions[0]], hits[0])
    part = place(np.empty, total.shape, total.dtype)
    for position, hit in zip(positions[1:], hits[1:], strict=True):
        total += np.multiply(v[position], hit, out=part)
    return _over_ties(total, hits, place)


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
    x: Any, *, kernel: Sizes, stride: Sizes, padding: Sizes, place: Any = FRESH
) -> np.ndarray:
    outputs = _outputs(x.shape[1:-1], kernel, stride, padding)
    y = _joined(np.add, _padded(x, padding, 0.0, place), kernel, stride, outputs, place)
    return place(np.multiply, y, y.dtype.type(1 / math.prod(kernel)))


def _spread(
    g: Any, *, sizes: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes, place: Any = FRESH
) -> Any:
    """Each element of g, divided by the window's size, at every position of its window."""
    share = place(np.multiply, g, g.dtype.type(1 / math.prod(kernel)))
    return _spread_over(None, share, sizes, kernel, stride, padding, place)


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
