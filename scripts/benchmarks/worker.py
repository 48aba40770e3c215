"""One library running one workload: `python -m benchmarks.worker LIBRARY WORKLOAD`.

It answers each line of JSON on its standard input with one on its standard output:
`{"do": "start"}` builds and takes the first step, `{"do": "round", "steps": n}` times n steps,
`{"do": "stop"}` reports the peak of memory and ends it.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import sys
import time
from typing import Any

from benchmarks.job import LIBRARIES, Job, Unsupported
from benchmarks.workloads import WORKLOADS


def peak_memory(of_children: bool) -> float:
    """The most memory this process, or the largest of those it started, ever held, in MiB."""
    unit = 2**20 if sys.platform == "darwin" else 2**10
    if of_children:
        return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / unit
    try:
        with open("/proc/self/status", encoding="ascii") as status:
            line = next(line for line in status if line.startswith("VmHWM"))
            return int(line.split()[1]) / 1024
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


class Worker:
    """Runs one job as it is told."""

    def __init__(self, library: str, workload: str) -> None:
        self.library = next(entry for entry in LIBRARIES if entry.name == library)
        self.workload = next(entry for entry in WORKLOADS if entry.name == workload)
        self.job: Job | None = None

    def start(self) -> dict[str, Any]:
        """Import the library, build the job, take the first step and some more."""
        started = time.perf_counter()
        try:
            module = importlib.import_module(f"benchmarks.libraries.{self.library.module}")
        except ImportError as error:
            raise Unsupported(f"not installed: {error}") from error
        imported = time.perf_counter()
        build = getattr(module, self.workload.kind, None)
        if build is None:
            return {"unsupported": ""}
        self.job = job = build(self.workload, self.library.variant)
        job.step()
        job.finish()
        first = time.perf_counter()
        for _ in range(self.workload.agreed_steps - 1):
            job.step()
        job.finish()
        return {
            "import": imported - started,
            "first_step": first - imported,
            "value": job.value(),
        }

    def round(self, steps: int) -> dict[str, Any]:
        """Time some steps."""
        assert self.job is not None
        started, processor = time.perf_counter(), time.process_time()
        for _ in range(steps):
            self.job.step()
        self.job.finish()
        elapsed = time.perf_counter() - started
        return {"seconds": elapsed / steps, "processor": time.process_time() - processor}

    def stop(self) -> dict[str, Any]:
        """Report the peak of memory."""
        assert self.job is not None
        return {"memory": peak_memory(self.job.in_processes)}

    def answer(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Do one thing; a library that cannot says why."""
        try:
            return getattr(self, do)(**arguments)
        except Unsupported as error:
            return {"unsupported": str(error)}


def main() -> None:
    """Answer until told to stop; what a library prints goes to standard error."""
    worker = Worker(*sys.argv[1:3])
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)
        for line in sys.stdin:
            print(json.dumps(worker.answer(**json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main()
