"""From a configuration file to a finished run, and on from wherever one was left."""

from __future__ import annotations

import math
import os
import platform
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from nnad import data as nnad_data
from nnad import random
from nnad.data.dataset import DataSplits, Meta
from nnad.distributed import Communicator, world
from nnad.errors import ConfigError, DivergedError, UserError
from nnad.metrics import is_score
from nnad.optimizers import EMA
from nnad.training import checkpoint
from nnad.training.baseline import fit_baseline, make_estimator, outputs_of, require_task
from nnad.training.build import Job, build
from nnad.training.callbacks import Callback, Interrupted, Interruption, Progress
from nnad.training.config import Config, load_config, to_yaml
from nnad.training.config.locations import flat
from nnad.training.early_stopping import BestEpoch
from nnad.training.evaluation import predict
from nnad.training.forgery import believing, load_meta, require_state_like
from nnad.training.initial_weights import take_initial_weights
from nnad.training.network import no_larger_than
from nnad.training.processes import (
    kind_of_trainer,
    limit_threads,
    require_even_blocks,
    threads_of,
)
from nnad.training.recorder import Recorder
from nnad.training.registry import entries
from nnad.training.report import check_report, closing_table
from nnad.training.run_folder import RunFolder
from nnad.training.state import capture, restore
from nnad.training.trainer import Trainer
from nnad.training.watch import Watch

__all__ = ["check", "load_data", "make_trainer", "resolved_text", "resume", "start"]


def start(path: str, overrides: Sequence[str], overwrite: bool, interruption: Interruption) -> str:
    """Train as a configuration file says, in a new run folder; returns the closing table.

    Args:
        path: the file, or a bare name.
        overrides: ``key=value`` each.
        overwrite: replace the run that is in the folder.
        interruption: watches for signals.

    Raises:
        UserError: the configuration or the data are wrong, or there is a run already.
        DivergedError: training diverged.
        Interrupted: a signal came; a checkpoint was written.
    """
    config = load_config(path, overrides)
    with RunFolder(Path(config.output.dir) / config.output.name) as folder:
        world().lead(lambda: folder.reserve(to_yaml(config), overwrite))
        tell_whose(folder)
        return train(config, folder, None, interruption)


def resume(path: str, overrides: Sequence[str], interruption: Interruption) -> str:
    """Continue a run as if it had never stopped; one that is finished stays as it is.

    Args:
        path: the run's folder.
        overrides: a new ``trainer.epochs`` or ``trainer.steps``, not smaller than the old one.
        interruption: watches for signals.

    Raises:
        UserError: there is no such run, its checkpoints are damaged, or its data have changed;
            otherwise as :func:`start`.
    """
    folder = RunFolder(path)
    with folder:
        world().lead(folder.take_up)
        tell_whose(folder)
        before = load_config(folder.config)
        config = load_config(folder.config, overrides)
        require_lengthening(before, config, overrides)
        if not folder.has_checkpoint:
            return train(config, folder, None, interruption)
        state = checkpoint.load_newest(folder.last)
        length = {"epochs": config.trainer.epochs, "steps": config.trainer.steps}
        with believing(folder.last):
            done = repr(state.get("finished")) == repr(length)  # an array has no one truth
            if done and folder.summary.exists():
                return f"{folder.path} is finished after {state['counters']['epoch']} epochs"
        if overrides:
            world().lead(lambda: folder.write_config(to_yaml(config)))
        return train(config, folder, state, interruption)


def resolved_text(path: str, overrides: Sequence[str]) -> str:
    """The configuration as YAML, with overrides applied and every default filled in."""
    return to_yaml(load_config(path, overrides))


def check(path: str, overrides: Sequence[str]) -> str:
    """Load the data, build everything, run one batch; returns shapes and parameter counts."""
    config = load_config(path, overrides)
    data = load_data(config)
    make_baseline(config, data.meta.task)
    loggers(config, RunFolder(Path(config.output.dir) / config.output.name))
    return check_report(build(config, data), data, config.data.batch_size)


def train(
    config: Config,
    folder: RunFolder,
    state: Mapping[str, Any] | None,
    interruption: Interruption,
) -> str:
    """Run a job from its beginning, or from the `state` of a checkpoint, to its summary."""
    try:
        return run_job(config, folder, state, interruption)
    except Interrupted as signal:
        if folder.is_ours:
            signal.args = (f"{signal}; continue with --resume {folder.path}",)
        raise


