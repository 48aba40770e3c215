"""The processes of an MPI job as workers: each trains whole runs by itself, one after another.

The leader does what a sweep does without MPI; the others only train what it calls for.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from nnad.distributed import Communicator, spread
from nnad.errors import NnadError, UserError
from nnad.training.callbacks import Interrupted
from nnad.training.checkpoint import describe_os_error
from nnad.training.crew.worker import work

__all__ = ["Ranks", "led"]

SECONDS_TO_CHECKPOINT = 60.0  # that a process may need after a signal, until its step is done


class Ranks:
    """All processes of a group, in the place of `nnad.training.crew.workers.Workers`.

    Args:
        group: the processes, of which this one leads.
        resume: the command that continues after a signal.
    """

    def __init__(self, group: Communicator, resume: str) -> None:
        self.group = group
        self.resume = resume

    def __enter__(self) -> Ranks:
        return self

    def __exit__(self, *exception: object) -> None:
        """Nothing to give back: the processes wait for what comes next."""

    def each(
        self, tasks: Sequence[Mapping[str, Any]], tell: Callable[[int, dict[str, str]], None]
    ) -> None:
        """Have every task done; see `nnad.training.crew.workers.Workers.each`."""
        if tasks:
            self.group.share(json.dumps([self.resume, list(tasks)]).encode())
            spread(train, tasks, self.group, tell)


def led(action: Callable[[], str], group: Communicator) -> str:
    """What `action` returns in the leader; the others train what it calls for, and get nothing.

    Raises:
        UserError: what the action raised, on every process.
        Interrupted: a signal came; every process says the same of it.
    """
    if group.size == 1:
        return action()
    group.announce()
    group.seconds_to_end = SECONDS_TO_CHECKPOINT
    failure: NnadError | None = None
    result = ""
    if group.leads:
        try:
            result = action()
        except NnadError as error:
            failure = error
        except OSError as error:
            failure = UserError(f"{error.filename or 'input/output'}: {describe_os_error(error)}")
        group.share(b"")
    else:
        serve(group)

    def outcome() -> str:
        if failure is not None:
            raise failure
        return result

    return group.lead(outcome) or ""


def serve(group: Communicator) -> None:
    """Train what the leader calls for until it calls for nothing more."""
    resume = ""
    try:
        while content := group.share(None):
            resume, tasks = json.loads(content)
            with suppress(NnadError, OSError):  # of the leader, who has to say what comes of it
                spread(train, tasks, group)
    except Interrupted as signal:
        signal.args = (f"{signal}; continue with {resume}",)
        raise


def train(task: Mapping[str, Any]) -> dict[str, str]:
    """`work`, which no error of a trial ends."""
    try:
        return work(task)
    except Interrupted as signal:  # where in its trial a process was, only the trial's folder tells
        signal.args = (f"interrupted by {signal.signal_name}",)
        raise
    except Exception as error:
        sys.stderr.write(f"{task['path']}:\n{traceback.format_exc()}")
        return {"status": "lost", "message": f"{type(error).__name__}: {error}"}
