"""What may be named in a configuration: layers, losses, optimizers, schedules, metrics, callbacks.

Everything is found by looking at the modules that define it, so a new layer or optimizer can be
named in a YAML file as soon as it exists. Arguments are checked against the signature.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import re
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nnad.errors import did_you_mean
from nnad.training.yaml_reader import read_scalar
from nnad.typechecks import describe, fits

__all__ = ["KINDS", "Entry", "entries", "make", "snake_case", "unknown_name"]


@dataclass(frozen=True)
class Kind:
    """A family of components.

    Attributes:
        module: where they are defined; its ``__all__`` lists them.
        base: name of the class there that they derive from; empty for functions.
        supplied: arguments that come from the run, never from a configuration.
    """

    module: str
    base: str
    supplied: tuple[str, ...]


KINDS = {
    "layer": Kind("nnad.layers", "Module", ("dtype", "rng")),
    "loss": Kind(
        "nnad.losses", "", ("prediction", "target", "weight", "sample_weight", "reduction")
    ),
    "optimizer": Kind("nnad.optimizers", "Optimizer", ("params",)),
    "schedule": Kind("nnad.schedules", "Schedule", ()),
    "metric": Kind("nnad.metrics", "", ("prediction", "target", "sample_weight")),
    "callback": Kind("nnad.training.loggers", "Logger", ()),
}


@dataclass(frozen=True)
class Entry:
    """One component by name: what makes it, and what it can be told.

    Attributes:
        kind: a key of `KINDS`.
        name: how it is called in a configuration.
        make: the class or function.
    """

    kind: str
    name: str
    make: Callable[..., Any]

    @functools.cached_property
    def signature(self) -> dict[str, inspect.Parameter]:
        """All arguments of the class or function."""
        return dict(inspect.signature(self.make).parameters)

    @functools.cached_property
    def parameters(self) -> dict[str, inspect.Parameter]:
        """The plain arguments that a configuration may give, in order of the signature."""
        left_out = (*self._supplied, *self.holders)
        return {
            name: parameter
            for name, parameter in self.signature.items()
            if parameter.kind is not inspect.Parameter.VAR_KEYWORD and name not in left_out
        }

    @functools.cached_property
    def holders(self) -> tuple[str, ...]:
        """The arguments that take layers: ``*layers`` of Sequential, ``layer`` of Residual."""
        if self.kind != "layer":
            return ()
        return tuple(name for name in self.signature if _takes_modules(self.hints.get(name)))

    @functools.cached_property
    def variadic(self) -> str | None:
        """The argument that takes any number of values, such as ``*shape`` of Reshape."""
        return next(
            (n for n, p in self.signature.items() if p.kind is inspect.Parameter.VAR_POSITIONAL),
            None,
        )

    @functools.cached_property
    def _supplied(self) -> tuple[str, ...]:
        """Arguments that come from the run; of a function that takes data, these lead."""
        supplied = KINDS[self.kind].supplied
        if KINDS[self.kind].base:
            return supplied
        leading = [
            name
            for name, parameter in self.signature.items()
            if parameter.default is inspect.Parameter.empty
            and parameter.kind is not inspect.Parameter.KEYWORD_ONLY
        ]
        return (*supplied, *leading[:2])

    @functools.cached_property
    def hints(self) -> dict[str, Any]:
        """Type hints of the arguments; empty where they cannot be evaluated."""
        target = self.make.__init__ if inspect.isclass(self.make) else self.make
        try:
            return typing.get_type_hints(target)
        except (NameError, TypeError):
            return {}

    def defaults(self) -> dict[str, Any]:
        """Arguments that may be left out, with the values they then have."""
        empty = inspect.Parameter.empty
        return {n: p.default for n, p in self.parameters.items() if p.default is not empty}

    @property
    def required(self) -> set[str]:
        """Arguments that must be given."""
        return self.parameters.keys() - self.defaults().keys() - {self.variadic}

    def problems(self, arguments: Mapping[str, Any], optional: tuple[str, ...] = ()) -> Problems:
        """Check arguments by name and type.

        Args:
            arguments: what the configuration gives.
            optional: arguments without a default that may be left out all the same, because they
                follow from the data or the length of the run.

        Returns:
            Pairs of an argument's name and what is wrong with it.
        """
        found: Problems = []
        known = self.parameters
        for name, value in arguments.items():
            hint = self.hints.get(name, Any)
            if name not in known:
                allowed = f"{self.name} takes {', '.join(known) if known else 'no arguments'}"
                found.append((name, f"unknown argument{did_you_mean(str(name), known)}; {allowed}"))
            elif not fits(value, hint):
                wanted = f"expected {describe(hint)}, got {value!r}"
                found.append((name, wanted + _without_quotes(value, hint)))
        missing = self.required - arguments.keys() - set(optional)
        found += [(n, f"is missing: {self.name} needs it") for n in known if n in missing]
        return found


Problems = list[tuple[str, str]]


def _without_quotes(value: Any, hint: Any) -> str:
    """Tell how to mend a number that was written as text."""
    if isinstance(value, str) and not isinstance(number := read_scalar(value), str):
        return f"; write {value} without quotes" if fits(number, hint) else ""
    return ""


def _takes_modules(hint: Any) -> bool:
    """Whether a type hint names a Module, alone or within a union or a sequence."""
    from nnad.layers import Module

    if inspect.isclass(hint) and not typing.get_args(hint):
        return issubclass(hint, Module)
    return any(map(_takes_modules, typing.get_args(hint)))


def snake_case(name: str) -> str:
    """Turn a class name into the name that a configuration uses.

    >>> snake_case("WarmupStableDecay")
    'warmup_stable_decay'
    """
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


@functools.cache
def entries(kind: str) -> dict[str, Entry]:
    """All components of a kind by the name that a configuration uses.

    >>> "cosine" in entries("schedule")
    True
    """
    module = importlib.import_module(KINDS[kind].module)
    base = getattr(module, KINDS[kind].base, None) if KINDS[kind].base else None
    found = {}
    for name in module.__all__:
        value = getattr(module, name)
        if base is None:
            wanted = inspect.isfunction(value)
            if kind == "metric":  # a function such as confusion_matrix gives more than a number
                wanted = wanted and hasattr(value, "higher_is_better")
        else:
            wanted = inspect.isclass(value) and issubclass(value, base) and value is not base
            if kind == "layer":  # what defines no forward of its own cannot be called
                wanted = wanted and value.forward is not base.forward
        if wanted:
            called = snake_case(name) if kind in ("schedule", "callback") else name
            found[called] = Entry(kind, called, value)
    return found


def make(entry: Entry, positional: Sequence[Any], arguments: Mapping[str, Any]) -> Any:
    """Call the class of an entry.

    Args:
        entry: what to make.
        positional: for an argument ``*layers``.
        arguments: by name, a list for an argument like ``*shape``.
    """
    keywords = dict(arguments)
    if entry.variadic in keywords:
        positional = keywords.pop(entry.variadic)
    return entry.make(*positional, **keywords)


def unknown_name(kind: str, name: object) -> str:
    """Say that no component of a kind has a name, which ones there are and what may be meant."""
    known = entries(kind)
    hint = did_you_mean(str(name), known) or ";"
    return f"unknown {kind} {name!r}{hint} known: {', '.join(sorted(known))}"
