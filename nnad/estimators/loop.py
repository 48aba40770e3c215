"""The epochs of a stochastic solver, in scikit-learn's terms: tolerance, patience, best weights."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from nnad.estimators.host import HostCallbacks
from nnad.estimators.rows import BatchSource, Rows
from nnad.training.callbacks import Callback

__all__ = ["Engine", "EpochLoop", "Rates"]


class Rates(Protocol):
    """What the loop asks of a solver."""

    rate: float
    factor: float

    def epoch_ends(self, samples: int) -> None:
        """Change the rate after an epoch."""

    def out_of_patience(self) -> tuple[bool, str]:
        """Whether to stop rather than to lower the rate, and what to say."""


class Engine(Protocol):
    """What the loop trains."""

    solver: Any

    def train_step(self, batch: Rows) -> float:
        """One update; returns the loss before it."""

    def evaluate(self, rows: Rows) -> tuple[float, np.ndarray]:
        """Loss and predictions for `rows`."""

    def weights(self) -> list[np.ndarray]:
        """The arrays that make up the state of the network, live."""


class EpochLoop:
    """Runs the epochs of one `fit` or `partial_fit` and keeps the estimator's attributes.

    Callbacks (`nnad.training.callbacks.Callback`) get this loop where they expect a trainer.

    Args:
        estimator: whose parameters (`tol`, `n_iter_no_change`, …) decide and whose attributes
            (`loss_curve_`, `n_iter_`, …) tell what happened.
        engine: does the steps.
        source: the training rows in batches.
        validation: rows to watch, or None.
        score: of predictions for the validation rows; larger is better.
        epochs: to run at most.
        single: one epoch of `partial_fit`: no complaint that it has not converged.
        schedule: factor on the rate by step, or None.
        callbacks: of nnad.
        host: the callbacks of scikit-learn.

    Attributes:
        epoch, step, steps_in_epoch, steps_per_epoch: where the loop is.
        step_loss: loss of the last step.
        history: columns of numbers by name, an entry an epoch.
        stopped_early: whether patience (or a callback) ended the run.
    """

    def __init__(
        self,
        estimator: Any,
        engine: Engine,
        source: BatchSource,
        validation: Rows | None,
        score: Callable[[np.ndarray, Rows], float],
        *,
        epochs: int,
        single: bool,
        schedule: Callable[[int], float] | None,
        callbacks: Sequence[Callback],
        host: HostCallbacks,
    ) -> None:
        self.estimator = estimator
        self.model = getattr(estimator, "module_", estimator)
        self.engine = engine
        self.optimizer = engine.solver
        self.source = source
        self.validation = validation
        self.score = score
        self.epochs = epochs
        self.single = single
        self.schedule = schedule
        self.callbacks = list(callbacks)
        self.host = host
        self.epoch = self.steps_in_epoch = 0
        self.steps_per_epoch = len(source.slices)
        self.step = estimator._steps if schedule is not None else 0
        self.step_loss = math.nan
        self.history: dict[str, list[float]] = {}
        self.stopped_early = False
        self.step_hooks = [
            callback.on_step_end
            for callback in self.callbacks
            if type(callback).on_step_end is not Callback.on_step_end
        ]

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        return self.epoch >= self.epochs or self.stopped_early

    def run(self) -> None:
        """All epochs; afterwards the engine holds the best weights, if they were watched."""
        self.estimator.n_iter_ = 0
        try:
            self.notify("on_fit_begin")
            with np.errstate(all="ignore"):  # weights that are not finite are reported at the end
                while not self.finished:
                    self.run_epoch()
            self.notify("on_fit_end")
        except KeyboardInterrupt:
            warnings.warn("Training interrupted by user.", stacklevel=4)
        finally:
            self.estimator._steps = self.step
            for callback in self.callbacks:
                callback.close()

    def run_epoch(self) -> None:
        """One pass over the rows, its validation, and whether to go on."""
        self.host.epoch_begins()
        self.notify("on_epoch_begin")
        total = 0.0
        for batch in self.source.epoch():
            total += self.run_step(batch) * batch.size
        self.end_epoch(total / self.source.rows.size)

    def run_step(self, batch: Rows) -> float:
        """One update; returns the loss before it."""
        if self.schedule is not None:
            self.optimizer.factor = self.schedule(self.step)
        if batch.weight is None or batch.weight.any():
            self.step_loss = self.engine.train_step(batch)
        self.step += 1
        self.steps_in_epoch += 1
        for hook in self.step_hooks:
            hook(self)  # type: ignore[arg-type]  # it has what callbacks ask of a trainer
        return self.step_loss

    def end_epoch(self, loss: float) -> None:
        """Write down the epoch, validate, and decide whether to go on."""
        estimator = self.estimator
        self.epoch += 1
        self.steps_in_epoch = 0
        estimator.n_iter_ += 1
        estimator.t_ += self.source.rows.size
        estimator.loss_ = loss
        estimator.loss_curve_.append(loss)
        self.say(f"Iteration {estimator.n_iter_}, loss = {loss:.8f}")
        row = {"epoch": self.epoch, "step": self.step, "learning_rate": self.optimizer.rate}
        row["train_loss"] = loss
        row |= self.validate()
        for name, value in row.items():
            self.history.setdefault(name, []).append(value)
        self.watch(row)
        self.optimizer.epoch_ends(estimator.t_)
        if estimator._no_improvement_count > estimator.n_iter_no_change:
            self.lose_patience()
        update = getattr(self.schedule, "update", None)
        if update is not None:
            update(row.get("val_loss", loss))
        self.notify("on_epoch_end", row)
        if self.host.epoch_ends():
            self.stopped_early = True
        self.judge_convergence()

    def judge_convergence(self) -> None:
        """Warn when the last epoch did not end for lack of progress.

        A schedule is made for the whole run, and one epoch of `partial_fit` promises nothing.
        """
        is_planned = self.single or self.schedule is not None
        if self.epoch == self.epochs and not (self.stopped_early or is_planned):
            warnings.warn(
                f"Stochastic Optimizer: Maximum iterations ({self.epochs}) reached and the "
                "optimization hasn't converged yet.",
                ConvergenceWarning,
                stacklevel=5,
            )

    def validate(self) -> dict[str, float]:
        """Loss and score of the validation rows."""
        if self.validation is None:
            return {}
        loss, outputs = self.engine.evaluate(self.validation)
        score = self.score(outputs, self.validation)
        self.estimator.validation_loss_curve_.append(loss)
        self.estimator.validation_scores_.append(score)
        return {"val_loss": loss, "val_score": score}

    def watch(self, row: dict[str, float]) -> None:
        """Count epochs without improvement, and keep the weights of the best one."""
        estimator = self.estimator
        if estimator.early_stopping:
            score = row["val_score"]
            self.say(f"Validation score: {score:f}")
            improved = not score < estimator.best_validation_score_ + estimator.tol
            if score > estimator.best_validation_score_:
                estimator.best_validation_score_ = score
                self.keep_weights(row)
        else:
            loss = row["train_loss"]
            improved = not loss > estimator.best_loss_ - estimator.tol
            estimator.best_loss_ = min(estimator.best_loss_, loss)
            if self.validation is not None and row["val_loss"] < estimator.best_validation_loss_:
                estimator.best_validation_score_ = row["val_score"]
                self.keep_weights(row)
        estimator._no_improvement_count = 0 if improved else estimator._no_improvement_count + 1

    def keep_weights(self, row: dict[str, float]) -> None:
        """Remember the weights as the best ones."""
        estimator = self.estimator
        estimator.best_validation_loss_ = row["val_loss"]
        estimator.best_epoch_ = len(estimator.loss_curve_)
        estimator._best_weights = [array.copy() for array in self.engine.weights()]

    def lose_patience(self) -> None:
        """Stop, or go on with a lower rate."""
        estimator = self.estimator
        watched = "Validation score" if estimator.early_stopping else "Training loss"
        stop, words = self.optimizer.out_of_patience()
        self.say(
            f"{watched} did not improve more than tol={estimator.tol:f} for "
            f"{estimator.n_iter_no_change} consecutive epochs. {words}"
        )
        if stop:
            self.stopped_early = True
        else:
            estimator._no_improvement_count = 0

    def notify(self, hook: str, *args: Any) -> None:
        """Call a hook of every callback."""
        for callback in self.callbacks:
            getattr(callback, hook)(self, *args)

    def say(self, text: str) -> None:
        """Print a line, as scikit-learn does, if the estimator is to be verbose."""
        if self.estimator.verbose:
            print(text)  # noqa: T201
