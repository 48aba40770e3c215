"""Folders of image files, one folder for each class."""

from __future__ import annotations

import math
import warnings
from os.path import realpath
from pathlib import Path
from typing import Literal

import numpy as np

from nnad.data.cells import Problems
from nnad.data.dataset import Features, Raw, names_of
from nnad.data.options import Option, Options, source
from nnad.data.sources.npz import BOMB_BYTES, BOMB_RATIO
from nnad.errors import DataError
from nnad.files import ordinary, reason_of

__all__ = ["load_images"]

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".pgm", ".ppm", ".tif", ".tiff"}
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "PPM", "TIFF")
MAX_PIXELS = 50_000_000
MODES = {1: "L", 3: "RGB"}


@source(
    "images",
    Option("path", str, doc="folder with a folder of images for each class, or train/ and test/"),
    Option("size", list[int] | None, None, "height and width to resize to (left out: as they are)"),
    Option("channels", Literal[1, 3], 3, "1 for grey, 3 for colour"),
)
def load_images(options: Options) -> Raw:
    """Images in a folder for each class, read through Pillow (extra `images`)."""
    path = options.locate()
    _check_size(options.size)
    groups = [path / "train", path / "test"]
    if not all(group.is_dir() for group in groups):
        groups = [path]
    files = [_files_by_class(group) for group in groups]
    classes = sorted({name for group in files for name, _ in group})
    if len(classes) < 2:
        raise DataError(f"{path}: expected a folder for each class, found {classes or 'none'}")
    x = _read_all([file for group in files for _, file in group], options)
    y = np.array([classes.index(name) for group in files for name, _ in group])
    first = len(files[0])
    return Raw(
        Features(x, numeric_names=names_of(x.shape[1:], str(path))),
        y,
        task="classification",
        class_names=classes,
        target_names=["label"],
        parts={"train": slice(0, first), "test": slice(first, len(x))} if len(files) > 1 else {},
        files=[file for group in files for _, file in group],
        label=str(path),
        unit=255.0,
    )


def _files_by_class(folder: Path) -> list[tuple[str, Path]]:
    """(class, file) of every image; links that lead out of the folder are refused."""
    root = Path(realpath(folder))
    found = []
    for group in sorted(entry for entry in folder.iterdir() if entry.is_dir()):
        for file in sorted(group.iterdir()):
            if file.suffix.lower() in SUFFIXES:
                if root not in Path(realpath(file)).parents:
                    raise DataError(f"{file}: a link that leads out of {folder}")
                found.append((group.name, file))
    return found


def _check_size(size: list[int] | None) -> None:
    if size is None:
        return
    if len(size) != 2 or min(size) < 1:
        raise DataError(f"data.size: got {size}, expected [height, width]")
    if math.prod(size) > MAX_PIXELS:
        raise DataError(f"data.size: got {size}; at most {MAX_PIXELS:,} pixels")


def _refuse_bombs(files: list[Path], image: np.ndarray) -> None:
    """Refuse images that all together, each as large as this one, unpack to far more than usual."""
    packed = sum(file.stat().st_size for file in files if file.exists())
    unpacked = len(files) * image.nbytes
    if unpacked > BOMB_BYTES and unpacked > BOMB_RATIO * packed:
        raise DataError(
            f"{files[0].parents[1]}: {len(files):,} images would unpack from {packed:,} to "
            f"{unpacked:,} bytes; set data.size: [height, width] to smaller ones"
        )


def _read_all(files: list[Path], options: Options) -> np.ndarray:
    problems = Problems()
    images: list[np.ndarray] = []
    for file in files:
        try:
            image = _read(file, options.size, MODES[options.channels])
        except DataError:
            raise
        except Exception as error:  # Pillow has many ways to stumble over a damaged file
            problems.add("unreadable images", f"{file}: cannot be read: {reason_of(error)}")
            continue
        if images and image.shape != images[0].shape:
            problems.add(
                "sizes",
                f"{file}: {image.shape[0]} x {image.shape[1]} pixels, the first image has "
                f"{images[0].shape[0]} x {images[0].shape[1]}; set data.size: [height, width]",
            )
            continue
        if not images:
            _refuse_bombs(files, image)
        images.append(image)
    problems.raise_any()
    return np.stack(images)


def _read(file: Path, size: list[int] | None, mode: str) -> np.ndarray:
    """(height, width, channels) uint8 pixels of one file."""
    try:
        from PIL import Image
    except ImportError:
        raise DataError("data.name: images needs Pillow: pip install nnad[images]") from None

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of large images; the limit is below
        with (
            open(file, "rb", opener=ordinary) as content,
            Image.open(content, formats=FORMATS) as image,
        ):
            width, height = image.size  # from the header: nothing is unpacked yet
            if width * height > MAX_PIXELS:
                raise ValueError(f"{width} x {height} pixels; at most {MAX_PIXELS:,} are read")
            converted = image.convert(mode)
    if size is not None:
        converted = converted.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return np.asarray(converted, np.uint8).reshape(converted.height, converted.width, -1)
