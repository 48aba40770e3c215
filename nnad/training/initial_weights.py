"""Beginning with the weights of another model, as far as they fit."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nnad.data.options import resolve
from nnad.errors import CheckpointError, UserError
from nnad.files import read_bytes, reason_of
from nnad.serialization import arrays_of

if TYPE_CHECKING:
    from nnad.layers import Module
    from nnad.training.config import Config

__all__ = ["take_initial_weights"]


def take_initial_weights(config: Config, model: Module) -> None:
    """Copy what has the name and shape of a parameter or buffer out of a safetensors file.

    Args:
        config: ``trainer.initial_weights`` names the file; without one nothing happens.
        model: what does not stand in the file stays as it is, and is told in a warning.

    Raises:
        UserError: the file is missing or damaged, or nothing in it fits.
    """
    name = config.trainer.initial_weights
    if name is None:
        return
    where = config.where("trainer", "initial_weights")
    file = resolve(name, (".", config.folder or "."), where)
    saved, own = _read(file, where), model.state_dict()
    fitting = {k: v for k, v in saved.items() if k in own and v.shape == own[k].shape}
    if not fitting:
        raise UserError(
            f"{where}: nothing in {file} has the name and shape of a parameter of this model; it "
            f"holds {_shapes(saved)}, the model {_shapes(own)}"
        )
    model.load_state_dict({**own, **fitting})
    if left := [k for k in own if k not in fitting]:
        warnings.warn(f"{file} has no weights for {', '.join(left)}: they begin anew", stacklevel=2)


def _read(file: Path, where: str) -> dict[str, np.ndarray]:
    try:
        return arrays_of(file, read_bytes(file))
    except CheckpointError as error:
        raise UserError(f"{where}: {error}") from None
    except IsADirectoryError:
        example = file / "checkpoints/best.safetensors"
        raise UserError(
            f"{where}: {file}: is a folder; expected a file, such as {example}"
        ) from None
    except OSError as error:
        raise UserError(f"{where}: {file}: {reason_of(error)}") from None


def _shapes(state: dict[str, np.ndarray]) -> str:
    return ", ".join(f"{name} {array.shape}" for name, array in state.items()) or "nothing"
