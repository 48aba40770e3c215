"""What all losses share: checks of operands, weighted means, and a class for each function."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from nnad import ops
from nnad.autodiff import Tensor, value_of
from nnad.autodiff.tensor import watched
from nnad.errors import ShapeError

__all__ = ["Loss", "as_array", "loss_class", "operands", "reduced", "weights_for"]

REDUCTIONS = ("mean", "sum", "none")


class Loss:
    """Base of the loss classes: a loss function with its settings held.

    ``loss(prediction, target, sample_weight=None)`` calls the function of the same name.
    """

    function: Callable[..., Any]

    def __init__(self, **settings: Any) -> None:
        self.settings = settings

    def __call__(self, *operands: Any, sample_weight: Any = None) -> Any:
        """The loss of a batch; see the function."""
        return type(self).function(*operands, sample_weight=sample_weight, **self.settings)

    def __repr__(self) -> str:
        shown = ", ".join(f"{k}={v!r}" for k, v in self.settings.items())
        return f"{type(self).__name__}({shown})"


watched.append(Loss)


def loss_class(function: Callable[..., Any], name: str) -> type[Loss]:
    """The class of a loss function: its keyword-only arguments but `sample_weight` are settings.

    Args:
        function: operands positional, settings keyword-only with defaults.
        name: of the class.
    """
    settings = [
        p
        for p in inspect.signature(function).parameters.values()
        if p.kind is inspect.Parameter.KEYWORD_ONLY and p.name != "sample_weight"
    ]
    own = [p.replace(kind=inspect.Parameter.POSITIONAL_OR_KEYWORD) for p in settings]
    me = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    signature = inspect.Signature([me, *own])

    def __init__(self: Loss, *args: Any, **kwargs: Any) -> None:
        bound = signature.bind(self, *args, **kwargs)
        bound.apply_defaults()
        Loss.__init__(self, **{k: v for k, v in bound.arguments.items() if k != "self"})

    __init__.__signature__ = signature  # type: ignore[attr-defined]
    summary = (function.__doc__ or "").strip().splitlines()[0]
    members = {
        "__init__": __init__,
        "__doc__": f"{summary}\n\nThe class of :func:`{function.__name__}`: holds its settings.",
        "__module__": function.__module__,
        "__signature__": inspect.Signature(own),
        "function": staticmethod(function),
    }
    return type(name, (Loss,), members)


def check_reduction(reduction: str) -> None:
    """Raise a ValueError for a reduction that does not exist."""
    if reduction not in REDUCTIONS:
        raise ValueError(f"reduction must be 'mean', 'sum' or 'none', got {reduction!r}")


def as_array(x: Any) -> Any:
    """`x` as a floating-point array or Tensor; whole numbers become float64."""
    if not isinstance(x, (Tensor, np.ndarray)):
        x = np.asarray(x)
    if x.dtype.kind not in "fc":
        return ops.astype(x, np.float64)
    return x


def like(prediction: Any, other: Any) -> Any:
    """`other` as an array in the dtype of `prediction`, which decides the precision of the loss."""
    if not isinstance(other, (Tensor, np.ndarray)):
        other = np.asarray(other)
    return other if other.dtype == prediction.dtype else ops.astype(other, prediction.dtype)


def operands(name: str, prediction: Any, *others: Any) -> tuple[Any, ...]:
    """Prediction and what it is compared with as arrays of one dtype and one shape.

    Raises:
        ShapeError: shapes differ; they are never broadcast, since (n, 1) against (n,) would
            silently compare every row with every other.
    """
    prediction = as_array(prediction)
    fitted = tuple(like(prediction, other) for other in others)
    for other in fitted:
        if other.shape != prediction.shape:
            raise ShapeError(
                f"{name}: the prediction has shape {prediction.shape}, the target {other.shape}; "
                f"both must have the same shape{_shape_hint(prediction.shape, other.shape)}"
            )
    return prediction, *fitted


def _shape_hint(prediction: tuple[int, ...], target: tuple[int, ...]) -> str:
    if prediction == (*target, 1):
        return "; drop the prediction's last axis with prediction[..., 0]"
    if target == (*prediction, 1):
        return "; drop the target's last axis with target[..., 0]"
    return ""


def weights_for(name: str, sample_weight: Any, losses: Any) -> Any:
    """`sample_weight` in the dtype of the losses, with axes appended so that it broadcasts.

    Args:
        sample_weight: one weight a row, or a weight for every loss.
    """
    weight = like(losses, sample_weight)
    shape = losses.shape
    if weight.shape != shape[: weight.ndim]:
        raise ShapeError(
            f"{name}: sample_weight has shape {weight.shape}, the losses {shape}; expected one "
            f"weight a row, shape {shape[:1]}, or one a loss, shape {shape}"
        )
    missing = losses.ndim - weight.ndim
    return ops.reshape(weight, weight.shape + (1,) * missing) if missing else weight


def reduced(name: str, losses: Any, sample_weight: Any, reduction: str, weight: Any = None) -> Any:
    """Weighted mean, weighted sum, or the weighted losses themselves.

    A mean divides by the sum of the weights: a weight of k counts as the row repeated k times.
    Where all weights are zero the mean is 0.

    Args:
        sample_weight: one weight a row, a weight for every loss, or None.
        reduction: "mean", "sum" or "none".
        weight: further weights that broadcast against the losses, or None.
    """
    check_reduction(reduction)
    if sample_weight is not None:
        own = weights_for(name, sample_weight, losses)
        weight = own if weight is None else weight * own
    if weight is None:
        if reduction == "none":
            return losses
        return ops.mean(losses) if reduction == "mean" else ops.sum(losses)
    weighted = losses * weight
    if reduction == "none":
        return weighted
    total = ops.sum(weighted)
    if reduction == "sum":
        return total
    # What the weights do not tell apart counts once per loss.
    repeats = value_of(losses).size / max(1, value_of(weight).size)
    weights = ops.sum(weight) * repeats
    return total / ops.where(ops.equal(weights, 0), 1, weights)
