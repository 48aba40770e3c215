"""Statistics of order and correlation: median, quantiles, covariance; weighted ones too."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np

from nnad.autodiff.table import case, kink
from nnad.autodiff.tensor import value_of
from nnad.ops import elementwise as e
from nnad.ops import shape as s
from nnad.ops.arguments import as_array, axes_of, axis_of, composed, known, scalar, shape_of, store
from nnad.ops.averages import average
from nnad.ops.cumulative import cumsum
from nnad.ops.index import take_along_axis
from nnad.ops.joining import concatenate
from nnad.ops.ordering import argsort
from nnad.ops.reduce import Axis, count_nonzero, kept
from nnad.ops.reduce import sum as sum_

__all__ = [
    "corrcoef",
    "cov",
    "median",
    "nanmedian",
    "nanpercentile",
    "nanquantile",
    "percentile",
    "quantile",
]

# Quantiles ------------------------------------------------------------------------------------

# The parameters (alpha, beta) of Hyndman and Fan, "Sample quantiles in statistical packages",
# The American Statistician 50 (1996), for the methods that interpolate.
PLOTTING_POSITIONS = {
    "interpolated_inverted_cdf": (0, 1),
    "hazen": (0.5, 0.5),
    "weibull": (0, 0),
    "median_unbiased": (1 / 3.0, 1 / 3.0),
    "normal_unbiased": (3 / 8.0, 3 / 8.0),
}


def _discrete(place: Any) -> tuple[Any, Any]:
    return place, None


def _interpolated(h: Any) -> tuple[Any, Any]:
    below = e.floor(h)
    return below, h - below


def _midpoint(n: Any, q: Any) -> tuple[Any, Any]:
    below = e.floor((n - 1) * q)
    return below, e.where(e.equal(below, (n - 1) * q), 0.0, 0.5)


def _averaged_inverted_cdf(n: Any, q: Any) -> tuple[Any, Any]:
    below = e.floor(n * q - 1)
    return below, e.where(e.equal(below, n * q - 1), 0.5, 1.0)


def _closest_observation(n: Any, q: Any) -> tuple[Any, Any]:
    h = n * q - 1.5
    below = e.floor(h)
    at_odd = e.logical_and(e.equal(below, h), e.equal(e.remainder(below, 2), 1))
    return below + e.where(at_odd, 0, 1), None


# method -> f(n, q): the place below the quantile among n sorted numbers, and the weight of the next
METHODS: dict[str, Any] = {
    "linear": lambda n, q: _interpolated((n - 1) * q),
    "lower": lambda n, q: _discrete(e.floor((n - 1) * q)),
    "higher": lambda n, q: _discrete(e.ceil((n - 1) * q)),
    "nearest": lambda n, q: _discrete(e.rint((n - 1) * q)),
    "midpoint": _midpoint,
    "inverted_cdf": lambda n, q: _discrete(e.ceil(n * q - 1)),
    "averaged_inverted_cdf": _averaged_inverted_cdf,
    "closest_observation": _closest_observation,
    **{
        name: lambda n, q, a=alpha, b=beta: _interpolated(n * q + (a + q * (1 - a - b)) - 1)
        for name, (alpha, beta) in PLOTTING_POSITIONS.items()
    },
}


def _as_lines(x: Any, axis: Axis) -> Any:
    """`x` with the axes that are reduced as its one last axis."""
    axes = axes_of(axis, len(x.shape))
    rest = tuple(i for i in range(len(x.shape)) if i not in axes)
    shape = (*(x.shape[i] for i in rest), math.prod(x.shape[i] for i in axes))
    return s._reshape(s._transpose(x, axes=rest + axes), shape=shape)


def _places(place: Any, n: Any, lines: Any) -> Any:
    """Whole places 0 .. n-1 for every line."""
    inside = s.astype(e.maximum(e.minimum(place, n - 1), 0), np.intp)
    return s._broadcast_to(inside, shape=(*lines.shape[:-1], shape_of(inside)[-1]))


def _weighted_places(lines: Any, weights: Any, order: Any, q: Any, axis: Axis) -> Any:
    """The first places where the cumulated weight reaches the share q of all."""
    w = take_along_axis(s._broadcast_to(weights, shape=lines.shape), order, -1)
    cdf = cumsum(s.astype(w, np.float64), -1)
    cdf = s.astype(cdf / cdf[..., -1:], q.dtype)
    cdf = e.where(e.equal(cdf, 0), -1, cdf)
    below = e.less(cdf[..., None, :], q[..., None])
    return e.minimum(count_nonzero(below, axis=-1), lines.shape[-1] - 1)


def _weights_as_lines(weights: Any, a: Any, axis: Axis) -> Any:
    if shape_of(weights) == shape_of(a):
        return _as_lines(weights, axis)
    axes = axes_of(axis, len(shape_of(a)))
    if axis is None or shape_of(weights) != tuple(shape_of(a)[i] for i in axes):
        raise ValueError(
            f"weights of shape {shape_of(weights)} fit neither a of shape {shape_of(a)} nor its "
            f"axis {axis}"
        )
    return s.ravel(weights)


def _quantiles(
    a: Any, q: Any, axis: Axis, method: str, keepdims: bool, weights: Any, skip_nan: bool
) -> Any:
    """Quantiles `q` (any shape, which leads the result's) of the elements along `axis`."""
    if method not in METHODS:
        raise ValueError(f"quantile: method {method!r} is none of {', '.join(METHODS)}")
    if weights is not None and method != "inverted_cdf":
        raise ValueError(f'quantile: weights need method="inverted_cdf", got {method!r}')
    lines, level = _as_lines(a, axis), s._reshape(q, shape=(-1,))
    order = argsort(lines, -1, "stable")
    present = e.logical_not(e.isnan(lines))
    n: Any = lines.shape[-1]
    if skip_nan:
        n = s.astype(count_nonzero(present, axis=-1, keepdims=True), level.dtype)
    if weights is None:
        below, share = METHODS[method](n, level)
        low = _places(below, n, lines)
    else:
        w = _weights_as_lines(as_array(known(weights, "weights of quantiles")), a, axis)
        w = e.where(present, w, 0) if skip_nan else w
        low, share = _weighted_places(lines, w, order, level, axis), None
    y = take_along_axis(lines, take_along_axis(order, low, -1), -1)
    if share is not None:
        high = _places(below + 1, n, lines)
        y = y + share * (take_along_axis(lines, take_along_axis(order, high, -1), -1) - y)
    if lines.dtype.kind == "f":
        y = _nan_where_missing(y, lines, order, n, skip_nan)
    shape = kept(a, axis) if keepdims else tuple(lines.shape[:-1])
    return scalar(s._reshape(s.moveaxis(y, -1, 0), shape=shape_of(q) + shape))


def _nan_where_missing(y: Any, lines: Any, order: Any, n: Any, skip_nan: bool) -> Any:
    """NaN for lines that hold one, or, when those are skipped, that hold nothing else."""
    last = take_along_axis(lines, order[..., -1:], -1)
    missing = e.equal(n, 0) if skip_nan else e.isnan(last)
    return e.where(missing, last, y)


def _level(a: Any, q: Any, per: float = 1) -> Any:
    """`q` as an array in the range 0 to 1; a plain number takes the dtype of `a`."""
    if isinstance(q, (int, float)) and a.dtype.kind == "f":
        level = np.asarray(q, a.dtype)
    else:
        level = as_array(q)
        level = level if level.dtype.kind == "f" else s.astype(level, np.float64)
    level = level / a.dtype.type(per) if per != 1 and a.dtype.kind == "f" else level / per
    values = value_of(level)
    if not ((values >= 0) & (values <= 1)).all():
        name = "quantiles must be in the range [0, 1]" if per == 1 else "percentiles in [0, 100]"
        raise ValueError(f"{name}, got {values * per}")
    return level


def _samples(scale: float) -> Any:
    return lambda rng: [
        case(rng.normal(size=5), 0.4 * scale),
        case(rng.normal(size=(3, 4)), np.array([0.02, 0.31, 0.97]) * scale, axis=0),
        case(rng.normal(size=(2, 3, 2)), np.array([[0.21, 0.83]]) * scale, (0, 2), keepdims=True),
        *(case(rng.normal(size=7), 0.37 * scale, method=name) for name in METHODS),
        case(
            rng.normal(size=(2, 4)),
            0.6 * scale,
            axis=1,
            method="inverted_cdf",
            weights=np.array([1, 2, 0, 1]),
        ),
    ]


_TIES = [
    kink(
        (np.array([1.0, 1.0, 2.0]), 0.25),
        (np.array([0.5, 0.5, 0.0]), 0.0),
        "of equal elements the first ones in memory count as the smaller ones",
    )
]


@composed(
    np.quantile,
    formula="the value below which a share q of x lies",
    samples=_samples(1.0),
    kinks=_TIES,
)
def quantile(
    a: Any,
    q: Any,
    axis: Any = None,
    out: Any = None,
    overwrite_input: bool = False,
    method: str = "linear",
    keepdims: bool = False,
    *,
    weights: Any = None,
) -> Any:
    """Quantiles over axes, differentiable by `a` and `q`; see `numpy.quantile`."""
    x = as_array(a)
    y = _quantiles(x, _level(x, q), axis_of(axis), method, keepdims, weights, False)
    return store(y, out, "quantile")


@composed(
    np.percentile, formula="the value below which q percent of x lie", samples=_samples(100.0)
)
def percentile(
    a: Any,
    q: Any,
    axis: Any = None,
    out: Any = None,
    overwrite_input: bool = False,
    method: str = "linear",
    keepdims: bool = False,
    *,
    weights: Any = None,
) -> Any:
    """Percentiles over axes, differentiable by `a` and `q`; see `numpy.percentile`."""
    x = as_array(a)
    y = _quantiles(x, _level(x, q, 100), axis_of(axis), method, keepdims, weights, False)
    return store(y, out, "percentile")


def _nan_samples(scale: float) -> Any:
    def samples(rng: np.random.Generator) -> list[Any]:
        q = np.array([0.21, 0.83]) * scale
        return [*_samples(scale)(rng)[:2], case(rng.normal(size=(2, 3, 2)), q, (0, 2))]

    return samples


@composed(
    np.nanquantile,
    formula="the value below which a share q of x lies, ignoring NaN",
    samples=_nan_samples(1.0),
)
def nanquantile(
    a: Any,
    q: Any,
    axis: Any = None,
    out: Any = None,
    overwrite_input: bool = False,
    method: str = "linear",
    keepdims: bool = False,
    *,
    weights: Any = None,
) -> Any:
    """Quantiles over axes of what is not NaN; see `numpy.nanquantile`."""
    x = as_array(a)
    y = _quantiles(x, _level(x, q), axis_of(axis), method, keepdims, weights, True)
    return store(y, out, "nanquantile")


@composed(
    np.nanpercentile,
    formula="the value below which q percent of x lie, ignoring NaN",
    samples=_nan_samples(100.0),
)
def nanpercentile(
    a: Any,
    q: Any,
    axis: Any = None,
    out: Any = None,
    overwrite_input: bool = False,
    method: str = "linear",
    keepdims: bool = False,
    *,
    weights: Any = None,
) -> Any:
    """Percentiles over axes of what is not NaN; see `numpy.nanpercentile`."""
    x = as_array(a)
    y = _quantiles(x, _level(x, q, 100), axis_of(axis), method, keepdims, weights, True)
    return store(y, out, "nanpercentile")


def _median_samples(rng: np.random.Generator) -> list[Any]:
    return [
        case(rng.normal(size=5)),
        case(rng.normal(size=(4, 3)), axis=0),
        case(rng.normal(size=(2, 3, 4)), axis=(0, 2), keepdims=True),
    ]


@composed(
    np.median,
    formula="the middle of the sorted x",
    samples=_median_samples,
    kinks=[
        kink(
            np.array([1.0, 1.0, 0.0]),
            np.array([1.0, 0.0, 0.0]),
            "of equal elements the first ones in memory count as the smaller ones",
        )
    ],
)
def median(
    a: Any, axis: Any = None, out: Any = None, overwrite_input: bool = False, keepdims: bool = False
) -> Any:
    """Median over axes; see `numpy.median`."""
    x = as_array(a)
    y = _quantiles(x, _level(x, 0.5), axis_of(axis), "linear", keepdims, None, False)
    return store(y, out, "median")


@composed(np.nanmedian, formula="the middle of the sorted x, ignoring NaN", samples=_median_samples)
def nanmedian(
    a: Any, axis: Any = None, out: Any = None, overwrite_input: bool = False, keepdims: bool = False
) -> Any:
    """Median over axes of what is not NaN; see `numpy.nanmedian`."""
    x = as_array(a)
    y = _quantiles(x, _level(x, 0.5), axis_of(axis), "linear", keepdims, None, True)
    return store(y, out, "nanmedian")


# Covariance -----------------------------------------------------------------------------------


def _variables(m: Any, rowvar: bool, dtype: Any, lone_row: bool) -> Any:
    """`m` as a matrix with a variable a row."""
    x = as_array(m)
    if x.ndim > 2:
        raise ValueError(f"np.cov: expected at most 2 axes, got shape {x.shape}")
    x = s.astype(s._reshape(x, shape=(1, -1)) if x.ndim < 2 else x, dtype)
    return x if rowvar or lone_row else s._transpose(x)


def _sample_weights(fweights: Any, aweights: Any, n: int) -> Any:
    """The product of both kinds of weights, or None."""
    product: Any = None
    for name, weights in (("fweights", fweights), ("aweights", aweights)):
        if weights is None:
            continue
        w = as_array(weights)
        if tuple(w.shape) != (n,) or (value_of(w) < 0).any():
            raise ValueError(f"np.cov: {name} must be {n} numbers >= 0, got shape {w.shape}")
        product = w if product is None else product * w
    return product


@composed(
    np.cov,
    formula="covariance matrix of the rows of x",
    samples=lambda rng: [
        case(rng.normal(size=(3, 5))),
        case(rng.normal(size=6)),
        case(rng.normal(size=(5, 2)), rowvar=False, bias=True),
        case(rng.normal(size=(2, 4)), rng.normal(size=4), ddof=0),
        case(
            rng.normal(size=(2, 4)),
            None,
            fweights=np.array([1, 2, 1, 3]),
            aweights=rng.uniform(0.5, 1, 4),
        ),
    ],
)
def cov(
    m: Any,
    y: Any = None,
    rowvar: bool = True,
    bias: bool = False,
    ddof: int | None = None,
    fweights: Any = None,
    aweights: Any = None,
    *,
    dtype: Any = None,
) -> Any:
    """Covariance matrix; see `numpy.cov`."""
    if ddof is None:
        ddof = 0 if bias else 1
    given = [as_array(x) for x in (m, y) if x is not None]
    dtype = np.result_type(*(x.dtype for x in given), np.float64) if dtype is None else dtype
    x = _variables(m, rowvar, dtype, len(shape_of(m)) == 1)
    if y is not None:
        lone_row = len(shape_of(y)) < 2 or shape_of(y)[0] == 1
        x = concatenate([x, _variables(y, rowvar, dtype, lone_row)])
    w = _sample_weights(fweights, aweights, x.shape[1])
    if w is None:
        mean, total = average(x, 1), x.shape[1]
        freedom: Any = total - ddof
    else:
        mean, total = average(x, 1, w), sum_(w)
        spread = 1 if aweights is None else sum_(w * aweights) / total
        freedom = total - ddof * spread
    if not value_of(freedom) > 0:
        warnings.warn("Degrees of freedom <= 0 for slice", RuntimeWarning, stacklevel=2)
        freedom = 0.0
    x = x - mean[:, None]
    other = s._transpose(x if w is None else x * w)
    product = x @ (e.conj(other) if other.dtype.kind == "c" else other)
    return s.squeeze(product * e.divide(1.0, freedom))


@composed(
    np.corrcoef,
    formula="correlation matrix of the rows of x",
    samples=lambda rng: [
        case(rng.normal(size=(3, 5))),
        case(rng.normal(size=(5, 2)), rowvar=False),
        case(rng.normal(size=4), rng.normal(size=4)),
    ],
)
def corrcoef(x: Any, y: Any = None, rowvar: bool = True, *, dtype: Any = None) -> Any:
    """Matrix of Pearson's correlation coefficients; see `numpy.corrcoef`."""
    from nnad.ops.diagonals import diagonal
    from nnad.ops.selection import clip

    c = cov(x, y, rowvar, dtype=dtype)
    if len(shape_of(c)) == 0:
        return c / c
    scale = e.sqrt(e.real(diagonal(c)))
    c = c / scale[:, None] / scale[None, :]
    if c.dtype.kind == "c":
        return clip(e.real(c), -1, 1) + 1j * clip(e.imag(c), -1, 1)
    return clip(c, -1, 1)
