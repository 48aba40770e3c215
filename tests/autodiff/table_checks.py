"""What an entry of the table must satisfy; test_table.py applies it, test_planted.py tries it."""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import nnad
from nnad.autodiff.batching import Batcher, Stacked, rows_of
from nnad.autodiff.checking import directions, flat_function, inner
from nnad.autodiff.table import IMPLEMENTATIONS, Case, Kink, Primitive
from nnad.autodiff.tensor import Tensor
from nnad.autodiff.transforms import Linearization
from nnad.autodiff.trees import flatten, map_leaves
from nnad.autodiff.walk import forward, reverse

TOLERANCE = 1e-7

# Entries whose derivative is not tried on matrices without elements, though NumPy gives a value.
NOT_DEGENERATE = {"cofactor", "qr", "svd"}


def cases_of(entry: Primitive) -> list[Case]:
    """The samples of an entry, the same in every run."""
    rng = np.random.default_rng(zlib.crc32(entry.name.encode()))
    return list(entry.samples(rng)) if entry.samples else []


def is_float(x: Any) -> bool:
    return isinstance(x, (np.ndarray, np.generic)) and x.dtype.kind in "fc"


def call_of(entry: Primitive, case: Case) -> Callable[..., Any]:
    return lambda *args: entry(*args, **case.kwargs)


def assert_same(got: Any, want: Any, what: str, rtol: float = 1e-12) -> None:
    """Equal structure, shapes, dtypes, and values to rounding."""
    got_leaves, want_leaves = flatten(got)[0], flatten(want)[0]
    assert len(got_leaves) == len(want_leaves), f"{what}: {len(got_leaves)} results"
    for a, b in zip(got_leaves, want_leaves, strict=True):
        a = a.data if isinstance(a, Tensor) else a
        assert np.shape(a) == np.shape(b), f"{what}: shape {np.shape(a)}, expected {np.shape(b)}"
        dtypes = np.asarray(a).dtype, np.asarray(b).dtype
        assert dtypes[0] == dtypes[1], f"{what}: dtype {dtypes[0]}, expected {dtypes[1]}"
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol, err_msg=what)


# Declared ---------------------------------------------------------------------------------------


def check_declared(entry: Primitive) -> None:
    """An entry says what it computes and has samples, or why it has no derivative."""
    if entry.nondifferentiable:
        return
    assert entry.samples is not None, f"{entry.name} has no samples to try it on"
    assert cases_of(entry), f"{entry.name}: samples() returns none"
    assert entry.formula, f"{entry.name} has no formula text"


# Values and derivatives -------------------------------------------------------------------------


def check_value(entry: Primitive, case: Case) -> None:
    """The same value from Tensors as from arrays and from NumPy; the inputs stay as they were."""
    before = map_leaves(np.copy, case.args)
    plain = entry(*case.args, **case.kwargs)
    for leaf in flatten(plain)[0]:
        assert not isinstance(leaf, Tensor), f"{entry.name} of arrays returned a Tensor"
        if is_float(leaf):
            assert np.isfinite(leaf).all(), f"{entry.name}: sample with a value that is not finite"
    tensors = map_leaves(lambda x: Tensor(x, True) if is_float(x) else x, case.args)
    recorded = entry(*tensors, **case.kwargs)
    assert_same(recorded, plain, f"{entry.name} of Tensors", rtol=0)
    check_against_numpy(entry, case, plain)
    for a, b in zip(flatten(case.args)[0], flatten(before)[0], strict=True):
        np.testing.assert_array_equal(a, b, err_msg=f"{entry.name} changed its input")


def check_against_numpy(entry: Primitive, case: Case, plain: Any) -> None:
    """The value that NumPy's function gives, for an entry that stands for one."""
    functions = [f for f, target in IMPLEMENTATIONS.items() if target is entry]
    refused = []
    for function in functions:
        try:
            want = function(*case.args, **case.kwargs)
        except (TypeError, ValueError) as error:  # an alias may take less: np.linalg.outer
            refused.append(error)
        else:
            assert_same(plain, want, function.__name__)
    assert not functions or len(refused) < len(functions), f"{entry.name}: {refused}"


def check_derivatives(entry: Primitive, case: Case) -> None:
    """VJP and JVP against central differences and each other, to second order in every mix."""
    if has_float(case):
        nnad.check_grads(call_of(entry, case), *case.args, tolerance=TOLERANCE)
        check_dot_product(entry, case)
        check_each_alone(entry, case)


def check_each_alone(entry: Primitive, case: Case) -> None:
    """The derivative by one argument, the others being plain arrays."""
    function, xs = flat_function(call_of(entry, case), case.args)
    for i in range(len(xs) if len(xs) > 1 else 0):

        def of_one(x: Any, i: int = i) -> Any:
            return function(*xs[:i], x, *xs[i + 1 :])

        nnad.check_grads(of_one, xs[i], order=1, tolerance=TOLERANCE)


