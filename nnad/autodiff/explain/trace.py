"""The trace of one evaluation: every operation with its value, local derivatives and adjoint."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from nnad.autodiff.explain import numbers
from nnad.errors import ExplainError

DRAWN = 200  # the most steps that a picture or a page shows


@dataclass
class Operand:
    """One input of an operation: a step that is differentiated, or a constant.

    `constant` is the row of a constant array; a single number has none.
    """

    text: str
    value: Any
    step: Step | None = None
    constant: Step | None = None


@dataclass
class Partial:
    """How an operation passes an adjoint to one of its inputs, and a tangent from it.

    Attributes:
        step: the input.
        operation: the step of the operation.
        position: which argument of the operation the input is.
        name: "∂v3/∂v1".
        formula: the derivative with names put in; empty where it is the number itself.
        value: the derivative as a number or array, None where it is a larger Jacobian.
        rule: the adjoint's contribution in names: "v̄3 · ∂v3/∂v1", "v̄3 @ x1.T".
        in_numbers: the same in numbers, where these are single.
        contribution: what it adds to the input's adjoint.
        tangent: what the input's tangent adds to the operation's; None where none is carried.
    """

    step: Step
    operation: Step
    position: int
    name: str
    formula: str
    value: Any
    rule: str
    in_numbers: str
    contribution: Any
    tangent: Any = None

    @property
    def tangent_rule(self) -> str:
        """The tangent's contribution in names: "∂v3/∂v1 · v̇1"."""
        if self.value is None:
            return f"JVP of {self.operation.operation} at {self.step.dot}"
        return f"{self.name} · {self.step.dot}"


@dataclass(eq=False)
class Step:
    """One row of the trace: an input, a constant array, or one operation.

    Attributes:
        name: "x" of an input, "v3" of an operation, "c1" of a constant array.
        kind: "input", "constant" or "operation".
        operation: the primitive's name; empty for inputs and constants.
        formula: the operation in names, "v1 · v2"; in_numbers: the same in values.
        partials: one per differentiated input.
        uses: the partials of later steps that point here: the terms of its adjoint's sum.
        adjoint: the derivative of the result by this value.
        seed: what the adjoint starts from, where this step is a result.
        tangent: the derivative of this value along the inputs' tangents, where these were given.
        note: what is remarkable at this point: a value that is not finite, a kink.
    """

    name: str
    value: Any
    kind: str = "operation"
    operation: str = ""
    formula: str = ""
    in_numbers: str = ""
    operands: list[Operand] = field(default_factory=list)
    partials: list[Partial] = field(default_factory=list)
    uses: list[Partial] = field(default_factory=list)
    adjoint: Any = None
    seed: Any = None
    tangent: Any = None
    note: str = ""

    @property
    def bar(self) -> str:
        """The name of the adjoint: v̄3."""
        return numbers.bar(self.name)

    @property
    def dot(self) -> str:
        """The name of the tangent: v̇3."""
        return numbers.dot(self.name)

    def terms(self) -> list[tuple[str, str, Any]]:
        """The adjoint as the sum over the uses of this value: (in names, in numbers, value).

        >>> from nnad.autodiff.explain import explain
        >>> x = explain(lambda x: x * x, 3.0).inputs[0]
        >>> [term[:2] for term in x.terms()]
        [('v̄1 · ∂₁v1', '1 · 3'), ('v̄1 · ∂₂v1', '1 · 3')]
        """
        seed = [] if self.seed is None else [("1", "", self.seed)]
        return seed + [(use.rule, use.in_numbers, use.contribution) for use in self.uses]


@dataclass(eq=False)
class Trace:
    """What `explain` found, step by step, and its forms of output.

    A notebook shows it as a picture with a table; `print(trace)` gives the table alone.

    Attributes:
        title: the function that was evaluated.
        steps: inputs first, then the operations in the order they ran, each after the constant
            arrays that it uses first.
        inputs, outputs: the steps that the function's arguments (and then what it closes over)
            and its results are.
        value: what the function returned.
        gradients: a tuple, one entry per argument: the derivative of the result (of the sum of
            its elements where it has several), None for arguments that carry no derivative.
    """

    title: str
    steps: list[Step]
    inputs: list[Step]
    outputs: list[Step]
    value: Any
    gradients: tuple[Any, ...]

    @property
    def operations(self) -> list[Step]:
        """The steps that are neither inputs nor constants."""
        return [step for step in self.steps if step.kind == "operation"]

    @property
    def notes(self) -> list[str]:
        """What is remarkable at this point, a line each: values that are not finite, kinks."""
        return [f"{step.name}: {step.note}" for step in self.steps if step.note]

    @property
    def has_tangents(self) -> bool:
        """Whether tangents were carried along (forward mode)."""
        return any(step.tangent is not None for step in self.inputs)

    def backward(self) -> Iterator[Step]:
        """The steps with an adjoint, in the order in which these are complete: the last first."""
        return (step for step in reversed(self.steps) if step.adjoint is not None)

    def table(self, order: str = "all") -> str:
        """Plain text: a row per operation, and the adjoints in the order they are computed.

        Args:
            order: "forward" (values, from the inputs on), "tangent" (forward mode, where tangents
                were given), "reverse" (adjoints, from the result back) or "all" of them.
        """
        from nnad.autodiff.explain.tables import table

        return table(self, order)

    def to_svg(self) -> str:
        """A picture of the graph as SVG; it follows the reader's light or dark setting."""
        from nnad.autodiff.explain.svg import picture

        return picture(self.drawable())

    def to_html(self) -> str:
        """A page that stands alone: picture, table, and stepping forwards and backwards."""
        from nnad.autodiff.explain.html import page

        return page(self.drawable())

    def to_dot(self) -> str:
        """The graph in Graphviz's language."""
        from nnad.autodiff.explain.diagrams import dot

        return dot(self)

    def to_mermaid(self) -> str:
        """The graph in Mermaid's language, which GitHub and GitLab draw in Markdown."""
        from nnad.autodiff.explain.diagrams import mermaid

        return mermaid(self)

    def drawable(self) -> Trace:
        """This trace, if it is small enough to be drawn.

        Raises:
            ExplainError: if it has more than 200 steps.
        """
        if len(self.steps) > DRAWN:
            raise ExplainError(
                f"a picture of {len(self.steps)} steps could not be read (the limit is {DRAWN}); "
                "explain a smaller part of the function, or use .table()"
            )
        return self

    def __str__(self) -> str:
        return self.table()

    def __repr__(self) -> str:
        return f"<Trace of {self.title}: {len(self.operations)} operations>"

    def _repr_html_(self) -> str:
        from nnad.autodiff.explain.html import fragment

        return fragment(self)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        """What a notebook shows: as HTML where it can, else as text."""
        return {"text/plain": self.table(), "text/html": self._repr_html_()}
