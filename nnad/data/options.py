"""The keys of a configuration's ``data`` section, and the table of data sources.

A source is one function, registered with the keys that it reads::

    @source("npz", Option("path", str, doc="the file"))
    def load_npz(options: Options) -> Raw: ...

Every module of `nnad.data.sources` is imported when the table is first read, so a new source is one
new file there. `SOURCES` then serves loading, the checks of a configuration, and the reference.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any, Literal

from nnad.errors import ConfigError, DataError, did_you_mean
from nnad.typechecks import describe, fits

__all__ = ["COMMON", "Option", "Options", "Source", "check", "resolve", "source", "source_table"]

REQUIRED: Any = object()


@dataclass(frozen=True)
class Option:
    """One key of the ``data`` section.

    Args:
        name: the key.
        type: what may stand there, as a type: ``int``, ``str | None``, ``Literal["a", "b"]``, ...
        default: its value when left out; without one the key must be given.
        doc: one line on what it does.
        least, below: bounds of a number, ``least <= value < below``.
    """

    name: str
    type: Any
    default: Any = REQUIRED
    doc: str = ""
    least: float | None = None
    below: float | None = None

    @property
    def required(self) -> bool:
        """Whether the key must be given."""
        return self.default is REQUIRED


@dataclass(frozen=True)
class Source:
    """One way to obtain data: its name, the function that loads it and the keys it reads.

    ``common`` replaces defaults of the keys that all sources share.
    """

    name: str
    load: Callable[[Options], Any]
    options: tuple[Option, ...]
    common: Mapping[str, Any] = field(default_factory=dict)

    @property
    def doc(self) -> str:
        """First line of the loading function's docstring."""
        return (self.load.__doc__ or "").strip().partition("\n")[0]

    def keys(self) -> dict[str, Option]:
        """All keys of this source by name: its own, then those that all sources share."""
        shared = (
            Option(o.name, o.type, self.common.get(o.name, o.default), o.doc, o.least, o.below)
            for o in COMMON
        )
        return {option.name: option for option in (*self.options, *shared)}


Size = int | float

# Read for every source, whatever it is.
COMMON = (
    Option("batch_size", int, 64, "rows in a training step", least=1),
    Option(
        "shuffle",
        bool | Literal["blocks"],
        True,
        "draw a new order of the training rows for every epoch; blocks: read files in runs of rows "
        "drawn at random and mix 64 runs at a time, for data on slow or remote disks",
    ),
    Option("drop_last", bool, False, "leave out a last batch that is shorter than the others"),
    Option(
        "prefetch",
        bool | None,
        None,
        "prepare batches in a thread (left out: only for data read from disk or augmented)",
    ),
    Option(
        "test_size",
        Size,
        0.25,
        "part for the final test: a share below 1, a number of rows, or 0",
        least=0,
    ),
    Option(
        "validation_size",
        Size,
        0.0,
        "part of the remaining rows for validation: a share below 1, a number of rows, or 0",
        least=0,
    ),
    Option(
        "split",
        Literal["random", "ordered"],
        "random",
        "how rows are dealt out; ordered: train first, then validation, then test",
    ),
    Option(
        "folds",
        int | None,
        None,
        "cross-validation: deal the rows out to so many folds, one of which is the test part in "
        "place of test_size; nnad crossval trains with each of them in turn",
        least=2,
    ),
    Option("fold", int, 0, "the fold that is the test part, counted from 0", least=0),
    Option(
        "split_seed",
        int | None,
        None,
        "start of the draw of the parts (left out: seed), for runs that differ in seed alone",
        least=0,
        below=2**32,
    ),
    Option("stratify", bool, True, "keep the share of each class (random split of classes only)"),
    Option(
        "task",
        Literal["classification", "regression", "multi_label", "autoencoder"] | None,
        None,
        "what is learned, where the target does not tell",
    ),
    Option(
        "standardize",
        bool | Literal["robust"],
        False,
        "scale inputs by mean and standard deviation; robust: by median and quartiles",
    ),
    Option(
        "smooth_clip",
        bool,
        False,
        "squash scaled inputs x to x / sqrt(1 + (x / 3)^2), which keeps outliers within 3",
    ),
    Option(
        "tokens",
        bool,
        False,
        "inputs are whole numbers from 0 on, which an Embedding or EmbeddingBag reads",
    ),
    Option(
        "standardize_target",
        bool,
        False,
        "train a regression on a target of mean 0 and variance 1 (results in the original units)",
    ),
    Option(
        "target_unit",
        float,
        1,
        "divides the target of a regression; results are in this unit, such as 1000 for thousands",
        least=1e-30,
    ),
    Option(
        "input_shape",
        list[int] | None,
        None,
        "shape given to each row before the model sees it, such as [8, 8, 1]",
    ),
    Option("augment", list | None, None, "random changes of training images, such as [flip]"),
)


class Options:
    """The checked keys of one ``data`` section as attributes, with every default filled in."""

    def __init__(self, values: Mapping[str, Any], base_dirs: Sequence[str | Path] = (".",)) -> None:
        self.__dict__.update(values)
        self._base_dirs = [Path(folder) for folder in base_dirs]

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"no data option {name!r}")

    def as_dict(self) -> dict[str, Any]:
        """All keys and their values."""
        return {key: value for key, value in vars(self).items() if not key.startswith("_")}

    def locate(self, name: str = "path") -> Path:
        """The file or folder that the key ``name`` points to; raises `DataError` if missing."""
        return resolve(getattr(self, name), self._base_dirs, f"data.{name}")

    def locate_all(self, name: str = "path") -> list[Path]:
        """The files that the key ``name`` points to: one, those of a pattern by name, or of a list.

        Raises:
            DataError: if there is none.
        """
        given = getattr(self, name)
        if isinstance(given, list):
            return [file for each in given for file in self._matches(each, name)]
        return self._matches(given, name)

    def _matches(self, given: str, name: str) -> list[Path]:
        if not any(sign in given for sign in "*?["):
            return [resolve(given, self._base_dirs, f"data.{name}")]
        tried = [folder / Path(given).expanduser() for folder in self._base_dirs]
        for place in tried:
            if found := sorted(matches(place)):
                return found
        raise DataError(f"data.{name}: no file matches {_told(tried)}")


