"""`MLPClassifier` and `MLPRegressor`: scikit-learn's multi-layer perceptrons, and more."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sklearn.base import _fit_context
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.metaestimators import available_if

from nnad import losses
from nnad.estimators.objectives import (
    CLASS_LOSSES,
    NUMBER_LOSSES,
    Objective,
    class_objective,
    number_objective,
)
from nnad.estimators.perceptron import Perceptron
from nnad.estimators.targets import ClassTarget, NumberTarget

__all__ = ["MLPClassifier", "MLPRegressor"]

Loss = str | Mapping[str, Any] | Callable[..., Any]
PerLayer = Any  # one value for all hidden layers, or a sequence of one for each


class MLPClassifier(ClassTarget, Perceptron):
    """A classifier: scikit-learn's MLPClassifier, and what its users have asked for.

    The parameters up to `max_fun`, what they mean and their defaults are scikit-learn's; with the
    same `random_state` the loss curve is its to rounding. Those after it are nnad's.

    Args:
        hidden_layer_sizes: units of each hidden layer.
        activation: of the hidden layers: "relu", "tanh", "logistic", "identity"; also "gelu",
            "silu", "elu", "selu", "leaky_relu", "mish", the name of an activation layer
            ("Softplus"), or a layer entry (``{"LeakyReLU": {"negative_slope": 0.1}}``). A list
            gives one for each hidden layer.
        solver: "adam", "sgd", "lbfgs"; "auto" is "lbfgs" up to 1,000 rows, where nothing asks for
            epochs, and "adam" above.
        alpha: weight of the penalty on the squares of the weight matrices.
        batch_size: rows of a batch; "auto" is 200, or all rows if they are fewer.
        learning_rate: "constant", "invscaling" or "adaptive", for "sgd".
        learning_rate_init: the first rate, also of an `optimizer` that is given none.
        power_t: exponent of "invscaling".
        max_iter: epochs at most; iterations for "lbfgs".
        shuffle: draw another order of the rows for each epoch.
        random_state: draws initial weights, orders, validation rows and dropout masks.
        tol: an epoch must improve on the best loss (or validation score) by that much.
        verbose: print a line an epoch.
        warm_start: continue from the last fit.
        momentum, nesterovs_momentum: of "sgd".
        early_stopping: stop when the validation score stalls, and take the best weights.
        validation_fraction: share of the rows set aside for that, unless `X_val` is given.
        beta_1, beta_2, epsilon: of "adam".
        n_iter_no_change: epochs without improvement before training ends.
        max_fun: evaluations at most, for "lbfgs".
        loss: "log_loss", or a loss of nnad for classes: its name ("focal", "squared_hinge"), a
            mapping (``{"name": "cross_entropy", "label_smoothing": 0.1}``), a Loss, or a function
            (scores, target, sample_weight=None).
        class_weight: "balanced", a dict from classes to weights, or None.
        dropout: probability after each hidden layer, or one for each.
        batch_norm: normalise before each activation.
        optimizer: an optimizer of nnad in place of `solver`: its name ("AdamW"), a mapping with
            hyper-parameters (``{"name": "AdamW", "weight_decay": 0.01}``), or a class.
        schedule: of the rate, by step: a name ("cosine"), a mapping, or a function from the step to
            a factor.
        clip_norm: largest norm of the gradient.
        callbacks: list of `nnad.training.callbacks.Callback`.

    Attributes:
        classes_: the labels.
        coefs_, intercepts_: weight matrices (fan_in, fan_out) and offsets of the layers.
        loss_, best_loss_, loss_curve_: training loss: the last, the least, and of each epoch.
        validation_scores_, best_validation_score_: accuracy on validation rows, or None.
        validation_loss_curve_, best_validation_loss_, best_epoch_: their loss, likewise.
        n_iter_, t_: epochs of the last fit, rows seen in all.
        n_layers_, n_outputs_, out_activation_: of the network.
        n_features_in_, feature_names_in_: of the input.
        solver_: what "auto" came to.
        module_: the network, where it goes beyond scikit-learn's.

    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> model = MLPClassifier((16,), solver="auto", random_state=0, max_iter=500).fit(X, y)
    >>> model.solver_, bool(model.score(X, y) > 0.97)
    ('lbfgs', True)
    """

    _parameter_constraints = {
        **Perceptron._parameter_constraints,
        "loss": [StrOptions({"log_loss", *CLASS_LOSSES}), Mapping, callable, losses.Loss],
        "class_weight": [StrOptions({"balanced"}), dict, None],
    }

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        activation: PerLayer = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        loss: Loss = "log_loss",
        class_weight: Any = None,
        dropout: PerLayer = 0.0,
        batch_norm: bool = False,
        optimizer: Any = None,
        schedule: Any = None,
        clip_norm: float | None = None,
        callbacks: Sequence[Any] | None = None,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.max_fun = max_fun
        self.loss = loss
        self.class_weight = class_weight
        self.dropout = dropout
        self.batch_norm = batch_norm
        self.optimizer = optimizer
        self.schedule = schedule
        self.clip_norm = clip_norm
        self.callbacks = callbacks

    def _objective_for(self, y: Any) -> Objective:
        return class_objective(self.loss, self._labels)

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> MLPClassifier:
        """Train.

        Args:
            X: (rows, features): an array, a pandas or polars frame, or a sparse matrix.
            y: (rows,) labels, or (rows, labels) of 0 and 1.
            sample_weight: (rows,).
            X_val, y_val, sample_weight_val: rows to watch; the weights of the epoch that did best
                on them are kept (by score with `early_stopping`, else by loss).

        Returns:
            The estimator.
        """
        return self._fit(X, y, sample_weight, (X_val, y_val, sample_weight_val))

    @available_if(lambda estimator: estimator._check_solver())
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
    ) -> MLPClassifier:
        """One epoch over the rows.

        Args:
            X, y, sample_weight, X_val, y_val, sample_weight_val: as in `fit`. With
                `early_stopping`, once the validation score has stalled the best weights are back
                and further calls do nothing.
            classes: all labels there will ever be; needed in the first call.

        Returns:
            The estimator.
        """
        self._note_classes(y, classes)
        held_out = (X_val, y_val, sample_weight_val)
        return self._fit(X, y, sample_weight, held_out, incremental=True)


class MLPRegressor(NumberTarget, Perceptron):
    """A regressor: scikit-learn's MLPRegressor, and what its users have asked for.

    The parameters up to `max_fun`, what they mean and their defaults are scikit-learn's; with the
    same `random_state` the loss curve is its to rounding. Those after it are nnad's.

    Args:
        loss: "squared_error", "poisson" (both halved), or a loss of nnad for numbers: its name
            ("huber", "quantile"), a mapping (``{"name": "quantile", "q": 0.9}``), a Loss, or a
            function (scores, target, sample_weight=None).
        hidden_layer_sizes, activation, solver, alpha, batch_size, learning_rate,
            learning_rate_init, power_t, max_iter, shuffle, random_state, tol, verbose, warm_start,
            momentum, nesterovs_momentum, early_stopping, validation_fraction, beta_1, beta_2,
            epsilon, n_iter_no_change, max_fun: see `MLPClassifier`.
        dropout, batch_norm, optimizer, schedule, clip_norm, callbacks: see `MLPClassifier`.

    Attributes:
        coefs_, intercepts_, loss_, best_loss_, loss_curve_, validation_loss_curve_,
            best_validation_loss_, best_epoch_, n_iter_, t_, n_layers_, n_outputs_,
            out_activation_, n_features_in_, feature_names_in_, solver_, module_: see
            `MLPClassifier`.
        validation_scores_, best_validation_score_: R² on validation rows, or None.

    >>> import numpy as np
    >>> X = np.linspace(-1, 1, 200)[:, None]
    >>> y = np.sin(3 * X[:, 0])
    >>> model = MLPRegressor(activation="tanh", solver="lbfgs", random_state=0, max_iter=1000)
    >>> bool(model.fit(X, y).score(X, y) > 0.999)
    True
    """

    _parameter_constraints = {
        **Perceptron._parameter_constraints,
        "loss": [
            StrOptions({"squared_error", "poisson", *NUMBER_LOSSES}),
            Mapping,
            callable,
            losses.Loss,
        ],
    }

    def __init__(
        self,
        loss: Loss = "squared_error",
        hidden_layer_sizes: Any = (100,),
        activation: PerLayer = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        dropout: PerLayer = 0.0,
        batch_norm: bool = False,
        optimizer: Any = None,
        schedule: Any = None,
        clip_norm: float | None = None,
        callbacks: Sequence[Any] | None = None,
    ) -> None:
        self.loss = loss
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.max_fun = max_fun
        self.dropout = dropout
        self.batch_norm = batch_norm
        self.optimizer = optimizer
        self.schedule = schedule
        self.clip_norm = clip_norm
        self.callbacks = callbacks

    def _objective_for(self, y: Any) -> Objective:
        return number_objective(self.loss, 1 if y.ndim == 1 else y.shape[1])

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> MLPRegressor:
        """Train.

        Args:
            X: (rows, features): an array, a pandas or polars frame, or a sparse matrix.
            y: (rows,) numbers, or (rows, outputs).
            sample_weight: (rows,).
            X_val, y_val, sample_weight_val: rows to watch; the weights of the epoch that did best
                on them are kept (by score with `early_stopping`, else by loss).

        Returns:
            The estimator.
        """
        return self._fit(X, y, sample_weight, (X_val, y_val, sample_weight_val))

    @available_if(lambda estimator: estimator._check_solver())
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> MLPRegressor:
        """One epoch over the rows.

        Args:
            X, y, sample_weight, X_val, y_val, sample_weight_val: as in `fit`. With
                `early_stopping`, once the validation score has stalled the best weights are back
                and further calls do nothing.

        Returns:
            The estimator.
        """
        held_out = (X_val, y_val, sample_weight_val)
        return self._fit(X, y, sample_weight, held_out, incremental=True)
