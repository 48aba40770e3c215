"""Functions of `scipy.special`, by their names there.

The standard has no such extension yet; SciPy already looks for it in a namespace when it runs with
`SCIPY_ARRAY_API=1`, and falls back to plain arrays for what it does not find.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nnad.array_api.results import returns_tensors
from nnad.autodiff.table import LATE

_PREFIX = "scipy.special."


def __getattr__(name: str) -> Callable[..., Any]:
    if _PREFIX + name not in LATE:
        raise AttributeError(f"nnad has no derivative rule for scipy.special.{name}")
    return returns_tensors(LATE[_PREFIX + name])


def __dir__() -> list[str]:
    return sorted(name.removeprefix(_PREFIX) for name in LATE if name.startswith(_PREFIX))
