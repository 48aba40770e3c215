"""The optimizer base class: parameter groups, the step, and the state that a checkpoint holds."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np

from nnad.autodiff import Tensor
from nnad.autodiff.tensor import Leaf, perform
from nnad.errors import ShapeError
from nnad.optimizers.flat import Division, Moved, Segment, segments_of

__all__ = ["Optimizer", "Params", "parameter_list"]

Params = Iterable[Tensor] | Iterable[Mapping[str, Any]]

FAR_ABOVE = 1e3


class Optimizer:
    """Base of the optimizers: keeps the parameters of each group as flat vectors.

    Args:
        params: Tensors with ``requires_grad=True``, an iterator of them, or groups: dicts with the
            key "params" and hyper-parameters that differ from the optimizer's own.
        defaults: hyper-parameters of groups that do not say otherwise.

    A subclass names its slots (arrays beside the parameters) and gives a module-level kernel,
    ``kernel(param, grad, *slots, scratch, scratch, *scalars)``, that updates flat vectors in place,
    and the scalars of a step. The vectors are stretches of all parameters together, short enough
    for the cache, so what becomes of a number depends on its own place alone. It is found by the
    tests and by configs under its class name.

    As in PyTorch, a parameter whose ``grad`` is None is skipped: neither its value nor its slots
    nor its count of steps change. No optimizer changes the gradient.

    Attributes:
        param_groups: a dict per group: "params" and the hyper-parameters. What changes between
            steps (``lr``, ``weight_decay``, ``betas``, …) is read at each step; what decides which
            slots there are (``amsgrad``, ``centered``, whether ``momentum`` is zero) is not.
    """

    per_parameter = False  # kernels of matrices see one parameter at a time, in its own shape
    elementwise = True  # what becomes of a number depends on its own gradient and slots alone

    def __init__(self, params: Params, defaults: dict[str, Any]) -> None:
        self.defaults = {"maximize": False, **defaults}
        self._lr = self._initial_lr = defaults["lr"]
        self._check(self.defaults)
        self.param_groups = [self._group(entry) for entry in _as_groups(params, type(self))]
        self._check_members()
        self._division: Division | None = None
        self._bind()

    def slots(self, group: Mapping[str, Any]) -> tuple[str, ...]:
        """Names of the arrays kept beside the parameters of `group`, in the kernel's order."""
        raise NotImplementedError

    def slot_shapes(
        self, group: Mapping[str, Any], shape: tuple[int, ...]
    ) -> dict[str, tuple[int, ...]]:
        """Shape of each slot of a parameter of the given shape: by default the same."""
        return dict.fromkeys(self.slots(group), shape)

    def kernel(self, group: Mapping[str, Any]) -> Callable[..., None]:
        """The in-place update of the flat vectors of `group`."""
        raise NotImplementedError

    def scalars(self, group: Mapping[str, Any], step: int) -> tuple[Any, ...]:
        """What the kernel is given after the arrays at update number `step`, counted from 1."""
        raise NotImplementedError

    def initial(self, group: Mapping[str, Any]) -> dict[str, float]:
        """First values of the slots that do not begin at zero."""
        return {}

    def check(self, hyper: Mapping[str, Any]) -> None:
        """Raise a ValueError for hyper-parameters that cannot be meant."""

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient.

        Args:
            closure: if given, it is called first; it runs backward and returns the loss.

        Returns:
            What the closure returned, else None.
        """
        loss = None if closure is None else closure()
        perform(f"{type(self).__name__}.step", self._update, optimizer=self)
        return loss

    def _update(self) -> None:
        try:
            self._update_all()
        except Moved:
            self._rebind()
            self._update_all()

    @property
    def divisible(self) -> bool:
        """Whether processes may update stretches of the parameters each."""
        return self.elementwise and not self.per_parameter

    def divide(self, division: Division | None) -> None:
        """From now on update only the stretches that `division` gives this process; None: all.

        The others stay as they are: their owners' values must be brought here after each step.

        Raises:
            ValueError: the optimizer is not `divisible`.
        """
        if division is not None and not self.divisible:
            raise ValueError(f"{type(self).__name__} needs whole parameters, not stretches of them")
        self._division = division
        self._rebind()

    def flat_slots(self) -> Iterator[np.ndarray]:
        """The vectors beside the parameters."""
        return (slot for segment in self._all_segments() for slot in segment.flat_slots)

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters: ``grad`` is None afterwards."""
        perform("zero_grad", self._forget, parameters=self._parameters)

    def _forget(self) -> None:
        for p in self._parameters():
            if p.grad is not None:
                p.grad = None

    def _parameters(self) -> Iterator[Tensor]:
        return (p for group in self.param_groups for p in group["params"])

    @property
    def lr(self) -> float:
        """The learning rate. Assigning it scales the rates of groups that have their own."""
        return self._lr

    @lr.setter
    def lr(self, value: float) -> None:
        perform("set_lr", partial(self._set_lr, float(value)))

    def _set_lr(self, value: float) -> None:
        start = self._initial_lr
        for group in self.param_groups:
            group["lr"] = value * (group["initial_lr"] / start) if start else value
        self._lr = value

    def state_dict(self, copy: bool = True) -> dict[str, Any]:
        """Everything that decides the next update: arrays, numbers, and names, nested.

        Args:
            copy: False: the optimizer's own arrays, which change with it, instead of copies.

        Returns:
            ``{"lr", "initial_lr", "param_groups": [hyper-parameters and the numbers of the
            parameters], "state": {number of the parameter: {"step": …, slot: array}}}``.
        """
        numbers = iter(range(self._count()))
        groups = [
            {**_hyper(group), "params": [next(numbers) for _ in group["params"]]}
            for group in self.param_groups
        ]
        return {
            "lr": self._lr,
            "initial_lr": self._initial_lr,
            "param_groups": groups,
            "state": self._slot_state(copy),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what :meth:`state_dict` returned, to the last bit.

        Raises:
            ValueError: the state belongs to another optimizer or other parameters.
        """
        saved = [len(group["params"]) for group in state["param_groups"]]
        own = [len(group["params"]) for group in self.param_groups]
        if saved != own:
            raise ValueError(
                f"{type(self).__name__}: the state was saved with groups of {saved} parameters, "
                f"this optimizer has groups of {own}"
            )
        for group, hyper in zip(self.param_groups, state["param_groups"], strict=True):
            if set(hyper) != set(group):
                raise ValueError(
                    f"{type(self).__name__} has the hyper-parameters {sorted(group)}, the state "
                    f"{sorted(hyper)}; was it saved from another optimizer?"
                )
        self._load_slot_state(state["state"])
        for group, hyper in zip(self.param_groups, state["param_groups"], strict=True):
            group.update({k: _thaw(v) for k, v in hyper.items() if k != "params"})
        self._lr, self._initial_lr = state["lr"], state["initial_lr"]

    def __repr__(self) -> str:
        hyper = ", ".join(f"{k}={v}" for k, v in self.defaults.items() if k != "lr")
        return f"{type(self).__name__}(lr={self._lr}, {hyper})"

    def _update_all(self) -> None:
        for group, segments in zip(self.param_groups, self._segments, strict=True):
            kernel = self.kernel(group)
            negate = group["maximize"]
            for segment in segments:
                self.sweep(group, segment)
                for blocks, step in segment.runs():
                    scalars = self.scalars(group, step)
                    for param, grad, *rest in blocks:
                        kernel(param, -grad if negate else grad, *rest, *scalars)

    def sweep(self, group: Mapping[str, Any], segment: Segment) -> None:
        """Before every so many updates, set to zero what has faded from the slots.

        Not where `eps` is as small as the root of such numbers: there they count in a divisor.
        """
        if segment.sweep_is_due and _smallest_eps(group) > FAR_ABOVE * math.sqrt(segment.least):
            segment.sweep()

    def _bind(self) -> None:
        """Make segments of the parameters where they now lie, with slots at their first values."""
        self._segments: list[list[Segment]] = []
        first = 0
        for group in self.param_groups:
            params = group["params"]
            segments = segments_of(
                list(enumerate(params, first)),
                partial(self.slot_shapes, group),
                self.per_parameter,
                self._division,
            )
            initial = self.initial(group)
            for segment in segments:
                for name, flat in zip(segment.slots[0], segment.flat_slots, strict=True):
                    flat[...] = initial.get(name, 0.0)
            self._segments.append(segments)
            first += len(params)

    def _rebind(self) -> None:
        """Follow parameters whose arrays were replaced (flattened, cast, loaded)."""
        state = self._slot_state()
        self._bind()
        self._load_slot_state(state)

    def _all_segments(self) -> list[Segment]:
        return [segment for segments in self._segments for segment in segments]

    def _count(self) -> int:
        return sum(len(group["params"]) for group in self.param_groups)

    def _slot_state(self, copy: bool = False) -> dict[str, dict[str, Any]]:
        found: dict[int, dict[str, Any]] = {}
        for segment in self._all_segments():
            segment.collect_slots()
            for index, step, slots in zip(
                segment.indices, segment.steps, segment.slots, strict=True
            ):
                arrays = {k: v.copy() if copy else v for k, v in slots.items()}
                found[index] = {"step": step, **arrays}
        return {str(index): found[index] for index in sorted(found)}

    def _load_slot_state(self, state: Mapping[str, Mapping[str, Any]]) -> None:
        for segment in self._all_segments():
            for index, slots in zip(segment.indices, segment.slots, strict=True):
                self._check_slots(index, slots, state.get(str(index), {}))
        for segment in self._all_segments():
            for i, (index, slots) in enumerate(zip(segment.indices, segment.slots, strict=True)):
                saved = state[str(index)]
                segment.steps[i] = int(saved["step"])
                for name, slot in slots.items():
                    slot[...] = saved[name]

    def _check_slots(
        self, index: int, slots: Mapping[str, np.ndarray], saved: Mapping[str, Any]
    ) -> None:
        """Refuse state of another kind of optimizer, or of a parameter of another shape."""
        expected = {"step", *slots}
        if set(saved) != expected:
            raise ValueError(
                f"{type(self).__name__}: parameter {index} needs the state {sorted(expected)}, "
                f"got {sorted(saved)}; was it saved from another optimizer?"
            )
        for name, slot in slots.items():
            if np.shape(saved[name]) != slot.shape:
                raise ShapeError(
                    f"{type(self).__name__}: {name} of parameter {index} has shape "
                    f"{slot.shape}, the saved one {np.shape(saved[name])}"
                )

    def _group(self, entry: Mapping[str, Any]) -> dict[str, Any]:
        """A group with every hyper-parameter filled in."""
        unknown = set(entry) - set(self.defaults) - {"params"}
        if unknown:
            raise ValueError(
                f"{type(self).__name__} has no hyper-parameter {', '.join(sorted(unknown))}; "
                f"a group may set {', '.join(self.defaults)}"
            )
        group = {**self.defaults, **entry}
        self._check(group)
        group["params"] = parameter_list(group["params"], type(self).__name__)
        group["initial_lr"] = group["lr"]
        return group

    def _check(self, hyper: Mapping[str, Any]) -> None:
        for name in ("lr", "weight_decay", "momentum", "eps"):
            value = hyper.get(name)
            if isinstance(value, (int, float)) and not 0 <= value < math.inf:
                wanted = "finite" if value == math.inf else "at least 0"
                raise ValueError(f"{type(self).__name__}: {name} must be {wanted}, got {value}")
        betas = hyper.get("betas", ())
        if not all(0 <= beta < 1 for beta in betas):
            raise ValueError(
                f"{type(self).__name__}: betas must be at least 0 and below 1, got {betas}"
            )
        self.check(hyper)

    def _check_members(self) -> None:
        members = [id(p) for group in self.param_groups for p in group["params"]]
        if not members:
            raise ValueError(
                f"{type(self).__name__} got no parameters; an iterator such as "
                "model.parameters() can be used only once"
            )
        if len(set(members)) != len(members):
            raise ValueError(
                f"{type(self).__name__}: a parameter was given twice; every parameter may be in "
                "one group only"
            )
        for p in self._parameters():
            if p.node is not None and not isinstance(p.node, Leaf):
                raise ValueError(
                    f"{type(self).__name__}: a parameter of shape {p.shape} is the result of an "
                    "operation, which never gets a .grad; pass the Tensors it was computed from, "
                    "or make it one of its own: Tensor(t.data, requires_grad=True)"
                )


def _hyper(group: Mapping[str, Any]) -> dict[str, Any]:
    return {k: list(v) if isinstance(v, tuple) else v for k, v in group.items() if k != "params"}


def _thaw(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _as_groups(params: Any, kind: type) -> list[Mapping[str, Any]]:
    """The groups that `params` stands for: itself, or one group of all parameters."""
    if isinstance(params, (Tensor, Mapping, np.ndarray)) or not isinstance(params, Iterable):
        raise TypeError(
            f"{kind.__name__} expects an iterable of Tensors or of groups, got "
            f"{type(params).__name__}; pass model.parameters(), or put a single one in a list"
        )
    entries = list(params)
    if entries and all(isinstance(entry, Mapping) for entry in entries):
        missing = [i for i, entry in enumerate(entries) if "params" not in entry]
        if missing:
            raise ValueError(f"{kind.__name__}: group {missing[0]} has no key 'params'")
        return entries
    return [{"params": entries}] if entries else []


def parameter_list(params: Any, caller: str) -> list[Tensor]:
    """`params` as a list of real floating-point Tensors.

    Raises:
        TypeError: something else is among them.
    """
    found = [params] if isinstance(params, Tensor) else list(params)
    for i, p in enumerate(found):
        if not isinstance(p, Tensor):
            raise TypeError(
                f"{caller}: parameter {i} is a {type(p).__name__}, expected a Tensor; pass "
                "model.parameters(), or Tensor(array, requires_grad=True)"
            )
        if p.dtype.kind != "f":
            raise TypeError(
                f"{caller}: parameter {i} has dtype {p.dtype}, expected real floating-point "
                "numbers; hold a complex parameter as its real and imaginary parts"
            )
    return found


def _smallest_eps(group: Mapping[str, Any]) -> float:
    """What a group's divisors are kept above; infinity if it has none."""
    eps = group.get("eps")
    found = eps if isinstance(eps, (tuple, list)) else [eps]
    return min((number for number in found if number is not None), default=math.inf)