def check_stacked(entry: Primitive, case: Case) -> None:
    """Many cotangents or tangents in one walk give what each gives in a walk of its own."""
    if not has_float(case):
        return
    function, xs = flat_function(call_of(entry, case), case.args)
    lin = Linearization(function, xs, range(len(xs)), "test")
    outs = [x.data if isinstance(x, Tensor) else x for x in lin.outputs]
    walks = (reverse, lin.output_nodes, outs, lin.target_nodes), (
        forward, lin.target_nodes, xs, lin.output_nodes,
    )  # fmt: skip
    rng = np.random.default_rng(2)
    for walk, sources, models, ends in walks:
        rows = [directions(rng, models) for _ in range(3)]
        seeds = [np.stack(column) for column in zip(*rows, strict=True)]
        with Batcher():
            found = lin.walk(walk, list(zip(sources, map(Stacked, seeds), strict=True)))
        alone = [lin.walk(walk, list(zip(sources, row, strict=True))) for row in rows]
        for end in {node for node in ends if node in found}:
            want = np.stack([each[end] for each in alone])
            got = rows_of(found[end], 3)
            assert_same(got, want, f"{entry.name} of stacks, {walk.__name__}")


def has_float(case: Case) -> bool:
    return any(is_float(x) for x in flatten(case.args)[0])


def check_dot_product(entry: Primitive, case: Case) -> None:
    """Forward and reverse mode are transposes: Re sum(g * jvp(v)) = Re sum(vjp(g) * v)."""
    rng = np.random.default_rng(1)
    function, xs = flat_function(call_of(entry, case), case.args)
    vs = directions(rng, xs)
    out, pullback = nnad.vjp(function, *xs)
    gs = directions(rng, out)
    forwards = inner(gs, nnad.jvp(function, xs, vs)[1])
    backwards = inner(pullback(tuple(gs)), vs)
    assert abs(forwards - backwards) <= 1e-10 * max(1.0, abs(forwards)), (
        f"{entry.name}: sum(g * jvp(v)) is {forwards}, sum(vjp(g) * v) is {backwards}"
    )


def check_kink(entry: Primitive, kink: Kink) -> None:
    """The documented derivative is returned, by both modes."""
    xs = [np.asarray(x, dtype=float) for x in kink.args]
    for i, want in enumerate(kink.grads):

        def of_one(x: Any, i: int = i) -> Any:
            return entry(*xs[:i], x, *xs[i + 1 :], **kink.kwargs)

        out, pullback = nnad.vjp(of_one, xs[i])
        g = np.ones_like(out)
        (got,) = pullback(g)
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-15, err_msg=kink.why)
        for v in directions(np.random.default_rng(i), [xs[i]] * 3):
            tangent = nnad.jvp(of_one, (xs[i],), (v,))[1]
            np.testing.assert_allclose(
                inner([g], [tangent]), inner([got], [v]), rtol=1e-12, atol=1e-15, err_msg=kink.why
            )


# Hostile forms ----------------------------------------------------------------------------------


def _every_other(x: np.ndarray) -> np.ndarray:
    return np.repeat(x, 2, axis=-1)[..., ::2] if x.ndim else x


def _read_only(x: np.ndarray) -> np.ndarray:
    x = x.copy()
    x.flags.writeable = False
    return x


LAYOUTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "non-contiguous": _every_other,
    "Fortran order": lambda x: np.array(x, order="F"),
    "negative strides": lambda x: np.flip(np.flip(x).copy()),
    "read-only": _read_only,
}


def everything(entry: Primitive, case: Case) -> tuple[Any, ...]:
    """Value, tangents and cotangents in fixed random directions."""
    rng = np.random.default_rng(2)
    function, xs = flat_function(call_of(entry, case), case.args)
    vs = directions(rng, [np.asarray(x) for x in xs])
    out, pullback = nnad.vjp(function, *xs)
    gs = directions(rng, out)
    return out, nnad.jvp(function, xs, vs)[1], pullback(tuple(gs))


def changed(case: Case, change: Callable[[np.ndarray], Any]) -> Case:
    """`case` with its floating-point arrays changed."""
    args = map_leaves(lambda x: change(x) if is_float(x) else x, case.args)
    return Case(args, case.kwargs)


def check_layouts(entry: Primitive, case: Case) -> None:
    """Value and derivatives do not depend on how the inputs lie in memory."""
    if not has_float(case):
        return
    want = everything(entry, case)
    for layout, change in LAYOUTS.items():
        got = everything(entry, changed(case, change))
        assert_same(got, want, f"{entry.name}, {layout} input")


def check_stride_zero(entry: Primitive, case: Case) -> None:
    """Inputs that are one broadcast element behave as their copies do."""
    if not has_float(case):
        return
    broadcast = changed(case, lambda x: np.broadcast_to(x.flat[0] if x.size else x, x.shape))
    copies = changed(broadcast, np.array)
    with np.errstate(all="ignore"):
        try:
            want = everything(entry, copies)
        except np.linalg.LinAlgError:
            return
        assert_same(everything(entry, broadcast), want, f"{entry.name}, stride-0 input")


def single(x: Any) -> Any:
    """`x` in single precision."""
    return x.astype(np.complex64 if x.dtype.kind == "c" else np.float32)