def matches(place: Path) -> Iterator[Path]:
    """What a pattern stands for; ``**`` is as ``*``: nothing is looked for in folders below."""
    return place.parent.glob(re.sub(r"\*+", "*", place.name))


def resolve(path: str | Path, base_dirs: Sequence[str | Path], label: str = "path") -> Path:
    """Find a relative path in the first of several folders that has it.

    Raises:
        DataError: if none has it, naming the places looked at and a similar name found there.
    """
    tried = [Path(folder) / Path(path).expanduser() for folder in base_dirs]
    for candidate in tried:
        if candidate.exists():
            return candidate
    neighbours = [
        entry.name for c in tried if c.parent.is_dir() for entry in sorted(c.parent.iterdir())
    ]
    hint = did_you_mean(Path(path).name, neighbours) or _how_to_fetch(Path(path))
    raise DataError(f"{label}: no such file or folder: {_told(tried)}{hint}")


def _told(tried: Sequence[Path]) -> str:
    """The places looked at, each once."""
    return " or ".join(dict.fromkeys(str(place.absolute()) for place in tried))


def _how_to_fetch(path: Path) -> str:
    """The command that brings a file in the folder of a well-known set, or nothing."""
    from nnad.data.download import SETS

    name = next((part for part in path.parts if part in SETS), None)
    return f"; python scripts/fetch_data.py {name} brings it" if name else ""


_registry: dict[str, Source] = {}


def source(
    name: str, *options: Option, **common: Any
) -> Callable[[Callable[[Options], Any]], Callable[[Options], Any]]:
    """Register a loading function as the data source ``name``.

    Args:
        name: what stands under ``data.name``.
        options: the keys that it reads beside those in `COMMON`.
        common: other defaults for keys in `COMMON`.
    """

    def register(load: Callable[[Options], Any]) -> Callable[[Options], Any]:
        _registry[name] = Source(name, load, options, common)
        return load

    return register


def source_table() -> dict[str, Source]:
    """The table of all data sources by name."""
    package = importlib.import_module("nnad.data.sources")
    for module in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        importlib.import_module(module.name)
    return _registry


def check(config: Mapping[str, Any]) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """Check a ``data`` section and fill in its defaults.

    Args:
        config: the section as a mapping.

    Returns:
        The values of all keys, and the problems as pairs (key, what is wrong and what is allowed).

    >>> check({"name": "digits", "test_size": "much"})[1]
    [('test_size', "got 'much', expected a number")]
    """
    table = source_table()
    name = config.get("name")
    if name not in table:
        return {}, [
            ("name", _unknown_source(name, table)),
            *_wrong_whatever_the_source(config, table),
        ]
    keys = table[str(name)].keys()
    problems = [
        (str(key), f"unknown key{did_you_mean(str(key), keys)} (known: {', '.join(sorted(keys))})")
        for key in config
        if key != "name" and key not in keys
    ]
    values = {"name": name}
    for key, option in keys.items():
        values[key] = config.get(key, option.default)
        if key in config:
            wrong = _mismatch(config[key], option)
            problems += [(key, wrong)] if wrong else []
        elif option.required:
            problems.append((key, f"missing: {option.doc}"))
    return values, problems


def checked(config: Mapping[str, Any], base_dirs: Sequence[str | Path]) -> tuple[Source, Options]:
    """Return source and options of a ``data`` section; raises `ConfigError` with all problems."""
    values, problems = check(config)
    if problems:
        raise ConfigError(f"data.{key}: {text}" for key, text in problems)
    return _registry[values["name"]], Options(values, base_dirs)


def _unknown_source(name: Any, table: Mapping[str, Source]) -> str:
    if name is None:
        return f"missing: the data source, one of {', '.join(sorted(table))}"
    hint = did_you_mean(str(name), table) or ";"
    return f"unknown data source {name!r}{hint} known: {', '.join(sorted(table))}"


def _wrong_whatever_the_source(
    config: Mapping[str, Any], table: Mapping[str, Source]
) -> list[tuple[str, str]]:
    """Problems of a section whose source is unknown: of the keys that all sources share, and keys
    that none has.
    """
    shared = {option.name: option for option in COMMON}
    known = set().union(*(entry.keys() for entry in table.values()))
    problems = []
    for key, value in config.items():
        if key in shared and (wrong := _mismatch(value, shared[key])):
            problems.append((key, wrong))
        elif key != "name" and key not in known:
            problems.append((str(key), f"unknown key{did_you_mean(str(key), known)}"))
    return problems


def _mismatch(value: Any, option: Option) -> str:
    """Say what is wrong with a value, or nothing."""
    if not fits(value, option.type):
        return f"got {value!r}, expected {describe(option.type)}"
    if value is None:
        return ""
    if isinstance(value, float) and not isfinite(value):
        return f"got {value!r}, expected a finite number"
    if option.least is not None and value < option.least:
        return f"got {value!r}, expected at least {option.least:g}"
    if option.below is not None and value >= option.below:
        return f"got {value!r}, expected less than {option.below:g}"
    if isinstance(value, float) and value >= 1 and option.type == Size:
        return f"got {value!r}, expected a share below 1 or a whole number of rows"
    return ""
