"""Rules of fused operations, derived from the same operation written out in small ones.

A fused primitive has a hand-written first derivative that runs on arrays.  What is rarer (a
derivative of that derivative, forward mode) follows here by differentiating its `reference`: the
same function of the same arguments, made of other entries of the table.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from nnad.autodiff.table import Primitive, Rule
from nnad.autodiff.tensor import dtype_of
from nnad.autodiff.transforms import jvp, vjp

__all__ = ["kernel", "reference_jvp", "reference_vjp", "with_reference"]

Function = Callable[..., Any]


def kernel(name: str, forward: Function, outputs: int = 1) -> Primitive:
    """A NumPy function that a program can record as one step, without derivatives of its own.

    For the backward passes of fused operations: the rule that calls it has another way at hand for
    the case that it is differentiated again.
    """
    return Primitive(name, forward, "kernel", outputs=outputs)


def _fix(reference: Function, args: Sequence[Any], which: Sequence[int], kwargs: Any) -> Function:
    """`reference` as a function of `args[i]` for i in `which`, the others held."""

    def partial(*xs: Any) -> Any:
        filled = list(args)
        for i, x in zip(which, xs, strict=True):
            filled[i] = x
        return reference(*filled, **kwargs)

    return partial


def _is_floating(x: Any) -> bool:
    return x is not None and dtype_of(x).kind in "fc"


def reference_vjp(reference: Function) -> Rule:
    """A joint VJP rule `rule(g, ans, *args, saved=None, **kwargs) -> tuple`."""

    def rule(g: Any, ans: Any, *args: Any, saved: Any = None, **kwargs: Any) -> tuple[Any, ...]:
        which = [i for i, x in enumerate(args) if _is_floating(x)]
        _, pullback = vjp(_fix(reference, args, which, kwargs), *(args[i] for i in which))
        cotangents: list[Any] = [None] * len(args)
        for i, ct in zip(which, pullback(g), strict=True):
            cotangents[i] = ct
        return tuple(cotangents)

    return rule


def reference_jvp(reference: Function) -> Rule:
    """A JVP rule `rule(tangents, ans, *args, saved=None, **kwargs)`."""

    def rule(tangents: Any, ans: Any, *args: Any, saved: Any = None, **kwargs: Any) -> Any:
        which = [i for i, v in enumerate(tangents) if v is not None]
        primals = tuple(args[i] for i in which)
        function = _fix(reference, args, which, kwargs)
        return jvp(function, primals, tuple(tangents[i] for i in which))[1]

    return rule


def with_reference(reference: Function, backward: Function) -> Rule:
    """The joint VJP rule that calls `backward(g, ans, *args, saved=..., **kwargs)` on arrays, and
    differentiates `reference` where the derivative is itself differentiated.
    """
    derived = reference_vjp(reference)

    def rule(g: Any, ans: Any, *args: Any, saved: Any = None, **kwargs: Any) -> tuple[Any, ...]:
        if saved is None:
            return derived(g, ans, *args, **kwargs)
        return backward(g, ans, *args, saved=saved, **kwargs)

    return rule
