"""Arrays in NPZ files."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from nnad.data.dataset import Features, Raw
from nnad.data.options import Option, Options, source
from nnad.errors import DataError, did_you_mean

__all__ = ["array_features", "load_npz", "read_arrays"]


@source(
    "npz",
    Option("path", str, doc="the file, written by numpy.savez"),
    Option("x", str, "x", "name of the array of inputs (rows, ...)"),
    Option("y", str, "y", "name of the array of targets (rows,) or (rows, outputs)"),
    Option("weight", str, "weight", "name of the array of row weights, if there is one"),
)
def load_npz(options: Options) -> Raw:
    """Arrays x, y and perhaps weight in an NPZ file."""
    path = options.path()
    arrays = read_arrays(path)
    wanted = {"x": options.x}
    if options.task != "autoencoder":
        wanted["y"] = options.y
    missing = [
        f"{path}: no array {name!r}{did_you_mean(name, arrays)} (arrays: {', '.join(arrays)})"
        for name in wanted.values()
        if name not in arrays
    ]
    if missing:
        raise DataError(missing)
    return Raw(
        array_features(arrays[options.x], f"{path}: {options.x}"),
        arrays[options.y] if "y" in wanted else None,
        weight=arrays.get(options.weight),
        target_names=[options.y],
        files=[path],
        label=str(path),
    )


def array_features(x: np.ndarray, label: str) -> Features:
    """Inputs given as an array of numbers with rows first."""
    if x.dtype.kind not in "fiub":
        raise DataError(f"{label}: inputs of type {x.dtype}; expected numbers")
    if x.ndim == 0:
        raise DataError(f"{label}: a single number; expected an array with rows first")
    if x.ndim == 1:
        x = x[:, None]
    columns = int(np.prod(x.shape[1:]))
    return Features(x, numeric_names=[f"x{i}" for i in range(columns)])


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """All arrays of an NPZ archive by name; Python objects in it are refused."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            if not hasattr(archive, "files"):
                raise DataError(f"{path}: a single array; expected an NPZ archive (use name: npy)")
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        reason = str(error).partition("\n")[0]
        if "pickle" in reason.lower():
            reason = "not an NPZ archive of plain arrays (Python objects are not loaded)"
        raise DataError(f"{path}: cannot be read: {reason}") from None
