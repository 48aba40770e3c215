"""Time nnad beside other libraries: `python scripts/benchmark.py [--help]`.

Each library runs in a process of its own and they take turns, round after round, so that a busy
machine is busy for all of them. Times are medians over the rounds; a ratio is the median of the
ratios within a round. After ten steps from the same parameters on the same data all must have the
same loss. Peers that are not installed are left out. To install them:

    .venv/bin/pip install -e '.[bench,fast]'
    .venv/bin/pip install torch --index-url https://download.pytorch.org/whl/cpu
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from benchmarks import estimators, harness, parallel, tables
from benchmarks.job import LIBRARIES
from benchmarks.workloads import WORKLOADS

HEAD = """# Benchmarks

Made by `python scripts/benchmark.py --write docs/benchmarks.md`; the script says what is measured
and how. "NumPy alone" is the matrix products of a step without anything around them, or a function
without its gradient. "First step" is everything from the end of the import to the end of the first
step, compilation included; "warm cache" the same in a second process. Peak memory is that of the
whole process.

"""


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    sections = sorted({estimators.SECTION, parallel.SECTION, *(w.section for w in WORKLOADS)})
    names = [w.name for w in WORKLOADS]
    parser.add_argument(
        "workloads", nargs="*", metavar="WORKLOAD", choices=[*sections, *names, []],
        help=f"sections ({', '.join(sections)}) or workloads ({', '.join(names)}); all if left out",
    )  # fmt: skip
    parser.add_argument("--libraries", nargs="+", choices=[x.name for x in LIBRARIES])
    parser.add_argument("--rounds", type=int, default=9, help="turns each library gets")
    parser.add_argument("--seconds", type=float, default=0.3, help="length of a turn")
    parser.add_argument(
        "--patience", type=float, default=3.0, metavar="SECONDS",
        help="how long to wait before a turn for other processes to leave the machine alone",
    )  # fmt: skip
    parser.add_argument("--cores", type=int, help="use only so many cores")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the tables there too")
    options = parser.parse_args()
    if options.rounds < 2:
        parser.error("--rounds must be at least 2")
    if options.cores and not hasattr(os, "sched_setaffinity"):
        parser.error("--cores needs a system that can bind a process to cores (Linux)")
    return options


def main() -> int:
    """Measure what was asked for; 1 if a library failed or computed something else."""
    options = arguments()
    if options.cores:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.cores])
    wanted, chosen = set(options.workloads), options.libraries
    libraries = [x for x in LIBRARIES if not chosen or x.name in chosen]
    pages, agree = [tables.machine() + "\n"], True
    print(pages[0], flush=True)
    for workload in WORKLOADS:
        if wanted and not wanted & {workload.name, workload.section}:
            continue
        results = harness.measure(
            workload, libraries, options.rounds, options.seconds, options.patience
        )
        agree = agree and all(r.agrees for r in results)
        pages.append(tables.workload_table(workload, results))
        print(pages[-1], flush=True)
    more: dict[str, Callable[[], Iterator[str]]] = {
        estimators.SECTION: estimators.table,
        parallel.SECTION: partial(parallel.table, options.rounds, options.patience),
    }
    for section, table in more.items():
        if not wanted or section in wanted:
            pages.append("\n".join(table()) + "\n")
            print(pages[-1], flush=True)
    if options.write:
        options.write.parent.mkdir(parents=True, exist_ok=True)
        options.write.write_text(HEAD + "\n".join(pages), encoding="utf-8")
    return 0 if agree else 1


if __name__ == "__main__":
    sys.exit(main())
