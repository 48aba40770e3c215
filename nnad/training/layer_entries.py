"""Layers as a configuration names them: ``ReLU`` or ``Linear: {out_features: 10}``."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from nnad.training.registry import Entry, entries, unknown_name

__all__ = ["DATA_ARGUMENTS", "LayerEntry", "parse_layers"]

# Arguments that follow from the data where they are left out, beside the sizes of the input.
DATA_ARGUMENTS = ("cardinalities", "num_embeddings", "numeric_features")

# Names of arguments that count something there must be at least one of.
SIZE = re.compile(
    r"^num_|^d_model$|^dim_|^(stride|dilation|groups)$|_(features|channels|size|dim|heads|layers)$"
)

Path = tuple[str | int, ...]
Report = Callable[[Path, str], None]


@dataclass(frozen=True)
class LayerEntry:
    """One layer that is to be made.

    Attributes:
        entry: its class and signature.
        path: where it stands in the configuration: ``("model", 2, "Linear")``.
        arguments: what it was given; sizes of the input may be missing.
        children: the layers inside by argument, for Residual and its like.
        is_last: whether its output is the model's: its out_features follow from the target.
    """

    entry: Entry
    path: Path
    arguments: dict[str, Any] = field(default_factory=dict)
    children: dict[str, tuple[LayerEntry, ...]] = field(default_factory=dict)
    is_last: bool = False

    @property
    def input_sizes(self) -> dict[str, int]:
        """Arguments that equal the size of an axis of the input."""
        return dict(getattr(self.entry.make, "input_sizes", {}))

    @property
    def references(self) -> list[str]:
        """Arguments that name a parameter of a layer before, which the two then share."""
        from nnad.layers import Parameter

        return [name for name in self.arguments if self.entry.hints.get(name) is Parameter]


def parse_layers(items: Sequence[Any], path: Path, report: Report) -> tuple[LayerEntry, ...]:
    """Read a list of layer entries, all the way down.

    Args:
        items: the entries as YAML gives them.
        path: where the list stands.
        report: called with the path and the description of each problem; what is wrong is left out.
    """
    last = len(items) - 1 if len(path) == 1 else None  # in a model, not within one of its layers
    parsed = (_parse(item, (*path, i), report, i == last) for i, item in enumerate(items))
    return tuple(layer for layer in parsed if layer is not None)


def _parse(item: Any, path: Path, report: Report, is_last: bool) -> LayerEntry | None:
    """Read one entry: a name, a mapping with one name, or a list of entries that form one."""
    if isinstance(item, list):
        item = {"Sequential": item}
    if isinstance(item, str):
        item = {item: None}
    if not isinstance(item, dict) or len(item) != 1:
        report(
            path, f"expected a layer, such as ReLU or Linear: {{out_features: 10}}, got {item!r}"
        )
        return None
    ((name, value),) = item.items()
    entry = entries("layer").get(name)
    if entry is None:
        report((*path, name), unknown_name("layer", name))
        return None
    return _layer(entry, value, (*path, name), report, is_last)


def _layer(
    entry: Entry, value: Any, path: Path, report: Report, is_last: bool
) -> LayerEntry | None:
    """Read what follows a layer's name: nothing, arguments, or the layers inside it."""
    whole = next(iter(entry.holders), entry.variadic)  # the argument that a list stands for
    inner = path
    if whole is not None and value is not None and not isinstance(value, dict):
        value = {whole: value if isinstance(value, list) else [value]}
    elif whole is not None and isinstance(value, dict) and whole in value:
        inner = (*path, whole)
    if value is None:
        value = {}
    if not isinstance(value, dict):
        report(path, f"expected arguments as {_example(entry, value)}, got {value!r}")
        return None
    arguments = {str(name): given for name, given in value.items()}
    children = {}
    for name in entry.holders:
        if arguments.get(name) is not None:
            below = inner if name == whole else (*path, name)
            children[name] = _inside(arguments.pop(name), below, report)
    if entry.holders and not children.get(entry.holders[0]):
        report(path, f"expected layers, as in {entry.name}: [ReLU]")
    _check_arguments(entry, arguments, path, report, is_last)
    return LayerEntry(entry, path, arguments, children, is_last)


def _inside(value: Any, path: Path, report: Report) -> tuple[LayerEntry, ...]:
    """Read the layers of an argument that takes one or several."""
    return parse_layers(value if isinstance(value, list) else [value], path, report)


def _check_arguments(
    entry: Entry, arguments: dict[str, Any], path: Path, report: Report, is_last: bool
) -> None:
    """Report unknown, missing and mistyped arguments; sizes that follow may be missing."""
    optional = (*getattr(entry.make, "input_sizes", ()), *DATA_ARGUMENTS)
    if is_last:
        optional += ("out_features",)
    problems = entry.problems(arguments, optional)
    for name, problem in problems:
        report((*path, name), problem)
    wrong = {name for name, _ in problems}
    for name in arguments.keys() - wrong:
        if SIZE.search(name) and _smallest(arguments[name]) < 1:
            report((*path, name), f"expected at least 1, got {arguments[name]!r}")


def _smallest(value: Any) -> float:
    """Return the least of the numbers in a size, which may be one for each axis."""
    numbers = value if isinstance(value, list) else [value]
    return min((n for n in numbers if isinstance(n, (int, float))), default=1)


def _example(entry: Entry, value: Any) -> str:
    """Show how the value that was given should be written."""
    sizes = getattr(entry.make, "input_sizes", {})
    first = next((name for name in entry.parameters if name not in sizes), None)
    return f"{entry.name}: {{{first}: {value}}}" if first else f"a bare {entry.name}"
