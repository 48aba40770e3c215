"""Tensor, Node, and `apply`: the one gate through which every operation passes.

A `Tensor` is an array and, if it was computed from something that is being differentiated, the
`Node` that says how.  A node remembers one application of a primitive: its inputs, its output and
the nodes the inputs came from.  Nodes are numbered as they are made, so an operation's number is
always larger than those of its inputs: walking numbers downwards is reverse mode, upwards is
forward mode, and no recursion is needed for either.
"""

from __future__ import annotations

import itertools
import operator
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any

import numpy as np

from nnad.errors import CotangentError, LeafMutationError, LostGradientError

if TYPE_CHECKING:
    from nnad.autodiff.table import Primitive


class _State(threading.local):
    """What is global to a thread: is anything recorded, by whom, and inside how many transforms."""

    recording = True
    capture: Any = None  # the compiler's recorder, while it watches a step
    depth = 0  # how many transforms (grad, vjp, jvp, ...) are running


state = _State()
watched: list[type] = []  # classes whose attributes the compiler watches while it captures a step
_number = itertools.count().__next__
NO_KWARGS: Mapping[str, Any] = {}


class Node:
    """One recorded operation: `out = primitive(*args, **kwargs)`.

    `args` are plain arrays, so that a first-order backward pass runs at array speed; `parents[i]`
    is the node that made `args[i]`, or None for a constant.
    """

    __slots__ = ("args", "kwargs", "number", "out", "parents", "primitive", "saved")

    def __init__(
        self,
        primitive: Primitive | None,
        args: Sequence[Any],
        parents: Sequence[Node | None],
        kwargs: Mapping[str, Any],
        out: Any,
        saved: Any = None,
    ) -> None:
        self.primitive = primitive
        self.args = args
        self.parents = parents
        self.kwargs = kwargs
        self.out = out
        self.saved = saved
        self.number = _number()


class Leaf(Node):
    """A node without history: where differentiation ends and a gradient is collected.

    `buffer`, if set, is the array that `backward()` writes the gradient into (a parameter's place
    in its model's flat gradient).
    """

    __slots__ = ("buffer", "grad")

    def __init__(self, out: Any) -> None:
        super().__init__(None, (), (), NO_KWARGS, out)
        self.grad: np.ndarray | None = None
        self.buffer: np.ndarray | None = None


