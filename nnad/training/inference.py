"""Using a run that was trained: scores of its test part, predictions for new rows."""

from __future__ import annotations

import csv
import os
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nnad.data import read_rows
from nnad.data.dataset import Meta
from nnad.distributed import world
from nnad.errors import CheckpointError, ShapeError, UserError
from nnad.training import checkpoint
from nnad.training.build import build
from nnad.training.config import Config, load_config
from nnad.training.job import load_data, make_trainer, require_same_data
from nnad.training.network import build_model
from nnad.training.parallel import predict_together
from nnad.training.report import score_table
from nnad.training.run_folder import RunFolder, replacing

__all__ = ["best_weights", "evaluate_run", "predict_file", "score_table"]


def evaluate_run(path: str) -> dict[str, float]:
    """Loss and metrics of a run's best checkpoint on the test part of its data.

    Args:
        path: the run's folder.

    Raises:
        UserError: there is no such run, it has no usable checkpoint, or its data has no test part.
    """
    folder, config = open_run(path)
    data = load_data(config)
    require_same_data(folder, data)
    if data.test is None:
        raise UserError(f"{folder.config}: data.test_size is 0, so there is no test part to score")
    job = build(config, data)
    load_weights(job.model, folder)
    return make_trainer(config, job, data).evaluate(data.test)


def predict_file(path: str, rows: str, output: str) -> int:
    """Write the predictions of a run's best checkpoint for the rows of a file.

    Args:
        path: the run's folder.
        rows: a CSV file; columns are matched by name, others passed over.
        output: the CSV file to write: a column ``prediction`` and, for classes,
            ``probability_<class>``.

    Returns:
        The number of rows.

    Raises:
        UserError: there is no such run or file, or it lacks columns.
    """
    folder, config = open_run(path)
    require_place(Path(output), rows)
    meta = Meta.from_state(**checkpoint.load(folder.preprocessing))
    if meta.task == "language_model":
        raise UserError(f"{folder.config}: a language model writes text: nnad generate {path}")
    options = config.data.options
    separators = {key: options[key] for key in ("delimiter", "decimal") if key in options}
    x = read_rows(rows, meta, **separators)
    model = build_model(config, meta)
    load_weights(model, folder)
    outputs = predict_together(model, x, world())
    quantiles = config.loss.arguments.get("q")
    columns = prediction_columns(outputs, meta, config.loss.name, quantiles)
    world().lead(lambda: write_columns(Path(output), columns))
    return len(outputs)


def open_run(path: str) -> tuple[RunFolder, Config]:
    """The folder and the configuration of a run."""
    folder = RunFolder(path)
    folder.require()
    return folder, load_config(folder.config)


def load_weights(model: Any, folder: RunFolder) -> None:
    """Give `model` the best weights of a run."""
    try:
        model.load_state_dict(best_weights(folder))
    except ShapeError as error:
        problem = " ".join(str(error).split())
        raise CheckpointError(
            f"{folder.best}: the weights do not fit {folder.config}: {problem}"
        ) from error


def best_weights(folder: RunFolder) -> dict[str, np.ndarray]:
    """The weights of the best epoch; if that file is of no use, those in the last checkpoint.

    Raises:
        CheckpointError: the last checkpoint cannot be used either.
    """
    problem = None
    if folder.best.exists():
        try:
            return {k: v for k, v in checkpoint.load(folder.best).items() if k[0] != "$"}
        except CheckpointError as error:
            problem = error
    elif not folder.has_checkpoint:
        raise CheckpointError(f"{folder.path}: no checkpoint yet; train it with --resume")
    try:
        state = checkpoint.load_newest(folder.last)
    except CheckpointError as error:
        raise CheckpointError([*(problem.problems if problem else []), *error.problems]) from None
    if problem is not None:
        warnings.warn(f"{problem}; using the best weights in {folder.last}", stacklevel=2)
    return state["best"]["weights"] or state["model"]


def require_place(output: Path, rows: str) -> None:
    """Raise a UserError unless predictions for `rows` can go to `output`."""
    if output.is_dir():
        raise UserError(f"{output}: is a folder; name the file to write")
    if not output.parent.is_dir():
        raise UserError(f"{output}: there is no folder {output.parent}; make it first")
    if output.exists() and os.path.exists(rows) and os.path.samefile(rows, output):
        raise UserError(f"{output}: is the input; write the predictions elsewhere")


# What is written ----------------------------------------------------------------------------------


def prediction_columns(
    outputs: np.ndarray, meta: Meta, loss: str, quantiles: Any = None
) -> dict[str, np.ndarray]:
    """Columns by name: predictions, and probabilities where there are classes.

    Args:
        outputs: what the model returned.
        meta: names of classes and targets, units of the target.
        loss: name of the loss, which says what the outputs stand for.
        quantiles: those that the outputs are, if the loss says so.
    """
    if meta.task == "classification" and meta.class_names is not None:
        names = np.array(meta.class_names, object)
        p = class_probabilities(outputs, loss)
        columns = {"prediction": names[p.argmax(axis=1)]}
        return columns | {f"probability_{n}": p[:, i] for i, n in enumerate(meta.class_names)}
    flat = outputs.reshape(len(outputs), -1)
    if meta.task == "multi_label" and meta.class_names is not None:
        p = flat if loss == "binary_cross_entropy" else sigmoid(flat)
        chosen = (p > 0.5).astype(np.int64)
        columns = {f"prediction_{n}": chosen[:, i] for i, n in enumerate(meta.class_names)}
        return columns | {f"probability_{n}": p[:, i] for i, n in enumerate(meta.class_names)}
    if flat.shape[1] == 1:
        return {"prediction": meta.preprocessor.inverse_target(flat[:, 0])}
    values = meta.preprocessor.inverse_target(outputs).reshape(flat.shape)
    names_ = list(map(str, quantiles)) if isinstance(quantiles, list) else meta.target_names
    if len(names_) != flat.shape[1]:
        names_ = [str(i) for i in range(flat.shape[1])]
    return {f"prediction_{name}": values[:, i] for i, name in enumerate(names_)}


def class_probabilities(outputs: np.ndarray, loss: str) -> np.ndarray:
    """(rows, classes) probabilities from a classifier's outputs.

    >>> class_probabilities(np.array([[0.0], [np.inf]]), "binary_cross_entropy_with_logits")
    array([[0.5, 0.5],
           [0. , 1. ]])
    """
    if outputs.ndim == 1 or outputs.shape[1] == 1:
        p = outputs.reshape(-1)
        p = p if loss == "binary_cross_entropy" else sigmoid(p)
        return np.stack([1 - p, p], axis=1)
    if loss == "binary_cross_entropy":
        return outputs
    shifted = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


def sigmoid(z: np.ndarray) -> np.ndarray:
    """``1 / (1 + exp(-z))`` without overflow."""
    return 0.5 * (1 + np.tanh(0.5 * z))


def write_columns(path: Path, columns: Mapping[str, np.ndarray]) -> None:
    """Write columns as CSV, numbers with as many digits as tell them apart."""
    text: Iterable[Any] = zip(*(map(str, column) for column in columns.values()), strict=True)
    try:
        with replacing(path) as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(columns)
            writer.writerows(text)
    except BrokenPipeError:
        raise  # the reader of a pipe has enough: no problem of ours
    except OSError as error:
        raise UserError(f"{path}: {checkpoint.describe_os_error(error)}") from error
