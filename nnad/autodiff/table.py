"""The table of primitives: one entry an operation, with everything that is known about it.

An entry holds the NumPy forward, the VJP, the JVP, sample inputs to try it on, and the texts of its
formulas.  Operators, NumPy dispatch, the tape, forward mode, the compiler, the tests and the
reference page all read `TABLE`; nothing about an operation stands anywhere else.

Say once what kind of derivative an operation has and both modes follow:

- `elementwise(ufunc, d0, d1, ...)`: a derivative per argument; VJP g * d, JVP v * d.
- `linear(name, forward, transpose)`: the JVP is the map itself, so only the transpose is given.
- `multilinear(name, forward, vjp0, vjp1, ...)`: linear in each argument (products).
- `explicit(name, forward, vjps, jvps)`: rules in full.
- `composite(name, function)`: written in terms of other entries.
- `effect(name, forward)`: draws random numbers or changes state.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial, wraps
from sys import getrefcount
from typing import Any

import numpy as np

from nnad.autodiff.tensor import Leaf, Tensor, apply, apply_binary, apply_unary, state, value_of
from nnad.errors import MissingRuleError

Rule = Callable[..., Any]
LOCAL = (lambda x: getrefcount(x))(object())  # what an array counts that one local variable holds
STARRED = inspect.CO_VARARGS | inspect.CO_VARKEYWORDS


@dataclass(frozen=True)
class Case:
    """One sample call: arrays and metadata."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Kink:
    """A point without a derivative, and the derivative per argument that is returned there."""

    args: tuple[Any, ...]
    grads: tuple[Any, ...]
    why: str
    kwargs: dict[str, Any] = field(default_factory=dict)


def case(*args: Any, **kwargs: Any) -> Case:
    """A sample call `op(*args, **kwargs)`."""
    return Case(args, kwargs)


def kink(args: Any, grads: Any, why: str, **kwargs: Any) -> Kink:
    """A point where the derivative is a choice: its arguments, the derivatives returned, why."""
    as_tuple = lambda x: x if isinstance(x, tuple) else (x,)  # noqa: E731
    return Kink(as_tuple(args), as_tuple(grads), why, kwargs)


