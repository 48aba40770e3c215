"""IDX files, the format of MNIST and its relatives, gzipped or not."""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

from nnad.data.dataset import Features, Raw, names_of
from nnad.data.options import Option, Options, source
from nnad.data.sources.npz import BOMB_BYTES, BOMB_RATIO
from nnad.errors import DataError
from nnad.files import ordinary, reason_of

__all__ = ["load_idx", "read_idx"]

DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
PIECE_BYTES = 2**24
MAX_AXES = 4
MAX_BYTES = 4 * 2**30
PIXEL = 255.0
GZIP = b"\x1f\x8b"


@source(
    "idx",
    Option("path", str, doc="folder with *images-idx3-ubyte and *labels-idx1-ubyte (.gz), or file"),
    Option("labels_path", str | None, None, "file of labels, where path is a file of inputs"),
)
def load_idx(options: Options) -> Raw:
    """Images and labels in IDX files; a folder's train- and t10k- files are training and test."""
    path = options.locate()
    pairs = _pairs_in(path) if path.is_dir() else [(path, _labels_of(path, options))]
    images, labels = zip(*[_read_pair(*pair) for pair in pairs], strict=True)
    shapes = {array.shape[1:] for array in images}
    if len(shapes) > 1:
        raise DataError(f"{path}: training and test inputs differ in shape: {sorted(shapes)}")
    x, y = np.concatenate(images), np.concatenate(labels)
    x = x[..., None] if x.ndim == 3 else x.reshape(len(x), -1) if x.ndim < 3 else x
    first = len(images[0])
    return Raw(
        Features(x, numeric_names=names_of(x.shape[1:], str(path))),
        y,
        task=None if y.dtype.kind == "f" else "classification",
        target_names=["label"],
        parts={"train": slice(0, first), "test": slice(first, len(x))} if len(pairs) > 1 else {},
        files=[file for pair in pairs for file in pair],
        label=str(path),
        unit=PIXEL if x.dtype == np.uint8 else 1.0,
    )


def read_idx(path: Path) -> np.ndarray:
    """Read one IDX file.

    The header is two zero bytes, a byte for the type, a byte for the number of axes, and the length
    of each axis as a big-endian 32-bit number; what follows must be exactly that many elements.

    Raises:
        DataError: for files that are not IDX, truncated, longer than their header says, or larger
            than 4 GiB.
    """
    try:
        with open(path, "rb", opener=ordinary) as plain:
            packed = plain.read(2) == GZIP
            plain.seek(0)
            if not packed:
                return _read(plain, path)
            limit = max(BOMB_BYTES, BOMB_RATIO * path.stat().st_size)
            with gzip.open(plain) as unpacked:
                return _read(unpacked, path, limit)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read: {reason_of(error)}") from None


def _read(file: BinaryIO | gzip.GzipFile, path: Path, most_bytes: int = MAX_BYTES) -> np.ndarray:
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in DTYPES:
        raise DataError(f"{path}: not an IDX file (it begins with {magic.hex(' ') or 'nothing'})")
    axes = magic[3]
    if not 1 <= axes <= MAX_AXES:
        raise DataError(f"{path}: {axes} axes; expected 1 to {MAX_AXES}")
    header = file.read(4 * axes)
    if len(header) < 4 * axes:
        raise DataError(f"{path}: the file ends within its header")
    shape = struct.unpack(f">{axes}I", header)
    if 0 in shape:
        raise DataError(f"{path}: the header says {shape}: there is nothing in the file")
    dtype = np.dtype(DTYPES[magic[2]])
    size = dtype.itemsize
    for length in shape:  # exact, unlike a product of fixed-width integers
        size *= length
    most_bytes = min(most_bytes, MAX_BYTES)
    if size > most_bytes:
        raise DataError(f"{path}: the header says {shape}, {size:,} bytes; at most {most_bytes:,}")
    content = _read_up_to(file, size)
    if len(content) < size or file.read(1):
        amount = f"only {len(content):,}" if len(content) < size else "more"
        raise DataError(f"{path}: the header says {shape}, {size:,} bytes; the file has {amount}")
    return np.frombuffer(content, dtype).reshape(shape).astype(dtype.newbyteorder("="))


def _read_up_to(file: BinaryIO | gzip.GzipFile, size: int) -> bytes:
    """At most `size` bytes, in pieces: what a header claims takes memory only as it is there."""
    pieces: list[bytes] = []
    missing = size
    while missing and (piece := file.read(min(missing, PIECE_BYTES))):
        pieces.append(piece)
        missing -= len(piece)
    return b"".join(pieces)


def _read_pair(images: Path, labels: Path) -> tuple[np.ndarray, np.ndarray]:
    x, y = read_idx(images), read_idx(labels)
    if y.ndim != 1 or len(x) != len(y):
        raise DataError(f"{labels}: labels of shape {y.shape} for inputs of shape {x.shape}")
    return x, y


def _labels_of(path: Path, options: Options) -> Path:
    if options.labels_path is not None:
        return options.locate("labels_path")
    guess = path.with_name(path.name.replace("images", "labels").replace("idx3", "idx1"))
    if guess == path or not guess.exists():
        raise DataError(f"data.labels_path: missing: no labels found beside {path}")
    return guess


def _pairs_in(folder: Path) -> list[tuple[Path, Path]]:
    """The (images, labels) files of a folder: one pair, or the training pair and the test pair."""
    images = sorted(folder.glob("*images*idx3*"))
    # "train" before "t10k" and "test"; an unpacked file and its .gz count as one.
    by_stem = {file.name.removesuffix(".gz"): file for file in images}
    ordered = sorted(by_stem.values(), key=lambda file: (not file.name.startswith("train"), file))
    pairs = []
    for file in ordered:
        stem = file.name.removesuffix(".gz").replace("images", "labels").replace("idx3", "idx1")
        found = [folder / name for name in (stem, stem + ".gz") if (folder / name).exists()]
        if not found:
            raise DataError(f"{folder}: no labels for {file.name}; expected {stem} or {stem}.gz")
        pairs.append((file, found[0]))
    if not 1 <= len(pairs) <= 2:
        names = ", ".join(file.name for file, _ in pairs) or "none"
        raise DataError(f"{folder}: expected one or two files *images*idx3*, found {names}")
    return pairs
