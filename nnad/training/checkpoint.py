"""Checkpoints: a tree of state in one file that is either whole or not there.

A checkpoint is a safetensors file: eight bytes with the length of a JSON header, the header, and
the bytes of the arrays.  What is not an array (counters, states of random generators) travels in
the header's metadata, beside a SHA-256 checksum over the whole file.  It holds no times, so equal
runs give equal files.

The file is written here rather than by the safetensors package for three reasons: arrays go to the
disk without being copied, the order of the header is fixed, and the checksum covers every byte.
Any safetensors reader opens it.

Saving writes a temporary file, syncs it, moves the current checkpoint to the ``.previous`` slot and
renames the new one into place.  At every moment at least one whole checkpoint has a name.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from nnad.errors import CheckpointError
from nnad.files import create, read_bytes

__all__ = ["load", "load_newest", "pack", "previous_slot", "save", "unpack"]

FORMAT = "nnad-1"
NO_DIGEST = "0" * 64
LARGEST_HEADER = 100_000_000  # bytes; the limit of the safetensors format
ARRAY_KEY = "$array"
FLOAT_KEY = "$float"  # infinities and NaN, which JSON lacks

DTYPES = {
    "BOOL": np.dtype(bool),
    "U8": np.dtype("u1"),
    "I8": np.dtype("i1"),
    "U16": np.dtype("<u2"),
    "I16": np.dtype("<i2"),
    "F16": np.dtype("<f2"),
    "U32": np.dtype("<u4"),
    "I32": np.dtype("<i4"),
    "F32": np.dtype("<f4"),
    "U64": np.dtype("<u8"),
    "I64": np.dtype("<i8"),
    "F64": np.dtype("<f8"),
    "C64": np.dtype("<c8"),
}
DTYPE_NAMES = {dtype: name for name, dtype in DTYPES.items()}


def pack(tree: Any) -> tuple[Any, dict[str, np.ndarray]]:
    """Split nested dicts and lists into a JSON skeleton and the arrays by path.

    Args:
        tree: dicts with string keys, lists, tuples (they come back as lists), ndarrays, NumPy
            scalars (they come back as 0-d arrays), and what JSON knows.

    Returns:
        (skeleton, arrays): the skeleton names each array by its path where the array was.

    >>> pack({"step": 3, "slots": [np.zeros(2)]})
    ({'step': 3, 'slots': [{'$array': 'slots/0'}]}, {'slots/0': array([0., 0.])})
    """
    arrays: dict[str, np.ndarray] = {}

    def visit(node: Any, path: str) -> Any:
        if isinstance(node, (np.ndarray, np.generic)):
            arrays[path] = np.asarray(node)
            return {ARRAY_KEY: path}
        if isinstance(node, dict):
            return {key: visit(node[key], f"{path}/{key}" if path else key) for key in node}
        if isinstance(node, (list, tuple)):
            return [visit(item, f"{path}/{i}" if path else str(i)) for i, item in enumerate(node)]
        if isinstance(node, float) and not math.isfinite(node):
            return {FLOAT_KEY: repr(node)}
        return node

    return visit(tree, ""), arrays


def unpack(skeleton: Any, arrays: dict[str, np.ndarray]) -> Any:
    """Undo :func:`pack`.

    >>> unpack(*pack({"step": 3, "slots": [np.zeros(2)]}))
    {'step': 3, 'slots': [array([0., 0.])]}
    """
    if isinstance(skeleton, dict):
        if ARRAY_KEY in skeleton:
            return arrays[skeleton[ARRAY_KEY]]
        if FLOAT_KEY in skeleton:
            return float(skeleton[FLOAT_KEY])
        return {key: unpack(item, arrays) for key, item in skeleton.items()}
    if isinstance(skeleton, list):
        return [unpack(item, arrays) for item in skeleton]
    return skeleton


def previous_slot(path: Path) -> Path:
    """Where the checkpoint before the one at `path` is kept."""
    return path.with_name(path.name + ".previous")


def save(path: Path, tree: Any, keep_previous: bool = True) -> None:
    """Write `tree` to `path` so that a crash at any moment leaves a whole checkpoint.

    Args:
        path: the file; its folder must exist.
        tree: what :func:`pack` takes.
        keep_previous: keep what is at `path` now in its ``.previous`` slot.

    Raises:
        CheckpointError: the disk is full or cannot be written; what was saved before is untouched.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        write_whole(temporary, *encode(tree))
        if keep_previous and path.exists():
            os.replace(path, previous_slot(path))
        os.replace(temporary, path)
        sync_folder(path.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise CheckpointError(f"{path}: {describe_os_error(error)}") from error


def load(path: Path) -> Any:
    """Read the tree that :func:`save` wrote.

    Raises:
        CheckpointError: the file is missing, damaged, or not a checkpoint of nnad.
    """
    try:
        content = read_bytes(path)
    except OSError as error:
        raise CheckpointError(f"{path}: {describe_os_error(error)}") from error
    return decode(content, path)


def load_newest(path: Path) -> Any:
    """The checkpoint at `path`; with a warning, the one before it if that is missing or damaged.

    Raises:
        CheckpointError: neither can be used; one problem for each.
    """
    try:
        return load(path)
    except CheckpointError as problem:
        try:
            tree = load(previous_slot(path))
        except CheckpointError as other:
            missing = not previous_slot(path).exists()
            raise CheckpointError(
                problem.problems if missing else problem.problems + other.problems
            ) from None
        warnings.warn(f"{problem}; using the previous one, {previous_slot(path)}", stacklevel=2)
        return tree


def encode(tree: Any) -> tuple[bytes, list[np.ndarray]]:
    """The bytes before the data (length and header, checksum filled in) and the arrays after."""
    skeleton, arrays = pack(tree)
    ordered = {name: in_file_order(array) for name, array in arrays.items()}
    header: dict[str, Any] = {
        "__metadata__": {
            "format": FORMAT,
            "sha256": NO_DIGEST,
            "state": json.dumps(skeleton, allow_nan=False, separators=(",", ":")),
        }
    }
    end = 0
    for name, array in ordered.items():
        begin, end = end, end + array.nbytes
        header[name] = {
            "dtype": DTYPE_NAMES[array.dtype],
            "shape": list(array.shape),
            "data_offsets": [begin, end],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    head = len(text).to_bytes(8, "little") + text
    digest = digest_of(head, *ordered.values())
    return head.replace(digest_field(NO_DIGEST), digest_field(digest), 1), list(ordered.values())


def decode(content: bytes, path: Path) -> Any:
    """Check a checkpoint's bytes and turn them into the tree. The arrays are writable copies."""
    length = int.from_bytes(content[:8], "little")
    if not 0 < length <= min(LARGEST_HEADER, len(content) - 8):
        raise CheckpointError(f"{path}: damaged checkpoint: it ends within its header")
    head, data = content[: 8 + length], memoryview(content)[8 + length :]
    try:
        header = json.loads(head[8:])
        metadata = header.pop("__metadata__")
        digest = metadata["sha256"]
        zeroed = head.replace(digest_field(digest), digest_field(NO_DIGEST), 1)
        intact = digest_of(zeroed, data) == digest
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise CheckpointError(f"{path}: damaged checkpoint, or not one of nnad") from None
    if not intact:
        raise CheckpointError(f"{path}: damaged checkpoint: its checksum does not match")
    if metadata.get("format") != FORMAT:
        raise CheckpointError(
            f"{path}: checkpoint of format {metadata.get('format')!r}, expected {FORMAT!r}; "
            "it comes from another version of nnad"
        )
    try:
        require_apart(header.values(), len(data))
        arrays = {name: read_array(entry, data) for name, entry in header.items()}
        return unpack(json.loads(metadata["state"]), arrays)
    except (ValueError, TypeError, KeyError, ArithmeticError, RecursionError) as error:
        raise CheckpointError(f"{path}: malformed checkpoint: {error!r}") from None


def require_apart(entries: Iterable[dict[str, Any]], size: int) -> None:
    """Raise unless the arrays take up the data one after the other, so none is read twice."""
    end = 0
    for begin, after in sorted(entry["data_offsets"] for entry in entries):
        if begin != end or after < begin:
            raise ValueError(f"arrays at {begin}..{after} after {end}: they overlap or leave gaps")
        end = after
    if end != size:
        raise ValueError(f"arrays of {end} bytes in {size} bytes of data")


def read_array(entry: dict[str, Any], data: memoryview) -> np.ndarray:
    """One array of a checkpoint, its place and size checked before memory is taken."""
    dtype, shape = DTYPES[entry["dtype"]], tuple(entry["shape"])
    begin, end = entry["data_offsets"]
    if min(shape, default=0) < 0:
        raise ValueError(f"an axis of a negative length in the shape {shape}")
    return np.frombuffer(data[begin:end], dtype).reshape(shape).copy()


def in_file_order(array: np.ndarray) -> np.ndarray:
    """`array` itself if the file can hold its memory as it lies, else a copy that it can."""
    ordered = np.asarray(array, order="C", dtype=array.dtype.newbyteorder("<"))
    if ordered.dtype not in DTYPE_NAMES:
        raise TypeError(
            f"a checkpoint cannot hold arrays of dtype {array.dtype}; it knows "
            + ", ".join(str(dtype) for dtype in DTYPE_NAMES)
        )
    return ordered


def digest_field(digest: str) -> bytes:
    """The checksum's entry as it stands in the header."""
    return b'"sha256":"%s"' % digest.encode()


def digest_of(*parts: Any) -> str:
    """SHA-256, as hexadecimal digits, over the bytes of `parts`."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def write_whole(path: Path, *content: Any) -> None:
    """Write byte strings and (lists of) arrays to `path` and wait until the disk has them."""
    with create(path, "wb", buffering=0) as file:
        for item in content:
            for part in item if isinstance(item, list) else [item]:
                write_all(file, part)
        os.fsync(file.fileno())


def write_all(file: Any, part: bytes | np.ndarray) -> None:
    """Write every byte of `part`: an unbuffered write may take only some of them."""
    content: Any = part if isinstance(part, bytes) else part.reshape(-1).view(np.uint8)
    rest = memoryview(content)
    while len(rest):
        rest = rest[file.write(rest) :]


def sync_folder(folder: Path) -> None:
    """Make the renames in `folder` last through a power failure (where the system can)."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def describe_os_error(error: OSError) -> str:
    """What an operating system's error means for the run."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            "the disk is full; nothing saved before is lost: free some space and try again (a run "
            "that has begun continues with --resume)"
        )
    if error.errno == errno.ENOENT:
        return "no such file"
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return f"{error.strerror}; choose a place that may be written (a run's: output.dir)"
    return error.strerror or str(error)
