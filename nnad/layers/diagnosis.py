"""Errors of shape, told by the path of the layer that met them.

`Module.__call__` hands every ValueError and IndexError on its way out to `locate`, from the
innermost module to the outermost; each puts the name it knows the inner one by before the path.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nnad.errors import ShapeError

if TYPE_CHECKING:
    from nnad.layers.module import Module

__all__ = ["LayerError", "OutOfRangeError", "check_sizes", "locate"]


def check_sizes(layer: Module, **sizes: Any) -> None:
    """Raise a ValueError unless every size, or every part of one, is a whole number from 1 on."""
    for name, size in sizes.items():
        for n in size if isinstance(size, (tuple, list)) else (size,):
            if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 1:
                raise ValueError(
                    f"{type(layer).__name__}: {name} is a whole number from 1 on, got {size!r}"
                )


class LayerError(ShapeError):
    """A layer was given arrays it cannot take.

    Attributes:
        module: the outermost module the error has passed through so far.
        path: names from that module down to the failing layer, whose class name comes last.
        detail: what the layer got and expected.
    """

    def __init__(self, module: Module, detail: str) -> None:
        super().__init__(detail)
        self.module = module
        self.detail = detail
        self.path = [type(module).__name__]

    def __str__(self) -> str:
        root = ["model"] if len(self.path) > 1 else []
        return f"{'.'.join(root + self.path)}: {self.detail}"

    def __reduce__(self) -> Any:
        return ShapeError, (str(self),)


class OutOfRangeError(LayerError, IndexError):
    """A layer was given an index that is out of range."""


def locate(module: Module, error: Exception, args: Sequence[Any]) -> Exception:
    """What to raise when `module(*args)` has raised `error`: that or a better one."""
    if isinstance(error, LayerError):
        if error.module is not module:
            inner = error.module
            paths = (path for path, child in module.named_modules() if child is inner)
            error.path.insert(0, next(paths, "(inner)"))
            error.module = module
        return error
    if isinstance(error, IndexError):
        return OutOfRangeError(module, _detail(module, error, args))
    if type(error) is ValueError or type(error) is ShapeError:
        return LayerError(module, _detail(module, error, args))
    return error


def _detail(module: Module, error: Exception, args: Sequence[Any]) -> str:
    shapes = [tuple(x.shape) for x in args if hasattr(x, "shape")]
    for name, axis in module.input_sizes.items():
        expected = getattr(module, name)
        if shapes and isinstance(expected, int) and not _fits(shapes[0], axis, expected):
            layer = f"{type(module).__name__}({module.extra_repr()})"
            return (
                f"got an input of shape {shapes[0]}, expected {_pattern(axis, expected)} because "
                f"{name}={expected}; change {name} or the layer before. The layer is {layer}"
            )
    if type(error) is ShapeError:
        return str(error)
    given = ", ".join(map(str, shapes)) or "no arrays"
    return f"{error} (given inputs of shape {given})"


def _fits(shape: tuple[int, ...], axis: int, size: int) -> bool:
    return -len(shape) <= axis < len(shape) and shape[axis] == size


def _pattern(axis: int, size: int) -> str:
    """A shape with `size` at the negative `axis`, as text: (..., 64)."""
    return f"(..., {size}{', _' * (-axis - 1)})"
