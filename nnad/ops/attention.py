"""Scaled dot-product attention over several heads, fused, and rotary positions.

For each head, with queries Q, keys K and values V as rows:

    P = softmax(scale Q Kᵀ + mask),   O = P V
    dV = Pᵀ dO,   dP = dO Vᵀ,   dS = P (dP - rowsum(dO O)),   dQ = scale dS K,   dK = scale dSᵀ Q

(Vaswani et al. 2017; the row sum as in Dao et al. 2022.)  Heads are views of the arrays (batch,
time, features), so nothing is copied to split or to merge them.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from nnad.autodiff.table import case, explicit, linear
from nnad.autodiff.tensor import is_recorded
from nnad.errors import ShapeError
from nnad.ops import linalg, special
from nnad.ops.elementwise import where
from nnad.ops.places import FRESH, filled
from nnad.ops.reference import kernel, reference_jvp, with_reference
from nnad.ops.shape import reshape, transpose

__all__ = ["attention", "rotary", "rotary_angles", "self_attention"]

# Keyword arguments of both operations: heads of the queries, heads of keys and values (each shared
# by heads / kv_heads of the queries), whether position t sees only positions up to t.


def _split(x: Any, heads: int, kv_heads: int, is_query: bool) -> Any:
    """(batch, time, features) as (batch, kv_heads, queries per kv head or 1, time, head size)."""
    batch, time, features = x.shape
    count = heads if is_query else kv_heads
    parts = reshape(x, (batch, time, kv_heads, count // kv_heads, features // count))
    return transpose(parts, (0, 2, 3, 1, 4))


def _views(x: np.ndarray, heads: int, kv_heads: int, is_query: bool) -> np.ndarray:
    batch, time, features = x.shape
    count = heads if is_query else kv_heads
    parts = x.reshape(batch, time, kv_heads, count // kv_heads, features // count)
    return parts.transpose(0, 2, 3, 1, 4)


@functools.lru_cache(maxsize=32)
def _causal(queries: int, keys: int) -> np.ndarray:
    """True where a query sees a key; the last query sees all."""
    return np.tri(queries, keys, keys - queries, dtype=bool)


@functools.lru_cache(maxsize=32)
def _future(queries: int, keys: int) -> np.ndarray:
    """True where a query does not see a key."""
    return ~_causal(queries, keys)


def _broadcast_mask(mask: Any, shape: tuple[int, ...]) -> Any:
    """A mask (query, key), (batch, query, key) or (batch, head, query, key) beside the scores."""
    batch, kv_heads, group, queries, keys = shape
    if mask.ndim == 3:
        mask = mask[:, None]  # a Tensor too
    wanted = (batch, kv_heads * group, queries, keys)
    try:
        full = np.broadcast_shapes(mask.shape, wanted)
    except ValueError:
        full = ()
    if full != wanted or mask.ndim > 4:
        raise ShapeError(
            f"got a mask of shape {mask.shape}, expected (query, key), (batch, query, key) or "
            f"(batch, head, query, key) with {queries} queries and {keys} keys"
        )
    if mask.ndim == 4 and mask.shape[1] != 1:
        return reshape(mask, (mask.shape[0], kv_heads, group, *mask.shape[2:]))
    return mask[:, :, None] if mask.ndim == 4 else mask


def _probabilities(scores: np.ndarray, mask: Any, causal: bool, place: Any) -> np.ndarray:
    """Softmax of the masked scores over the keys, in place."""
    if causal:
        np.copyto(scores, -np.inf, where=_future(*scores.shape[-2:]))
    if mask is not None:
        mask = _broadcast_mask(mask, scores.shape)
        if mask.dtype == bool:
            np.copyto(scores, -np.inf, where=place(np.logical_not, mask))
        else:
            scores += mask.astype(scores.dtype, copy=False)
    if scores.shape[-1] == 0:
        raise ShapeError("attention over a sequence of length 0; give it one key or more")
    top = place(np.maximum.reduce, scores, axis=-1, keepdims=True)
    if (causal or mask is not None) and np.fmin.reduce(top, axis=None, initial=0) == -np.inf:
        raise ShapeError(
            "a query may attend to no key: its row of the mask is empty; allow it one key or more "
            "(for padding, let padded queries attend to themselves)"
        )
    scores -= top
    np.exp(scores, out=scores)
    ones = filled(scores.shape[-1], 1, scores.dtype)
    scores /= place(np.matmul, scores.reshape(-1, len(ones)), ones).reshape(top.shape)
    return scores


def _attend(
    q: Any,
    k: Any,
    v: Any,
    mask: Any,
    drop: Any,
    heads: int,
    kv_heads: int,
    causal: bool,
    place: Any,
) -> tuple[np.ndarray, np.ndarray]:
    """The output (batch, time, features) and the probabilities."""
    head_size = q.shape[-1] // heads
    scaled = place(np.multiply, q, q.dtype.type(1 / math.sqrt(head_size)))
    queries = _views(scaled, heads, kv_heads, True)
    keys, values = _views(k, heads, kv_heads, False), _views(v, heads, kv_heads, False)
    p = _probabilities(place(np.matmul, queries, keys.swapaxes(-1, -2)), mask, causal, place)
    y = place(np.empty, (*q.shape[:2], heads * values.shape[-1]), q.dtype)
    used = p if drop is None else place(np.multiply, p, drop.reshape(p.shape))
    np.matmul(used, values, out=_views(y, heads, kv_heads, True))
    return y, p


def _attend_backward(
    g: Any,
    y: Any,
    q: Any,
    k: Any,
    v: Any,
    p: Any,
    drop: Any,
    heads: int,
    kv_heads: int,
    into: Any,
    place: Any,
) -> None:
    """Write the gradients of q, k and v into the three arrays `into`."""
    scale = q.dtype.type(1 / math.sqrt(q.shape[-1] // heads))
    gs, ys = _views(g, heads, kv_heads, True), _views(y, heads, kv_heads, True)
    queries = _views(q, heads, kv_heads, True)
    keys, values = _views(k, heads, kv_heads, False), _views(v, heads, kv_heads, False)
    dq, dk, dv = into
    drop = None if drop is None else drop.reshape(p.shape)
    used = p if drop is None else place(np.multiply, p, drop)
    _product_over_group(used, gs, _views(dv, heads, kv_heads, False), place)
    ds = place(np.matmul, gs, values.swapaxes(-1, -2))
    if drop is not None:
        ds *= drop
    ds -= place(np.einsum, "...d,...d->...", gs, ys)[..., None]
    ds *= p
    ds *= scale
    np.matmul(ds, keys, out=_views(dq, heads, kv_heads, True))
    _product_over_group(ds, queries, _views(dk, heads, kv_heads, False), place)


def _product_over_group(left: np.ndarray, right: np.ndarray, out: np.ndarray, place: Any) -> None:
    """leftᵀ @ right, summed over the queries that share a head of keys and values, into `out`."""
    if left.shape[2] == 1:
        np.matmul(left.swapaxes(-1, -2), right, out=out)
    else:
        products = place(np.matmul, left.swapaxes(-1, -2), right)
        np.add.reduce(products, axis=2, keepdims=True, out=out)


# Separate queries, keys and values --------------------------------------------------------------


def _reference(
    q: Any, k: Any, v: Any, mask: Any, drop: Any, *, heads: int, kv_heads: int, causal: bool
) -> Any:
    queries = _split(q, heads, kv_heads, True) * (1 / math.sqrt(q.shape[-1] // heads))
    keys, values = _split(k, heads, kv_heads, False), _split(v, heads, kv_heads, False)
    scores = linalg.matmul(queries, transpose(keys, (0, 1, 2, 4, 3)))
    if mask is not None:
        allowed = _broadcast_mask(mask, scores.shape)
        scores = where(allowed, scores, -np.inf) if mask.dtype == bool else scores + allowed
    if causal:
        scores = where(_causal(*scores.shape[-2:]), scores, -np.inf)
    p = special.softmax(scores, axis=-1)
    if drop is not None:
        p = p * reshape(drop, p.shape)
    y = transpose(linalg.matmul(p, values), (0, 3, 1, 2, 4))
    return reshape(y, (*q.shape[:2], heads * values.shape[-1]))


def _attention(
    q: Any,
    k: Any,
    v: Any,
    mask: Any,
    drop: Any,
    *,
    heads: int,
    kv_heads: int,
    causal: bool,
    place: Any = FRESH,
) -> Any:
    y, p = _attend(q, k, v, mask, drop, heads, kv_heads, causal, place)
    return y, (p,)


def _gradients(
    g: Any,
    y: Any,
    q: Any,
    k: Any,
    v: Any,
    drop: Any,
    p: Any,
    *,
    heads: int,
    kv_heads: int,
    place: Any = FRESH,
) -> Any:
    into = tuple(place(np.empty, x.shape, g.dtype) for x in (q, k, v))
    _attend_backward(g, y, q, k, v, p, drop, heads, kv_heads, into, place)
    return into


_gradients_kernel = kernel("attention_gradient", _gradients, outputs=3)


def _backward(
    g: Any, ans: Any, q: Any, k: Any, v: Any, mask: Any, drop: Any, *, saved: Any, **options: Any
) -> tuple[Any, ...]:
    counts = {name: options[name] for name in ("heads", "kv_heads")}
    return (*_gradients_kernel(g, ans, q, k, v, drop, *saved, **counts), None, None)


def _samples(rng: np.random.Generator) -> list[Any]:
    def arrays(heads: int, kv_heads: int, queries: int, keys: int) -> tuple[Any, ...]:
        sizes = ((queries, heads), (keys, kv_heads), (keys, kv_heads))
        return tuple(rng.normal(size=(2, time, 3 * count)) for time, count in sizes)

    drop = rng.integers(0, 3, (2, 2, 3, 4), dtype=np.int8)
    allowed = np.array([[True, False, True, True], [True] * 4, [False, False, True, False]])
    per_head = np.ones((2, 2, 3, 3), bool)
    per_head[:, 1, :, 2] = False
    return [
        case(*arrays(2, 2, 3, 4), None, None, heads=2, kv_heads=2, causal=False),
        case(*arrays(2, 2, 3, 4), allowed, drop, heads=2, kv_heads=2, causal=False),
        case(*arrays(2, 1, 3, 3), per_head, None, heads=2, kv_heads=1, causal=True),
    ]


_attention_entry = explicit(
    "attention",
    _attention,
    vjp=with_reference(_reference, _backward),
    jvp=reference_jvp(_reference),
    residuals=True,
    differentiable=(True, True, True, False, False),
    formula="softmax(x0 @ x1.T / sqrt(d) + mask) @ x2 for each head",
    partials=(
        "D @ x1 / sqrt(d), P = the softmax, D = P * (g @ x2.T - sum(P * (g @ x2.T)))",
        "D.T @ x0 / sqrt(d)",
        "P.T @ g",
    ),
    samples=_samples,
)


def attention(
    q: Any,
    k: Any,
    v: Any,
    mask: Any = None,
    drop: Any = None,
    *,
    heads: int,
    kv_heads: int | None = None,
    causal: bool = False,
) -> Any:
    """softmax(q kᵀ / sqrt(d) + mask) v for each head.

    Args:
        q: (batch, queries, heads * d).
        k, v: (batch, keys, kv_heads * d).
        mask: (queries, keys), (batch, queries, keys) or (batch, heads, queries, keys): True where
            attention is allowed, or numbers to add to the scores (these may be recorded).
        drop: (batch, heads, queries, keys) to multiply the probabilities by.
        heads, kv_heads: each head of keys and values serves heads / kv_heads heads of queries.
        causal: query t sees keys up to t only, counted from the end where there are more keys.

    Returns:
        (batch, queries, heads * d).

    Raises:
        ShapeError: if shapes do not fit, or a query may attend to no key.
    """
    counts: dict[str, Any] = {
        "heads": heads,
        "kv_heads": kv_heads or heads,
        "causal": causal,
    }
    if is_recorded(mask) or is_recorded(drop):
        return _reference(q, k, v, mask, drop, **counts)
    return _attention_entry(q, k, v, mask, drop, **counts)


# Queries, keys and values side by side in one array -----------------------------------------------


def _parts(qkv: Any, heads: int, kv_heads: int) -> tuple[Any, Any, Any]:
    size = qkv.shape[-1] // (heads + 2 * kv_heads)
    first, second = heads * size, (heads + kv_heads) * size
    return qkv[..., :first], qkv[..., first:second], qkv[..., second:]


def _self_reference(
    qkv: Any, mask: Any, drop: Any, *, heads: int, kv_heads: int, causal: bool
) -> Any:
    q, k, v = _parts(qkv, heads, kv_heads)
    return _reference(q, k, v, mask, drop, heads=heads, kv_heads=kv_heads, causal=causal)


def _self_attention(
    qkv: Any,
    mask: Any,
    drop: Any,
    *,
    heads: int,
    kv_heads: int,
    causal: bool,
    place: Any = FRESH,
) -> Any:
    q, k, v = _parts(qkv, heads, kv_heads)
    y, p = _attend(q, k, v, mask, drop, heads, kv_heads, causal, place)
    return y, (p,)


def _self_gradient(
    g: Any,
    y: Any,
    qkv: Any,
    drop: Any,
    p: Any,
    *,
    heads: int,
    kv_heads: int,
    place: Any = FRESH,
) -> Any:
    dqkv = place(np.empty, qkv.shape, g.dtype)
    into = _parts(dqkv, heads, kv_heads)
    _attend_backward(g, y, *_parts(qkv, heads, kv_heads), p, drop, heads, kv_heads, into, place)
    return dqkv


_self_gradient_kernel = kernel("self_attention_gradient", _self_gradient)


def _self_backward(
    g: Any, ans: Any, qkv: Any, mask: Any, drop: Any, *, saved: Any, **options: Any
) -> tuple[Any, ...]:
    counts = {name: options[name] for name in ("heads", "kv_heads")}
    return _self_gradient_kernel(g, ans, qkv, drop, *saved, **counts), None, None


_self_attention_entry = explicit(
    "self_attention",
    _self_attention,
    vjp=with_reference(_self_reference, _self_backward),
    jvp=reference_jvp(_self_reference),
    residuals=True,
    differentiable=(True, False, False),
    formula="attention(q, k, v) of x0 = [q, k, v]",
    partials=("the three gradients side by side",),
    samples=lambda rng: [
        case(rng.normal(size=(2, 3, 12)), None, None, heads=2, kv_heads=2, causal=True),
        case(
            rng.normal(size=(2, 3, 8)),
            rng.normal(size=(2, 3, 3)) > -1,
            rng.integers(0, 3, (2, 2, 3, 3), dtype=np.int8),
            heads=2,
            kv_heads=1,
            causal=False,
        ),
    ],
)


def self_attention(
    qkv: Any,
    mask: Any = None,
    drop: Any = None,
    *,
    heads: int,
    kv_heads: int | None = None,
    causal: bool = False,
) -> Any:
    """`attention` of queries, keys and values that lie side by side in one array.

    Args:
        qkv: (batch, time, (heads + 2 kv_heads) * d).

    The other arguments are those of `attention`.
    """
    counts: dict[str, Any] = {
        "heads": heads,
        "kv_heads": kv_heads or heads,
        "causal": causal,
    }
    if is_recorded(mask) or is_recorded(drop):
        return _self_reference(qkv, mask, drop, **counts)
    return _self_attention_entry(qkv, mask, drop, **counts)


# Rotary positions -------------------------------------------------------------------------------


def rotary_angles(time: int, head_size: int, base: float = 10000.0) -> np.ndarray:
    """Angle t base^(-2 i / head_size) of pair i at position t: (time, head_size / 2)."""
    frequencies = base ** (-np.arange(0, head_size, 2) / head_size)
    return np.arange(time)[:, None] * frequencies


@functools.lru_cache(maxsize=8)
def _turn(time: int, head_size: int, base: float, dtype: np.dtype) -> tuple[Any, Any]:
    """Cosines and sines of the angles, with an axis for the heads."""
    angles = rotary_angles(time, head_size, base)[:, None]
    return np.cos(angles).astype(dtype), np.sin(angles).astype(dtype)


def _rotary(
    x: Any, *, head_size: int, rotated: int, base: float, back: bool = False, place: Any = FRESH
) -> Any:
    batch, time, _ = x.shape
    cosine, sine = _turn(time, head_size, base, x.dtype)
    if back:
        sine = -sine
    y = place(np.empty, x.shape, x.dtype)
    y[..., rotated:] = x[..., rotated:]
    pairs = (batch, time, rotated // head_size, 2, head_size // 2)
    source = x[..., :rotated].reshape(pairs)
    first, second = source[..., 0, :], source[..., 1, :]
    turned = place(np.empty, pairs, x.dtype)
    _turned(np.subtract, first, second, cosine, sine, turned[..., 0, :], place)
    _turned(np.add, second, first, cosine, sine, turned[..., 1, :], place)
    y[..., :rotated] = turned.reshape(batch, time, rotated)
    return y


def _turned(
    join: Any, own: Any, other: Any, cosine: Any, sine: Any, out: np.ndarray, place: Any
) -> None:
    """own cos ± other sin."""
    join(place(np.multiply, own, cosine), place(np.multiply, other, sine), out=out)


# Features i and i + head_size / 2 of the heads among the first `rotated` features turned by an
# angle that grows with time.  A rotation: its transpose turns back.
rotary = linear(
    "rotary",
    _rotary,
    lambda g, ans, x, *, back=False, **turn: rotary(g, back=not back, **turn),
    formula="pairs of features of x turned by angles that grow with time",
    partials=("g turned back",),
    samples=lambda rng: [
        case(rng.normal(size=(2, 3, 10)), head_size=4, rotated=8, base=100.0),
        case(rng.normal(size=(1, 2, 4)), head_size=2, rotated=4, base=10.0, back=True),
    ],
)
