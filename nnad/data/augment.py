"""Random changes of training images, a whole batch at a time.

Every function takes ``x`` (batch, height, width, channels), ``y``, a generator and its options, and
returns new ``x`` and ``y``. In a configuration::

    augment: [flip, {shift: {pixels: 2}}, {mixup: {alpha: 0.2}}]

A new one is one function in `AUGMENTATIONS`; its keyword arguments are its options.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from nnad.errors import ConfigError, did_you_mean

__all__ = ["AUGMENTATIONS", "build", "crop", "cutout", "flip", "mixup", "shift"]

Result = tuple[np.ndarray, np.ndarray]
Augment = Callable[[np.ndarray, np.ndarray, np.random.Generator], Result]


def flip(x: np.ndarray, y: np.ndarray, rng: np.random.Generator, *, axis: str = "width") -> Result:
    """Mirror half of the images, from left to right (``width``) or upside down (``height``)."""
    chosen = rng.random(len(x)) < 0.5
    mirrored = x[:, :, ::-1] if axis == "width" else x[:, ::-1]
    return np.where(chosen[:, None, None, None], mirrored, x), y


def shift(x: np.ndarray, y: np.ndarray, rng: np.random.Generator, *, pixels: int = 2) -> Result:
    """Move each image by up to ``pixels`` in each direction; its edge fills what comes free."""
    return _moved(x, rng, pixels, "edge"), y


def crop(x: np.ndarray, y: np.ndarray, rng: np.random.Generator, *, padding: int = 4) -> Result:
    """Cut a piece of the same size out of each image, mirrored beyond its edge by ``padding``."""
    return _moved(x, rng, padding, "reflect"), y


def _moved(x: np.ndarray, rng: np.random.Generator, pixels: int, mode: Any) -> np.ndarray:
    height, width = x.shape[1:3]
    padded = np.pad(x, [(0, 0), (pixels, pixels), (pixels, pixels), (0, 0)], mode=mode)
    top, left = rng.integers(0, 2 * pixels + 1, (2, len(x), 1))
    rows, columns = top + np.arange(height), left + np.arange(width)
    return padded[np.arange(len(x))[:, None, None], rows[:, :, None], columns[:, None, :]]


def cutout(x: np.ndarray, y: np.ndarray, rng: np.random.Generator, *, size: int = 4) -> Result:
    """Cover a square of ``size`` pixels, cut off at the edges, by the image's own mean."""
    height, width = x.shape[1:3]
    row, column = rng.integers(0, height, (len(x), 1)), rng.integers(0, width, (len(x), 1))
    near = [
        (np.arange(length) >= at - size // 2) & (np.arange(length) < at - size // 2 + size)
        for length, at in ((height, row), (width, column))
    ]
    hidden = near[0][:, :, None] & near[1][:, None, :]
    return np.where(hidden[..., None], x.mean(axis=(1, 2), keepdims=True), x), y


def mixup(
    x: np.ndarray, y: np.ndarray, rng: np.random.Generator, *, alpha: float = 0.2, classes: int = 0
) -> Result:
    """Blend each row with another by a share drawn from Beta(alpha, alpha), targets alike.

    Classes become soft targets (batch, classes). (Zhang et al. 2018, "mixup".)
    """
    if classes and y.ndim == 1:
        y = np.eye(classes, dtype=x.dtype)[y]
    share = rng.beta(alpha, alpha, len(x)).astype(x.dtype)
    partner = rng.permutation(len(x))

    def blend(a: np.ndarray) -> np.ndarray:
        part = share.reshape(-1, *[1] * (a.ndim - 1))
        return part * a + (1 - part) * a[partner]

    return blend(x), blend(y)


AUGMENTATIONS: dict[str, Callable[..., Result]] = {
    function.__name__: function for function in (flip, shift, crop, cutout, mixup)
}


def build(entries: Sequence[Any], input_shape: tuple[int, ...], classes: int = 0) -> Augment | None:
    """Make one function of a configuration's list of augmentations.

    Args:
        entries: names, or mappings of a name to its options.
        input_shape: of a row; images have (height, width, channels).
        classes: number of classes, 0 for other tasks.

    Returns:
        A function of (x, y, rng), or None for an empty list.

    Raises:
        ConfigError: for unknown names and options, and rows that are not images.

    >>> build(["flipp"], (8, 8, 1))
    Traceback (most recent call last):
    nnad.errors.ConfigError: data.augment[0]: unknown augmentation 'flipp'; did you mean 'flip'?
    """
    problems: list[str] = []
    steps = [
        step
        for position, entry in enumerate(entries)
        if (step := _step(entry, f"data.augment[{position}]", input_shape, classes, problems))
    ]
    if problems:
        raise ConfigError(problems)
    return partial(_apply, steps) if steps else None


def _apply(steps: list[Augment], x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> Result:
    for step in steps:
        x, y = step(x, y, rng)
    return x, y


def _step(
    entry: Any, label: str, input_shape: tuple[int, ...], classes: int, problems: list[str]
) -> Augment | None:
    """One augmentation with its options, or None and what is wrong with it."""
    if isinstance(entry, dict) and len(entry) == 1:
        [(name, options)] = entry.items()
        options = options or {}
    else:
        name, options = entry, {}
    if not isinstance(name, str) or name not in AUGMENTATIONS:
        hint = did_you_mean(str(name), AUGMENTATIONS) or f" (known: {', '.join(AUGMENTATIONS)})"
        problems.append(f"{label}: unknown augmentation {name!r}{hint}")
        return None
    if not isinstance(options, dict):
        problems.append(f"{label}.{name}: got {options!r}, expected a mapping of options")
        return None
    before = len(problems)
    _check_options(AUGMENTATIONS[name], options, f"{label}.{name}", input_shape, problems)
    if name != "mixup" and len(input_shape) != 3:
        problems.append(
            f"{label}: {name} needs images (height, width, channels), rows have shape "
            f"{list(input_shape)}; set data.input_shape"
        )
    if len(problems) > before:
        return None
    given = {**options, "classes": classes} if name == "mixup" else options
    return partial(AUGMENTATIONS[name], **given)


def _check_options(
    function: Callable[..., Result],
    options: dict[str, Any],
    label: str,
    input_shape: tuple[int, ...],
    problems: list[str],
) -> None:
    known = {
        name: parameter.default
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY and name != "classes"
    }
    for key, value in options.items():
        if key not in known:
            hint = did_you_mean(str(key), known)
            problems.append(f"{label}.{key}: unknown option{hint} (known: {', '.join(known)})")
        elif key == "axis":
            if value not in ("width", "height"):
                problems.append(f"{label}.{key}: got {value!r}, expected width or height")
        elif not isinstance(value, int | float) or isinstance(value, bool) or not value > 0:
            problems.append(f"{label}.{key}: got {value!r}, expected a number above 0")
        elif isinstance(known[key], int):
            limit = min(input_shape[:2]) if len(input_shape) == 3 else np.inf
            if not isinstance(value, int) or value >= limit:
                problems.append(
                    f"{label}.{key}: got {value!r}, expected a whole number of pixels smaller "
                    "than the image"
                )