def run_job(
    config: Config,
    folder: RunFolder,
    state: Mapping[str, Any] | None,
    interruption: Interruption,
) -> str:
    """The same, without word of how to continue after a signal."""
    group = world()
    require_even_blocks(config, group)
    group.timeout_seconds = config.distributed.timeout_seconds
    group.announce()
    with ExitStack() as stack:
        limit_threads(config, stack)
        random.seed(config.seed)
        data = load_data(config)
        with room_of_model(state, folder):
            job = build(config, data)
        if state is None:
            take_initial_weights(config, job.model)
        estimator = make_baseline(config, data.meta.task)
        recorder = Recorder(
            folder,
            config.trainer.checkpoint_every_seconds,
            config.trainer.checkpoint_every_steps,
            folder.read_seconds() if state else 0.0,
        )
        around: list[Callback] = [interruption]
        if group.leads:
            written = [*watch(config, job.model), recorder, *loggers(config, folder)]
            around = [*written, *progress(config), interruption]
        trainer = make_trainer(config, job, data, around)
        if state is None:
            group.lead(lambda: begin(folder, config, trainer, data))
            tell_whose(folder)
        else:
            take_up(folder, trainer, data, state)
        fit(trainer, data, recorder)
        return conclude(folder, config, trainer, data, estimator, recorder.seconds)


def tell_whose(folder: RunFolder) -> None:
    """Let all processes know what the leader does: whether the folder holds this run."""
    folder.is_ours = bool(world().share(bytes([folder.is_ours]))[0])


def begin(folder: RunFolder, config: Config, trainer: Trainer, data: DataSplits) -> None:
    """Write what a run has before its first step."""
    folder.begin(to_yaml(config), preprocessing_state(data.meta), initial_state(trainer))
    folder.write_json(folder.environment, environment())


def fit(trainer: Trainer, data: DataSplits, recorder: Recorder) -> None:
    """Train; whatever ends it early is told with the checkpoint that it leaves."""
    last = recorder.folder.last
    try:
        trainer.fit(data.train, data.validation)
    except Interrupted as signal:
        if not trainer.finished:
            world().lead(lambda: recorder.save(trainer))
        signal.args = (f"{signal} after step {trainer.step} (epoch {trainer.epoch + 1})",)
        raise
    except DivergedError as error:
        raise DivergedError(f"{error}; the last good checkpoint is {last}") from error


def conclude(
    folder: RunFolder,
    config: Config,
    trainer: Trainer,
    data: DataSplits,
    estimator: Any,
    fit_seconds: float,
) -> str:
    """Score the best weights and the baseline on the test part and write the summary."""
    summary: dict[str, Any] = {
        "test": trainer.evaluate(data.test) if data.test is not None else {},
        "fit_seconds": fit_seconds,
        "parameters": trainer.model.parameter_count(),
        "epochs": trainer.epoch,
        "steps": trainer.step,
        "best_epoch": trainer.best.weights_epoch,
    }
    if data.validation is not None:
        row = trainer.best.weights_epoch - 1
        summary["validation"] = {
            name.removeprefix("val_"): column[row]
            for name, column in trainer.history.items()
            if name.startswith("val_")
        }
    if not world().leads:
        return ""
    if estimator is not None:
        summary["baseline"] = run_baseline(estimator, config, trainer, data)
    folder.write_json(folder.summary, without_nan(summary))
    if config.output.report:
        report(folder, config, trainer, data)
    return closing_table(str(folder.path), summary)


def report(folder: RunFolder, config: Config, trainer: Trainer, data: DataSplits) -> None:
    """Write the page that shows the run."""
    from nnad.training.reporting import write_report

    watched = next((c.state_dict() for c in trainer.callbacks if isinstance(c, Watch)), None)
    write_report(folder, config, trainer.model, data, trainer.history, watched)


