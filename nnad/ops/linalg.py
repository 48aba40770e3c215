"""Products and linear algebra, batched where NumPy is."""

from __future__ import annotations

from typing import Any

import numpy as np

from nnad.autodiff.table import case, multilinear
from nnad.ops import shape as s

__all__ = [
    "matmul",
]


def _matmul_vjp_0(g: Any, ans: Any, x: Any, y: Any) -> Any:
    if y.ndim == 1:
        return g[..., None] * y if x.ndim > 1 else g * y
    if x.ndim == 1:
        return matmul(y, g[..., None])[..., 0]
    return matmul(g, s.matrix_transpose(y))


def _matmul_vjp_1(g: Any, ans: Any, x: Any, y: Any) -> Any:
    if x.ndim == 1:
        return x[:, None] * g[..., None, :] if y.ndim > 1 else g * x
    if y.ndim == 1:
        return matmul(s.matrix_transpose(x), g[..., None])[..., 0]
    return matmul(s.matrix_transpose(x), g)


matmul = multilinear(
    "matmul",
    np.matmul,
    _matmul_vjp_0,
    _matmul_vjp_1,
    broadcasts=True,
    implements=np.matmul,
    formula="x0 @ x1",
    partials=("g @ x1.T", "x0.T @ g"),
    samples=lambda rng: [
        case(rng.normal(size=a), rng.normal(size=b))
        for a, b in [
            ((2, 3), (3, 4)),
            ((3,), (3,)),
            ((3,), (3, 2)),
            ((2, 3), (3,)),
            ((5, 2, 3), (3, 4)),
            ((2, 1, 2, 3), (4, 3, 2)),
            ((3,), (4, 3, 2)),
            ((4, 2, 3), (3,)),
        ]
    ],
)
