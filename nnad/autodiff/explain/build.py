"""From a call of a function to its trace: records it, carries adjoints back and tangents along."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from nnad.autodiff.explain import formulas, numbers
from nnad.autodiff.explain.formulas import Literal
from nnad.autodiff.explain.names import argument_names, call_title
from nnad.autodiff.explain.notes import note
from nnad.autodiff.explain.trace import Operand, Partial, Step, Trace
from nnad.autodiff.tensor import Leaf, Node, state, value_of
from nnad.autodiff.transforms import Linearization
from nnad.autodiff.trees import flatten, flatten_like
from nnad.autodiff.walk import Subgraph, pull_back, push_forward
from nnad.errors import CotangentError, ExplainError

SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


def explain(
    f: Callable[..., Any],
    *args: Any,
    cotangent: Any = None,
    tangents: Sequence[Any] | None = None,
    title: str = "",
) -> Trace:
    """Evaluate `f(*args)` and show how its derivative is computed, one row an operation.

    Args:
        f: a function of arrays, numbers, or nested containers of them.
        args: where to evaluate it.  Floating-point and complex numbers are differentiated, all
            others are constants.  Recorded Tensors that f closes over, such as the parameters of
            a layer, are inputs too.
        cotangent: what the adjoints of the result start from, in its structure; ones by default,
            which for a scalar gives the gradient.
        tangents: one per argument in its structure, None for zero: forward mode is shown too.
        title: instead of the function's name.

    Raises:
        ExplainError: nothing to differentiate, or a result that is not made of numbers.
        CotangentError: a cotangent or tangent that does not fit.

    >>> print(explain(lambda x: x * x, 3.0).table("reverse"))
    Backward: adjoints, from the result to the inputs
      adjoint  is the sum over its uses  in numbers  value
      v̄1       1                                     1
      x̄        v̄1 · ∂₁v1 + v̄1 · ∂₂v1     3 + 3       6
    """
    with np.errstate(all="ignore"):  # what is not finite is told in the trace, and where it arose
        call = _recorded(f, args)
        names = [n for n, x in argument_names(f, args) if is_inexact(x)]
        closed = call.graph.outside
        builder = _Builder(call, names, _closed_steps(f, closed))
        seeds = _seeds(call, cotangent)
        for node in Subgraph(call.output_nodes, [*call.target_nodes, *closed]).nodes:
            builder.add(node)
        builder.carry_back(seeds)
        if tangents is not None:
            builder.carry_along(_tangents(call, args, tangents))
        return builder.trace(title or call_title(f, len(args)), args)


def _recorded(f: Any, args: Sequence[Any]) -> Linearization:
    """The call on its differentiable leaves, as functions of those alone."""
    if not callable(f):
        raise ExplainError(
            f"explain expects a function and its arguments, got {type(f).__name__}; "
            "write explain(f, x), not explain(f(x))"
        )
    if state.capture is not None:
        raise ExplainError("explain inside a step that is being compiled; call it outside")
    leaves, rebuild = flatten(args)
    places = [i for i, x in enumerate(leaves) if is_inexact(x)]

    def function(*xs: Any) -> Any:
        filled = [value_of(x) for x in leaves]
        for i, x in zip(places, xs, strict=True):
            filled[i] = x
        return f(*rebuild(filled))

    primals = [value_of(leaves[i]) for i in places]
    call = Linearization(function, primals, range(len(places)), "explain")
    for x in call.outputs:
        if _dtype_kind(x) not in "fcbiu":
            raise ExplainError(
                f"explain: the function returned {type(x).__name__}, expected numbers or arrays "
                "(or nested containers of them); did it forget to return?"
            )
    if not places and all(node is None for node in call.output_nodes):
        raise ExplainError(
            f"explain: none of the {len(leaves)} argument(s) holds floating-point or complex "
            "numbers, so there is nothing to differentiate; write 3.0 instead of 3, or "
            "x.astype(float)"
        )
    return call


def _closed_steps(f: Any, nodes: Sequence[Node]) -> dict[Node, Step]:
    """Inputs for what f closes over: a model's parameters by their paths, else p1, p2, ..."""
    named: Any = getattr(f, "named_parameters", dict)()
    names = {x.node: (name, x.data) for name, x in dict(named).items()}
    found = {}
    for i, node in enumerate(sorted(nodes, key=lambda node: node.number)):
        name, value = names.get(node, (f"p{i + 1}", node.out))
        found[node] = Step(name, value, "input")
    return found


def is_inexact(x: Any) -> bool:
    """Whether `x` holds floating-point or complex numbers."""
    return _dtype_kind(x) in "fc"


def _dtype_kind(x: Any) -> str:
    return np.asarray(value_of(x)).dtype.kind


def _seeds(call: Linearization, cotangent: Any) -> list[Any]:
    """The adjoints of the results."""
    values = [value_of(x) for x in call.outputs]
    if cotangent is None:
        return [np.ones_like(x)[()] for x in values]
    return _fitted(
        flatten_like(cotangent, call.value(), "explain's cotangent"), values, "cotangent"
    )


