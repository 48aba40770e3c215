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

from nnad.errors import ConfigError, ShapeError
from nnad.training.config.locations import Locations, dotted
from nnad.training.layer_entries import LayerEntry, parse_layers
from nnad.training.registry import entries

if TYPE_CHECKING:
    from nnad.data.dataset import DataSplits, Meta
    from nnad.layers import Module
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
    weights = class_weights(
        config.trainer.class_weight,
        data.meta.class_names,
        data.train.y,
        config.where("trainer", "class_weight"),
    )
    return Job(
        model=model,
        loss=build_loss(config),
        optimizer=build_optimizer(config, model),
        schedule=build_schedule(config, total_steps(config, len(data.train))),
        metrics=build_metrics(config),
        class_weight=weights,
    )


def total_steps(config: Config, rows: int) -> int:
    """Return how many optimizer steps a run over `rows` training rows makes."""
    if config.trainer.steps is not None:
        return config.trainer.steps
    batch_size = config.data.batch_size
    batches = rows // batch_size if config.data.drop_last else -(-rows // batch_size)
    return int(config.trainer.epochs or 1) * -(-batches // config.trainer.accumulate)


# The model ----------------------------------------------------------------------------------------


def build_model(config: Config, meta: Meta) -> Module:
    """Build the network of a configuration for data of a given kind.

    Args:
        config: its ``model`` section says which layers, its seed which initial weights.
        meta: shape of the inputs, kind and number of the outputs.

    Raises:
        ConfigError: with every problem found, each with file, line and path of the layer.
    """
    rng = np.random.default_rng(config.seed)
    dtype = config.trainer.dtype
    model, output = _assemble(
        config.model, meta.input_shape, rng, dtype, config._locations, input_name="the data"
    )
    problem = _output_problem(config.loss.name, meta, output.shape)
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

    >>> build_sequential([{"Linear": {"out_features": 3}}, "ReLU"], (4,), rng=0)[0].in_features
    4
    """
    rng = np.random.default_rng(rng)
    return _assemble(layers, input_shape, rng, dtype, Locations(), input_name="the input")[0]


def _assemble(
    layers: Sequence[Any],
    input_shape: tuple[int, ...],
    rng: np.random.Generator,
    dtype: str,
    locations: Locations,
    input_name: str,
) -> tuple[Module, np.ndarray]:
    """Return the network in training mode, and its output for the sample batch."""
    from nnad.layers import Sequential

    problems: list[str] = []

    def report(path: Path, message: str) -> None:
        problems.append(f"{locations.label(path)}: {message}")

    parsed = parse_layers(layers, ("model",), report)
    if problems:
        raise ConfigError(problems)
    builder = _Builder(rng, report, input_name)
    modules, output = builder.chain(parsed, np.zeros((SAMPLE_ROWS, *input_shape), np.float32))
    if problems or output is None:
        raise ConfigError(problems)
    model = Sequential(*modules)
    model.astype(dtype)
    model.train()
    model.flatten()
    return model, output


class _Builder:
    """Makes layers one by one, running a sample through each to know what the next one receives.

    After a problem there is no sample any more: later layers are still made where they can be,
    since that shows what else is wrong.
    """

    def __init__(
        self, rng: np.random.Generator, report: Callable[[Path, str], None], input_name: str
    ) -> None:
        self.rng = rng
        self.report = report
        self.source = input_name

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
        return modules, sample

    def make(self, layer: LayerEntry, sample: np.ndarray | None) -> Module | None:
        """Make a layer, with the layers in it; None if that cannot be done."""
        if layer.children:
            inside, _ = self.chain(layer.children, sample)
            if len(inside) < len(layer.children):
                return None
            return self.construct(layer, _as_arguments(layer, inside), {})
        sizes = self.input_sizes(layer, sample)
        if sizes is None or layer.input_sizes.keys() - sizes.keys() - layer.arguments.keys():
            return None
        return self.construct(layer, [], sizes)

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
        self, layer: LayerEntry, positional: list[Any], sizes: dict[str, int]
    ) -> Module | None:
        """Call the layer's class."""
        supplied: dict[str, Any] = dict(sizes)
        if "rng" in inspect.signature(layer.entry.make).parameters:
            supplied["rng"] = self.rng
        try:
            return layer.entry.make(*positional, **{**supplied, **layer.arguments})
        except (ValueError, TypeError) as error:
            self.report(layer.path, str(error))
        except MemoryError:
            self.report(layer.path, "its parameters do not fit into memory; choose smaller sizes")
        return None

    def run(
        self, module: Module, layer: LayerEntry, sample: np.ndarray | None
    ) -> np.ndarray | None:
        """Return the layer's output for the sample; None if it cannot take it."""
        from nnad.autodiff import no_grad

        if sample is None:
            return None
        module.eval()
        try:
            with no_grad():
                output = module(sample)
        except (ValueError, TypeError, IndexError, MemoryError) as error:
            detail = getattr(error, "detail", str(error))
            self.report(layer.path, f"cannot take {self._received(sample)}: {detail}")
            return None
        return np.asarray(getattr(output, "data", output))

    def _received(self, sample: np.ndarray) -> str:
        """Describe the input of a layer and where it is from."""
        return f"{_batch_shape(sample.shape)} from {self.source}"


def _as_arguments(layer: LayerEntry, inside: list[Module]) -> list[Any]:
    """Return what a layer that holds others is called with: all of them, or one chain of them."""
    from nnad.layers import Sequential

    parameters = inspect.signature(layer.entry.make).parameters.values()
    if any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in parameters):
        return inside
    return [inside[0] if len(inside) == 1 else Sequential(*inside)]


