"""Arrays in NPZ files, read from disk batch by batch where they are large and not compressed."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from nnad.data.array_files import as_features, joined, open_array, room_for
from nnad.data.dataset import Raw
from nnad.data.lazy import FileRows
from nnad.data.options import Option, Options, source
from nnad.errors import DataError, did_you_mean
from nnad.files import ordinary, reason_of

if TYPE_CHECKING:
    import zipfile

__all__ = ["load_npz", "read_arrays"]

BOMB_BYTES = 2**30
BOMB_RATIO = 100
TOLD = 20  # names of arrays
LOCAL_HEADER = 30  # bytes before a member's name; at 26 the lengths of the name and of the extras


@source(
    "npz",
    Option("path", str, doc="the file, written by numpy.savez, or a pattern such as part-*.npz"),
    Option("x", str, "x", "name of the array of inputs (rows, ...)"),
    Option("y", str, "y", "name of the array of targets (rows,) or (rows, outputs)"),
    Option("weight", str, "weight", "name of the array of row weights, if there is one"),
)
def load_npz(options: Options) -> Raw:
    """Arrays x, y and perhaps weight in NPZ files; large inputs that are not compressed stay there.

    Several files hold a part of the rows each; they follow in the order of their names.
    """
    paths = options.locate_all()
    names, room = [options.x, options.y, options.weight], room_for(paths)
    archives = [read_arrays(path, names, keep_on_disk=options.x, room=room) for path in paths]
    wanted = {"x": options.x}
    if options.task != "autoencoder":
        wanted["y"] = options.y
    missing = [
        missing_array(path, name)
        for path, arrays in zip(paths, archives, strict=True)
        for name in wanted.values()
        if name not in arrays
    ]
    if missing:
        raise DataError(missing)
    label = str(paths[0]) if len(paths) == 1 else options.path

    def column(name: str) -> np.ndarray | None:
        parts = [arrays[name] for arrays in archives if name in arrays]
        if len(parts) not in (0, len(paths)):
            raise DataError(f"{label}: only {len(parts)} of {len(paths)} files have {name!r}")
        return np.asarray(joined(parts, paths)[:]) if parts else None

    return Raw(
        as_features(joined([a[options.x] for a in archives], paths), f"{label}: {options.x}"),
        column(options.y) if "y" in wanted else None,
        weight=column(options.weight),
        target_names=[options.y],
        files=paths,
        label=label,
    )


def missing_array(path: Path, name: str) -> str:
    """Say that an archive has no such array, and what it has."""
    with open(path, "rb", opener=ordinary) as file, np.load(file, allow_pickle=False) as arrays:
        known = arrays.files
    more = ", ..." if len(known) > TOLD else ""
    told = f"{', '.join(known[:TOLD])}{more}"
    return f"{path}: no array {name!r}{did_you_mean(name, known)} (arrays: {told})"


def read_arrays(
    path: Path, names: Collection[str], keep_on_disk: str = "", room: int = 0
) -> dict[str, np.ndarray | FileRows]:
    """The named arrays of an NPZ archive that it has; Python objects in it are refused.

    Args:
        path: the archive.
        names: of the arrays to read.
        keep_on_disk: name of an array that is read row by row if it is large and not compressed.
        room: bytes up to which it is not large.
    """
    import zipfile  # with its decompressors it takes longer to import than all of nnad.data

    try:
        with open(path, "rb", opener=ordinary) as file:
            found: dict[str, np.ndarray | FileRows] = {}
            with zipfile.ZipFile(file) as archive:
                _refuse_bombs(archive, names, path)
                member = archive.NameToInfo.get(f"{keep_on_disk}.npy")
                if member is not None and member.file_size > room and member.compress_type == 0:
                    begin = _content_of(member, file)
                    end = begin + member.file_size
                    found[keep_on_disk] = open_array(path, begin, end, room)
            file.seek(0)
            with np.load(file, allow_pickle=False) as arrays:
                there = set(names) & set(arrays.files)
                read = {n: found[n] if n in found else arrays[n] for n in sorted(there)}
    except DataError:
        raise
    except Exception as error:  # zipfile and NumPy have many ways to stumble over a damaged file
        reason = reason_of(error)
        if "pickle" in reason.lower():
            reason = "it holds Python objects, which are not loaded; save plain arrays"
        raise DataError(f"{path}: not a readable NPZ archive: {reason}") from None
    strange = [name for name, array in read.items() if isinstance(array, bytes)]
    if strange:  # NumPy gives the content of members that do not begin like an array
        raise DataError(f"{path}: {name!r} is not an array in NPY format" for name in strange)
    return read


def _content_of(member: zipfile.ZipInfo, file: BinaryIO) -> int:
    """Where in the archive the bytes of a member that is not compressed begin."""
    file.seek(member.header_offset + 26)
    lengths = np.frombuffer(file.read(4), "<u2")
    return member.header_offset + LOCAL_HEADER + int(lengths.sum())


def _refuse_bombs(archive: zipfile.ZipFile, names: Collection[str], path: Path) -> None:
    """Refuse arrays that unpack to far more than an array of data would."""
    members = map(archive.NameToInfo.get, (m for n in names for m in (n, f"{n}.npy")))
    for member in filter(None, members):
        unpacked, packed = member.file_size, max(1, member.compress_size)
        if unpacked > BOMB_BYTES and unpacked / packed > BOMB_RATIO:
            raise DataError(
                f"{path}: {member.filename} would unpack from {packed:,} to {unpacked:,} bytes; "
                "save it uncompressed (numpy.savez) if that is meant"
            )
