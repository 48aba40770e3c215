"""A module of native code: the kernels of a stretch of a program and the function that runs them.

`run(table, thread)` calls the kernels in order; where there are several threads, every one goes
through all of it and does the parts it gets hold of (see `team`).  `table` holds the addresses of
the memory blocks, so that the code does not depend on where they lie and can be kept on disk.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nnad.compiler.native import team
from nnad.compiler.native.ir import Kernel, Place, Unsupported, type_of
from nnad.compiler.native.scalar import functions
from nnad.compiler.program import Value
from nnad.cores.blas import Blas

GRAIN = 16  # elements: shares of a loop begin at multiples of a cache line
SPLIT_FROM = 16_384  # elements times cost below which a loop is left to one thread
PRODUCT_SPLIT_FROM = 500_000  # multiply-adds below which a product is left to one thread
CHECK = "check"  # a call that leaves `run` if a kernel failed


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
        self.by_columns: set[Value] = set()  # matrices of which each thread made some columns
        self.state = np.zeros(0, np.int64)  # of the threads
        self.status = np.zeros(16, np.int64)
        self.same_as: dict[str, str] = {}  # kernel -> the equal one that stands for it
        self.loads = 0  # of addresses from the table
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
        """This part's share of an outermost loop: all of it where splitting costs more.

        Args:
            n: length of the loop.
            work: elements, times what each costs, of the whole kernel.
            grain: the loop is cut at multiples of it.
        """
        if self.threads == 1:
            return "0", str(n)
        if work < SPLIT_FROM or (n < 2 * grain and grain > 1):
            first = kernel.emit("icmp eq i64 %part, 0")
            return "0", kernel.emit(f"select i1 {first}, i64 {n}, i64 0")
        return kernel.share(n, self.threads, grain)

    def call(self, kernel: Kernel) -> None:
        """Run `kernel` next, when all before it is done."""
        self.calls.append(kernel.name)

    def check_status(self) -> None:
        """Leave `run` here if a kernel found its input impossible."""
        self.calls.append(CHECK)

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
        groups = self._groups()
        if self.threads > 1:
            self.state = team.new_state(len(groups), self.threads)
            run = self._shared_run(groups)
        else:
            run = self._single_run()
        return "\n".join([functions(), kernels, *run])

    def _groups(self) -> list[list[str]]:
        """Calls that need no waiting between them: a kernel in parts, or several without."""
        whole = {k.name for k in self.kernels if not k.in_parts} | {CHECK}
        groups: list[list[str]] = []
        for call in self.calls:
            if groups and call in whole and groups[-1][-1] in whole:
                groups[-1].append(call)
            else:
                groups.append([call])
        return groups

    def _single_run(self) -> list[str]:
        """`run` for one thread."""
        body = self._body(self.calls, "0")
        return ["define void @run(ptr %table, i64 %thread) nounwind {", *body, "  ret void", "}"]

    def _body(self, calls: Sequence[str], part: str) -> list[str]:
        """Calls one after the other; a check jumps to the end if something failed."""
        lines: list[str] = []
        for number, call in enumerate(calls):
            if call == CHECK:
                lines += self._unless_failed(f"go{number}", "end")
            else:
                kernel = next(k for k in self.kernels if k.name == call)
                starts = [self._pointer(lines, self._slot(a)) for a in kernel.addresses]
                args = "".join(f", ptr {at}" for at in starts)
                lines.append(f"  call void @{self.same_as[call]}(i64 {part}{args})")
        return [*lines, "  br label %end", "end:"]

    def _pointer(self, lines: list[str], slot: int) -> str:
        """Load an address from the table."""
        self.loads += 1
        lines.append(f"  %at{self.loads} = getelementptr ptr, ptr %table, i64 {slot}")
        lines.append(f"  %b{self.loads} = load ptr, ptr %at{self.loads}")
        return f"%b{self.loads}"

    def _unless_failed(self, go: str, end: str) -> list[str]:
        lines: list[str] = []
        at = self._pointer(lines, self._slot(self.place(self.status).start))
        return [
            *lines,
            f"  %{go}.status = load i64, ptr {at}",
            f"  %{go}.bad = icmp ne i64 %{go}.status, 0",
            f"  br i1 %{go}.bad, label %{end}, label %{go}",
            f"{go}:",
        ]

    def _shared_run(self, groups: list[list[str]]) -> list[str]:
        """`run` for several threads: group after group, each when the one before is done."""
        by_name = {kernel.name: kernel for kernel in self.kernels}
        functions = [team.functions()]
        lines = ["define void @run(ptr %table, i64 %thread) nounwind {"]
        state = self._pointer(lines, self._slot(self.place(self.state).start))
        for name, offset in (("run", team.RUN), ("before", team.BEFORE)):
            lines.append(f"  %{name}_at = getelementptr i64, ptr {state}, i64 {offset}")
            lines.append(f"  %{name} = load atomic i64, ptr %{name}_at acquire, align 8")
        total, checked = 0, False
        for number, group in enumerate(groups):
            shared = group[0] in by_name and by_name[group[0]].in_parts
            parts = self.threads if shared else 1
            functions.append(self._group(number, group, parts, len(groups), checked))
            checked = checked or CHECK in group
            total += parts
            lines += [
                f"  call void @group{number}(ptr %table, i64 %thread, ptr {state}, i64 %run)",
                f"  %target{number} = add i64 %before, {total}",
                f"  call void @await(ptr {state}, i64 %target{number})",
            ]
        return [*functions, *lines, "  ret void", "}"]

    def _group(self, number: int, calls: list[str], parts: int, groups: int, checked: bool) -> str:
        """A function that does the parts of a group that are still free, its own first.

        After a failure the parts are claimed all the same, so that the counts stay right.
        """
        body = self._unless_failed("sound", "end") if checked else []
        body += self._body(calls, "%part")
        head = f"@group{number}(ptr %table, i64 %thread, ptr %state, i64 %run)"
        return "\n".join([
            f"define internal void {head} nounwind {{",
            "entry:",
            "  br label %next",
            "next:",
            "  %turn = phi i64 [ 0, %entry ], [ %following, %after ]",
            f"  %over = icmp eq i64 %turn, {parts}",
            "  br i1 %over, label %out, label %look",
            "look:",
            "  %sum = add i64 %thread, %turn",
            f"  %part = urem i64 %sum, {parts}",
            f"  %row = mul i64 %part, {team.row_length(groups)}",
            f"  %place = add i64 %row, {team.CLAIMS + number}",
            "  %mine = call i1 @claim(ptr %state, i64 %place, i64 %run)",
            "  br i1 %mine, label %do, label %after",
            "do:",
            *body,
            "  call void @finish(ptr %state)",
            "  br label %after",
            "after:",
            "  %following = add i64 %turn, 1",
            "  br label %next",
            "out:",
            "  ret void",
            "}",
        ])  # fmt: skip
