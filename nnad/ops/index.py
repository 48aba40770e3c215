"""Selection: indexing of every kind, and assignment into an intermediate value."""

from __future__ import annotations

from typing import Any

import numpy as np

from nnad.autodiff.table import case, explicit, linear
from nnad.autodiff.tensor import Tensor, value_of
from nnad.autodiff.walk import unbroadcast

__all__ = [
    "getitem",
    "is_basic",
    "plain_key",
    "scatter",
    "set_item",
    "setitem",
]


def plain_key(key: Any) -> Any:
    """An index with Tensors in it replaced by their values."""
    if isinstance(key, tuple):
        return tuple(plain_key(k) for k in key)
    return value_of(key)


def is_basic(key: Any) -> bool:
    """Whether an index picks each element at most once as a view (no arrays, no lists)."""
    parts = key if isinstance(key, tuple) else (key,)
    return all(
        p is None
        or p is Ellipsis
        or (isinstance(p, (int, np.integer, slice)) and not isinstance(p, bool))
        for p in parts
    )


def _scatter(g: Any, *, key: Any, shape: tuple[int, ...]) -> Any:
    """Zeros of `shape` with `g` added at `key`; repeated indices add up."""
    full = np.zeros(shape, g.dtype)
    if is_basic(key):
        full[key] = g
    else:
        np.add.at(full, key, g)
    return full


getitem = linear(
    "getitem",
    lambda x, *, key: x[key],
    lambda g, ans, x, *, key: scatter(g, key=key, shape=x.shape),
    formula="x[key]",
    samples=lambda rng: [
        case(rng.normal(size=(3, 4)), key=1),
        case(rng.normal(size=(3, 4)), key=(slice(None, None, -1), 2)),
        case(rng.normal(size=(3, 4)), key=(Ellipsis, None)),
        case(rng.normal(size=(3, 4)), key=np.array([0, 2, 2])),
        case(rng.normal(size=(3, 4)), key=(np.array([0, 2, 2]), slice(1, 3))),
        case(rng.normal(size=(3,)), key=np.array([True, False, True])),
    ],
)
scatter = linear(
    "scatter",
    _scatter,
    lambda g, ans, x, *, key, shape: getitem(g, key=key),
    formula="zeros with x added at key",
    samples=lambda rng: [
        case(rng.normal(size=(3,)), key=np.array([0, 2, 2]), shape=(4,)),
        case(rng.normal(size=(2,)), key=slice(1, 3), shape=(4,)),
    ],
)


def _setitem(x: Any, value: Any, *, key: Any) -> Any:
    copy = np.array(x)
    copy[key] = value
    return copy


def _blank(g: Any, key: Any) -> Any:
    """`g` with zeros at `key`: what assignment leaves of the old value."""
    return setitem(g, np.zeros((), g.dtype), key=key)


setitem = explicit(
    "setitem",
    _setitem,
    vjps=(
        lambda g, ans, x, value, *, key: _blank(g, key),
        lambda g, ans, x, value, *, key: unbroadcast(
            getitem(g, key=key), np.shape(value_of(value))
        ),
    ),
    jvps=(
        lambda v, ans, x, value, *, key: _blank(v, key),
        lambda v, ans, x, value, *, key: setitem(np.zeros_like(value_of(ans)), v, key=key),
    ),
    formula="x with x[key] replaced by value",
    samples=lambda rng: [
        case(rng.normal(size=(3, 4)), rng.normal(size=(4,)), key=1),
        case(rng.normal(size=(3, 4)), rng.normal(size=(2,)), key=(slice(None), slice(0, 2))),
        case(rng.normal(size=(3,)), np.asarray(rng.normal()), key=np.array([0, 2])),
    ],
)


def set_item(self: Tensor, key: Any, value: Any) -> None:
    """`Tensor.__setitem__`: recorded on an intermediate value, refused on an input."""
    self.become(setitem(self, value, key=plain_key(key)), "x[i] = ...")
