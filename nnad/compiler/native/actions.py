"""Native forms of actions: optimizer updates and gradient clipping."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from nnad.compiler.native.ir import Place, Unsupported, address_of
from nnad.compiler.native.kernels import require
from nnad.compiler.native.loops import nest
from nnad.compiler.native.module import Module
from nnad.compiler.native.tracing import Emitter, Scalar, Tracer, scalars_in, static_in
from nnad.compiler.program import Instruction, Retrace, Value


def optimizer_update(
    module: Module, instruction: Instruction, collected: set[int]
) -> Callable[[], None]:
    """One loop over each flat vector of parameters.

    Args:
        collected: ids of the leaves whose gradients the program computes; those of others must be
            there, which the program's guards see to.

    Returns:
        What Python does before the program runs: count the step, write down its scalars.
    """
    optimizer: Any = instruction.facts.get("optimizer")
    require(optimizer is not None and not optimizer.per_parameter, "an update of single matrices")
    parts = []
    for number, segments in enumerate(optimizer._segments):
        require(not optimizer.param_groups[number]["maximize"], "maximisation")
        for segment in segments:
            require(all(p.requires_grad for p in segment.params), "a frozen parameter")
            require(segment.whole[0].size > 0, "an update that is left to other processes")
            _require_gradients([p.node for p in segment.params], collected)
            require(_in_step(segment), "steps that differ")
            parts.append(_Update(module, optimizer, number, segment))

    def prepare() -> None:
        for part in parts:
            part.set_scalars()
        for part in parts:
            part.count()

    return prepare


class _Update:
    """The update of one flat vector."""

    def __init__(self, module: Module, optimizer: Any, number: int, segment: Any) -> None:
        self.optimizer, self.number, self.segment = optimizer, number, segment
        scalars = optimizer.scalars(self.group, max(1, segment.steps[0]))
        self.function = optimizer.kernel(self.group)
        self.trace = Tracer(self.function, (*segment.whole, *segment.scratch), scalars)
        self.values = np.zeros(max(1, len(self.trace.dynamic)), np.float64)
        self._emit(module)

    @property
    def group(self) -> Any:
        """The hyper-parameters, as they are now."""
        return self.optimizer.param_groups[self.number]

    def _emit(self, module: Module) -> None:
        arrays = self.segment.whole
        kernel = module.kernel(arrays[0].dtype)
        places = [module.place(a) for a in arrays]
        slot = module.place(self.values)
        kernel.scalar_registers = [  # type: ignore[attr-defined]
            kernel.load(slot, [str(i)]) for i in range(len(self.trace.dynamic))
        ]
        changed = (i for i in self.trace.changed() if i < len(arrays))
        results = {i: self.trace.vectors[i].expression for i in changed}
        require(1 not in results, "an update that changes the gradient")
        found: dict[int, Scalar] = {}
        seen: set[int] = set()
        for expression in results.values():
            scalars_in(expression, found, seen)
        constants = {}
        for key, scalar in found.items():
            register = scalar.emit(kernel)
            if kernel.type == "float":
                register = kernel.emit(f"fptrunc double {register} to float")
            constants[key] = register
        n = arrays[0].size
        with nest(module, kernel, [n], n * 8) as (i,):
            emitter = Emitter(kernel, lambda j: kernel.load(places[j], [i]), constants)
            registers = {j: emitter.value(e) for j, e in results.items()}
            for j, register in registers.items():
                kernel.store(places[j], [i], register)
        module.call(kernel)

    def set_scalars(self) -> None:
        """Write down the scalars of the next update.

        Raises:
            Retrace: they are for another program than this one; nothing has been changed.
        """
        if self.group["maximize"] or not _in_step(self.segment):
            raise Retrace
        scalars = self.optimizer.scalars(self.group, self.segment.steps[0] + 1)
        if static_in(scalars) != self.trace.static:
            raise Retrace
        dynamic = [scalars[i] for i in self.trace.dynamic]
        if not all(guard(dynamic) for guard in self.trace.guards):
            raise Retrace
        if self.optimizer.kernel(self.group) is not self.function:
            raise Retrace
        self.values[: len(dynamic)] = dynamic

    def count(self) -> None:
        """Begin the next update."""
        self.optimizer.sweep(self.group, self.segment)
        self.segment.count()


def _in_step(segment: Any) -> bool:
    """Whether all parameters of a segment have had as many updates."""
    return segment.steps.count(segment.steps[0]) == len(segment.steps)


def _require_gradients(leaves: list[Any], collected: set[int]) -> None:
    """Each leaf has a gradient: the program computes it, or its guards see that it is there."""
    there = (id(leaf) in collected or leaf.grad is leaf.buffer for leaf in leaves)
    require(all(there), "a parameter without gradient")


def clip_norm(module: Module, instruction: Instruction, collected: set[int]) -> None:
    """The norm of all gradients, and their scaling where it is too large."""
    facts = instruction.facts
    require(facts.get("norm_type") == 2.0, "a norm other than 2")
    require(all(p.requires_grad or p.grad is None for p in facts["params"]), "a frozen gradient")
    leaves = [p.node for p in facts["params"] if p.requires_grad]
    require(len(leaves) > 0, "no gradient at all")
    _require_gradients(leaves, collected)
    arrays = joined([leaf.buffer for leaf in leaves])
    require(len({array.dtype for array in arrays}) == 1, "gradients of several dtypes")
    (out,) = instruction.outputs
    partial = np.zeros(8 * max(1, module.threads), np.float64)
    sums, norm = module.place(partial), module.place(out)
    kernel = module.kernel(arrays[0].dtype)
    total = kernel.variable("double", kernel.number(0, "double"))
    places = [module.place(a) for a in arrays]
    for place in places:
        n, chunk = place.size, 4096
        rows = -(-n // chunk)
        start, stop = module.share(kernel, rows, n, 1)
        with kernel.loop(stop, start) as row:
            low = kernel.emit(f"mul nsw i64 {row}, {chunk}")
            end = kernel.emit(f"add nsw i64 {low}, {chunk}")
            over = kernel.emit(f"icmp sgt i64 {end}, {n}")
            high = kernel.emit(f"select i1 {over}, i64 {n}, i64 {end}")
            part = kernel.variable(kernel.type, kernel.number(0))
            kernel.put(kernel.type, part, kernel.number(0))
            with kernel.loop(high, low) as i:
                x = kernel.load(place, [i])
                square = kernel.op("fmul", x, x)
                kernel.put(kernel.type, part, kernel.sum_op(kernel.get(kernel.type, part), square))
            wide = kernel.get(kernel.type, part)
            if kernel.type == "float":
                wide = kernel.emit(f"fpext float {wide} to double")
            before = kernel.get("double", total)
            kernel.put("double", total, kernel.op("fadd", before, wide, type_="double"))
    own = kernel.emit("mul nsw i64 %part, 8")
    kernel.store(sums, [own], kernel.get("double", total))
    module.call(kernel)
    _scale(module, places, sums, norm, float(facts["max_norm"]))


def _scale(module: Module, places: list[Place], sums: Place, norm: Place, limit: float) -> None:
    kernel = module.kernel(places[0].dtype)

    def number(value: float) -> str:
        return kernel.number(value, "double")

    total = number(0)
    for thread in range(max(1, module.threads)):
        part = kernel.load(sums, [str(8 * thread)])
        total = kernel.op("fadd", total, part, type_="double")
    root = kernel.emit(f"call double @llvm.sqrt.f64(double {total})")
    with kernel.only_if(kernel.emit("icmp eq i64 %part, 0")):
        kernel.store(norm, [], root)
    shifted = kernel.op("fadd", root, number(1e-6), type_="double")
    factor = kernel.op("fdiv", number(limit), shifted, type_="double")
    narrow = factor
    if kernel.type == "float":
        narrow = kernel.emit(f"fptrunc double {factor} to float")
    with kernel.only_if(kernel.compare("ult", factor, number(1), "double")):
        for place in places:
            n = place.size
            start, stop = module.share(kernel, n, n)
            with kernel.loop(stop, start) as i:
                kernel.store(place, [i], kernel.op("fmul", kernel.load(place, [i]), narrow))
    module.call(kernel)


def joined(arrays: list[Any]) -> list[np.ndarray]:
    """The arrays as few flat vectors: those that lie end to end become one."""
    require(all(a is not None and a.flags.c_contiguous for a in arrays), "scattered gradients")
    flat: list[np.ndarray] = []
    for array in sorted(arrays, key=address_of):
        before = flat[-1] if flat else None
        if (
            before is not None
            and owner_of(before) is owner_of(array)
            and owner_of(array).ndim == 1
            and address_of(before) + before.nbytes == address_of(array)
        ):
            owner = owner_of(array)
            start = (address_of(before) - address_of(owner)) // owner.itemsize
            flat[-1] = owner[start : start + before.size + array.size]
        else:
            flat.append(array.reshape(-1))
    return flat


def owner_of(array: np.ndarray) -> np.ndarray:
    """The array that owns the memory `array` looks at."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


ACTIONS: dict[str, Callable[[Module, Instruction, set[int]], None]] = {"clip_grad_norm": clip_norm}


def native_action(module: Module, instruction: Instruction, collected: set[int]) -> None:
    """Emit an action that needs nothing of Python.

    Raises:
        Unsupported: there is no native form.
    """
    form = ACTIONS.get(instruction.name)
    if form is None:
        raise Unsupported(f"the action {instruction.name}")
    if any(not isinstance(v, Value) for v in instruction.outputs):
        raise Unsupported("an action with an unplanned result")
    form(module, instruction, collected)