def run_baseline(
    estimator: Any, config: Config, trainer: Trainer, data: DataSplits
) -> dict[str, Any]:
    """Fit the baseline on the training part and score it on the test part."""
    seconds = fit_baseline(estimator, data.train, config.where("baseline"))
    scores = {}
    if data.test is not None:
        columns = predict(trainer.model, data.test.x[:1]).shape[-1]
        outputs, soft = outputs_of(estimator, data.test.x, columns, data.meta.task)
        scores = trainer.score(outputs, data.test)
        if not soft:
            del scores["loss"]
    name = type(estimator).__name__
    return {"estimator": name, "test": scores, "fit_seconds": seconds}


# Parts of a run -----------------------------------------------------------------------------------


def room_of_model(
    state: Mapping[str, Any] | None, folder: RunFolder
) -> AbstractContextManager[None]:
    """Within, no model is made that is larger than that of the run which goes on."""
    if state is None:
        return nullcontext()
    with believing(folder.last):
        return no_larger_than(state["model"], folder.last)


def load_data(config: Config) -> DataSplits:
    """The parts of the data that the configuration describes, which make at least one batch."""
    section = config.data.model_dump()
    try:
        data = nnad_data.load(
            section,
            seed=config.seed,
            base_dirs=(".", config.folder) if config.folder else (".",),
            dtype=config.trainer.dtype,
        )
        nnad_data.batching(section, data)
    except UserError as error:
        raise type(error)(with_place(config, problem) for problem in error.problems) from error
    return data


def with_place(config: Config, problem: str) -> str:
    """A problem that begins with a key such as ``data.path``, with file and line before it."""
    key = re.match(r"data\.(\w+)", problem)
    return problem if key is None else config.where("data", key[1]) + problem[key.end() :]


def make_trainer(
    config: Config,
    job: Job,
    data: DataSplits,
    callbacks: Sequence[Callback] = (),
    group: Communicator | None = None,
) -> Trainer:
    """The trainer of a job, one of several if `group` (by default the world) has several."""
    group = group or world()
    settings = config.trainer
    batching = nnad_data.batching(config.data.model_dump(), data)
    kind = kind_of_trainer(config, group)
    return kind(
        job.model,
        job.loss,
        job.optimizer,
        schedule=job.schedule,
        epochs=settings.epochs or 0,
        steps=settings.steps,
        batch_size=batching.pop("batch_size"),
        steps_per_epoch=settings.steps_per_epoch,
        accumulate=settings.accumulate,
        ema=EMA(job.model.parameters(), settings.ema, warmup=True) if settings.ema else None,
        clip_norm=settings.clip_norm,
        clip_value=settings.clip_value,
        class_weight=job.class_weight,
        metrics=in_target_units(job.metrics, data.meta),
        best=best_epoch(config, job, data),
        batching=batching,
        seed=config.seed,
        callbacks=callbacks,
        compile=settings.compile,
        threads=threads_of(config, group),
    )


def best_epoch(config: Config, job: Job, data: DataSplits) -> BestEpoch:
    """How the best epoch is found: by early stopping's monitor, else by the validation loss."""
    stopping = config.trainer.early_stopping
    if stopping is None:
        return BestEpoch(None if data.validation is None else "val_loss")
    metric = job.metrics.get(stopping.monitor.partition("_")[2])
    maximize = metric is not None and is_score(metric)
    if stopping.mode != "auto":
        maximize = stopping.mode == "max"
    return BestEpoch(
        stopping.monitor, maximize, stopping.patience, stopping.min_delta, stopping.restore_best
    )


def in_target_units(
    metrics: Mapping[str, Callable[..., float]], meta: Meta
) -> dict[str, Callable[..., float]]:
    """Metrics that compare in the target's own units where the model is trained on scaled ones."""
    inverse = meta.preprocessor.inverse_target
    if meta.preprocessor.target_scale is None:
        return dict(metrics)

    def unscaled(metric: Callable[..., float]) -> Callable[..., float]:
        def compare(prediction: Any, target: Any, **keywords: Any) -> float:
            return metric(inverse(prediction), inverse(target), **keywords)

        return compare

    return {name: unscaled(metric) for name, metric in metrics.items()}


def make_baseline(config: Config, task: str) -> Any:
    """The baseline's estimator, not fitted; None without a baseline."""
    if config.baseline is None:
        return None
    where = config.where("baseline")
    estimator = make_estimator(
        config.baseline.estimator, config.baseline.params, config.seed, where
    )
    require_task(estimator, task, where)
    return estimator


