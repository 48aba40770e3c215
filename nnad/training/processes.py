"""What a job's configuration says about a group of processes that do it together."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

from nnad.cores.counting import threads_of_each
from nnad.distributed import Communicator, world
from nnad.errors import ConfigError
from nnad.training.config import Config
from nnad.training.trainer import Trainer

__all__ = ["kind_of_trainer", "limit_threads", "require_even_blocks", "threads_of"]


def require_even_blocks(config: Config, group: Communicator) -> None:
    """Raise a ConfigError if the blocks of a batch cannot be dealt out evenly to processes."""
    blocks = config.distributed.blocks
    if blocks is not None and not _can_be_dealt_out(blocks, group):
        counts = ", ".join(str(2**k) for k in range(blocks.bit_length()))
        raise ConfigError(
            f"{config.where('distributed', 'blocks')}: {blocks} blocks cannot be dealt out evenly "
            f"to {group.size} processes; start one of {counts}, or set distributed.blocks to null, "
            "or to 1: whole batches in every process"
        )


def _can_be_dealt_out(blocks: int, group: Communicator) -> bool:
    """Whether processes can take equally many blocks of a batch; a single one is everybody's."""
    return blocks == 1 or blocks % group.size == 0


def kind_of_trainer(config: Config, group: Communicator) -> Callable[..., Trainer]:
    """The class of the trainer of one of a group of processes, with the arguments of its own.

    Where blocks cannot be dealt out evenly, which only what does not train allows, there are none.
    """
    blocks = config.distributed.blocks
    if blocks is not None and not _can_be_dealt_out(blocks, group):
        blocks = None
    if group.size == 1 and blocks in (None, 1):
        return Trainer
    if blocks == 1:
        from nnad.training.group import GroupTrainer

        return partial(GroupTrainer, communicator=group)
    more: dict[str, Any] = {
        "communicator": group,
        "synchronize_batch_norm": config.distributed.batch_norm == "synchronized",
    }
    if blocks is None:
        from nnad.training.parallel import ParallelTrainer

        return partial(ParallelTrainer, **more)
    from nnad.training.blocks import BlockTrainer

    return partial(BlockTrainer, blocks=blocks, **more)


def threads_of(config: Config, group: Communicator) -> int | str:
    """Threads of a process, one of a group: the cores of a machine are shared out among them.

    With `distributed.blocks` among as many as there may be, which is any number where each computes
    whole batches: products on another number of threads may be rounded otherwise.
    """
    if config.trainer.threads != "auto":
        return config.trainer.threads
    blocks = config.distributed.blocks
    if blocks == 1:
        return 1
    processes = blocks or group.local_size
    return threads_of_each(processes, group.local_cores) if processes > 1 else "auto"


def limit_threads(config: Config, stack: ExitStack) -> None:
    """Hold the matrix products to the configured number of threads while `stack` is open.

    Processes that share a machine share its cores.
    """
    threads = threads_of(config, world())
    if threads != "auto":
        from threadpoolctl import threadpool_limits

        stack.enter_context(threadpool_limits(threads))
