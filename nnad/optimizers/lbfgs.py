"""L-BFGS with an optional strong Wolfe line search, step for step as torch.optim.LBFGS."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np

from nnad.autodiff.tensor import value_of
from nnad.errors import ShapeError
from nnad.optimizers.base import Optimizer, Params
from nnad.optimizers.line_search import Evaluation, Probe, strong_wolfe

__all__ = ["LBFGS"]

SMALLEST_CURVATURE = 1e-10  # pairs (s, y) of less curvature y's are not remembered


class History:
    """The last differences of positions and gradients, and the product with the inverse Hessian.

    Args:
        size: how many pairs are kept.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.gradients: list[np.ndarray] = []
        self.positions: list[np.ndarray] = []
        self.scale = 1.0

    def add(self, y: np.ndarray, s: np.ndarray) -> None:
        """Remember a difference `y` of gradients over a difference `s` of positions."""
        curvature = float(y @ s)
        if curvature <= SMALLEST_CURVATURE:
            return
        if len(self.gradients) == self.size:
            del self.gradients[0], self.positions[0]
        self.gradients.append(y)
        self.positions.append(s)
        self.scale = curvature / float(y @ y)

    def descent(self, grad: np.ndarray) -> np.ndarray:
        """``-H grad`` by the two-loop recursion (Nocedal, 1980)."""
        q = -grad
        rho = [1.0 / float(y @ s) for y, s in zip(self.gradients, self.positions, strict=True)]
        alpha = [0.0] * len(rho)
        for i in reversed(range(len(rho))):
            alpha[i] = float(self.positions[i] @ q) * rho[i]
            q -= alpha[i] * self.gradients[i]
        q *= self.scale
        for i in range(len(rho)):
            beta = float(self.gradients[i] @ q) * rho[i]
            q += (alpha[i] - beta) * self.positions[i]
        return q


