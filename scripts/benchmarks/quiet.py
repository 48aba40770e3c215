"""Whether other processes use the machine: what is measured meanwhile says little."""

from __future__ import annotations

import os
import time

CALM = 0.05  # share of all cores that others may use during a round


def busy_seconds() -> float | None:
    """Processor time that all processes have used since the start; None where it is not told."""
    try:
        with open("/proc/stat", encoding="ascii") as file:
            ticks = [int(word) for word in file.readline().split()[1:]]
    except (OSError, ValueError):
        return None
    idle = ticks[3] + ticks[4]
    return (sum(ticks[:8]) - idle) / os.sysconf("SC_CLK_TCK")


class Watch:
    """Tells how much of the machine others use from now on."""

    def __init__(self) -> None:
        self.cores = os.cpu_count() or 1
        self.started, self.busy = time.perf_counter(), busy_seconds()

    def others(self, own: float = 0.0) -> float:
        """Their share of all cores, given the processor time that was our own; 0 if unknown."""
        now = busy_seconds()
        if now is None or self.busy is None:
            return 0.0
        elapsed = max(time.perf_counter() - self.started, 1e-9) * self.cores
        return max(0.0, (now - self.busy - own) / elapsed)


def wait_for_calm(seconds: float) -> None:
    """Wait until others are calm for a tenth of a second, but not longer than `seconds`."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        watch = Watch()
        time.sleep(0.1)
        if watch.others() < CALM:
            return
