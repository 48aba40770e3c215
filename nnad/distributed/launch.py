"""Which group of processes this one belongs to."""

from __future__ import annotations

import functools
import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from nnad.distributed.communicator import Communicator
from nnad.errors import UserError

__all__ = ["alone", "within", "world"]

# What the launchers of MPICH (and its kin), Open MPI and Slurm's PMI tell a process they start.
SIZE_VARIABLES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MPI_LOCALNRANKS")

# In the place of the group that was started together, in this thread.
_group: ContextVar[Communicator | None] = ContextVar("group", default=None)


@contextmanager
def within(group: Communicator) -> Iterator[None]:
    """Within the block this process, as far as this thread tells, belongs to `group`."""
    before = _group.set(group)
    try:
        yield
    finally:
        _group.reset(before)


@contextmanager
def alone() -> Iterator[None]:
    """Within the block this process is a group of its own: what it does is not shared."""
    with within(Communicator()):
        yield


def world() -> Communicator:
    """The group of processes that this one belongs to: as a rule those it was started with.

    Raises:
        UserError: this is one of several processes, but mpi4py is not installed.
    """
    return _group.get() or _started_together()


@functools.cache
def _started_together() -> Communicator:
    """The group of processes that this one was started in; the same object at every call.

    MPI is used, and mpi4py imported, only in a process that a launcher such as mpiexec started
    together with others.
    """
    started = max((int(os.environ.get(name, 1)) for name in SIZE_VARIABLES), default=1)
    if started < 2 and "mpi4py.MPI" not in sys.modules:
        return Communicator()
    if importlib.util.find_spec("mpi4py") is None:
        raise UserError(
            f"this is one of {started} processes started together, but mpi4py, through which they "
            "talk, is not installed; pip install 'nnad[mpi]', or start a single process"
        )
    from nnad.distributed.mpi import MPICommunicator

    group = MPICommunicator()
    return group if group.size > 1 else Communicator()
