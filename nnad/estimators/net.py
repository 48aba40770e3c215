"""`NetClassifier` and `NetRegressor`: any nnad module as a scikit-learn estimator."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sklearn.base import _fit_context

from nnad.estimators.network import NetworkOfModule
from nnad.estimators.objectives import (
    Objective,
    class_objective,
    number_objective,
)
from nnad.estimators.targets import ClassTarget, NumberTarget

__all__ = ["NetClassifier", "NetRegressor"]

Loss = str | Mapping[str, Any] | Callable[..., Any]


class NetClassifier(ClassTarget, NetworkOfModule):
    """A classifier around any nnad module.

    Args:
        module: a function ``module(n_features, n_outputs, **parameters) -> Module`` (a Module class
            will do; n_features is a tuple where a row has several axes; an argument `rng` gets a
            generator), or a list of layer entries as in the YAML of a job, whose last ``"Linear"``
            gets the outputs, or None: a perceptron (`nnad.estimators.network.default_network`).
        loss: "log_loss" (of a softmax for three classes and more, else of a logistic output for
            each label), or a loss of nnad for classes: its name, a mapping with arguments, a Loss,
            or a function (scores, target, sample_weight=None).
        optimizer: an optimizer of nnad: its name, a mapping with hyper-parameters, or a class.
        schedule: of the rate, by step: a name ("cosine"), a mapping, or a function from the step to
            a factor.
        batch_size: rows of a batch; "auto" is 200, or all rows if they are fewer.
        max_iter: epochs at most.
        shuffle: draw another order of the rows for each epoch.
        random_state: draws initial weights, orders, validation rows and dropout masks.
        tol: an epoch must improve on the best loss (or validation score) by that much.
        n_iter_no_change: epochs without improvement before training ends.
        early_stopping: stop when the validation score stalls, and take the best weights.
        validation_fraction: share of the rows set aside for that, unless `X_val` is given.
        class_weight: "balanced", a dict from classes to weights, or None.
        clip_norm: largest norm of the gradient.
        dtype: of parameters and inputs, "float32" or "float64"; None: that of X. Integers reach a
            network with an Embedding as they are.
        verbose: print a line an epoch.
        warm_start: continue from the last fit.
        callbacks: list of `nnad.training.callbacks.Callback`.
        **nested: parameters of what the estimator is made of: ``module__hidden``,
            ``optimizer__lr``, ``schedule__warmup_steps``, ``loss__label_smoothing``.

    Attributes:
        module_: the network.
        classes_, n_features_in_, feature_names_in_, n_outputs_: of the data.
        loss_, best_loss_, loss_curve_, validation_scores_, best_validation_score_,
            validation_loss_curve_, best_validation_loss_, best_epoch_, n_iter_, t_: see
            `MLPClassifier`.

    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> layers = [{"Linear": {"out_features": 16}}, "GELU", "Linear"]
    >>> model = NetClassifier(layers, optimizer__lr=0.01, random_state=0).fit(X, y)
    >>> bool(model.score(X, y) > 0.95)
    True
    """

    _parameter_constraints = {**NetworkOfModule._parameter_constraints}

    def __init__(
        self,
        module: Any = None,
        *,
        loss: Loss = "log_loss",
        optimizer: Any = "Adam",
        schedule: Any = None,
        batch_size: int | str = "auto",
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        n_iter_no_change: float = 10,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        class_weight: Any = None,
        clip_norm: float | None = None,
        dtype: Any = None,
        verbose: bool = False,
        warm_start: bool = False,
        callbacks: Sequence[Any] | None = None,
        **nested: Any,
    ) -> None:
        self.module = module
        self.loss = loss
        self.optimizer = optimizer
        self.schedule = schedule
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.n_iter_no_change = n_iter_no_change
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.class_weight = class_weight
        self.clip_norm = clip_norm
        self.dtype = dtype
        self.verbose = verbose
        self.warm_start = warm_start
        self.callbacks = callbacks
        self._keep_nested(nested)

    def _objective_for(self, y: Any) -> Objective:
        return class_objective(self._loss_spec(), self._labels)

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> NetClassifier:
        """Train.

        Args:
            X: (rows, features) or (rows, ...): an array, a frame, or a sparse matrix, of which a
                batch at a time becomes an array.
            y: (rows,) labels, or (rows, labels) of 0 and 1.
            sample_weight: (rows,).
            X_val, y_val, sample_weight_val: rows to watch; the weights of the epoch that did best
                on them are kept (by score with `early_stopping`, else by loss).

        Returns:
            The estimator.
        """
        return self._fit(X, y, sample_weight, (X_val, y_val, sample_weight_val))

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        classes: Any = None,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> NetClassifier:
        """One epoch over the rows; see `MLPClassifier.partial_fit`.

        Args:
            X, y, sample_weight, X_val, y_val, sample_weight_val: as in `fit`.
            classes: all labels there will ever be; needed in the first call.

        Returns:
            The estimator.
        """
        self._note_classes(y, classes)
        held_out = (X_val, y_val, sample_weight_val)
        return self._fit(X, y, sample_weight, held_out, incremental=True)


class NetRegressor(NumberTarget, NetworkOfModule):
    """A regressor around any nnad module.

    Args:
        loss: a loss of nnad for numbers: its name, a mapping with arguments, a Loss, or a function
            (scores, target, sample_weight=None).
        module, optimizer, schedule, batch_size, max_iter, shuffle, random_state, tol,
            n_iter_no_change, early_stopping, validation_fraction, clip_norm, dtype, verbose,
            warm_start, callbacks, **nested: see `NetClassifier`.

    Attributes:
        module_: the network; for the others see `NetClassifier`.

    >>> import numpy as np
    >>> X = np.linspace(-1, 1, 200)[:, None]
    >>> model = NetRegressor(module__hidden=(32, 32), optimizer__lr=0.01, random_state=0)
    >>> bool(model.fit(X, np.sin(3 * X[:, 0])).score(X, np.sin(3 * X[:, 0])) > 0.99)
    True
    """

    _parameter_constraints = {**NetworkOfModule._parameter_constraints}

    def __init__(
        self,
        module: Any = None,
        *,
        loss: Loss = "mse",
        optimizer: Any = "Adam",
        schedule: Any = None,
        batch_size: int | str = "auto",
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        n_iter_no_change: float = 10,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        clip_norm: float | None = None,
        dtype: Any = None,
        verbose: bool = False,
        warm_start: bool = False,
        callbacks: Sequence[Any] | None = None,
        **nested: Any,
    ) -> None:
        self.module = module
        self.loss = loss
        self.optimizer = optimizer
        self.schedule = schedule
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.n_iter_no_change = n_iter_no_change
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.clip_norm = clip_norm
        self.dtype = dtype
        self.verbose = verbose
        self.warm_start = warm_start
        self.callbacks = callbacks
        self._keep_nested(nested)

    def _objective_for(self, y: Any) -> Objective:
        return number_objective(self._loss_spec(), 1 if y.ndim == 1 else y.shape[1])

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> NetRegressor:
        """Train.

        Args:
            X: (rows, features) or (rows, ...): an array, a frame, or a sparse matrix, of which a
                batch at a time becomes an array.
            y: (rows,) numbers, or (rows, outputs).
            sample_weight: (rows,).
            X_val, y_val, sample_weight_val: rows to watch; the weights of the epoch that did best
                on them are kept (by score with `early_stopping`, else by loss).

        Returns:
            The estimator.
        """
        return self._fit(X, y, sample_weight, (X_val, y_val, sample_weight_val))

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> NetRegressor:
        """One epoch over the rows; see `MLPRegressor.partial_fit`.

        Args:
            X, y, sample_weight, X_val, y_val, sample_weight_val: as in `fit`.

        Returns:
            The estimator.
        """
        held_out = (X_val, y_val, sample_weight_val)
        return self._fit(X, y, sample_weight, held_out, incremental=True)