class Tensor:
    """An array whose operations are recorded.

    Args:
        data: anything `np.asarray` takes, of any shape.
        requires_grad: collect a gradient in `.grad` when `backward()` is called on a result.

    NumPy functions and operators work on a Tensor as on an ndarray and record what they do.

    >>> t = Tensor([1.0, 2.0, 3.0], requires_grad=True)
    >>> (t * t).sum().backward()
    >>> t.grad
    array([2., 4., 6.])
    """

    __slots__ = ("__weakref__", "data", "node")
    __hash__ = object.__hash__

    data: Any
    node: Node | None
    is_stand_in = False  # of the compiler, for an array that is no Tensor to the user

    def __init__(self, data: Any, requires_grad: bool = False) -> None:
        self.data = data.data if isinstance(data, Tensor) else np.asarray(data)
        self.node = None
        if requires_grad:
            self.requires_grad = True

    @property
    def requires_grad(self) -> bool:
        """Whether a gradient flows to or through this Tensor."""
        return self.node is not None

    @requires_grad.setter
    def requires_grad(self, wanted: bool) -> None:
        if wanted and self.node is None:
            check_differentiable(self.data, "requires_grad=True")
            self.node = Leaf(raw_of(self))
        elif not wanted:
            self.node = None

    @property
    def grad(self) -> np.ndarray | None:
        """The gradient collected by `backward()`: an ndarray of this shape and dtype, or None."""
        return gradient_of(self.node) if isinstance(self.node, Leaf) else None

    @grad.setter
    def grad(self, value: Any) -> None:
        if not isinstance(self.node, Leaf):
            raise LostGradientError(
                "cannot set .grad: this Tensor is not a leaf that collects gradients; "
                "create it with requires_grad=True"
            )
        if value is not None and np.shape(value_of(value)) != self.shape:
            raise CotangentError(
                f".grad: got shape {np.shape(value_of(value))}, expected the Tensor's own shape "
                f"{self.shape}"
            )
        if state.capture is not None:
            state.capture.set_gradient(self.node, value)
        else:
            self.node.grad = None if value is None else np.asarray(value)

    shape = property(lambda self: self.data.shape, doc="Sizes of the axes.")
    ndim = property(lambda self: self.data.ndim, doc="Number of axes.")
    size = property(lambda self: self.data.size, doc="Number of elements.")
    dtype = property(lambda self: self.data.dtype, doc="NumPy dtype of the elements.")
    itemsize = property(lambda self: self.data.dtype.itemsize, doc="Bytes of one element.")
    nbytes = property(lambda self: self.data.nbytes, doc="Bytes of all elements.")

    def numpy(self) -> np.ndarray:
        """The values as an ndarray; what is computed from it is not differentiated."""
        return self.data if state.capture is not None else np.asarray(self.data)

    def detach(self) -> Tensor:
        """The same values without history: a constant for every derivative."""
        return Tensor(self.data)

    def item(self, *index: Any) -> Any:
        """The single value, or the one at `index`, as a Python number."""
        return self._leave("item()").item(*index)

    def tolist(self) -> Any:
        """The values as nested lists of Python numbers."""
        return self._leave("tolist()").tolist()

    def backward(self, gradient: Any = None) -> None:
        """Add d(self)/d(leaf), contracted with `gradient`, to `.grad` of every leaf behind it.

        Args:
            gradient: cotangent of this Tensor's shape; needed unless it holds one element.
        """
        from nnad.autodiff.walk import backward

        backward(self, gradient)

    def _leave(self, how: str) -> np.ndarray:
        """The values as an ndarray, refused where a derivative would be lost unnoticed."""
        if self.node is not None and state.depth:
            from nnad.autodiff.protocols import instead

            raise LostGradientError(
                f"{how} on a Tensor that is being differentiated (shape {self.shape}, dtype "
                f"{self.dtype}) would drop it from the derivative; {instead(how)}"
            )
        if state.capture is not None:
            state.capture.refuse_value(self, how)
        return np.asarray(self.data)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self._leave("np.asarray(t) or np.array(t)"), dtype=dtype, copy=copy)

    def __float__(self) -> float:
        return float(self._leave("float(t), math.f(t) or y[i] = t into an ndarray y").item())

    def __int__(self) -> int:
        return int(self._leave("int(t)").item())

    def __complex__(self) -> complex:
        return complex(self._leave("complex(t)").item())

    def __index__(self) -> int:
        return operator.index(self._leave("using t as an index").item())

    def __bool__(self) -> bool:
        if state.capture is not None:
            state.capture.refuse_value(self, "bool(t)")
        return bool(self.data)

    def __len__(self) -> int:
        return len(self.data)

    def __repr__(self) -> str:
        body = np.array2string(np.asarray(self.data), separator=", ", prefix="Tensor(")
        suffix = ", requires_grad=True" if self.node is not None else ""
        return f"Tensor({body}, dtype={self.dtype}{suffix})"

    def __format__(self, spec: str) -> str:
        return format(self.data.item() if spec and self.size == 1 else str(self), spec)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (np.asarray(self.data), isinstance(self.node, Leaf))

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        return type(self)(np.array(self.data), isinstance(self.node, Leaf))

    def become(self, result: Tensor, statement: str) -> Tensor:
        """Take over `result`: how an in-place statement on an intermediate value is recorded."""
        if isinstance(self.node, Leaf):
            raise LeafMutationError(
                f"`{statement}` would overwrite an input that is being differentiated; write "
                "`x = x + ...` or `x = np.where(mask, new, x)` (or start from x.copy()), or, to "
                "change a parameter's values outside the graph, assign to t.data[...]"
            )
        self.data, self.node = result.data, result.node
        return self


_new = object.__new__
DATA: Any = Tensor.__dict__["data"]  # the slot itself: the compiler watches `.data` for a while


def raw_of(x: Any) -> Any:
    """The plain array or number in `x`, also while the compiler hides the values of Tensors."""
    return DATA.__get__(x) if isinstance(x, Tensor) else x


def gradient_of(leaf: Leaf) -> Any:
    """What `.grad` gives: the collected gradient, or what stands for it in a captured step."""
    return leaf.grad if state.capture is None else state.capture.gradient(leaf)


def wrap(data: Any, node: Node | None) -> Tensor:
    """A Tensor of `data` and `node` without any conversion."""
    tensor = _new(Tensor)
    tensor.data = data
    tensor.node = node
    return tensor


