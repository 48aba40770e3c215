"""Overrides from the command line: ``optimizer.lr=0.01``, ``model.0.Linear.out_features=32``."""

from __future__ import annotations

from typing import Any

from nnad.errors import ConfigError
from nnad.training.config.locations import Locations, Path, dotted
from nnad.training.config.problems import quote
from nnad.training.config.writing import flow
from nnad.training.yaml_reader import read_value

__all__ = ["apply_override", "override_text", "override_texts"]

# Sections that may be a bare name, and the key that this name stands for.
NAME_KEYS = {
    **dict.fromkeys(("data", "loss", "optimizer", "schedule"), "name"),
    "baseline": "estimator",
}


def apply_override(raw: dict[Any, Any], locations: Locations, text: str) -> str | None:
    """Set one value in a configuration that has been read but not checked.

    Args:
        raw: the configuration's dictionaries and lists; changed in place.
        locations: told that the value now comes from the command line.
        text: ``key.path=value``; the value is YAML, the key path may hold indices of lists.

    Returns:
        What is wrong with the override, or None.
    """
    key, equals, value_text = text.partition("=")
    parts = [part.strip() for part in key.split(".")]
    if not equals or not all(parts):
        return f"override {text}: expected key=value, as in optimizer.lr=0.01"
    try:
        value = read_value(value_text)
        path = _set(raw, parts, value)
    except ConfigError as error:
        return f"override {text}: {'; '.join(error.problems)}"
    _relocate(locations, path, text)
    return None


def _set(raw: dict[Any, Any], parts: list[str], value: Any) -> Path:
    """Put a value at a key path, adding mappings on the way; return the path with its real keys."""
    container: Any = raw
    path: Path = ()
    for position, part in enumerate(parts[:-1]):
        key = _key(container, part, path)
        path = (*path, key)
        child = container.get(key) if isinstance(container, dict) else container[key]
        child = _opened(child, path, parts[position + 1])
        container[key] = child
        container = child
    key = _key(container, parts[-1], path)
    container[key] = value
    return (*path, key)


def _key(container: Any, part: str, path: Path) -> Any:
    """Return the key or index of `container` that a part of an override's key path names."""
    if isinstance(container, list):
        last = len(container) - 1
        if not part.isascii() or not part.isdecimal() or not 0 <= int(part) <= last:
            choice = f"0 to {last}" if last >= 0 else "none, the list is empty"
            raise ConfigError(f"{dotted(path)} is a list with the indices {choice}, got {part!r}")
        return int(part)
    known = {str(key): key for key in container}
    return known.get(part, part)


def _opened(child: Any, path: Path, following: str) -> Any:
    """Return a container in place of nothing or of a bare name, so that a key can be set in it."""
    if isinstance(child, (dict, list)):
        return child
    if child is None or child is False:
        return {}
    if isinstance(child, str) and len(path) == 1 and path[0] in NAME_KEYS:
        return {NAME_KEYS[path[0]]: child}
    if isinstance(child, str) and len(path) == 2 and path[0] == "metrics":
        return {"name": child}
    if isinstance(child, str) and path[0] == "model" and child == following:
        return {child: {}}
    raise ConfigError(f"{dotted(path)} is {quote(child)}, which has no keys")


def _relocate(locations: Locations, path: Path, text: str) -> None:
    """Note that everything at and below a path comes from an override."""
    for table in (locations.lines, locations.overrides):
        for known in [known for known in table if known[: len(path)] == path]:
            del table[known]
    for length in range(1, len(path) + 1):  # sections that came to be with it are its work too
        if path[:length] not in locations.lines:
            locations.overrides.setdefault(path[:length], text)


def override_texts(values: dict[str, Any]) -> list[str]:
    """Settings as overrides of the command line."""
    return [override_text(key, value) for key, value in values.items()]


def override_text(key: str, value: Any) -> str:
    """A setting as an override.

    >>> override_text("optimizer.lr", 0.001), override_text("loss", "mse")
    ('optimizer.lr=0.001', 'loss=mse')
    """
    return f"{key}={flow(value)}"
