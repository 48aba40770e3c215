"""Normalisations: to mean 0 and variance 1 over some axes, fused.

With x̂ = (x - mean) / sqrt(variance + eps) over the normalised axes, the gradient of all of them is

    dx = (h - mean(h) - x̂ mean(h x̂)) / sqrt(variance + eps),   h the gradient with respect to x̂,

which is h with its components along 1 and x̂ taken out (Ioffe and Szegedy 2015; Ba et al. 2016).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nnad.autodiff.table import case, effect, explicit
from nnad.ops.elementwise import sqrt, square
from nnad.ops.places import FRESH, filled
from nnad.ops.reduce import mean
from nnad.ops.reduce import sum as sum_over
from nnad.ops.reference import kernel, reference_jvp, with_reference

__all__ = [
    "batch_norm",
    "batch_norm_fixed",
    "layer_norm",
    "rms_norm",
    "standardize",
    "update_running_statistics",
]


def _row_means(x: np.ndarray, place: Any) -> np.ndarray:
    """The mean of each row of a matrix, as a column; a product with ones is the fastest sum."""
    n = x.shape[1]
    return place(np.matmul, x, filled(n, 1 / n, x.dtype))[:, None]


def _column_means(x: np.ndarray, place: Any) -> np.ndarray:
    return place(np.matmul, filled(len(x), 1 / len(x), x.dtype), x)


def _column_sums(x: np.ndarray, place: Any) -> np.ndarray:
    return place(np.matmul, filled(len(x), 1, x.dtype), x)


def _inverse_root(variance: np.ndarray, eps: float, place: Any) -> np.ndarray:
    """1 / sqrt(variance + eps)."""
    root = place(np.add, variance, variance.dtype.type(eps))
    np.sqrt(root, out=root)
    return np.divide(1, root, out=root)


# Layer norm -----------------------------------------------------------------------------------


def _layer_norm_reference(x: Any, weight: Any, bias: Any, *, eps: float) -> Any:
    centred = x - mean(x, axis=-1, keepdims=True)
    variance = mean(square(centred), axis=-1, keepdims=True)
    return centred / sqrt(variance + eps) * weight + bias


def _layer_norm(x: Any, weight: Any, bias: Any, *, eps: float, place: Any = FRESH) -> Any:
    rows = x.reshape(-1, x.shape[-1])
    normal = place(np.subtract, rows, _row_means(rows, place))
    rstd = _inverse_root(_row_means(place(np.square, normal), place), eps, place)
    normal *= rstd
    y = place(np.multiply, normal, weight)
    y += bias
    return y.reshape(x.shape), (normal, rstd)


def _layer_norm_gradient(g: Any, weight: Any, normal: Any, rstd: Any, *, place: Any = FRESH) -> Any:
    g = g.reshape(normal.shape)
    product = place(np.multiply, g, normal)
    dweight, dbias = _column_sums(product, place), _column_sums(g, place)
    dx = place(np.multiply, g, weight)
    along = _row_means(np.multiply(product, weight, out=product), place)
    dx -= _row_means(dx, place)
    dx -= np.multiply(normal, along, out=product)
    dx *= rstd
    return dx, dweight, dbias


_layer_norm_kernel = kernel("layer_norm_gradient", _layer_norm_gradient, outputs=3)


def _layer_norm_backward(
    g: Any, ans: Any, x: Any, weight: Any, bias: Any, *, eps: float, saved: Any
) -> tuple[Any, ...]:
    dx, dweight, dbias = _layer_norm_kernel(g, weight, *saved)
    return dx.reshape(x.shape), dweight, dbias


def _affine_samples(rng: np.random.Generator) -> list[Any]:
    return [
        case(rng.normal(size=shape), rng.normal(size=(4,)), rng.normal(size=(4,)), eps=1e-5)
        for shape in [(3, 4), (2, 3, 4), (4,)]
    ]


# x̂ * weight + bias, x̂ normalised over the last axis.
layer_norm = explicit(
    "layer_norm",
    _layer_norm,
    vjp=with_reference(_layer_norm_reference, _layer_norm_backward),
    jvp=reference_jvp(_layer_norm_reference),
    residuals=True,
    formula="(x0 - mean) / sqrt(variance + eps) * x1 + x2 over the last axis",
    partials=(
        "(h - mean(h) - n * mean(h * n)) / sqrt(variance + eps), h = g * x1, n = normalised x0",
        "sum of g * n over rows",
        "sum of g over rows",
    ),
    samples=_affine_samples,
)


# RMS norm -------------------------------------------------------------------------------------


def _rms_norm_reference(x: Any, weight: Any, *, eps: float) -> Any:
    return x / sqrt(mean(square(x), axis=-1, keepdims=True) + eps) * weight


def _rms_norm(x: Any, weight: Any, *, eps: float, place: Any = FRESH) -> Any:
    rows = x.reshape(-1, x.shape[-1])
    normal = place(np.square, rows)
    rstd = _inverse_root(_row_means(normal, place), eps, place)
    np.multiply(rows, rstd, out=normal)
    return place(np.multiply, normal, weight).reshape(x.shape), (normal, rstd)


def _rms_norm_gradient(g: Any, weight: Any, normal: Any, rstd: Any, *, place: Any = FRESH) -> Any:
    g = g.reshape(normal.shape)
    product = place(np.multiply, g, normal)
    dweight = _column_sums(product, place)
    along = _row_means(np.multiply(product, weight, out=product), place)
    dx = place(np.multiply, g, weight)
    dx -= np.multiply(normal, along, out=product)
    dx *= rstd
    return dx, dweight


_rms_norm_kernel = kernel("rms_norm_gradient", _rms_norm_gradient, outputs=2)


def _rms_norm_backward(
    g: Any, ans: Any, x: Any, weight: Any, *, eps: float, saved: Any
) -> tuple[Any, ...]:
    dx, dweight = _rms_norm_kernel(g, weight, *saved)
    return dx.reshape(x.shape), dweight


# x / root mean square of the last axis * weight (Zhang and Sennrich 2019).
rms_norm = explicit(
    "rms_norm",
    _rms_norm,
    vjp=with_reference(_rms_norm_reference, _rms_norm_backward),
    jvp=reference_jvp(_rms_norm_reference),
    residuals=True,
    formula="x0 / sqrt(mean(x0**2) + eps) * x1 over the last axis",
    partials=(
        "(h - n * mean(h * n)) / sqrt(mean(x0**2) + eps), h = g * x1, n = normalised x0",
        "sum of g * n over rows",
    ),
    samples=lambda rng: [case(*c.args[:2], **c.kwargs) for c in _affine_samples(rng)],
)


# Standardisation over any axes (group norm, instance norm) --------------------------------------


def _standardize_reference(x: Any, *, axis: Any, eps: float) -> Any:
    centred = x - mean(x, axis=axis, keepdims=True)
    return centred / sqrt(mean(square(centred), axis=axis, keepdims=True) + eps)


def _standardize(x: Any, *, axis: Any, eps: float, place: Any = FRESH) -> Any:
    y = place(np.subtract, x, place(np.mean, x, axis=axis, keepdims=True))
    variance = place(np.mean, place(np.square, y), axis=axis, keepdims=True)
    rstd = _inverse_root(variance, eps, place)
    y *= rstd
    return y, (rstd,)


def _standardize_gradient(g: Any, ans: Any, rstd: Any, *, axis: Any, place: Any = FRESH) -> Any:
    product = place(np.multiply, g, ans)
    along = place(np.mean, product, axis=axis, keepdims=True)
    dx = place(np.subtract, g, place(np.mean, g, axis=axis, keepdims=True))
    dx -= np.multiply(ans, along, out=product)
    dx *= rstd
    return dx


_standardize_kernel = kernel("standardize_gradient", _standardize_gradient)


def _standardize_backward(
    g: Any, ans: Any, x: Any, *, axis: Any, eps: float, saved: Any
) -> tuple[Any, ...]:
    return (_standardize_kernel(g, ans, *saved, axis=axis),)


# (x - mean) / sqrt(variance + eps) over the axes in `axis`.
standardize = explicit(
    "standardize",
    _standardize,
    vjp=with_reference(_standardize_reference, _standardize_backward),
    jvp=reference_jvp(_standardize_reference),
    residuals=True,
    formula="(x - mean) / sqrt(variance + eps) over axes",
    partials=("(g - mean(g) - y * mean(g * y)) / sqrt(variance + eps)",),
    samples=lambda rng: [
        case(rng.normal(size=(3, 4)), axis=(0,), eps=1e-5),
        case(rng.normal(size=(2, 5, 2, 3)), axis=(1, 3), eps=1e-3),
    ],
)


# Batch norm -----------------------------------------------------------------------------------


def _batch_norm_reference(x: Any, weight: Any, bias: Any, *, eps: float) -> Any:
    axes = tuple(range(x.ndim - 1))
    average = mean(x, axis=axes)
    centred = x - average
    variance = mean(square(centred), axis=axes)
    return centred / sqrt(variance + eps) * weight + bias, average, variance


def _batch_norm(x: Any, weight: Any, bias: Any, *, eps: float, place: Any = FRESH) -> Any:
    rows = x.reshape(-1, x.shape[-1])
    mean = _column_means(rows, place)
    normal = place(np.subtract, rows, mean)
    y = place(np.square, normal)
    variance = _column_means(y, place)
    rstd = _inverse_root(variance, eps, place)
    normal *= rstd
    np.multiply(normal, weight, out=y)
    y += bias
    return (y.reshape(x.shape), mean, variance), (normal, rstd)


def _batch_norm_gradient(
    g: Any, dmean: Any, dvariance: Any, weight: Any, n: Any, rstd: Any, *, place: Any = FRESH
) -> Any:
    g = g.reshape(n.shape)
    rows = len(n)
    product = place(np.multiply, g, n)
    dweight, dbias = _column_sums(product, place), _column_sums(g, place)
    scale = weight * rstd
    dx = place(np.multiply, g, scale)
    dx += (dmean - scale * dbias) / rows
    dx += np.multiply(n, (2 * dvariance / rstd - scale * dweight) / rows, out=product)
    return dx, dweight, dbias


_batch_norm_kernel = kernel("batch_norm_gradient", _batch_norm_gradient, outputs=3)


def _batch_norm_backward(
    g: Any, ans: Any, x: Any, weight: Any, bias: Any, *, eps: float, saved: Any
) -> tuple[Any, ...]:
    dx, dweight, dbias = _batch_norm_kernel(*g, weight, *saved)
    return dx.reshape(x.shape), dweight, dbias


# Normalised over all axes but the last; returns also the mean and the (biased) variance.
batch_norm = explicit(
    "batch_norm",
    _batch_norm,
    vjp=with_reference(_batch_norm_reference, _batch_norm_backward),
    jvp=reference_jvp(_batch_norm_reference),
    residuals=True,
    outputs=3,
    formula="(x0 - mean) / sqrt(variance + eps) * x1 + x2 over all axes but the last",
    partials=(
        "(h - mean(h) - n * mean(h * n)) / sqrt(variance + eps), h = g * x1, n = normalised x0",
        "sum of g * n over rows",
        "sum of g over rows",
    ),
    samples=lambda rng: [
        case(rng.normal(size=shape), rng.normal(size=(3,)), rng.normal(size=(3,)), eps=1e-5)
        for shape in [(5, 3), (2, 4, 3), (2, 2, 3, 3)]
    ],
)


def _rstd(variance: Any, eps: float) -> Any:
    return 1.0 / sqrt(variance + eps)


def _over_rows(x: Any) -> Any:
    """The sum over all axes but the last."""
    return sum_over(x, axis=tuple(range(x.ndim - 1)))


def _fixed_reference(
    x: Any, weight: Any, bias: Any, mean: Any, variance: Any, *, eps: float
) -> Any:
    return (x - mean) * (weight * _rstd(variance, eps)) + bias


def _batch_norm_fixed(
    x: Any, weight: Any, bias: Any, mean: Any, variance: Any, *, eps: float, out: Any = None
) -> Any:
    scale = weight / np.sqrt(variance + variance.dtype.type(eps))
    y = np.multiply(x, scale, out=out)
    y += bias - mean * scale
    return y


# Batch norm with given statistics: the evaluation mode.
batch_norm_fixed = explicit(
    "batch_norm_fixed",
    _batch_norm_fixed,
    vjps=(
        lambda g, ans, x, weight, bias, mean, variance, *, eps: g * (weight * _rstd(variance, eps)),
        lambda g, ans, x, weight, bias, mean, variance, *, eps: (
            _over_rows(g * (x - mean)) * _rstd(variance, eps)
        ),
        lambda g, ans, x, weight, bias, mean, variance, *, eps: _over_rows(g),
        lambda g, ans, x, weight, bias, mean, variance, *, eps: (
            _over_rows(g) * (weight * _rstd(variance, eps)) * -1.0
        ),
        lambda g, ans, x, weight, bias, mean, variance, *, eps: (
            _over_rows(g * (x - mean)) * weight * _rstd(variance, eps) ** 3 * -0.5
        ),
    ),
    jvp=reference_jvp(_fixed_reference),
    formula="(x0 - x3) / sqrt(x4 + eps) * x1 + x2",
    partials=(
        "g * x1 / sqrt(x4 + eps)",
        "sum of g * (x0 - x3) / sqrt(x4 + eps) over rows",
        "sum of g over rows",
        "-x1 / sqrt(x4 + eps) * sum of g over rows",
        "-x1 / 2 * (x4 + eps)**-1.5 * sum of g * (x0 - x3) over rows",
    ),
    samples=lambda rng: [
        case(
            rng.normal(size=shape),
            *(rng.normal(size=(3,)) for _ in range(3)),
            rng.uniform(0.5, 2, 3),
            eps=1e-5,
        )
        for shape in [(5, 3), (2, 4, 3)]
    ],
)


def _update_running_statistics(
    running_mean: Any, running_var: Any, mean: Any, variance: Any, *, momentum: float, count: int
) -> None:
    """Move both running statistics, in place, by `momentum` towards those of a batch of `count`."""
    running_mean += momentum * (mean - running_mean)
    running_var += momentum * (variance * (count / max(count - 1, 1)) - running_var)


update_running_statistics = effect("update_running_statistics", _update_running_statistics)
