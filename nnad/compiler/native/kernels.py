"""Native forms of instructions: one function each, found by the instruction's name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np

from nnad.compiler.native.fusion import FUSED
from nnad.compiler.native.ir import Kernel, Place, Unsupported
from nnad.compiler.native.loops import merged, nest
from nnad.compiler.native.module import PRODUCT_SPLIT_FROM, Module
from nnad.compiler.native.scalar import FLOAT, Scalars
from nnad.compiler.program import Instruction, Value

COSTLY = (
    "exp",
    "log",
    "tanh",
    "erf",
    "sigmoid",
    "expit",
    "gelu",
    "gelu_slope",
    "normal_cdf",
    "silu",
)
NATIVE: dict[str, Callable[[Module, Instruction], None]] = {}


def native(*names: str) -> Callable[[Any], Any]:
    """Decorator: this function emits the kernels of the instructions called `names`."""

    def register(function: Any) -> Any:
        for name in names:
            NATIVE[name] = function
        return function

    return register


def require(condition: bool, why: str) -> None:
    """Raise Unsupported unless `condition` holds."""
    if not condition:
        raise Unsupported(why)


# Elementwise ----------------------------------------------------------------------------------


@native(FUSED)
def fused_loop(module: Module, instruction: Instruction) -> None:
    """One loop that does all operations of a group."""
    body = instruction.facts["body"]
    shape = body[0].outputs[0].shape
    inputs = list(instruction.inputs())
    places = {v: module.place(v) for v in (*inputs, *instruction.outputs)}
    steps: Any = [places[v].broadcast(shape) for v in places]
    sizes: Any = shape
    by_columns = len(shape) == 2 and any(v in module.by_columns for v in inputs)
    if by_columns:
        module.by_columns.update(instruction.outputs)
    else:
        sizes, steps = merged(shape, steps)
    strides = dict(zip(places, steps, strict=True))
    dtype = next(v.dtype for v in places if v.dtype.kind == "f")
    kernel = module.kernel(dtype)
    cost = sum(8 if i.name in COSTLY else 1 for i in body)
    with nest(module, kernel, sizes, int(np.prod(sizes)) * cost, by_columns) as index:

        def seen(value: Value) -> Place:
            return places[value].viewed(sizes, strides[value])

        scalars = Scalars(kernel, lambda value: kernel.load(seen(value), index))
        scalars.run(body)
        for value in instruction.outputs:
            register = scalars.known[value]
            if value.dtype == np.bool_:
                register = kernel.emit(f"zext i1 {register} to i8")
            kernel.store(seen(value), index, register)
    module.call(kernel)


def copy_loop(module: Module, target: Place, source: Place, add: bool = False) -> None:
    """target[...] = source, or += source."""
    sizes, (into, out_of) = merged(target.shape, [target.strides, source.broadcast(target.shape)])
    require(target.type == source.type and target.type in ("float", "double"), "copy of non-floats")
    kernel = module.kernel(target.dtype)
    with nest(module, kernel, sizes, int(np.prod(sizes))) as index:
        value = kernel.load(source.viewed(sizes, out_of), index)
        place = target.viewed(sizes, into)
        if add:
            value = kernel.op("fadd", kernel.load(place, index), value)
        kernel.store(place, index, value)
    module.call(kernel)


@native("assign", "accumulate")
def collect(module: Module, instruction: Instruction) -> None:
    """Store or add a gradient."""
    target, value = instruction.args
    require(isinstance(value, Value), "a constant gradient")
    copy_loop(module, module.place(target), module.place(value), instruction.name == "accumulate")


@native("reshape", "getitem", "transpose", "broadcast_to")
def copied_view(module: Module, instruction: Instruction) -> None:
    """A reshape that no view can express: copy in the source's shape into contiguous memory."""
    require(instruction.name == "reshape", "not a reshape")
    require(instruction.kwargs.get("order", "C") == "C", "a reshape in Fortran order")
    source, target = module.place(instruction.args[0]), module.place(instruction.outputs[0])
    strides = contiguous_strides(target.shape)
    require(target.strides == strides, "a target that is not contiguous")
    copy_loop(module, target.viewed(source.shape, contiguous_strides(source.shape)), source)


