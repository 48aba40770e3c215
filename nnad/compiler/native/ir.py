"""A small writer of LLVM IR: functions over arrays of known shape and strides.

A `Kernel` is one LLVM function.  It takes the number of its part and a pointer to each
array that it touches; what it writes does not overlap with what it reads elsewhere, which is what
lets LLVM vectorise.  Inside, code is written with `load`, `store`, arithmetic and `loop`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

TYPES = {
    "float32": "float",
    "float64": "double",
    "int64": "i64",
    "int32": "i32",
    "uint8": "i8",
    "bool": "i8",
}
FLOATS = ("float", "double")


class Unsupported(Exception):
    """This instruction has no native form: it stays a NumPy call."""


def type_of(dtype: Any) -> str:
    """The LLVM type of an element."""
    try:
        return TYPES[np.dtype(dtype).name]
    except KeyError:
        raise Unsupported(f"dtype {dtype}") from None


def address_of(array: np.ndarray) -> int:
    """Where the first element lies."""
    return array.__array_interface__["data"][0]


class Kernel:
    """One LLVM function under construction.

    Attributes:
        name: of the function.
        addresses: where its parameters point, in order; not part of its text.
        type: of the floating-point numbers that constants are made of.
    """

    def __init__(self, name: str, type_: str = "float") -> None:
        self.name = name
        self.type = type_
        self.addresses: list[int] = []
        self.lines: list[str] = []
        self.entry: list[str] = []
        self.counter = 0
        self.in_parts = False  # whether several threads do it together
        self.block = "start"

    # Text -------------------------------------------------------------------------------------

    def text(self) -> str:
        """The function's IR."""
        parameters = ", ".join(
            ["i64 %part"] + [f"ptr noalias %p{i}" for i in range(len(self.addresses))]
        )
        body = "\n  ".join(["  br label %start"])
        return (
            f"define internal void @{self.name}({parameters}) noinline nounwind {{\nentry:\n  "
            + "\n  ".join([*self.entry, body.strip()])
            + "\nstart:\n"
            + "\n".join(self.lines)
            + "\n  ret void\n}\n"
        )

    def fresh(self, prefix: str = "t") -> str:
        """A new register or label name, without its %."""
        self.counter += 1
        return f"{prefix}{self.counter}"

    def emit(self, code: str) -> str:
        """Append an instruction; returns the register of its result."""
        register = f"%{self.fresh()}"
        self.lines.append(f"  {register} = {code}")
        return register

    def do(self, code: str) -> None:
        """Append an instruction without a result."""
        self.lines.append(f"  {code}")

    def label(self, name: str) -> None:
        """Begin a basic block."""
        self.lines.append(f"{name}:")
        self.block = name

    # Memory -----------------------------------------------------------------------------------

    def pointer(self, address: int) -> str:
        """The parameter that points to an address."""
        if address not in self.addresses:
            self.addresses.append(address)
        return f"%p{self.addresses.index(address)}"

    def address(self, array: Place, index: Sequence[str]) -> str:
        """Pointer to `array[index]`."""
        base = array.origin(self, self.pointer(array.start))
        offset = self.flat_index(array.strides, index)
        if offset == "0":
            return base
        return self.emit(f"getelementptr {array.type}, ptr {base}, i64 {offset}")

    def flat_index(self, strides: Sequence[int], index: Sequence[str]) -> str:
        """sum(stride * index), in elements."""
        total = "0"
        for stride, i in zip(strides, index, strict=True):
            if stride == 0 or i == "0":
                continue
            term = i if stride == 1 else self.emit(f"mul nsw i64 {i}, {stride}")
            total = term if total == "0" else self.emit(f"add nsw i64 {total}, {term}")
        return total

    def load(self, array: Place, index: Sequence[str]) -> str:
        """The element at `index`."""
        return self.emit(f"load {array.type}, ptr {self.address(array, index)}")

    def store(self, array: Place, index: Sequence[str], value: str) -> None:
        """Write the element at `index`."""
        self.do(f"store {array.type} {value}, ptr {self.address(array, index)}")

    def variable(self, type_: str, initial: str) -> str:
        """A local variable; LLVM turns it into a register."""
        register = f"%{self.fresh('var')}"
        self.entry.append(f"{register} = alloca {type_}")
        self.do(f"store {type_} {initial}, ptr {register}")
        return register

    def get(self, type_: str, variable: str) -> str:
        """Read a local variable."""
        return self.emit(f"load {type_}, ptr {variable}")

    def put(self, type_: str, variable: str, value: str) -> None:
        """Write a local variable."""
        self.do(f"store {type_} {value}, ptr {variable}")

    # Control ----------------------------------------------------------------------------------

    @contextmanager
    def loop(self, stop: int | str, start: int | str = 0) -> Iterator[str]:
        """`for i in range(start, stop)`; yields i."""
        if stop == 1 and start == 0:
            yield "0"
            return
        name = self.fresh("loop")
        before = self.block
        self.do(f"br label %{name}.head")
        self.label(f"{name}.head")
        i = f"%{name}.i"
        phi = len(self.lines)
        self.lines.append("")
        test = self.emit(f"icmp slt i64 {i}, {stop}")
        self.do(f"br i1 {test}, label %{name}.body, label %{name}.exit")
        self.label(f"{name}.body")
        yield i
        after = self.emit(f"add nuw nsw i64 {i}, 1")
        last = self.block
        self.do(f"br label %{name}.head")
        self.lines[phi] = f"  {i} = phi i64 [ {start}, %{before} ], [ {after}, %{last} ]"
        self.label(f"{name}.exit")

    @contextmanager
    def only_if(self, condition: str) -> Iterator[None]:
        """Run the body where the i1 `condition` is true."""
        name = self.fresh("if")
        self.do(f"br i1 {condition}, label %{name}.then, label %{name}.end")
        self.label(f"{name}.then")
        yield
        self.do(f"br label %{name}.end")
        self.label(f"{name}.end")

    def share(self, n: int, threads: int, grain: int = 1) -> tuple[str, str]:
        """This part [start, stop) of `range(n)`, cut at multiples of `grain`."""
        if threads == 1:
            return "0", str(n)
        self.in_parts = True
        units = -(-n // grain)

        def bound(part: str) -> str:
            scaled = self.emit(f"mul nsw i64 {part}, {units}")
            unit = self.emit(f"udiv i64 {scaled}, {threads}")
            whole = self.emit(f"mul nsw i64 {unit}, {grain}") if grain > 1 else unit
            over = self.emit(f"icmp sgt i64 {whole}, {n}")
            return self.emit(f"select i1 {over}, i64 {n}, i64 {whole}")

        following = self.emit("add nsw i64 %part, 1")
        return bound("%part"), bound(following)

    # Arithmetic -------------------------------------------------------------------------------

    def number(self, value: float, type_: str | None = None) -> str:
        """A floating-point constant."""
        type_ = type_ or self.type
        if type_ == "float":
            value = float(np.float32(value))
        bits = np.float64(value).view(np.uint64)
        return f"0x{int(bits):016X}"

    def op(self, name: str, *args: str, type_: str | None = None) -> str:
        """A floating-point instruction such as fadd; products and sums may be contracted."""
        type_ = type_ or self.type
        flags = "contract " if name in ("fadd", "fsub", "fmul") else ""
        return self.emit(f"{name} {flags}{type_} {', '.join(args)}")

    def sum_op(self, a: str, b: str, type_: str | None = None) -> str:
        """An addition whose order in a sum LLVM may change, so that sums vectorise."""
        return self.emit(f"fadd reassoc contract {type_ or self.type} {a}, {b}")

    def call(self, name: str, *args: str, type_: str | None = None) -> str:
        """A function of floats: an LLVM intrinsic or one of the module's own."""
        type_ = type_ or self.type
        typed = ", ".join(f"{type_} {a}" for a in args)
        return self.emit(f"call {type_} @{name}({typed})")

    def compare(self, how: str, a: str, b: str, type_: str | None = None) -> str:
        """An i1 from a floating-point comparison such as "ogt"."""
        return self.emit(f"fcmp {how} {type_ or self.type} {a}, {b}")

    def select(self, condition: str, a: str, b: str, type_: str | None = None) -> str:
        """a where the i1 condition is true, else b."""
        type_ = type_ or self.type
        return self.emit(f"select i1 {condition}, {type_} {a}, {type_} {b}")


class Place:
    """Where an array lies: the address of its first element, and strides in elements."""

    def __init__(self, array: np.ndarray) -> None:
        self.start = address_of(array)
        self.shape: tuple[int, ...] = tuple(array.shape)
        self.dtype = array.dtype
        self.type = type_of(array.dtype)
        item = array.dtype.itemsize
        strides = getattr(array, "strides", ())
        if any(s % item for s in strides):
            raise Unsupported("strides that are not whole elements")
        self.strides: tuple[int, ...] = tuple(s // item for s in strides)

    def origin(self, kernel: Kernel, base: str) -> str:
        """Pointer to the first element, given one to the address."""
        return base

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(np.prod(self.shape))

    def broadcast(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Strides with which this array is read at the indices of `shape`."""
        extra = len(shape) - self.ndim
        own = [0 if n == 1 else s for n, s in zip(self.shape, self.strides, strict=True)]
        return (0,) * extra + tuple(own)

    def swapped(self) -> Place:
        """The last two axes exchanged."""
        order = [*range(self.ndim - 2), self.ndim - 1, self.ndim - 2]
        return self.viewed([self.shape[a] for a in order], [self.strides[a] for a in order])

    def viewed(self, shape: Sequence[int], strides: Sequence[int], offset: int = 0) -> Place:
        """The same memory seen with another shape and strides; offset in elements."""
        other = Place.__new__(Place)
        other.dtype, other.type = self.dtype, self.type
        other.start = self.start + offset * self.dtype.itemsize
        other.shape, other.strides = tuple(shape), tuple(strides)
        return other
