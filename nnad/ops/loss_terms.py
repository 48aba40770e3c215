"""What losses are made of: elementwise terms, and the entry of each row at its class."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from nnad.autodiff.table import case, elementwise, kink, linear
from nnad.autodiff.tensor import value_of
from nnad.errors import ClassRangeError
from nnad.ops.activations import sigmoid
from nnad.ops.elementwise import maximum, minimum, tanh

__all__ = [
    "huber_error",
    "log_cosh_error",
    "logistic_loss",
    "pick_class",
    "place_class",
    "squared_error",
]


def _squared_error(x: Any, y: Any, *, out: Any = None) -> Any:
    return np.square(np.subtract(x, y, out=out), out=out)


squared_error = elementwise(
    _squared_error,
    lambda ans, x, y: 2.0 * (x - y),
    lambda ans, x, y: 2.0 * (y - x),
    name="squared_error",
    formula="(x0 - x1)**2",
    partials=("2 * (x0 - x1)", "-2 * (x0 - x1)"),
)


def _huber_error(x: Any, y: Any, *, delta: float = 1.0, out: Any = None) -> Any:
    size = np.abs(np.subtract(x, y))
    near = np.minimum(size, delta)
    return np.multiply(near, size - 0.5 * near, out=out)


def _clipped(d: Any, delta: float) -> Any:
    return maximum(minimum(d, delta), -delta)


huber_error = elementwise(
    _huber_error,
    lambda ans, x, y, *, delta=1.0: _clipped(x - y, delta),
    lambda ans, x, y, *, delta=1.0: _clipped(y - x, delta),
    name="huber_error",
    formula="(x0 - x1)**2 / 2 if |x0 - x1| < delta else delta * (|x0 - x1| - delta / 2)",
    partials=("clip(x0 - x1, -delta, delta)", "-clip(x0 - x1, -delta, delta)"),
    samples=lambda rng: [
        case(np.array([0.1, 2.0, -3.0, 0.4]), np.array([0.3, 0.5, 0.1, -0.2]), delta=0.7),
        case(rng.normal(size=(2, 3)) * 3, rng.normal(size=(3,)), delta=1.1),
    ],
)


def _logistic_loss(x: Any, y: Any, *, out: Any = None) -> Any:
    size = np.abs(x)
    loss = np.log1p(np.exp(np.negative(size)))
    loss += np.maximum(x, 0)
    return np.subtract(loss, np.multiply(x, y), out=out)


# Binary cross entropy of the score x0 with the target x1, stable for scores of any size.
logistic_loss = elementwise(
    _logistic_loss,
    lambda ans, x, y: sigmoid(x) - y,
    lambda ans, x, y: -x,
    name="logistic_loss",
    formula="log(1 + exp(x0)) - x0 * x1",
    partials=("sigmoid(x0) - x1", "-x0"),
    kinks=[kink((0.0, 0.0), (0.5, 0.0), "smooth, though written with |x0|")],
)


def _log_cosh_error(x: Any, y: Any, *, out: Any = None) -> Any:
    size = np.abs(np.subtract(x, y))
    tail = np.log1p(np.exp(-2.0 * size))
    return np.add(size - math.log(2.0), tail, out=out)


log_cosh_error = elementwise(
    _log_cosh_error,
    lambda ans, x, y: tanh(x - y),
    lambda ans, x, y: tanh(y - x),
    name="log_cosh_error",
    formula="log(cosh(x0 - x1))",
    partials=("tanh(x0 - x1)", "-tanh(x0 - x1)"),
)


def _places(target: Any, n_classes: int, ignore_index: int | None) -> tuple[Any, Any]:
    """(which rows count, where each row's class stands in the flattened array)."""
    classes = np.asarray(target).reshape(-1).astype(np.int64, copy=False)
    kept = np.ones(classes.shape, bool) if ignore_index is None else classes != ignore_index
    classes = np.where(kept, classes, 0)
    wrong = classes[(classes < 0) | (classes >= n_classes)]
    if wrong.size:
        raise ClassRangeError(
            f"class {wrong[0]} is out of range; there are {n_classes} classes, so expected 0 to "
            f"{n_classes - 1}"
        )
    return kept, classes + np.arange(0, classes.size * n_classes, n_classes)


def _pick_class(x: Any, target: Any, *, ignore_index: int | None = None, out: Any = None) -> Any:
    kept, places = _places(target, x.shape[-1], ignore_index)
    picked = x.reshape(-1)[places]
    return _write(np.where(kept, picked, 0).astype(x.dtype, copy=False), x.shape[:-1], out)


def _place_class(
    x: Any, target: Any, *, n_classes: int, ignore_index: int | None = None, out: Any = None
) -> Any:
    kept, places = _places(target, n_classes, ignore_index)
    full = np.zeros(places.size * n_classes, x.dtype)
    full[places] = np.where(kept, np.reshape(x, -1), 0)
    return _write(full, (*x.shape, n_classes), out)


def _write(result: Any, shape: tuple[int, ...], out: Any) -> Any:
    result = result.reshape(shape)
    if out is None:
        return result
    out[...] = result
    return out


def _pick_samples(rng: np.random.Generator) -> list[Any]:
    return [
        case(rng.normal(size=(3, 4)), np.array([2, 0, 3])),
        case(rng.normal(size=(3, 4)), np.array([2, -1, 3]), ignore_index=-1),
        case(rng.normal(size=(2, 2, 3)), np.array([[1, 0], [2, 2]])),
        case(rng.normal(size=(3,)), np.array(1)),
    ]


# The entry of each row (last axis) at its class; 0 for rows of the class ignore_index.
pick_class = linear(
    "pick_class",
    _pick_class,
    lambda g, ans, x, target, *, ignore_index=None: place_class(
        g, target, n_classes=value_of(x).shape[-1], ignore_index=ignore_index
    ),
    formula="x0[..., x1]",
    partials=("zeros with g placed at x1",),
    samples=_pick_samples,
    differentiable=(True, False),
)
place_class = linear(
    "place_class",
    _place_class,
    lambda g, ans, x, target, *, n_classes, ignore_index=None: pick_class(
        g, target, ignore_index=ignore_index
    ),
    formula="rows of zeros with x0 placed at x1",
    partials=("g[..., x1]",),
    samples=lambda rng: [
        case(rng.normal(size=(3,)), np.array([2, 0, 3]), n_classes=4),
        case(rng.normal(size=(3,)), np.array([2, -1, 3]), n_classes=4, ignore_index=-1),
    ],
    differentiable=(True, False),
)
