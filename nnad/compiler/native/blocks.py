"""Native forms of the parts of transformers: normalisation, attention, embedding rows, softmax."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from nnad.compiler.native.ir import Kernel, Place
from nnad.compiler.native.kernels import contiguous_strides, fail_if, gemm_at, native, require
from nnad.compiler.native.losses import EXP_COST
from nnad.compiler.native.module import Module
from nnad.compiler.native.scalar import FLOAT
from nnad.compiler.native.windows import sum_threads, thread_scratch
from nnad.compiler.program import Instruction, Value


def rows_of(place: Place) -> Place:
    """A contiguous array as a matrix of its last axis."""
    require(place.strides == contiguous_strides(place.shape), "rows that are not contiguous")
    width = place.shape[-1]
    return place.viewed([place.size // max(1, width), width], [width, 1])


class Accumulator:
    """A running total in a register."""

    def __init__(self, kernel: Kernel, start: float = 0.0) -> None:
        self.kernel = kernel
        self.variable = kernel.variable(kernel.type, kernel.number(start))
        kernel.put(kernel.type, self.variable, kernel.number(start))

    def add(self, x: str) -> None:
        """total += x."""
        total = self.kernel.sum_op(self.value, x)
        self.kernel.put(self.kernel.type, self.variable, total)

    def larger(self, x: str) -> None:
        """total = max(total, x)."""
        total = FLOAT["maximum"](self.kernel, x, self.value)
        self.kernel.put(self.kernel.type, self.variable, total)

    @property
    def value(self) -> str:
        """The total so far."""
        return self.kernel.get(self.kernel.type, self.variable)


# Layer norm -----------------------------------------------------------------------------------


@native("layer_norm")
def layer_norm(module: Module, instruction: Instruction) -> None:
    """Each row to mean 0 and variance 1, times weight plus bias."""
    x, weight, bias = instruction.args
    y, normal, rstd = instruction.outputs
    source, target = rows_of(module.place(x)), rows_of(module.place(y))
    normal_at, rstd_at = rows_of(module.place(normal)), module.place(rstd)
    w, b = module.place(weight), module.place(bias)
    n, width = source.shape
    k = module.kernel(y.dtype)
    start, stop = module.share(k, n, n * width * 4, 1)
    with k.loop(stop, start) as i:
        total = Accumulator(k)
        with k.loop(width) as j:
            total.add(k.load(source, [i, j]))
        mean = k.op("fmul", total.value, k.number(1 / width))
        squares = Accumulator(k)
        with k.loop(width) as j:
            centred = k.op("fsub", k.load(source, [i, j]), mean)
            squares.add(k.op("fmul", centred, centred))
        variance = k.op("fmul", squares.value, k.number(1 / width))
        root = FLOAT["sqrt"](k, k.op("fadd", variance, k.number(instruction.kwargs["eps"])))
        scale = k.op("fdiv", k.number(1), root)
        k.store(rstd_at, [i, "0"], scale)
        with k.loop(width) as j:
            unit = k.op("fmul", k.op("fsub", k.load(source, [i, j]), mean), scale)
            k.store(normal_at, [i, j], unit)
            scaled = k.op("fmul", unit, k.load(w, [j]))
            k.store(target, [i, j], k.op("fadd", scaled, k.load(b, [j])))
    module.call(k)


@native("layer_norm_gradient")
def layer_norm_gradient(module: Module, instruction: Instruction) -> None:
    """(dx, dweight, dbias); see `nnad.ops.normalize`."""
    g, weight, normal, rstd = instruction.args
    dx, dweight, dbias = instruction.outputs
    slope, target = rows_of(module.place(g)), rows_of(module.place(dx))
    unit, rstd_at, w = rows_of(module.place(normal)), module.place(rstd), module.place(weight)
    n, width = target.shape
    k = module.kernel(dx.dtype)
    sums = [thread_scratch(module, width, dx.dtype) for _ in range(2)]
    with k.loop(width) as j:
        for part in sums:
            k.store(part, [j], k.number(0))
    start, stop = module.share(k, n, n * width * 6, 1)
    with k.loop(stop, start) as i:
        plain, along = Accumulator(k), Accumulator(k)
        with k.loop(width) as j:
            gj, uj = k.load(slope, [i, j]), k.load(unit, [i, j])
            product = k.op("fmul", gj, uj)
            k.store(sums[0], [j], k.op("fadd", k.load(sums[0], [j]), product))
            k.store(sums[1], [j], k.op("fadd", k.load(sums[1], [j]), gj))
            wj = k.load(w, [j])
            plain.add(k.op("fmul", gj, wj))
            along.add(k.op("fmul", product, wj))
        mean = k.op("fmul", plain.value, k.number(1 / width))
        tilt = k.op("fmul", along.value, k.number(1 / width))
        scale = k.load(rstd_at, [i, "0"])
        with k.loop(width) as j:
            h = k.op("fmul", k.load(slope, [i, j]), k.load(w, [j]))
            h = k.op("fsub", k.op("fsub", h, mean), k.op("fmul", k.load(unit, [i, j]), tilt))
            k.store(target, [i, j], k.op("fmul", h, scale))
    module.call(k)
    for part, out in zip(sums, (dweight, dbias), strict=True):
        sum_threads(module, part, module.place(out), width)


# Softmax --------------------------------------------------------------------------------------


def peak_of(k: Kernel, row: Place, index: Sequence[str], n: int | str) -> str:
    """The largest of `row[*index, :n]`."""
    top = Accumulator(k, -np.inf)
    with k.loop(n) as j:
        top.larger(k.load(row, [*index, j]))
    return top.value


def exponentials(
    k: Kernel, row: Place, target: Place, index: Sequence[str], n: int | str, peak: str
) -> str:
    """target = exp(row - peak) for the first `n`; returns their sum."""
    total = Accumulator(k)
    with k.loop(n) as j:
        e = FLOAT["exp"](k, k.op("fsub", k.load(row, [*index, j]), peak))
        k.store(target, [*index, j], e)
        total.add(e)
    return total.value


def softmax_row(k: Kernel, row: Place, index: Sequence[str], n: int | str) -> str:
    """exp(x - max) of `row[*index, :n]` in place; returns 1 / sum."""
    total = exponentials(k, row, row, index, n, peak_of(k, row, index, n))
    return k.op("fdiv", k.number(1), total)


@native("softmax", "log_softmax")
def softmax(module: Module, instruction: Instruction) -> None:
    """exp(x - max) / sum over the last axis, or its logarithm x - max - log(sum)."""
    (x,), (y,) = instruction.args, instruction.outputs
    require(isinstance(x, Value) and x.dtype == y.dtype, "a softmax of other numbers")
    require(instruction.kwargs.get("axis", -1) in (-1, len(y.shape) - 1), "an inner axis")
    require(len(y.shape) > 0 and y.array.size > 0, "no rows")
    source, target = rows_of(module.place(x)), rows_of(module.place(y))
    n, width = source.shape
    k = module.kernel(y.dtype)
    start, stop = module.share(k, n, n * width * EXP_COST, 1)
    with k.loop(stop, start) as i:
        peak = peak_of(k, source, [i], width)
        total = exponentials(k, source, target, [i], width, peak)
        if instruction.name == "softmax":
            factor = k.op("fdiv", k.number(1), total)
            with k.loop(width) as j:
                k.store(target, [i, j], k.op("fmul", k.load(target, [i, j]), factor))
        else:
            shift = FLOAT["log"](k, total)
            with k.loop(width) as j:
                below = k.op("fsub", k.load(source, [i, j]), peak)
                k.store(target, [i, j], k.op("fsub", below, shift))
    module.call(k)


# Attention ------------------------------------------------------------------------------------


class _Heads:
    """Views (batch, head, time, head size) of packed queries, keys, values and outputs."""

    def __init__(self, instruction: Instruction, packed: Value) -> None:
        options = instruction.kwargs
        self.heads = options["heads"]
        require(options["kv_heads"] == self.heads, "grouped queries")
        self.batch, self.time, width = packed.shape
        self.features = width // 3
        self.size = self.features // self.heads
        self.scale = 1 / math.sqrt(self.size)

    def part(self, place: Place, which: int, of: int) -> Place:
        """Part `which` of `of` parts of the features, split into heads."""
        require(place.strides == contiguous_strides(place.shape), "packed heads out of order")
        width = self.features * of
        return place.viewed(
            [self.batch, self.heads, self.time, self.size],
            [self.time * width, self.size, width, 1],
            which * self.features,
        )

    def squares(self, place: Place) -> Place:
        """Attention probabilities as (batch, head, query, key)."""
        require(place.strides == contiguous_strides(place.shape), "probabilities out of order")
        shape = [self.batch, self.heads, self.time, self.time]
        return place.viewed(shape, contiguous_strides(shape))

    def pairs(self, module: Module, k: Kernel) -> tuple[str, str]:
        """The share of all (batch, head) pairs that a thread does."""
        n = self.batch * self.heads
        return module.share(k, n, n * self.time * self.time * EXP_COST, 1)


@native("self_attention")
def self_attention(module: Module, instruction: Instruction) -> None:
    """softmax(scale Q K.T) V for each head of each sequence."""
    packed, mask, drop = instruction.args
    require(mask is None and drop is None, "attention with a mask or dropout")
    y, p = instruction.outputs
    heads = _Heads(instruction, packed)
    whole = module.place(packed)
    q, key, value = (heads.part(whole, which, 3) for which in range(3))
    out, scores = heads.part(module.place(y), 0, 1), heads.squares(module.place(p))
    causal = instruction.kwargs.get("causal", False)
    k = module.kernel(y.dtype)
    start, stop = heads.pairs(module, k)
    with k.loop(stop, start) as pair:
        at = [k.emit(f"sdiv i64 {pair}, {heads.heads}"), k.emit(f"srem i64 {pair}, {heads.heads}")]
        gemm_at(module, k, q, key.swapped(), scores, at, alpha=heads.scale)
        with k.loop(heads.time) as t:
            row = [*at, t]
            seen = k.emit(f"add nsw i64 {t}, 1") if causal else str(heads.time)
            factor = softmax_row(k, scores, row, seen)
            with k.loop(seen) as j:
                k.store(scores, [*row, j], k.op("fmul", k.load(scores, [*row, j]), factor))
            if causal:
                with k.loop(heads.time, seen) as j:
                    k.store(scores, [*row, j], k.number(0))
        gemm_at(module, k, scores, value, out, at)
    module.call(k)


@native("self_attention_gradient")
def self_attention_gradient(module: Module, instruction: Instruction) -> None:
    """Gradients of packed queries, keys and values; see `nnad.ops.attention`."""
    g, y, packed, drop, p = instruction.args
    require(drop is None, "attention with dropout")
    (out,) = instruction.outputs
    heads = _Heads(instruction, packed)
    whole, target = module.place(packed), module.place(out)
    q, key, value = (heads.part(whole, which, 3) for which in range(3))
    dq, dk, dv = (heads.part(target, which, 3) for which in range(3))
    slope, result = heads.part(module.place(g), 0, 1), heads.part(module.place(y), 0, 1)
    probability = heads.squares(module.place(p))
    n = heads.time
    k = module.kernel(out.dtype)
    flat = thread_scratch(module, n * n, out.dtype)
    ds = flat.viewed([1, 1, n, n], [0, 0, n, 1])
    start, stop = heads.pairs(module, k)
    with k.loop(stop, start) as pair:
        at = [k.emit(f"sdiv i64 {pair}, {heads.heads}"), k.emit(f"srem i64 {pair}, {heads.heads}")]
        gemm_at(module, k, probability.swapped(), slope, dv, at)
        gemm_at(module, k, slope, value.swapped(), ds, at)
        with k.loop(n) as t:
            along = Accumulator(k)
            with k.loop(heads.size) as j:
                along.add(k.op("fmul", k.load(slope, [*at, t, j]), k.load(result, [*at, t, j])))
            shift = along.value
            with k.loop(n) as j:
                gap = k.op("fsub", k.load(ds, ["0", "0", t, j]), shift)
                gap = k.op("fmul", gap, k.number(heads.scale))
                product = k.op("fmul", gap, k.load(probability, [*at, t, j]))
                k.store(ds, ["0", "0", t, j], product)
        gemm_at(module, k, ds, key, dq, at)
        gemm_at(module, k, ds.swapped(), q, dk, at)
    module.call(k)


# Rows of tables -------------------------------------------------------------------------------


@native("take_rows")
def take_rows(module: Module, instruction: Instruction) -> None:
    """table[indices]."""
    table, indices = instruction.args
    (out,) = instruction.outputs
    source, numbers, target = _table_places(module, table, indices, out)
    size, width = source.shape
    k = module.kernel(out.dtype)
    start, stop = module.share(k, numbers.size, numbers.size * width, 1)
    with k.loop(stop, start) as i:
        number = k.load(numbers, [i])
        bad = k.emit(f"icmp uge i64 {number}, {size}")
        fail_if(module, k, bad, instruction)
        own = k.emit(f"select i1 {bad}, i64 0, i64 {number}")
        with k.loop(width) as j:
            k.store(target, [i, j], k.load(source, [own, j]))
    module.call(k)
    module.check_status()


def _table_places(
    module: Module, table: Value, indices: Value, rows: Value
) -> tuple[Place, Place, Place]:
    require(isinstance(indices, Value) and indices.dtype == np.int64, "indices of int64")
    whole, numbers, place = (module.place(v) for v in (table, indices, rows))
    for each in (whole, numbers, place):
        require(each.strides == contiguous_strides(each.shape), "rows that are not contiguous")
    width = whole.size // whole.shape[0]
    require(numbers.size > 0 and width > 0, "no rows")
    return (
        whole.viewed([whole.shape[0], width], [width, 1]),
        numbers.viewed([numbers.size], [1]),
        place.viewed([numbers.size, width], [width, 1]),
    )


@native("add_rows")
def add_rows(module: Module, instruction: Instruction) -> None:
    """Zeros with rows added at their numbers, in order; the threads share the columns."""
    rows, indices = instruction.args
    (out,) = instruction.outputs
    target, numbers, source = _table_places(module, out, indices, rows)
    size, width = target.shape
    k = module.kernel(out.dtype)
    start, stop = module.share(k, width, numbers.size * width)
    with k.loop(size) as i, k.loop(stop, start) as j:
        k.store(target, [i, j], k.number(0))
    with k.loop(numbers.size) as i:
        own = k.load(numbers, [i])
        with k.loop(stop, start) as j:
            total = k.op("fadd", k.load(target, [own, j]), k.load(source, [i, j]))
            k.store(target, [own, j], total)
    module.call(k)
