"""Comparing a tree that was read with one that the program made, and telling what differs."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from nnad.errors import CheckpointError, NnadError

__all__ = ["MALFORMED", "believing", "brief", "require_like"]

# What reading a tree raises that is not what it should be.
MALFORMED = (
    *(ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError),
    *(csv.Error, NnadError),
)


@contextmanager
def believing(file: Path, what: str = "holds something else than a run writes") -> Iterator[None]:
    """Within, what a file of a run holds is made use of; what keeps it from that is told.

    Raises:
        CheckpointError: with the file's name, `what`, and the reason.
    """
    try:
        yield
    except MALFORMED as error:
        raise CheckpointError(
            f"{file}: {what}: {_told(error)}; take the file that the run wrote, with the same "
            "version of nnad"
        ) from error


def require_like(found: Any, own: Any, where: str) -> None:
    """Raise a ValueError unless a tree has the form of another: names, kinds, lengths, shapes.

    Where the other has None, anything may stand.
    """
    if isinstance(own, Mapping):
        if not isinstance(found, Mapping) or set(found) != set(own):
            names = ", ".join(map(str, own))
            raise ValueError(f"{where} is {brief(found)}, expected the entries {names}")
        for name in own:
            require_like(found[name], own[name], f"{where}.{name}")
    elif isinstance(own, Sequence) and not isinstance(own, str):
        if not isinstance(found, Sequence) or len(found) != len(own):
            raise ValueError(f"{where} is {brief(found)}, expected a list of {len(own)}")
        for i, (one, other) in enumerate(zip(found, own, strict=True)):
            require_like(one, other, f"{where}.{i}")
    elif own is not None and _kind(found) != _kind(own):
        raise ValueError(f"{where} is {brief(found)}, expected {brief(own)}")


def brief(value: Any) -> str:
    """A value in a few words."""
    if isinstance(value, (np.ndarray, np.generic)) and np.ndim(value):
        return f"an array of {value.dtype} of shape {value.shape}"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _kind(value: Any) -> Any:
    """What two values that could stand for each other have in common."""
    if isinstance(value, (np.ndarray, np.generic)):
        if np.ndim(value):
            return value.dtype, value.shape
        return {"b": bool, "i": float, "u": float, "f": float}.get(value.dtype.kind, value.dtype)
    return float if type(value) is int else type(value)


def _told(error: BaseException) -> str:
    """An error in a line."""
    if isinstance(error, ValidationError):
        return "; ".join(
            f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}, got {brief(problem['input'])}"
            for problem in error.errors()
        )
    worded = isinstance(error, NnadError) or type(error) is ValueError
    name = "" if worded else f"{type(error).__name__}: "
    return " ".join(f"{name}{error}".split())
