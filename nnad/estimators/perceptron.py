"""The way of a multi-layer perceptron from parameters to a trained network.

What scikit-learn's MLP can do is trained by the network written out in `nnad.estimators.dense`.
Whatever goes beyond (other activations and losses, dropout, batch norm, optimizers of nnad) is a
module trained by its tape, with the same initial weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.utils._param_validation import Interval, Options, StrOptions

from nnad.autodiff.tensor import value_of
from nnad.estimators import dense
from nnad.estimators.base import Task
from nnad.estimators.components import make_optimizer
from nnad.estimators.engines import DenseEngine, ModuleEngine, OptimizerSolver
from nnad.estimators.lbfgs import minimize
from nnad.estimators.modules import ModuleHolder, Recipe
from nnad.estimators.solvers import SkAdam, SkSGD, Solver
from nnad.layers import Linear
from nnad.layers.activations import ACTIVATIONS
from nnad.layers.activations import __all__ as layer_names

__all__ = ["Perceptron"]

STOCHASTIC = ("sgd", "adam")
SMALL = 1000  # rows up to which "auto" takes LBFGS
LAYER_OF = {name: layer.__name__ for name, layer in ACTIVATIONS.items()} | {"logistic": "Sigmoid"}
NOT_ACTIVATIONS = {"ACTIVATIONS", "GLU", "activation"}  # GLU halves the number of units
NAMES = {*LAYER_OF, *(set(layer_names) - NOT_ACTIVATIONS)}


class Perceptron(ModuleHolder):
    """Fully connected layers; base of `MLPClassifier` and `MLPRegressor`."""

    _parameter_constraints: dict[str, list[Any]] = {
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": [StrOptions(NAMES), list, tuple, dict],
        "solver": [StrOptions({"lbfgs", "sgd", "adam", "auto"})],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "learning_rate": [StrOptions({"constant", "invscaling", "adaptive"})],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
        "power_t": [Interval(Real, 0, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "shuffle": ["boolean"],
        "random_state": ["random_state"],
        "tol": [Interval(Real, 0, None, closed="left")],
        "verbose": ["verbose"],
        "warm_start": ["boolean"],
        "momentum": [Interval(Real, 0, 1, closed="both")],
        "nesterovs_momentum": ["boolean"],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="left")],
        "beta_1": [Interval(Real, 0, 1, closed="left")],
        "beta_2": [Interval(Real, 0, 1, closed="left")],
        "epsilon": [Interval(Real, 0, None, closed="neither")],
        "n_iter_no_change": [
            Interval(Integral, 1, None, closed="left"),
            Options(Real, {np.inf}),
        ],
        "max_fun": [Interval(Integral, 1, None, closed="left")],
        "dropout": [Interval(Real, 0, 1, closed="left"), list, tuple],
        "batch_norm": ["boolean"],
        "clip_norm": [None, Interval(Real, 0, None, closed="neither")],
        "callbacks": [None, list, tuple],
    }

    # What is asked for ----------------------------------------------------------------------------

    def _hidden_sizes(self) -> list[int]:
        sizes = self.hidden_layer_sizes
        sizes = list(sizes) if hasattr(sizes, "__iter__") else [sizes]
        if any(size <= 0 for size in sizes):
            raise ValueError(f"hidden_layer_sizes must be > 0, got {sizes}.")
        return sizes

    def _per_hidden_layer(self, name: str) -> list[Any]:
        """A parameter that is one value for all hidden layers, or one for each."""
        value, count = getattr(self, name), len(self._hidden_sizes())
        if not isinstance(value, (list, tuple)):
            return [value] * count
        if len(value) != count:
            raise ValueError(
                f"{name} has {len(value)} entries, but there are {count} hidden layers "
                f"(hidden_layer_sizes={self.hidden_layer_sizes!r}); give one for each, or one for "
                "all"
            )
        return list(value)

    def _is_plain(self) -> bool:
        """Whether the network written out can do what is asked for."""
        return (
            all(isinstance(a, str) for a in self._per_hidden_layer("activation"))
            and set(self._per_hidden_layer("activation")) <= dense.ACTIVATIONS.keys()
            and not any(self._per_hidden_layer("dropout"))
            and not self.batch_norm
            and self.optimizer is None
            and isinstance(self.loss, str)
            and self.loss in dense.LOSSES
        )

    def _check_loss(self, name: str) -> None:
        if name in ("nll", "binary_cross_entropy"):
            raise ValueError(
                f"the loss {name} expects probabilities or their logarithms, but the network of "
                f"{type(self).__name__} ends in scores; use log_loss, or a module of your own in "
                f"{type(self).__name__.replace('MLP', 'Net')}"
            )

    def _solver_for(self, rows: int) -> str:
        """The solver, with "auto" decided by the number of rows and what it must go with."""
        noisy = any(self._per_hidden_layer("dropout")) or self.batch_norm
        if self.optimizer is not None:
            return "optimizer"
        if self.solver == "lbfgs" and noisy:
            raise ValueError(
                "solver='lbfgs' needs a loss that is the same at each evaluation, and cannot go "
                "with dropout or batch_norm; use solver='adam'"
            )
        if self.solver != "auto":
            return self.solver
        wants_epochs = noisy or self.early_stopping or self.schedule or self.callbacks
        return "adam" if wants_epochs or rows > SMALL else "lbfgs"

    def _check_solver(self) -> bool:
        if self.solver == "lbfgs" and self.optimizer is None:
            raise AttributeError(
                "partial_fit is only available for stochastic optimizers. "
                f"{self.solver} is not stochastic."
            )
        return True

    # The network ----------------------------------------------------------------------------------

    def _is_built(self) -> bool:
        return "coefs_" in self.__dict__

    def _build(self, task: Task) -> None:
        sizes = [task.rows.x.shape[1], *self._hidden_sizes(), self.n_outputs_]
        self.n_layers_ = len(sizes)
        self.out_activation_ = self._link or "identity"
        coefs, intercepts = self._initial_weights(sizes, task)
        if self._is_plain():
            self._drop_module()
            self.coefs_, self.intercepts_ = coefs, intercepts
            self._activations = tuple(self._per_hidden_layer("activation"))
            return
        self._check_loss(task.objective.name)
        entries = self._layer_entries(sizes)
        self._make_module(Recipe(entries, (sizes[0],), self.n_outputs_), coefs[0].dtype, task)
        for layer, coef, intercept in zip(self._linear_layers(), coefs, intercepts, strict=True):
            layer.weight.data, layer.bias.data = coef, intercept
        self._show_weights()

    def _initial_weights(self, sizes: Sequence[int], task: Task) -> tuple[list[Any], list[Any]]:
        """Uniform within ±sqrt(6 / (fan_in + fan_out)), after Glorot and Bengio (2010).

        Before a logistic activation the 6 is a 2.
        """
        coefs, intercepts = [], []
        dtype, random_state = self._dtype_for(task.rows.x), task.random_state
        activations = self._per_hidden_layer("activation")
        last = activations[-1] if activations else None
        for (fan_in, fan_out), name in zip(pairwise(sizes), [*activations, last], strict=True):
            bound = np.sqrt((2.0 if name == "logistic" else 6.0) / (fan_in + fan_out))
            coef = random_state.uniform(-bound, bound, (fan_in, fan_out))
            intercept = random_state.uniform(-bound, bound, fan_out)
            coefs.append(coef.astype(dtype, copy=False))
            intercepts.append(intercept.astype(dtype, copy=False))
        return coefs, intercepts

    def _layer_entries(self, sizes: Sequence[int]) -> list[Any]:
        """The layers as the YAML of a training job would have them."""
        entries: list[Any] = []
        hidden = zip(
            sizes[1:-1],
            self._per_hidden_layer("activation"),
            self._per_hidden_layer("dropout"),
            strict=True,
        )
        for size, activation, dropout in hidden:
            entries.append({"Linear": {"out_features": int(size)}})
            if self.batch_norm:
                entries.append("BatchNorm1d")
            is_name = isinstance(activation, str)
            entries.append(LAYER_OF.get(activation, activation) if is_name else activation)
            if dropout:
                entries.append({"Dropout": {"p": float(dropout)}})
        return [*entries, {"Linear": {"out_features": int(sizes[-1])}}]

    def _linear_layers(self) -> list[Any]:
        return [m for m in self.module_.modules() if isinstance(m, Linear)]

    def _show_weights(self) -> None:
        """Let `coefs_` and `intercepts_` be the parameters of the module."""
        layers = self._linear_layers()
        self.coefs_ = [value_of(layer.weight) for layer in layers]
        self.intercepts_ = [value_of(layer.bias) for layer in layers]

    def _module_is_set(self) -> None:
        self._show_weights()

    # Training -------------------------------------------------------------------------------------

    def _rows_at_once(self, task: Task) -> int:
        everything = self._solver_for(task.rows.size) == "lbfgs"
        return task.rows.size if everything else super()._rows_at_once(task)

    def _train(self, task: Task) -> None:
        solver = self._solver_for(task.rows.size)
        if task.incremental and solver == "lbfgs":
            solver = "adam"
        self.solver_ = solver
        if solver == "lbfgs":
            minimize(self, task)
        else:
            self._train_epochs(task)

    def _make_engine(self, task: Task) -> Any:
        if "module_" in self.__dict__:
            self._cast_module(self._dtype_for(task.rows.x))
            engine: Any = ModuleEngine(
                self.module_,
                task.objective,
                alpha=self.alpha,
                penalized=[layer.weight for layer in self._linear_layers()],
                clip_norm=self.clip_norm,
                **self._pace(task),
            )
        else:
            engine = DenseEngine(self._dense_network(task), clip_norm=self.clip_norm)
        engine.solver = self._make_solver(engine)
        return engine

    def _dense_network(self, task: Task) -> dense.DenseNetwork:
        """A network that starts from `coefs_` and `intercepts_`, which become views of it."""
        sizes = [self.coefs_[0].shape[0], *(len(b) for b in self.intercepts_)]
        network = dense.DenseNetwork(
            sizes,
            self._activations,
            self.out_activation_,
            task.objective.name,
            self.alpha,
            self._dtype_for(task.rows.x),
        )
        dense.pack([*self.coefs_, *self.intercepts_], network.parameters)
        self.coefs_, self.intercepts_ = network.coefs, network.intercepts
        return network

    def _make_solver(self, engine: Any) -> Solver | OptimizerSolver | None:
        if self.solver_ == "lbfgs":
            return None
        if self.solver_ == "optimizer":
            rate = self.learning_rate_init
            return OptimizerSolver(make_optimizer(self.optimizer, engine.trainable, {}, rate))
        vectors = (engine.parameters, engine.gradient, self.learning_rate_init)
        if self.solver_ == "adam":
            return SkAdam(*vectors, self.beta_1, self.beta_2, self.epsilon)
        return SkSGD(
            *vectors, self.learning_rate, self.momentum, self.nesterovs_momentum, self.power_t
        )

    def _take_weights(self, engine: Any, dtype: Any) -> None:
        if "module_" in self.__dict__:
            self._cast_module(dtype)
            return
        self.coefs_ = [c.astype(dtype) for c in self.coefs_]
        self.intercepts_ = [b.astype(dtype) for b in self.intercepts_]

    def _cast_module(self, dtype: Any) -> None:
        if self.module_.dtype != dtype:
            self.module_.astype(dtype)
        self.module_.flatten()
        self._show_weights()

    def _snapshot(self) -> dict[str, Any]:
        if "module_" in self.__dict__:
            return {}  # a copy of the estimator builds a module of its own
        return {
            "coefs_": [c.copy() for c in self.coefs_],
            "intercepts_": [b.copy() for b in self.intercepts_],
        }

    def _weight_arrays(self) -> list[np.ndarray]:
        return [*self.coefs_, *self.intercepts_]

    def _scores(self, x: Any) -> np.ndarray:
        if "module_" in self.__dict__:
            return self._module_scores(x)
        return dense.forward(x, self.coefs_, self.intercepts_, self._activations)
