"""Where the first number that is not finite arose: layer, operation, forward or backward pass.

Looks at the tape of the step that failed. Operations there do not know their layer, so the model is
run once more on the same batch to see which layer records which part of the tape; the numbers
themselves are always those of the failed step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from nnad.autodiff.tensor import Leaf, Node, Tensor
from nnad.autodiff.walk import Subgraph, pull_back

__all__ = ["is_finite", "why_gradient_not_finite", "why_loss_not_finite"]


def is_finite(value: Any) -> bool:
    """Whether an array, number or tuple of them holds neither infinities nor NaN."""
    if value is None:
        return True
    if isinstance(value, (tuple, list)):
        return all(map(is_finite, value))
    array = np.asarray(value)
    if array.dtype.kind == "c":
        return is_finite((array.real, array.imag))
    if array.dtype.kind != "f":
        return True
    ends = array.min(initial=0), array.max(initial=0)  # NaN wins; no array is made
    return bool(np.isfinite(ends).all())


def why_loss_not_finite(loss: Tensor, model: Any, run_again: Callable[[], Tensor]) -> str:
    """Say where a loss that is not finite comes from.

    Args:
        loss: the loss, with its tape.
        model: the model it was computed with.
        run_again: computes a loss from the same batch.
    """
    if loss.node is None:
        return "no operation was recorded"
    node = loss.node
    while True:
        if not all(is_finite(arg) for arg, p in _inputs(node) if p is None):
            place = _place(node, loss, model, run_again)
            return f"an input of {place}, in the forward pass"
        behind = [p for p in node.parents if p is not None and not is_finite(p.out)]
        if not behind:
            break
        node = min(behind, key=lambda parent: parent.number)
    if isinstance(node, Leaf):
        return f"parameter {_parameter_name(node, model)}, by the update before this step"
    return f"output of {_place(node, loss, model, run_again)}, in the forward pass"


def why_gradient_not_finite(
    loss: Tensor, model: Any, run_again: Callable[[], Tensor]
) -> str | None:
    """Say where the gradient of a finite loss stops being finite, if it does."""
    node = _first_bad_pullback(loss)
    if node is None:
        return None
    return f"derivative of {_place(node, loss, model, run_again)}, in the backward pass"


def _first_bad_pullback(loss: Tensor) -> Node | None:
    """The first operation on the way back whose VJP turns finite numbers into others."""
    graph = Subgraph([loss.node])
    cotangents: dict[Any, Any] = {loss.node: np.ones(loss.shape, loss.dtype)}
    for node in reversed(graph.nodes):
        g = cotangents.pop(node, None)
        if g is None or isinstance(node, Leaf):
            continue
        if node.primitive is None:  # one output of an operation with several
            whole: Any = node.parents[0]
            parts = cotangents.setdefault(whole, [None] * len(whole.out))
            index = node.kwargs["index"]
            parts[index] = g if parts[index] is None else parts[index] + g
            continue
        for parent, cotangent in pull_back(node, g, graph.members, record=False):
            before = cotangents.get(parent)
            total = cotangent if before is None else before + cotangent
            if not is_finite(total):
                return node
            cotangents[parent] = total
    return None


def _place(node: Node, loss: Tensor, model: Any, run_again: Callable[[], Tensor]) -> str:
    """An operation by its name and the layer that it is part of."""
    operation = node.primitive.name if node.primitive else "an operation"
    layer = _layer_of(node, loss, model, run_again)
    return f"operation {operation} in {layer or 'the loss'}"


def _layer_of(node: Node, loss: Tensor, model: Any, run_again: Callable[[], Tensor]) -> str | None:
    """Path of the innermost layer that records `node`; None outside of all layers."""
    with _spans(model) as spans:
        again = run_again()
    tape, other = _tape(loss), _tape(again)
    if len(tape) != len(other):
        return "the model"
    number = other[tape.index(node)].number
    inside = [(end - begin, path) for begin, end, path in spans if begin < number < end]
    return min(inside)[1] if inside else None


def _inputs(node: Node) -> Iterator[tuple[Any, Node | None]]:
    """The arguments of an operation, each with the node that made it."""
    return zip(node.args, node.parents, strict=bool(node.args))


def _tape(loss: Tensor) -> Sequence[Node]:
    return Subgraph([loss.node]).nodes


@contextmanager
def _spans(model: Any) -> Iterator[list[tuple[int, int, str]]]:
    """Within the block, every call of a layer adds the numbers that its operations lie between."""
    spans: list[tuple[int, int, str]] = []
    modules = dict(model.named_modules())

    def traced(path: str, forward: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            begin = Leaf(None).number
            result = forward(*args, **kwargs)
            spans.append((begin, Leaf(None).number, path))
            return result

        return call

    for name, module in modules.items():
        path = ".".join(part for part in ("model", name, type(module).__name__) if part)
        object.__setattr__(module, "forward", traced(path, module.forward))
    try:
        yield spans
    finally:
        for module in modules.values():
            object.__delattr__(module, "forward")


def _parameter_name(leaf: Leaf, model: Any) -> str:
    for name, p in model.named_parameters():
        if p.node is leaf:
            return name
    return "outside of the model"
