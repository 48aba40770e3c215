"""Everything that reads what a stranger may have written, as functions of bytes.

`READERS[name](content, folder)` reads; a refusal is a `UserError` (the command line prints its
lines and exits with 2).  `SEEDS[name]` are whole files to start mutating from.
"""

from __future__ import annotations

import base64
import gzip
import importlib.util
import io
import os
import re
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from nnad.data import array_files, load
from nnad.errors import NnadError, UserError
from nnad.serialization import load as load_weights
from nnad.training import checkpoint
from nnad.training.config import parse_config

Reader = Callable[[bytes, Path], Any]


def read_config(content: bytes, folder: Path) -> Any:
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return None
    return parse_config(text, file="fuzz.yaml")


def read_source(name: str, ending: str, **options: Any) -> Reader:
    def read(content: bytes, folder: Path) -> Any:
        path = folder / f"input{ending}"
        path.write_bytes(content)
        return load({"name": name, "path": str(path), **options}, base_dirs=[folder])

    return read


def read_idx(content: bytes, folder: Path) -> Any:
    (folder / "images").write_bytes(content)
    (folder / "labels").write_bytes(idx(np.arange(6) % 2))
    paths = {"path": str(folder / "images"), "labels_path": str(folder / "labels")}
    return load({"name": "idx", **paths, "stratify": False})


def read_large_csv(content: bytes, folder: Path) -> Any:
    """A table as one that is larger than memory: turned into records, then read by rows."""
    in_memory, array_files.IN_MEMORY = array_files.IN_MEMORY, 0
    before = os.environ.get("NNAD_CACHE_DIR")
    os.environ["NNAD_CACHE_DIR"] = str(folder / "cache")
    shutil.rmtree(folder / "cache", ignore_errors=True)
    try:
        data = READERS["csv"](content, folder)
        return data.train.x[: len(data.train)]
    finally:
        array_files.IN_MEMORY = in_memory
        if before is None:
            del os.environ["NNAD_CACHE_DIR"]
        else:
            os.environ["NNAD_CACHE_DIR"] = before


def read_image(content: bytes, folder: Path) -> Any:
    """One image beside a good one of another class."""
    for name, image in (("a", content), ("b", IMAGES[0])):
        (folder / name).mkdir(exist_ok=True)
        for number in range(3):
            (folder / name / f"{number}.png").write_bytes(image)
    return load({"name": "images", "path": str(folder), "size": [2, 2]}, base_dirs=[folder])


def read_checkpoint(content: bytes, folder: Path) -> Any:
    return checkpoint.decode(content, folder / "last.safetensors")


def read_forged(content: bytes, folder: Path) -> Any:
    """A checkpoint whose header is text to change, and whose checksum is right nevertheless."""
    text, _, data = content.partition(b"\n")
    head = len(text).to_bytes(8, "little") + text
    digest = checkpoint.digest_of(head, data).encode()
    sealed = head.replace(checkpoint.NO_DIGEST.encode(), digest, 1) + data
    return checkpoint.decode(sealed, folder / "last.safetensors")


def read_zipped(content: bytes, folder: Path) -> Any:
    """An IDX file that is packed after it was changed."""
    return read_idx(gzip.compress(content, 1, mtime=0), folder)


def read_weights(content: bytes, folder: Path) -> Any:
    from nnad.layers import Linear

    path = folder / "weights.safetensors"
    path.write_bytes(content)
    return load_weights(path, Linear(2, 3))


def idx(array: np.ndarray) -> bytes:
    """An IDX file of unsigned bytes."""
    head = struct.pack(">BBBB", 0, 0, 8, array.ndim)
    return head + struct.pack(f">{array.ndim}I", *array.shape) + array.astype(np.uint8).tobytes()


def _npz() -> bytes:
    file = io.BytesIO()
    np.savez(file, x=np.arange(12.0).reshape(6, 2), y=np.arange(6) % 2)
    return file.getvalue()


def _npy() -> bytes:
    file = io.BytesIO()
    np.save(file, np.arange(12.0).reshape(6, 2))
    return file.getvalue()


def _checkpoint() -> bytes:
    head, arrays = checkpoint.encode({"step": 3, "slots": [np.arange(4.0)], "x": float("inf")})
    return head + b"".join(array.tobytes() for array in arrays)


def _forged() -> bytes:
    whole = _checkpoint()
    end = 8 + int.from_bytes(whole[:8], "little")
    head = re.sub(rb"[0-9a-f]{64}", checkpoint.NO_DIGEST.encode(), whole[8:end])
    return head + b"\n" + whole[end:]


def _weights() -> bytes:
    from safetensors.numpy import save

    return save({"weight": np.zeros((2, 3), np.float32), "bias": np.zeros(3, np.float32)})


CONFIG = b"""seed: 0
data: {name: digits, test_size: 0.25, validation_size: 0.1, standardize: true, batch_size: 64}
model:
  - Linear: {out_features: 64}
  - Residual: [ReLU, {Linear: {out_features: 64}}]
  - Linear: {out_features: 10}
loss: {name: cross_entropy, label_smoothing: 0.1}
optimizer: {name: Adam, lr: 1e-2}
trainer: {epochs: 20, early_stopping: {monitor: val_loss, patience: 3}}
metrics: [accuracy]
"""
TABLE = b"a,b,c,y\n1,2.5,red,0\n2,,blue,1\n3,1e3,red,0\n4,-1,blue,1\n5,0,red,0\n6,2,red,1\n"

IMAGES = [
    b"P5 3 2 255\n" + bytes(range(6)),
    b"P6 2 2 255\n" + bytes(range(12)),
    base64.b64decode(
        "iVBORw0KGgoAAAANSUhEUgAAAAIAAAACCAAAAABX3VL4AAAADklEQVR4nGNkZ2BiYAAAADUAC6RaRLsAAAAASUVORK5CYII="
    ),
    base64.b64decode("R0lGODdhAgACAIEAAAcHBwAAAAAAAAAAACwAAAAAAgACAAAIBgABCAQQEAA7"),
]
IDX = idx(np.arange(6 * 4).reshape(6, 2, 2))
READERS: dict[str, Reader] = {
    "config": read_config,
    "csv": read_source("csv", ".csv", target="y", missing="impute", stratify=False),
    "large-csv": read_large_csv,
    "npz": read_source("npz", ".npz", stratify=False),
    "npy": read_source("npy", ".npy", task="autoencoder"),
    "text": read_source("text", ".txt", context=4),
    "idx": read_idx,
    "zipped-idx": read_zipped,
    "checkpoint": read_checkpoint,
    "forged-checkpoint": read_forged,
    "weights": read_weights,
}
SEEDS: dict[str, list[bytes]] = {
    "config": [CONFIG],
    "csv": [TABLE, TABLE.replace(b",", b";").replace(b"\n", b"\r\n"), b"\xef\xbb\xbf" + TABLE],
    "large-csv": [TABLE],
    "npz": [_npz()],
    "npy": [_npy()],
    "text": [b"to be or not to be, that is the question: " * 4],
    "idx": [IDX, gzip.compress(idx(np.arange(6)[:, None]))],
    "zipped-idx": [IDX],
    "checkpoint": [_checkpoint()],
    "forged-checkpoint": [_forged()],
    "weights": [_weights()],
}
if importlib.util.find_spec("PIL"):
    READERS["image"], SEEDS["image"] = read_image, IMAGES
REFUSALS = (UserError, NnadError)