def apply(primitive: Primitive, args: Sequence[Any], kwargs: Mapping[str, Any] = NO_KWARGS) -> Any:
    """Run `primitive` on `args` (Tensors, arrays, numbers) and record it where that is needed.

    Returns a Tensor, or a tuple of them for a primitive of several outputs.
    """
    if state.capture is not None:
        return state.capture.apply(primitive, args, kwargs)
    raw: list[Any] = []
    parents: list[Node | None] = []
    recorded = False
    for x in args:
        if isinstance(x, Tensor):
            raw.append(x.data)
            node = x.node
            parents.append(node)
            if node is not None:
                recorded = True
        else:
            raw.append(x)
            parents.append(None)
    out = primitive.forward(*raw, **kwargs)
    saved = None
    if primitive.residuals:
        out, saved = out
    elif primitive.nondifferentiable:
        return out
    recorded = recorded and state.recording
    node = Node(primitive, raw, parents, kwargs, out, saved) if recorded else None
    if type(out) is tuple:
        return tuple(wrap(x, node and output_node(node, i, x)) for i, x in enumerate(out))
    return wrap(out, node)


def apply_unary(primitive: Primitive, x: Tensor) -> Any:
    """`apply(primitive, (x,))` for an elementwise primitive: the same in half the time."""
    if state.capture is not None:
        return state.capture.apply(primitive, (x,), NO_KWARGS)
    data, parent = x.data, x.node
    out = primitive.forward(data)
    if parent is None or not state.recording:
        return wrap(out, None)
    return wrap(out, Node(primitive, (data,), (parent,), NO_KWARGS, out))


def apply_binary(primitive: Primitive, x: Any, y: Any, forward: Callable[..., Any]) -> Any:
    """`apply(primitive, (x, y))` for an elementwise primitive, by way of `forward`."""
    if state.capture is not None:
        return state.capture.apply(primitive, (x, y), NO_KWARGS)
    a, left = (x.data, x.node) if isinstance(x, Tensor) else (x, None)
    b, right = (y.data, y.node) if isinstance(y, Tensor) else (y, None)
    out = forward(a, b)
    if (left is None and right is None) or not state.recording:
        return wrap(out, None)
    return wrap(out, Node(primitive, (a, b), (left, right), NO_KWARGS, out))


def perform(name: str, action: Callable[[], Any], **facts: Any) -> Any:
    """Run `action()`, which changes state outside the graph (an optimizer's update).

    While the compiler watches, the action becomes one instruction of its program.

    Args:
        name: what the instruction is called.
        action: takes nothing; is called again at every replay.
        facts: what a back end may use to do the same faster.
    """
    if state.capture is not None:
        return state.capture.perform(name, action, facts)
    return action()


def output_node(node: Node, index: int, out: Any) -> Node:
    """The node of one output of an operation that has several."""
    return Node(None, (), (node,), {"index": index}, out)


def is_recorded(x: Any) -> bool:
    """Whether `x` is a Tensor through which a derivative flows."""
    return isinstance(x, Tensor) and x.node is not None


def value_of(x: Any) -> Any:
    """The plain array or number in `x`, Tensor or not, without its history."""
    return x.data if isinstance(x, Tensor) else x


def dtype_of(x: Any) -> np.dtype:
    """The NumPy dtype of an array, Tensor or number, without a look at its values."""
    dtype = getattr(x, "dtype", None)
    return np.asarray(x).dtype if dtype is None else dtype


def stop_gradient(x: Any) -> Any:
    """`x` as a constant: the same values, no derivative.

    Args:
        x: an array or Tensor, or nested dicts, lists, tuples and dataclasses of them.
    """
    from nnad.autodiff.trees import map_leaves

    return map_leaves(lambda leaf: leaf.detach() if isinstance(leaf, Tensor) else leaf, x)


class no_grad:
    """Record nothing inside: `with nnad.no_grad(): ...`, or as a decorator `@nnad.no_grad()`."""

    def __init__(self) -> None:
        self.before: list[bool] = []

    def __enter__(self) -> None:
        self.before.append(state.recording)
        state.recording = False

    def __exit__(self, *exc: object) -> None:
        state.recording = self.before.pop()

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with no_grad():
                return function(*args, **kwargs)

        return wrapped


def check_differentiable(x: Any, where: str, error: Callable[[str], Exception] = TypeError) -> None:
    """Raise unless `x` holds floating-point or complex numbers."""
    if dtype_of(x).kind not in "fc":
        got = getattr(x, "dtype", type(x).__name__)
        raise error(
            f"{where}: got {got}, but only floating-point and complex numbers have a derivative; "
            "convert first, for example x.astype(float) or 3.0 instead of 3"
        )