def _batch_shape(shape: tuple[int, ...]) -> str:
    """Write a shape with its first axis named: ``(batch, 64)``."""
    return f"({', '.join(['batch', *map(str, shape[1:])])})"


def _layer_name(item: Any) -> str:
    """Return the name in a layer entry."""
    if isinstance(item, dict):
        return str(next(iter(item)))
    return item if isinstance(item, str) else "Sequential"


# The end of the model -----------------------------------------------------------------------------

ONE_LOGIT_LOSSES = ("binary_cross_entropy_with_logits", "binary_cross_entropy", "focal")
CLASS_LOSSES = ("cross_entropy", "nll", "multiclass_hinge")


def _output_problem(loss: str, meta: Meta, shape: tuple[int, ...]) -> str:
    """Return what keeps the model's outputs from being compared with the target, or nothing."""
    outputs = shape[-1] if len(shape) > 1 else 1
    if meta.task != "classification":
        return _number_problem(loss, meta, outputs)
    classes = len(meta.class_names or ())
    if loss in ONE_LOGIT_LOSSES:
        if classes != 2:
            return (
                f"the loss {loss} tells two classes apart, but the target has {classes}; "
                "use cross_entropy"
            )
        return "" if outputs == 1 else _count_problem(outputs, 1, f"{loss} takes one a row")
    if loss not in CLASS_LOSSES:
        return (
            f"the loss {loss} is for numbers, but the target has {classes} classes; use "
            "cross_entropy, or set data.task: regression"
        )
    why = f"the target has {classes} classes ({_some(meta.class_names or [])})"
    return "" if outputs == classes else _count_problem(outputs, classes, why)


def _number_problem(loss: str, meta: Meta, outputs: int) -> str:
    """Return the problem of a model whose target is not one class a row, or nothing."""
    if meta.task == "regression" and loss in (*CLASS_LOSSES, *ONE_LOGIT_LOSSES):
        return (
            f"the loss {loss} is for classes, but the target holds numbers; use mse or huber, or "
            "set data.task: classification"
        )
    if meta.task in ("regression", "multi_label") and outputs != meta.n_outputs:
        names = _some(meta.target_names)
        why = f"the target has {meta.n_outputs} per row" + (f" ({names})" if names else "")
        return _count_problem(outputs, meta.n_outputs, why)
    return ""


def _count_problem(outputs: int, expected: int, why: str) -> str:
    return f"the model ends with {outputs} outputs, expected {expected}: {why}"


def _some(names: Sequence[str]) -> str:
    """Join a few names, and say that there are more."""
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")


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
    """Return the optimizer of the model's trainable parameters."""
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    arguments = config.optimizer.arguments
    if not trainable:
        raise ConfigError(f"{config.where('model')}: no layer has parameters; nothing to train")
    try:
        return entries("optimizer")[config.optimizer.name].make(trainable, **arguments)
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
