"""Fused operations of networks: one primitive where a chain of small ones would cost more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nnad.autodiff.table import add_up, case, explicit
from nnad.cores.team import matrix_product
from nnad.ops import linalg
from nnad.ops import reduce as r
from nnad.ops import shape as s

__all__ = [
    "linear",
]


def _linear_forward(x: Any, weight: Any, bias: Any, *, out: Any = None) -> Any:
    if x.ndim > 2:  # one large product instead of one per leading index
        shape = (*x.shape[:-1], weight.shape[-1])
        flat = None if out is None else out.reshape(-1, shape[-1])
        return _linear_forward(x.reshape(-1, x.shape[-1]), weight, bias, out=flat).reshape(shape)
    y = matrix_product(x, weight, out=out)
    if bias is not None:
        y += bias
    return y


def _linear_vjp_weight(g: Any, ans: Any, x: Any, weight: Any, bias: Any, *, out: Any = None) -> Any:
    if x.ndim > 2:
        x = s.reshape(x, (-1, x.shape[-1]))
        g = s.reshape(g, (-1, g.shape[-1]))
    elif x.ndim == 1:
        x, g = x[None], g[None]
    if out is not None:
        return matrix_product(x.T, g, out=out)
    return linalg.matmul(s._transpose(x), g)


def _linear_jvp(tangents: Sequence[Any], ans: Any, x: Any, weight: Any, bias: Any) -> Any:
    dx, dweight, dbias = tangents
    return add_up(
        part
        for part in (
            None if dx is None else linear(dx, weight, None),
            None if dweight is None else linear(x, dweight, None),
            dbias,
        )
        if part is not None
    )


# The affine map of a layer: x @ weight + bias in one pass; the bias may be None.
linear = explicit(
    "linear",
    _linear_forward,
    vjps=(
        lambda g, ans, x, weight, bias: linear(g, s._transpose(weight), None),
        _linear_vjp_weight,
        lambda g, ans, x, weight, bias: r._sum(g, axis=tuple(range(g.ndim - 1))),
    ),
    stored=1,
    affine=True,
    jvp=_linear_jvp,
    tangent="v0 @ x1 + x0 @ v1 + v2",
    formula="x0 @ x1 + x2",
    partials=("g @ x1.T", "x0.T @ g", "sum of g over rows"),
    samples=lambda rng: [
        case(rng.normal(size=shape), rng.normal(size=(3, 4)), rng.normal(size=(4,)))
        for shape in [(2, 3), (3,), (2, 5, 3)]
    ],
)
