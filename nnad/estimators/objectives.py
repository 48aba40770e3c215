"""What a loss asks of a network: how many outputs, what targets, how scores become predictions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from scipy.special import expit, xlogy

from nnad import losses, ops
from nnad.errors import did_you_mean
from nnad.estimators.labels import Labels

__all__ = [
    "CLASS_LOSSES",
    "NUMBER_LOSSES",
    "Objective",
    "class_objective",
    "has_probabilities",
    "number_objective",
    "predictions",
]

# For classes: name -> (outputs, link). Outputs are one a class, or a single one that tells two
# classes apart. A link of None means scores without probabilities.
CLASS_LOSSES: dict[str, tuple[str, str | None]] = {
    "cross_entropy": ("classes", "softmax"),
    "focal": ("classes", "softmax"),
    "nll": ("classes", "exp"),
    "multiclass_hinge": ("classes", None),
    "binary_cross_entropy_with_logits": ("single", "logistic"),
    "binary_cross_entropy": ("single", "identity"),
    "hinge": ("single", None),
    "squared_hinge": ("single", None),
}
# Losses that can judge several yes-or-no outputs a row, with the link that then holds.
LABEL_LOSSES: dict[str, str | None] = {
    "binary_cross_entropy_with_logits": "logistic",
    "binary_cross_entropy": "identity",
    "focal": "logistic",
    "hinge": None,
    "squared_hinge": None,
}
# For numbers: name -> link.
NUMBER_LOSSES: dict[str, str] = {
    "mse": "identity",
    "mae": "identity",
    "huber": "identity",
    "smooth_l1": "identity",
    "log_cosh": "identity",
    "quantile": "identity",
    "poisson_nll": "exp",
    "gamma_nll": "exp",
    "tweedie": "exp",
}


@dataclass(frozen=True)
class Objective:
    """A loss and what follows from it.

    Attributes:
        name: of the loss.
        function: ``function(scores, target, sample_weight=None)``, a weighted mean.
        outputs: how many the network has.
        link: turns scores into predictions; None: scores are all there is.
        target_kind: "class" (one number a row), "bool" or "number" (a column an output).
        divisor: the loss that is reported is the function divided by this.
    """

    name: str
    function: Callable[..., Any]
    outputs: int
    link: str | None
    target_kind: str = "number"
    divisor: int = 1

    def target(self, y: np.ndarray, dtype: Any) -> np.ndarray:
        """Encoded rows as the loss wants them."""
        if self.target_kind == "class":
            return y
        return y.reshape(len(y), -1).astype(bool if self.target_kind == "bool" else dtype)


def read_loss(spec: Any) -> tuple[str, Callable[..., Any], dict[str, Any]]:
    """Name, function and settings of a loss given as a name, a mapping, an instance or a function.

    Raises:
        ValueError: there is no loss of that name.
    """
    if isinstance(spec, type) and issubclass(spec, losses.Loss):
        spec = spec()
    if isinstance(spec, losses.Loss):
        function = type(spec).function
        return function.__name__, function, dict(spec.settings)
    settings: dict[str, Any] = {}
    if isinstance(spec, Mapping):
        settings = dict(spec)
        spec = settings.pop("name", None)
    if callable(spec):
        return getattr(spec, "__name__", type(spec).__name__), spec, settings
    known = [*CLASS_LOSSES, *NUMBER_LOSSES]
    if spec not in known:
        raise ValueError(
            f"there is no loss {spec!r}{did_you_mean(str(spec), known)}; the losses are "
            f"{', '.join(known)}, or any function of (scores, target, sample_weight=None)"
        )
    return spec, getattr(losses, spec), settings


# scikit-learn's own losses --------------------------------------------------------------------


def _log_loss(labels: Labels) -> Objective:
    """The log loss: softmax for three classes and more, else a logistic output for each."""
    if labels.kind == "multiclass":
        return Objective("log_loss", losses.cross_entropy, labels.count, "softmax", "class")
    outputs = labels.count if labels.is_multilabel else 1
    return Objective("log_loss", partial(_binary_log_loss, outputs), outputs, "logistic", "bool")


def _half_loss(name: str, columns: int) -> Objective:
    """Half the squared error, or half the Poisson deviance.

    The gradient of the squared error is that of the sum over the outputs, the loss that is reported
    is their mean: so it is in scikit-learn.
    """
    if name == "poisson":
        return Objective(name, _poisson_deviance, columns, "exp")
    return Objective(name, partial(_squared_error, columns), columns, "identity", divisor=columns)


def _binary_log_loss(outputs: int, scores: Any, target: Any, sample_weight: Any = None) -> Any:
    """Cross entropy of logistic outputs, the sum over them."""
    return outputs * losses.binary_cross_entropy_with_logits(
        scores, target, sample_weight=sample_weight
    )


def _squared_error(outputs: int, scores: Any, target: Any, sample_weight: Any = None) -> Any:
    """Half the squared error, the sum over the outputs."""
    return 0.5 * outputs * losses.mse(scores, target, sample_weight=sample_weight)


def _poisson_deviance(scores: Any, target: Any, sample_weight: Any = None) -> Any:
    """Half the deviance from the logarithm of the mean, the sum over the outputs."""
    constant = np.sum(xlogy(target, target) - target, axis=1)
    terms = ops.sum(ops.exp(scores) - target * scores, axis=1) + constant
    if sample_weight is None:
        return ops.mean(terms)
    return ops.sum(terms * sample_weight) / sample_weight.sum()


# Losses of nnad ---------------------------------------------------------------------------------


def class_objective(spec: Any, labels: Labels) -> Objective:
    """The objective of a loss for classes."""
    if isinstance(spec, str) and spec == "log_loss":
        return _log_loss(labels)
    name, function, settings = read_loss(spec)
    bound = partial(function, **settings)
    if name in NUMBER_LOSSES:
        raise ValueError(
            f"the loss {name} is for numbers, but this is a classifier; the losses for classes "
            f"are {', '.join(CLASS_LOSSES)}"
        )
    if labels.is_multilabel:
        if name in CLASS_LOSSES and name not in LABEL_LOSSES:
            raise ValueError(
                f"the loss {name} expects one class a row, but y has any number of labels a row; "
                f"use one of {', '.join(LABEL_LOSSES)}"
            )
        return Objective(name, bound, labels.count, LABEL_LOSSES.get(name, "logistic"))
    kind, link = CLASS_LOSSES.get(name, ("classes", "softmax"))
    if kind == "classes":
        return Objective(name, bound, max(labels.count, 2), link, "class")
    if labels.count > 2:
        raise ValueError(
            f"the loss {name} tells two classes apart, but y has {labels.count}; use cross_entropy"
        )
    return Objective(name, bound, 1, link)


def number_objective(spec: Any, columns: int) -> Objective:
    """The objective of a loss for numbers.

    Args:
        spec: the loss.
        columns: of the target.
    """
    if isinstance(spec, str) and spec in ("squared_error", "poisson"):
        return _half_loss(spec, columns)
    name, function, settings = read_loss(spec)
    if name in CLASS_LOSSES:
        raise ValueError(
            f"the loss {name} is for classes, but this is a regressor; the losses for numbers are "
            f"{', '.join(NUMBER_LOSSES)}"
        )
    if name == "quantile" and np.ndim(settings.get("q", 0.5)):
        raise ValueError(
            f"the loss quantile got several levels, q={settings['q']}, but an estimator predicts "
            "one number for each column of y; fit one for each level"
        )
    link = NUMBER_LOSSES.get(name, "identity")
    if not settings.get("log_input", True):
        link = "identity"
    return Objective(name, partial(function, **settings), columns, link)


def has_probabilities(spec: Any) -> bool:
    """Whether probabilities follow from the scores that a network has learned by this loss."""
    if isinstance(spec, str) and spec == "log_loss":
        return True
    name = read_loss(spec)[0]
    return CLASS_LOSSES.get(name, ("", "softmax"))[1] is not None


# Links ------------------------------------------------------------------------------------------


def _softmax(scores: np.ndarray) -> np.ndarray:
    """Along the last axis."""
    p = np.exp(scores - np.maximum.reduce(scores, axis=-1, keepdims=True))
    return np.divide(p, np.add.reduce(p, axis=-1, keepdims=True), out=p)


LINK_FUNCTIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "softmax": _softmax,
    "logistic": expit,
    "exp": np.exp,
    "identity": np.asarray,
}


def predictions(link: str | None, scores: np.ndarray) -> np.ndarray:
    """Probabilities, means or whatever the link makes of scores."""
    return scores if link is None else LINK_FUNCTIONS[link](scores)