class LBFGS(Optimizer):
    """Limited-memory BFGS for full batches, as torch.optim.LBFGS.

    ``step(closure)`` makes up to `max_iter` iterations; the closure clears the gradients, computes
    the loss, runs ``backward()`` and returns the loss. All parameters form one group.

    Args:
        params: the parameters.
        lr: length of a step, or of the first trial step of the line search.
        max_iter: iterations per call of :meth:`step`.
        max_eval: evaluations of the closure per call; None: ``max_iter * 5 // 4``.
        tolerance_grad: stop when no entry of the gradient is larger.
        tolerance_change: stop when the loss, or every parameter, changes less.
        history_size: pairs of differences that are kept.
        line_search_fn: None or "strong_wolfe".

    >>> from nnad import Tensor
    >>> x = Tensor([3.0, -4.0], requires_grad=True)
    >>> optimizer = LBFGS([x], line_search_fn="strong_wolfe")
    >>> def closure():
    ...     optimizer.zero_grad()
    ...     loss = ((x - 1.0) ** 2).sum()
    ...     loss.backward()
    ...     return loss
    >>> _ = optimizer.step(closure)
    >>> x.data.round(6)
    array([1., 1.])
    """

    elementwise = False

    def __init__(
        self,
        params: Params,
        lr: float = 1.0,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
        line_search_fn: Literal["strong_wolfe"] | None = None,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "max_iter": max_iter,
                "max_eval": max_iter * 5 // 4 if max_eval is None else max_eval,
                "tolerance_grad": tolerance_grad,
                "tolerance_change": tolerance_change,
                "history_size": history_size,
                "line_search_fn": line_search_fn,
            },
        )
        if len(self.param_groups) != 1:
            raise ValueError(
                f"LBFGS treats all parameters as one vector: expected one group, got "
                f"{len(self.param_groups)}"
            )
        self.history = History(history_size)
        self.iterations = 0
        self.evaluations = 0
        self._direction: np.ndarray | None = None
        self._length = 0.0
        self._last_grad: np.ndarray | None = None

    def check(self, hyper: Mapping[str, Any]) -> None:
        """The name of the line search; there is no climbing."""
        if hyper["line_search_fn"] not in (None, "strong_wolfe"):
            raise ValueError(
                f"LBFGS: line_search_fn must be None or 'strong_wolfe', got "
                f"{hyper['line_search_fn']!r}"
            )
        if hyper["maximize"]:
            raise ValueError("LBFGS cannot maximize; return the negative of the value as loss")

    def slots(self, group: Mapping[str, Any]) -> tuple[str, ...]:
        """None: the memory is one of whole vectors."""
        return ()

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Iterate until an iteration, evaluation or tolerance limit is met.

        Args:
            closure: clears the gradients, computes the loss, runs backward and returns the loss.

        Returns:
            The loss before the first iteration, as the closure returned it.
        """
        if closure is None:
            raise TypeError(
                "LBFGS.step needs a closure that clears the gradients, computes the loss, runs "
                "backward() and returns the loss: optimizer.step(closure)"
            )
        group = self.param_groups[0]
        first = closure()
        now = Evaluation(_as_float(first), self._gradient())
        self.evaluations += 1
        evaluations = 1
        if np.max(np.abs(now.grad)) <= group["tolerance_grad"]:
            return first
        for iteration in range(1, group["max_iter"] + 1):
            direction = self._next_direction(now.grad)
            slope = float(now.grad @ direction)
            if slope > -group["tolerance_change"]:
                break
            before = now.loss
            now, used = self._advance(closure, now, slope, iteration, evaluations)
            evaluations += used
            self.evaluations += used
            if iteration == group["max_iter"] or self._is_done(now, before, evaluations):
                break
        return first

    def _next_direction(self, grad: np.ndarray) -> np.ndarray:
        """The direction and first length of this iteration; remembers the gradient."""
        self.iterations += 1
        if self._direction is None or self._last_grad is None:
            direction = -grad
            total = float(np.sum(np.abs(grad)))
            self._length = min(1.0, 1.0 / total) * self.param_groups[0]["lr"]
        else:
            self.history.add(grad - self._last_grad, self._direction * self._length)
            direction = self.history.descent(grad)
            self._length = self.param_groups[0]["lr"]
        self._direction = direction
        self._last_grad = grad.copy()
        return direction

    def _advance(
        self,
        closure: Callable[[], Any],
        now: Evaluation,
        slope: float,
        iteration: int,
        evaluations: int,
    ) -> tuple[Evaluation, int]:
        """Move along the direction; returns where that led and how often the closure ran."""
        group = self.param_groups[0]
        assert self._direction is not None
        if group["line_search_fn"] is None:
            self._move(self._length, self._direction)
            if iteration == group["max_iter"]:
                return now, 0
            loss = _as_float(closure())
            return Evaluation(loss, self._gradient()), 1
        probe = self._probe(closure, self._direction)
        now, self._length, used = strong_wolfe(
            probe,
            self._length,
            self._direction,
            now,
            slope,
            max_ls=group["max_eval"] - evaluations,
        )
        self._move(self._length, self._direction)
        return now, used

    def _probe(self, closure: Callable[[], Any], direction: np.ndarray) -> Probe:
        """Loss and gradient at a distance along `direction`; the parameters come back."""
        params = self.param_groups[0]["params"]
        start = [p.data.copy() for p in params]

        def probe(length: float) -> Evaluation:
            self._move(length, direction)
            found = Evaluation(_as_float(closure()), self._gradient())
            for p, values in zip(params, start, strict=True):
                p.data[...] = values
            return found

        return probe

    def _is_done(self, now: Evaluation, before: float, evaluations: int) -> bool:
        group = self.param_groups[0]
        assert self._direction is not None
        tolerance = group["tolerance_change"]
        return bool(
            evaluations >= group["max_eval"]
            or np.max(np.abs(now.grad)) <= group["tolerance_grad"]
            or np.max(np.abs(self._direction * self._length)) <= tolerance
            or abs(now.loss - before) < tolerance
        )

    def _gradient(self) -> np.ndarray:
        """All gradients as one new vector; zeros where there is none."""
        return np.concatenate(
            [
                np.zeros(p.size, p.dtype) if p.grad is None else np.ravel(p.grad)
                for p in self.param_groups[0]["params"]
            ]
        )

    def _move(self, length: float, direction: np.ndarray) -> None:
        begin = 0
        for p in self.param_groups[0]["params"]:
            part = direction[begin : begin + p.size].reshape(p.shape)
            p.data[...] += length * part
            begin += p.size

    def state_dict(self, copy: bool = True) -> dict[str, Any]:
        """The hyper-parameters and the memory of past iterations."""
        return {
            **super().state_dict(copy),
            "iterations": self.iterations,
            "evaluations": self.evaluations,
            "direction": self._direction,
            "length": self._length,
            "last_grad": self._last_grad,
            "gradient_differences": list(self.history.gradients),
            "position_differences": list(self.history.positions),
            "scale": self.history.scale,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what :meth:`state_dict` returned, to the last bit.

        Raises:
            ValueError: the state belongs to another optimizer or other parameters.
        """
        self._check_memory(state)
        super().load_state_dict(state)
        self.iterations = int(state["iterations"])
        self.evaluations = int(state["evaluations"])
        self._direction = _copied(state["direction"])
        self._length = float(state["length"])
        self._last_grad = _copied(state["last_grad"])
        self.history = History(self.param_groups[0]["history_size"])
        self.history.gradients = [np.array(y) for y in state["gradient_differences"]]
        self.history.positions = [np.array(s) for s in state["position_differences"]]
        self.history.scale = float(state["scale"])

    def _check_memory(self, state: Mapping[str, Any]) -> None:
        """Refuse vectors that are none over these parameters, and pairs that `History` drops."""
        size = sum(p.size for p in self.param_groups[0]["params"])
        ys, ss = state["gradient_differences"], state["position_differences"]
        last = [v for v in (state["direction"], state["last_grad"]) if v is not None]
        for vector in (*last, *ys, *ss):
            if np.shape(vector) != (size,) or np.asarray(vector).dtype.kind != "f":
                raise ShapeError(
                    f"LBFGS: the saved memory holds an array of shape {np.shape(vector)}, expected "
                    f"numbers of shape {(size,)}"
                )
        most = state["param_groups"][0]["history_size"]
        fits = len(ys) == len(ss) <= most and len(last) != 1
        if not fits or not all(float(y @ s) > 0 for y, s in zip(ys, ss, strict=True)):
            raise ValueError(
                f"LBFGS: the saved memory has {len(ys)} differences of gradients and {len(ss)} of "
                f"positions, expected at most {most} pairs of positive curvature"
            )


def _copied(array: Any) -> np.ndarray | None:
    return None if array is None else np.array(array)


def _as_float(loss: Any) -> float:
    """The loss as a number; one that is not a number counts as infinitely bad."""
    value = float(np.asarray(value_of(loss)))
    return value if not math.isnan(value) else math.inf
