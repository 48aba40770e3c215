"""Activation functions, under PyTorch's names, elementwise unless said otherwise.

`relu` and `tanh` are in `nnad.ops.elementwise`, softmax and log_softmax in `nnad.ops.fused`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nnad.autodiff.table import elementwise, kink
from nnad.ops.elementwise import absolute, exp, maximum, minimum, square, where
from nnad.ops.shape import astype

__all__ = [
    "celu",
    "elu",
    "glu",
    "hard_shrink",
    "hard_sigmoid",
    "hard_tanh",
    "hardshrink",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "leaky_relu",
    "log_sigmoid",
    "logsigmoid",
    "mish",
    "prelu",
    "relu6",
    "selu",
    "sigmoid",
    "silu",
    "soft_shrink",
    "softplus",
    "softshrink",
    "softsign",
]

SELU_SCALE = 1.0507009873554804934193349852946
SELU_ALPHA = 1.6732632423543772848170429916717


def _step(mask: Any, like: Any) -> Any:
    """A comparison as ones and zeros in the dtype of `like`."""
    return astype(mask, like.dtype)


# Sigmoid and its kin --------------------------------------------------------------------------


def _sigmoid(x: Any, *, out: Any = None) -> Any:
    """Clipped where exp would overflow; keeps relative precision for very negative x."""
    x = np.asarray(x)
    limit = 87.0 if x.dtype.itemsize == 4 else 11.0 if x.dtype.itemsize == 2 else 709.0
    y = np.maximum(x, -limit, out=out)
    if not isinstance(y, np.ndarray):
        return 1 / (1 + np.exp(-y))
    if y.dtype.kind != "f":
        y = y.astype(np.float64)
    np.negative(y, out=y)
    np.exp(y, out=y)
    y += 1
    return np.reciprocal(y, out=y)


sigmoid = elementwise(
    _sigmoid,
    lambda ans, x: ans * (1.0 - ans),
    name="sigmoid",
    formula="1 / (1 + exp(-x))",
    partials=("y * (1 - y)",),
)


def _log_sigmoid(x: Any, *, out: Any = None) -> Any:
    return np.negative(np.logaddexp(np.negative(x), 0), out=out)


log_sigmoid = elementwise(
    _log_sigmoid,
    lambda ans, x: sigmoid(-x),
    name="log_sigmoid",
    formula="log(1 / (1 + exp(-x)))",
    partials=("sigmoid(-x)",),
)
logsigmoid = log_sigmoid


def _silu(x: Any, *, out: Any = None) -> Any:
    return np.multiply(x, _sigmoid(x), out=out)


def _silu_slope(ans: Any, x: Any) -> Any:
    y = sigmoid(x)
    return y + ans * (1.0 - y)


silu = elementwise(
    _silu,
    _silu_slope,
    name="silu",
    formula="x * sigmoid(x)",
    partials=("sigmoid(x) + y * (1 - sigmoid(x))",),
)


def _softplus(x: Any, *, beta: float = 1.0, threshold: float = 20.0, out: Any = None) -> Any:
    scaled = np.multiply(x, beta)
    y = np.divide(np.logaddexp(scaled, 0), beta)
    y = np.where(scaled > threshold, x, y).astype(y.dtype, copy=False)
    return y[()] if out is None else _fill(out, y)


def _fill(out: Any, y: Any) -> Any:
    out[...] = y
    return out


def _softplus_slope(ans: Any, x: Any, *, beta: float = 1.0, threshold: float = 20.0) -> Any:
    scaled = x * beta
    return where(scaled > threshold, 1.0, sigmoid(scaled))


# Linear above the threshold, as in PyTorch.
softplus = elementwise(
    _softplus,
    _softplus_slope,
    name="softplus",
    formula="log(1 + exp(beta * x)) / beta",
    partials=("sigmoid(beta * x)",),
)


# With e = exp(x) and w = e (e + 2), tanh(softplus(x)) is w / (w + 2): one exponential in place of
# exp, log1p and tanh, which take many times as long. Beyond the limit it is 1 to the last bit.
MISH_LIMIT = 30.0


def _mish(x: Any, *, out: Any = None) -> Any:
    e = np.exp(np.minimum(_wide(x), MISH_LIMIT))
    w = e * (e + 2)
    share = w / (w + 2)
    return np.multiply(x, share.astype(x.dtype) if _is_half(x) else share, out=out)


def _mish_slope(ans: Any, x: Any) -> Any:
    e = exp(minimum(_wide(x), MISH_LIMIT))
    w = e * (e + 2.0)
    total = w + 2.0
    return (w + x * (4.0 * e * (e + 1.0) / total)) / total


def _wide(x: Any) -> Any:
    """float16 as float32, in which the square of an exponential does not overflow."""
    return astype(x, np.float32) if _is_half(x) else x


def _is_half(x: Any) -> bool:
    return getattr(x, "dtype", None) == np.float16


mish = elementwise(
    _mish,
    _mish_slope,
    name="mish",
    formula="x * tanh(softplus(x))",
    partials=("tanh(softplus(x)) + x * (1 - tanh(softplus(x))**2) * sigmoid(x)",),
)


def _softsign(x: Any, *, out: Any = None) -> Any:
    return np.divide(x, 1 + np.abs(x), out=out)


softsign = elementwise(
    _softsign,
    lambda ans, x: 1.0 / square(1.0 + absolute(x)),
    name="softsign",
    formula="x / (1 + |x|)",
    partials=("1 / (1 + |x|)**2",),
)


# Exponential linear units ---------------------------------------------------------------------


def _elu(x: Any, *, alpha: float = 1.0, out: Any = None) -> Any:
    below = alpha * np.expm1(np.minimum(x, 0))
    return np.add(np.maximum(x, 0), below, out=out)


def _elu_slope(ans: Any, x: Any, *, alpha: float = 1.0) -> Any:
    return where(x > 0, 1.0, alpha * exp(minimum(x, 0.0)))


elu = elementwise(
    _elu,
    _elu_slope,
    name="elu",
    formula="x if x > 0 else alpha * (exp(x) - 1)",
    partials=("1 if x > 0 else alpha * exp(x)",),
)


def selu(x: Any) -> Any:
    """1.0507 * elu(x, alpha=1.6733): keeps mean 0 and variance 1 (Klambauer et al. 2017).

    >>> selu(np.array([1.0]))
    array([1.05070099])
    """
    return elu(x, alpha=SELU_ALPHA) * SELU_SCALE


def _celu(x: Any, *, alpha: float = 1.0, out: Any = None) -> Any:
    below = alpha * np.expm1(np.minimum(x, 0) / alpha)
    return np.add(np.maximum(x, 0), below, out=out)


celu = elementwise(
    _celu,
    lambda ans, x, *, alpha=1.0: where(x > 0, 1.0, exp(minimum(x, 0.0) / alpha)),
    name="celu",
    formula="x if x > 0 else alpha * (exp(x / alpha) - 1)",
    partials=("1 if x > 0 else exp(x / alpha)",),
)


# Piecewise linear -----------------------------------------------------------------------------


def _leaky_relu(x: Any, *, negative_slope: float = 0.01, out: Any = None) -> Any:
    y = np.where(np.greater(x, 0), x, np.multiply(x, negative_slope))
    return y[()] if out is None else _fill(out, y)


def _leaky_relu_slope(ans: Any, x: Any, *, negative_slope: float = 0.01) -> Any:
    return _step(x > 0, x) * (1.0 - negative_slope) + negative_slope


leaky_relu = elementwise(
    _leaky_relu,
    _leaky_relu_slope,
    name="leaky_relu",
    formula="x if x > 0 else negative_slope * x",
    partials=("1 if x > 0 else negative_slope",),
    kinks=[kink(0.0, 0.01, "the left slope at 0")],
)


def prelu(x: Any, weight: Any) -> Any:
    """x if x > 0 else weight * x, the weight learned (He et al. 2015).

    Args:
        x: array.
        weight: broadcast against x: one number, or one per channel (the last axis).

    >>> prelu(np.array([-2.0, 2.0]), np.array([0.25]))
    array([-0.5,  2. ])
    """
    return maximum(x, 0.0) + weight * minimum(x, 0.0)


def _clip_kernel(low: float, high: float) -> Any:
    def forward(x: Any, *, out: Any = None) -> Any:
        return np.clip(x, low, high, out=out)

    return forward


relu6 = elementwise(
    _clip_kernel(0.0, 6.0),
    lambda ans, x: _step(x > 0, x) * _step(x < 6, x),
    name="relu6",
    formula="min(max(x, 0), 6)",
    partials=("1 if 0 < x < 6 else 0",),
    domain=(-2.0, 8.0),
    kinks=[kink(0.0, 0.0, "slope 0 at 0"), kink(6.0, 0.0, "slope 0 at 6")],
)


def _hard_tanh(x: Any, *, min_val: float = -1.0, max_val: float = 1.0, out: Any = None) -> Any:
    return np.clip(x, min_val, max_val, out=out)


hard_tanh = elementwise(
    _hard_tanh,
    lambda ans, x, *, min_val=-1.0, max_val=1.0: _step(x > min_val, x) * _step(x < max_val, x),
    name="hard_tanh",
    formula="min(max(x, min_val), max_val)",
    partials=("1 if min_val < x < max_val else 0",),
    kinks=[kink(1.0, 0.0, "slope 0 at the bounds"), kink(-1.0, 0.0, "slope 0 at the bounds")],
)
hardtanh = hard_tanh


def _hard_sigmoid(x: Any, *, out: Any = None) -> Any:
    return np.clip(np.multiply(x, 1 / 6) + 0.5, 0, 1, out=out)


hard_sigmoid = elementwise(
    _hard_sigmoid,
    lambda ans, x: _step(x > -3, x) * _step(x < 3, x) * (1 / 6),
    name="hard_sigmoid",
    formula="min(max(x / 6 + 1/2, 0), 1)",
    partials=("1/6 if -3 < x < 3 else 0",),
    domain=(-5.0, 5.0),
    kinks=[kink(3.0, 0.0, "slope 0 at the bounds"), kink(-3.0, 0.0, "slope 0 at the bounds")],
)
hardsigmoid = hard_sigmoid


def _hardswish(x: Any, *, out: Any = None) -> Any:
    return np.multiply(x, _hard_sigmoid(x), out=out)


hardswish = elementwise(
    _hardswish,
    lambda ans, x: hard_sigmoid(x) + x * (_step(x > -3, x) * _step(x < 3, x) * (1 / 6)),
    name="hardswish",
    formula="x * hard_sigmoid(x)",
    partials=("hard_sigmoid(x) + (x / 6 if -3 < x < 3 else 0)",),
    domain=(-5.0, 5.0),
    kinks=[kink(3.0, 1.0, "the slope outside"), kink(-3.0, 0.0, "the slope outside")],
)


def _hard_shrink(x: Any, *, lambd: float = 0.5, out: Any = None) -> Any:
    return np.multiply(x, np.abs(x) > lambd, out=out)


hard_shrink = elementwise(
    _hard_shrink,
    lambda ans, x, *, lambd=0.5: _step(absolute(x) > lambd, x),
    name="hard_shrink",
    formula="x if |x| > lambd else 0",
    partials=("1 if |x| > lambd else 0",),
    domain=(0.6, 2.0),
    kinks=[kink(0.5, 0.0, "slope 0 at the jump")],
)
hardshrink = hard_shrink


def _soft_shrink(x: Any, *, lambd: float = 0.5, out: Any = None) -> Any:
    return np.subtract(x, np.clip(x, -lambd, lambd), out=out)


soft_shrink = elementwise(
    _soft_shrink,
    lambda ans, x, *, lambd=0.5: _step(absolute(x) > lambd, x),
    name="soft_shrink",
    formula="sign(x) * max(|x| - lambd, 0)",
    partials=("1 if |x| > lambd else 0",),
    domain=(0.6, 2.0),
    kinks=[kink(0.5, 0.0, "slope 0 at the bound")],
)
softshrink = soft_shrink


# Gated ----------------------------------------------------------------------------------------


def glu(x: Any, axis: int = -1) -> Any:
    """a * sigmoid(b), a and b the two halves of x along `axis` (Dauphin et al. 2017).

    Raises:
        ValueError: if the axis is of odd length.

    >>> glu(np.array([2.0, 0.0]))
    array([1.])
    """
    size = x.shape[axis]
    if size % 2:
        raise ValueError(f"glu halves an axis of even length, got {size} (shape {x.shape})")
    lead = (slice(None),) * (axis % x.ndim)
    return x[(*lead, slice(size // 2))] * sigmoid(x[(*lead, slice(size // 2, None))])
