"""Results as Markdown."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Sequence
from importlib import metadata

from benchmarks.harness import Result, fastest_peer
from benchmarks.workloads import Workload

PACKAGES = (
    "numpy",
    "llvmlite",
    "torch",
    "jax",
    "optax",
    "scikit-learn",
    "autograd",
    "mygrad",
)


def duration(seconds: float) -> str:
    """A time with three digits and its unit."""
    if math.isnan(seconds):
        return ""
    units = {"s": 1.0, "ms": 1e-3, "µs": 1e-6}
    unit, scale = next((u for u in units.items() if seconds >= u[1]), ("µs", 1e-6))
    return f"{float(f'{seconds / scale:.3g}'):g} {unit}"


def workload_table(workload: Workload, results: Sequence[Result]) -> str:
    """One workload: a row per library, fastest first, then why others are missing."""
    done = sorted((r for r in results if r.rounds), key=lambda r: r.seconds)
    peer = fastest_peer(results)
    limit = next((r for r in done if r.library.name == "numpy"), None)
    measured = "operation" if workload.operations > 1 else "time"
    lines = [
        f"### {workload.title}",
        "",
        f"| library | {measured} | spread | to fastest peer | to NumPy alone "
        "| import | first step | warm cache | peak memory |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for r in done:
        cells = [
            r.library.title,
            duration(r.seconds / workload.operations),
            f"{r.spread:.0%}",
            ratio(r, peer),
            ratio(r, limit),
            duration(r.import_time),
            duration(r.first_step),
            duration(r.warm_first_step),
            f"{r.memory:.0f} MiB",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    lines.append("")
    for r in results:
        if r.why_not:
            lines.append(f"- {r.library.title}: {r.why_not}")
        elif not r.agrees:
            lines.append(f"- **{r.library.title} computes something else: {r.value!r}**")
    disturbed = [f"{r.library.title} {r.disturbed} of {len(r.rounds)}" for r in done if r.disturbed]
    if disturbed:
        lines.append(f"- rounds in which other processes used the machine: {', '.join(disturbed)}")
    return "\n".join(lines).rstrip() + "\n"


def ratio(result: Result, other: Result | None) -> str:
    """How many times the other's time."""
    return f"{result.ratio(other):.2f}" if other is not None else ""


def machine() -> str:
    """Processor, cores, system and versions, in one paragraph."""
    versions = [f"Python {platform.python_version()}"]
    for package in PACKAGES:
        try:
            versions.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            continue
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{processor()}, {cores} cores, {platform.system()}; {', '.join(versions)}."


def processor() -> str:
    """The processor's name."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(x.split(":")[1].strip() for x in file if x.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
