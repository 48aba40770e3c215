"""From layer entries as YAML gives them to a network.

It is built layer by layer. A batch of two rows of zeros runs through it on the way, so that sizes
which were left out follow from the data, and layers that do not fit are named beforehand.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from nnad.errors import ConfigError, did_you_mean
from nnad.initializers import room_for
from nnad.training.config.locations import Locations, dotted
from nnad.training.layer_entries import DATA_ARGUMENTS, LayerEntry, parse_layers
from nnad.training.outputs import output_problem, outputs_wanted
from nnad.training.registry import make

if TYPE_CHECKING:
    from nnad.data.dataset import Meta
    from nnad.layers import Module, Parameter
    from nnad.random import Rng
    from nnad.training.config import Config

__all__ = ["build_model", "build_sequential", "data_arguments", "no_larger_than"]

SPARE = 2**20  # parameters: models of a few more are told in which one they differ
SAMPLE_ROWS = 2  # one row would hide a layer that mixes up rows and features

Path = tuple[str | int, ...]


def build_model(config: Config, meta: Meta) -> Module:
    """Build the network of a configuration for data of a given kind.

    Args:
        config: its ``model`` section says which layers, its seed which initial weights.
        meta: shape of the inputs, kind and number of the outputs.

    Raises:
        ConfigError: with every problem found, each with file, line and path of the layer.
    """
    builder = _Builder(
        np.random.default_rng(config.seed),
        "the data",
        config._locations,
        data_arguments(meta),
        outputs_wanted(config.loss.name, config.loss.arguments, meta),
        np.int64 if {"tokens", "tokenizer"} & meta.extras.keys() else np.float32,
    )
    model, output = builder.assemble(config.model, meta.input_shape, config.trainer.dtype)
    problem = output_problem(config.loss.name, meta, output.shape)
    if problem:
        last = len(config.model) - 1
        name = _layer_name(config.model[last])
        raise ConfigError(f"{config.where('model', last, name)}: {problem}")
    return model


def no_larger_than(weights: Mapping[str, Any], file: os.PathLike[str]) -> Any:
    """Within, no model is made that has many more parameters than the weights in a file."""
    numbers = sum(map(np.size, weights.values()))
    return room_for(numbers + SPARE, f"the weights in {file} are {numbers:,} numbers in all")


def build_sequential(
    layers: Sequence[Any],
    input_shape: tuple[int, ...],
    rng: Rng = None,
    dtype: str = "float32",
    out_features: int | None = None,
    input_dtype: Any = np.float32,
) -> Module:
    """Build a `Sequential` from layer entries as they stand in YAML, sizes of inputs filled in.

    Args:
        layers: bare names, or dicts of a name and arguments.
        input_shape: shape of one row of the input.
        rng: source of the initial weights and of all later randomness in the layers.
        dtype: of the parameters.
        out_features: of the last layer, where it may be left out.
        input_dtype: of the input: integers for tokens.

    Raises:
        ConfigError: with every problem found.

    >>> build_sequential([{"Linear": {"out_features": 3}}, "ReLU"], (4,), rng=0)
    Sequential(
      (0): Linear(4, 3)
      (1): ReLU()
    )
    """
    builder = _Builder(
        np.random.default_rng(rng),
        "the input",
        Locations(),
        out_features=out_features,
        input_dtype=input_dtype,
    )
    return builder.assemble(layers, input_shape, dtype)[0]


def data_arguments(meta: Meta) -> dict[str, Any]:
    """Return the arguments of layers that only the data knows, by name."""
    arguments: dict[str, Any] = {}
    if meta.preprocessor.categorical_names and meta.preprocessor.row_shape is None:
        arguments["numeric_features"] = len(meta.preprocessor.numeric_names)
    if meta.categorical:
        arguments["cardinalities"] = [column["cardinality"] for column in meta.categorical]
    if meta.task == "language_model":
        arguments["num_embeddings"] = meta.n_outputs
    elif "tokens" in meta.extras:
        arguments["num_embeddings"] = meta.extras["tokens"]
    return arguments


@dataclass
class _Builder:
    """Makes layers one by one, running a sample through each to know what the next one receives.

    After a problem there is no sample any more: later layers are still made where they can be,
    since that shows what else is wrong.

    Attributes:
        rng: source of initial weights, and of all later randomness in the layers.
        source: where the sample is from: the data, or the layer before.
        locations: where entries stand in the file.
        data_arguments: arguments of layers that follow from the data.
        out_features: of the last layer, where the target tells.
        input_dtype: of the sample: integers for tokens.
        layers: those of the model itself, as far as they are made.
        problems: what is wrong, a line each.
    """

    rng: np.random.Generator
    source: str
    locations: Locations
    data_arguments: dict[str, Any] = field(default_factory=dict)
    out_features: int | None = None
    input_dtype: Any = np.float32
    layers: list[Module] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def report(self, path: Path, message: str) -> None:
        """Note a problem."""
        self.problems.append(f"{self.locations.label(path)}: {message}")

    def assemble(
        self, layers: Sequence[Any], input_shape: tuple[int, ...], dtype: str
    ) -> tuple[Module, np.ndarray]:
        """Return the network in training mode, and its output for the sample batch."""
        from nnad.layers import Sequential

        parsed = parse_layers(layers, ("model",), self.report)
        if self.problems:
            raise ConfigError(self.problems)
        sample = np.zeros((SAMPLE_ROWS, *input_shape), self.input_dtype)
        modules, output = self.chain(parsed, sample)
        if self.problems or output is None:
            raise ConfigError(self.problems)
        model = Sequential(*modules)
        model.astype(dtype)
        model.train()
        model.flatten()
        return model, output

    def chain(
        self, layers: Sequence[LayerEntry], sample: np.ndarray | None
    ) -> tuple[list[Module], np.ndarray | None]:
        """Make layers that feed each other; return them and the last one's output."""
        modules = []
        for layer in layers:
            module = self.make(layer, sample)
            sample = None if module is None else self.run(module, layer, sample)
            self.source = dotted(layer.path)
            if module is not None:
                modules.append(module)
                if len(layer.path) == len(("model", 0, "name")):
                    self.layers.append(module)
        return modules, sample

    def make(self, layer: LayerEntry, sample: np.ndarray | None) -> Module | None:
        """Make a layer, with the layers in it; None if that cannot be done."""
        from nnad.layers import ColumnEmbedding

        if layer.children:
            return self.make_container(layer, sample)
        sizes = self.input_sizes(layer, sample)
        if sizes is None:
            return None
        supplied = {**sizes, **self.data_arguments}
        if not all(isinstance(before, ColumnEmbedding) for before in self.layers):
            supplied.pop("numeric_features", None)  # numbers and categories are mixed by now
        if layer.is_last and self.out_features is not None:
            supplied["out_features"] = self.out_features
        missing = layer.entry.required - layer.arguments.keys() - supplied.keys()
        for name in sorted(missing & {*DATA_ARGUMENTS, "out_features"}):
            hint = "; set data.tokens: true if inputs are tokens" * (name == "num_embeddings")
            self.report((*layer.path, name), f"is missing, and does not follow from the data{hint}")
        if missing:
            return None
        if self.too_small(layer):
            return None
        known = layer.entry.parameters
        return self.construct(layer, [], {n: v for n, v in supplied.items() if n in known})

    def too_small(self, layer: LayerEntry) -> bool:
        """Report tables with fewer rows than the data has tokens or categories."""
        before = len(self.problems)
        for name in ("num_embeddings", "cardinalities"):
            given, wanted = layer.arguments.get(name), self.data_arguments.get(name)
            if given is None or wanted is None:
                continue
            if np.shape(given) != np.shape(wanted) or np.any(np.less(given, wanted)):
                self.report(
                    (*layer.path, name),
                    f"is {given}, but the data needs {wanted}; write that, or leave it out",
                )
        return len(self.problems) > before

    def make_container(self, layer: LayerEntry, sample: np.ndarray | None) -> Module | None:
        """Make a layer that holds others: each argument is one chain, or several beside it."""
        from nnad.layers import Sequential

        entry = layer.entry
        arguments: dict[str, Any] = {}
        positional: list[Any] = []
        for name, inside in layer.children.items():
            beside = name == entry.variadic and not issubclass(entry.make, Sequential)  # type: ignore[arg-type]
            chains = [(one,) for one in inside] if beside else [inside]
            modules = [module for chain in chains for module in self.branch(chain, sample)]
            if len(modules) < len(inside):
                return None
            if name == entry.variadic:
                positional = modules
            else:
                arguments[name] = modules[0] if len(modules) == 1 else Sequential(*modules)
        return self.construct(layer, positional, arguments)

    def branch(self, layers: Sequence[LayerEntry], sample: np.ndarray | None) -> list[Module]:
        """Make a chain within a layer: the next one receives the same input again."""
        source = self.source
        modules, _ = self.chain(layers, sample)
        self.source = source
        return modules

    def input_sizes(self, layer: LayerEntry, sample: np.ndarray | None) -> dict[str, int] | None:
        """Return the sizes that the input settles; None after reporting one that it contradicts."""
        sizes: dict[str, int] = {}
        if sample is None:
            return sizes
        for name, axis in layer.input_sizes.items():
            if not -sample.ndim < axis < sample.ndim:
                self.report(layer.path, f"cannot take {self._received(sample)}: too few axes")
                return None
            sizes[name], given = sample.shape[axis], layer.arguments.get(name)
            if isinstance(given, int) and given != sizes[name]:
                self.report(
                    (*layer.path, name),
                    f"is {given}, but the layer receives {self._received(sample)}; "
                    f"write {sizes[name]}, leave it out, or change the layer before",
                )
                return None
        return sizes

    def construct(
        self, layer: LayerEntry, positional: list[Any], supplied: dict[str, Any]
    ) -> Module | None:
        """Call the layer's class; what the configuration gives goes before what is supplied."""
        given = {**supplied, **layer.arguments}
        for name in layer.references:
            given[name] = self.parameter((*layer.path, name), layer.arguments[name])
            if given[name] is None:
                return None
        if "rng" in inspect.signature(layer.entry.make).parameters:
            given["rng"] = self.rng
        try:
            return make(layer.entry, positional, given)
        except (ValueError, TypeError) as error:
            self.report(layer.path, str(error))
        except (MemoryError, OverflowError):
            self.report(layer.path, "its parameters do not fit into memory; choose smaller sizes")
        return None

    def parameter(self, path: Path, name: str) -> Parameter | None:
        """Return the parameter of a layer before that another one shares; None if there is none."""
        named = {
            f"{i}.{own}": p for i, m in enumerate(self.layers) for own, p in m.named_parameters()
        }
        if name not in named:
            hint = did_you_mean(str(name), named) or ";"
            before = ", ".join(named) or "none"
            self.report(path, f"{name!r} is no parameter of a layer before{hint} there: {before}")
        return named.get(name)

    def run(
        self, module: Module, layer: LayerEntry, sample: np.ndarray | None
    ) -> np.ndarray | None:
        """Return the layer's output for the sample; None if it cannot take it."""
        from nnad.autodiff import no_grad

        if sample is None:
            return None
        module.eval()
        try:
            with no_grad(), np.errstate(all="ignore"):
                output = module(sample)
        except (ValueError, TypeError, IndexError, MemoryError) as error:
            detail = getattr(error, "detail", str(error))
            self.report(layer.path, f"cannot take {self._received(sample)}: {detail}")
            return None
        if isinstance(output, tuple):  # of a recurrent layer the next one takes the outputs
            output = output[0]
            if layer.is_last:
                self.report(
                    layer.path, "returns outputs and state; put LastStep or Linear after it"
                )
        return np.asarray(getattr(output, "data", output))

    def _received(self, sample: np.ndarray) -> str:
        """Describe the input of a layer and where it is from."""
        return f"{_batch_shape(sample.shape)} from {self.source}"


def _batch_shape(shape: tuple[int, ...]) -> str:
    """Write a shape with its first axis named: ``(batch, 64)``."""
    return f"({', '.join(['batch', *map(str, shape[1:])])})"


def _layer_name(item: Any) -> str:
    """Return the name in a layer entry."""
    if isinstance(item, dict):
        return str(next(iter(item)))
    return item if isinstance(item, str) else "Sequential"
