"""A network within an estimator: how it is built, and how it is pickled without its code."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nnad.errors import ConfigError
from nnad.estimators.base import NetworkEstimator
from nnad.estimators.engines import module_scores
from nnad.layers import Module
from nnad.random import default_generator

__all__ = ["ModuleHolder", "Recipe", "seeded"]

SAMPLE_ROWS = 2


@dataclass(frozen=True)
class Recipe:
    """From what a network is built, again and again.

    Attributes:
        source: layer entries as in the YAML of a job, or
            ``source(n_features, n_outputs, **settings) -> Module``.
        input_shape: of one row.
        outputs: how many a row has.
        settings: keyword arguments of a callable source.
        whole_numbers: whether the inputs are integers.
    """

    source: Sequence[Any] | Callable[..., Module]
    input_shape: tuple[int, ...]
    outputs: int
    settings: Mapping[str, Any] = field(default_factory=dict)
    whole_numbers: bool = False

    def build(self, seed: int, dtype: Any) -> Module:
        """A network with initial weights, and all its parameters of one dtype.

        Args:
            seed: of the weights, also of layers that were given no generator.
            dtype: of the parameters.

        Raises:
            TypeError: the source is, or returns, something else than asked for.
            ValueError: layers do not fit together.
        """
        rng = np.random.default_rng(seed)
        with seeded(seed):
            if callable(self.source):
                return self._call(self.source, rng).astype(dtype)
            if isinstance(self.source, (list, tuple)):
                return self._assemble(list(self.source), rng, dtype)
        raise TypeError(
            "module must be a function (n_features, n_outputs, **parameters) -> Module, a list of "
            f"layer entries or None, got {self.source!r}"
        )

    def check_output(self, module: Module, dtype: Any) -> None:
        """Raise a ValueError unless the network has as many outputs a row as the target asks for.

        Args:
            module: what was built.
            dtype: of the inputs.
        """
        sample = np.zeros((SAMPLE_ROWS, *self.input_shape), dtype)
        with np.errstate(all="ignore"):
            got = module_scores(module, sample).shape
        if got != (SAMPLE_ROWS, self.outputs):
            raise ValueError(
                f"the module maps rows of shape {self.input_shape} to {got[1:]}, but the target "
                f"and the loss ask for ({self.outputs},): end it with "
                f"Linear(..., {self.outputs}); a function gets that number as its second argument"
            )

    def _call(self, source: Callable[..., Module], rng: np.random.Generator) -> Module:
        shape = self.input_shape
        settings = dict(self.settings)
        if "rng" in inspect.signature(source).parameters:
            settings.setdefault("rng", rng)
        module = source(shape[0] if len(shape) == 1 else shape, self.outputs, **settings)
        if not isinstance(module, Module):
            raise TypeError(f"module must return an nnad.layers.Module, got {module!r}")
        return module

    def _assemble(self, entries: list[Any], rng: np.random.Generator, dtype: Any) -> Module:
        from nnad.training.network import build_sequential  # reads with pydantic, slow to import

        if self.settings:
            raise ValueError(
                f"module__{next(iter(self.settings))} has nothing to go to: module is a list of "
                "layers, and only a function takes parameters"
            )
        name = np.dtype(dtype).name
        kind = np.int64 if self.whole_numbers else dtype
        try:
            return build_sequential(entries, self.input_shape, rng, name, self.outputs, kind)
        except ConfigError as error:
            raise ValueError(str(error)) from None


class ModuleHolder(NetworkEstimator):
    """An estimator that may have a network in `module_`.

    A pickle holds the recipe, which names layers or a function, and the weights. Copies build a
    network of their own.
    """

    module_: Module

    def _module_is_set(self) -> None:
        """What follows from `module_`, after it was rebuilt."""

    def _make_module(self, recipe: Recipe, dtype: Any, task: Any) -> None:
        """Build `module_` with initial weights drawn from the task's random state."""
        self.module_ = recipe.build(task.random_state.randint(np.iinfo(np.int32).max), dtype)
        self._recipe = recipe
        recipe.check_output(self.module_, task.rows.x.dtype)

    def _drop_module(self) -> None:
        for name in ("module_", "_recipe"):
            self.__dict__.pop(name, None)

    def _module_scores(self, x: Any) -> np.ndarray:
        return module_scores(self.module_, x)

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        module = state.pop("module_", None)
        if module is not None:
            state["_module_state"] = module.state_dict()
            state["_module_dtype"] = module.dtype
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        arrays, dtype = state.pop("_module_state", None), state.pop("_module_dtype", None)
        super().__setstate__(state)
        if arrays is not None:
            module = self._recipe.build(0, dtype)
            module.load_state_dict(arrays)
            module.eval()
            self.module_ = module
            self._module_is_set()


@contextmanager
def seeded(*entropy: int) -> Iterator[None]:
    """Within the block nnad's default generator starts from these numbers.

    Layers that were given no generator draw from it.
    """
    generator = default_generator().bit_generator
    before = generator.state
    generator.state = np.random.default_rng(entropy).bit_generator.state
    try:
        yield
    finally:
        generator.state = before
