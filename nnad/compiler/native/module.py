"""A module of native code: the kernels of a stretch of a program and the function that runs them.

`run(table, thread)` calls the kernels in order; every thread runs all of it, each kernel doing its
thread's share, with a barrier after each kernel that was shared.  `table` holds the addresses of
the memory blocks, so that the code does not depend on where they lie and can be kept on disk.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nnad.compiler.native.blas import Blas
from nnad.compiler.native.ir import Kernel, Place, Unsupported, type_of
from nnad.compiler.native.scalar import functions
from nnad.compiler.program import Value

GRAIN = 16  # elements: shares of a loop begin at multiples of a cache line
SPLIT_FROM = 16_384  # elements times cost below which a loop is left to one thread
PRODUCT_SPLIT_FROM = 500_000  # multiply-adds below which a product is left to one thread

BARRIER = """
declare i32 @sched_yield()
define internal void @barrier(ptr %state, i64 %threads) nounwind {
entry:
  %phase_at = getelementptr i64, ptr %state, i64 8
  %phase = load atomic i64, ptr %phase_at acquire, align 8
  %before = atomicrmw add ptr %state, i64 1 acq_rel
  %arrived = add i64 %before, 1
  %last = icmp eq i64 %arrived, %threads
  br i1 %last, label %open, label %wait
open:
  store atomic i64 0, ptr %state release, align 8
  %next = add i64 %phase, 1
  store atomic i64 %next, ptr %phase_at release, align 8
  ret void
wait:
  %spins = phi i64 [ 0, %entry ], [ %more, %again ]
  %now = load atomic i64, ptr %phase_at acquire, align 8
  %same = icmp eq i64 %now, %phase
  br i1 %same, label %spin, label %done
spin:
  %more = add i64 %spins, 1
  %long = icmp ugt i64 %more, 20000
  br i1 %long, label %yield, label %again
yield:
  %ignored = call i32 @sched_yield()
  br label %again
again:
  br label %wait
done:
  ret void
}
"""


class Module:
    """Gathers kernels; knows where every value lies.

    Args:
        arrays: the array of each value.
        blas: addresses of the matrix products.
        threads: how many threads run the module.
    """

    def __init__(self, arrays: dict[Value, np.ndarray], blas: Blas, threads: int) -> None:
        self.arrays = arrays
        self.blas = blas
        self.threads = threads
        self.kernels: list[Kernel] = []
        self.calls: list[str] = []
        self.held: list[np.ndarray] = []  # arrays that are used by address
        self.slots: dict[int, int] = {}  # address -> its place in the table
        self.barrier_state = np.zeros(32, np.int64)
        self.status = np.zeros(16, np.int64)
        self.same_as: dict[str, str] = {}  # kernel -> the equal one that stands for it
        self.failures: dict[int, Any] = {}  # number of a failure -> what raises its error
        self.functions = {
            "float": np.array([blas.sgemm], np.int64),
            "double": np.array([blas.dgemm], np.int64),
        }

    # Memory -----------------------------------------------------------------------------------

    def place(self, item: Value | np.ndarray) -> Place:
        """Where a value, or an array of the compiler's own, lies."""
        array = self.arrays[item] if isinstance(item, Value) else item
        if not isinstance(array, np.ndarray):
            raise Unsupported("a value that is no array")
        self.held.append(array)
        return Place(array)

    def table(self) -> np.ndarray:
        """The addresses that the kernels work on, in the order that `run` expects."""
        return np.array(list(self.slots), np.int64)

    def _slot(self, address: int) -> int:
        return self.slots.setdefault(address, len(self.slots))

    # Kernels ----------------------------------------------------------------------------------

    def kernel(self, dtype: Any) -> Kernel:
        """A new kernel whose numbers are of `dtype`."""
        kernel = Kernel(f"kernel{len(self.kernels)}", type_of(dtype))
        self.kernels.append(kernel)
        return kernel

    def mark(self) -> tuple[int, int]:
        """Where the module stands, for `rollback`."""
        return len(self.kernels), len(self.calls)

    def rollback(self, mark: tuple[int, int]) -> None:
        """Forget kernels begun since `mark`: their instruction has no native form."""
        del self.kernels[mark[0] :]
        del self.calls[mark[1] :]

    def share(self, kernel: Kernel, n: int, work: int, grain: int = GRAIN) -> tuple[str, str]:
        """The part of an outermost loop that a thread does: all of it where splitting costs more.

        Args:
            n: length of the loop.
            work: elements, times what each costs, of the whole kernel.
            grain: the loop is cut at multiples of it.
        """
        if self.threads == 1:
            return "0", str(n)
        if work < SPLIT_FROM or (n < 2 * grain and grain > 1):
            first = kernel.emit("icmp eq i64 %thread, 0")
            return "0", kernel.emit(f"select i1 {first}, i64 {n}, i64 0")
        return kernel.share(n, self.threads, grain)

    def call(self, kernel: Kernel) -> None:
        """Run `kernel` next, then wait for all threads."""
        self.calls.append(kernel.name)
        self.calls.append("barrier")

    def check_status(self) -> None:
        """Leave `run` here if a kernel found its input impossible."""
        self.calls.append("check")

    # Text -------------------------------------------------------------------------------------

    def text(self) -> str:
        """The whole module's IR."""
        bodies: dict[
            str, str
        ] = {}  # equal kernels, as in layers of the same size, are one function
        for kernel in self.kernels:
            body = kernel.text().replace(f"@{kernel.name}(", "@kernel(", 1)
            self.same_as[kernel.name] = bodies.setdefault(body, kernel.name)
        kernels = "\n".join(k.text() for k in self.kernels if self.same_as[k.name] == k.name)
        return "\n".join([functions(), BARRIER if self.threads > 1 else "", kernels, self._run()])

    def _run(self) -> str:
        by_name = {kernel.name: kernel for kernel in self.kernels}
        status = self._slot(self.place(self.status).start)
        barrier = self._slot(self.place(self.barrier_state).start)
        lines = ["define void @run(ptr %table, i64 %thread) nounwind {", "entry:"]
        counter = 0

        def pointer_at(slot: int) -> str:
            nonlocal counter
            counter += 1
            lines.append(f"  %at{counter} = getelementptr ptr, ptr %table, i64 {slot}")
            lines.append(f"  %b{counter} = load ptr, ptr %at{counter}")
            return f"%b{counter}"

        for number, call in enumerate(self.calls):
            if call == "barrier":
                if self.threads > 1:
                    at = pointer_at(barrier)
                    lines.append(f"  call void @barrier(ptr {at}, i64 {self.threads})")
            elif call == "check":
                lines += [
                    f"  %s{number} = load i64, ptr {pointer_at(status)}",
                    f"  %bad{number} = icmp ne i64 %s{number}, 0",
                    f"  br i1 %bad{number}, label %stop, label %go{number}",
                    f"go{number}:",
                ]
            else:
                starts = [pointer_at(self._slot(a)) for a in by_name[call].addresses]
                args = "".join(f", ptr {at}" for at in starts)
                lines.append(f"  call void @{self.same_as[call]}(i64 %thread{args})")
        return "\n".join([*lines, "  br label %stop", "stop:", "  ret void", "}"])
