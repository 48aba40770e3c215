"""nnad: train small and middle-sized networks on a CPU, with an autodiff that can be read.

`import nnad` loads NumPy and nothing else; the rooms that need more are loaded when first used.
"""

from __future__ import annotations

import importlib
from typing import Any

from nnad import array_api, autodiff, errors, ops
from nnad.autodiff.checkpointing import checkpoint
from nnad.autodiff.table import defjvp, defvjp, primitive
from nnad.autodiff.tensor import Tensor, no_grad, stop_gradient
from nnad.autodiff.transforms import (
    grad,
    hessian,
    hvp,
    jacobian,
    jvp,
    value_and_grad,
    vjp,
)
from nnad.errors import ShapeError
from nnad.memory import keep_freed_memory

keep_freed_memory()

__version__ = "0.1.0"

_LAZY_MODULES = (
    "compiler",
    "data",
    "estimators",
    "initializers",
    "layers",
    "losses",
    "metrics",
    "optimizers",
    "schedules",
    "sharing",
    "training",
)
_LAZY_NAMES = {
    "check_grads": "nnad.autodiff.checking",
    "compile": "nnad.compiler",
    "explain": "nnad.autodiff.explain",
    "load": "nnad.serialization",
    "save": "nnad.serialization",
    "seed": "nnad.random",
}

__all__ = [
    "ShapeError",
    "Tensor",
    "array_api",
    "autodiff",
    "check_grads",
    "checkpoint",
    "compile",
    "compiler",
    "data",
    "defjvp",
    "defvjp",
    "errors",
    "estimators",
    "explain",
    "grad",
    "hessian",
    "hvp",
    "initializers",
    "jacobian",
    "jvp",
    "layers",
    "load",
    "losses",
    "metrics",
    "no_grad",
    "ops",
    "optimizers",
    "primitive",
    "save",
    "schedules",
    "seed",
    "sharing",
    "stop_gradient",
    "training",
    "value_and_grad",
    "vjp",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY_MODULES:
        return importlib.import_module(f"nnad.{name}")
    if name in _LAZY_NAMES:
        value = getattr(importlib.import_module(_LAZY_NAMES[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'nnad' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(set(__all__) | set(globals()))
