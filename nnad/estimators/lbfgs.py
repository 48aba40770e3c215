"""Full-batch training by SciPy's L-BFGS-B, as scikit-learn's solver "lbfgs" does it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from scipy.optimize import minimize as scipy_minimize
from sklearn.utils.optimize import _check_optimize_result

from nnad.estimators.host import HostCallbacks
from nnad.estimators.rows import Rows

__all__ = ["minimize"]


def minimize(estimator: Any, task: Any) -> None:
    """Minimise the loss over all rows of a task, in double precision.

    With validation rows, the weights of the iteration with the least validation loss are kept.

    Args:
        estimator: whose network is trained, and whose attributes tell what happened.
        task: rows, objective and random state of the fit.
    """
    wide = replace(task, rows=_as_double(task.rows))
    engine = estimator._make_engine(wide)
    validation = None
    if task.held_out[0] is not None or task.held_out[1] is not None:
        validation = estimator._read_held_out(wide, *task.held_out)
    watch = _Watch(estimator, engine, validation)
    host = HostCallbacks(estimator, task.rows.x, task.y, task.rows.weight, 0, estimator._snapshot)
    with np.errstate(all="ignore"):  # a trial point may overflow; the search then turns back
        found = scipy_minimize(
            _Function(engine, wide.rows),
            engine.parameters.astype(np.float64),
            method="L-BFGS-B",
            jac=True,
            callback=watch,
            options={
                "maxfun": estimator.max_fun,
                "maxiter": estimator.max_iter,
                "gtol": estimator.tol,
            },
        )
    estimator.n_iter_ = _check_optimize_result("lbfgs", found, estimator.max_iter)
    estimator.loss_ = found.fun
    engine.parameters[...] = found.x if watch.best is None else watch.best
    estimator._take_weights(engine, estimator._dtype_for(task.rows.x))
    host.fit_ends()


def _as_double(rows: Rows) -> Rows:
    weight = None if rows.weight is None else rows.weight.astype(np.float64)
    target = rows.target.astype(np.float64) if rows.target.dtype.kind == "f" else rows.target
    return Rows(rows.x.astype(np.float64), target, weight)


class _Function:
    """Loss and gradient at given weights."""

    def __init__(self, engine: Any, rows: Rows) -> None:
        self.engine = engine
        self.rows = rows

    def __call__(self, weights: np.ndarray) -> tuple[float, np.ndarray]:
        self.engine.parameters[...] = weights
        loss = self.engine.loss_and_gradient(*self.rows)
        return loss, self.engine.gradient.astype(np.float64)


class _Watch:
    """Called after each iteration: says how it goes, and remembers the best weights."""

    def __init__(self, estimator: Any, engine: Any, validation: Rows | None) -> None:
        self.estimator = estimator
        self.engine = engine
        self.validation = validation
        self.best: np.ndarray | None = None
        self.iterations = 0
        if validation is not None:
            estimator.validation_scores_, estimator.validation_loss_curve_ = [], []
            estimator.best_validation_score_ = -np.inf
            estimator.best_validation_loss_ = np.inf

    def __call__(self, intermediate_result: Any) -> None:
        self.iterations += 1
        estimator = self.estimator
        if estimator.verbose:
            print(f"Iteration {self.iterations}, loss = {intermediate_result.fun:.8f}")  # noqa: T201
        if self.validation is None:
            return
        self.engine.parameters[...] = intermediate_result.x
        loss, outputs = self.engine.evaluate(self.validation)
        score = estimator._score_outputs(outputs, self.validation)
        estimator.validation_loss_curve_.append(loss)
        estimator.validation_scores_.append(score)
        if loss < estimator.best_validation_loss_:
            estimator.best_validation_loss_, estimator.best_validation_score_ = loss, score
            estimator.best_epoch_ = self.iterations
            self.best = intermediate_result.x.copy()
