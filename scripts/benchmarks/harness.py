"""Starts a process per library and lets them take turns on one workload."""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.job import Library
from benchmarks.quiet import CALM, Watch, wait_for_calm
from benchmarks.workloads import Workload

SCRIPTS = Path(__file__).resolve().parent.parent
CACHE_VARIABLES = ("NNAD_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR", "NUMBA_CACHE_DIR")
AGREEMENT = 1e-3  # relative; float32 sums in another order stay far below after ten steps


@dataclass
class Result:
    """What was measured of one library on one workload; times in seconds, memory in MiB."""

    library: Library
    why_not: str = ""
    rounds: list[float] = field(default_factory=list)
    disturbed: int = 0  # rounds during which other processes used the machine
    import_time: float = math.nan
    first_step: float = math.nan
    warm_first_step: float = math.nan
    memory: float = math.nan
    value: float = math.nan
    agrees: bool = True

    @property
    def seconds(self) -> float:
        """Median over the rounds."""
        return statistics.median(self.rounds)

    @property
    def spread(self) -> float:
        """Distance between the quartiles, as a share of the median."""
        low, _, high = statistics.quantiles(self.rounds, n=4, method="inclusive")
        return (high - low) / self.seconds

    def ratio(self, other: Result) -> float:
        """Median over the rounds of this one's time over the other's in the same round."""
        pairs = zip(self.rounds, other.rounds, strict=True)
        return statistics.median(own / its for own, its in pairs)


class Process:
    """A worker, asked in lines of JSON."""

    def __init__(self, library: Library, workload: Workload, caches: str) -> None:
        paths = [str(SCRIPTS.parent), str(SCRIPTS), os.environ.get("PYTHONPATH", "")]
        environment = os.environ | dict.fromkeys(CACHE_VARIABLES, caches)
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
        self.errors = tempfile.TemporaryFile(mode="w+", encoding="utf-8")  # noqa: SIM115
        self.worker = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", library.name, workload.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            env=environment,
        )

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Send one request; a worker that died answers with the last line it left."""
        assert self.worker.stdin is not None
        assert self.worker.stdout is not None
        try:
            self.worker.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            self.worker.stdin.flush()
            line = self.worker.stdout.readline()
        except BrokenPipeError:
            line = ""
        return json.loads(line) if line else {"failed": self.last_words()}

    def last_words(self) -> str:
        """The last line of what the worker wrote to standard error."""
        self.worker.wait()
        self.errors.seek(0)
        lines = self.errors.read().split("\n")
        return next((line for line in reversed(lines) if line.strip()), "died without a word")

    def close(self) -> None:
        """End the worker and wait for it."""
        self.worker.communicate()
        self.errors.close()


def measure(
    workload: Workload,
    libraries: Sequence[Library],
    rounds: int,
    seconds: float,
    patience: float = 0.0,
) -> list[Result]:
    """Time `workload` in every library, `rounds` times for about `seconds` each, in turns.

    Args:
        patience: seconds to wait, before each turn, for others to leave the machine alone.
    """
    results = [Result(library) for library in libraries]
    running: list[tuple[Result, Process, int]] = []
    with tempfile.TemporaryDirectory() as folder:
        for result in results:
            process = begin(result, workload, os.path.join(folder, result.library.name), patience)
            if process is not None:
                running.append((result, process, steps_in(process, seconds)))
        for _ in range(rounds):
            for result, process, steps in running:
                one_round(result, process, steps, patience)
        for result, process, _ in running:
            result.memory = process.ask("stop")["memory"]
            process.close()
    check_agreement(results)
    return results


def one_round(result: Result, process: Process, steps: int, patience: float) -> None:
    """Time some steps, again and again until nobody else uses the machine; the calmest counts."""
    end = time.perf_counter() + patience
    found: list[tuple[float, float]] = []
    while not found or (min(found)[0] >= CALM and time.perf_counter() < end):
        wait_for_calm(end - time.perf_counter())
        watch = Watch()
        answer = process.ask("round", steps=steps)
        found.append((watch.others(answer["processor"]), answer["seconds"]))
    others, seconds = min(found)
    result.rounds.append(seconds)
    result.disturbed += others >= CALM


def begin(result: Result, workload: Workload, caches: str, patience: float) -> Process | None:
    """Start a worker, twice where a second start finds compiled code; None if it cannot run.

    A library whose file has nothing for this kind of workload is left out without a word.
    """
    process = Process(result.library, workload, caches)
    wait_for_calm(patience)
    answer = process.ask("start")
    if "value" not in answer:
        result.why_not = answer.get("failed") or answer["unsupported"]
        result.agrees = "failed" not in answer
        process.close()
        return None
    result.import_time, result.first_step = answer["import"], answer["first_step"]
    result.value = answer["value"]
    if result.library.caches:
        process.close()
        process = Process(result.library, workload, caches)
        wait_for_calm(patience)
        result.warm_first_step = process.ask("start")["first_step"]
    return process


def steps_in(process: Process, seconds: float) -> int:
    """How many steps take about `seconds`."""
    trial = min(process.ask("round", steps=3)["seconds"] for _ in range(2))
    return max(1, round(seconds / trial))


def check_agreement(results: Sequence[Result]) -> None:
    """Mark every library whose value after the same steps is not the one that most have."""
    values = [r.value for r in results if not math.isnan(r.value)]
    if not values:
        return
    middle = statistics.median_low(values)
    for r in results:
        if not math.isnan(r.value):
            r.agrees = math.isclose(r.value, middle, rel_tol=AGREEMENT)


def fastest_peer(results: Sequence[Result]) -> Result | None:
    """The quickest of the other libraries."""
    peers = [r for r in results if r.library.peer and r.rounds]
    return min(peers, key=lambda r: r.seconds, default=None)
