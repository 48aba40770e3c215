"""A plain multi-layer perceptron written out: forward, loss and gradient in preallocated arrays.

This is what `MLPClassifier` and `MLPRegressor` train unless they are asked for more. All weights
lie in one vector, all gradients in another; a step allocates nothing. The order of the operations
is scikit-learn's, so that with the same random numbers the weights are the same too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.special import expit, xlogy

__all__ = ["ACTIVATIONS", "LOSSES", "DenseNetwork", "forward", "pack", "unpack"]

Array = np.ndarray


def unpack(flat: Array, sizes: Sequence[int]) -> tuple[list[Array], list[Array]]:
    """Views of `flat` as matrices and offsets: first all matrices, then all offsets.

    Args:
        flat: as many numbers as a network with layers of these `sizes` has.
        sizes: of the input, the hidden layers and the output.

    >>> coefs, intercepts = unpack(np.arange(9.0), [2, 2, 1])
    >>> [c.shape for c in coefs], [b.tolist() for b in intercepts]
    ([(2, 2), (2, 1)], [[6.0, 7.0], [8.0]])
    """
    coefs, intercepts, begin = [], [], 0
    for fan_in, fan_out in pairwise(sizes):
        coefs.append(flat[begin : begin + fan_in * fan_out].reshape(fan_in, fan_out))
        begin += fan_in * fan_out
    for size in sizes[1:]:
        intercepts.append(flat[begin : begin + size])
        begin += size
    return coefs, intercepts


def pack(arrays: Sequence[Array], out: Array) -> None:
    """Copy `arrays` end to end into the vector `out`."""
    np.concatenate([np.ravel(a) for a in arrays], out=out)


# Activations: in place forward; a derivative from the output. ------------------------------------


def _identity(z: Array) -> None:
    """y = z."""


def _relu(z: Array) -> None:
    np.clip(z, 0, np.inf, out=z)  # np.maximum with a number is five times slower


def _tanh(z: Array) -> None:
    np.tanh(z, out=z)


def _logistic(z: Array) -> None:
    expit(z, out=z)


def _exp(z: Array) -> None:
    np.exp(z, out=z)


def _softmax(z: Array) -> None:
    np.subtract(z, np.maximum.reduce(z, axis=1, keepdims=True), out=z)
    np.exp(z, out=z)
    np.divide(z, np.add.reduce(z, axis=1, keepdims=True), out=z)


def _identity_slope(a: Array, delta: Array, scratch: Array) -> None:
    """1 everywhere."""


def _relu_slope(a: Array, delta: Array, scratch: Array) -> None:
    positive = scratch.reshape(-1).view(np.bool_)[: a.size].reshape(a.shape)
    np.greater(a, 0, out=positive)
    np.multiply(delta, positive.view(np.int8), out=delta)  # faster than a product with booleans


def _tanh_slope(a: Array, delta: Array, scratch: Array) -> None:
    np.multiply(a, a, out=scratch)
    np.subtract(1, scratch, out=scratch)
    np.multiply(delta, scratch, out=delta)


def _logistic_slope(a: Array, delta: Array, scratch: Array) -> None:
    np.multiply(delta, a, out=delta)
    np.subtract(1, a, out=scratch)
    np.multiply(delta, scratch, out=delta)


# name -> (the function in place, delta times the derivative in place)
ACTIVATIONS: dict[str, tuple[Callable[[Array], None], Callable[[Array, Array, Array], None]]] = {
    "identity": (_identity, _identity_slope),
    "relu": (_relu, _relu_slope),
    "tanh": (_tanh, _tanh_slope),
    "logistic": (_logistic, _logistic_slope),
}

LINKS: dict[str, Callable[[Array], None]] = {
    "identity": _identity,
    "softmax": _softmax,
    "logistic": _logistic,
    "exp": _exp,
}


def forward(
    x: Any, coefs: Sequence[Array], intercepts: Sequence[Array], hidden: Sequence[str]
) -> Array:
    """The scores of rows `x` (an array or a sparse matrix), in new arrays.

    Args:
        x: (rows, features).
        coefs, intercepts: matrices and offsets of the layers.
        hidden: the activation of each hidden layer.
    """
    for coef, intercept, name in zip(coefs, intercepts, (*hidden, "identity"), strict=True):
        x = x @ coef
        x += intercept
        ACTIVATIONS[name][0](x)
    return x


# Losses: predictions become their difference from the target, weighted; the sum is returned. -----


class _Classes:
    """Softmax and class numbers: minus the logarithm of the probability of the class."""

    def __init__(self, out: Array) -> None:
        self.flat = out.T.reshape(-1)  # a view, as outputs lie column by column
        self.rows = np.arange(len(out))
        self.place = np.empty_like(self.rows)
        self.p = np.empty(len(out), out.dtype)
        self.least = np.finfo(out.dtype).eps

    def __call__(self, out: Array, labels: Array, weight: Array | None) -> float:
        place, p = self.place, self.p
        np.multiply(labels, len(self.rows), out=place)
        np.add(place, self.rows, out=place)
        np.take(self.flat, place, out=p, mode="clip")
        self.flat[place] = p - 1
        return -_weighted_sum(_log(p, self.least), weight)


class _YesNo:
    """Logistic outputs and targets that are true or false: one loss an output."""

    def __init__(self, out: Array) -> None:
        self.p = np.empty_like(out)
        self.least = np.finfo(out.dtype).eps

    def __call__(self, out: Array, target: Array, weight: Array | None) -> float:
        p = self.p
        np.subtract(1, out, out=p)
        np.copyto(p, out, where=target)
        np.subtract(out, target, out=out)
        return -_weighted_sum(_log(p, self.least), weight)


class _Squared:
    """Half the squared error, the mean over the outputs."""

    def __init__(self, out: Array) -> None:
        self.squares = np.empty_like(out)

    def __call__(self, out: Array, target: Array, weight: Array | None) -> float:
        np.subtract(out, target, out=out)
        np.multiply(out, out, out=self.squares)
        return 0.5 * _weighted_sum(self.squares, weight) / out.shape[1]


class _Poisson:
    """Half the Poisson deviance of a predicted mean."""

    def __init__(self, out: Array) -> None:
        """Nothing to keep."""

    def __call__(self, out: Array, target: Array, weight: Array | None) -> float:
        losses = xlogy(target, target / out) - target + out
        np.subtract(out, target, out=out)
        return _weighted_sum(losses, weight)


OBJECTIVES: dict[tuple[str, str], Callable[[Array], Callable[..., float]]] = {
    ("log_loss", "softmax"): _Classes,
    ("log_loss", "logistic"): _YesNo,
    ("squared_error", "identity"): _Squared,
    ("poisson", "exp"): _Poisson,
}
LOSSES = {loss for loss, _ in OBJECTIVES}


def _log(p: Array, least: float) -> Array:
    """The logarithm of probabilities kept away from 0 and 1, in place."""
    np.maximum(p, least, out=p)
    np.minimum(p, 1 - least, out=p)
    return np.log(p, out=p)


def _weighted_sum(losses: Array, weight: Array | None) -> float:
    """The sum over rows and outputs, each row times its weight."""
    if weight is None:
        return float(np.add.reduce(losses, axis=None))
    rows = losses if losses.ndim == 1 else np.add.reduce(losses, axis=1)
    return float(rows @ weight)


class _Work:
    """Room for one batch of a given number of rows."""

    def __init__(self, rows: int, sizes: Sequence[int], dtype: Any, objective: Any) -> None:
        self.layers = [np.empty((rows, size), dtype) for size in sizes[1:-1]]
        # Outputs lie column by column: maxima and sums over a row's outputs are faster so.
        self.layers.append(np.empty((rows, sizes[-1]), dtype, order="F"))
        self.deltas = [np.empty((rows, size), dtype) for size in sizes[1:-1]]
        self.scratch = [np.empty((rows, size), dtype) for size in sizes[1:-1]]
        self.objective = objective(self.layers[-1])


class DenseNetwork:
    """Fully connected layers with a loss and its gradient.

    Args:
        sizes: of the input, the hidden layers and the output.
        hidden: the activation of each hidden layer, a key of `ACTIVATIONS`.
        link: of the output: "softmax", "logistic", "identity" or "exp".
        loss: "log_loss", "squared_error" or "poisson"; must go with the link.
        alpha: weight of the penalty on the squares of the matrices.
        dtype: of everything.

    Attributes:
        parameters, gradient: vectors; matrices come first, then offsets.
        coefs, intercepts: views of `parameters`.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        hidden: Sequence[str],
        link: str,
        loss: str,
        alpha: float,
        dtype: Any,
    ) -> None:
        self.sizes = list(sizes)
        self.alpha = alpha
        self.dtype = np.dtype(dtype)
        self.hidden = [ACTIVATIONS[name] for name in hidden]
        self.link = LINKS[link]
        self.objective = OBJECTIVES[loss, link]
        self.matrix_size = sum(a * b for a, b in pairwise(sizes))
        count = self.matrix_size + sum(sizes[1:])
        self.parameters = np.zeros(count, dtype)
        self.gradient = np.zeros(count, dtype)
        self._penalty = np.empty(self.matrix_size, dtype)
        self.coefs, self.intercepts = unpack(self.parameters, sizes)
        self.coef_gradients, self.intercept_gradients = unpack(self.gradient, sizes)
        self._matrices = self.parameters[: self.matrix_size]
        self._matrix_gradients = self.gradient[: self.matrix_size]
        self._work: dict[int, _Work] = {}

    def loss_and_gradient(self, x: Any, target: Array, weight: Array | None) -> float:
        """The penalised weighted mean loss of a batch; leaves its gradient in `gradient`.

        Args:
            x: (rows, features), an array or a CSR matrix.
            target: class numbers (rows,), or (rows, outputs).
            weight: of the rows, or None.
        """
        work = self._run(x)
        total = x.shape[0] if weight is None else weight.sum()
        delta = work.layers[-1]
        loss = work.objective(delta, target, weight) / total
        np.multiply(delta, 1 / total if weight is None else (weight / total)[:, None], out=delta)
        self._backward(x, work)
        if self.alpha:
            np.multiply(self._matrices, self.alpha / total, out=self._penalty)
            np.add(self._matrix_gradients, self._penalty, out=self._matrix_gradients)
            loss += 0.5 * self.alpha / total * float(self._matrices @ self._matrices)
        return loss

    def evaluate(self, x: Any, target: Array, weight: Array | None) -> tuple[float, Array]:
        """The weighted mean loss of rows without penalty, and what the network predicts."""
        work = self._run(x)
        outputs = work.layers[-1].copy()
        total = x.shape[0] if weight is None else weight.sum()
        return work.objective(work.layers[-1], target, weight) / total, outputs

    def _run(self, x: Any) -> _Work:
        work = self._work.get(x.shape[0])
        if work is None:
            work = _Work(x.shape[0], self.sizes, self.dtype, self.objective)
            self._work[x.shape[0]] = work
        last = len(self.hidden)
        for i, (z, coef, intercept) in enumerate(
            zip(work.layers, self.coefs, self.intercepts, strict=True)
        ):
            _product(x, coef, z)
            np.add(z, intercept, out=z)
            if i < last:
                self.hidden[i][0](z)
            x = z
        self.link(x)
        return work

    def _backward(self, x: Any, work: _Work) -> None:
        """The gradient of the losses, from the delta in the last layer's place."""
        delta = work.layers[-1]
        for i in range(len(self.coefs) - 1, -1, -1):
            below = work.layers[i - 1] if i else x
            _product(below.T, delta, self.coef_gradients[i])
            np.add.reduce(delta, axis=0, out=self.intercept_gradients[i])
            if i:
                _product(delta, self.coefs[i].T, work.deltas[i - 1])
                delta = work.deltas[i - 1]
                self.hidden[i - 1][1](below, delta, work.scratch[i - 1])


def _product(a: Any, b: Array, out: Array) -> None:
    """``out = a @ b``; `a` may be sparse."""
    if not isinstance(a, np.ndarray):
        out[...] = a @ b
    elif a.shape[1] == 1:
        np.multiply(a, b, out=out)  # four times faster than the product of a column and a row
    else:
        np.matmul(a, b, out=out)
