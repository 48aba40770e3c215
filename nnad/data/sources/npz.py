"""Arrays in NPZ files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nnad.data.dataset import Features, Raw
from nnad.data.options import Option, Options, source
from nnad.errors import DataError, did_you_mean

if TYPE_CHECKING:
    import zipfile

__all__ = ["array_features", "load_npz", "read_arrays"]

BOMB_BYTES = 2**30
BOMB_RATIO = 100


@source(
    "npz",
    Option("path", str, doc="the file, written by numpy.savez"),
    Option("x", str, "x", "name of the array of inputs (rows, ...)"),
    Option("y", str, "y", "name of the array of targets (rows,) or (rows, outputs)"),
    Option("weight", str, "weight", "name of the array of row weights, if there is one"),
)
def load_npz(options: Options) -> Raw:
    """Arrays x, y and perhaps weight in an NPZ file."""
    path = options.locate()
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
    import zipfile  # with its decompressors it takes longer to import than all of nnad.data
    import zlib

    try:
        with path.open("rb") as file:
            with zipfile.ZipFile(file) as archive:
                _refuse_bombs(archive, path)
            file.seek(0)
            with np.load(file, allow_pickle=False) as arrays:
                return {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        reason = str(error).partition("\n")[0]
        if "pickle" in reason.lower():
            reason = "it holds Python objects, which are not loaded; save plain arrays"
        raise DataError(f"{path}: not a readable NPZ archive: {reason}") from None


def _refuse_bombs(archive: zipfile.ZipFile, path: Path) -> None:
    """Refuse members that unpack to far more than an array of data would."""
    for member in archive.infolist():
        unpacked, packed = member.file_size, max(1, member.compress_size)
        if unpacked > BOMB_BYTES and unpacked / packed > BOMB_RATIO:
            raise DataError(
                f"{path}: {member.filename} would unpack from {packed:,} to {unpacked:,} bytes; "
                "save it uncompressed (numpy.savez) if that is meant"
            )
