"""Arrays in NPY files, read from disk batch by batch where they are large."""

from __future__ import annotations

import numpy as np

from nnad.data.array_files import as_features, joined, open_array, room_for
from nnad.data.dataset import Raw
from nnad.data.options import Option, Options, source
from nnad.errors import DataError

__all__ = ["load_npy"]


@source(
    "npy",
    Option("path", str, doc="file with the inputs (rows, ...), or a pattern such as x-*.npy"),
    Option("target_path", str | None, None, "file with the targets (rows,) or (rows, outputs)"),
    Option("weight_path", str | None, None, "file with the weight of each row"),
)
def load_npy(options: Options) -> Raw:
    """Inputs and targets in NPY files; inputs over 64 MiB stay on disk, and may exceed memory.

    Each may be several files with a part of the rows; they follow in the order of their names.
    """
    paths = {
        name: options.locate_all(name)
        for name in ("path", "target_path", "weight_path")
        if getattr(options, name) is not None
    }
    if "target_path" not in paths and options.task != "autoencoder":
        raise DataError("data.target_path: missing: the file with the targets")
    room = {"path": room_for(paths["path"])}
    arrays = {
        name: joined([open_array(file, room=room.get(name)) for file in files], files)
        for name, files in paths.items()
    }
    in_memory = {name: np.asarray(array[:]) for name, array in arrays.items() if name != "path"}
    files = paths["path"]
    label = str(files[0]) if len(files) == 1 else options.path
    return Raw(
        as_features(arrays["path"], label),
        in_memory.get("target_path"),
        weight=in_memory.get("weight_path"),
        target_names=["target"],
        files=[file for files in paths.values() for file in files],
        label=label,
    )
