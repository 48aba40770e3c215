"""How several threads do one program: IR that hands out the parts of kernels and waits for them.

A kernel that is worth it is cut into parts, one for each thread.  A thread claims its own part
first, then any that nobody has claimed: whatever the system does with the other threads, one that
runs never waits for work that has not begun.  Which thread does a part changes nothing in its
result.  Waiting spins for a short while, then sleeps where the system has a futex.

State (int64, a cache line each): [0] parts done so far, [8] threads asleep, [16] number of the
run, [24] parts done before the run; from [32] on, for each part number a row with the number of
the run that last claimed the part of each kernel.
"""

from __future__ import annotations

import functools
import platform
import sys

import numpy as np

from nnad.compiler.native.ir import address_of

SPINS = 5_000  # looks before a waiting thread goes to sleep: about 100 microseconds
LINE = 8
DONE, SLEEPERS, RUN, BEFORE, CLAIMS = 0, 8, 16, 24, 32
FUTEX_NUMBERS = {"x86_64": 202, "aarch64": 98}
X86, ARM = ("x86.sse2.pause", "", ""), ("aarch64.hint", "i32", "i32 1")  # tell the core to rest
PAUSES = {"x86_64": X86, "AMD64": X86, "aarch64": ARM, "arm64": ARM}

_kept: list[np.ndarray] = []


def new_state(kernels: int, threads: int) -> np.ndarray:
    """The state of a module with so many kernels."""
    state = np.zeros(CLAIMS + threads * row_length(kernels) + LINE, np.int64)
    keep(state)
    return state[-address_of(state) % 64 // 8 :]


def keep(*arrays: np.ndarray) -> None:
    """Never free what a late thread may still look at."""
    _kept.extend(arrays)


def row_length(kernels: int) -> int:
    """Distance between the claims of two parts of a kernel: whole cache lines."""
    return -(-kernels // LINE) * LINE


FUNCTIONS = """
define internal i1 @claim(ptr %state, i64 %place, i64 %run) nounwind {
entry:
  %word = getelementptr i64, ptr %state, i64 %place
  %old = load atomic i64, ptr %word monotonic, align 8
  %open = icmp slt i64 %old, %run
  br i1 %open, label %try, label %lost
try:
  %pair = cmpxchg ptr %word, i64 %old, i64 %run acq_rel monotonic
  %won = extractvalue { i64, i1 } %pair, 1
  ret i1 %won
lost:
  ret i1 false
}
define internal void @finish(ptr %state) nounwind {
entry:
  %before = atomicrmw add ptr %state, i64 1 seq_cst
  %sleepers_at = getelementptr i64, ptr %state, i64 SLEEPERS
  %sleepers = load atomic i64, ptr %sleepers_at seq_cst, align 8
  %some = icmp ne i64 %sleepers, 0
  br i1 %some, label %wake, label %out
wake:
  WAKE
  br label %out
out:
  ret void
}
define internal void @await(ptr %state, i64 %target) nounwind {
entry:
  br label %look
look:
  %spins = phi i64 [ 0, %entry ], [ %more, %spin ], [ %more, %awake ]
  %done = load atomic i64, ptr %state acquire, align 8
  %ready = icmp sge i64 %done, %target
  br i1 %ready, label %out, label %wait
wait:
  %more = add i64 %spins, 1
  %long = icmp ugt i64 %more, SPINS
  br i1 %long, label %doze, label %spin
spin:
  PAUSE
  br label %look
doze:
  %sleepers_at = getelementptr i64, ptr %state, i64 SLEEPERS
  %others = atomicrmw add ptr %sleepers_at, i64 1 seq_cst
  %now = load atomic i64, ptr %state seq_cst, align 8
  %early = icmp slt i64 %now, %target
  br i1 %early, label %sleep, label %awake
sleep:
  %low = trunc i64 %now to i32
  SLEEP
  br label %awake
awake:
  %fewer = atomicrmw sub ptr %sleepers_at, i64 1 seq_cst
  br label %look
out:
  ret void
}
"""


@functools.cache
def functions() -> str:
    """IR of `claim`, `finish` and `await` for this system."""
    machine = platform.machine()
    number = FUTEX_NUMBERS.get(machine) if sys.platform == "linux" else None
    if number is not None and sys.byteorder == "little":
        head = "declare i64 @syscall(i64, ...)"
        call = f"call i64 (i64, ...) @syscall(i64 {number}, ptr %state, "
        sleep = f"%slept = {call}i32 128, i32 %low, ptr null, ptr null, i32 0)"
        wake = f"%woken = {call}i32 129, i32 2147483647, ptr null, ptr null, i32 0)"
    else:
        head = "declare i32 @sched_yield()"
        sleep, wake = "%slept = call i32 @sched_yield()", ""
    pause = ""
    if machine in PAUSES:
        name, types, arguments = PAUSES[machine]
        head += f"\ndeclare void @llvm.{name}({types})"
        pause = f"call void @llvm.{name}({arguments})"
    text = head + FUNCTIONS
    values = {"SPINS": SPINS, "SLEEPERS": SLEEPERS, "PAUSE": pause, "SLEEP": sleep, "WAKE": wake}
    for word, value in values.items():
        text = text.replace(f" {word}", f" {value}")
    return text
