"""Using a run that was trained: scores of its test part, predictions for new rows."""

from __future__ import annotations

import csv
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import chain
from operator import call
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nnad.data.dataset import Meta
from nnad.data.predicting import read_pieces
from nnad.distributed import world
from nnad.errors import CheckpointError, UserError
from nnad.training import checkpoint
from nnad.training.build import build
from nnad.training.config import Config, load_config
from nnad.training.crew.trials import Trial, name_of, read_trials
from nnad.training.diagnosis import is_finite
from nnad.training.evaluation import predict_together
from nnad.training.forgery import MALFORMED, believing, load_meta
from nnad.training.job import load_data, make_trainer, require_same_data
from nnad.training.network import build_model, no_larger_than
from nnad.training.report import score_table
from nnad.training.run_folder import RunFolder, writing

if TYPE_CHECKING:
    from nnad.layers import Module

NOT_TOGETHER = "so they do not belong together; train them again with --overwrite"
MEMBERS = "members.yaml"  # in the folder of an ensemble or a cross-validation: what it is

__all__ = [
    "MEMBERS",
    "best_model",
    "best_weights",
    "evaluate_run",
    "evaluate_together",
    "predict_file",
    "require_one_data",
    "score_table",
]


def evaluate_run(path: str) -> dict[str, float]:
    """Loss and metrics of a run's best checkpoint on the test part of its data.

    Args:
        path: the run's folder, or that of an ensemble, whose members' answers are averaged.

    Raises:
        UserError: there is no such run, it has no usable checkpoint, its data has no test part, or
            it is a cross-validation, where there is no test part that all folds share.
    """
    folds = {
        repr(trial.values.get("data.fold")) for trial in trials_of(path)
    }  # also of those to come
    if len(folds) > 1:
        raise UserError(f"{path}: each fold has a test part of its own; see its summary.json")
    return evaluate_together(runs_of(path))


def evaluate_together(runs: Sequence[str]) -> dict[str, float]:
    """`evaluate_run` of the averaged answers of the runs in these folders."""
    folder, config = open_run(runs[0])
    data = load_data(config)
    require_same_data(folder, data)
    require_one_data(runs)
    if data.test is None:
        raise UserError(f"{folder.config}: data.test_size is 0, so there is no test part to score")
    first = best_weights(folder)
    with no_larger_than(first, folder.best):
        job = build(config, data)
    trainer = make_trainer(config, job, data)
    outputs = []
    others = [RunFolder(run) for run in runs[1:]]
    all_weights = chain([first], map(best_weights, others))
    for each, weights in zip([folder, *others], all_weights, strict=True):
        take_weights(job.model, weights, each)
        outputs.append(trainer.outputs(data.test.x))
    if len(runs) == 1:
        return trainer.score(outputs[0], data.test)
    return trainer.score(averaged(outputs, data.meta, config.loss.name), data.test)


def predict_file(path: str, rows: str, output: str) -> int:
    """Write the predictions of a run's best checkpoint for the rows of a file.

    Args:
        path: the run's folder, or that of an ensemble or a cross-validation, whose members'
            probabilities (or values) are averaged.
        rows: a CSV file; columns are matched by name, others passed over.
        output: the CSV file to write: a column ``prediction`` and, for classes,
            ``probability_<class>``.

    Returns:
        The number of rows.

    Raises:
        UserError: there is no such run or file, or it lacks columns.
    """
    require_place(Path(output), rows)
    members = [Member(run) for run in runs_of(path)]
    first, group = members[0], world()
    if any(member.takes != first.takes for member in members):
        raise UserError(f"{path}: its members take different inputs, {NOT_TOGETHER}")
    count = 0
    with ExitStack() as stack:
        write: Any = group.lead(lambda: stack.enter_context(writing_columns(Path(output))))
        for inputs in read_pieces(rows, [m.meta for m in members], **first.separators):
            answers = together(path, [m.answers(x) for m, x in zip(members, inputs, strict=True)])
            columns = prediction_columns(answers, first.meta, first.quantiles)
            group.lead(partial(call, write, columns))
            count += len(answers)
        group.lead(stack.close)
    return count