def contiguous_strides(shape: Sequence[int]) -> tuple[int, ...]:
    """Strides, in elements, of an array in C order."""
    strides, step = [], 1
    for n in reversed(shape):
        strides.append(step)
        step *= n
    return tuple(reversed(strides))


# Reductions -----------------------------------------------------------------------------------


@native("sum", "mean", "max", "min")
def reduction(module: Module, instruction: Instruction) -> None:
    """Reduce over axes: row by row where they are the innermost, else column by column."""
    (value,), (out,) = instruction.args, instruction.outputs
    require(value.dtype == out.dtype and value.dtype.kind == "f", "a reduction of non-floats")
    source, target = module.place(value), module.place(out)
    axes = _axes(instruction.kwargs.get("axis"), source.ndim)
    kept = [a for a in range(source.ndim) if a not in axes]
    shape = [source.shape[a] for a in kept]
    inner = [source.shape[a] for a in axes]
    result_strides = _kept_strides(target, kept, source.ndim)
    outer_sizes, (into, out_of) = merged(shape, [result_strides, [source.strides[a] for a in kept]])
    inner_sizes, (steps,) = merged(inner, [[source.strides[a] for a in axes]])
    name = instruction.name
    scale = 1.0 / max(1, int(np.prod(inner))) if name == "mean" else None
    require(value.array.size > 0, "an empty reduction")
    nested = _Reduction(module, module.kernel(value.dtype), source, target, name, scale)
    if out_of[-1] == 1 and steps[-1] != 1 and outer_sizes[-1] > 1:
        nested.by_columns(outer_sizes, into, out_of, inner_sizes, steps)
    else:
        nested.by_rows(outer_sizes, into, out_of, inner_sizes, steps)
    module.call(nested.kernel)


def _axes(axis: Any, ndim: int) -> list[int]:
    if axis is None:
        return list(range(ndim))
    return sorted(a % ndim for a in (axis if isinstance(axis, (tuple, list)) else (axis,)))


def _kept_strides(target: Place, kept: Sequence[int], ndim: int) -> list[int]:
    """Strides of the output along the axes that remain, with or without keepdims."""
    if target.ndim == ndim:
        return [target.strides[a] for a in kept]
    return list(target.strides)


class _Reduction:
    def __init__(
        self,
        module: Module,
        kernel: Kernel,
        source: Place,
        target: Place,
        name: str,
        scale: float | None,
    ) -> None:
        self.module, self.kernel = module, kernel
        self.source, self.target = source, target
        self.name, self.scale = name, scale

    def combine(self, a: str, b: str) -> str:
        if self.name in ("sum", "mean"):
            return self.kernel.sum_op(a, b)
        return FLOAT["maximum" if self.name == "max" else "minimum"](self.kernel, a, b)

    def initial(self) -> str:
        return self.kernel.number({"max": -np.inf, "min": np.inf}.get(self.name, 0.0))

    def finish(self, value: str) -> str:
        if self.scale is None:
            return value
        return self.kernel.op("fmul", value, self.kernel.number(self.scale))

    def by_rows(
        self, outer: list[int], into: list[int], out_of: list[int], inner: list[int], steps: Any
    ) -> None:
        """An accumulator in a register for each output element."""
        k = self.kernel
        work = int(np.prod(outer)) * int(np.prod(inner))
        with nest(self.module, k, outer, work) as index:
            total = k.variable(k.type, self.initial())
            with nested_loops(k, inner) as within:
                place = self.source.viewed([*outer, *inner], [*out_of, *steps])
                element = k.load(place, [*index, *within])
                k.put(k.type, total, self.combine(k.get(k.type, total), element))
            result = self.finish(k.get(k.type, total))
            k.store(self.target.viewed(outer, into), index, result)

    def by_columns(
        self, outer: list[int], into: list[int], out_of: list[int], inner: list[int], steps: Any
    ) -> None:
        """Add row after row to the outputs; the threads share the columns."""
        k = self.kernel
        *lead, columns = outer
        work = int(np.prod(outer)) * int(np.prod(inner))
        target = self.target.viewed(outer, into)
        start, stop = self.module.share(k, columns, work)
        with nested_loops(k, lead) as index:
            with k.loop(stop, start) as j:
                k.store(target, [*index, j], self.initial())
            with nested_loops(k, inner) as within, k.loop(stop, start) as j:
                place = self.source.viewed([*outer, *inner], [*out_of, *steps])
                element = k.load(place, [*index, j, *within])
                before = k.load(target, [*index, j])
                k.store(target, [*index, j], self.combine(before, element))
            if self.scale is not None:
                with k.loop(stop, start) as j:
                    k.store(target, [*index, j], self.finish(k.load(target, [*index, j])))


