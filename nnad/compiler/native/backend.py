"""The native back end: machine code for all of a program that it can be, NumPy for the rest."""

from __future__ import annotations

import linecache
from collections.abc import Callable
from typing import Any

import numpy as np

from nnad.compiler.buffers import Plan, plan_buffers
from nnad.compiler.cache import write_source
from nnad.compiler.native import (
    blocks,  # noqa: F401  (blocks, losses and windows register their forms)
    jit,
    losses,  # noqa: F401
    team,
    windows,  # noqa: F401
)
from nnad.compiler.native.actions import native_action, optimizer_update
from nnad.compiler.native.fusion import decompose, fuse
from nnad.compiler.native.inputs import DIRECT_FROM, DirectInput, ranges
from nnad.compiler.native.ir import Unsupported, address_of
from nnad.compiler.native.kernels import NATIVE
from nnad.compiler.native.module import CHECK, Module
from nnad.compiler.native.pool import pool
from nnad.compiler.program import Instruction, Program
from nnad.compiler.source import SourceWriter
from nnad.cores.blas import Blas

SPLIT_PROGRAM_FROM = 4_000_000  # multiply-adds and elements below which one thread does it all


def build_native(
    program: Program, blas: Blas, threads: int
) -> tuple[Callable[..., list[Any]], str, Plan]:
    """The program as a function of its array inputs, its readable text, and its memory."""
    decompose(program)
    fuse(program)
    hoist(program)
    program.check()
    plan = plan_buffers(program, everything=True)
    if threads > 1 and work_of(program) < SPLIT_PROGRAM_FROM:
        threads = 1
    return _Builder(program, plan, blas, threads).build()


def hoist(program: Program) -> None:
    """Draw random numbers first: what depends on nothing need not interrupt the native code."""
    first = [
        i
        for i in program.instructions
        if i.has_effect and i.primitive is not None and not any(True for _ in i.inputs())
    ]
    moved = set(map(id, first))
    program.instructions = first + [i for i in program.instructions if id(i) not in moved]


def work_of(program: Program) -> int:
    """Multiply-adds of the products plus elements of the rest: what decides about threads."""
    total = 0
    for instruction in program.instructions:
        sizes = [int(v.array.size) for v in instruction.outputs]
        if instruction.name == "matmul":
            total += sizes[0] * int(instruction.args[0].shape[-1])
        else:
            total += sum(sizes)
    return total


