"""Losses for numbers: squared, absolute and robust errors, quantiles, and likelihoods."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from nnad import ops
from nnad.autodiff import stop_gradient
from nnad.errors import ShapeError
from nnad.losses.base import as_array, like, loss_class, operands, reduced

__all__ = [
    "GammaNLL",
    "GaussianNLL",
    "Huber",
    "LogCosh",
    "MAE",
    "MSE",
    "PoissonNLL",
    "Quantile",
    "SmoothL1",
    "Tweedie",
    "gamma_nll",
    "gaussian_nll",
    "huber",
    "log_cosh",
    "mae",
    "mse",
    "poisson_nll",
    "quantile",
    "smooth_l1",
    "tweedie",
]


def mse(prediction: Any, target: Any, *, sample_weight: Any = None, reduction: str = "mean") -> Any:
    r"""Squared error :math:`(\hat y - y)^2`.

    Args:
        prediction: any shape.
        target: the same shape.
        sample_weight: a weight for each row, or for each entry.
        reduction: "mean" (divided by the sum of the weights), "sum" or "none".

    >>> float(mse([1.0, 2.0], [1.0, 4.0]))
    2.0
    >>> float(mse([1.0, 2.0], [1.0, 4.0], sample_weight=[3.0, 1.0]))
    1.0
    """
    prediction, target = operands("mse", prediction, target)
    return reduced("mse", ops.squared_error(prediction, target), sample_weight, reduction)


def mae(prediction: Any, target: Any, *, sample_weight: Any = None, reduction: str = "mean") -> Any:
    r"""Absolute error :math:`|\hat y - y|`.

    Args:
        prediction: any shape.
        target: the same shape.
        sample_weight: a weight for each row, or for each entry.
        reduction: "mean" (divided by the sum of the weights), "sum" or "none".
    """
    prediction, target = operands("mae", prediction, target)
    return reduced("mae", ops.absolute(prediction - target), sample_weight, reduction)


def huber(
    prediction: Any,
    target: Any,
    *,
    delta: float = 1.0,
    sample_weight: Any = None,
    reduction: str = "mean",
) -> Any:
    r"""Huber loss: :math:`d^2/2` where :math:`|d| < \delta`, else :math:`\delta(|d| - \delta/2)`.

    Args:
        prediction: any shape.
        target: the same shape.
        delta: where the parabola turns into a line; positive.
        sample_weight: a weight for each row, or for each entry.
        reduction: "mean" (divided by the sum of the weights), "sum" or "none".
    """
    if not delta > 0:
        raise ValueError(f"huber: delta must be positive, got {delta}")
    prediction, target = operands("huber", prediction, target)
    losses = ops.huber_error(prediction, target, delta=delta)
    return reduced("huber", losses, sample_weight, reduction)


def smooth_l1(
    prediction: Any,
    target: Any,
    *,
    beta: float = 1.0,
    sample_weight: Any = None,
    reduction: str = "mean",
) -> Any:
    r"""Huber loss divided by its threshold: :math:`d^2/2\beta` near 0, :math:`|d| - \beta/2` afar.

    Args:
        prediction: any shape.
        target: the same shape.
        beta: where the parabola turns into a line; 0 gives the absolute error.
        sample_weight: a weight for each row, or for each entry.
        reduction: "mean" (divided by the sum of the weights), "sum" or "none".
    """
    if beta < 0:
        raise ValueError(f"smooth_l1: beta must be at least 0, got {beta}")
    prediction, target = operands("smooth_l1", prediction, target)
    if beta == 0:
        losses = ops.absolute(prediction - target)
    else:
        losses = ops.huber_error(prediction, target, delta=beta) / beta
    return reduced("smooth_l1", losses, sample_weight, reduction)


def log_cosh(
    prediction: Any, target: Any, *, sample_weight: Any = None, reduction: str = "mean"
) -> Any:
    r"""Logarithm of the hyperbolic cosine of the error: a Huber loss without a corner.

    Args:
        prediction: any shape.
        target: the same shape.
        sample_weight: a weight for each row, or for each entry.
        reduction: "mean" (divided by the sum of the weights), "sum" or "none".
    """
    prediction, target = operands("log_cosh", prediction, target)
    return reduced("log_cosh", ops.log_cosh_error(prediction, target), sample_weight, reduction)


def quantile(
    prediction: Any,
    target: Any,
    *,
    q: float | Sequence[float] = 0.5,
    sample_weight: Any = None,
    reduction: str = "mean",
) -> Any:
    r"""Pinball loss :math:`\max(q\,d, (q - 1)\,d)` with :math:`d = y - \hat y`.

    Its minimum is the `q`-quantile of the target (Koenker and Bassett, 1978). It is scikit-learn's
    mean_pinball_loss.

    Args:
        prediction: (…), or for several quantiles (…, number of quantiles).
        target: (…); each entry is compared with all its quantiles.
        q: a quantile between 0 and 1, or several of them.
        sample_weight: a weight for each row, or for each entry of the losses.
        reduction: "mean" (divided by the sum of the weights), "sum" or "none".

    >>> float(quantile([[1.0, 3.0]], [2.0], q=[0.1, 0.9]).round(3))
    0.1
    """
    levels = np.atleast_1d(np.asarray(q, dtype=float))
    if levels.ndim != 1 or not np.all((levels > 0) & (levels < 1)):
        raise ValueError(f"quantile: q must lie between 0 and 1, got {q}")
    prediction = as_array(prediction)
    target = like(prediction, target)
    if np.ndim(q) == 0:
        prediction, target = operands("quantile", prediction, target)
    else:
        if prediction.shape != (*target.shape, levels.size):
            raise ShapeError(
                f"quantile: the prediction has shape {prediction.shape}; for the target's shape "
                f"{target.shape} and {levels.size} quantiles expected "
                f"{(*target.shape, levels.size)}"
            )
        target = ops.expand_dims(target, -1)
    levels = levels.astype(prediction.dtype)
    error = target - prediction
    return reduced(
        "quantile", ops.maximum(levels * error, (levels - 1) * error), sample_weight, reduction
    )


def poisson_nll(
    prediction: Any,
    target: Any,
    *,
    log_input: bool = True,
    full: bool = False,
    eps: float = 1e-8,
    sample_weight: Any = None,
    reduction: str = "mean",
) -> Any:
    r"""Negative log likelihood of counts under a Poisson distribution, up to a constant.

    Args:
        prediction: the logarithm of the rate, or with ``log_input=False`` the rate; any shape.
        target: counts, the same shape.
        log_input: the loss is :math:`e^x - y x`; otherwise :math:`x - y \log(x + \epsilon)`.
        full: add Stirling's approximation of :math:`\log y!` for counts above 1.
        eps: keeps the logarithm of a rate finite.
        sample_weight: a weight for each row, or for each entry.
        reduction: "mean" (divided by the sum of the weights), "sum" or "none".
    """
    x, y = operands("poisson_nll", prediction, target)
    losses = ops.exp(x) - y * x if log_input else x - y * ops.log(x + eps)
    if full:
        many = ops.greater(y, 1)
        count = ops.where(many, y, 1.0)
        stirling = count * ops.log(count) - count + 0.5 * ops.log(2.0 * math.pi * count)
        losses = losses + ops.where(many, stirling, 0.0)
    return reduced("poisson_nll", losses, sample_weight, reduction)


def gamma_nll(
    prediction: Any,
    target: Any,
    *,
    log_input: bool = True,
    sample_weight: Any = None,
    reduction: str = "mean",
) -> Any:
    r"""Negative log likelihood under a gamma distribution with mean :math:`\mu`.

    :math:`y / \mu + \log \mu`, up to factors and terms without the prediction; half of
    scikit-learn's gamma deviance, up to terms of the target.

    Args:
        prediction: :math:`\log \mu`, or with ``log_input=False`` :math:`\mu`; any shape.
        target: positive, the same shape.
        log_input: the prediction is a logarithm.
        sample_weight: a weight for each row, or for each entry.
        reduction: "mean" (divided by the sum of the weights), "sum" or "none".
    """
    x, y = operands("gamma_nll", prediction, target)
    losses = y * ops.exp(-x) + x if log_input else y / x + ops.log(x)
    return reduced("gamma_nll", losses, sample_weight, reduction)


def tweedie(
    prediction: Any,
    target: Any,
    *,
    power: float = 1.5,
    log_input: bool = True,
    sample_weight: Any = None,
    reduction: str = "mean",
) -> Any:
    r"""Half the Tweedie deviance, without terms of the target alone: amounts with many zeros.

    :math:`-y \frac{\mu^{1-p}}{1-p} + \frac{\mu^{2-p}}{2-p}`; the power p is 1 for Poisson, 2 for
    gamma and 3 for inverse Gaussian errors, between 1 and 2 for sums of gamma-sized claims.

    Args:
        prediction: :math:`\log \mu`, or with ``log_input=False`` :math:`\mu`; any shape.
        target: not negative, the same shape.
        power: p, at least 1.
        log_input: the prediction is a logarithm.
        sample_weight: a weight for each row, or for each entry.
        reduction: "mean" (divided by the sum of the weights), "sum" or "none".
    """
    if power < 1:
        raise ValueError(f"tweedie: power must be at least 1, got {power}")
    x, y = operands("tweedie", prediction, target)
    log_mean = x if log_input else ops.log(x)
    losses = _power_term(log_mean, 2.0 - power) - y * _power_term(log_mean, 1.0 - power)
    return reduced("tweedie", losses, sample_weight, reduction)


def _power_term(log_mean: Any, exponent: float) -> Any:
    """``mean**exponent / exponent``, and its limit ``log(mean)`` without the constant at 0."""
    return log_mean if exponent == 0 else ops.exp(log_mean * exponent) / exponent


def gaussian_nll(
    mean: Any,
    target: Any,
    var: Any,
    *,
    full: bool = False,
    eps: float = 1e-6,
    sample_weight: Any = None,
    reduction: str = "mean",
) -> Any:
    r"""Negative log likelihood under a normal distribution: :math:`(\log v + (y - \mu)^2 / v) / 2`.

    Args:
        mean: predicted mean, any shape.
        target: the same shape.
        var: predicted variance, not negative: the same shape, or with a last axis of one or without
            it, for one variance a row.
        full: add the constant :math:`\log(2 \pi) / 2`.
        eps: smallest variance; a smaller one counts as this, with its gradient passed on.
        sample_weight: a weight for each row, or for each entry.
        reduction: "mean" (divided by the sum of the weights), "sum" or "none".
    """
    mean, target = operands("gaussian_nll", mean, target)
    var = like(mean, var)
    if var.shape == mean.shape[:-1] and var.shape != mean.shape:
        var = ops.expand_dims(var, -1)
    if var.shape not in (mean.shape, (*mean.shape[:-1], 1)):
        raise ShapeError(
            f"gaussian_nll: var has shape {var.shape}, expected {mean.shape} or "
            f"{(*mean.shape[:-1], 1)}"
        )
    # PyTorch clamps outside the graph: the value is eps, the gradient goes to var all the same.
    var = var + stop_gradient(ops.maximum(eps - var, 0.0))
    losses = 0.5 * (ops.log(var) + ops.squared_error(mean, target) / var)
    if full:
        losses = losses + 0.5 * math.log(2.0 * math.pi)
    return reduced("gaussian_nll", losses, sample_weight, reduction)


MSE = loss_class(mse, "MSE")
MAE = loss_class(mae, "MAE")
Huber = loss_class(huber, "Huber")
SmoothL1 = loss_class(smooth_l1, "SmoothL1")
LogCosh = loss_class(log_cosh, "LogCosh")
Quantile = loss_class(quantile, "Quantile")
PoissonNLL = loss_class(poisson_nll, "PoissonNLL")
GammaNLL = loss_class(gamma_nll, "GammaNLL")
Tweedie = loss_class(tweedie, "Tweedie")
GaussianNLL = loss_class(gaussian_nll, "GaussianNLL")
