"""What may be named in a configuration: layers, losses, optimizers, schedules and metrics.

Everything is found by looking at the modules that define it, so a new layer or optimizer can be
named in a YAML file as soon as it exists. Arguments are checked against the signature.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import re
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from nnad.errors import did_you_mean
from nnad.typechecks import describe, fits

__all__ = ["KINDS", "Entry", "entries", "snake_case", "unknown_name"]


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
    def parameters(self) -> dict[str, inspect.Parameter]:
        """The arguments that a configuration may give, in order of the signature."""
        fixed = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        return {
            name: parameter
            for name, parameter in inspect.signature(self.make).parameters.items()
            if parameter.kind not in fixed and name not in self._supplied
        }

    @functools.cached_property
    def _supplied(self) -> tuple[str, ...]:
        """Arguments that come from the run; of a function that takes data, these lead."""
        supplied = KINDS[self.kind].supplied
        if KINDS[self.kind].base:
            return supplied
        leading = [
            name
            for name, parameter in inspect.signature(self.make).parameters.items()
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

    @property
    def children(self) -> str | None:
        """The argument that takes other layers (``*layers``, ``layer``), or None."""
        for name in inspect.signature(self.make).parameters:
            if self.kind == "layer" and name in ("layers", "layer", "module", "modules"):
                return name
        return None

    def defaults(self) -> dict[str, Any]:
        """Arguments that may be left out, with the values they then have."""
        empty = inspect.Parameter.empty
        return {n: p.default for n, p in self.parameters.items() if p.default is not empty}

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
                found.append((name, f"expected {describe(hint)}, got {value!r}"))
        missing = known.keys() - self.defaults().keys() - arguments.keys() - set(optional)
        found += [(n, f"is missing: {self.name} needs it") for n in known if n in missing]
        return found


Problems = list[tuple[str, str]]


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
        else:
            wanted = inspect.isclass(value) and issubclass(value, base) and value is not base
        if wanted:
            called = snake_case(name) if kind == "schedule" else name
            found[called] = Entry(kind, called, value)
    return found


def unknown_name(kind: str, name: object) -> str:
    """Say that no component of a kind has a name, which ones there are and what may be meant."""
    known = entries(kind)
    hint = did_you_mean(str(name), known) or ";"
    return f"unknown {kind} {name!r}{hint} known: {', '.join(sorted(known))}"