@contextmanager
def nested_loops(kernel: Kernel, sizes: Sequence[int]) -> Iterator[list[str]]:
    """Loops that are not shared; the context yields the list of indices."""
    with ExitStack() as stack:
        yield [stack.enter_context(kernel.loop(n)) for n in sizes]


# Matrix products ------------------------------------------------------------------------------


@native("matmul")
def product(module: Module, instruction: Instruction) -> None:
    """x @ y through BLAS: the threads share the rows, or the matrices of a batch."""
    x, y = (module.place(a) for a in instruction.args)
    out = module.place(instruction.outputs[0])
    if x.ndim == 1 and y.ndim == 2:
        x, out = (
            x.viewed([1, *x.shape], [x.size, *x.strides]),
            out.viewed([1, out.size], [out.size, 1]),
        )
    elif y.ndim == 1 and x.ndim == 2:
        y = y.viewed([*y.shape, 1], [*y.strides, 1])
        out = out.viewed([*out.shape, 1], [*out.strides, 1])
    require(x.ndim >= 2 and y.ndim >= 2, "a product with a vector")
    require(x.type == y.type == out.type and out.type in ("float", "double"), "dtypes of a product")
    if y.ndim == 2 and x.ndim > 2:
        x, out = _as_matrix(x), _as_matrix(out)
    if x.ndim == 2 and columns_are_shared(x.shape[0], y.shape[-1]):
        module.by_columns.add(instruction.outputs[0])
    matrix_product(module, x, y, out)


def columns_are_shared(m: int, n: int) -> bool:
    """Whether the threads share the columns of an (m, n) product, not its rows.

    Then what follows element by element is shared alike: each thread finds its part in its cache.
    """
    return m < n


def _as_matrix(x: Place) -> Place:
    """A stack of rows as one matrix."""
    sizes, (steps,) = merged(x.shape[:-1], [x.strides[:-1]])
    require(len(sizes) == 1, "a stack of rows that are not evenly spaced")
    step = steps[0] if sizes != [1] else x.shape[-1]
    return x.viewed([sizes[0], x.shape[-1]], [step, x.strides[-1]])


def matrix_product(module: Module, x: Place, y: Place, out: Place, add: bool = False) -> None:
    """out = x @ y, or out += x @ y, for matrices or stacks of them."""
    m, inner = x.shape[-2:]
    n = y.shape[-1]
    require(min(m, n, inner) > 0, "an empty product")
    stack = out.shape[:-2]
    kernel = module.kernel(out.dtype)
    work = int(np.prod(stack)) * m * n * inner
    split = module.threads > 1 and work >= PRODUCT_SPLIT_FROM
    sizes, steps = merged(stack, [p.broadcast((*stack, 0, 0))[:-2] for p in (x, y, out)])
    if sizes != [1]:
        large = work if split else 0
        start, stop = module.share(kernel, sizes[0], large, 1)
        with kernel.loop(stop, start) as i, nested_loops(kernel, sizes[1:]) as rest:
            bases = [
                _base(kernel, p, s, [i, *rest]) for p, s in zip((x, y, out), steps, strict=True)
            ]
            _gemm(module, kernel, (x, y, out), bases, str(m), str(n), add)
    elif not split:
        with kernel.only_if(kernel.emit("icmp eq i64 %part, 0")):
            bases = [kernel.address(p, ["0"] * p.ndim) for p in (x, y, out)]
            _gemm(module, kernel, (x, y, out), bases, str(m), str(n), add)
    else:
        _shared_gemm(module, kernel, x, y, out, add)
    module.call(kernel)


def _base(kernel: Kernel, place: Place, steps: Sequence[int], index: Sequence[str]) -> str:
    """Pointer to one matrix of a stack."""
    return kernel.address(place.viewed([0] * len(steps), steps), index)


