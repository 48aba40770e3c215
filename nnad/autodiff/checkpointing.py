"""checkpoint: keep a function's inputs instead of its intermediate values."""

from __future__ import annotations

from collections.abc import Sequence
from functools import wraps
from typing import Any

import numpy as np

from nnad.autodiff.table import Primitive
from nnad.autodiff.tensor import Leaf, Tensor, apply, is_recorded, state, value_of, wrap
from nnad.autodiff.transforms import Function, Linearization, check_function
from nnad.autodiff.trees import flatten
from nnad.autodiff.walk import Subgraph, forward, reverse


def checkpoint(f: Function) -> Function:
    """`f`, keeping nothing but its inputs for the backward pass and running again there.

    Trades one more evaluation of f for the memory of its intermediate values: a chain of n
    layers in sqrt(n) checkpointed blocks needs O(sqrt(n)) memory.  Closures over recorded Tensors
    (a layer's parameters) are followed.  f must give the same result when it runs again.
    """
    check_function(f, "checkpoint")

    @wraps(f)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        leaves, rebuild = flatten((args, kwargs))
        differentiable = [i for i, x in enumerate(leaves) if is_recorded(x)]

        def call(*xs: Any) -> Any:
            filled = list(leaves)
            for i, x in zip(differentiable, xs, strict=True):
                filled[i] = x
            args, kwargs = rebuild(filled)
            return f(*args, **kwargs)

        if not state.recording:
            return f(*args, **kwargs)
        return _Replay(call, len(differentiable)).run([leaves[i] for i in differentiable])

    return wrapped


class _Replay:
    """A primitive made for one checkpointed call; its rules record the call again."""

    def __init__(self, call: Function, arity: int) -> None:
        self.call = call
        self.arity = arity

    def run(self, tensors: list[Tensor]) -> Any:
        """The first evaluation: its graph is used to find what f closes over, then dropped."""
        start = Leaf(None)
        fresh = [wrap(x.data, Leaf(x.data)) for x in tensors]
        result = self.call(*fresh)
        outs, rebuild = flatten(result)
        nodes = [x.node if isinstance(x, Tensor) else None for x in outs]
        targets: list[Any] = [start, *(x.node for x in fresh)]
        self.closed = Subgraph(nodes, targets).outside
        values = tuple(value_of(x) for x in outs)
        entry = Primitive(
            "checkpoint", lambda *_: values, "explicit", joint_vjp=self.vjp, jvp=self.jvp
        )
        tied = [wrap(node.out, node) for node in self.closed]
        # What depends on nothing recorded is handed on as f made it: plain arrays stay plain.
        both = zip(outs, apply(entry, [*tensors, *tied]), strict=True)
        return rebuild([new if is_recorded(out) else out for out, new in both])

    def record(self, args: Sequence[Any]) -> tuple[Subgraph, list[Any], list[Any]]:
        """Run f again on `args`, recorded: the subgraph, its output and its target nodes."""
        lin = Linearization(self.call, args[: self.arity], range(self.arity), "checkpoint")
        targets = [*lin.target_nodes, *self.closed]
        return Subgraph(lin.output_nodes, targets), lin.output_nodes, targets

    def vjp(self, g: Any, ans: Any, *args: Any) -> tuple[Any, ...]:
        graph, outputs, targets = self.record(args)
        record = any(map(is_recorded, (*g, *args)))
        found = reverse(graph, list(zip(outputs, g, strict=True)), record)
        return tuple(found.get(node) for node in targets)

    def jvp(self, tangents: Sequence[Any], ans: Any, *args: Any) -> Any:
        graph, outputs, targets = self.record(args)
        record = any(map(is_recorded, (*tangents, *args)))
        seeds = [(n, v) for n, v in zip(targets, tangents, strict=True) if v is not None]
        found = forward(graph, seeds, record)
        zeros = (np.zeros_like(value_of(out)) for out in ans)
        return tuple(
            zero if node is None else found.get(node, zero)
            for node, zero in zip(outputs, zeros, strict=True)
        )
