"""Capture: watching one ordinary call of a step and writing down what it does.

Every operation passes through `apply`, which, while a capture is active, both runs the operation
and appends an instruction.  Arrays are recognised by identity: the very object that an earlier
operation returned is that operation's value, an argument of the step is an input, and anything
else is external: a parameter, a running statistic, a constant, read where it lies at each replay.
What the step computes is not kept for that: the capture knows a result as long as the step does.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from nnad.autodiff.table import TABLE, Primitive
from nnad.autodiff.tensor import DATA, Leaf, Node, Tensor, output_node, raw_of, state, wrap
from nnad.compiler.arrays import arrays_in, checksum, forget, own, places_for
from nnad.compiler.buffers import takes
from nnad.compiler.guards import Guards
from nnad.compiler.lines import user_line
from nnad.compiler.program import EXTERNAL, INPUT, RESULT, Instruction, Program, Value, outline
from nnad.compiler.standin import StandIn, make_stand_in, plain, watching
from nnad.compiler.writes import SET, WRITE, WRITE_AT
from nnad.errors import CannotCompile
from nnad.ops.index import split_key
from nnad.ops.places import watched


class DataDependentError(CannotCompile, TypeError):
    """A step asked for the value of an array while it was captured: replay could not follow."""


class Capture:
    """Records what happens between `__enter__` and `__exit__` in this thread."""

    def __init__(self) -> None:
        self.values: dict[int, Value] = {}
        self.living: dict[int, weakref.ref[np.ndarray]] = {}  # results that the step still holds
        self.looks: dict[int, Any] = {}  # of arrays on the tape that are not kept
        self.stand_ins: weakref.WeakValueDictionary[int, StandIn] = weakref.WeakValueDictionary()
        self.inputs: list[Value] = []
        self.instructions: list[Instruction] = []
        self.guards = Guards()
        self.settled: set[Leaf] = set()  # leaves whose gradient the step itself has decided about
        self.dispatching: list[Any] = []  # NumPy functions whose implementations are running
        self.made: weakref.WeakValueDictionary[int, Tensor] = weakref.WeakValueDictionary()
        self.lasting: set[int] = set()  # ids of outside arrays that something else holds as well
        self.outside: dict[int, Tensor] = {}  # those that the step has found, by id
        self.assigned: set[tuple[int, str]] = set()  # attributes that the step has set
        self.seen: dict[int, int] = {}  # ids of plain arrays that the step itself holds: checksums
        self.results = 0
        self.externals = 0
        self.begin = Leaf(None).number  # of the nodes that the step makes

    def __enter__(self) -> Capture:
        if state.capture is not None:
            raise RuntimeError("a compiled step was called for the first time inside another one")
        self._watching = watching()
        self._watching.__enter__()
        state.capture = self
        return self

    def __exit__(self, *exc: object) -> None:
        state.capture = None
        self._watching.__exit__(None, None, None)

    # Values -----------------------------------------------------------------------------------

    def input(self, x: Any) -> Any:
        """What stands for one array argument of the step: a stand-in, or a Tensor around one."""
        array = raw_of(x)
        # A view of its own: the same array may be another argument, or a parameter's, as well.
        array = array.view() if isinstance(array, np.ndarray) else own(array)
        value = Value(INPUT, array, f"x{len(self.inputs)}")
        self.inputs.append(value)
        self.values[id(array)] = value
        return wrap(array, None) if isinstance(x, Tensor) else self.stand_in(array)

    def stand_in(self, array: Any) -> Any:
        """The stand-in for an array; numbers and other things as they are."""
        found = self.stand_ins.get(id(array))
        if found is None:
            known = isinstance(array, np.ndarray) or id(array) in self.values
            if not known:  # a number, or something else that is no array
                return array
            if id(array) not in self.looks:
                self._value(array)
            found = self.stand_ins[id(array)] = make_stand_in(array)
        return found

    def _value(self, array: Any) -> Value:
        """The program's value for an array; one that is not known yet lies outside."""
        value = self.values.get(id(array))
        if value is None:
            assert id(array) not in self.looks, "a rule reads an array that it need not have"
            value = Value(EXTERNAL, array, f"c{self.externals}")
            self.externals += 1
            self.values[id(array)] = value
        return value

    def raw(self, x: Any) -> Any:
        """The plain array in `x`; a Tensor from outside must still hold it at each replay."""
        if not isinstance(x, Tensor):
            if type(x) is np.ndarray and id(x) not in self.values:
                self._value(x)
                self.seen[id(x)] = checksum(x)
            return x
        array = raw_of(x)
        if isinstance(array, np.ndarray) and id(x) not in self.made and type(x) is not StandIn:
            self.outlives(array)
            self.guards.attribute(x, "data", array)
            self.outside[id(x)] = x
        return array

    def outlives(self, array: Any) -> None:
        """Know an array from outside as one whose values outlive the step, written or not."""
        if isinstance(array, np.ndarray) and self._value(array).kind == EXTERNAL:
            self.lasting.add(id(array))

    def reference(self, item: Any) -> Any:
        """`item` with known arrays replaced by values, unknown ones by externals."""
        item = self.raw(item)
        if isinstance(item, np.ndarray):
            return self._value(item)
        if isinstance(item, np.generic):
            return self.values.get(id(item), item)
        if type(item) in (tuple, list):
            return type(item)(self.reference(part) for part in item)
        if type(item) is dict:
            return {k: self.reference(v) for k, v in item.items()}
        return item

    def bare(self, item: Any) -> Any:
        """`item`, also inside containers, with Tensors replaced by the arrays they hold."""
        if isinstance(item, Mapping):
            return {k: self.bare(v) for k, v in item.items()}
        if type(item) in (tuple, list):
            return type(item)(self.bare(x) for x in item)
        return self.raw(item)

    def hide(self, item: Any) -> Any:
        """`item`, also inside containers, with plain arrays replaced by their stand-ins."""
        if isinstance(item, Mapping):
            return {k: self.hide(v) for k, v in item.items()}
        if type(item) in (tuple, list):
            return type(item)(self.hide(x) for x in item)
        return self.stand_in(item)

    # What is watched --------------------------------------------------------------------------

    def read(self, tensor: Tensor) -> Any:
        """What `tensor.data` gives."""
        return tensor if isinstance(tensor, StandIn) else self.stand_in(self.raw(tensor))

    def attribute(self, owner: Any, name: str, value: Any) -> Any:
        """What an attribute of a module gives; one of its own that the step did not set is guarded.

        So is an array that all modules of a class have.
        """
        is_array = isinstance(value, np.ndarray)
        is_own = name in object.__getattribute__(owner, "__dict__")
        if (is_own or is_array) and (id(owner), name) not in self.assigned:
            self.guards.setting(owner, name, value)
        if not is_array:
            return value
        self.outlives(value)
        return self.stand_in(value)

    def gradient(self, leaf: Leaf) -> Any:
        """What `.grad` gives."""
        self._settle(leaf)
        if leaf.grad is not None:
            self.outlives(leaf.grad)
        return self.stand_in(leaf.grad)

    def _settle(self, leaf: Leaf) -> None:
        """From here on the step has seen the gradient it began with: replays must begin alike."""
        if leaf not in self.settled and leaf.number < self.begin:
            self.settled.add(leaf)
            self.guards.attribute(leaf, "grad", leaf.grad)

    def set_gradient(self, leaf: Leaf, value: Any) -> None:
        """What `t.grad = value` does."""
        self.settled.add(leaf)
        if value is None:
            self.perform("forget_gradient", lambda: setattr(leaf, "grad", None), {})
            return
        leaf.grad = None
        self.collect(leaf, value)

    def rebind(self, tensor: Tensor, value: Any) -> None:
        """What `t.data = value` does: a Tensor from outside keeps its array, which is written."""
        try:
            held = DATA.__get__(tensor)
        except AttributeError:  # the Tensor is being made
            self.made[id(tensor)] = tensor
            DATA.__set__(tensor, raw_of(value))
            return
        if id(tensor) in self.made:
            DATA.__set__(tensor, raw_of(value))
        elif raw_of(value) is not held:
            self.write(self.read(tensor), value, "t.data = ...")

    # Writing ----------------------------------------------------------------------------------

    def write(self, target: StandIn, value: Any, statement: str) -> None:
        """What `target[...] = value` does."""
        self._write(target, (WRITE, SET), [value], {}, statement)

    def write_at(self, target: StandIn, key: Any, value: Any) -> None:
        """What `target[key] = value` does."""
        template, indices = split_key(key)
        args = [value, *indices]
        self._write(target, (WRITE_AT, TABLE["setitem"]), args, {"key": template}, "x[i] = ...")

    def _write(
        self, target: StandIn, entries: Any, args: list[Any], kwargs: Any, statement: str
    ) -> None:
        array = raw_of(target)
        value = self._value(array)
        if id(value.root.array) in self.lasting:
            self.apply(entries[0], [target, *args], kwargs)
            return
        what = self._why_not(value)
        if what:
            raise DataDependentError(
                f"{user_line()}: `{statement}` in a compiled step would change {what}; "
                "make a copy first (x = x.copy()), or leave this step uncompiled"
            )
        fresh = raw_of(self.apply(entries[1], [target, *args], kwargs))
        del self.stand_ins[id(array)]
        DATA.__set__(target, fresh)
        self.stand_ins[id(fresh)] = target

    def _why_not(self, value: Value) -> str:
        """What stands against giving an array of the step another value, if anything does."""
        if value.kind == INPUT:
            return "an argument"
        if id(value.array) in self.seen:
            return "an array of the step's own that a replay would not begin anew"
        if value.base is not None or any(v.base is value for v in list(self.values.values())):
            return "an array that another one looks into"
        return ""

    # What NumPy calls -------------------------------------------------------------------------

    def dispatch(self, function: Any, protocol: Any, args: Any, kwargs: Any) -> Any:
        """Let nnad's implementation of a NumPy function do its work, on stand-ins.

        One that in turn calls the NumPy function itself wants values, which there are none of.
        """
        if function in self.dispatching:
            raise self.refusal(f"np.{function.__name__}")
        self.dispatching.append(function)
        try:
            return protocol(*args, **kwargs)
        finally:
            self.dispatching.pop()

    def _result(self, array: Any, instruction: Instruction) -> Value:
        """A new value; it knows what `array` looks like, and `array` as long as the step does."""
        key = id(array)
        value = Value(RESULT, outline(array), f"v{self.results}", instruction)
        self.results += 1
        self.values[key] = value
        if isinstance(array, np.ndarray):
            self.living[key] = weakref.ref(array, partial(forget, self.values, key))
        instruction.outputs.append(value)
        return value

    # What the engine calls --------------------------------------------------------------------

    def apply(self, primitive: Primitive, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Run an operation as `nnad.autodiff.tensor.apply` does, and write it down."""
        raw = [self.raw(x) for x in args]
        if primitive.shaped_by and any(map(self._varies, primitive.shaped_by(*raw, **kwargs))):
            raise self.refusal(f"{primitive.name}, whose result is of another shape each time,")
        parents = [x.node if isinstance(x, Tensor) else None for x in args]
        metadata = self.bare(kwargs)
        made: list[Any] = []
        if takes(primitive.forward, "place"):
            metadata = {**metadata, "place": watched(made)}
        out, saved = primitive.forward(*raw, **metadata), None
        if primitive.residuals:
            out, saved = out
        out = plain(out)
        recorded = (
            state.recording
            and not primitive.nondifferentiable
            and any(parent is not None for parent in parents)
        )
        out, saved = self._emit(primitive, raw, dict(kwargs), out, saved, made)
        if primitive.nondifferentiable or not any(_is_genuine(x) for x in args):
            return self.hide(out)
        node = self._node(primitive, raw, parents, kwargs, out, saved) if recorded else None
        if isinstance(out, tuple):
            return tuple(wrap(x, node and output_node(node, i, x)) for i, x in enumerate(out))
        return wrap(out, node)

    def _node(
        self, primitive: Primitive, raw: Any, parents: Any, kwargs: Any, out: Any, saved: Any
    ) -> Node:
        """What the tape remembers of a call: only what a rule reads, else how it looks."""
        arguments, result = primitive.unread()
        if arguments:
            raw = [
                x if parent is None else self._look(x)
                for x, parent in zip(raw, parents, strict=True)
            ]
        if result and isinstance(out, np.ndarray):
            out = self._look(out)
        return Node(primitive, raw, parents, self.hide(kwargs), out, saved)

    def _look(self, array: Any) -> Any:
        """What stands on the tape for an array whose values nobody reads."""
        looks = outline(array)
        self.looks[id(looks)] = looks
        return looks

    def _varies(self, array: Any) -> bool:
        """Whether the values of an array may be others at a replay."""
        return self._value(array).kind != EXTERNAL or id(array) in self.lasting

    def _emit(
        self,
        primitive: Primitive,
        raw: list[Any],
        kwargs: dict[str, Any],
        out: Any,
        saved: Any,
        made: list[Any],
    ) -> tuple[Any, Any]:
        """Append the instruction; returns output and saved arrays, each an object of its own."""
        if not primitive.has_effect and any(out is x for x in raw):
            return out, saved
        instruction = Instruction(
            primitive.name,
            primitive,
            [self.reference(x) for x in raw],
            self.reference(kwargs),
            [],
            has_effect=primitive.has_effect,
            line=user_line(),
        )
        sources = list(arrays_in((raw, self.bare(kwargs))))
        out, pattern = self._results(out, instruction, sources)
        instruction.pattern = pattern
        if primitive.residuals:
            saved, kept = self._results(tuple(saved), instruction, sources)
            instruction.pattern = (pattern, kept)
        if len(instruction.outputs) == 1 and not (primitive.has_effect or primitive.residuals):
            first = instruction.args[0] if instruction.args else None
            instruction.is_view = isinstance(first, Value) and pattern.base is first
        results = [(x, self._value(x)) for x in arrays_in((out, saved))]
        instruction.places = places_for(made, results)
        if primitive.has_effect:
            roots = [v.root for v in instruction.inputs()]
            instruction.writes = [root for root in roots if root.kind == EXTERNAL]
        self.instructions.append(instruction)
        return out, saved

    def _results(self, out: Any, instruction: Instruction, sources: list[np.ndarray]) -> Any:
        """Name the arrays in `out`; returns them and, in the same structure, their values."""
        if isinstance(out, tuple):
            pairs = [self._results(x, instruction, sources) for x in out]
            return tuple(x for x, _ in pairs), tuple(v for _, v in pairs)
        if not isinstance(out, (np.ndarray, np.generic)) or id(out) in self.values:
            return out, None
        out = own(out)
        value = self._result(out, instruction)
        if isinstance(out, np.ndarray) and out.base is not None:
            seen = next((x for x in sources if np.may_share_memory(out, x)), None)
            value.base = None if seen is None else self._value(seen)
        if isinstance(out, np.ndarray):
            sources.append(out)
        return out, value

    def perform(self, name: str, action: Callable[[], Any], facts: dict[str, Any]) -> Any:
        """Run an opaque action and make it an instruction."""
        state.capture = None
        try:
            result = action()
        finally:
            state.capture = self
        instruction = Instruction(
            name, None, [], {}, [], action=action, has_effect=True, facts=facts, line=user_line()
        )
        self.instructions.append(instruction)
        if name == "zero_grad":
            leaves = (p.node for p in facts["parameters"]())
            self.settled.update(leaf for leaf in leaves if isinstance(leaf, Leaf))
        self._guard_parameters(facts)
        if isinstance(result, float):
            instruction.action = lambda: np.float64(action())
            result = np.float64(result)
        if isinstance(result, (np.ndarray, np.generic)):
            result, instruction.pattern = self._results(result, instruction, [])
            return self.stand_in(result)
        return result

    def _guard_parameters(self, facts: Mapping[str, Any]) -> None:
        """An action on parameters holds while they and their gradients lie where they do."""
        optimizer, params = facts.get("optimizer"), facts.get("params", ())
        if optimizer is not None:
            self.guards.attribute(optimizer, "_segments", optimizer._segments)
            params = [p for group in optimizer.param_groups for p in group["params"]]
        for p in params:
            self.raw(p)
            if isinstance(p.node, Leaf):
                self._settle(p.node)

    def collect(self, leaf: Leaf, ct: Any) -> None:
        """Write down that `backward()` stores `ct` into, or adds it to, a leaf's gradient."""
        self._settle(leaf)
        if leaf.buffer is None:
            leaf.buffer = np.empty_like(raw_of(leaf.out))
        if leaf.grad is not None and leaf.grad is not leaf.buffer:
            self._store("assign", leaf, leaf.grad)
        adds = leaf.grad is not None
        self._store("accumulate" if adds else "assign", leaf, ct)
        leaf.grad = leaf.buffer

    def _store(self, name: str, leaf: Leaf, ct: Any) -> None:
        array = np.asarray(self.raw(ct))
        if name == "assign":
            leaf.buffer[...] = array  # type: ignore[index]
        else:
            leaf.buffer += array
        target = self._value(leaf.buffer)
        self.guards.attribute(leaf, "buffer", leaf.buffer)
        self.instructions.append(
            Instruction(
                name,
                None,
                [target, self.reference(ct)],
                {},
                [],
                has_effect=True,
                writes=[target],
                facts={"leaf": leaf},
                line=user_line(),
            )
        )

    # What is refused --------------------------------------------------------------------------

    def refuse_value(self, tensor: Tensor, how: str) -> None:
        """Refuse `float(t)` and its like: the value changes from call to call."""
        if isinstance(raw_of(tensor), (np.ndarray, np.generic)):
            raise self.refusal(f"{how}, of shape {tensor.shape},")

    def refusal(self, how: str) -> DataDependentError:
        """The error for what depends on values."""
        return DataDependentError(
            f"{user_line()}: {how} in a compiled step needs the values of an array, which are "
            "not known when the program is made, so that what follows from them cannot be "
            "replayed; use np.where, return the array from the step and look at it outside, or "
            "leave this step uncompiled"
        )

    def check_unseen_writes(self) -> None:
        """Refuse a step that changed a plain array of its own unseen, after it had used it."""
        for key, before in self.seen.items():
            array = self.values[key].array
            if key not in self.lasting and checksum(array) != before:
                raise DataDependentError(
                    f"an array of shape {array.shape} was changed in place by plain NumPy while "
                    "the step was compiled, which a replay would not do; keep it in a Tensor, pass "
                    "it as an argument, or change it outside the step"
                )

    def program(
        self, name: str, outputs: list[Any], rebuild: Callable[[list[Any]], Any]
    ) -> Program:
        """What was captured, as a program."""
        named = [self.output(x) for x in outputs]
        self.check_unseen_writes()
        for tensor in self.outside.values():  # at the end: a step may freeze for a while
            self.guards.attribute(tensor, "node", tensor.node)
        for value in self.inputs:
            value.array = outline(value.array)
        return Program(name, self.inputs, self.instructions, named, rebuild, len(self.instructions))

    def output(self, x: Any) -> Any:
        """A result of the step: a value, or a constant such as a Tensor that it only passes on."""
        found = self.reference(x)
        return x if _is_genuine(x) and found.kind == EXTERNAL else found


def _is_genuine(x: Any) -> bool:
    """Whether `x` is a Tensor to the user as well, not what stands for an array."""
    return isinstance(x, Tensor) and not x.is_stand_in