@dataclass(eq=False)
class Primitive:
    """An entry of the table, and the operation itself: call it with arrays or Tensors.

    Arrays are positional, metadata is keyword-only.  Called with plain arrays it runs NumPy and
    records nothing.

    Attributes:
        forward: the NumPy function; returns an array, or a tuple for several outputs.
        vjps: per argument `rule(g, ans, *args, **kwargs)`, its cotangent; None: no derivative.
        joint_vjp: all cotangents at once, where the rules share work.
        jvp: `jvp(tangents, ans, *args, **kwargs)`: the tangent; None in `tangents` is zero.
            None: derived by transposing the VJP.
        differentiable: per argument, whether it has a derivative (empty: all do).
        broadcasts: cotangents are summed over broadcast axes.
        stored: the argument, by its place, whose rule takes a keyword `out`: an array that the
            cotangent is to be written into and that the rule then returns.
        adds: `adds(total, g, *args, **kwargs)` adds the cotangent of the first argument to an array
            in place, at a cost of the result's size, where the cotangent itself is mostly zeros.
        residuals: forward returns (output, saved); rules take a keyword `saved`.
        shaped_by: of the call's arguments, the arrays whose values the result's shape depends on.
        affine: in each argument, so that no rule reads the values of its result.
        masks: it selects, so that its cotangents are 0 where a value was not taken.
        nondifferentiable: why there is no derivative; results are plain arrays.
        formula: the operation in x (or x0, x1, ...) and its metadata, as text.
        partials: per argument the derivative as text, with y for the result; or the cotangent, in
            terms of g, that of the result.
        tangent: the JVP as text, in v (or v0, v1, ...), where it does not follow from `partials`.
    """

    name: str
    forward: Callable[..., Any]
    kind: str
    vjps: Any = ()
    joint_vjp: Rule | None = None
    jvp: Rule | None = None
    differentiable: tuple[bool, ...] = ()
    broadcasts: bool = False
    stored: int | None = None
    adds: Callable[..., None] | None = None
    residuals: bool = False
    outputs: int = 1
    affine: bool = False
    masks: bool = False
    shaped_by: Callable[..., Sequence[Any]] | None = None
    nondifferentiable: str = ""
    has_effect: bool = False
    samples: Callable[[np.random.Generator], Iterable[Case]] | None = None
    kinks: Sequence[Kink] = ()
    formula: str = ""
    partials: Sequence[str] = ()
    tangent: str = ""
    derivatives: Sequence[Any] = ()
    domain: Any = None

    def __post_init__(self) -> None:
        self.__doc__ = f"{self.formula or self.name}\n\n{self.forward.__doc__ or ''}".strip()
        self.__name__ = self.name

    def place_of_gradient(self, node: Any, cotangents: Mapping[Any, Any]) -> Any:
        """Where the rule of `stored` may write: the place of a gradient that nothing is added to.

        Args:
            node: a call of this operation.
            cotangents: what the reverse walk has found so far, by node.
        """
        if self.stored is None or state.capture is not None:
            return None
        leaf = node.parents[self.stored]
        if type(leaf) is not Leaf or leaf.grad is not None or leaf in cotangents:
            return None
        place = leaf.buffer
        return place if place is not None and place.dtype == node.out.dtype else None

    def added_in_place(self, node: Any, g: Any, cotangents: Mapping[Any, Any]) -> bool:
        """Add to a cotangent that the first argument has, if `adds` can and nobody else sees it.

        So a loop over the rows of an array costs one array of zeros, not one for each row.
        """
        if self.adds is None or state.capture is not None:
            return False
        total = cotangents.get(node.parents[0])
        if type(total) is not np.ndarray or total.base is not None or total.dtype != g.dtype:
            return False
        if getrefcount(total) > LOCAL + 1:
            return False
        self.adds(total, g, *node.args, **node.kwargs)
        return True

    def vjps_into(self, out: Any) -> list[Any]:
        """The rules, that of `stored` writing into `out`."""
        return [partial(v, out=out) if i == self.stored else v for i, v in enumerate(self.vjps)]

    def unread(self) -> tuple[bool, bool]:
        """Whether no rule reads the values of its arguments, and none those of its result."""
        numbers = bool(self.derivatives) and not any(map(callable, self.derivatives))
        linear = self.kind == "linear" or (self.kind == "elementwise" and numbers)
        return linear, linear or self.affine or self.kind == "multilinear"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        for x in args:
            if isinstance(x, Tensor):
                return apply(self, args, kwargs)
        if self.has_effect:
            return apply(self, args, kwargs)
        out = self.forward(*args, **kwargs)
        return out[0] if self.residuals else out

    def __repr__(self) -> str:
        return f"<nnad operation {self.name}>"

    def __reduce__(self) -> Any:
        return _lookup, (self.name,)

    def missing_rule(self, mode: str, argument: int = 0) -> MissingRuleError:
        """The error for a derivative that was asked for but never defined."""
        define = "nnad.defvjp" if mode == "VJP" else "nnad.defvjp or nnad.defjvp"
        where = f" for argument {argument}" if self.vjps else ""
        return MissingRuleError(
            f"{self.name} has no {mode}{where}: it was recorded, but no derivative rule is known; "
            f"define one with {define}({self.name}, ...), one rule or None per argument, or use "
            "nnad.stop_gradient on its argument"
        )


class Elementwise(Primitive):
    """An entry without metadata in most calls, of one or two arguments: recorded in short form."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        for x in args:
            if isinstance(x, Tensor):
                break
        else:
            return self.forward(*args, **kwargs)
        if kwargs or len(args) > 2:
            return apply(self, args, kwargs)
        if len(args) == 1:
            return apply_unary(self, x)
        return apply_binary(self, args[0], args[1], self.forward)


class Variadic:
    """The rules of any number of arguments, from one rule that is told which: `vjps[i]`."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule

    def __getitem__(self, i: int) -> Rule:
        return partial(self.rule, i)


