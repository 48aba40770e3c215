"""What `NetClassifier` and `NetRegressor` share: any nnad module, with nested parameters."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.utils._param_validation import Interval, Options, StrOptions

from nnad.autodiff.tensor import value_of
from nnad.errors import did_you_mean
from nnad.estimators.base import Task
from nnad.estimators.components import make_optimizer
from nnad.estimators.engines import ModuleEngine, OptimizerSolver
from nnad.estimators.modules import ModuleHolder, Recipe, seeded
from nnad.layers import BatchNorm1d, Dropout, Embedding, EmbeddingBag, Linear, Module, Sequential
from nnad.layers.activations import activation as activation_layer
from nnad.random import Rng, as_generator

__all__ = ["NetworkOfModule", "default_network"]

NESTED = ("module", "optimizer", "schedule", "loss")


def default_network(
    n_features: int,
    n_outputs: int,
    hidden: Any = (100,),
    activation: Any = "relu",
    dropout: float = 0.0,
    batch_norm: bool = False,
    rng: Rng = None,
) -> Module:
    """What `module=None` stands for: a multi-layer perceptron.

    Args:
        n_features, n_outputs: sizes of a row of input and output.
        hidden: units of each hidden layer, or a single number.
        activation: of the hidden layers: a name ("relu"), a module or a function.
        dropout: probability after each hidden layer.
        batch_norm: normalise before each activation.
        rng: source of initial weights and masks.
    """
    rng = as_generator(rng)
    layers: list[Module] = []
    size = n_features
    for units in [hidden] if np.ndim(hidden) == 0 else hidden:
        layers.append(Linear(size, int(units), weight_init="glorot_uniform", rng=rng))
        if batch_norm:
            layers.append(BatchNorm1d(int(units)))
        layers.append(activation_layer(activation))
        if dropout:
            layers.append(Dropout(dropout, rng=rng))
        size = int(units)
    return Sequential(*layers, Linear(size, n_outputs, weight_init="glorot_uniform", rng=rng))


class NetworkOfModule(ModuleHolder):
    """Base of `NetClassifier` and `NetRegressor`."""

    _accepts_many_axes = True
    _input_dtype = "numeric"

    _parameter_constraints: dict[str, list[Any]] = {
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "shuffle": ["boolean"],
        "random_state": ["random_state"],
        "tol": [Interval(Real, 0, None, closed="left")],
        "verbose": ["verbose"],
        "warm_start": ["boolean"],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="left")],
        "n_iter_no_change": [
            Interval(Integral, 1, None, closed="left"),
            Options(Real, {np.inf}),
        ],
        "clip_norm": [None, Interval(Real, 0, None, closed="neither")],
        "callbacks": [None, list, tuple],
        "dtype": [None, StrOptions({"float32", "float64"}), type, np.dtype],
    }

    # Nested parameters ----------------------------------------------------------------------------

    def _keep_nested(self, nested: Mapping[str, Any]) -> None:
        """Store ``optimizer__lr`` and its like; `fit` refuses what it does not know."""
        self._nested: tuple[str, ...] = ()
        for name, value in nested.items():
            self._set_nested(name, value)

    def _set_nested(self, name: str, value: Any) -> None:
        if name not in self._nested:
            self._nested = (*self._nested, name)
        setattr(self, name, value)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Parameters by name, those of module, optimizer, schedule and loss among them.

        Args:
            deep: for scikit-learn; makes no difference here.
        """
        own = {name: getattr(self, name) for name in self._get_param_names()}
        return own | {name: getattr(self, name) for name in self._nested}

    def set_params(self, **params: Any) -> Any:
        """Set parameters, such as ``max_iter`` or ``optimizer__lr``.

        Returns:
            The estimator.

        Raises:
            ValueError: there is no such parameter.
        """
        nested = {n: value for n, value in params.items() if _is_nested(n) or n in self._nested}
        super().set_params(**{k: v for k, v in params.items() if k not in nested})
        for name, value in nested.items():
            self._set_nested(name, value)
        return self

    def _validate_params(self) -> None:
        super()._validate_params()
        for name in self._nested:
            if not _is_nested(name):
                known = (*self._get_param_names(), *self._nested)
                raise TypeError(
                    f"{type(self).__name__}.__init__() got an unexpected keyword argument {name!r}"
                    f"{did_you_mean(name, set(known) - {name})}"
                )

    def _settings(self, prefix: str) -> dict[str, Any]:
        start = f"{prefix}__"
        return {
            n.removeprefix(start): getattr(self, n) for n in self._nested if n.startswith(start)
        }

    def _loss_spec(self) -> Any:
        """The loss with ``loss__…`` joined to it."""
        settings = self._settings("loss")
        if not settings:
            return self.loss
        if isinstance(self.loss, Mapping):
            return {**self.loss, **settings}
        return {"name": self.loss, **settings}

    # The network ----------------------------------------------------------------------------------

    def _is_built(self) -> bool:
        return "module_" in self.__dict__

    def _dtype_for(self, X: Any) -> np.dtype:
        if self.dtype is not None:
            return np.dtype(self.dtype)
        return X.dtype if X.dtype.kind == "f" and X.dtype.itemsize >= 4 else np.dtype(np.float64)

    def _build(self, task: Task) -> None:
        source = default_network if self.module is None else self.module
        shape = task.rows.x.shape[1:]
        whole = task.rows.x.dtype.kind in "iub"
        recipe = Recipe(source, shape, self.n_outputs_, self._settings("module"), whole)
        self._make_module(recipe, self._dtype_for(task.rows.x), task)

    def _cast_inputs(self, X: Any) -> Any:
        """Inputs in the dtype of the network; whole numbers stay where they are looked up."""
        if X.dtype.kind in "iub" and self._looks_up():
            return X
        return X.astype(self.module_.dtype, copy=False)

    def _looks_up(self) -> bool:
        return any(isinstance(m, (Embedding, EmbeddingBag)) for m in self.module_.modules())

    def _make_engine(self, task: Task) -> ModuleEngine:
        engine = ModuleEngine(
            self.module_, task.objective, clip_norm=self.clip_norm, **self._pace(task)
        )
        settings = self._settings("optimizer")
        engine.solver = OptimizerSolver(make_optimizer(self.optimizer, engine.trainable, settings))
        return engine

    def _train(self, task: Task) -> None:
        task.rows = task.rows._replace(x=self._cast_inputs(task.rows.x))
        with seeded(task.random_state.randint(np.iinfo(np.int32).max), self.t_):
            super()._train(task)

    def _operations(self, task: Task) -> int:
        if task.rows.x.ndim > 2:  # weights that are used more than once: the number is large
            return np.iinfo(np.int64).max
        return super()._operations(task)

    def _snapshot(self) -> dict[str, Any]:
        return {}  # a copy of the estimator builds a module of its own

    def _weight_arrays(self) -> list[np.ndarray]:
        return [value_of(p) for p in self.module_.parameters()]

    def _scores(self, x: Any) -> np.ndarray:
        shape = self._recipe.input_shape
        if x.shape[1:] != shape:
            raise ValueError(
                f"X has rows of shape {x.shape[1:]}, but {type(self).__name__} was fitted with "
                f"rows of shape {shape}"
            )
        return self._module_scores(self._cast_inputs(x))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags


def _is_nested(name: str) -> bool:
    prefix, separator, rest = name.partition("__")
    return bool(separator and rest) and prefix in NESTED
