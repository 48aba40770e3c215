"""The two walks over what was recorded: downwards (reverse mode) and upwards (forward mode).

Both work on a `Subgraph`: the nodes between some targets (what is differentiated with respect to)
and some outputs, in the order they were made.  Downwards, every node turns the cotangent of its
output into cotangents of its inputs by its VJP; upwards, the tangents of its inputs into that of
its output by its JVP.  Each node is visited once, whatever the fan-out, and nothing recurses.

A walk is itself recorded only where something outside the subgraph depends on it (an enclosing
transform): then the rules get Tensors instead of arrays, and any order of derivative follows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import attrgetter
from sys import getrefcount
from typing import Any

import numpy as np

from nnad.autodiff.table import LOCAL, TABLE, Primitive, absorb
from nnad.autodiff.tensor import Leaf, Node, Tensor, output_node, state, value_of, wrap
from nnad.errors import CotangentError, LostGradientError

_by_number = attrgetter("number")
_parents = attrgetter("parents")
ndarray = np.ndarray


class Subgraph:
    """The operations from `targets` to `outputs`, in order of recording.

    Args:
        outputs: nodes of the results; None for a result that recorded nothing.
        targets: nodes to differentiate with respect to; None: every leaf behind the outputs.

    Attributes:
        nodes: the operations on a path from a target to an output, ascending.
        members: those and the targets, or None if everything behind the outputs belongs to them.
        outside: nodes older than the targets that the outputs depend on as well.
        external: whether such nodes, or an enclosing transform, take part: the walk must record.
    """

    def __init__(
        self, outputs: Iterable[Node | None], targets: Sequence[Node] | None = None
    ) -> None:
        seen: set[Node | None] = {None, *(targets or ())}
        oldest = min(map(_by_number, targets or ()), default=0)
        stack = list(outputs)
        found: list[Any] = []
        self.outside: list[Node] = []
        others = False  # leaves of transforms that ran, and ended, in between
        while stack:
            node: Any = stack.pop()
            if node not in seen:
                seen.add(node)
                if node.parents and node.number > oldest:
                    found.append(node)
                    stack.extend(node.parents)
                elif node.number < oldest:
                    self.outside.append(node)
                else:
                    others = True
        found.sort(key=_by_number)
        self.nodes = found
        self.members: set[Any] | None = None
        self.external = False
        if targets is not None:
            self.external = bool(self.outside) or any(map(_parents, targets))
            if self.outside or others:
                self._keep_paths(targets)

    def _keep_paths(self, targets: Sequence[Node]) -> None:
        """Leave out what does not depend on a target."""
        self.members = members = set(targets)
        nodes, self.nodes = self.nodes, []
        for node in nodes:
            if not members.isdisjoint(node.parents):
                members.add(node)
                self.nodes.append(node)


def reverse(
    graph: Subgraph, seeds: Iterable[tuple[Node | None, Any]], record: bool, collect: bool = False
) -> dict[Node, Any]:
    """Carry cotangents from the outputs to the targets.

    Args:
        seeds: (node of an output, its cotangent).
        record: give the rules Tensors, so that the walk can itself be differentiated.
        collect: the cotangents of leaves are to become their gradients: a rule that can may
            write one where the gradient belongs, which spares a large weight a second array.

    Returns:
        The cotangent of every target or leaf that was reached.
    """
    cotangents: dict[Any, Any] = {}
    for node, seed in seeds:
        if node in cotangents:
            _add(cotangents, node, seed)
        elif node is not None:
            cotangents[node] = seed
    members, masked = graph.members, False
    for node in reversed(graph.nodes):
        g = cotangents.pop(node, None)
        if g is None:
            continue
        if node.primitive is None:  # one output of an operation with several: keep its place
            _place(cotangents, node.parents[0], node.kwargs["index"], g)
            continue
        if not record and node.primitive.added_in_place(node, g, cotangents):
            continue
        out = node.primitive.place_of_gradient(node, cotangents) if collect else None
        masked = masked or node.primitive.masks
        for parent, ct in pull_back(node, g, members, record, out, masked):
            if parent in cotangents:
                _add(cotangents, parent, ct)
            else:
                cotangents[parent] = ct
    return cotangents


def _add(cotangents: dict[Node, Any], node: Any, ct: Any) -> None:
    """Add `ct` to the cotangent of `node`: in place if that is an array which nobody else sees."""
    total = cotangents[node]
    arrays = type(total) is type(ct) is ndarray
    if arrays and total.base is None and getrefcount(total) == LOCAL + 1:
        total += ct
    else:
        cotangents[node] = total + ct


def _place(cotangents: dict[Node, Any], parent: Any, index: int, g: Any) -> None:
    slots = cotangents.setdefault(parent, [None] * len(parent.out))
    slots[index] = g if slots[index] is None else slots[index] + g


def pull_back(
    node: Node, g: Any, members: Any, record: bool, out: Any = None, masked: bool = False
) -> list[tuple[Node, Any]]:
    """The VJP of one node: (parent, cotangent) for each parent on the way to a target.

    Args:
        out: an array for the cotangent of the argument that the primitive calls `stored`.
        masked: `g` may be 0 where a value was not selected: slopes there do not count, even NaN.
    """
    primitive: Any = node.primitive
    args, ans, kwargs = node.args, node.out, node.kwargs
    if record or node.saved is not None or state.capture is not None:
        args, ans, kwargs = rule_inputs(node, record)
    if type(g) is list:
        g = _without_gaps(g, node.out)
    joint = primitive.joint_vjp and primitive.joint_vjp(g, ans, *args, **kwargs)
    rules = primitive.vjps if out is None else primitive.vjps_into(out)
    pairs = []
    for i, parent in enumerate(node.parents):
        if parent is not None and (members is None or parent in members):
            if joint:
                ct = joint[i]
            else:
                try:
                    rule = rules[i]
                except IndexError:
                    raise primitive.missing_rule("VJP", i) from None
                ct = rule and rule(g, ans, *args, **kwargs)
            if ct is not None:
                if masked and primitive.kind == "elementwise":
                    ct = absorb(ct, g)
                x = node.args[i]
                kind = type(ct)
                if kind is not type(x) or (
                    kind is ndarray and (ct.shape != x.shape or ct.dtype != x.dtype)
                ):
                    ct = fit(ct, x, primitive)
                pairs.append((parent, ct))
    return pairs


def _without_gaps(parts: list[Any], outs: tuple[Any, ...]) -> tuple[Any, ...]:
    """Cotangents of several outputs, zero for those that nothing depends on."""
    pairs = zip(parts, outs, strict=True)
    return tuple(np.zeros_like(out) if part is None else part for part, out in pairs)


def rule_inputs(node: Node, record: bool) -> tuple[Any, Any, Any]:
    """What a rule is called with: arrays, or Tensors that remember their history."""
    args, out, kwargs, saved = node.args, node.out, node.kwargs, node.saved
    hide = _same if state.capture is None else state.capture.hide
    if record:
        pairs = zip(args, node.parents, strict=True)
        args = [hide(x) if parent is None else wrap(x, parent) for x, parent in pairs]
        if type(out) is tuple:
            out = tuple(wrap(x, output_node(node, i, x)) for i, x in enumerate(out))
        else:
            out = wrap(out, node)
        saved = None
    else:
        args, out, saved = hide(args), hide(out), hide(saved)
    if node.saved is not None:
        kwargs = {**kwargs, "saved": saved}
    return args, out, kwargs


def _same(values: Any) -> Any:
    return values


def fit(ct: Any, x: Any, primitive: Primitive) -> Any:
    """`ct` as a cotangent of `x`: summed over broadcast axes, in its dtype, real if it is real."""
    if not hasattr(ct, "shape"):
        ct = np.asarray(ct)
    if ct.shape != x.shape:
        if not primitive.broadcasts:
            raise CotangentError(
                f"the VJP of {primitive.name} returned a cotangent of shape {ct.shape} for an "
                f"argument of shape {x.shape}; a cotangent has its argument's shape"
            )
        ct = unbroadcast(ct, x.shape)
    return in_dtype(ct, x.dtype)


def in_dtype(x: Any, dtype: Any) -> Any:
    """A derivative in another dtype: its real part where that is real."""
    if x.dtype == dtype:
        return x
    if x.dtype.kind == "c" and dtype.kind != "c":
        x = TABLE["real"](x)
    return TABLE["astype"](x, dtype=dtype)


def unbroadcast(ct: Any, shape: tuple[int, ...]) -> Any:
    """Sum `ct` over the axes that broadcasting added or stretched, back to `shape`."""
    extra = ct.ndim - len(shape)
    if extra >= 0:
        pairs = enumerate(zip(ct.shape[extra:], shape, strict=True), extra)
        axes = (*range(extra), *(i for i, (n, wanted) in pairs if wanted == 1 != n))
        if axes:
            ct = TABLE["sum"](ct, axis=axes, keepdims=True)
        if extra:
            ct = TABLE["reshape"](ct, shape=ct.shape[extra:])
    return ct if ct.shape == shape else TABLE["broadcast_to"](ct, shape=shape)


def forward(graph: Subgraph, seeds: Iterable[tuple[Node, Any]], record: bool) -> dict[Node, Any]:
    """Carry tangents of the targets upwards; returns the tangents of all nodes reached."""
    tangents = dict(seeds)
    for node in graph.nodes:
        vs: list[Any] = [
            None if parent is None else tangents.get(parent) for parent in node.parents
        ]
        if any(v is not None for v in vs):
            if node.primitive is None:  # one output of an operation with several
                v = vs[0][node.kwargs["index"]]
            else:
                v = push_forward(node, vs, record)
            if v is not None:
                tangents[node] = v
    return tangents


def push_forward(node: Node, tangents: list[Any], record: bool) -> Any:
    """The JVP of one node, its tangent in the shape and dtype of its output."""
    primitive: Any = node.primitive
    if primitive.jvp is None:
        if not (primitive.vjps or primitive.joint_vjp):
            raise primitive.missing_rule("JVP")
        v = _transposed_vjp(node, tangents, record)
    else:
        args, ans, kwargs = rule_inputs(node, record)
        v = primitive.jvp(tangents, ans, *args, **kwargs)
    if v is None or type(node.out) is tuple:
        return v
    if not hasattr(v, "shape"):
        v = np.asarray(v)
    if v.shape != node.out.shape:
        try:
            v = TABLE["broadcast_to"](v, shape=node.out.shape)
        except ValueError:
            raise CotangentError(
                f"the JVP of {primitive.name} returned a tangent of shape {v.shape} for an output "
                f"of shape {node.out.shape}; a tangent has its output's shape"
            ) from None
    return in_dtype(v, node.out.dtype)


def _transposed_vjp(node: Node, tangents: list[Any], record: bool) -> Any:
    """A JVP made of the VJP: g -> VJP(g) is linear, and its transpose is the JVP."""
    moving = {p: v for p, v in zip(node.parents, tangents, strict=True) if v is not None}
    outs = node.out if type(node.out) is tuple else (node.out,)
    seeds: list[Any] = [Leaf(np.zeros_like(out)) for out in outs]
    gs = [wrap(seed.out, seed) for seed in seeds]
    before, state.recording = state.recording, True
    try:
        g = gs if type(node.out) is tuple else gs[0]
        pairs = pull_back(node, g, set(moving), record)
        ends = [(ct.node, moving[parent]) for parent, ct in pairs if isinstance(ct, Tensor)]
        result = reverse(Subgraph([end for end, _ in ends], seeds), ends, record)
    finally:
        state.recording = before
    parts = tuple(result.get(seed, np.zeros_like(seed.out)) for seed in seeds)
    return parts if type(node.out) is tuple else parts[0]


def backward(tensor: Tensor, gradient: Any = None) -> None:
    """`Tensor.backward`: one reverse walk into the `.grad` of every leaf."""
    node = tensor.node
    if node is None:
        raise LostGradientError(
            f"backward() on a Tensor of shape {tensor.shape} that recorded nothing: none of its "
            "inputs has requires_grad=True, or it was detached or made under no_grad()"
        )
    if gradient is None:
        if tensor.size != 1:
            raise CotangentError(
                f"backward() needs a scalar, got shape {tensor.shape}; reduce it with .sum() or "
                ".mean(), or pass the cotangent: backward(gradient)"
            )
        gradient = np.ones(tensor.shape, tensor.dtype)
    elif np.shape(value_of(gradient)) != tensor.shape:
        raise CotangentError(
            f"backward(gradient): got shape {np.shape(value_of(gradient))}, expected the "
            f"Tensor's own shape {tensor.shape}"
        )
    cotangents = reverse(Subgraph([node]), [(node, gradient)], record=False, collect=True)
    for leaf in list(cotangents):
        _collect(leaf, cotangents.pop(leaf))


def _collect(leaf: Any, ct: Any) -> None:
    """Add `ct` to the leaf's gradient, in its buffer if it has one."""
    if state.capture is not None:
        state.capture.collect(leaf, ct)
    elif leaf.grad is not None:
        leaf.grad += ct
    elif leaf.buffer is not None:
        leaf.grad = leaf.buffer
        if ct is not leaf.buffer:
            leaf.grad[...] = ct
    else:
        leaf.grad = np.array(ct) if isinstance(ct, np.generic) else own(ct)


def own(ct: Any) -> Any:
    """`ct`, copied unless nobody else holds it: a caller may change a gradient in place."""
    if type(ct) is ndarray and (ct.base is not None or getrefcount(ct) > LOCAL + 1):
        return ct.copy()
    return ct