def watch(config: Config, model: Any) -> list[Callback]:
    """What a report needs; before the recorder, whose checkpoints hold what was seen so far."""
    return [Watch(model)] if config.output.report else []


def loggers(config: Config, folder: RunFolder) -> list[Callback]:
    """Who else is given the numbers of the run."""
    found = []
    for component in config.trainer.callbacks:
        logger = entries("callback")[component.name].make(**component.arguments)
        logger.attach(folder.path, dict(flat(config.model_dump())))
        found.append(logger)
    return found


def progress(config: Config) -> list[Callback]:
    """The progress bar, if one is wanted."""
    wanted = config.trainer.progress
    return [] if wanted is False else [Progress(always=wanted is True)]


# Checkpoints --------------------------------------------------------------------------------------


def initial_state(trainer: Trainer) -> dict[str, Any]:
    """The state before the first step."""
    return capture(trainer) | {"finished": None}


def preprocessing_state(meta: Meta) -> dict[str, Any]:
    """What is known about the data, as a tree for a checkpoint."""
    plain, arrays = meta.to_state()
    return {"plain": plain, "arrays": arrays}


def require_same_data(folder: RunFolder, data: DataSplits) -> None:
    """Raise a UserError if files have changed since the run began: its parts would be others."""
    saved, there = load_meta(folder).fingerprint, data.meta.fingerprint
    changes = {
        "has changed": [name for name in there if saved.get(name, there[name]) != there[name]],
        "is no longer among the files": [name for name in saved if name not in there],
        "has come to the files": [name for name in there if name not in saved],
    }
    problems = [
        f"{name}: {what} since {folder.path} began; go on with the data it began with, or start a "
        "new run"
        for what, names in changes.items()
        for name in names
    ]
    if problems:
        raise UserError(problems)


def take_up(
    folder: RunFolder, trainer: Trainer, data: DataSplits, state: Mapping[str, Any]
) -> None:
    """Put a trainer where a checkpoint was taken, after making sure that both belong together."""
    require_same_data(folder, data)
    with believing(folder.last, f"the checkpoint does not fit {folder.config}"):
        require_state_of(trainer, data, state)
        restore(trainer, state)
    world().lead(lambda: rewrite_reports(folder, trainer))


def require_state_of(trainer: Trainer, data: DataSplits, state: Mapping[str, Any]) -> None:
    """Raise a ValueError unless a state could be one of a trainer's on its way through the data."""
    columns = trainer.columns(data.validation is not None)
    require_state_like(state, capture(trainer, copy=False), columns)


def rewrite_reports(folder: RunFolder, trainer: Trainer) -> None:
    """Bring what a run reports back to where its checkpoint was taken."""
    folder.summary.unlink(missing_ok=True)
    folder.write_rows(trainer.history)


def require_lengthening(before: Config, after: Config, overrides: Sequence[str]) -> None:
    """Raise unless the overrides do nothing but make a run longer."""
    allowed = ("trainer.epochs", "trainer.steps")
    problems = [
        f"override {text}: --resume continues a run as it is; only {' and '.join(allowed)} may "
        "be raised"
        for text in overrides
        if text.partition("=")[0].strip() not in allowed
    ]
    for key in ("epochs", "steps"):
        old, new = getattr(before.trainer, key), getattr(after.trainer, key)
        if (old is None) != (new is None) or (old is not None and new < old):
            problems.append(f"override trainer.{key}={new}: must be more than the run's {old}")
    if problems:
        raise ConfigError(problems)


# Small things -------------------------------------------------------------------------------------


def environment() -> dict[str, Any]:
    """What a run's numbers may depend on beside its configuration."""
    import nnad

    return {
        "nnad": nnad.__version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "blas": np.show_config(mode="dicts")["Build Dependencies"]["blas"].get("name"),
        "platform": platform.platform(),
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "threads": {k: v for k, v in os.environ.items() if k.endswith("_NUM_THREADS")},
    }


def without_nan(tree: Any) -> Any:
    """`tree` with None for numbers that JSON does not know."""
    if isinstance(tree, Mapping):
        return {key: without_nan(value) for key, value in tree.items()}
    return None if isinstance(tree, float) and not math.isfinite(tree) else tree
