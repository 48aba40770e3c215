"""Module: what every layer and network is made of."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from nnad.autodiff.tensor import perform, state, value_of, watched
from nnad.errors import ShapeError
from nnad.layers.diagnosis import locate
from nnad.layers.parameter import FlatBuffer, Parameter, flatten

if TYPE_CHECKING:
    from nnad.layers.compiled import CompiledModule

__all__ = ["Module", "ModuleList"]

_set = object.__setattr__


class Module:
    """A layer or network: parameters, buffers and other modules, and a `forward`.

    A subclass sets Parameters and Modules as attributes in its `__init__` and defines
    `forward(self, x)`; both are found, in the order they were set, without further ado.

    Attributes:
        training: True at first; `train()` and `eval()` set it for a module and all below it.
        flat: the flat buffers of the parameters by dtype, after `flatten()`.
        input_sizes: which constructor arguments are sizes of the input, and of which axis
            (`{"in_features": -1}`): they can be filled in, and are checked, from the input.

    >>> import nnad
    >>> class Scale(nnad.layers.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.factor = nnad.layers.Parameter([2.0])
    ...     def forward(self, x):
    ...         return x * self.factor
    >>> list(Scale().state_dict())
    ['factor']
    """

    input_sizes: ClassVar[dict[str, int]] = {}

    flat: dict[np.dtype, FlatBuffer]
    _members: dict[str, Any]
    _training: bool

    def __init__(self) -> None:
        _set(self, "_members", {})  # parameters, modules and (as None) buffers, as constructed
        _set(self, "_training", True)
        _set(self, "flat", {})

    @property
    def training(self) -> bool:
        """Whether the module is in training mode; a compiled step holds for the mode it saw."""
        return self._training

    @training.setter
    def training(self, mode: bool) -> None:
        _set(self, "_training", bool(mode))

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The layer's computation; subclasses define it."""
        raise NotImplementedError(f"{type(self).__name__} defines no forward(self, x)")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return self.forward(*args, **kwargs)
        except (ValueError, IndexError) as error:
            located = locate(self, error, args)
            if located is error:
                raise
            raise located from error

    def __setattr__(self, name: str, value: Any) -> None:
        members = self.__dict__.get("_members")
        if members is None:
            raise AttributeError(
                f"{type(self).__name__}.__init__ must call super().__init__() before it sets "
                f"{name!r}"
            )
        if isinstance(value, (Parameter, Module)):
            self._keep_member(name, value)
        elif name in members:
            if members[name] is None and value is not None:
                self._set_buffer(name, value)
                return
            self._drop_member(name)
        if state.capture is not None:
            state.capture.assigned.add((id(self), name))
        _set(self, name, value)

    def __delattr__(self, name: str) -> None:
        self._drop_member(name)
        object.__delattr__(self, name)

    def register_buffer(self, name: str, array: Any) -> None:
        """Keep `array`, which is saved and loaded but not trained, as the attribute `name`.

        Later assignments to the attribute copy into the same array.
        """
        self._keep_member(name, None)
        _set(self, name, np.array(array))

    # A compiled step knows the dict of the members again: it is never changed in place.

    def _keep_member(self, name: str, member: Any) -> None:
        _set(self, "_members", {**self._members, name: member})

    def _drop_member(self, name: str) -> None:
        _set(self, "_members", {k: v for k, v in self._members.items() if k != name})

    def _set_buffer(self, name: str, value: Any) -> None:
        buffer = getattr(self, name)
        if state.capture is not None:
            buffer[...] = value
            return
        array = np.asarray(value_of(value))
        if array.shape != buffer.shape:
            raise ShapeError(
                f"buffer {name!r} has shape {buffer.shape}, got an array of shape {array.shape}"
            )
        buffer[...] = array

    # Walks over what a module holds -----------------------------------------------------------

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """(name, module) of the modules directly inside, in order of construction."""
        return ((name, m) for name, m in self._members.items() if isinstance(m, Module))

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """(dotted path, module) of this module (path "") and all below it, each once."""
        seen: set[Module] = set()
        stack: list[tuple[str, Module]] = [(prefix, self)]
        while stack:
            path, module = stack.pop()
            if module in seen:
                continue
            seen.add(module)
            yield path, module
            below = [(_join(path, name), child) for name, child in module.named_children()]
            stack.extend(reversed(below))

    def modules(self) -> Iterator[Module]:
        """This module and all below it, each once."""
        return (module for _, module in self.named_modules())

    def named_state(self, prefix: str = "") -> Iterator[tuple[str, Parameter | np.ndarray]]:
        """(dotted path, Parameter or buffer) in order of construction, shared ones repeated."""
        for name, member in self._members.items():
            path = prefix + name
            if isinstance(member, Module):
                yield from member.named_state(path + ".")
            else:
                yield path, getattr(self, name) if member is None else member

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """(dotted path, Parameter) in order of construction; a shared one under its first path."""
        seen: set[Parameter] = set()
        for path, item in self.named_state():
            if isinstance(item, Parameter) and item not in seen:
                seen.add(item)
                yield path, item

    def parameters(self) -> Iterator[Parameter]:
        """The Parameters in order of construction, each once."""
        return (p for _, p in self.named_parameters())

    def named_buffers(self) -> Iterator[tuple[str, np.ndarray]]:
        """(dotted path, array) of the buffers in order of construction."""
        return ((k, item) for k, item in self.named_state() if not isinstance(item, Parameter))

    def named_generators(self) -> Iterator[tuple[str, np.random.Generator]]:
        """(dotted path, generator) of the random generators that layers were given as `rng=`.

        Together with `nnad.random.default_generator()` they are the random state of a network.
        """
        for path, module in self.named_modules():
            for name, value in vars(module).items():
                if isinstance(value, np.random.Generator):
                    yield _join(path, name), value

    def own_parameters(self) -> Iterator[Parameter]:
        """The Parameters that are attributes of this very module."""
        return (p for p in self._members.values() if isinstance(p, Parameter))

    def parameter_count(self, trainable_only: bool = False) -> int:
        """How many numbers the parameters hold."""
        return sum(p.size for p in self.parameters() if p.requires_grad or not trainable_only)

    # Modes and memory -------------------------------------------------------------------------

    def train(self, mode: bool = True) -> Module:
        """Switch this module and all below it to training mode; returns the module."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Module:
        """Switch this module and all below it to evaluation mode; returns the module."""
        return self.train(False)

    def zero_grad(self) -> None:
        """Forget all gradients."""
        perform("zero_grad", self._forget, parameters=self.parameters)

    def _forget(self) -> None:
        for p in self.parameters():
            p.leaf.grad = None

    def flatten(self) -> dict[np.dtype, FlatBuffer]:
        """Lay all parameters end to end, one buffer per dtype; returns and keeps `flat`.

        Does nothing where they lie so already.
        """
        _set(self, "flat", flatten(self.parameters()))
        return self.flat

    def astype(self, dtype: Any) -> Module:
        """Change all parameters and floating-point buffers to `dtype`; returns the module."""
        for module in self.modules():
            _set(module, "flat", {})
            for name, member in module._members.items():
                if isinstance(member, Parameter):
                    member.astype(dtype)
                elif member is None and getattr(module, name).dtype.kind == "f":
                    _set(module, name, getattr(module, name).astype(dtype))
        return self

    @property
    def dtype(self) -> np.dtype | None:
        """The dtype of the first parameter; None without parameters."""
        return next((p.dtype for p in self.parameters()), None)

    def freeze(self, *patterns: str) -> list[str]:
        """Stop training the parameters whose paths match; returns their paths.

        Args:
            patterns: shell patterns of dotted paths (`"0.*"`, `"*.bias"`); none: all parameters.
        """
        return self._set_trainable(patterns, False)

    def unfreeze(self, *patterns: str) -> list[str]:
        """Train the parameters whose paths match again; see `freeze`."""
        return self._set_trainable(patterns, True)

    def _set_trainable(self, patterns: Iterable[str], wanted: bool) -> list[str]:
        matches = dict(self.matching(*patterns or ("*",)))
        for p in matches.values():
            p.requires_grad = wanted
        return list(matches)

    def matching(self, *patterns: str) -> Iterator[tuple[str, Parameter]]:
        """(path, Parameter) of those whose path matches one of the shell `patterns`.

        Raises:
            ValueError: if a pattern matches nothing.
        """
        named = dict(self.named_parameters())
        for pattern in patterns:
            if not fnmatch.filter(named, pattern):
                raise ValueError(
                    f"no parameter matches {pattern!r}; the parameters are {', '.join(named)}"
                )
        return (
            (path, p)
            for path, p in named.items()
            if any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns)
        )

    def compiled(self, *, backend: str = "auto", threads: int | str = "auto") -> CompiledModule:
        """The module's predictions as a compiled function from plain arrays to plain arrays.

        It is in evaluation mode, records nothing, follows parameters as they change, and makes one
        program for each shape of the inputs.

        Args:
            backend, threads: see `nnad.compile`.

        >>> import nnad, numpy as np
        >>> model = nnad.layers.Sequential(nnad.layers.Linear(3, 2), nnad.layers.Dropout(0.5))
        >>> model.compiled(backend="numpy")(np.ones((4, 3), np.float32)).shape
        (4, 2)
        """
        from nnad.layers.compiled import CompiledModule

        return CompiledModule(self, backend, threads)

    # State ------------------------------------------------------------------------------------

    def state_dict(self, copy: bool = True) -> dict[str, np.ndarray]:
        """All parameters and buffers by dotted path, in order of construction.

        A parameter that several modules share stands under its first path.

        Args:
            copy: False: the module's own arrays, which change with it, instead of copies.
        """
        first: dict[int, str] = {}
        state = {}
        for path, item in self.named_state():
            if first.setdefault(id(item), path) == path:
                array = value_of(item)
                state[path] = np.array(array) if copy else array
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Copy the arrays of `state` into parameters and buffers, cast to their dtypes.

        Raises:
            ShapeError: naming every entry that is missing, unknown or of another shape; nothing
                is changed then.
        """
        own = {path: value_of(item) for path, item in self.named_state()}
        problems = _missing(self, state) + [
            f"{path}: unknown; the module has no parameter or buffer of that name"
            for path in state
            if path not in own
        ]
        arrays = {path: np.asarray(value_of(a)) for path, a in state.items() if path in own}
        problems += [
            f"{path}: got shape {array.shape}, expected {own[path].shape}"
            for path, array in arrays.items()
            if array.shape != own[path].shape
        ]
        if problems:
            raise ShapeError(
                f"the state does not fit {type(self).__name__}:\n  " + "\n  ".join(problems)
            )
        for path, array in arrays.items():
            own[path][...] = array

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "flat": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    # Description ------------------------------------------------------------------------------

    def multiply_adds(self, inputs: Any, output: Any) -> int:
        """Multiply-add operations of one call, the modules inside not counted.

        Args:
            inputs: tuple of what the call was given.
            output: what it returned.
        """
        return 0

    def extra_repr(self) -> str:
        """The arguments shown in `repr`; subclasses with interesting ones define it."""
        return ""

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        from nnad.layers.summary import notebook_table

        return notebook_table(self)

    def __repr__(self) -> str:
        children = [f"({name}): {child!r}" for name, child in self.named_children()]
        head = type(self).__name__
        if not children:
            return f"{head}({self.extra_repr()})"
        body = "\n".join(children).replace("\n", "\n  ")
        return f"{head}({self.extra_repr()}\n  {body}\n)"


watched.append(Module)


class ModuleList(Module):
    """Modules in a list: indexed, iterated and registered, but not called.

    Args:
        modules: the modules.
    """

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        super().__init__()
        for module in modules:
            self.append(module)

    def append(self, module: Module) -> None:
        """Add a module at the end."""
        setattr(self, str(len(self)), module)

    def __len__(self) -> int:
        return len(self._members)

    def __iter__(self) -> Iterator[Module]:
        return (module for _, module in self.named_children())

    def __getitem__(self, index: int) -> Module:
        return list(self)[index]


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _missing(module: Module, state: Mapping[str, Any]) -> list[str]:
    """A line for each parameter or buffer that `state` has under none of its paths."""
    paths: dict[int, list[str]] = {}
    for path, item in module.named_state():
        paths.setdefault(id(item), []).append(path)
    return [
        f"{aliases[0]}: missing" for aliases in paths.values() if state.keys().isdisjoint(aliases)
    ]
