"""Taking over weights that PyTorch trained: names mapped, axes turned to nnad's layout."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from nnad.errors import CheckpointError, ShapeError, did_you_mean
from nnad.files import read_bytes
from nnad.layers import Bilinear, MultiHeadAttention
from nnad.layers import conv as convolutions
from nnad.layers.linear import Linear
from nnad.layers.recurrent import GRU, LSTM, RNN
from nnad.serialization import arrays_of

__all__ = ["load_torch"]

Turn = Callable[[np.ndarray], np.ndarray]
IGNORED = ("num_batches_tracked",)  # counters that nnad does not keep


def load_torch(
    model: Any,
    weights: Any,
    names: Mapping[str, str] | None = None,
    flattened: Mapping[str, tuple[int, ...]] | None = None,
) -> Any:
    """Load weights in PyTorch's layout into `model`; returns the model.

    Args:
        model: the nnad module, of the same architecture.
        weights: a `state_dict()` (tensors or arrays by name), or the path of a safetensors file.
        names: PyTorch's names, or beginnings of names, to those here: ``{"encoder.fc1": "0"}``.
        flattened: for a Linear that follows a flattened image, by its name here: the image's
            (channels, height, width).  PyTorch flattens channels first, nnad channels last.

    Raises:
        ShapeError: an entry is missing, unknown or of another shape.
        CheckpointError: the file cannot be read, or is one that `torch.save` wrote.

    >>> import nnad
    >>> linear = nnad.layers.Linear(2, 3)
    >>> _ = load_torch(linear, {"weight": np.arange(6.0).reshape(3, 2), "bias": np.zeros(3)})
    >>> linear.weight.shape
    (2, 3)
    """
    given = _read(weights) if isinstance(weights, (str, os.PathLike)) else weights
    arrays = {
        _renamed(name, names or {}): _as_array(value)
        for name, value in given.items()
        if name.rpartition(".")[2] not in IGNORED
    }
    turns = _turns(model)
    wanted = model.state_dict()
    unknown = [name for name in arrays if name not in wanted]
    if unknown:
        raise ShapeError(
            "\n".join(
                f"{name}: the model has no such entry{did_you_mean(name, wanted)}; it has "
                f"{', '.join(wanted)}; map PyTorch's names by names={{...}}"
                for name in unknown
            )
        )
    state = {}
    for name, array in arrays.items():
        owner = name.rpartition(".")[0]
        if flattened and owner in flattened and name.endswith("weight"):
            array = _channels_last(array, flattened[owner])
        state[name] = turns.get(name, _same)(array)
    model.load_state_dict(state)
    return model


def _read(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    content = read_bytes(path)
    if content[:2] in (b"PK", b"\x80\x02"):
        raise CheckpointError(
            f"{path}: a file of torch.save, which may run code when it is loaded; in PyTorch write "
            "safetensors.torch.save_file(model.state_dict(), path) instead"
        )
    return arrays_of(path, content)


def _as_array(value: Any) -> np.ndarray:
    """A tensor of PyTorch, or an array, as an array."""
    return np.asarray(value.detach().cpu().numpy() if hasattr(value, "detach") else value)


def _renamed(name: str, names: Mapping[str, str]) -> str:
    """The longest beginning of a name that `names` knows, replaced."""
    for end in sorted(names, key=len, reverse=True):
        if name == end or name.startswith(f"{end}."):
            return (names[end] + name[len(end) :]).lstrip(".")
    return name


def _same(array: np.ndarray) -> np.ndarray:
    return array


def _transposed(array: np.ndarray) -> np.ndarray:
    return array.T


def _kernel_last(array: np.ndarray) -> np.ndarray:
    """(out, in, *kernel) to (*kernel, in, out)."""
    return np.moveaxis(array, (0, 1), (-1, -2))


def _transposed_kernel_last(array: np.ndarray) -> np.ndarray:
    """(in, out, *kernel) to (*kernel, in, out)."""
    return np.moveaxis(array, (0, 1), (-2, -1))


def _channels_last(weight: np.ndarray, image: tuple[int, ...]) -> np.ndarray:
    """A weight (out, channels * rest) with its columns in the order of channels last."""
    if weight.shape[1] != np.prod(image):
        raise ShapeError(
            f"a weight of shape {weight.shape} does not follow a flattened image of shape {image}"
        )
    return np.moveaxis(weight.reshape(-1, *image), 1, -1).reshape(len(weight), -1)


def _turns(model: Any) -> dict[str, Turn]:
    """How each parameter whose layout differs is turned, by its path."""
    found: dict[str, Turn] = {}
    for path, module in model.named_modules():
        for name in _own_names(module):
            turn = _turn_of(module, name)
            if turn is not None:
                found[f"{path}.{name}" if path else name] = turn
    return found


def _own_names(module: Any) -> list[str]:
    own = {id(p) for p in module.own_parameters()}
    return [name for name, value in vars(module).items() if id(value) in own]


def _turn_of(module: Any, name: str) -> Turn | None:
    if isinstance(module, Bilinear) and name == "weight":
        return lambda array: np.moveaxis(array, 0, -1)
    if isinstance(module, (convolutions.ConvTranspose1d, convolutions.ConvTranspose2d)):
        return _transposed_kernel_last if name == "weight" else None
    if type(module).__module__ == convolutions.__name__ and name == "weight":
        return _kernel_last
    if isinstance(module, Linear) and name == "weight":
        return _transposed
    if isinstance(module, (RNN, GRU, LSTM)) and name.startswith("weight"):
        return _transposed
    if isinstance(module, MultiHeadAttention) and name == "in_proj_weight":
        return _transposed
    return None