def check_single_precision(entry: Primitive, case: Case) -> None:
    """float32 in, float32 through the rules and out, wherever NumPy's value is float32."""
    small = changed(case, single)
    out = entry(*small.args, **case.kwargs)
    assert_same(
        entry(*map_leaves(lambda x: Tensor(x) if is_float(x) else x, small.args), **case.kwargs),
        out,
        f"{entry.name} in float32",
        rtol=1e-6,
    )
    if entry.kind == "composite" or any(is_double(y) for y in flatten(out)[0]):
        return
    for what, derivative in raw_derivatives(entry, small):
        assert not is_double(derivative), f"{entry.name}: {what} of float32 is {derivative.dtype}"


def is_double(x: Any) -> bool:
    return is_float(x) and x.dtype in (np.float64, np.complex128)


def raw_derivatives(entry: Primitive, case: Case) -> Iterator[tuple[str, Any]]:
    """What the rules return for arrays, before the engine matches dtypes."""
    args, kwargs = case.args, dict(case.kwargs)
    ans = entry.forward(*args, **kwargs)
    if entry.residuals:
        ans, kwargs["saved"] = ans
    g = map_leaves(np.ones_like, ans)
    if entry.joint_vjp:
        rules = [(i, ct) for i, ct in enumerate(entry.joint_vjp(g, ans, *args, **kwargs))]
    else:
        rules = [
            (i, rule(g, ans, *args, **kwargs))
            for i, (rule, x) in enumerate(zip(entry.vjps, args, strict=False))
            if rule and is_float(x)
        ]
    for i, ct in rules:
        if ct is not None and i < len(args) and is_float(args[i]):
            yield f"VJP {i}", ct
    if entry.jvp:
        tangents = [np.ones_like(x) if is_float(x) else None for x in args]
        for j, v in enumerate(flatten(entry.jvp(tangents, ans, *args, **kwargs))[0]):
            yield f"JVP, output {j},", v


def check_repeated_argument(entry: Primitive, case: Case) -> None:
    """f(x, x) has the sum of the partial derivatives."""
    places = [
        i
        for i, x in enumerate(case.args)
        if is_float(x) and np.shape(x) == np.shape(case.args[0]) and is_float(case.args[0])
    ]
    if len(places) < 2:
        return
    call = call_of(entry, case)
    x = case.args[0]

    def with_copies(*copies: Any) -> Any:
        args = list(case.args)
        for i, value in zip(places, copies, strict=True):
            args[i] = value
        return call(*args)

    with np.errstate(all="ignore"):
        try:
            out, pullback = nnad.vjp(with_copies, *[x] * len(places))
        except np.linalg.LinAlgError:
            return
        gs = map_leaves(lambda y: directions(np.random.default_rng(3), [y])[0], out)
        want = sum(pullback(gs))
        _, pullback = nnad.vjp(lambda y: with_copies(*[y] * len(places)), x)
        assert_same(pullback(gs)[0], want, f"{entry.name}(x, x)")


DEGENERATE: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "size 0, first axis": lambda x: x[:0] if np.ndim(x) else x,
    "size 0, last axis": lambda x: x[..., :0] if np.ndim(x) else x,
    "0-d": lambda x: np.asarray(x.flat[0]),
}


def degenerate_forms(entry: Primitive, case: Case) -> Iterator[tuple[str, Case]]:
    """`case` with arrays of size 0 and 0-d, for the forms that may be valid.

    Metadata of a primitive fits one number of axes, and arguments must fit each other: there only
    size 0 of a single argument is tried.
    """
    flexible = entry.kind in ("elementwise", "composite")
    single = sum(map(is_float, flatten(case.args)[0])) == 1 and "shape" not in case.kwargs
    for what, change in DEGENERATE.items():
        if flexible or (single and what != "0-d"):
            yield what, changed(case, change)


def check_degenerate(entry: Primitive, case: Case) -> None:
    """Where NumPy takes size-0 and 0-d inputs, derivatives of the right shapes exist."""
    if not has_float(case) or entry.name in NOT_DEGENERATE:
        return
    for what, small in degenerate_forms(entry, case):
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "Mean of empty slice" and the like are NumPy's to say
            try:
                outs = flatten(call_of(entry, small)(*small.args))[0]
            except (ValueError, IndexError, TypeError, ZeroDivisionError, np.linalg.LinAlgError):
                continue
            if not all(is_float(y) for y in outs):
                continue
            try:
                _, _, cotangents = everything(entry, small)
            except Exception as error:
                raise AssertionError(f"{entry.name}, {what}: {error!r}") from error
        for ct, x in zip(cotangents, flat_function(entry, small.args)[1], strict=True):
            want = np.shape(x)
            assert ct.shape == want, f"{entry.name}, {what}: {ct.shape}, expected {want}"


CHECKS = (
    check_value,
    check_derivatives,
    check_layouts,
    check_stride_zero,
    check_single_precision,
    check_repeated_argument,
    check_degenerate,
)


def check_entry(entry: Primitive) -> None:
    """All of it."""
    check_declared(entry)
    for case in cases_of(entry):
        for check in CHECKS:
            check(entry, case)
    for kink in entry.kinks:
        check_kink(entry, kink)
