"""Callbacks that a configuration names: they hand the numbers of a run to other programs.

    trainer: {callbacks: [jsonl, {name: tensorboard, every_steps: 10}]}

Adding one: a subclass of :class:`Logger` here, and its name in ``__all__``. Its constructor only
keeps its arguments; files and connections are opened when training begins.
"""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from os.path import realpath
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from nnad.errors import UserError
from nnad.files import ordinary, own, read_text
from nnad.training.callbacks import Callback
from nnad.training.forgery import believing, brief
from nnad.training.run_folder import replacing, write_file

if TYPE_CHECKING:
    from nnad.training.trainer import Trainer

__all__ = ["Csv", "Jsonl", "Logger", "Mlflow", "Tensorboard", "Wandb"]

LONGEST_LINE = 2**20  # characters
NAME = re.compile(r"[A-Za-z0-9_.-]{1,256}")  # that a service gives to a run


class Logger(Callback):
    """Base of the callbacks that pass numbers on.

    Args:
        every_steps: also pass on the loss of every so many steps; None: only the epochs' rows.
    """

    def __init__(self, every_steps: int | None = None) -> None:
        if every_steps is not None and every_steps < 1:
            raise ValueError(f"every_steps is {every_steps}, expected at least 1")
        self.every_steps = every_steps
        self.path = "."
        self.folder = Path()
        self.config: Mapping[str, Any] = {}

    def attach(self, folder: Path, config: Mapping[str, Any]) -> None:
        """Tell it of the run before it begins: its folder and its configuration.

        Raises:
            UserError: what it writes would lie outside the folder.
        """
        self.folder, self.config = folder, config
        require_within(folder, self.path)

    def reads_gradients(self, trainer: Trainer) -> bool:
        """Never."""
        return False

    def on_step_end(self, trainer: Trainer) -> None:
        if self.every_steps and trainer.step % self.every_steps == 0:
            row = {"step_loss": trainer.step_loss, "learning_rate": trainer.optimizer.lr}
            self.log(trainer.step, row)

    def on_epoch_end(self, trainer: Trainer, row: Mapping[str, float]) -> None:
        self.log(trainer.step, row)

    def log(self, step: int, row: Mapping[str, float]) -> None:
        """Pass on what is known after a step."""
        raise NotImplementedError


def require_package(name: str, extra: str = "") -> None:
    """Raise a ValueError that says how to install a package that is not there."""
    if find_spec(name) is None:
        command = f"pip install 'nnad[{extra}]'" if extra else f"pip install {name}"
        raise ValueError(f"needs the package {name}, which is not installed: {command}")


class TextLogger(Logger):
    """Base of those that write a text file, a line for each row.

    Args:
        path: the file, relative to the run's folder.
        every_steps: see `Logger`.
    """

    def __init__(self, path: str, every_steps: int | None = None) -> None:
        super().__init__(every_steps)
        self.path = path
        self._file: TextIO | None = None

    def on_fit_begin(self, trainer: Trainer) -> None:
        """Begin the file; of one that is there, keep what lies before the step to go on from."""
        file = self.folder / self.path
        with believing(file), replacing(file) as stream:
            if trainer.step and file.exists():
                stream.writelines(self.lines_until(file, trainer.step))
        self._file = open(file, "a", encoding="utf-8", buffering=1, newline="\n", opener=own)  # noqa: SIM115

    def lines_until(self, file: Path, step: int) -> Iterator[str]:
        """The lines of an earlier process up to a step."""
        raise NotImplementedError

    def write(self, line: str) -> None:
        """Add a line."""
        assert self._file is not None
        self._file.write(line + "\n")

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


class Jsonl(TextLogger):
    """A JSON object a line: every epoch's row, and if wanted losses in between.

    Args:
        path: the file, relative to the run's folder.
        every_steps: also write the loss of every so many steps.
    """

    def __init__(self, path: str = "metrics.jsonl", every_steps: int | None = None) -> None:
        super().__init__(path, every_steps)

    def lines_until(self, file: Path, step: int) -> Iterator[str]:
        for line in lines_of(file):
            try:
                if json.loads(line)["step"] <= step:
                    yield line.rstrip("\n") + "\n"
            except (ValueError, KeyError, TypeError):
                continue  # half a line, of a process that was killed

    def log(self, step: int, row: Mapping[str, float]) -> None:
        finite = {k: v if math.isfinite(v) else None for k, v in row.items()}
        self.write(json.dumps({"step": step, **finite}))


class Csv(TextLogger):
    """The loss of single steps as CSV, beside ``metrics.csv``, which has a row an epoch.

    Args:
        path: the file, relative to the run's folder.
        every_steps: write every so many steps.
    """

    def __init__(self, path: str = "steps.csv", every_steps: int = 1) -> None:
        super().__init__(path, every_steps)

    def on_fit_begin(self, trainer: Trainer) -> None:
        super().on_fit_begin(trainer)
        if not trainer.step:
            self.write("step,loss,learning_rate")

    def lines_until(self, file: Path, step: int) -> Iterator[str]:
        rows = csv.reader(lines_of(file))
        head = next(rows, [])
        yield ",".join(head) + "\n"
        yield from (",".join(r) + "\n" for r in rows if len(r) == len(head) and int(r[0]) <= step)

    def on_epoch_end(self, trainer: Trainer, row: Mapping[str, float]) -> None:
        """Nothing: epochs are in ``metrics.csv``."""

    def log(self, step: int, row: Mapping[str, float]) -> None:
        self.write(f"{step},{row['step_loss']},{row['learning_rate']}")


