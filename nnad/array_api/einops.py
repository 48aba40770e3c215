"""`einops.rearrange`, `reduce`, `repeat`, `einsum`, `pack` and `unpack` on Tensors.

einops asks the subclasses of its AbstractBackend whose arrays it was given.  nnad's subclass is
defined as soon as einops is imported, before or after nnad; nnad itself never imports it.
"""

from __future__ import annotations

import sys
from functools import cache
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType
from typing import Any

import numpy as np

from nnad.autodiff.tensor import Tensor

_MODULE = "einops._backends"


@cache  # holds the class, which einops does not
def backend_class(base: type) -> type:
    """nnad's subclass of einops' AbstractBackend."""

    class TensorBackend(base):
        framework_name = "nnad"

        def is_appropriate_type(self, tensor: Any) -> bool:
            return isinstance(tensor, Tensor)

        def from_numpy(self, x: np.ndarray) -> Tensor:
            return Tensor(x)

        def to_numpy(self, x: Tensor) -> np.ndarray:
            return np.asarray(x)

        def arange(self, start: int, stop: int) -> Tensor:
            return Tensor(np.arange(start, stop))

        def stack_on_zeroth_dimension(self, tensors: list[Any]) -> Any:
            return np.stack(tensors)

        def add_axis(self, x: Any, new_position: int) -> Any:
            return np.expand_dims(x, new_position)

        def tile(self, x: Any, repeats: Any) -> Any:
            return np.tile(x, repeats)

        def concat(self, tensors: Any, axis: int) -> Any:
            return np.concatenate(tensors, axis)

        def is_float_type(self, x: Any) -> bool:
            return x.dtype.kind in "fc"

        def einsum(self, pattern: str, *x: Any) -> Any:
            return np.einsum(pattern, *x)

    return TensorBackend


class _Loader(SourceFileLoader):
    """Loads the module of einops' backends and adds nnad's."""

    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        backend_class(module.AbstractBackend)


class _Finder(MetaPathFinder):
    """Finds the module of einops' backends where it lies, for `_Loader`; nothing else."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name, path, target) if name == _MODULE else None
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


def install() -> None:
    """Make einops know Tensors, now or when it is imported."""
    loaded = sys.modules.get(_MODULE)
    if loaded is not None:
        backend_class(loaded.AbstractBackend)
    else:
        sys.meta_path.insert(0, _Finder())