def _shared_gemm(module: Module, kernel: Kernel, x: Place, y: Place, out: Place, add: bool) -> None:
    """One product, its rows or columns shared among the threads."""
    m, n = x.shape[-2], y.shape[-1]
    rows = not columns_are_shared(m, n)
    start, stop = kernel.share(m if rows else n, module.threads, 16)
    count = kernel.emit(f"sub nsw i64 {stop}, {start}")
    zero = ["0"] * (x.ndim - 2)
    if rows:
        bases = [
            kernel.address(x, [*zero, start, "0"]),
            kernel.address(y, ["0"] * y.ndim),
            kernel.address(out, ["0"] * (out.ndim - 2) + [start, "0"]),
        ]
        size = (count, str(n))
    else:
        bases = [
            kernel.address(x, ["0"] * x.ndim),
            kernel.address(y, ["0"] * (y.ndim - 1) + [start]),
            kernel.address(out, ["0"] * (out.ndim - 1) + [start]),
        ]
        size = (str(m), count)
    with kernel.only_if(kernel.emit(f"icmp sgt i64 {count}, 0")):
        _gemm(module, kernel, (x, y, out), bases, *size, add)


def call_gemm(
    module: Module, kernel: Kernel, x: Place, y: Place, out: Place, add: bool = False
) -> None:
    """out = x @ y, or out += x @ y, of whole matrices, by the calling thread alone."""
    bases = [kernel.address(p, ["0", "0"]) for p in (x, y, out)]
    _gemm(module, kernel, (x, y, out), bases, str(x.shape[0]), str(y.shape[1]), add)


def gemm_at(
    module: Module,
    kernel: Kernel,
    x: Place,
    y: Place,
    out: Place,
    at: Sequence[str],
    alpha: float = 1.0,
) -> None:
    """out[at] = alpha * x[at] @ y[at], one product of a stack, by the calling thread alone."""
    bases = [kernel.address(p, [*at, "0", "0"]) for p in (x, y, out)]
    m, n = str(x.shape[-2]), str(y.shape[-1])
    _gemm(module, kernel, (x, y, out), bases, m, n, False, alpha)


def _gemm(
    module: Module,
    kernel: Kernel,
    places: tuple[Place, Place, Place],
    bases: Sequence[str],
    m: str,
    n: str,
    add: bool,
    alpha: float = 1.0,
) -> None:
    """Call cblas: C = A B, row-major, with A or B transposed where its strides say so."""
    x, y, out = places
    kind = kernel.type
    function = kernel.address(module.place(module.functions[kind]), ["0"])
    gemm = kernel.emit(f"load ptr, ptr {function}")
    row, column = out.strides[-2:]
    require(column == 1 or out.shape[-1] == 1, "a product into columns")
    ta, lda = _leading(x)
    tb, ldb = _leading(y)
    ldc = max(row, out.shape[-1], 1)
    one, beta = kernel.number(alpha), kernel.number(1 if add else 0)
    kernel.do(
        f"call void {gemm}(i32 101, i32 {ta}, i32 {tb}, i64 {m}, i64 {n}, i64 {x.shape[-1]}, "
        f"{kind} {one}, ptr {bases[0]}, i64 {lda}, ptr {bases[1]}, i64 {ldb}, "
        f"{kind} {beta}, ptr {bases[2]}, i64 {ldc})"
    )


def _leading(place: Place) -> tuple[int, int]:
    """(cblas transposition, leading dimension) of a matrix."""
    (rows, columns), (row, column) = place.shape[-2:], place.strides[-2:]
    if (column == 1 or columns == 1) and (row >= columns or rows == 1):
        return 111, max(row, columns, 1)
    if (row == 1 or rows == 1) and (column >= rows or columns == 1):
        return 112, max(column, rows, 1)
    raise Unsupported("a matrix with both strides larger than one")


# Failures -------------------------------------------------------------------------------------


def fail_if(module: Module, kernel: Kernel, condition: str, instruction: Instruction) -> None:
    """Say that an instruction's input is impossible; `module.check_status()` must follow.

    The operation itself, run by NumPy on the same arrays, then raises its own error.
    """
    primitive, arrays = instruction.primitive, module.arrays

    def explain() -> None:
        args = [arrays[a] if isinstance(a, Value) else a for a in instruction.args]
        primitive.forward(*args, **instruction.kwargs)  # type: ignore[union-attr]

    number = len(module.failures) + 1
    module.failures[number] = explain
    with kernel.only_if(condition):
        kernel.store(module.place(module.status), ["0"], str(number))
