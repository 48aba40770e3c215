"""A table of what a network holds and costs: shapes, parameters, multiply-adds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np

from nnad.autodiff.tensor import no_grad, value_of
from nnad.charts import table
from nnad.layers.module import Module
from nnad.layers.parameter import Parameter

__all__ = ["Summary", "SummaryRow", "notebook_table", "summary"]

_set = object.__setattr__


@dataclass(frozen=True)
class SummaryRow:
    """One call of one module; parameters and multiply-adds are its own, not its children's."""

    path: str
    layer: str
    input_shape: tuple[int, ...] | None
    output_shape: tuple[int, ...] | None
    parameters: int
    multiply_adds: int


@dataclass(frozen=True)
class Summary:
    """The rows of a network's table and their totals; `str` of it is the table.

    Attributes:
        rows: a row per call, in the order of the calls' ends; modules that hold and cost nothing
            of their own and are made of others are left out.
        parameters: numbers in all parameters, shared ones counted once.
        trainable: numbers in the parameters that are not frozen.
        multiply_adds: of one forward pass of the whole input.
    """

    rows: tuple[SummaryRow, ...]
    parameters: int
    trainable: int
    multiply_adds: int

    def __str__(self) -> str:
        head = ("path", "layer", "input", "output", "parameters", "multiply-adds")
        body = [
            (
                row.path or "(model)",
                row.layer,
                _shape_text(row.input_shape),
                _shape_text(row.output_shape),
                f"{row.parameters:,}",
                f"{row.multiply_adds:,}",
            )
            for row in self.rows
        ]
        total = ("total", "", "", "", f"{self.parameters:,}", f"{self.multiply_adds:,}")
        lines = [head, *body, total]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        texts = [_line(cells, widths) for cells in lines]
        rule = "-" * len(texts[0])
        frozen = self.parameters - self.trainable
        tail = [f"of the parameters {frozen:,} are frozen"] if frozen else []
        return "\n".join([texts[0], rule, *texts[1:-1], rule, texts[-1], *tail])


def _line(cells: tuple[str, ...], widths: list[int]) -> str:
    """Texts flush left, the two columns of numbers flush right."""
    left = [cell.ljust(width) for cell, width in zip(cells[:4], widths, strict=False)]
    right = [cell.rjust(width) for cell, width in zip(cells[4:], widths[4:], strict=True)]
    return "  ".join(left + right)


def _shape_text(shape: tuple[int, ...] | None) -> str:
    return "" if shape is None else str(shape)


def _shape_of(x: Any) -> tuple[int, ...] | None:
    """The shape of an array, or of the first array in a tuple."""
    first = x[0] if isinstance(x, (tuple, list)) and x else x
    shape = getattr(value_of(first), "shape", None)
    return None if shape is None else tuple(shape)


def summary(module: Module, *inputs: Any, **kwargs: Any) -> Summary:
    """Call `module` once and report every layer's shapes, parameters and multiply-adds.

    The call is made in evaluation mode and records nothing; modes are put back after it.

    Args:
        module: the network.
        inputs: example arrays (integers for an Embedding); a tuple of sizes, the batch among them,
            stands for an array of zeros of the parameters' dtype.
        kwargs: further arguments of the call.

    >>> import nnad
    >>> model = nnad.layers.Sequential(nnad.layers.Linear(4, 3), nnad.layers.ReLU())
    >>> print(nnad.layers.summary(model, (1, 4)))
    path   layer   input   output  parameters  multiply-adds
    --------------------------------------------------------
    0      Linear  (1, 4)  (1, 3)          15             12
    1      ReLU    (1, 3)  (1, 3)           0              0
    --------------------------------------------------------
    total                                  15             12
    """
    arrays = [_example(x, module) for x in inputs]
    rows: list[SummaryRow] = []
    modes = {part: part.training for part in module.modules()}
    with ExitStack() as stack:
        stack.enter_context(no_grad())
        for path, part in module.named_modules():
            stack.enter_context(_watched(path, part, rows.append))
        module.eval()
        try:
            module(*arrays, **kwargs)
        finally:
            for part, mode in modes.items():
                part.training = mode
    return Summary(
        tuple(rows),
        module.parameter_count(),
        module.parameter_count(trainable_only=True),
        sum(row.multiply_adds for row in rows),
    )


def _example(x: Any, module: Module) -> Any:
    if isinstance(x, tuple) and all(isinstance(n, (int, np.integer)) for n in x):
        return np.zeros(x, module.dtype or np.dtype("float32"))
    return x


@contextmanager
def _watched(path: str, module: Module, report: Callable[[SummaryRow], Any]) -> Iterator[None]:
    """Inside, every call of `module` is reported: its `forward` is wrapped on the instance."""
    forward = module.forward
    own = sum(p.size for p in module.own_parameters())
    is_leaf = next(module.named_children(), None) is None

    def watching(*args: Any, **kwargs: Any) -> Any:
        output = forward(*args, **kwargs)
        cost = module.multiply_adds(args, output)
        if is_leaf or own or cost:
            name = type(module).__name__
            shapes = (_shape_of(args), _shape_of(output))
            report(SummaryRow(path, name, *shapes, own, cost))
        return output

    _set(module, "forward", watching)
    try:
        yield
    finally:
        object.__delattr__(module, "forward")


def notebook_table(module: Module) -> str:
    """What a notebook shows of a network: its modules as an HTML table, with their parameters.

    Shapes of inputs and outputs are not known without an input: see `summary`.
    """
    rows = []
    for path, part in module.named_modules():
        own = [(k, p) for k, p in part._members.items() if isinstance(p, Parameter)]
        held = ", ".join(f"{name} {p.shape}" for name, p in own)
        frozen = own and not any(p.requires_grad for _, p in own)
        name = f"{type(part).__name__}({part.extra_repr()})"
        count = f"{sum(p.size for _, p in own):,}{' (frozen)' if frozen else ''}" if own else ""
        rows.append([escape(path) or "whole", escape(name), escape(held), count])
    total = f"{type(module).__name__}: {module.parameter_count():,} parameters"
    return table(["path", "layer", "parameters", "numbers"], rows, total)