class Composite(Primitive):
    """A function made of other entries: calling it runs those, which record themselves."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.forward(*args, **kwargs)


TABLE: dict[str, Primitive] = {}
IMPLEMENTATIONS: dict[Any, Callable[..., Any]] = {}  # NumPy function or ufunc -> what does its work
STACKED: dict[str, Callable[..., Any]] = {}  # name or kind of an entry -> how it acts on stacks
LATE: dict[str, Callable[..., Any]] = {}  # the same by dotted name, of modules not imported here


def _lookup(name: str) -> Primitive:
    return TABLE[name]


def register(entry: Primitive, implements: Any = ()) -> Primitive:
    """Put `entry` into the table, and make NumPy's functions `implements` find it.

    A function of a module that nnad does not import is given by its name: "scipy.special.erf".
    """
    if entry.name in TABLE:
        raise ValueError(f"an operation named {entry.name!r} is in the table already")
    TABLE[entry.name] = entry
    for function in implements if isinstance(implements, (tuple, list)) else (implements,):
        (LATE if isinstance(function, str) else IMPLEMENTATIONS)[function] = entry
    return entry


def implements(*functions: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator: this function does the work of NumPy's `functions` when they meet a Tensor."""

    def link(function: Callable[..., Any]) -> Callable[..., Any]:
        for numpy_function in functions:
            IMPLEMENTATIONS[numpy_function] = function
        return function

    return link


def elementwise(
    forward: Callable[..., Any],
    *derivatives: Any,
    name: str = "",
    implements: Any = None,
    domain: Any = (-2.0, 2.0),
    **options: Any,
) -> Primitive:
    """An operation on each element, with broadcasting.

    Args:
        forward: a ufunc or a function that broadcasts like one.
        derivatives: per argument `d(ans, *args, **kwargs)`, or a number, or None for an argument
            without derivative.
        domain: interval of the automatic samples, or a tuple of intervals, one per argument.
        options: further fields of `Primitive`.
    """
    vjps = [_elementwise_rule(d) for d in derivatives]

    def jvp(tangents: Sequence[Any], ans: Any, *args: Any, **kwargs: Any) -> Any:
        parts = (
            rule(v, ans, *args, **kwargs)
            for rule, v in zip(vjps, tangents, strict=True)
            if rule is not None and v is not None
        )
        return add_up(parts)

    entry = (Primitive if options.get("residuals") else Elementwise)(
        name or forward.__name__,
        forward,
        "elementwise",
        vjps=vjps,
        jvp=jvp,
        broadcasts=True,
        derivatives=derivatives,
        differentiable=tuple(d is not None for d in derivatives),
        domain=domain,
        **options,
    )
    if entry.samples is None:
        entry.samples = _automatic_samples(max(1, len(derivatives)), domain)
    default = forward if isinstance(forward, np.ufunc) else ()
    return register(entry, default if implements is None else implements)


def _elementwise_rule(d: Any) -> Rule | None:
    """The VJP, and by symmetry the JVP, of an elementwise operation with derivative `d`."""
    if d is None:
        return None
    if callable(d):
        code: Any = getattr(d, "__code__", None)
        fixed = code is not None and not (code.co_kwonlyargcount or code.co_flags & STARRED)
        if fixed and code.co_argcount == 2:  # the usual ones, called in half the time
            return lambda g, ans, x: g * d(ans, x)
        if fixed and code.co_argcount == 3:
            return lambda g, ans, x, y: g * d(ans, x, y)
        return lambda g, ans, *args, **kwargs: g * d(ans, *args, **kwargs)
    if d == 1:
        return lambda g, ans, *args, **kwargs: g
    if d == -1:
        return lambda g, ans, *args, **kwargs: -g
    return lambda g, ans, *args, **kwargs: g * d


