"""Reductions: sums, means, extremes and their relatives, over any axes."""

from __future__ import annotations

from typing import Any

import numpy as np

from nnad.autodiff.table import case, explicit, implements, kink, linear
from nnad.autodiff.tensor import value_of
from nnad.ops import elementwise as e
from nnad.ops import shape as s

__all__ = [
    "count",
    "expand",
    "kept",
    "max",
    "mean",
    "min",
    "sum",
]

Axis = int | tuple[int, ...] | None


def kept(x: Any, axis: Axis) -> tuple[int, ...]:
    """The shape of `x` with the axes in `axis` kept as ones."""
    shape = np.shape(value_of(x))
    if axis is None:
        return (1,) * len(shape)
    axes = {a % len(shape) for a in (axis if isinstance(axis, tuple) else (axis,))}
    return tuple(1 if i in axes else n for i, n in enumerate(shape))


def expand(r: Any, x: Any, axis: Axis) -> Any:
    """A reduced array `r` with its axes back as ones, so that it broadcasts against `x`."""
    shape = kept(x, axis)
    return r if np.shape(value_of(r)) == shape else s._reshape(r, shape=shape)


def count(x: Any, axis: Axis) -> int:
    """How many elements of `x` go into one element of the reduction."""
    shape = np.shape(value_of(x))
    if axis is None:
        return int(np.prod(shape))
    return int(np.prod([shape[a] for a in (axis if isinstance(axis, tuple) else (axis,))]))


def _samples(rng: np.random.Generator) -> list[Any]:
    return [
        case(rng.normal(size=(2, 3))),
        case(rng.normal(size=(2, 3)), axis=0),
        case(rng.normal(size=(2, 3, 4)), axis=(0, -1), keepdims=True),
        case(rng.normal(size=(3,)), axis=-1),
    ]


_sum = linear(
    "sum",
    lambda x, *, axis=None, keepdims=False: np.add.reduce(x, axis=axis, keepdims=keepdims),
    lambda g, ans, x, *, axis=None, keepdims=False: s._broadcast_to(
        expand(g, x, axis), shape=x.shape
    ),
    formula="sum of x over axes",
    partials=("1",),
    samples=_samples,
)


@implements(np.sum)
def sum(
    x: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: bool = False
) -> Any:
    """Sum over axes; see `numpy.sum`."""
    if dtype is not None:
        x = s.astype(x, dtype)
    return _sum(x, axis=_axes(axis), keepdims=keepdims)


def _axes(axis: Any) -> Axis:
    return tuple(axis) if isinstance(axis, list) else axis


_mean = linear(
    "mean",
    lambda x, *, axis=None, keepdims=False: np.mean(x, axis=axis, keepdims=keepdims),
    lambda g, ans, x, *, axis=None, keepdims=False: s._broadcast_to(
        expand(g * (1.0 / count(x, axis)), x, axis), shape=x.shape
    ),
    formula="mean of x over axes",
    partials=("1 / n",),
    samples=_samples,
)


@implements(np.mean)
def mean(
    x: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: bool = False
) -> Any:
    """Mean over axes; see `numpy.mean`."""
    if dtype is not None:
        x = s.astype(x, dtype)
    return _mean(x, axis=_axes(axis), keepdims=keepdims)


def _share_of_ties(ans: Any, x: Any, axis: Axis) -> Any:
    """1 at the extreme elements, divided by how many of them tie."""
    hits = s.astype(e.equal(x, expand(ans, x, axis)), value_of(x).dtype)
    return hits / _sum(hits, axis=axis, keepdims=True)


def _extreme(name: str, forward: Any) -> Any:
    return explicit(
        name,
        lambda x, *, axis=None, keepdims=False: forward(x, axis=axis, keepdims=keepdims),
        vjps=(
            lambda g, ans, x, *, axis=None, keepdims=False: (
                expand(g, x, axis) * _share_of_ties(ans, x, axis)
            ),
        ),
        jvps=(
            lambda v, ans, x, *, axis=None, keepdims=False: _sum(
                v * _share_of_ties(ans, x, axis), axis=axis, keepdims=keepdims
            ),
        ),
        formula=f"{name} of x over axes",
        partials=("1 / number of ties where x = y, else 0",),
        samples=_samples,
        kinks=[
            kink(
                np.array([1.0, 1.0, 0.0] if name == "max" else [1.0, 1.0, 2.0]),
                np.array([0.5, 0.5, 0.0]),
                "ties share the gradient",
            )
        ],
    )


_max = _extreme("max", np.max)
_min = _extreme("min", np.min)


@implements(np.max)
def max(x: Any, axis: Any = None, out: Any = None, keepdims: bool = False) -> Any:
    """Maximum over axes; ties share the gradient."""
    return _max(x, axis=_axes(axis), keepdims=keepdims)


@implements(np.min)
def min(x: Any, axis: Any = None, out: Any = None, keepdims: bool = False) -> Any:
    """Minimum over axes; ties share the gradient."""
    return _min(x, axis=_axes(axis), keepdims=keepdims)