def _tangents(call: Linearization, args: Sequence[Any], tangents: Sequence[Any]) -> list[Any]:
    """The tangents of the differentiable leaves of the arguments."""
    if not isinstance(tangents, (tuple, list)) or len(tangents) != len(args):
        raise CotangentError(
            f"explain's tangents: got {numbers.cut(repr(tangents), 60)}, expected a tuple of "
            f"{len(args)}, one per argument"
        )
    given: list[Any] = []
    for v, x in zip(tangents, args, strict=True):
        leaves = flatten(x)[0]
        found = [None] * len(leaves) if v is None else flatten_like(v, x, "explain's tangents")
        given += [part for part, leaf in zip(found, leaves, strict=True) if is_inexact(leaf)]
    return _fitted(given, [x.data for x in call.inputs], "tangent")


def _fitted(given: list[Any], values: list[Any], what: str) -> list[Any]:
    """Cotangents or tangents in the shapes and dtypes of what they belong to; None is zero."""
    fitted = []
    for x, like in zip(given, map(np.asarray, values), strict=True):
        if x is not None and np.shape(value_of(x)) != like.shape:
            raise CotangentError(
                f"explain's {what}: got shape {np.shape(value_of(x))}, expected {like.shape}"
            )
        fitted.append(np.zeros_like(like)[()] if x is None else np.asarray(x, like.dtype)[()])
    return fitted


class _Builder:
    """Turns the nodes of a recorded call into steps, and carries derivatives through them."""

    def __init__(self, call: Linearization, names: list[str], closed: dict[Node, Step]) -> None:
        self.call = call
        given = [Step(name, x.data, "input") for name, x in zip(names, call.inputs, strict=True)]
        self.steps: dict[Node, Step] = dict(zip(call.target_nodes, given, strict=True)) | closed
        self.inputs = [*given, *closed.values()]
        self.rows = list(self.inputs)
        self.nodes: list[Node] = []
        self.constants: dict[int, Step] = {}
        self.taken = {step.name for step in self.inputs}

    def _name(self, letters: str, count: int) -> str:
        """v1, v2, ...; u1, ... where the function's own arguments are called v1."""
        free = (f"{c}{count}" for c in letters if f"{c}{count}" not in self.taken)
        return next(free, f"{letters[0]}_{count}")

    def add(self, node: Node) -> None:
        """A step for one recorded operation."""
        if node in self.steps:
            return
        entry = node.primitive
        if entry is None:
            whole, index = self.steps[node.parents[0]], node.kwargs["index"]  # type: ignore[index]
            step = self._step(node, "output", f"{whole.name}[{index}]")
            step.operands = [Operand(whole.name, whole.value, whole)]
            return
        operands = [
            self._operand(x, parent) for x, parent in zip(node.args, node.parents, strict=True)
        ]
        step = self._step(
            node, entry.name, formulas.operation(entry, [x.text for x in operands], node.kwargs)
        )
        step.operands = operands
        if all(numbers.is_scalar(x.value) for x in operands):
            step.in_numbers = formulas.operation(entry, _values(operands), node.kwargs)

    def _step(self, node: Node, operation: str, formula: str) -> Step:
        self.nodes.append(node)
        name = self._name("vuwz", len(self.nodes))
        self.steps[node] = step = Step(name, node.out, "operation", operation, formula)
        self.rows.append(step)
        return step

    def _operand(self, x: Any, parent: Node | None) -> Operand:
        step = self.steps.get(parent) if parent is not None else None
        if step is not None:
            return Operand(step.name, x, step)
        if np.size(x) > 1:
            constant = self._constant(x)
            return Operand(constant.name, x, constant=constant)
        return Operand(Literal(numbers.value(x)), x)

    def _constant(self, x: Any) -> Step:
        """The row of a constant array, which has a name and a value but no adjoint."""
        if id(x) not in self.constants:
            name = self._name("ckqa", len(self.constants) + 1)
            self.constants[id(x)] = Step(name, x, "constant")
            self.rows.append(self.constants[id(x)])
        return self.constants[id(x)]

    def carry_back(self, seeds: list[Any]) -> None:
        """The reverse walk, each term of each adjoint written down."""
        for node, seed in zip(self.call.output_nodes, seeds, strict=True):
            if node in self.steps:
                step = self.steps[node]
                step.seed = step.adjoint = _sum(step.seed, seed)
        for node in reversed(self.nodes):
            step = self.steps[node]
            if step.adjoint is None:
                continue
            partials = [_placed(node, step)] if node.primitive is None else _partials(node, step)
            for partial in partials:
                step.partials.append(partial)
                partial.step.uses.append(partial)
                partial.step.adjoint = _sum(partial.step.adjoint, partial.contribution)
        for step in self.inputs:
            if step.adjoint is None:
                step.adjoint = np.zeros_like(step.value)[()]

    def carry_along(self, tangents: list[Any]) -> None:
        """The forward walk, each term of each tangent written down."""
        for step, v in zip(self.inputs, tangents, strict=False):
            step.tangent = v
        for step in self.inputs[len(tangents) :]:  # what f closes over stays where it is
            step.tangent = np.zeros_like(step.value)[()]
        for node in self.nodes:
            step = self.steps[node]
            for partial in step.partials:
                partial.tangent = _tangent_term(node, step, partial)
                step.tangent = _sum(step.tangent, partial.tangent)

    def trace(self, title: str, args: Sequence[Any]) -> Trace:
        """The finished trace."""
        leaves, rebuild = flatten(tuple(args))
        found = iter(self.inputs)
        slots = [next(found).adjoint if is_inexact(x) else None for x in leaves]
        outputs = [self.steps[n] for n in self.call.output_nodes if n in self.steps]
        value = self.call.rebuild_output([value_of(x) for x in self.call.outputs])
        for node, step in self.steps.items():
            step.note = note(step, node.primitive)
        return Trace(title, self.rows, self.inputs, outputs, value, rebuild(slots))