def linear(
    name: str, forward: Callable[..., Any], transpose: Rule, *, implements: Any = (), **options: Any
) -> Primitive:
    """A linear map of its first argument; `transpose(g, ans, x, **kwargs)` is its VJP."""
    return multilinear(name, forward, transpose, implements=implements, **options)


def multilinear(
    name: str, forward: Callable[..., Any], *vjps: Rule | None, implements: Any = (), **options: Any
) -> Primitive:
    """An operation linear in each argument that has a VJP; the JVP replaces one at a time."""

    def jvp(tangents: Sequence[Any], ans: Any, *args: Any, **kwargs: Any) -> Any:
        parts = (
            entry(*args[:i], v, *args[i + 1 :], **kwargs)
            for i, v in enumerate(tangents)
            if v is not None and vjps[i] is not None
        )
        return add_up(parts)

    options.setdefault("differentiable", tuple(v is not None for v in vjps))
    kind = "linear" if sum(v is not None for v in vjps) == 1 else "multilinear"
    entry = Primitive(name, forward, kind, vjps=vjps, jvp=jvp, **options)
    return register(entry, implements)


def explicit(
    name: str,
    forward: Callable[..., Any],
    *,
    vjps: Any = (),
    jvps: Sequence[Rule | None] = (),
    vjp: Rule | None = None,
    jvp: Rule | None = None,
    variadic: bool = False,
    implements: Any = (),
    **options: Any,
) -> Primitive:
    """An operation with its rules in full.

    Args:
        vjps: per argument `rule(g, ans, *args, **kwargs)`, None for no derivative; with
            `variadic=True` one function `rule(i, g, ans, *args, **kwargs)`.
        jvps: per argument `rule(v, ans, *args, **kwargs)`; their sum is the tangent.
        vjp: instead of vjps, all at once: `vjp(g, ans, *args, **kwargs) -> tuple`.
        jvp: instead of jvps, all at once: `jvp(tangents, ans, *args, **kwargs)`.
    """
    if variadic:
        vjps = Variadic(vjps)
    else:
        options.setdefault("differentiable", tuple(v is not None for v in vjps))
    entry = Primitive(
        name,
        forward,
        "explicit",
        vjps=vjps,
        joint_vjp=vjp,
        jvp=jvp or (sum_of_jvps(jvps) if jvps else None),
        **options,
    )
    return register(entry, implements)


def composite(
    name: str, function: Callable[..., Any], *, implements: Any = (), **options: Any
) -> Callable[..., Any]:
    """A function made of other entries: it stands in the table to be tested and documented."""
    register(Composite(name, function, "composite", **options), implements)
    return function


def effect(name: str, forward: Callable[..., Any], **options: Any) -> Primitive:
    """An operation that draws random numbers or changes an array: no derivative, never skipped."""
    reason = "it draws random numbers or changes state"
    options.setdefault("nondifferentiable", reason)
    return register(Primitive(name, forward, "effect", has_effect=True, **options))


def sum_of_jvps(jvps: Sequence[Rule | None]) -> Rule:
    """One JVP from a rule per argument."""

    def jvp(tangents: Sequence[Any], ans: Any, *args: Any, **kwargs: Any) -> Any:
        parts = (
            rule(v, ans, *args, **kwargs)
            for rule, v in zip(jvps, tangents, strict=True)
            if rule is not None and v is not None
        )
        return add_up(parts)

    return jvp


def absorb(ct: Any, g: Any) -> Any:
    """`ct`, which is `g` times a slope, with 0 where `g` is 0: however bad the slope is there."""
    if isinstance(value_of(ct), np.ndarray) and np.isfinite(value_of(ct)).all():
        return ct
    if np.shape(ct) != np.shape(g) or not np.ndim(ct):
        return ct
    return TABLE["where"](TABLE["equal"](g, 0), np.zeros((), ct.dtype), ct)