class Member:
    """The model of a run, with its best weights.

    Attributes:
        meta: what the run knows about its data.
        takes: of which names and shape its inputs are, and how far it looks back.
        quantiles: those that the model answers with, if its loss says so.
        separators: of CSV files, as far as the run's configuration says.
    """

    def __init__(self, path: str) -> None:
        folder, config = open_run(path)
        self.meta = load_meta(folder)
        if self.meta.task == "language_model":
            raise UserError(f"{folder.config}: a language model writes text: nnad generate {path}")
        preprocessor = self.meta.preprocessor
        names = preprocessor.numeric_names, preprocessor.categorical_names
        self.takes = *names, tuple(preprocessor.raw_shape), self.meta.extras.get("window")
        options = config.data.options
        self.separators = {key: options[key] for key in ("delimiter", "decimal") if key in options}
        self.quantiles = config.loss.arguments.get("q")
        self._loss = config.loss.name
        self._model = best_model(config, self.meta, folder)

    def answers(self, x: np.ndarray) -> np.ndarray:
        """What the model says of prepared rows."""
        return answers_of(predict_together(self._model, x, world()), self.meta, self._loss)


def together(path: str, answers: Sequence[np.ndarray]) -> np.ndarray:
    """The mean of what the members in the folder `path` say of the same rows."""
    shapes = {each.shape for each in answers}
    if len(shapes) > 1:
        raise UserError(
            f"{path}: its members answer in the shapes {', '.join(map(str, shapes))}, "
            f"{NOT_TOGETHER}"
        )
    return np.mean(answers, axis=0)


def require_one_data(runs: Sequence[str]) -> None:
    """Raise a UserError if files have changed between runs whose results belong together."""
    prints = [load_meta(RunFolder(run)).fingerprint for run in runs]
    for run, found in zip(runs[1:], prints[1:], strict=True):
        changed = [name for name, digest in found.items() if prints[0].get(name) != digest]
        if changed:
            raise UserError(
                f"{name}: changed after {runs[0]} and before {run} were trained, {NOT_TOGETHER}"
                for name in changed
            )


def trials_of(path: str) -> list[Trial]:
    """The members in the folder of an ensemble or a cross-validation; none in that of a run."""
    return read_trials(Path(path)) if Path(path, MEMBERS).is_file() else []


def runs_of(path: str) -> list[str]:
    """The folders of the runs in that of an ensemble or a cross-validation; else `path` itself.

    Those that are not done are left out, with a warning that names them.

    Raises:
        UserError: none of them is done.
    """
    trials = trials_of(path)
    if not trials:
        return [path]
    done = [trial for trial in trials if trial.status == "done"]
    if not done:
        raise UserError(f"{path}: no member is trained yet; continue it with --resume")
    if len(done) < len(trials):
        left_out = ", ".join(f"{t.number} ({t.status})" for t in trials if t.status != "done")
        warnings.warn(
            f"{path}: only {len(done)} of {len(trials)} members are done; left out: {left_out}; "
            "train them with --resume",
            stacklevel=2,
        )
    return [str(Path(path, "trials", name_of(trial))) for trial in done]


def open_run(path: str) -> tuple[RunFolder, Config]:
    """The folder and the configuration of a run."""
    folder = RunFolder(path)
    folder.require()
    return folder, load_config(folder.config)


def best_model(config: Config, meta: Meta, folder: RunFolder) -> Module:
    """The model of a run with its best weights: no larger than those.

    Raises:
        UserError: they are missing or damaged, or the configuration describes another model.
    """
    weights = best_weights(folder)
    with no_larger_than(weights, folder.best):
        model = build_model(config, meta)
    take_weights(model, weights, folder)
    return model


def take_weights(model: Any, weights: Mapping[str, np.ndarray], folder: RunFolder) -> None:
    """Give `model` weights of a run."""
    with believing(folder.best, f"the weights do not fit {folder.config}"):
        model.load_state_dict(weights)
        bad = [name for name, array in model.state_dict(copy=False).items() if not is_finite(array)]
        if bad:
            raise ValueError(f"{', '.join(bad)}: not finite, which no run saves")


def best_weights(folder: RunFolder) -> dict[str, np.ndarray]:
    """The weights of the best epoch; if that file is of no use, those in the last checkpoint.

    Raises:
        CheckpointError: the last checkpoint cannot be used either.
    """
    problem = None
    if folder.best.exists():
        try:
            saved = checkpoint.load(folder.best)
            return {name: saved[name] for name in saved if not name.startswith("$")}
        except CheckpointError as error:
            problem = error
        except MALFORMED:
            problem = CheckpointError(f"{folder.best}: holds no weights")
    elif not folder.has_checkpoint:
        raise CheckpointError(f"{folder.path}: no checkpoint yet; train it with --resume")
    try:
        state = checkpoint.load_newest(folder.last)
    except CheckpointError as error:
        raise CheckpointError([*(problem.problems if problem else []), *error.problems]) from None
    if problem is not None:
        warnings.warn(f"{problem}; using the best weights in {folder.last}", stacklevel=2)
    with believing(folder.last, "holds no weights"):
        return dict(state["best"]["weights"] or state["model"])


