"""The configuration of a training job: what may be written in a YAML file, with every default.

The models only hold values and check what a single section can know about itself. Where a file is
found and how its problems are worded is the task of the neighbouring modules.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    WrapValidator,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from nnad.training.config.locations import Locations

__all__ = [
    "Baseline",
    "Component",
    "Config",
    "Data",
    "Distributed",
    "EarlyStopping",
    "Output",
    "Trainer",
    "section_names",
]

MAX_SEED = 2**32 - 1  # scikit-learn's limit: one seed drives the split and the baseline too


def _one_of(text: str) -> WrapValidator:
    """Replace the several messages of a union's branches by a single one that names them all."""

    def check(value: Any, handler: Callable[[Any], Any]) -> Any:
        try:
            return handler(value)
        except ValidationError:
            raise PydanticCustomError("choice", "expected {text}", {"text": text}) from None

    return WrapValidator(check)


def _adam_if_unnamed(value: Any) -> Any:
    """Let ``optimizer: {lr: 0.01}`` mean the default optimizer at another rate."""
    return {"name": "Adam", **value} if isinstance(value, dict) else value


def _off_is_none(value: Any) -> Any:
    """Read ``false``, ``off`` and ``none`` as "without", as in ``baseline: off``."""
    return None if value is False or value in ("off", "none") else value


Fraction = Annotated[float, Field(ge=0, lt=1)]
PositiveInt = Annotated[int, Field(ge=1)]
PositiveFloat = Annotated[float, Field(gt=0)]
AutoOrBool = Annotated[Literal["auto"] | bool, _one_of("auto, true or false")]
AutoOrInt = Annotated[Literal["auto"] | PositiveInt, _one_of("auto or an integer of at least 1")]
ClassName = bool | int | float | str
ClassWeight = Annotated[
    Literal["balanced"] | dict[ClassName, Annotated[float, Field(ge=0)]] | None,
    _one_of("balanced, or a mapping of class names to weights of at least 0"),
]


