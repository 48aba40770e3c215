"""The folder of a run: which files it holds, who may write them, and how they are replaced.

One process at a time writes a run: a lock that the system drops with the process sees to it.  Files
that must be whole are written under a temporary name and renamed.  A new run takes the place of an
old one only when everything of the new run that can fail has been done.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, TextIO

from nnad.errors import CheckpointError, UserError
from nnad.files import create, own, read_text
from nnad.training import checkpoint

try:
    import fcntl
except ImportError:  # a system without flock: runs are then not guarded against each other
    fcntl = None  # type: ignore[assignment]

__all__ = ["RunFolder", "replacing", "writing"]

AS_TEXT: dict[str, Any] = {"encoding": "utf-8", "errors": "backslashreplace", "newline": "\n"}


class RunFolder:
    """The files of one run.

    Args:
        path: the folder ``runs/<name>``; it need not exist.

    Attributes:
        config: the resolved configuration, ``config.yaml``.
        metrics: one row an epoch, ``metrics.csv``.
        summary: ``summary.json``, written when all is done.
        environment: versions and machine, ``environment.json``.
        report: ``report.html``, where one is wanted.
        timing: seconds spent so far, ``timing.json``.
        last: the newest checkpoint.
        best: the weights of the best epoch.
        preprocessing: how rows become inputs and predictions become answers.
        is_ours: whether ``--resume`` would continue what this process does, not an older run.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.config = self.path / "config.yaml"
        self.metrics = self.path / "metrics.csv"
        self.summary = self.path / "summary.json"
        self.environment = self.path / "environment.json"
        self.timing = self.path / "timing.json"
        self.report = self.path / "report.html"
        self.checkpoints = self.path / "checkpoints"
        self.last = self.checkpoints / "last.safetensors"
        self.best = self.checkpoints / "best.safetensors"
        self.preprocessing = self.path / "preprocessing.safetensors"
        self._reports = (
            self.metrics,
            self.summary,
            self.timing,
            self.environment,
            self.report,
        )
        self._lock_file = self.path / ".lock"
        self._lock: Any = None
        self._reserved = False
        self.is_ours = False

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        if kind is not None and issubclass(kind, Exception):
            self.discard()  # not after a signal: the run can then be resumed from the start
        self.release()

    @property
    def exists(self) -> bool:
        """Whether there is anything here that a new run would replace; hidden files aside."""
        return self.path.is_dir() and any(p.name[0] != "." for p in self.path.iterdir())

    @property
    def has_checkpoint(self) -> bool:
        """Whether a checkpoint, whole or not, was left."""
        return self.last.exists() or checkpoint.previous_slot(self.last).exists()

    # Taking the folder ----------------------------------------------------------------------------

    def reserve(self, config_text: str, overwrite: bool) -> None:
        """Claim the folder for a new run.

        An empty place gets its ``config.yaml`` at once, so that a run killed while it loads its
        data can be resumed; an old run stays as it is until :meth:`begin`.

        Raises:
            UserError: a run is there and `overwrite` is false, or another process writes it.
        """
        if self.exists and not overwrite:
            raise UserError(
                f"{self.path} already exists; continue it with --resume {self.path}, replace it "
                "with --overwrite, or choose another output.name"
            )
        self._reserved = self.is_ours = not self.exists
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self.lock()
            if self._reserved:
                write_file(self.config, config_text)
        except OSError as error:
            self.discard()
            raise self._problem(error) from error

    def begin(self, config_text: str, preprocessing: Any, state: Any) -> None:
        """Put the new run's configuration and first checkpoint in place of what was here.

        Everything is written before anything old is removed: a full disk costs no earlier run.

        Args:
            config_text: the resolved configuration.
            preprocessing: state tree of what is known about the data.
            state: state tree of the trainer before its first step.
        """
        new_last = self.last.with_name(".new.safetensors")
        new_preprocessing = self.path / ".new.safetensors"
        new_config = self.path / ".new.yaml"
        try:
            self.checkpoints.mkdir(exist_ok=True)
            checkpoint.save(new_last, state, keep_previous=False)
            checkpoint.save(new_preprocessing, preprocessing, keep_previous=False)
            write_file(new_config, config_text)
            for old in (self.last, checkpoint.previous_slot(self.last), self.best, *self._reports):
                old.unlink(missing_ok=True)
            os.replace(new_config, self.config)
            os.replace(new_preprocessing, self.preprocessing)
            os.replace(new_last, self.last)
        except OSError as error:
            raise self._problem(error) from error
        finally:
            for file in (new_last, new_preprocessing, new_config):
                file.unlink(missing_ok=True)
        self._reserved, self.is_ours = False, True

    def take_up(self) -> None:
        """Claim the folder of a run that is to continue.

        Raises:
            UserError: there is no run, or another process writes it.
        """
        self.require()
        self.lock()
        self.is_ours = True

    def discard(self) -> None:
        """Undo :meth:`reserve` if the run never began."""
        if self._reserved and self.path.is_dir():
            for file in (self.config, self._lock_file):
                file.unlink(missing_ok=True)
            for folder in (self.checkpoints, self.path):
                remove_if_empty(folder)

    def lock(self) -> None:
        """Make sure that no other process writes this run until :meth:`release`.

        Raises:
            UserError: another process holds the lock.
        """
        if fcntl is None or self._lock is not None:
            return
        file = open(self._lock_file, "a+", opener=own)  # noqa: SIM115  (held open until release)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            file.close()
            raise UserError(
                f"{self.path} is being written by another process (number {holder}); wait for it "
                "or choose another output.name"
            ) from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        self._lock = file

    def release(self) -> None:
        """Let go of the lock."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    # Files ----------------------------------------------------------------------------------------

    def require(self) -> None:
        """Raise a UserError unless this is the folder of a run."""
        if self.path.is_file():
            beside = RunFolder(self.path.parent).config.is_file()
            example = self.path.parent if beside else "runs/mlp"
            raise UserError(
                f"{self.path}: is a file; expected the folder of a run, such as {example}"
            )
        if not self.path.is_dir():
            raise UserError(f"{self.path}: no such run; expected a folder left by training")
        if not self.config.is_file():
            raise UserError(
                f"{self.path} is not the folder of a run: it has no {self.config.name}; expected "
                "what training has written, such as runs/mlp"
            )

    def write_config(self, text: str) -> None:
        """Replace ``config.yaml``: of a run that is to become longer."""
        try:
            write_file(self.config, text)
        except OSError as error:
            raise self._problem(error) from error

    def write_json(self, path: Path, content: Mapping[str, Any]) -> None:
        """Write a JSON file, whole or not at all."""
        try:
            write_file(path, json.dumps(content, indent=2, default=str) + "\n")
        except OSError as error:
            raise self._problem(error) from error

    def read_seconds(self) -> float:
        """Seconds of training before this process; 0 if they are not known."""
        try:
            seconds = float(json.loads(read_text(self.timing))["fit_seconds"])
        except (OSError, ValueError, LookupError, TypeError, ArithmeticError, RecursionError):
            return 0.0
        return seconds if 0 <= seconds < math.inf else 0.0

    def write_rows(self, history: Mapping[str, Sequence[float]]) -> None:
        """Write ``metrics.csv`` anew from the columns of a history."""
        lines = [csv_line(history)] if history else []
        lines += [csv_line(row) for row in zip(*history.values(), strict=True)]
        try:
            write_file(self.metrics, "".join(lines))
        except OSError as error:
            raise self._problem(error) from error

    def append_row(self, row: Mapping[str, float]) -> None:
        """Add an epoch to ``metrics.csv``, after the names of the columns if it is the first."""
        try:
            with open(self.metrics, "a", encoding="utf-8", newline="", opener=own) as file:
                file.write(("" if file.tell() else csv_line(row)) + csv_line(row.values()))
        except OSError as error:
            raise self._problem(error) from error

    def _problem(self, error: OSError) -> UserError:
        place = error.filename or self.path
        return CheckpointError(f"{place}: {checkpoint.describe_os_error(error)}")


def csv_line(cells: Any) -> str:
    """A line of CSV; numbers as the shortest text that reads back to the same number.

    >>> csv_line([1, 0.1, "val_loss"])
    '1,0.1,val_loss\\n'
    """
    return ",".join(str(cell) for cell in cells) + "\n"


@contextmanager
def replacing(path: Path) -> Iterator[TextIO]:
    """A text file to write, which takes the place of `path` in one step if all goes well.

    A link is replaced, not followed. What is no character (half a pair, as in names of files that
    are no UTF-8) is written as ``\\udc80``.
    """
    draft = path.with_name(f".{path.name}.tmp")
    try:
        with create(draft, **AS_TEXT) as file:
            yield file
        os.replace(draft, path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def writing(path: Path) -> AbstractContextManager[TextIO]:
    """The same for a place that the user names: ``/dev/stdout`` or a pipe is written as it is."""
    whole = path.is_file() or not path.exists()
    return replacing(path) if whole else open(path, "w", **AS_TEXT)


def write_file(path: Path, text: str) -> None:
    """Replace a text file in one step: readers see the old one or the new one."""
    with replacing(path) as file:
        file.write(text)


def remove_if_empty(folder: Path) -> None:
    """Remove a folder unless something is in it."""
    try:
        folder.rmdir()
    except OSError:
        return
