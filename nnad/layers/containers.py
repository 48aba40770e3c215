"""Modules made of modules, and modules that only change shapes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from nnad.autodiff.tensor import value_of
from nnad.layers.module import Module
from nnad.ops import concatenate, reshape, transpose

__all__ = [
    "Concat",
    "Flatten",
    "Identity",
    "Lambda",
    "Parallel",
    "Permute",
    "Reshape",
    "Residual",
    "Sequential",
]


def _outputs(y: Any) -> Any:
    """What a layer hands on: of a recurrent one, which returns outputs and state, the outputs."""
    return y[0] if type(y) is tuple else y


class Sequential(Module):
    """One module after another.

    Args:
        layers: modules, or one list of them; their paths are "0", "1", ...

    Of a layer that returns a tuple (a recurrent one: outputs and state) the next takes the first
    part.  `model[i]` is the i-th layer, `model[i:j]` a Sequential of some (sharing parameters).
    """

    def __init__(self, *layers: Module | Sequence[Module]) -> None:
        super().__init__()
        if len(layers) == 1 and isinstance(layers[0], (list, tuple)):
            layers = tuple(layers[0])
        for layer in layers:
            self.append(layer)

    def append(self, layer: Any) -> None:
        """Add a layer at the end."""
        if not isinstance(layer, Module):
            raise TypeError(
                f"Sequential holds modules, got {type(layer).__name__}; wrap a function as "
                "Lambda(function)"
            )
        setattr(self, str(len(self)), layer)

    def forward(self, x: Any) -> Any:
        """What the first layer takes to what the last one returns."""
        for layer in self._members.values():
            x = layer(_outputs(x))
        return x

    def __len__(self) -> int:
        return len(self._members)

    def __iter__(self) -> Iterator[Module]:
        return (layer for _, layer in self.named_children())

    def __getitem__(self, index: int | slice) -> Any:
        layers = list(self)
        return Sequential(*layers[index]) if isinstance(index, slice) else layers[index]


class Residual(Module):
    """y = x + layer(x).

    Args:
        layer: keeps the shape of its input, or changes it as `shortcut` does.
        shortcut: a module for the other summand; None: x itself.

    Source: He et al. 2016.
    """

    def __init__(self, layer: Module, shortcut: Module | None = None) -> None:
        super().__init__()
        self.layer = layer
        self.shortcut = shortcut

    def forward(self, x: Any) -> Any:
        """(...) to the same shape, or that of `shortcut(x)`."""
        y = _outputs(self.layer(x))
        other = x if self.shortcut is None else _outputs(self.shortcut(x))
        if value_of(y).shape != value_of(other).shape:
            raise ValueError(
                f"the layer turns shape {value_of(x).shape} into {value_of(y).shape}, which cannot "
                f"be added to shape {value_of(other).shape}; give Residual a shortcut that does "
                "the same to the shape"
            )
        return other + y


class Concat(Module):
    """The results of several modules for the same input, joined along an axis.

    Args:
        layers: the modules.
        axis: where to join; the channels by default.
    """

    def __init__(self, *layers: Module, axis: int = -1) -> None:
        super().__init__()
        self.axis = axis
        for i, layer in enumerate(layers):
            setattr(self, str(i), layer)

    def forward(self, x: Any) -> Any:
        """What all layers take to their joined results."""
        results = [_outputs(layer(x)) for _, layer in self.named_children()]
        return concatenate(results, axis=self.axis)

    def extra_repr(self) -> str:
        """The axis."""
        return f"axis={self.axis}"


class Parallel(Module):
    """The sum of the results of several modules for the same input.

    Args:
        layers: the modules; their results are of one shape.
    """

    def __init__(self, *layers: Module) -> None:
        super().__init__()
        if not layers:
            raise ValueError("Parallel needs one layer or more")
        for i, layer in enumerate(layers):
            setattr(self, str(i), layer)

    def forward(self, x: Any) -> Any:
        """What all layers take to the sum of their results."""
        results = [_outputs(layer(x)) for _, layer in self.named_children()]
        shapes = [value_of(y).shape for y in results]
        if len(set(shapes)) > 1:
            raise ValueError(f"the layers return shapes {shapes}, expected one and the same")
        total = results[0]
        for y in results[1:]:
            total = total + y
        return total


class Lambda(Module):
    """A function of arrays as a layer.

    Args:
        function: takes and returns arrays; NumPy functions are differentiated.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *args: Any) -> Any:
        """What the function does."""
        return self.function(*args)

    def extra_repr(self) -> str:
        """The function's name."""
        return getattr(self.function, "__name__", repr(self.function))


class Identity(Module):
    """y = x."""

    def forward(self, x: Any) -> Any:
        """Any shape to the same shape."""
        return x


class Flatten(Module):
    """Make the axes from `start_axis` on one; keeps the batch axis by default.

    Args:
        start_axis: the first axis to merge.
    """

    def __init__(self, start_axis: int = 1) -> None:
        super().__init__()
        self.start_axis = start_axis

    def forward(self, x: Any) -> Any:
        """(batch, ...) -> (batch, features)."""
        shape = value_of(x).shape
        if len(shape) == self.start_axis + 1:
            return x
        if len(shape) <= self.start_axis:
            raise ValueError(
                f"got an input of shape {shape}, expected {self.start_axis + 1} axes or more"
            )
        return reshape(x, (*shape[: self.start_axis], _product(shape[self.start_axis :])))


def _product(sizes: Sequence[int]) -> int:
    total = 1
    for n in sizes:
        total *= n
    return total


class Reshape(Module):
    """Each sample in another shape.

    Args:
        shape: of a sample, without the batch axis; one entry may be -1.
    """

    def __init__(self, *shape: int | Sequence[int]) -> None:
        super().__init__()
        if len(shape) == 1 and not isinstance(shape[0], int):
            shape = tuple(shape[0])
        self.shape = shape

    def forward(self, x: Any) -> Any:
        """(batch, ...) -> (batch, *shape)."""
        return reshape(x, (value_of(x).shape[0], *self.shape))

    def extra_repr(self) -> str:
        """The shape."""
        return ", ".join(map(str, self.shape))


class Permute(Module):
    """The axes in another order.

    Args:
        axes: all axes, the batch axis 0 among them: Permute(0, 2, 1) swaps the last two of three.
    """

    def __init__(self, *axes: int | Sequence[int]) -> None:
        super().__init__()
        if len(axes) == 1 and not isinstance(axes[0], int):
            axes = tuple(axes[0])
        self.axes = axes

    def forward(self, x: Any) -> Any:
        """The transposed array."""
        return transpose(x, self.axes)

    def extra_repr(self) -> str:
        """The axes."""
        return ", ".join(map(str, self.axes))
