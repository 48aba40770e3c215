"""One of some processes that train together: prints the median seconds of a step.

`[mpiexec -n RANKS] python -m mpi4py parallel_worker.py THREADS eager|compiled STEPS`
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

BATCH, EPOCHS = 256, 3


def main(threads: int, way: str, steps: int) -> None:
    """Train 784-256-128-10 by Adam on batches of 256 rows in all."""
    from nnad import losses, optimizers
    from nnad.data.dataset import Split
    from nnad.distributed import world
    from nnad.layers import Linear, ReLU, Sequential
    from nnad.training.callbacks import Callback
    from nnad.training.parallel import ParallelTrainer
    from nnad.training.trainer import Trainer

    class Clock(Callback):
        """Notes when steps end."""

        def __init__(self) -> None:
            self.times: list[float] = []

        def reads_gradients(self, trainer: Trainer) -> bool:
            return False

        def on_step_end(self, trainer: Trainer) -> None:
            self.times.append(time.perf_counter())

    group = world()
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, cores[group.rank * threads : (group.rank + 1) * threads] or cores)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(steps * BATCH, 784)).astype(np.float32)
    y = rng.integers(0, 10, len(x))
    model = Sequential(
        Linear(784, 256, rng=1), ReLU(), Linear(256, 128, rng=2), ReLU(), Linear(128, 10, rng=3)
    )
    kind, more = (Trainer, {}) if group.size == 1 else (ParallelTrainer, {"communicator": group})
    clock = Clock()
    options: dict[str, Any] = {"epochs": EPOCHS, "batch_size": BATCH, "callbacks": [clock], **more}
    optimizer = optimizers.Adam(model.parameters())
    with threadpool_limits(threads):
        trainer = kind(
            model,
            losses.cross_entropy,
            optimizer,
            compile=way == "compiled",
            threads=threads,
            **options,
        )
        trainer.fit(Split(x, y, None))
    if group.leads:
        print(np.median(np.diff(clock.times[steps:])))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