class _Builder:
    def __init__(self, program: Program, plan: Plan, blas: Blas, threads: int) -> None:
        self.program, self.plan, self.blas, self.threads = program, plan, blas, threads
        self.writer = SourceWriter(program, plan)
        self.lines: list[str] = []
        self.flags: list[str] = []  # lines that say which gradients are there
        self.prepares: list[str] = []
        self.module: Module | None = None
        self.tables: list[tuple[np.ndarray, dict[int, int]]] = []
        self.held: list[np.ndarray] = []
        self.collected = {
            id(i.facts["leaf"])
            for i in program.instructions
            if i.primitive is None and "leaf" in i.facts
        }

    def build(self) -> tuple[Callable[..., list[Any]], str, Plan]:
        for instruction in self.program.instructions:
            self._add(instruction)
        self._flush()
        self._flush_flags()
        text = self._text()
        filename = write_source(self.program.name, text)
        linecache.cache[filename] = (len(text), None, text.splitlines(True), filename)
        exec(compile(text, filename, "exec"), self.writer.namespace)  # noqa: S102
        return self.writer.namespace["step"], text, self.plan

    def _add(self, instruction: Instruction) -> None:
        """Append to the current stretch of native code, or interrupt it."""
        if instruction.is_view and instruction.outputs[0] in self.plan.views:
            return
        if instruction.name == "zero_grad":
            self.flags += self.writer.statement(instruction)
            return
        if instruction in self.plan.in_place:
            self.flags.append(self._mark(instruction))
            return
        module = self.module or Module(self.plan.arrays, self.blas, self.threads)
        before = module.mark()
        try:
            self._emit(module, instruction)
        except Unsupported as reason:
            module.rollback(before)
            self._flush()
            self._flush_flags()
            self.lines += [f"{line}  # {reason}" for line in self.writer.statement(instruction)[:1]]
            self.lines += self.writer.statement(instruction)[1:]
        else:
            self.module = module
            self.lines.append(f"#   {instruction}")

    def _emit(self, module: Module, instruction: Instruction) -> None:
        if instruction.action is not None and "optimizer" in instruction.facts:
            prepare = optimizer_update(module, instruction, self.collected)
            self.prepares.append(f"{self.writer.name('prepare', prepare)}()")
            return
        if instruction.action is not None:
            native_action(module, instruction, self.collected)
            return
        form = NATIVE.get(instruction.name)
        if form is None or (instruction.has_effect and instruction.primitive is not None):
            raise Unsupported(f"{instruction.name} has no native form")
        form(module, instruction)
        if instruction.name in ("assign", "accumulate"):
            self.flags.append(self._mark(instruction))

    def _mark(self, instruction: Instruction) -> str:
        leaf = self.writer.name("leaf", instruction.facts["leaf"])
        return f"{leaf}.grad = {self.writer.reference(instruction.args[0])}"

    def _flush(self) -> None:
        """End the current stretch of native code: compile it, and call it here."""
        module, self.module = self.module, None
        if module is None:
            return
        run = jit.load(module.text(), "run")
        table = module.table()
        address = self.writer.name("table", address_of(table))
        self.writer.keep(module, table)
        self.tables.append((table, module.slots))
        self.held += module.held
        function = self.writer.name("native", run)
        if self.threads > 1:
            job = np.array([jit.entry_point(run), address_of(table), address_of(module.state)])
            team.keep(job, table)
            at = self.writer.name("job", address_of(job))
            helpers = self.writer.name("pool", pool())
            self.lines.append(f"{helpers}.run({function}, {address}, {at}, {self.threads})")
        else:
            self.lines.append(f"{function}({address}, 0)")
        if CHECK in module.calls:
            status = self.writer.name("status", module.status)
            failed = self.writer.name("failed", module.failures)
            self.lines.append(f"if {status}[0]: explain_failure({status}, {failed}, inputs)")
            self.writer.namespace["explain_failure"] = explain_failure

    def _flush_flags(self) -> None:
        self.lines += self.flags
        self.flags = []

    def _text(self) -> str:
        returned = ", ".join(self.writer.returned(x) for x in self.program.outputs)
        self.writer.namespace["blas_on_one_thread"] = self.blas.on_one_thread
        inputs = self._inputs()
        body = ["with blas_on_one_thread:"]
        body += [f"    {line}" for line in (*self.prepares, *inputs, *self.lines)]
        body += [f"return [{returned}]"]
        names = ", ".join(v.name for v in self.program.inputs)
        head = [
            f"# {self.program.name}: {len(self.program.instructions)} operations "
            f"({self.program.captured} captured), {self.threads} thread(s), "
            f"{self.plan.nbytes} bytes of buffers.",
            "# Lines that begin with '#   ' are done by the native call that follows them.",
            f"def step({names}):",
        ]
        return "\n".join([*head, *(f"    {line}" for line in body)]) + "\n"

    def _inputs(self) -> list[str]:
        """Lines that bring the arguments to where the program reads them."""
        read_by_numpy = {v.root for v in self.writer.names}
        planned = [v for v in self.program.inputs if v in self.plan.arrays]
        buffers = [self.plan.arrays[v] for v in planned]
        owned = ranges([*self.plan.blocks, *buffers])
        held = {(address_of(a), a.nbytes): a for a in self.held}
        others = [a for (at, _), a in held.items() if not any(x <= at < y for x, y in owned)]
        lines = []
        for value, buffer in zip(planned, buffers, strict=True):
            where = self.writer.reference(value)
            if buffer.nbytes >= DIRECT_FROM and value not in read_by_numpy:
                read = self.writer.name("read", DirectInput(buffer, self.tables, others))
                lines.append(f"{read}({value.name})")
            else:
                lines.append(f"np.copyto({where}, {value.name})")
        pairs = ", ".join(f"({self.writer.reference(v)}, {v.name})" for v in planned)
        return [*lines, f"inputs = [{pairs}]"]


def explain_failure(
    status: np.ndarray,
    failures: dict[int, Callable[[], None]],
    inputs: list[tuple[np.ndarray, np.ndarray]],
) -> None:
    """Raise the error of the operation that found its input impossible."""
    number = int(status[0])
    status[0] = 0
    for buffer, argument in inputs:
        np.copyto(buffer, argument)
    failures[number]()
