"""Parameters and buffers of a module in a file: the safetensors format, no code inside."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from nnad.errors import CheckpointError
from nnad.files import create, read_bytes

if TYPE_CHECKING:
    import numpy as np

    from nnad.layers.module import Module

__all__ = ["arrays_of", "load", "save"]


def save(path: str | os.PathLike[str], module: Module) -> None:
    """Write the state of `module` to `path`, replacing a file of that name only when done.

    Args:
        path: usually ends in .safetensors.
        module: its `state_dict()` is what is written.
    """
    from safetensors.numpy import save as to_bytes

    target = Path(path)
    draft = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with create(draft, "wb") as file:
            file.write(to_bytes(module.state_dict()))
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, target)
    finally:
        draft.unlink(missing_ok=True)


def load(path: str | os.PathLike[str], module: Module) -> Module:
    """Read what `save` wrote into `module`, which has the same parameters; returns the module.

    Raises:
        CheckpointError: if the file is damaged.
        ShapeError: if an entry is missing, unknown or of another shape.
    """
    module.load_state_dict(arrays_of(path, read_bytes(path)))
    return module


def arrays_of(path: str | os.PathLike[str], content: bytes) -> dict[str, np.ndarray]:
    """The arrays in the content of the safetensors file at `path`, by name.

    Raises:
        CheckpointError: if the file is damaged, or holds numbers of a type that NumPy lacks.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load as from_bytes

    try:
        return from_bytes(content)
    except SafetensorError as error:
        raise CheckpointError(f"{path}: not a whole safetensors file ({error})") from error
    except KeyError as kind:
        raise CheckpointError(
            f"{path}: holds numbers of the type {kind}, which NumPy lacks; write them as float32"
        ) from kind