def require_place(output: Path, rows: str) -> None:
    """Raise a UserError unless predictions for `rows` can go to `output`."""
    if output.is_dir():
        raise UserError(f"{output}: is a folder; name the file to write")
    if not output.parent.is_dir():
        raise UserError(f"{output}: there is no folder {output.parent}; make it first")
    if output.exists() and os.path.exists(rows) and os.path.samefile(rows, output):
        raise UserError(f"{output}: is the input; write the predictions elsewhere")


# What is written ----------------------------------------------------------------------------------


def answers_of(outputs: np.ndarray, meta: Meta, loss: str) -> np.ndarray:
    """What a model's outputs say: what may be averaged over models.

    Args:
        outputs: what the model returned.
        meta: the task, and the units of the target.
        loss: name of the loss, which says what the outputs stand for.

    Returns:
        (rows, n) probabilities of classes or labels, or values in the target's own units.
    """
    if meta.task == "classification":
        return class_probabilities(outputs, loss)
    flat = outputs.reshape(len(outputs), -1)
    if meta.task == "multi_label":
        return flat if loss == "binary_cross_entropy" else sigmoid(flat)
    if flat.shape[1] == 1:
        return np.asarray(meta.preprocessor.inverse_target(flat[:, 0]))[:, None]
    return np.asarray(meta.preprocessor.inverse_target(outputs)).reshape(flat.shape)


def averaged(outputs: Sequence[np.ndarray], meta: Meta, loss: str) -> np.ndarray:
    """Outputs that say the mean of what several models' outputs say; see `answers_of`."""
    answers = np.mean([answers_of(each, meta, loss) for each in outputs], axis=0)
    shape, dtype = outputs[0].shape, outputs[0].dtype
    if meta.task not in ("classification", "multi_label"):
        return meta.preprocessor.scale_target(answers.reshape(shape)).astype(dtype)
    if meta.task == "classification" and (len(shape) == 1 or shape[1] == 1):
        answers = answers[:, 1]
    if loss == "binary_cross_entropy":
        return answers.reshape(shape)
    tiny = np.finfo(dtype).tiny  # a probability of 0 has no logarithm
    scores = np.log(np.maximum(answers, tiny))
    if scores.ndim == 1 or meta.task == "multi_label":
        scores -= np.log(np.maximum(1 - answers, tiny))
    return scores.reshape(shape).astype(dtype)


def prediction_columns(
    answers: np.ndarray, meta: Meta, quantiles: Any = None
) -> dict[str, np.ndarray]:
    """Columns by name: predictions, and probabilities where there are classes.

    Args:
        answers: what `answers_of` made of the outputs.
        meta: names of classes and targets.
        quantiles: those that the answers are, if the loss says so.
    """
    p = {f"probability_{n}": answers[:, i] for i, n in enumerate(meta.class_names or [])}
    if meta.task == "classification" and meta.class_names is not None:
        names = np.array(meta.class_names, object)
        return {"prediction": names[answers.argmax(axis=1)], **p}
    if meta.task == "multi_label" and meta.class_names is not None:
        chosen = (answers > 0.5).astype(np.int64)
        return {f"prediction_{n}": chosen[:, i] for i, n in enumerate(meta.class_names)} | p
    if answers.shape[1] == 1:
        return {"prediction": answers[:, 0]}
    names_ = list(map(str, quantiles)) if isinstance(quantiles, list) else meta.target_names
    if len(names_) != answers.shape[1]:
        names_ = [str(i) for i in range(answers.shape[1])]
    return {f"prediction_{name}": answers[:, i] for i, name in enumerate(names_)}


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


@contextmanager
def writing_columns(path: Path) -> Iterator[Callable[[Mapping[str, np.ndarray]], None]]:
    """Within, the function given appends rows to a CSV file, which is replaced if all goes well.

    Numbers are written with as many digits as tell them apart.
    """
    try:
        with writing(path) as file:
            writer = csv.writer(file, lineterminator="\n")
            begun = False

            def write(columns: Mapping[str, np.ndarray]) -> None:
                nonlocal begun
                if not begun:
                    writer.writerow(columns)
                    begun = True
                texts = (map(str, column) for column in columns.values())
                writer.writerows(zip(*texts, strict=True))

            yield write
    except BrokenPipeError:
        raise  # the reader of a pipe has enough: no problem of ours
    except OSError as error:
        raise UserError(f"{path}: {checkpoint.describe_os_error(error)}") from error