def add_up(parts: Iterable[Any]) -> Any:
    """The sum of tangents (arrays or tuples of them), or None of none."""
    total: Any = None
    for part in parts:
        if total is None:
            total = part
        elif isinstance(total, tuple):
            total = tuple(a + b for a, b in zip(total, part, strict=True))
        else:
            total = total + part
    return total


def _automatic_samples(arity: int, domain: Any) -> Callable[[np.random.Generator], Iterable[Case]]:
    """Samples of an elementwise operation: vectors, matrices, 0-d arrays, broadcast pairs."""
    intervals = domain if isinstance(domain[0], (tuple, list)) else (domain,) * arity
    shapes: dict[int, list[tuple[tuple[int, ...], ...]]] = {
        1: [((3,),), ((2, 3),), ((),)],
        2: [((3,), (3,)), ((2, 3), (3,)), ((2, 1), (1, 3)), ((), (2,)), ((2,), ())],
        3: [((3,), (3,), (3,)), ((2, 3), (3,), ()), ((2, 1), (1, 3), (3,))],
    }

    def samples(rng: np.random.Generator) -> Iterable[Case]:
        for group in shapes[arity]:
            yield Case(
                tuple(
                    np.asarray(rng.uniform(low, high, shape))
                    for (low, high), shape in zip(intervals, group, strict=True)
                )
            )

    return samples


def primitive(function: Callable[..., Any] | None = None, *, name: str = "") -> Any:
    """Make an operation of a plain NumPy function; give it rules with `defvjp` and `defjvp`.

    Args:
        function: takes ndarrays positionally, metadata by keyword, returns an ndarray (or a tuple).

    >>> import nnad, numpy as np
    >>> @nnad.primitive
    ... def cube(x):
    ...     return x**3
    >>> nnad.defvjp(cube, lambda ans, x: lambda g: g * 3 * x**2)
    >>> float(nnad.grad(cube)(2.0))
    12.0
    """
    if function is None:
        return lambda f: primitive(f, name=name)
    if not callable(function):
        raise TypeError(f"@nnad.primitive expects a function, got {type(function).__name__}")
    name = name or function.__name__

    @wraps(function)
    def forward(*args: Any, **kwargs: Any) -> Any:
        out = function(*args, **kwargs)
        return tuple(map(array, out)) if type(out) is tuple else array(out)

    def array(out: Any) -> Any:
        if isinstance(out, (np.ndarray, np.generic)):
            return out
        if isinstance(out, (int, float, complex)):
            return np.asarray(out)[()]
        raise TypeError(
            f"{name}, an operation made with @nnad.primitive, returned {type(out).__name__}; "
            "expected an ndarray, a number, or a tuple of them"
        )

    return Primitive(name, forward, "user")


def defvjp(op: Primitive, *makers: Callable[..., Any] | None) -> None:
    """Define the VJP of `op`: per argument `maker(ans, *args, **kwargs) -> (g -> cotangent)`.

    None: that argument has no derivative.  Rules written with NumPy functions nest to any order.
    """
    _check_user(op, "defvjp")
    op.vjps = tuple(
        maker and (lambda g, ans, *args, _maker=maker, **kwargs: _maker(ans, *args, **kwargs)(g))
        for maker in makers
    )
    op.differentiable = tuple(maker is not None for maker in makers)


def defjvp(op: Primitive, *rules: Callable[..., Any] | None) -> None:
    """Define the JVP of `op`: per argument `rule(g, ans, *args, **kwargs)`, g being its tangent."""
    _check_user(op, "defjvp")
    op.jvp = sum_of_jvps(rules)
    if not op.vjps:
        op.differentiable = tuple(rule is not None for rule in rules)


def _check_user(op: Any, caller: str) -> None:
    if not isinstance(op, Primitive):
        raise TypeError(
            f"{caller} expects a function decorated with @nnad.primitive, got {value_of(op)!r}"
        )
