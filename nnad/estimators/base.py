"""What the four estimators share: reading data, the way of a fit, and quick predictions."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from nnad.estimators.components import make_schedule
from nnad.estimators.host import CallbackSupport, HostCallbacks
from nnad.estimators.loop import EpochLoop
from nnad.estimators.objectives import Objective
from nnad.estimators.rows import BatchSource, Rows, take
from nnad.estimators.threads import is_small, threads_for

__all__ = ["HeldOut", "NetworkEstimator", "Task"]

FLOATS = (np.float64, np.float32)
AUTO_BATCH = 200
SMALLEST_VALIDATION = 2
FOUND_OUT = (
    "_solver_state",
    "_exhausted",
    "loss_curve_",
    "best_loss_",
    "best_epoch_",
    "validation_scores_",
    "validation_loss_curve_",
    "best_validation_score_",
    "best_validation_loss_",
)

HeldOut = tuple[Any, Any, Any]  # X_val, y_val, sample_weight_val


@dataclass
class Task:
    """One call of `fit` or `partial_fit`.

    Attributes:
        rows: encoded training rows.
        y: their target as the user knows it.
        held_out: validation rows that the user gave.
        objective: the loss.
        incremental: whether this is one epoch of `partial_fit`.
        random_state: draws initial weights, validation rows and the order of the rows.
    """

    rows: Rows
    y: Any
    held_out: HeldOut
    objective: Objective
    incremental: bool
    random_state: np.random.RandomState


class NetworkEstimator(CallbackSupport, BaseEstimator):
    """Base of the estimators: `_fit` is the frame, the methods it calls are filled in below.

    What follows from the kind of target is in `nnad.estimators.targets`; what follows from the
    kind of network in `nnad.estimators.perceptron` and `nnad.estimators.network`.
    """

    _y_is_numeric = False
    _accepts_many_axes = False
    _input_dtype: Any = FLOATS  # what inputs are converted to unless they are so already
    _link: str | None  # turns the network's scores into predictions
    _solver_state: tuple[str, dict[str, Any]]
    validation_scores_: list[float] | None
    validation_loss_curve_: list[float] | None

    # What subclasses say --------------------------------------------------------------------------

    def _is_built(self) -> bool:
        """Whether there is a network that another fit could continue with."""
        raise NotImplementedError

    def _build(self, task: Task) -> None:
        """Make a network with initial weights."""
        raise NotImplementedError

    def _make_engine(self, task: Task) -> Any:
        """What trains the network."""
        raise NotImplementedError

    def _scores(self, x: Any) -> np.ndarray:
        """The network's outputs before the link, for checked rows."""
        raise NotImplementedError

    def _snapshot(self) -> dict[str, Any]:
        """Attributes of an estimator that predicts as the network would now."""
        raise NotImplementedError

    def _weight_arrays(self) -> list[np.ndarray]:
        """All parameters."""
        raise NotImplementedError

    def _read_target(self, y: Any, incremental: bool) -> Any:
        """Check a training target, and take note of its classes."""
        raise NotImplementedError

    def _read_held_out_target(self, y: Any) -> Any:
        """Check a validation target."""
        raise NotImplementedError

    def _objective_for(self, y: Any) -> Objective:
        """The loss for a target."""
        raise NotImplementedError

    def _encode(self, y: Any, objective: Objective, dtype: Any) -> np.ndarray:
        """The target as the loss wants it."""
        raise NotImplementedError

    def _score_outputs(self, outputs: np.ndarray, rows: Rows) -> float:
        """Accuracy or R² of predictions."""
        raise NotImplementedError

    def _class_weights(self, y: Any, incremental: bool) -> np.ndarray | None:
        """The weight of each row by its class; None for all alike."""
        return None

    def _strata(self, y: Any) -> Any:
        """By what rows are kept in proportion when validation rows are set aside."""
        return None

    def _settings(self, prefix: str) -> Mapping[str, Any]:
        """Nested parameters such as ``optimizer__lr``, by what follows the prefix."""
        return {}

    # The frame ------------------------------------------------------------------------------------

    def _fit(
        self, X: Any, y: Any, sample_weight: Any, held_out: HeldOut, incremental: bool = False
    ) -> Any:
        """Fit, or with `incremental` go once over the rows."""
        first = not self._is_built() or not (self.warm_start or incremental)
        X, y = self._read(X, y, reset=first)
        y = self._read_target(y, incremental)
        weight = self._row_weights(X, y, sample_weight, incremental)
        objective = self._objective_for(y)
        rows = Rows(X, self._encode(y, objective, self._dtype_for(X)), weight)
        random_state = check_random_state(self.random_state)
        task = Task(rows, y, held_out, objective, incremental, random_state)
        if first:
            self._reset()
            self.n_outputs_, self._link = objective.outputs, objective.link
            self._build(task)
        with threads_for(self._operations(task)):
            self._train(task)
        if not all(np.isfinite(array).all() for array in self._weight_arrays()):
            raise ValueError(
                "Solver produced non-finite parameter weights. The input data may contain large "
                "values and need to be preprocessed."
            )
        return self

    def _read(self, X: Any, y: Any, reset: bool) -> tuple[Any, Any]:
        """Rows and target, checked by scikit-learn's rules."""
        X, y = validate_data(
            self,
            X,
            y,
            accept_sparse=["csr", "csc"],
            multi_output=True,
            y_numeric=self._y_is_numeric,
            dtype=self._input_dtype,
            allow_nd=self._accepts_many_axes,
            reset=reset,
        )
        return (np.ascontiguousarray(X) if isinstance(X, np.ndarray) else X.tocsr()), y

    def _rows_at_once(self, task: Task) -> int:
        """Rows in one pass forward."""
        return min(task.rows.size, AUTO_BATCH if self.batch_size == "auto" else self.batch_size)

    def _pace(self, task: Task) -> dict[str, Any]:
        """For a `ModuleEngine`: how many steps there may be, and for how many threads."""
        epochs = 1 if task.incremental else self.max_iter
        steps = epochs * -(-task.rows.size // self._rows_at_once(task))
        return {"steps": steps, "threads": 1 if is_small(self._operations(task)) else "auto"}

    def _operations(self, task: Task) -> int:
        """Multiplications and additions of one pass forward of fully connected layers."""
        return 2 * self._rows_at_once(task) * sum(w.size for w in self._weight_arrays())

    def _dtype_for(self, X: Any) -> np.dtype:
        """Of the parameters and the target, for inputs `X`."""
        return X.dtype

    def _row_weights(
        self, X: Any, y: Any, sample_weight: Any, incremental: bool
    ) -> np.ndarray | None:
        """Weights of the rows times those of their classes; None for all alike."""
        dtype = self._dtype_for(X)
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, X, dtype=dtype)
        by_class = self._class_weights(y, incremental)
        if by_class is None:
            return sample_weight
        by_class = by_class.astype(dtype)
        return by_class if sample_weight is None else by_class * sample_weight

    def _reset(self) -> None:
        """Forget what earlier fits found out."""
        self.n_iter_ = self.t_ = self._steps = 0
        self._best_weights: list[np.ndarray] | None = None
        for name in FOUND_OUT:
            self.__dict__.pop(name, None)

    def _train(self, task: Task) -> None:
        """Run the solver."""
        self._train_epochs(task)

    def _train_epochs(self, task: Task) -> None:
        """Epochs until patience ends or all are done; then the best weights, if watched."""
        incremental = task.incremental
        if incremental and self.early_stopping and getattr(self, "_exhausted", False):
            return
        engine = self._make_engine(task)
        self._take_up(engine.solver, incremental)
        rows, validation = self._validation_rows(task)
        self._begin_curves(engine, validation is not None)
        loop = self._make_loop(task, engine, rows, validation)
        loop.run()
        self.stopped_early_ = loop.stopped_early
        self._exhausted = incremental and loop.stopped_early
        self._solver_state = type(engine.solver).__name__, engine.solver.state()
        if validation is not None and (loop.stopped_early or not incremental):
            for array, best in zip(engine.weights(), self._best_weights or (), strict=True):
                array[...] = best
        loop.host.fit_ends()

    def _take_up(self, solver: Any, incremental: bool) -> None:
        """Let the solver of a further `partial_fit` continue; that of a `fit` starts afresh."""
        if not incremental:
            self._steps = 0
            return
        kind, state = self.__dict__.get("_solver_state", (None, None))
        if kind == type(solver).__name__:
            solver.restore(state)

    def _make_loop(self, task: Task, engine: Any, rows: Rows, validation: Rows | None) -> EpochLoop:
        """The epochs of a task, with what it is to be told and to tell."""
        size = self._batch_rows(rows.size)
        source = BatchSource(rows, size, self.shuffle, task.random_state, engine.smallest_batch)
        epochs = 1 if task.incremental else self.max_iter
        total_steps = self.max_iter * len(source.slices)
        return EpochLoop(
            self,
            engine,
            source,
            validation,
            self._score_outputs,
            epochs=epochs,
            single=task.incremental,
            schedule=make_schedule(self.schedule, self._settings("schedule"), total_steps),
            callbacks=self.callbacks or (),
            host=HostCallbacks(self, rows.x, task.y, rows.weight, epochs, self._snapshot),
        )

    def _begin_curves(self, engine: Any, watched: bool) -> None:
        """The attributes that an epoch adds to, unless an earlier fit is continued."""
        if not hasattr(self, "loss_curve_"):
            self.loss_curve_: list[float] = []
            self._no_improvement_count = 0
            self.best_loss_ = self.best_validation_score_ = self.best_validation_loss_ = None
            self.validation_scores_ = self.validation_loss_curve_ = None
        if not self.early_stopping and self.best_loss_ is None:
            self.best_loss_ = np.inf
        if watched and self._best_weights is None:
            self.validation_scores_, self.validation_loss_curve_ = [], []
            self.best_validation_score_, self.best_validation_loss_ = -np.inf, np.inf
            self._best_weights = [array.copy() for array in engine.weights()]

    def _batch_rows(self, count: int) -> int:
        """How many rows make a batch."""
        if self.batch_size == "auto":
            return min(AUTO_BATCH, count)
        if self.batch_size > count:
            warnings.warn(
                "Got `batch_size` less than 1 or larger than sample size. It is going to be "
                "clipped",
                stacklevel=2,
            )
        return int(np.clip(self.batch_size, 1, count))

    def _validation_rows(self, task: Task) -> tuple[Rows, Rows | None]:
        """Training rows, and those that were given for validation or are set aside for it."""
        X_val, y_val, weight = task.held_out
        if X_val is not None or y_val is not None:
            return task.rows, self._read_held_out(task, X_val, y_val, weight)
        if not self.early_stopping:
            return task.rows, None
        if task.incremental:
            raise ValueError(
                "partial_fit does not support early_stopping=True without validation rows: some "
                "of those set aside in one call would be trained on in the next; pass X_val and "
                "y_val"
            )
        from sklearn.model_selection import train_test_split  # loads half of scikit-learn

        train, test = train_test_split(
            np.arange(task.rows.size),
            random_state=task.random_state,
            test_size=self.validation_fraction,
            stratify=self._strata(task.y),
        )
        if len(test) < SMALLEST_VALIDATION:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' or the size of "
                "your dataset."
            )
        return take(task.rows, train), take(task.rows, test)

    def _read_held_out(self, task: Task, X_val: Any, y_val: Any, weight: Any) -> Rows:
        """Validation rows that the user gave."""
        if X_val is None or y_val is None:
            given, missing = ("X_val", "y_val") if y_val is None else ("y_val", "X_val")
            raise ValueError(f"got {given} without {missing}: validation needs both")
        X_val, y_val = self._read(X_val, y_val, reset=False)
        X_val = X_val.astype(task.rows.x.dtype, copy=False)
        dtype = self._dtype_for(X_val)
        if weight is not None:
            weight = _check_sample_weight(weight, X_val, dtype=dtype)
        target = self._encode(self._read_held_out_target(y_val), task.objective, dtype)
        return Rows(X_val, target, weight)

    # Prediction -----------------------------------------------------------------------------------

    def _rows_for_prediction(self, X: Any) -> Any:
        """Checked rows. What is plainly in order is not put through scikit-learn's checks."""
        known = self.__dict__
        if (
            type(X) is np.ndarray
            and X.ndim == 2
            and X.dtype in FLOATS
            and X.shape[0]
            and X.shape[1] == known.get("n_features_in_")
            and "feature_names_in_" not in known
            and self._is_built()
            and np.isfinite(X).all()
        ):
            return X
        check_is_fitted(self)
        return validate_data(
            self,
            X,
            accept_sparse=["csr", "csc"],
            allow_nd=self._accepts_many_axes,
            dtype=self._input_dtype,
            reset=False,
        )

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags
