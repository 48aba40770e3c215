"""Arrays in NPY files, read from disk batch by batch where they are large."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.lib import format as npy

from nnad.data.dataset import Features, Raw
from nnad.data.lazy import FileRows, LazyRows
from nnad.data.options import Option, Options, source
from nnad.data.sources.npz import array_features
from nnad.errors import DataError

__all__ = ["load_npy", "open_npy"]

IN_MEMORY = 64 * 2**20  # bytes; larger files stay on disk


@source(
    "npy",
    Option("path", str, doc="file with the inputs (rows, ...)"),
    Option("target_path", str | None, None, "file with the targets (rows,) or (rows, outputs)"),
    Option("weight_path", str | None, None, "file with the weight of each row"),
)
def load_npy(options: Options) -> Raw:
    """Inputs and targets in NPY files; inputs over 64 MiB stay on disk, and may exceed memory."""
    paths = {
        name: options.locate(name)
        for name in ("path", "target_path", "weight_path")
        if getattr(options, name) is not None
    }
    if "target_path" not in paths and options.task != "autoencoder":
        raise DataError("data.target_path: missing: the file with the targets")
    arrays = {name: open_npy(path) for name, path in paths.items()}
    x = arrays["path"]
    in_memory = {name: array[:] for name, array in arrays.items() if name != "path"}
    return Raw(
        Features(LazyRows(x)) if isinstance(x, FileRows) else array_features(x, str(paths["path"])),
        in_memory.get("target_path"),
        weight=in_memory.get("weight_path"),
        target_names=["target"],
        files=list(paths.values()),
        label=str(paths["path"]),
    )


def open_npy(path: Path) -> np.ndarray | FileRows:
    """The array of an NPY file: in memory up to 64 MiB, else on disk.

    Raises:
        DataError: for files that are not NPY, hold Python objects or are shorter than they say.
    """
    try:
        with path.open("rb") as file:
            shape, column_major, dtype = _header(file)
            offset = file.tell()
    except (OSError, ValueError, SyntaxError, TypeError) as error:
        reason = str(error).partition("\n")[0]
        raise DataError(f"{path}: not a readable NPY file: {reason}") from None
    if dtype.hasobject:
        raise DataError(f"{path}: holds Python objects, which are not loaded; save plain arrays")
    size = dtype.itemsize
    for length in shape:
        size *= length
    there = path.stat().st_size - offset
    if there != size:
        raise DataError(f"{path}: the header says {shape}, {size:,} bytes; the file has {there:,}")
    if size <= IN_MEMORY:
        return np.load(path, allow_pickle=False)
    if column_major or dtype.kind not in "fiub":
        raise DataError(
            f"{path}: {dtype} in {'column' if column_major else 'row'} order cannot be read in "
            "pieces; save a C-ordered array of numbers (numpy.ascontiguousarray)"
        )
    return FileRows(path, dtype, shape, offset)


def _header(file: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = npy.read_magic(file)
    if version == (1, 0):
        return npy.read_array_header_1_0(file)
    return npy.read_array_header_2_0(file)
