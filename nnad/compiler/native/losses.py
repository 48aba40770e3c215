"""Native forms of the fused losses."""

from __future__ import annotations

import numpy as np

from nnad.compiler.native.ir import Kernel, Place
from nnad.compiler.native.kernels import contiguous_strides, fail_if, native, require
from nnad.compiler.native.module import Module
from nnad.compiler.native.scalar import FLOAT
from nnad.compiler.program import Instruction, Value

EXP_COST = 8


def largest(kernel: Kernel, row: Place, i: str, n: int) -> str:
    """The largest of `row[i, :n]`."""
    best = kernel.variable(kernel.type, kernel.number(-np.inf))
    kernel.put(kernel.type, best, kernel.number(-np.inf))
    with kernel.loop(n) as j:
        x = kernel.load(row, [i, j])
        kernel.put(kernel.type, best, FLOAT["maximum"](kernel, x, kernel.get(kernel.type, best)))
    return kernel.get(kernel.type, best)


@native("class_cross_entropy")
def cross_entropy(module: Module, instruction: Instruction) -> None:
    """Softmax cross entropy of class numbers, without weights: a pass over each row."""
    logits, target, weight, sample_weight = instruction.args
    options = instruction.kwargs
    plain = weight is None and sample_weight is None and not options.get("label_smoothing")
    require(plain and options.get("ignore_index") is None, "a weighted cross entropy")
    require(options.get("reduction", "mean") != "none", "separate losses")
    require(isinstance(target, Value) and target.dtype == np.int64, "class numbers of int64")
    loss, e, total, places = instruction.outputs
    n, classes = e.shape
    require(n > 0, "an empty batch")
    x = _rows(module.place(logits), n, classes)
    t = _rows(module.place(target), n)
    e_at, total_at, places_at = (module.place(v) for v in (e, total, places))
    losses = module.place(np.zeros(n, loss.dtype))
    kernel = module.kernel(loss.dtype)
    start, stop = module.share(kernel, n, n * classes * EXP_COST, 1)
    with kernel.loop(stop, start) as i:
        number = kernel.load(t, [i])
        bad = kernel.emit(f"icmp uge i64 {number}, {classes}")
        fail_if(module, kernel, bad, instruction)
        own = kernel.emit(f"select i1 {bad}, i64 0, i64 {number}")
        top = largest(kernel, x, i, classes)
        sums = kernel.variable(kernel.type, kernel.number(0))
        kernel.put(kernel.type, sums, kernel.number(0))
        with kernel.loop(classes) as j:
            value = FLOAT["exp"](kernel, kernel.op("fsub", kernel.load(x, [i, j]), top))
            kernel.store(e_at, [i, j], value)
            kernel.put(kernel.type, sums, kernel.sum_op(kernel.get(kernel.type, sums), value))
        whole = kernel.get(kernel.type, sums)
        kernel.store(total_at, [i], whole)
        first = kernel.emit(f"mul nsw i64 {i}, {classes}")
        kernel.store(places_at, [i], kernel.emit(f"add nsw i64 {first}, {own}"))
        gap = kernel.op("fsub", kernel.load(x, [i, own]), top)
        kernel.store(losses, [i], kernel.op("fsub", FLOAT["log"](kernel, whole), gap))
    module.call(kernel)
    module.check_status()
    scale = 1.0 / n if options.get("reduction", "mean") == "mean" else 1.0
    _sum_up(module, losses, module.place(loss), scale)


def _rows(place: Place, *shape: int) -> Place:
    """A contiguous array seen with fewer axes."""
    step = 1
    for n, s in zip(reversed(place.shape), reversed(place.strides), strict=True):
        require(s == step or n == 1, "rows that are not contiguous")
        step *= n
    return place.viewed(shape, contiguous_strides(shape))


def _sum_up(module: Module, losses: Place, out: Place, scale: float) -> None:
    kernel = module.kernel(out.dtype)
    with kernel.only_if(kernel.emit("icmp eq i64 %part, 0")):
        total = kernel.variable(kernel.type, kernel.number(0))
        with kernel.loop(losses.size) as i:
            x = kernel.load(losses, [i])
            kernel.put(kernel.type, total, kernel.sum_op(kernel.get(kernel.type, total), x))
        result = kernel.op("fmul", kernel.get(kernel.type, total), kernel.number(scale))
        kernel.store(out, ["0"] * out.ndim, result)
    module.call(kernel)


@native("cross_entropy_gradient")
def cross_entropy_gradient(module: Module, instruction: Instruction) -> None:
    """g * hard * (e / total - onehot)."""
    g, e, total, places, hard, soft, weight = instruction.args
    require(soft is None and weight is None, "a smoothed cross entropy")
    require(isinstance(hard, float), "weights of rows")
    (out,) = instruction.outputs
    n, classes = out.shape
    slope, e_at, total_at = module.place(g), module.place(e), module.place(total)
    require(slope.size == 1 and slope.type == module.place(out).type, "a cotangent for each row")
    kernel = module.kernel(out.dtype)
    target, places_at = module.place(out), module.place(places)
    start, stop = module.share(kernel, n, n * classes, 1)
    own = kernel.op("fmul", kernel.load(slope, ["0"] * slope.ndim), kernel.number(hard))
    with kernel.loop(stop, start) as i:
        factor = kernel.op("fdiv", own, kernel.load(total_at, [i]))
        with kernel.loop(classes) as j:
            kernel.store(target, [i, j], kernel.op("fmul", kernel.load(e_at, [i, j]), factor))
        flat = kernel.load(places_at, [i])
        j = kernel.emit(f"srem i64 {flat}, {classes}")
        kernel.store(target, [i, j], kernel.op("fsub", kernel.load(target, [i, j]), own))
    module.call(kernel)