def _sum(a: Any, b: Any) -> Any:
    if a is None:
        return b
    if isinstance(a, tuple):
        return tuple(x + y for x, y in zip(a, b, strict=True))
    return a + b


def _values(operands: Sequence[Operand]) -> list[str]:
    return [x.text if x.step is None else numbers.value(x.value) for x in operands]


def _probe(node: Node, operands: Sequence[Operand]) -> Node:
    """The node with a leaf of its own for each differentiated argument, repeated ones too."""
    leaves = [None if x.step is None else Leaf(x.value) for x in operands]
    return Node(node.primitive, node.args, leaves, node.kwargs, node.out, node.saved)


def _contributions(node: Node, operands: Sequence[Operand], adjoint: Any) -> dict[int, Any]:
    """What each argument's adjoint gets from this operation, by the argument's position."""
    probe = _probe(node, operands)
    places: dict[Any, int] = {leaf: i for i, leaf in enumerate(probe.parents)}
    g = list(adjoint) if isinstance(adjoint, tuple) else adjoint
    pairs = pull_back(probe, g, None, record=False)
    return {places[leaf]: ct[()] if np.ndim(ct) == 0 else ct for leaf, ct in pairs}


def _tangent_term(node: Node, step: Step, partial: Partial) -> Any:
    """What the tangent of one argument adds to that of the operation."""
    v = partial.step.tangent
    if node.primitive is None:
        return v[node.kwargs["index"]]
    tangents = [v if i == partial.position else None for i in range(len(node.args))]
    return push_forward(_probe(node, step.operands), tangents, record=False)


def _placed(node: Node, step: Step) -> Partial:
    """How the adjoint of one output of an operation with several gets into its place."""
    whole = step.operands[0].step
    assert whole is not None
    index = node.kwargs["index"]
    parts = [np.zeros_like(out) for out in whole.value]
    parts[index] = step.adjoint
    name = f"∂{step.name}/∂{whole.name}"
    return Partial(
        whole, step, 0, name, "", None, f"{step.bar} placed at {index}", "", tuple(parts)
    )


def _partials(node: Node, step: Step) -> Iterator[Partial]:
    """The derivatives of one operation, an entry per differentiated input."""
    contributions = _contributions(node, step.operands, step.adjoint)
    targets = [step.operands[i].step for i in contributions]
    for i, contribution in contributions.items():
        target = step.operands[i].step
        assert target is not None
        name = f"∂{step.name}/∂{target.name}"
        if targets.count(target) > 1:  # x * x: derivatives by the first and the second argument
            name = f"∂{str(i + 1).translate(SUBSCRIPTS)}{step.name}"
        yield _partial(node, step, i, name, contribution)


def _partial(node: Node, step: Step, i: int, name: str, contribution: Any) -> Partial:
    """One derivative: its formula, its value where that is one array, and how it is used."""
    target, entry = step.operands[i].step, node.primitive
    assert target is not None and entry is not None
    text = formulas.partial_text(entry, i)
    names = formulas.variables(entry, [x.text for x in step.operands], node.kwargs)
    formula = formulas.derivative(text, names | {"y": step.name, "g": step.bar})
    value = _local(node, step.operands, i)
    rule, in_numbers = f"{step.bar} · {name}", numbers.product(step.adjoint, value)
    if text and formulas.tells_rules(entry):  # the text is that of the whole VJP
        rule, formula, value = formula, "", value if numbers.is_scalar(value) else None
    elif value is None:
        rule = rule if text else f"VJP of {step.operation} at {step.bar}"
    elif np.shape(contribution) != np.shape(step.adjoint * value):
        rule, in_numbers = f"sum({rule})", in_numbers and f"sum({in_numbers})"
    return Partial(target, step, i, name, formula, value, rule, in_numbers, contribution)


def _local(node: Node, operands: Sequence[Operand], i: int) -> Any:
    """The derivative itself: by element for an elementwise operation, whole for a scalar result."""
    entry: Any = node.primitive
    if entry.kind == "elementwise":
        local = entry.vjps[i](np.ones_like(node.out), node.out, *node.args, **node.kwargs)
        return np.asarray(value_of(local))[()]
    if isinstance(node.out, tuple) or np.size(node.out) != 1:
        return None
    return _contributions(node, operands, np.ones_like(node.out)).get(i)