class Tensorboard(Logger):
    """Event files for TensorBoard: ``tensorboard --logdir runs`` shows all runs beside each other.

    Args:
        path: the folder, relative to the run's.
        every_steps: also pass on the loss of every so many steps.
    """

    def __init__(self, path: str = "tensorboard", every_steps: int | None = None) -> None:
        super().__init__(every_steps)
        require_package("tensorboard", "tensorboard")
        self.path = path
        self._writer: Any = None

    def on_fit_begin(self, trainer: Trainer) -> None:
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        folder = self.folder / self.path
        if not trainer.step:
            for old in folder.glob("events.out.tfevents.*"):
                old.unlink()
        self._writer = EventFileWriter(str(folder))
        if trainer.step:  # what an interrupted process wrote after this step does not count
            status = SessionLog(status=SessionLog.START)
            self._writer.add_event(Event(step=trainer.step + 1, session_log=status))

    def log(self, step: int, row: Mapping[str, float]) -> None:
        from time import time

        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        values = [
            Summary.Value(tag=tag(name), simple_value=value)
            for name, value in row.items()
            if name not in ("epoch", "step")
        ]
        self._writer.add_event(Event(step=step, wall_time=time(), summary=Summary(value=values)))

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def tag(name: str) -> str:
    """A column's name such that training and validation come into one chart group.

    >>> tag("val_loss"), tag("learning_rate")
    ('loss/val', 'learning_rate')
    """
    part, _, score = name.partition("_")
    return f"{score}/{part}" if part in ("train", "val", "step") else name


class Wandb(Logger):
    """Passes a run on to Weights & Biases, by its own library.

    Args:
        project: where it is filed.
        every_steps: also pass on the loss of every so many steps.
    """

    def __init__(self, project: str = "nnad", every_steps: int | None = None) -> None:
        super().__init__(every_steps)
        require_package("wandb")
        self.project = project
        self._run: Any = None

    def on_fit_begin(self, trainer: Trainer) -> None:
        import wandb

        known = remembered(self.folder / "wandb.txt", trainer.step)
        self._run = wandb.init(
            project=self.project,
            name=self.folder.name,
            dir=str(self.folder),
            config=dict(self.config),
            id=known,
            resume="allow" if known else None,
        )
        write_file(self.folder / "wandb.txt", f"{self._run.id}\n")

    def log(self, step: int, row: Mapping[str, float]) -> None:
        self._run.log(dict(row), step=step)

    def close(self) -> None:
        if self._run is not None:
            self._run.finish()
            self._run = None


class Mlflow(Logger):
    """Passes a run on to MLflow, by its own library.

    Args:
        experiment: where it is filed.
        uri: of the tracking server; by default MLflow's own (MLFLOW_TRACKING_URI).
        every_steps: also pass on the loss of every so many steps.
    """

    def __init__(
        self, experiment: str = "nnad", uri: str | None = None, every_steps: int | None = None
    ) -> None:
        super().__init__(every_steps)
        require_package("mlflow")
        self.experiment = experiment
        self.uri = uri
        self._client: Any = None
        self._run_id = ""

    def on_fit_begin(self, trainer: Trainer) -> None:
        from mlflow.tracking import MlflowClient

        self._client = client = MlflowClient(self.uri)
        known = remembered(self.folder / "mlflow.txt", trainer.step)
        if known is None:
            found = client.get_experiment_by_name(self.experiment)
            place = found.experiment_id if found else client.create_experiment(self.experiment)
            known = client.create_run(place, run_name=self.folder.name).info.run_id
            for name, value in self.config.items():
                client.log_param(known, name, value)
            write_file(self.folder / "mlflow.txt", f"{known}\n")
        self._run_id = known

    def log(self, step: int, row: Mapping[str, float]) -> None:
        for name, value in row.items():
            if name not in ("epoch", "step"):
                self._client.log_metric(self._run_id, name, value, step=step)

    def on_fit_end(self, trainer: Trainer) -> None:
        self._client.set_terminated(self._run_id, "FINISHED")


def remembered(file: Path, step: int) -> str | None:
    """What a service calls the run that is resumed; None for a new one."""
    if not step or not file.exists():
        return None
    with believing(file):
        known = read_text(file).strip()
        if not NAME.fullmatch(known):
            raise ValueError(f"{brief(known)} is no name that a service gives to a run")
    return known


def require_within(folder: Path, name: str) -> None:
    """Raise a UserError if a name, or a link that has it, leads out of the folder of a run."""
    place = folder / name
    if "\0" in name or not Path(realpath(place)).is_relative_to(realpath(folder)):
        raise UserError(f"{place}: leads out of the run's folder; name a place within it")


def lines_of(file: Path) -> Iterator[str]:
    """The lines of a file, in pieces where they are longer than any that a logger writes."""
    with open(file, encoding="utf-8", opener=ordinary) as stream:
        while line := stream.readline(LONGEST_LINE):
            yield line
