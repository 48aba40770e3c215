"""Derivatives against central differences: `check_grads`, for users and for the table's own tests.

For random directions v and cotangents g, and Jv known from central differences,

    forward mode must give    jvp(v) = Jv
    reverse mode must give    Re sum(vjp(g) * v) = Re sum(g * Jv),

first along a direction of each argument alone, then of all together.  Order 2 asks the same of the
first derivatives themselves, as functions of the point and of v or g, so that every mix of modes is
tried.  What is compared must be finite first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from nnad.autodiff.tensor import value_of
from nnad.autodiff.transforms import jvp, vjp
from nnad.autodiff.trees import flatten

__all__ = ["check_grads"]

MODES = ("forward", "reverse")
STEP = 2.0**-15  # of the differences: truncation errors near STEP**4, rounding near 1e-11


def check_grads(
    f: Callable[..., Any],
    *args: Any,
    order: int = 2,
    modes: Sequence[str] = MODES,
    tolerance: float = 1e-6,
    seed: int = 0,
) -> None:
    """Check the derivatives of `f` at `args` against central differences, in float64.

    Args:
        f: takes and returns arrays, or nested containers of arrays.
        args: where to check.  Floating-point and complex leaves are differentiated (in double
            precision), all others are constants.
        order: how often to differentiate.
        modes: any of "forward" and "reverse"; with both, every mix is tried from order 2 on.
        tolerance: the largest difference allowed, relative to values above 1.
        seed: of the random directions.

    Raises:
        AssertionError: naming the mode, the order, the argument, and what differs by how much.
        TypeError: if there is nothing to differentiate.

    >>> check_grads(np.tanh, np.array([0.3, -1.2]))
    >>> from nnad import stop_gradient
    >>> check_grads(lambda x: x * stop_gradient(x), np.array(3.0), modes=["reverse"])
    Traceback (most recent call last):
    AssertionError: reverse mode, the only argument: sum(vjp(g) * v) is ..., expected ... from ...
    """
    unknown = [mode for mode in modes if mode not in MODES]
    if isinstance(modes, str) or unknown:
        raise ValueError(f'check_grads: modes are any of ("forward", "reverse"), got {modes!r}')
    function, leaves = flat_function(f, args)
    xs = [_double(x) for x in leaves]
    checker = _Checker(tuple(modes), tolerance, np.random.default_rng(seed))
    checker.check(function, xs, order, "")


def flat_function(f: Callable[..., Any], args: Any) -> tuple[Callable[..., Any], list[Any]]:
    """`f` as a function of the differentiable leaves of `args`, and those leaves.

    It returns a tuple of the differentiable leaves of f's result; all others are left out.
    """
    leaves, rebuild = flatten(args)
    places = [i for i, x in enumerate(leaves) if _is_inexact(x)]
    if not places:
        raise TypeError(
            f"check_grads: none of the {len(leaves)} argument leaves holds floating-point or "
            "complex numbers; convert one first, for example x.astype(float)"
        )

    def function(*xs: Any) -> tuple[Any, ...]:
        filled = list(leaves)
        for i, x in zip(places, xs, strict=True):
            filled[i] = x
        outputs, _ = flatten(f(*rebuild(filled)))
        return tuple(out for out in outputs if _is_inexact(out))

    return function, [leaves[i] for i in places]


def _is_inexact(x: Any) -> bool:
    return np.asarray(value_of(x)).dtype.kind in "fc"


def _double(x: Any) -> np.ndarray:
    array = np.array(value_of(x))
    return array.astype(np.promote_types(array.dtype, np.float64), copy=False)


def directions(rng: np.random.Generator, models: Sequence[Any]) -> list[np.ndarray]:
    """Random arrays like `models`, no element near zero so that every one of them counts."""

    def real(shape: tuple[int, ...]) -> np.ndarray:
        return np.asarray(rng.choice([-1.0, 1.0], shape) * rng.uniform(0.5, 1.5, shape))

    made = []
    for x in models:
        x = np.asarray(x)
        v = real(x.shape)
        made.append((v + 1j * real(x.shape) if x.dtype.kind == "c" else v).astype(x.dtype))
    return made


def central_difference(
    function: Callable[..., Any], xs: Sequence[Any], vs: Sequence[Any]
) -> list[np.ndarray]:
    """The derivative of `function` at `xs` in direction `vs`, from four evaluations.

    Richardson's extrapolation of central differences with steps h and h/2: (4 D(h/2) - D(h)) / 3.
    """

    def difference(step: float) -> list[np.ndarray]:
        moved = (
            function(*(x + sign * step * v for x, v in zip(xs, vs, strict=True)))
            for sign in (1.0, -1.0)
        )
        return [
            (np.asarray(up) - np.asarray(down)) / (2 * step)
            for up, down in zip(*moved, strict=True)
        ]

    pairs = zip(difference(STEP), difference(STEP / 2), strict=True)
    return [(4 * fine - coarse) / 3 for coarse, fine in pairs]


class _Checker:
    """The checks of `check_grads` with its settings."""

    def __init__(self, modes: Sequence[str], tolerance: float, rng: np.random.Generator) -> None:
        self.modes = modes
        self.tolerance = tolerance
        self.rng = rng

    def check(self, function: Any, xs: list[Any], order: int, trail: str) -> None:
        """Check `function`, the derivative that `trail` tells, and then its own derivatives."""
        self._check_value(function, xs, trail)
        if order < 1:
            return
        everything = tuple(range(len(xs)))
        if not trail:
            for i in everything if len(xs) > 1 else ():
                self._check_first(function, xs, (i,), trail)
        self._check_first(function, xs, everything, trail)
        if order > 1:
            for mode in self.modes:
                derivative, seeds = self._derivative(mode, function, xs)
                self.check(derivative, [*xs, *seeds], order - 1, f"{trail}{mode} then ")

    def _check_value(self, function: Any, xs: list[Any], trail: str) -> None:
        """The value: finite, with a result to differentiate, and the inputs left as they were."""
        before = [x.copy() for x in xs]
        out = function(*xs)
        what = f"the derivative ({trail.removesuffix(' then ')})" if trail else "the value"
        if not out:
            raise TypeError("check_grads: the function returns no floating-point or complex array")
        for i, (x, copy) in enumerate(zip(xs, before, strict=True)):
            if not np.array_equal(x, copy):
                raise AssertionError(f"{what}: computing it changed argument {i} in place")
        for j, y in enumerate(out):
            _require_finite(y, f"{what}, output {j}")

    def _derivative(self, mode: str, function: Any, xs: list[Any]) -> tuple[Any, list[Any]]:
        """The first derivative in `mode` as a function of the point and of its seed."""
        n = len(xs)
        if mode == "forward":
            return lambda *p: jvp(function, p[:n], p[n:])[1], directions(self.rng, xs)
        return (
            lambda *p: vjp(function, *p[:n])[1](tuple(p[n:])),
            directions(self.rng, function(*xs)),
        )

    def _check_first(self, function: Any, xs: list[Any], moved: Any, trail: str) -> None:
        """Both modes against central differences along a direction of the arguments `moved`."""
        vs = [np.zeros_like(x) for x in xs]
        for i, v in zip(moved, directions(self.rng, [xs[i] for i in moved]), strict=True):
            vs[i] = v
        expected = central_difference(function, xs, vs)
        where = f"argument {moved[0]}" if len(moved) == 1 else "all arguments"
        if len(xs) == 1:
            where = "the only argument"
        for mode in self.modes:
            what = f"{trail}{mode} mode, {where}"
            test = self._check_forward if mode == "forward" else self._check_reverse
            test(function, xs, vs, expected, what)

    def _check_forward(self, f: Any, xs: Any, vs: Any, expected: Any, what: str) -> None:
        plain = f(*xs)
        out, tangents = jvp(f, xs, vs)
        for j, (got, want) in enumerate(zip(tangents, expected, strict=True)):
            self._compare(out[j], plain[j], f"{what}: the recorded value of output {j}")
            self._compare(got, want, f"{what}: the tangent of output {j}")

    def _check_reverse(self, f: Any, xs: Any, vs: Any, expected: Any, what: str) -> None:
        out, pullback = vjp(f, *xs)
        gs = directions(self.rng, out)
        cotangents = pullback(tuple(gs))
        for i, (ct, x) in enumerate(zip(cotangents, xs, strict=True)):
            name = f"{what}: the cotangent of argument {i}" if len(xs) > 1 else f"{what}: the VJP"
            if np.shape(ct) != x.shape or ct.dtype != x.dtype:
                raise AssertionError(
                    f"{name} is {ct.dtype}{np.shape(ct)}, expected {x.dtype}{x.shape}"
                )
            _require_finite(ct, name)
        got, want = inner(cotangents, vs), inner(gs, expected)
        self._compare(np.asarray(got), np.asarray(want), f"{what}: sum(vjp(g) * v)")

    def _compare(self, got: Any, want: Any, what: str) -> None:
        got, want = np.asarray(got), np.asarray(want)
        if got.shape != want.shape:
            raise AssertionError(f"{what} has shape {got.shape}, expected {want.shape}")
        _require_finite(want, f"{what}, by central differences,")
        _require_finite(got, what)
        error = np.abs(got - want) / np.maximum(1.0, np.abs(want))
        if error.size and error.max() > self.tolerance:
            at = tuple(int(i) for i in np.unravel_index(error.argmax(), error.shape))
            raise AssertionError(
                f"{what}{f' at {at}' if at else ''} is {got[at]:.9g}, expected {want[at]:.9g} "
                f"from central differences (off by {error[at]:.2g}, tolerance {self.tolerance:g})"
            )


def inner(xs: Sequence[Any], ys: Sequence[Any]) -> float:
    """Re sum(x * y) over all pairs: how cotangents and tangents are contracted."""
    return float(sum(np.sum(np.real(x * y)) for x, y in zip(xs, ys, strict=True)))


def _require_finite(x: Any, what: str) -> None:
    if not np.isfinite(x).all():
        raise AssertionError(f"{what} is not finite: {np.array2string(np.asarray(x), threshold=8)}")
