"""From a ``data`` section to training, validation and test parts."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from nnad.data import augment
from nnad.data.dataset import DataSplits, Meta, Raw, Rows, Split
from nnad.data.lazy import LazyRows
from nnad.data.options import Options, checked
from nnad.data.preprocessing import Preprocessor
from nnad.data.splits import count, fold_indices, split_indices
from nnad.data.targets import Target, encode
from nnad.errors import ConfigError, DataError
from nnad.files import ordinary

__all__ = ["batching", "fingerprint", "load"]

WHOLE_FILE = 256 * 2**20  # larger files are fingerprinted by samples
PIECES, PIECE = 64, 2**20


def load(
    config: Mapping[str, Any],
    *,
    seed: int = 0,
    base_dirs: Sequence[str | Path] = (".",),
    dtype: str = "float32",
) -> DataSplits:
    """Load, split and prepare the data that a configuration's ``data`` section describes.

    The test part is dealt out first (the same rows as scikit-learn's ``train_test_split`` with
    ``random_state=seed``), then the validation part from what remains. Preprocessing is fitted on
    the training part.

    Args:
        config: the section; see `nnad.data.options` for the keys.
        seed: of the split.
        base_dirs: folders in which relative paths are looked up, in order.
        dtype: of inputs and regression targets.

    Raises:
        ConfigError: for unknown or misspelt keys and values that are not allowed.
        DataError: for data that is missing, malformed or does not fit the configuration.

    >>> data = load({"name": "iris", "validation_size": 0.2, "standardize": True})
    >>> len(data.train), len(data.validation), len(data.test), data.meta.class_names
    (89, 23, 38, ['setosa', 'versicolor', 'virginica'])
    """
    source, options = checked(config, base_dirs)
    raw = source.load(options)
    _check_inputs(raw)
    if options.tokens:
        raw.extras["tokens"] = _count_tokens(raw, options)
    target = _target(raw, options)
    rows = _deal(raw, target, options, seed)
    preprocessor = Preprocessor.fit(
        raw.x.rows(rows["train"]),
        standardize=options.standardize,
        smooth_clip=options.smooth_clip,
        encoding=raw.encoding,
        impute=raw.impute,
        unit=raw.unit,
        row_shape=None if options.input_shape is None else tuple(options.input_shape),
        dtype="int64" if options.tokens else dtype,
    )
    _check_row_shape(preprocessor)
    if options.standardize_target and target.task == "regression":
        preprocessor.fit_target(target.y[rows["train"]])
    parts = {name: _part(raw, target, preprocessor, index, dtype) for name, index in rows.items()}
    return DataSplits(
        parts["train"],
        parts.get("validation"),
        parts.get("test"),
        _meta(raw, target, preprocessor, parts["train"]),
    )


def batching(config: Mapping[str, Any], data: DataSplits) -> dict[str, Any]:
    """How the ``data`` section wants the training part in batches: arguments of `BatchIterator`.

    Args:
        config: the section.
        data: what `load` made of it.

    Returns:
        ``batch_size``, ``shuffle``, ``drop_last``, ``prefetch`` and ``augment``.

    Raises:
        ConfigError: for wrong values, or a batch_size that leaves no batch.

    >>> data = load({"name": "iris"})
    >>> batching({"name": "iris", "batch_size": 50}, data)
    {'batch_size': 50, 'shuffle': True, 'drop_last': False, 'prefetch': None, 'augment': None}
    """
    _, options = checked(config, ())
    meta, rows = data.meta, len(data.train)
    if options.drop_last and options.batch_size > rows:
        raise ConfigError(
            f"data.batch_size: {options.batch_size} is more than the {rows} training rows, "
            "and data.drop_last leaves out shorter batches"
        )
    classes = meta.n_outputs if meta.task == "classification" else 0
    return {
        "batch_size": options.batch_size,
        "shuffle": options.shuffle,
        "drop_last": options.drop_last,
        "prefetch": options.prefetch,
        "augment": augment.build(options.augment or [], meta.input_shape, classes),
    }


def _target(raw: Raw, options: Options) -> Target:
    if raw.task == "language_model":
        assert raw.y is not None
        return Target("language_model", raw.y, raw.class_names)
    if options.task == "autoencoder":
        return Target("autoencoder", np.zeros(len(raw.x)), None)
    if raw.y is None:
        raise DataError(f"{raw.label}: no target; set data.task: autoencoder to reconstruct inputs")
    if len(raw.y) != len(raw.x):
        raise DataError(f"{raw.label}: {len(raw.x)} rows of inputs, but {len(raw.y)} targets")
    target = encode(raw, options.task)
    if target.task == "regression":
        return replace(target, y=target.y / options.target_unit)
    return target


def _check_inputs(raw: Raw) -> None:
    """Arrays in memory must be finite (or missing, where that is filled), weights usable."""
    problems = []
    x = raw.x.numeric
    if not len(raw.x):
        raise DataError(f"{raw.label}: no rows")
    if isinstance(x, np.ndarray) and x.dtype.kind == "f" and raw.impute is None and x.size:
        bad = ~np.isfinite(x.reshape(len(x), -1)).all(axis=1)
        if bad.any():
            problems.append(f"{raw.label}: inputs are not finite in {_rows_in_words(bad)}")
    weight = raw.weight
    if weight is not None:
        if weight.shape != (len(raw.x),) or weight.dtype.kind not in "fiub":
            problems.append(
                f"{raw.label}: weights of shape {weight.shape} and type {weight.dtype}; expected "
                f"one number for each of the {len(raw.x)} rows"
            )
        elif (bad := ~(np.isfinite(weight) & (weight >= 0))).any():
            problems.append(f"{raw.label}: weights below 0 or not finite in {_rows_in_words(bad)}")
        elif not weight.any():
            problems.append(f"{raw.label}: all weights are 0")
    if problems:
        raise DataError(problems)


def _count_tokens(raw: Raw, options: Options) -> int:
    """How many rows a table of the inputs needs: the largest one and 1."""
    x = raw.x.numeric
    if raw.x.codes is not None or options.standardize or options.smooth_clip:
        raise ConfigError(
            "data.tokens: goes with numbers only, and with neither standardize nor smooth_clip"
        )
    if not isinstance(x, np.ndarray):
        raise ConfigError("data.tokens: inputs are held in memory; give smaller files")
    bad = ~((x >= 0) & (x == np.round(x))).reshape(len(x), -1).all(axis=1)
    if bad.any():
        raise DataError(
            f"{raw.label}: with data.tokens inputs are whole numbers from 0 on; they are not in "
            f"{_rows_in_words(bad)}"
        )
    return int(x.max(initial=0)) + 1


def _rows_in_words(bad: np.ndarray) -> str:
    rows = np.flatnonzero(bad)
    shown = ", ".join(map(str, rows[:10])) + (", ..." if len(rows) > 10 else "")
    return f"{len(rows)} of {len(bad)} rows: {shown}"


def _deal(raw: Raw, target: Target, options: Options, seed: int) -> dict[str, Rows]:
    """Rows of each part; parts that the source names itself stay as they are."""
    rows: dict[str, Rows] = dict(raw.parts)
    rest = np.arange(len(raw.x)) if "train" not in rows else _positions(rows["train"], len(raw.x))
    seed = seed if options.split_seed is None else options.split_seed
    if options.folds is not None:
        rest, rows["test"] = _fold(raw, target, options, seed)
    for part, size in (("test", options.test_size), ("validation", options.validation_size)):
        held_out = count(size, len(rest))
        if part in rows or not held_out:
            continue
        if options.split == "ordered":
            _check_ordered(len(rest), held_out, part)
            rest, rows[part] = rest[:-held_out], rest[-held_out:]
            continue
        stratified = options.stratify and target.task == "classification"
        classes = target.y[rest] if stratified else None
        kept, taken = split_indices(len(rest), held_out, seed=seed, classes=classes, what=part)
        rest, rows[part] = rest[kept], rest[taken]
    if "train" not in raw.parts or len(rest) < len(_positions(rows["train"], len(raw.x))):
        rows["train"] = rest
    if options.shuffle == "blocks":
        rows["train"] = np.sort(_positions(rows["train"], len(raw.x)))
    return rows


def _fold(raw: Raw, target: Target, options: Options, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """All rows but those of one fold, and those."""
    if options.fold >= options.folds:
        raise ConfigError(
            f"data.fold: got {options.fold}, expected at most {options.folds - 1}, since there are "
            f"{options.folds} folds, counted from 0"
        )
    if raw.parts:
        raise ConfigError(
            f"data.folds: {raw.label} says itself which rows are for training and for the test"
        )
    stratified = options.stratify and target.task == "classification"
    return fold_indices(
        len(raw.x),
        options.folds,
        options.fold,
        seed=seed if options.split == "random" else None,
        classes=target.y if stratified and options.split == "random" else None,
    )


def _positions(rows: Rows, total: int) -> np.ndarray:
    return np.arange(total)[rows] if isinstance(rows, slice) else rows


def _check_ordered(rows: int, held_out: int, part: str) -> None:
    if held_out >= rows:
        raise DataError(
            f"data.{part}_size takes {held_out} of {rows} rows; both parts need at least one row"
        )


def _check_row_shape(known: Preprocessor) -> None:
    """The shape given to rows must have as many numbers as they have, categories included."""
    if known.row_shape is None:
        return
    wanted, there = math.prod(known.row_shape), math.prod(known.raw_shape)
    if known.categorical_names:
        there = len(known.output_names())
    if wanted != there:
        raise ConfigError(
            f"data.input_shape: {list(known.row_shape)} has {wanted} numbers, a row has {there}"
        )


def _part(raw: Raw, target: Target, preprocessor: Preprocessor, rows: Rows, dtype: str) -> Split:
    weight = None if raw.weight is None else raw.weight[rows].astype(dtype)
    x: np.ndarray | LazyRows
    if target.task == "language_model":
        assert isinstance(raw.x.numeric, np.ndarray)
        return Split(raw.x.numeric[rows], target.y[rows], weight)
    if isinstance(raw.x.numeric, LazyRows):
        x = preprocessor.transform_lazily(raw.x, rows)
        if raw.x.extremes is not None and preprocessor.numeric_names:
            with np.errstate(over="ignore", invalid="ignore"):
                _check_finite(preprocessor.transform_numeric(raw.x.extremes), raw, preprocessor)
    else:
        with np.errstate(over="ignore", invalid="ignore"):
            x = preprocessor.transform(raw.x.rows(rows))
        _check_finite(x, raw, preprocessor)
    if target.task == "autoencoder":
        return Split(x, x, weight)  # type: ignore[arg-type]
    y = target.y[rows]
    if target.class_names is None:
        y = preprocessor.scale_target(y)
    return Split(x, y if y.dtype.kind == "i" else y.astype(dtype), weight)


def _check_finite(x: np.ndarray, raw: Raw, preprocessor: Preprocessor) -> None:
    """Raise if a number was finite as it came, but not as the model is to see it."""
    if not x.size or x.dtype.kind != "f" or np.isfinite([x.min(), x.max()]).all():
        return
    bad = np.flatnonzero(~np.isfinite(x.reshape(len(x), -1)).all(axis=0))
    names = preprocessor.output_names()
    columns = ", ".join(names[i] if i < len(names) else str(i) for i in bad[:10])
    raise DataError(
        f"{raw.label}: numbers are too large to compute with in {preprocessor.dtype} (columns "
        f"{columns}); divide them by a unit beforehand, or set trainer.dtype: float64"
    )


def _meta(raw: Raw, target: Target, preprocessor: Preprocessor, train: Split) -> Meta:
    shape = tuple(train.x.shape[1:])
    if target.class_names is not None:
        outputs = len(target.class_names)
    else:
        outputs = int(np.prod(train.y.shape[1:]))
    names = preprocessor.output_names() if preprocessor.row_shape is None else []
    return Meta(
        task=target.task,
        input_shape=shape,
        n_outputs=outputs,
        class_names=target.class_names,
        feature_names=names,
        target_names=list(raw.target_names),
        preprocessor=preprocessor,
        categorical=preprocessor.code_columns(),
        fingerprint=fingerprints(raw.files),
        extras=dict(raw.extras),
    )


def fingerprints(files: Sequence[Path]) -> dict[str, str]:
    """The digest of each file by its name, or, where names recur in other folders, by its path.

    Paths begin below the folder that has all files in it.
    """
    names = [path.name for path in files]
    if len(set(files)) > len(set(names)):
        above = Path(os.path.commonpath([path.parent for path in files]))
        names = [path.relative_to(above).as_posix() for path in files]
    return dict(zip(names, map(fingerprint, files), strict=True))


def fingerprint(path: Path) -> str:
    """SHA-256 digest of a file; of its size and 64 pieces where it is larger than 256 MiB."""
    size = path.stat().st_size
    digest = hashlib.sha256()
    with open(path, "rb", opener=ordinary) as file:
        if size <= WHOLE_FILE:
            while block := file.read(PIECE):
                digest.update(block)
            return f"sha256:{digest.hexdigest()}"
        digest.update(str(size).encode())
        for start in np.linspace(0, size - PIECE, PIECES).astype(int):
            file.seek(int(start))
            digest.update(file.read(PIECE))
    return f"sha256-pieces:{digest.hexdigest()}"