class Section(BaseModel):
    """Base of all sections: unknown keys are refused, no silent conversions, not changed later."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        allow_inf_nan=False,
        validate_default=True,
        protected_namespaces=(),
    )


class Component(Section):
    """Something chosen by name, with arguments: a loss, an optimizer, a metric, a callback, ...

    In YAML a bare name, or a mapping of ``name`` and the arguments.

    >>> optimizer = Component.model_validate({"name": "Adam", "lr": 1e-3})
    >>> optimizer.name, optimizer.arguments
    ('Adam', {'lr': 0.001})
    """

    model_config = ConfigDict(extra="allow")

    name: str = Field(description="name of the class or function", min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _from_bare_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @property
    def arguments(self) -> dict[str, Any]:
        """The keyword arguments: all keys but ``name``."""
        return dict(self.model_extra or {})


class Data(Section):
    """Where the rows come from, how they are split and prepared.

    Each data source has keys of its own: the table in `nnad.data.options` knows and checks them.
    """

    model_config = ConfigDict(extra="allow")

    name: str = Field(description="the data source: digits, csv, npz, ...", min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _from_bare_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @property
    def options(self) -> dict[str, Any]:
        """All keys but the name."""
        return dict(self.model_extra or {})

    if TYPE_CHECKING:

        def __getattr__(self, key: str) -> Any:
            """The keys of the data source, each with its default once the whole is checked."""


class EarlyStopping(Section):
    """When to end a run whose monitored value no longer improves."""

    monitor: str = Field(
        default="val_loss",
        description="the watched column of metrics.csv, such as val_loss or val_accuracy",
    )
    patience: PositiveInt = Field(
        default=10, description="epochs without improvement before the end"
    )
    min_delta: Annotated[float, Field(ge=0)] = Field(
        default=0.0, description="an improvement smaller than this does not count"
    )
    mode: Literal["auto", "min", "max"] = Field(
        default="auto", description="whether smaller or larger is better; auto goes by the metric"
    )
    restore_best: bool = Field(default=True, description="end with the weights of the best epoch")


class Trainer(Section):
    """How long and in what way to train."""

    epochs: PositiveInt | None = Field(
        default=None,
        description="passes over the training part (30 where steps is not given either)",
    )
    steps: PositiveInt | None = Field(
        default=None, description="optimizer steps, in place of epochs"
    )
    steps_per_epoch: PositiveInt | None = Field(
        default=None,
        description="end an epoch, with its validation, after this many steps (left out: when "
        "every row was seen)",
    )
    accumulate: PositiveInt = Field(
        default=1, description="batches whose gradients make up one step"
    )
    clip_norm: PositiveFloat | None = Field(
        default=None, description="largest norm of the gradient"
    )
    clip_value: PositiveFloat | None = Field(
        default=None, description="largest entry of the gradient"
    )
    early_stopping: Annotated[EarlyStopping | None, BeforeValidator(_off_is_none)] = Field(
        default=None, description="stop when a value no longer improves"
    )
    ema: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        default=None,
        description="decay of a moving average of the weights, which is validated and kept",
    )
    initial_weights: str | None = Field(
        default=None,
        description="safetensors file of another run; weights of the same name and shape are "
        "where this one begins",
    )
    freeze: list[str] = Field(
        default_factory=list,
        description="patterns of parameters that stay as they are, such as 0.* or *.bias",
    )
    class_weight: ClassWeight = Field(
        default=None, description="weight of each class in the loss; balanced: inverse frequency"
    )
    dtype: Literal["float32", "float64"] = Field(
        default="float32", description="precision of parameters"
    )
    compile: AutoOrBool = Field(default="auto", description="replay the step as a compiled program")
    threads: AutoOrInt = Field(
        default="auto", description="threads of the matrix products and kernels"
    )
    checkpoint_every_steps: PositiveInt | None = Field(
        default=None, description="also write a checkpoint each time this many steps are done"
    )
    checkpoint_every_seconds: PositiveFloat | None = Field(
        default=30.0, description="also write a checkpoint when the last one is older than this"
    )
    callbacks: list[Component] = Field(
        default_factory=list,
        description="who else is given the numbers: jsonl, csv, tensorboard, wandb, mlflow",
    )
    progress: AutoOrBool = Field(
        default="auto", description="progress bar; auto: only on a terminal"
    )

    @model_validator(mode="before")
    @classmethod
    def _default_length(cls, value: Any) -> Any:
        if isinstance(value, dict) and value.get("epochs") is None and value.get("steps") is None:
            return {**value, "epochs": 30}
        return value

    @model_validator(mode="after")
    def _one_length(self) -> Trainer:
        if self.epochs is not None and self.steps is not None:
            raise PydanticCustomError(
                "two_lengths",
                "epochs ({epochs}) and steps ({steps}) are both given; set one of them to null",
                {"epochs": self.epochs, "steps": self.steps},
            )
        return self


class Baseline(Section):
    """A scikit-learn estimator that is fitted to the same data for comparison."""

    estimator: str = Field(description="class name of a scikit-learn estimator", min_length=1)
    params: dict[str, Any] = Field(default_factory=dict, description="its constructor arguments")

    @model_validator(mode="before")
    @classmethod
    def _from_bare_name(cls, value: Any) -> Any:
        return {"estimator": value} if isinstance(value, str) else value


class Distributed(Section):
    """How several processes train together; a single one takes no notice but of `blocks`."""

    batch_norm: Literal["synchronized", "local"] = Field(
        default="synchronized",
        description="statistics over the rows of all processes, or of each (each block) over its "
        "own",
    )
    blocks: int | None = Field(
        default=None,
        ge=1,
        description="blocks of rows that each batch is computed in, a power of two: numbers are "
        "then the same to the last bit for 1, 2, 4, ... processes, up to one for each block; 1: "
        "every process computes whole batches, with the numbers of one, for small networks",
    )
    timeout_seconds: PositiveFloat = Field(
        default=600.0, description="how long to wait for a process that does not answer"
    )

    @field_validator("blocks")
    @classmethod
    def _is_a_power_of_two(cls, value: int | None) -> int | None:
        if value is not None and value & (value - 1):
            raise PydanticCustomError(
                "power_of_two", "is not a power of two; choose 1, 2, 4, 8, ..., or null for none"
            )
        return value


class Output(Section):
    """Where the run is written: the folder ``dir/name``."""

    dir: str = Field(default="runs", description="folder of all runs", min_length=1)
    name: str = Field(default="run", description="name of the run's own folder", min_length=1)

    report: bool = Field(
        default=False,
        description="end with report.html, and record norms of weights and gradients for it",
    )

    @field_validator("dir")
    @classmethod
    def _is_a_path(cls, value: str) -> str:
        if "\0" in value:  # the system knows no such place
            raise PydanticCustomError("folder_name", "is not the path of a folder")
        return value

    @field_validator("name")
    @classmethod
    def _is_a_folder_name(cls, value: str) -> str:
        if value in {".", ".."} or any(c in "/\\" or not c.isprintable() for c in value):
            raise PydanticCustomError(
                "folder_name",
                "is not a folder name (no slashes, not . or ..); choose the folder by output.dir",
            )
        return value


class Config(Section):
    """A whole training job; see `load_config`."""

    seed: int = Field(default=0, ge=0, le=MAX_SEED, description="start of every random number")
    data: Data = Field(description="where the rows come from")
    model: list[Any] = Field(
        description="the layers in order: a bare name, or Name: {arguments}", min_length=1
    )
    loss: Component = Field(description="what is minimised")
    optimizer: Annotated[Component, BeforeValidator(_adam_if_unnamed)] = Field(
        default_factory=lambda: Component(name="Adam"), description="how parameters are updated"
    )
    schedule: Component = Field(
        default_factory=lambda: Component(name="constant"),
        description="factor on the learning rate, step by step",
    )
    trainer: Trainer = Field(
        default_factory=lambda: Trainer(epochs=30), description="how long and in what way to train"
    )
    metrics: list[Component] = Field(
        default_factory=list, description="what is reported beside the loss"
    )
    baseline: Annotated[Baseline | None, BeforeValidator(_off_is_none)] = Field(
        default=None, description="a scikit-learn estimator to compare with"
    )
    distributed: Distributed = Field(
        default_factory=Distributed, description="how several processes train together"
    )
    output: Output = Field(default_factory=Output, description="where the run is written")

    _locations: Locations = PrivateAttr(default_factory=Locations)

    def where(self, *path: str | int) -> str:
        """Return ``file:line: key.path`` of a key, to begin a message about it."""
        return self._locations.label(path)

    @property
    def folder(self) -> str:
        """Folder of the file the configuration was read from: relative paths are tried there."""
        return self._locations.folder


def section_names() -> tuple[str, ...]:
    """Names of the top-level sections, in the order in which they are written."""
    return tuple(Config.model_fields)
