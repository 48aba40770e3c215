"""Where each value of a configuration was written: the file and line, or the override."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Locations", "Path", "dotted", "flat"]

Path = tuple[str | int, ...]


def dotted(path: Path) -> str:
    """Write a key path as text.

    >>> dotted(("model", 2, "Linear", "out_features"))
    'model.2.Linear.out_features'
    """
    return ".".join(str(key) for key in path)


def flat(value: Any, path: Path = ()) -> Iterator[tuple[str, Any]]:
    """(dotted key, value) of everything in a tree.

    >>> dict(flat({"optimizer": {"lr": 0.1}, "model": [{"Linear": {}}, "ReLU"]}))
    {'optimizer.lr': 0.1, 'model.0.Linear': {}, 'model.1': 'ReLU'}
    """
    inside: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, dict):
        inside = value.items()
    elif isinstance(value, list) and (path == ("model",) or any(map(is_tree, value))):
        inside = enumerate(value)
    if not inside:
        yield dotted(path), value
    for key, item in inside:
        yield from flat(item, (*path, key))


def is_tree(value: Any) -> bool:
    """Whether there are keys in it."""
    return isinstance(value, (dict, list))


@dataclass
class Locations:
    """The origin of every key path of one configuration.

    Args:
        file: the file's name as the user gave it; empty for a configuration made in Python.
        folder: folder of that file, where relative paths are tried second.
        lines: 1-based line of every key path.
        overrides: text of the ``key=value`` that set a key path.
    """

    file: str = ""
    folder: str = ""
    lines: dict[Path, int] = field(default_factory=dict)
    overrides: dict[Path, str] = field(default_factory=dict)

    def origin(self, path: Path) -> str:
        """Return ``file:line`` or ``override key=value`` of the path or its nearest parent."""
        for length in range(len(path), -1, -1):
            if path[:length] in self.overrides:
                return f"override {self.overrides[path[:length]]}"
            if path[:length] in self.lines:
                return f"{self.file}:{self.lines[path[:length]]}"
        return self.file

    def label(self, path: Path) -> str:
        """Return origin and key path, to begin a message: ``mlp.yaml:4: optimizer.lr``."""
        return ": ".join(part for part in (self.origin(path), dotted(path)) if part)
