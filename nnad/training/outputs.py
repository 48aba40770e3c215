"""Do the outputs of a model, the target, the loss and the metrics go together?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nnad.data.dataset import Meta

__all__ = ["metric_problem", "output_problem", "outputs_wanted"]

# One score a row for two classes; one score for each class; focal is either, by what it is given.
ONE_SCORE_LOSSES = (
    "binary_cross_entropy_with_logits",
    "binary_cross_entropy",
    "hinge",
    "squared_hinge",
)
CLASS_LOSSES = ("cross_entropy", "nll", "multiclass_hinge", "focal")
NUMBER_METRICS = ("mae", "mape", "mse", "r2", "rmse")


def metric_problem(metric: str, meta: Meta) -> str:
    """Return what keeps a metric from telling anything about the target, or nothing."""
    if meta.task == "classification" and metric in NUMBER_METRICS:
        return (
            f"{metric} is for numbers, but the target has classes; use accuracy, or set "
            "data.task: regression"
        )
    if meta.task in ("regression", "autoencoder") and metric not in NUMBER_METRICS:
        return (
            f"{metric} is for classes, but the target holds numbers; use "
            f"{', '.join(NUMBER_METRICS[:-1])} or {NUMBER_METRICS[-1]}"
        )
    return ""


def outputs_wanted(loss: str, settings: Mapping[str, Any], meta: Meta) -> int:
    """Return how many numbers a model must end with, by the loss, its settings and the target."""
    if meta.task == "classification" and loss in ONE_SCORE_LOSSES:
        return 1
    quantiles = settings.get("q")
    return len(quantiles) if isinstance(quantiles, list) else meta.n_outputs


def output_problem(loss: str, meta: Meta, shape: tuple[int, ...]) -> str:
    """Return what keeps the model's outputs from being compared with the target, or nothing."""
    outputs = shape[-1] if len(shape) > 1 else 1
    if meta.task != "classification":
        return _number_problem(loss, meta, outputs)
    classes = len(meta.class_names or ())
    if loss in ONE_SCORE_LOSSES or (loss == "focal" and outputs == 1):
        if classes != 2:
            return (
                f"the loss {loss} tells two classes apart, but the target has {classes}; "
                "use cross_entropy"
            )
        return "" if outputs == 1 else _count_problem(outputs, 1, f"{loss} takes one a row")
    if loss not in CLASS_LOSSES:
        return (
            f"the loss {loss} is for numbers, but the target has {classes} classes; use "
            "cross_entropy, or set data.task: regression"
        )
    why = f"the target has {classes} classes ({_some(meta.class_names or [])})"
    return "" if outputs == classes else _count_problem(outputs, classes, why)


def _number_problem(loss: str, meta: Meta, outputs: int) -> str:
    """Return the problem of a model whose target is not one class a row, or nothing."""
    if meta.task == "regression" and loss in (*CLASS_LOSSES, *ONE_SCORE_LOSSES):
        return (
            f"the loss {loss} is for classes, but the target holds numbers; use mse or huber, or "
            "set data.task: classification"
        )
    if meta.task == "language_model" and (loss != "cross_entropy" or outputs != meta.n_outputs):
        why = "the loss of a text is cross_entropy over its tokens"
        return _count_problem(outputs, meta.n_outputs, why)
    if loss == "quantile":  # an output for each quantile: the loss itself checks
        return ""
    if meta.task in ("regression", "multi_label") and outputs != meta.n_outputs:
        names = _some(meta.target_names)
        why = f"the target has {meta.n_outputs} per row" + (f" ({names})" if names else "")
        return _count_problem(outputs, meta.n_outputs, why)
    return ""


def _count_problem(outputs: int, expected: int, why: str) -> str:
    return f"the model ends with {outputs} outputs, expected {expected}: {why}"


def _some(names: Sequence[str]) -> str:
    """Join a few names, and say that there are more."""
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
