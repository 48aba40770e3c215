"""Processes that share a batch, beside one process: the network 784-256-128-10, 256 rows in all.

The same processors are used by one process with two threads and by two with one each. All settings
take turns; a step is the median of a few hundred, the ratio the median of the rounds' ratios.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from benchmarks.quiet import CALM, Watch, wait_for_calm
from benchmarks.tables import duration

__all__ = ["SECTION", "table"]

SECTION = "parallel"
WORKER = Path(__file__).with_name("parallel_worker.py")
ROWS = 256


class Setting(NamedTuple):
    """So many processes, each with so many threads."""

    ranks: int
    threads: int

    def __str__(self) -> str:
        return f"{self.ranks} x {self.threads}"


SETTINGS = [Setting(1, 1), Setting(2, 1), Setting(1, 2)]


def seconds_of(setting: Setting, way: str, steps: int) -> tuple[float, float]:
    """(share of the machine that others used, seconds of a step)."""
    launcher = Path(sys.executable).with_name("mpiexec")
    start = [] if setting.ranks == 1 else [str(launcher), "-n", str(setting.ranks)]
    command = [sys.executable, "-m", "mpi4py", str(WORKER), str(setting.threads), way, str(steps)]
    watch, before = Watch(), _children()
    told = subprocess.run(
        [*start, *command],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": str(setting.threads)},
    ).stdout
    return watch.others(_children() - before), float(told)


def _children() -> float:
    """Processor seconds of the processes that were started and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def table(rounds: int, patience: float, steps: int = 100) -> Iterator[str]:
    """Lines of Markdown, as they come."""
    yield "### Several processes: MLP 784-256-128-10, 256 rows a step in all, Adam\n"
    if not Path(sys.executable).with_name("mpiexec").exists():
        yield "- left out: there is no mpiexec beside this Python; pip install 'nnad[mpi]'"
        return
    yield "| processes x threads | steps | step | spread | rows a second | of 1 x 1 | disturbed |"
    yield "| --- | --- | ---: | ---: | ---: | ---: | ---: |"
    for way in ("eager", "compiled"):
        found: dict[Setting, list[float]] = {setting: [] for setting in SETTINGS}
        disturbed = dict.fromkeys(SETTINGS, 0)
        for _ in range(rounds):
            for setting in SETTINGS:
                wait_for_calm(patience)
                others, seconds = seconds_of(setting, way, steps)
                found[setting].append(seconds)
                disturbed[setting] += others >= CALM
        for setting, times in found.items():
            ratios = [one / mine for one, mine in zip(found[SETTINGS[0]], times, strict=True)]
            middle = statistics.median(times)
            spread = (max(times) - min(times)) / middle
            yield (
                f"| {setting} | {way} | {duration(middle)} | {spread:.0%} | {ROWS / middle:,.0f} "
                f"| {statistics.median(ratios):.2f} | {disturbed[setting]} of {rounds} |"
            )
