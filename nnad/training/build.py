"""From a configuration and what is known about the data to a model, a loss, an optimizer, ...

The model is built layer by layer. A batch of two rows of zeros runs through it on the way, so that
sizes which were left out follow from the data, and layers that do not fit are named beforehand.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nnad.errors import ConfigError, ShapeError, did_you_mean
from nnad.training.config.locations import Locations, dotted
from nnad.training.layer_entries import DATA_ARGUMENTS, LayerEntry, parse_layers
from nnad.training.outputs import metric_problem, output_problem, outputs_wanted
from nnad.training.registry import entries, make

if TYPE_CHECKING:
    from nnad.data.dataset import DataSplits, Meta
    from nnad.layers import Module, Parameter
    from nnad.optimizers import Optimizer
    from nnad.schedules import Schedule
    from nnad.training.config import Component, Config

__all__ = [
    "Job",
    "build",
    "build_loss",
    "build_metrics",
    "build_model",
    "build_optimizer",
    "build_schedule",
    "build_sequential",
    "total_steps",
]

SAMPLE_ROWS = 2  # one row would hide a layer that mixes up rows and features

Path = tuple[str | int, ...]
Rng = np.random.Generator | int | None


@dataclass(frozen=True)
class Job:
    """Everything that the trainer needs beside the data.

    Attributes:
        model: in training mode, with parameters of the configured dtype in one flat buffer.
        loss: ``loss(prediction, target, sample_weight=None)``.
        optimizer: holds the model's parameters.
        schedule: factor on the optimizer's rate.
        metrics: functions ``metric(prediction, target, sample_weight=None)`` by name.
        class_weight: weight of each class, or None.
    """

    model: Module
    loss: Callable[..., Any]
    optimizer: Optimizer
    schedule: Schedule
    metrics: dict[str, Callable[..., Any]]
    class_weight: np.ndarray | None


def build(config: Config, data: DataSplits) -> Job:
    """Build everything for a job.

    Raises:
        ConfigError: layers do not fit together or to the data; each problem on a line.
    """
    from nnad.data.targets import class_weights

    model = build_model(config, data.meta)
    try:
        if config.trainer.freeze:
            model.freeze(*config.trainer.freeze)
    except ValueError as error:
        raise ConfigError(f"{config.where('trainer', 'freeze')}: {error}") from None
    loss, metrics = build_loss(config), build_metrics(config)
    _try_out(config, model, loss, metrics, data)
    weights = class_weights(
        config.trainer.class_weight,
        data.meta.class_names,
        data.train.y,
        config.where("trainer", "class_weight"),
    )
    return Job(
        model=model,
        loss=loss,
        optimizer=build_optimizer(config, model),
        schedule=build_schedule(config, total_steps(config, len(data.train))),
        metrics=metrics,
        class_weight=weights,
    )


def _try_out(
    config: Config,
    model: Module,
    loss: Callable[..., Any],
    metrics: dict[str, Callable[..., Any]],
    data: DataSplits,
) -> None:
    """Compare two real rows with their targets by the loss and the metrics.

    What does not go together is known before the first step then, and before an old run is
    replaced.
    """
    problems = []
    for i, name in enumerate(metrics):
        if problem := metric_problem(name, data.meta):
            problems.append(f"{config.where('metrics', i)}: {problem}")
    rows = slice(0, SAMPLE_ROWS)
    outputs = _outputs_for(config, model, data.train.x[rows])
    compared: list[tuple[Path, Callable[..., Any]]] = [(("loss",), loss)]
    if not problems:
        compared += [(("metrics", i), metric) for i, metric in enumerate(metrics.values())]
    for path, function in compared:
        try:
            with np.errstate(all="ignore"):
                function(outputs, data.train.y[rows])
        except (ValueError, TypeError, IndexError) as error:
            problems.append(f"{config.where(*path)}: {error}")
    if problems:
        raise ConfigError(problems)


def _outputs_for(config: Config, model: Module, x: Any) -> np.ndarray:
    """What the model returns for real rows, in evaluation mode."""
    from nnad.autodiff import no_grad, value_of

    model.eval()
    try:
        with no_grad(), np.errstate(all="ignore"):
            return np.asarray(value_of(model(x)))
    except (ValueError, TypeError, IndexError) as error:
        raise ConfigError(f"{config.where('model')}: {error}") from None
    finally:
        model.train()


def total_steps(config: Config, rows: int) -> int:
    """Return how many optimizer steps a run over `rows` training rows makes."""
    if config.trainer.steps is not None:
        return config.trainer.steps
    batch_size, settings = config.data.batch_size, config.trainer
    batches = rows // batch_size if config.data.drop_last else -(-rows // batch_size)
    steps = -(-batches // settings.accumulate)
    return int(settings.epochs or 1) * min(steps, settings.steps_per_epoch or steps)


# The model ----------------------------------------------------------------------------------------


def build_model(config: Config, meta: Meta) -> Module:
    """Build the network of a configuration for data of a given kind.

    Args:
        config: its ``model`` section says which layers, its seed which initial weights.
        meta: shape of the inputs, kind and number of the outputs.

    Raises:
        ConfigError: with every problem found, each with file, line and path of the layer.
    """
    builder = _Builder(config.seed, "the data", data_arguments(meta), config._locations)
    builder.out_features = outputs_wanted(config.loss.name, config.loss.arguments, meta)
    builder.tokens = meta.task == "language_model"
    model, output = builder.assemble(config.model, meta.input_shape, config.trainer.dtype)
    problem = output_problem(config.loss.name, meta, output.shape)
    if problem:
        last = len(config.model) - 1
        name = _layer_name(config.model[last])
        raise ConfigError(f"{config.where('model', last, name)}: {problem}")
    return model


def build_sequential(
    layers: Sequence[Any],
    input_shape: tuple[int, ...],
    rng: Rng = None,
    dtype: str = "float32",
) -> Module:
    """Build a `Sequential` from layer entries as they stand in YAML, sizes of inputs filled in.

    Args:
        layers: bare names, or dicts of a name and arguments.
        input_shape: shape of one row of the input.
        rng: source of the initial weights and of all later randomness in the layers.
        dtype: of the parameters.

    Raises:
        ConfigError: with every problem found.

    >>> build_sequential([{"Linear": {"out_features": 3}}, "ReLU"], (4,), rng=0)
    Sequential(
      (0): Linear(4, 3)
      (1): ReLU()
    )
    """
    builder = _Builder(rng, "the input", {}, Locations())
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
    return arguments


class _Builder:
    """Makes layers one by one, running a sample through each to know what the next one receives.

    After a problem there is no sample any more: later layers are still made where they can be,
    since that shows what else is wrong.
    """

    def __init__(
        self, rng: Rng, source: str, data_arguments: dict[str, Any], locations: Locations
    ) -> None:
        self.rng = np.random.default_rng(rng)
        self.source = source  # where the sample is from: the data, or the layer before
        self.data_arguments = data_arguments
        self.locations = locations
        self.out_features: int | None = None  # of the last layer, if what trains it tells
        self.layers: list[Module] = []  # of the model, as far as it is made
        self.tokens = False  # whether the input is integers
        self.problems: list[str] = []

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
        kind = np.int64 if self.tokens else np.float32
        sample = np.zeros((SAMPLE_ROWS, *input_shape), kind)
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
        if layer.children:
            return self.make_container(layer, sample)
        sizes = self.input_sizes(layer, sample)
        if sizes is None:
            return None
        supplied = {**sizes, **self.data_arguments}
        if layer.is_last and self.out_features is not None:
            supplied["out_features"] = self.out_features
        missing = layer.entry.required - layer.arguments.keys() - supplied.keys()
        for name in sorted(missing & {*DATA_ARGUMENTS, "out_features"}):
            self.report((*layer.path, name), "is missing, and does not follow from the data")
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


# Loss, metrics, optimizer, schedule ---------------------------------------------------------------


def build_loss(config: Config) -> Callable[..., Any]:
    """Return the loss, its arguments bound: ``loss(prediction, target, sample_weight=None)``."""
    return _bound("loss", config.loss)


def build_metrics(config: Config) -> dict[str, Callable[..., Any]]:
    """Return the metrics by name: ``metric(prediction, target, sample_weight=None)``."""
    return {metric.name: _bound("metric", metric) for metric in config.metrics}


def _bound(kind: str, component: Component) -> Callable[..., Any]:
    """Return a function of predictions and targets with the configured arguments bound.

    A column of predictions (batch, 1) is compared with targets (batch,), not broadcast to a square.
    """
    function = functools.partial(entries(kind)[component.name].make, **component.arguments)

    @functools.wraps(function.func)
    def compare(prediction: Any, target: Any, **keywords: Any) -> Any:
        if prediction.ndim == target.ndim + 1 and prediction.shape[-1] == 1:
            prediction = prediction[..., 0]
        return function(prediction, target, **keywords)

    return compare


def build_optimizer(config: Config, model: Module) -> Optimizer:
    """Return the optimizer of the model's trainable parameters, in groups where they are given."""
    from nnad.optimizers import groups_by_pattern

    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    arguments = config.optimizer.arguments
    rules = arguments.pop("groups", None)
    if not trainable:
        raise ConfigError(f"{config.where('model')}: no layer has parameters; nothing to train")
    make_optimizer = entries("optimizer")[config.optimizer.name].make
    try:
        if rules:
            named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
            return make_optimizer(groups_by_pattern(named, rules), **arguments)
        return make_optimizer(trainable, **arguments)
    except (ValueError, TypeError, ShapeError) as error:
        raise ConfigError(f"{config.where('optimizer')}: {error}") from None


def build_schedule(config: Config, steps: int) -> Schedule:
    """Return the schedule of a run of `steps` steps.

    Raises:
        ConfigError: the schedule does not fit the length of the run.
    """
    try:
        return _schedule(config.schedule, steps)
    except (ValueError, TypeError) as error:
        where = config.where("schedule")
        raise ConfigError(f"{where}: {error} (the run makes {steps} steps)") from None


def _schedule(component: Component, steps: int) -> Schedule:
    """Make a schedule, and those inside it; a length that was left out is that of the run."""
    from nnad.training.config import Component

    make = entries("schedule")[component.name].make
    arguments = component.arguments
    if "total_steps" in inspect.signature(make).parameters:
        arguments.setdefault("total_steps", steps)
    if isinstance(arguments.get("schedules"), list):
        parts = map(Component.model_validate, arguments["schedules"])
        arguments["schedules"] = [_schedule(part, steps) for part in parts]
    return make(**arguments)
