"""Functions of functions: grad, vjp, jvp, jacobian, hessian, hvp.

Each records a call of the function on fresh leaves, takes the `Subgraph` between those leaves and
the results, and walks it: downwards for reverse mode, upwards for forward mode.  They nest in any
order because a walk consists of ordinary operations, which an enclosing transform records.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import numpy as np

from nnad.autodiff.batching import derivatives
from nnad.autodiff.table import TABLE
from nnad.autodiff.tensor import (
    NO_KWARGS,
    Leaf,
    Node,
    Tensor,
    check_differentiable,
    is_recorded,
    state,
    value_of,
    wrap,
)
from nnad.autodiff.trees import flatten, flatten_like
from nnad.autodiff.walk import Subgraph, forward, in_dtype, own, reverse
from nnad.errors import CotangentError

Function = Callable[..., Any]
ELEMENTS_AT_ONCE = 2**24  # of the largest array while a Jacobian is made: 128 MiB in float64


class Linearization:
    """A recorded call `f(*args)`, ready to be walked in either direction.

    Args:
        function: takes and returns nested containers of arrays.
        args: positional arguments; those at `argnums` are differentiated.
        caller: the transform's name, for messages.
    """

    def __init__(
        self,
        function: Function,
        args: Sequence[Any],
        argnums: Sequence[int],
        caller: str,
        kwargs: Any = NO_KWARGS,
        has_aux: bool = False,
    ) -> None:
        self.primals = tuple([args[i] for i in argnums])
        leaves, self.rebuild = flatten(self.primals)
        self.inputs = [_trace(x, caller) for x in leaves]
        call_args = list(args)
        for i, x in zip(argnums, self.rebuild(self.inputs), strict=True):
            call_args[i] = x
        before, state.recording = state.recording, True
        state.depth += 1
        try:
            result = function(*call_args, **kwargs)
        finally:
            state.depth -= 1
            state.recording = before
        self.aux = None
        if has_aux:
            if not (isinstance(result, tuple) and len(result) == 2):
                raise TypeError(
                    f"{caller}(has_aux=True): the function returned {type(result).__name__}, "
                    "expected a pair (value, aux)"
                )
            result, self.aux = result
        self.outputs, self.rebuild_output = flatten(result)
        self.target_nodes: list[Any] = [x.node for x in self.inputs]
        self.output_nodes = [x.node if isinstance(x, Tensor) else None for x in self.outputs]
        self.graph = Subgraph(self.output_nodes, self.target_nodes)
        self.graph.external &= before  # under no_grad nobody follows the result

    def release(self, x: Any) -> Any:
        """A result for the caller: a Tensor only if an enclosing transform follows it."""
        if isinstance(x, Tensor) and not self.graph.external:
            return x.data
        return x

    def value(self) -> Any:
        """The result of the call, in its own structure."""
        return self.rebuild_output([self.release(x) for x in self.outputs])

    def released_aux(self) -> Any:
        """The auxiliary result, without history that nobody follows."""
        leaves, rebuild = flatten(self.aux)
        nodes = [x.node if isinstance(x, Tensor) else None for x in leaves]
        self.graph.external |= Subgraph(nodes, self.target_nodes).external
        return rebuild([self.release(x) for x in leaves])

    def pull_back(self, cotangents: list[Any]) -> list[Any]:
        """Reverse mode: cotangents of the output leaves to those of the input leaves."""
        found = self.walk(reverse, list(zip(self.output_nodes, cotangents, strict=True)))
        return [_result(found.pop(x.node, None), x.data) for x in self.inputs]

    def push_forward(self, tangents: list[Any]) -> list[Any]:
        """Forward mode: tangents of the input leaves to those of the output leaves."""
        found = self.walk(forward, list(zip(self.target_nodes, tangents, strict=True)))
        pairs = zip(self.outputs, self.output_nodes, strict=True)
        return [_result(found.get(node), value_of(x)) for x, node in pairs]

    def walk(self, walk: Function, seeds: list[tuple[Any, Any]]) -> dict[Any, Any]:
        """Walk the graph, recording if an enclosing transform follows it or one of the seeds."""
        record = self.graph.external or True in [is_recorded(seed) for _, seed in seeds]
        before = state.recording
        state.recording = before or record
        try:
            return walk(self.graph, seeds, record)
        finally:
            state.recording = before


def _trace(x: Any, caller: str) -> Tensor:
    """A fresh Tensor of `x`, tied to it where an enclosing transform records."""
    data = x.data if isinstance(x, Tensor) else x
    if not isinstance(data, (np.ndarray, np.generic, Tensor)) or data.dtype.kind not in "fc":
        check_differentiable(data, f"{caller}: an argument to differentiate")
        data = np.asarray(data)[()]
    if is_recorded(x) and state.recording:
        return wrap(data, Node(TABLE["identity"], (data,), (x.node,), NO_KWARGS, data))
    return wrap(data, Leaf(data))


def _result(derivative: Any, like: Any) -> Any:
    """A derivative for the caller to keep: a scalar for a scalar, an array for an array."""
    if derivative is None:
        return np.zeros_like(like)
    if type(derivative) is Tensor and derivative.node is None:
        return derivative.data
    if isinstance(like, np.generic):
        return derivative[()] if type(derivative) is np.ndarray else derivative
    if isinstance(derivative, np.generic):
        return np.asarray(derivative)
    return own(derivative)


def _argnums(argnums: Any, args: Sequence[Any], caller: str) -> tuple[int, ...]:
    """`argnums` as a tuple of valid positions."""
    if type(argnums) is int and 0 <= argnums < len(args):
        return (argnums,)
    many = (argnums,) if isinstance(argnums, int) else tuple(argnums)
    n = len(args)
    places = [i % n for i in many if isinstance(i, int) and -n <= i < n]
    if len(set(places)) < len(many):
        raise TypeError(
            f"{caller}: argnums={argnums} does not fit a call with {n} positional argument(s), "
            "each named once; pass what is differentiated by position"
        )
    return tuple(places)


def check_function(function: Any, caller: str) -> None:
    """Raise unless a transform was given a function."""
    if not callable(function):
        raise TypeError(
            f"{caller} expects a function, got {type(function).__name__}; "
            f"write {caller}(f)(x), not {caller}(f(x))"
        )


def value_and_grad(
    f: Function, argnums: int | Sequence[int] = 0, has_aux: bool = False
) -> Function:
    """A function that returns `(f(...), gradient)` from one forward and one reverse pass.

    Args:
        f: returns a real scalar; arguments are arrays or nested containers of arrays.
        argnums: which positional argument(s) to differentiate; a tuple gives a tuple of gradients.
        has_aux: f returns `(value, aux)`; the result is then `((value, aux), gradient)`.

    Returns:
        The gradient has the structure, shapes and dtypes of the argument(s).

    >>> value_and_grad(lambda x: (x**2).sum())(np.array([1.0, 2.0]))
    (np.float64(5.0), array([2., 4.]))
    """
    check_function(f, "value_and_grad")

    @wraps(f)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        lin = Linearization(f, args, _argnums(argnums, args, "grad"), "grad", kwargs, has_aux)
        values = [value_of(x) for x in lin.outputs]
        if len(values) != 1 or getattr(values[0], "size", 1) != 1:
            shapes = [*map(np.shape, values)]
            raise TypeError(
                f"grad needs a function with a scalar result, got shape(s) {shapes}; reduce with "
                "np.sum or np.mean, or use nnad.jacobian or nnad.vjp"
            )
        (y,) = values
        seed = type(y)(1) if isinstance(y, np.inexact) else np.ones_like(y)
        if seed.dtype.kind not in "fc":
            got = type(y).__name__ if seed.dtype == object else seed.dtype
            raise TypeError(f"grad needs a floating-point result, got {got}")
        grads = lin.rebuild(lin.pull_back([seed]))
        value = (lin.value(), lin.released_aux()) if has_aux else lin.value()
        return value, grads[0] if isinstance(argnums, int) else grads

    return wrapped


def grad(f: Function, argnums: int | Sequence[int] = 0, has_aux: bool = False) -> Function:
    """The gradient of a scalar function, by one reverse pass; see `value_and_grad`.

    With `has_aux=True` the result is `(gradient, aux)`.

    >>> grad(np.tanh)(0.0)
    np.float64(1.0)
    >>> grad(grad(lambda x: x**3))(2.0)
    np.float64(12.0)
    """
    check_function(f, "grad")
    both = value_and_grad(f, argnums, has_aux)

    @wraps(f)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        value, gradient = both(*args, **kwargs)
        return (gradient, value[1]) if has_aux else gradient

    return wrapped


def vjp(f: Function, *primals: Any) -> tuple[Any, Function]:
    """Evaluate `f(*primals)` and return `(out, pullback)`.

    `pullback(cotangent)` takes the structure and shapes of `out` and returns a tuple with one
    entry per primal: the cotangent contracted with the Jacobian.  It may be called many times.
    """
    check_function(f, "vjp")
    lin = Linearization(f, primals, range(len(primals)), "vjp")
    out = lin.value()

    def pullback(cotangent: Any) -> tuple[Any, ...]:
        leaves = flatten_like(cotangent, out, "pullback's cotangent")
        fitted = _fit_all(leaves, lin.outputs, "pullback's cotangent")
        return lin.rebuild(lin.pull_back(fitted))

    return out, pullback


def jvp(f: Function, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
    """Evaluate f and its directional derivative: `(f(*primals), Jacobian @ tangents)`.

    Args:
        primals: a tuple of arguments.
        tangents: a tuple of the same structure and shapes.
    """
    check_function(f, "jvp")
    _check_pairs(primals, tangents, "jvp")
    lin = Linearization(f, primals, range(len(primals)), "jvp")
    leaves = flatten_like(tuple(tangents), lin.primals, "jvp's tangents")
    vs = lin.push_forward(_fit_all(leaves, lin.inputs, "jvp's tangent"))
    return lin.value(), lin.rebuild_output(vs)


def _check_pairs(primals: Any, tangents: Any, caller: str) -> None:
    """Raise unless both are tuples of the same length."""
    if not isinstance(primals, (tuple, list)) or not isinstance(tangents, (tuple, list)):
        raise TypeError(
            f"{caller} expects tuples of primals and tangents, got {type(primals).__name__} and "
            f"{type(tangents).__name__}; write {caller}(f, (x,), (v,))"
        )
    if len(primals) != len(tangents):
        raise CotangentError(f"{caller}: got {len(primals)} primals but {len(tangents)} tangents")


def _array(x: Any) -> Any:
    """The values of a Tensor, array or number as an array."""
    return x.data if isinstance(x, Tensor) else np.asarray(x)


def _fit_all(values: list[Any], models: Sequence[Any], what: str) -> list[Any]:
    """Cotangents or tangents checked against the shapes they must have, in their dtypes."""
    fitted = []
    for value, model in zip(values, models, strict=True):
        like = _array(model)
        if not isinstance(value, Tensor):
            value = np.zeros_like(like) if value is None else np.asarray(value)
        if value.shape != like.shape:
            raise CotangentError(f"{what}: got shape {value.shape}, expected {like.shape}")
        if value.dtype.kind == "c" and like.dtype.kind != "c":
            raise CotangentError(f"{what}: got complex numbers for a real array of {like.dtype}")
        fitted.append(in_dtype(value, like.dtype))
    return fitted


def hvp(f: Function, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, ...]:
    """The Hessian of a scalar function times a vector, by forward over reverse mode.

    Args:
        primals, tangents: tuples as in `jvp`.

    Returns:
        A tuple, one entry per primal.
    """
    _check_pairs(primals, tangents, "hvp")
    return jvp(grad(f, tuple(range(len(primals)))), primals, tangents)[1]


def jacobian(f: Function, argnums: int | Sequence[int] = 0, mode: str = "auto") -> Function:
    """The derivative of every output element by every input element.

    Args:
        mode: "reverse" (a cotangent per output element), "forward" (a tangent per input element),
            or "auto": the fewer.  All of them go through one walk at a time, see `batching`.

    Returns:
        For an output of shape s and an argument of shape t an array of shape s + t; containers
        of outputs, and within them of arguments, keep their structure.
    """
    check_function(f, "jacobian")
    if mode not in ("auto", "reverse", "forward"):
        raise ValueError(f'jacobian: mode is "auto", "reverse" or "forward", got {mode!r}')

    @wraps(f)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        where = _argnums(argnums, args, "jacobian")
        lin = Linearization(f, args, where, "jacobian", kwargs)
        ins = [x.data for x in lin.inputs]
        outs = [_array(x) for x in lin.outputs]
        if any(out.dtype.kind not in "fcbiu" for out in outs):
            raise TypeError(f"jacobian needs results of numbers, got {[x.dtype for x in outs]}")
        by_rows = sum(map(np.size, outs)) <= sum(map(np.size, ins))
        if any(map(np.iscomplexobj, outs)) and not any(map(np.iscomplexobj, ins)):
            by_rows = False  # a real cotangent holds no complex derivative
        if mode == "reverse" or (mode == "auto" and by_rows):
            pairs = zip(lin.output_nodes, outs, strict=True)
            blocks = [_derivatives(lin, reverse, *pair, lin.target_nodes, ins) for pair in pairs]
        else:
            pairs = zip(lin.target_nodes, ins, strict=True)
            columns = [_derivatives(lin, forward, *pair, lin.output_nodes, outs) for pair in pairs]
            blocks = [
                [_last_axes_first(block, out.ndim) for block in row]
                for row, out in zip(zip(*columns, strict=True), outs, strict=True)
            ]
        rows = [lin.rebuild(row) for row in blocks]
        return lin.rebuild_output([row[0] if isinstance(argnums, int) else row for row in rows])

    return wrapped


def _derivatives(
    lin: Linearization, walk: Function, node: Any, source: Any, ends: list[Any], models: list[Any]
) -> list[Any]:
    """For each element of `source` at `node` the derivatives that a walk carries to `ends`.

    Returns:
        An array of shape `source.shape + model.shape` for each model.
    """
    n, shape = np.size(source), np.shape(source)
    at_once = max(1, ELEMENTS_AT_ONCE // max(1, n, *map(np.size, models)))
    targets = list(zip(ends, models, strict=True))
    parts: list[list[Any]] = [[np.zeros((0, *model.shape), model.dtype)] for model in models]
    for start in range(0, n, at_once):
        count = min(at_once, n - start)
        seeds = np.eye(count, n, start, source.dtype).reshape(count, *shape)
        found = derivatives(lambda seed: lin.walk(walk, [(node, seed)]), seeds, targets)
        for part, rows in zip(parts, found, strict=True):
            part.append(rows)
    joined = [lin.release(TABLE["concatenate"](*part, axis=0)) for part in parts]
    pairs = zip(joined, models, strict=True)
    return [TABLE["reshape"](block, shape=shape + model.shape) for block, model in pairs]


def _last_axes_first(block: Any, n: int) -> Any:
    """`block` with its last n axes in front."""
    first = block.ndim - n
    return TABLE["transpose"](block, axes=(*range(first, block.ndim), *range(first)))


def hessian(f: Function, argnums: int | Sequence[int] = 0) -> Function:
    """All second derivatives of a scalar function: the Jacobian of its gradient.

    >>> hessian(lambda x: (x**3).sum())(np.array([1.0, 2.0]))
    array([[ 6.,  0.],
           [ 0., 12.]])
    """
    return jacobian(grad(f, argnums), argnums)
