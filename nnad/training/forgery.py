"""What files with a right checksum may still hold: a stranger can compute one too.

A run folder may come from anybody.  What it says is compared with what the program itself would
have written, part by part, before it is believed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, get_type_hints

import numpy as np
from pydantic import ConfigDict, create_model

from nnad.data.dataset import Meta
from nnad.data.preprocessing import Preprocessor
from nnad.errors import CheckpointError
from nnad.training import checkpoint

if TYPE_CHECKING:
    from nnad.training.run_folder import RunFolder

__all__ = ["MALFORMED", "load_meta", "require_like", "require_state_like"]

# What reading a tree raises that is not what it should be.
MALFORMED = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError)

ALIKE = ("counters", "generators", "schedule", "model")  # in every checkpoint of a run
BEST = {"value": 0.0, "epoch": 0, "weights_epoch": 0}


def load_meta(folder: RunFolder) -> Meta:
    """What a run folder says about its data.

    Raises:
        CheckpointError: the file is missing, damaged, or holds something else.
    """
    tree = checkpoint.load(folder.preprocessing)
    try:
        meta = Meta.from_state(**tree)
        _require_types(Preprocessor, vars(meta.preprocessor))
        _require_types(Meta, vars(meta))
    except MALFORMED as error:
        raise CheckpointError(
            f"{folder.preprocessing}: does not say what a run knows about its data: "
            f"{_told(error)}; take the file that the run wrote, with the same version of nnad"
        ) from error
    return meta


def require_state_like(state: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    """Raise a ValueError unless a checkpoint's state could be one of the run of state `own`."""
    for part in ALIKE:
        require_like(state[part], own[part], part)
    _require_hyper(state["optimizer"]["param_groups"], own["optimizer"]["param_groups"])
    for rate in ("lr", "initial_lr"):
        require_like(state["optimizer"][rate], own["optimizer"][rate], f"optimizer.{rate}")
    for entry in state["optimizer"]["state"].values():
        if "step" in entry and not 0 <= int(entry["step"]) < 2**53:
            raise ValueError(f"optimizer has made {_brief(entry['step'])} steps")
    shapes = {np.shape(column) for column in state["history"].values()}
    if any(len(shape) != 1 for shape in shapes) or len(shapes) > 1:
        raise ValueError("history holds something else than columns of equally many numbers")
    best = state["best"]
    known = {name: own_value for name, own_value in BEST.items() if best[name] is not None}
    require_like({name: best[name] for name in known}, known, "best")
    if best["weights"]:
        require_like(best["weights"], own["model"], "best.weights")


def require_like(found: Any, own: Any, where: str) -> None:
    """Raise a ValueError unless a tree has the form of another: names, kinds, lengths, shapes.

    Where the other has None, anything may stand.
    """
    if isinstance(own, Mapping):
        if not isinstance(found, Mapping) or set(found) != set(own):
            names = ", ".join(map(str, own))
            raise ValueError(f"{where} is {_brief(found)}, expected the entries {names}")
        for name in own:
            require_like(found[name], own[name], f"{where}.{name}")
    elif isinstance(own, Sequence) and not isinstance(own, str):
        if not isinstance(found, Sequence) or len(found) != len(own):
            raise ValueError(f"{where} is {_brief(found)}, expected a list of {len(own)}")
        for i, (one, other) in enumerate(zip(found, own, strict=True)):
            require_like(one, other, f"{where}.{i}")
    elif own is not None and _kind(found) != _kind(own):
        raise ValueError(f"{where} is {_brief(found)}, expected {_brief(own)}")


def _require_hyper(found: Any, own: Any) -> None:
    """Raise a ValueError unless the hyper-parameters are the run's; the rate may have changed."""
    require_like(found, own, "optimizer")
    for one, other in zip(found, own, strict=True):
        for name in set(other) - {"lr", "params"}:
            if not np.array_equal(one[name], other[name]):
                raise ValueError(f"optimizer has {name} {_brief(one[name])}, not {other[name]!r}")


def _kind(value: Any) -> Any:
    """What two values that could stand for each other have in common."""
    if isinstance(value, (np.ndarray, np.generic)) and np.ndim(value):
        return value.dtype, value.shape
    if isinstance(value, (bool, np.bool_)):
        return bool
    return float if isinstance(value, (int, float, np.ndarray, np.number)) else type(value)


def _brief(value: Any) -> str:
    if isinstance(value, (np.ndarray, np.generic)) and np.ndim(value):
        return f"an array of {value.dtype} of shape {value.shape}"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _require_types(kind: type, values: Mapping[str, Any]) -> None:
    """Raise a ValueError unless the fields of a dataclass hold what their annotations say."""
    hints = get_type_hints(kind, localns={"Preprocessor": Preprocessor})
    config = ConfigDict(arbitrary_types_allowed=True, strict=True)
    fields: dict[str, Any] = {name: (hints[name], ...) for name in values}
    create_model(kind.__name__, __config__=config, **fields).model_validate(dict(values))


def _told(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
