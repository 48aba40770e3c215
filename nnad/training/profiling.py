"""Where the time of a training step goes: by layer and by operation, eager and compiled."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from itertools import chain
from time import perf_counter
from typing import Any

import numpy as np

from nnad.autodiff.tensor import Leaf, Tensor, apply, state, wrap
from nnad.autodiff.walk import own
from nnad.charts.bars import bars
from nnad.charts.page import document, figure, style
from nnad.charts.page import table as html_table
from nnad.errors import CannotCompile
from nnad.training.build import build
from nnad.training.config import load_config
from nnad.training.job import load_data, make_trainer
from nnad.training.report import table

__all__ = ["Profile", "profile_job"]

PRODUCTS = frozenset(("matmul", "linear", "einsum", "tensordot", "dot", "vecdot"))
WARM_STEPS = 2
OUTSIDE = "(loss)"


@dataclass(frozen=True)
class Profile:
    """Milliseconds of a training step.

    Attributes:
        steps: by way of computing it: eager, NumPy program, native program.
        layers: by path of the layer: forward and backward.
        operations: by name: calls in a step, milliseconds.
        products: share of the operations' time that matrix products take.
    """

    steps: Mapping[str, float]
    layers: Mapping[str, tuple[float, float]]
    operations: Mapping[str, tuple[float, float]]
    products: float

    def __str__(self) -> str:
        parts = (table([head, *rows]) for head, rows in self._tables())
        return "\n\n".join(
            [*parts, f"matrix products: {self.products:.0%} of the operations' time"]
        )

    def to_html(self, title: str) -> str:
        """A page with the same tables and their pictures, which loads nothing."""
        layers = bars("milliseconds by layer", *_by_layer(self.layers))
        names = _largest(self.operations)
        times = [self.operations[name][1] for name in names]
        body = "".join(
            [
                f"<main><h1>{escape(title)}</h1>",
                f"<p>Matrix products: {self.products:.0%} of the operations' time.</p>",
                figure("Time by layer (ms)", layers, note="forward and backward pass of each"),
                figure("Time by operation (ms)", bars("milliseconds by operation", names, times)),
                *(
                    html_table(head, [list(map(escape, r)) for r in rows])
                    for head, rows in self._tables()
                ),
                "</main>",
            ]
        )
        return document(title, body, style(), style("report"))

    def _tables(self) -> Iterator[tuple[list[str], list[list[str]]]]:
        yield ["step", "ms"], [[name, f"{ms:.3f}"] for name, ms in self.steps.items()]
        rows = [
            [name, f"{forward:.3f}", f"{backward:.3f}"]
            for name, (forward, backward) in self.layers.items()
        ]
        yield ["layer", "forward ms", "backward ms"], rows
        names = _largest(self.operations)
        counted = [
            [n, f"{self.operations[n][0]:.0f}", f"{self.operations[n][1]:.3f}"] for n in names
        ]
        yield ["operation", "calls", "ms"], counted


def _escaped(rows: list[list[str]]) -> list[list[str]]:
    return [[escape(cell) for cell in row] for row in rows]


def _largest(operations: Mapping[str, tuple[float, float]], most: int = 15) -> list[str]:
    return sorted(operations, key=lambda name: -operations[name][1])[:most]


def _by_layer(layers: Mapping[str, tuple[float, float]]) -> tuple[list[str], list[float]]:
    both = {
        f"{path} {way}": ms
        for path, pair in layers.items()
        for way, ms in zip(("forward", "back"), pair, strict=True)
        if ms
    }
    return list(both), list(both.values())


def profile_job(path: str, overrides: Sequence[str], steps: int) -> Profile:
    """Time `steps` training steps of a job on its own data, in memory: no run is written.

    Args:
        path: the configuration file, or a bare name.
        overrides: ``key=value`` each.
        steps: how many to take the median of.
    """
    config = load_config(path, [*overrides, "trainer.compile=false"])
    data = load_data(config)
    job = build(config, data)
    trainer = make_trainer(config, job, data)
    trainer.prepare(data.train, None)
    trainer.model.train()
    batch = next(iter(trainer.remaining_batches()))
    arguments = batch.x, batch.y, batch.weight, None

    def step(gradient: Callable[..., Any], update: Callable[[], Any]) -> None:
        trainer.optimizer.zero_grad()
        gradient(*arguments)
        trainer.clip_gradients()
        update()

    eager = trainer.batch_gradient, trainer.optimizer.step
    with np.errstate(all="ignore"):
        times = {"eager": _median(lambda: step(*eager), steps)}
        times |= _compiled_times(trainer, step, steps)
        watch = _Stopwatch(trainer.model)
        with watch.running():
            for _ in range(steps):
                step(*eager)
    return watch.profile(times, steps)


def _compiled_times(trainer: Any, step: Callable[..., None], steps: int) -> dict[str, float]:
    from nnad.compiler import compile
    from nnad.compiler.choice import why_not_native

    times = {}
    for backend in ("numpy", *([] if why_not_native() else ["native"])):
        gradient = compile(trainer.batch_gradient, backend=backend)
        update = compile(trainer.optimizer.step, backend=backend)
        try:
            times[f"{backend} program"] = _median(lambda: step(gradient, update), steps)  # noqa: B023
        except CannotCompile:
            break
    return times


def _median(step: Callable[[], None], steps: int) -> float:
    """Milliseconds of a call."""
    for _ in range(WARM_STEPS):
        step()
    seconds = []
    for _ in range(steps):
        before = perf_counter()
        step()
        seconds.append(perf_counter() - before)
    return 1e3 * float(np.median(seconds))


class _Stopwatch:
    """Stands where the compiler's recorder stands, and times each operation as it passes.

    An operation of the forward pass belongs to the layer that is being called; one of the backward
    pass to the layer of the operation whose derivative it is part of.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self.layer = OUTSIDE
        self.is_backward = False
        self.seconds: defaultdict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        self.operations: defaultdict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        self.layer_of: dict[int, str] = {}
        self.kept: list[Any] = []

    @contextmanager
    def running(self) -> Iterator[None]:
        """Time what is done within the block."""
        modules = dict(self.model.named_modules())
        for name, module in modules.items():
            path = f"{name}.{type(module).__name__}" if name else type(module).__name__
            object.__setattr__(module, "forward", self._located(path, module.forward))
        state.capture = self
        try:
            yield
        finally:
            state.capture = None
            for module in modules.values():
                object.__delattr__(module, "forward")

    def _located(self, path: str, forward: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            outer, self.layer, self.is_backward = self.layer, path, False
            try:
                return forward(*args, **kwargs)
            finally:
                self.layer = outer

        return call

    def apply(self, primitive: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Do an operation and count its time."""
        state.capture = None
        before = perf_counter()
        try:
            result = apply(primitive, args, kwargs)
        finally:
            self._count(primitive.name, perf_counter() - before)
            state.capture = self
        first = result[0] if isinstance(result, tuple) else result
        if isinstance(first, Tensor) and first.node is not None:
            node = first.node if first.node.primitive else first.node.parents[0]
            self.kept.append(node)
            self.layer_of[id(node.args)] = self.layer  # type: ignore[union-attr]
        return result

    def _count(self, name: str, seconds: float) -> None:
        self.seconds[self.layer][self.is_backward] += seconds
        self.operations[name][0] += 1
        self.operations[name][1] += seconds

    def perform(self, name: str, action: Callable[[], Any], facts: Mapping[str, Any]) -> Any:
        """Do an action, such as an update, and count its time."""
        state.capture, self.layer, self.is_backward = None, OUTSIDE, False
        before = perf_counter()
        try:
            return action()
        finally:
            self.operations[name][0] += 1
            self.operations[name][1] += perf_counter() - before
            self.kept.clear()
            state.capture = self

    def hide(self, values: Any) -> Any:
        """What a rule is given; also a sign of whose derivative comes next."""
        layer = self.layer_of.get(id(values))
        if layer is not None:
            self.layer, self.is_backward = layer, True
        if isinstance(values, (list, tuple)):
            return type(values)(self.hide(x) for x in values)
        return wrap(values, None) if isinstance(values, (np.ndarray, np.generic)) else values

    def collect(self, leaf: Leaf, ct: Any) -> None:
        """Store a gradient."""
        array = ct.data if isinstance(ct, Tensor) else np.asarray(ct)
        if leaf.grad is not None:
            leaf.grad += array
        elif leaf.buffer is not None:
            leaf.grad = leaf.buffer
            leaf.grad[...] = array
        else:
            leaf.grad = own(array)

    def gradient(self, leaf: Leaf) -> Any:
        """What `.grad` gives."""
        return leaf.grad

    def refuse_value(self, tensor: Tensor, how: str) -> None:
        """Values may be looked at: nothing is recorded."""

    def profile(self, times: Mapping[str, float], steps: int) -> Profile:
        """What was counted, per step."""
        ms = 1e3 / steps
        total = sum(seconds for name, (_, seconds) in self.operations.items()) or 1.0
        products = sum(self.operations[name][1] for name in PRODUCTS if name in self.operations)
        order = chain((path for path in self.seconds if path != OUTSIDE), [OUTSIDE])
        return Profile(
            times,
            {p: (self.seconds[p][0] * ms, self.seconds[p][1] * ms) for p in order},
            {name: (n / steps, s * ms) for name, (n, s) in self.operations.items()},
            products / total,
        )
