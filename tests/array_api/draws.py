"""Random calls of every function of the standard: name -> a function that draws its arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

SIGNED = ("int8", "int16", "int32", "int64")
UNSIGNED = ("uint8", "uint16", "uint32", "uint64")
REAL_FLOATING = ("float32", "float64")
COMPLEX = ("complex64", "complex128")
KINDS = {
    "bool": ("bool",),
    "signed": SIGNED,
    "unsigned": UNSIGNED,
    "mixed integer": (*SIGNED, *UNSIGNED[:-1]),
    "real floating": REAL_FLOATING,
    "complex": COMPLEX,
    "floating": (*REAL_FLOATING, *COMPLEX),
}
GROUPS = {
    "integer": ("signed", "unsigned", "mixed integer"),
    "real": ("signed", "unsigned", "real floating"),
    "numeric": ("signed", "unsigned", "real floating", "complex"),
    "bits": ("bool", "signed", "unsigned"),
    "any": ("bool", "signed", "unsigned", "real floating", "complex"),
}
SPECIAL = (0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 0.5, -2.5, 3e4, -1e-6)


class Draw:
    """Draws shapes, axes and arrays from a random generator."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def one_of(self, options: Any) -> Any:
        return options[self.rng.integers(len(options))]

    def chance(self, p: float = 0.5) -> bool:
        return bool(self.rng.random() < p)

    def shape(self, ndims: tuple[int, int] = (0, 4), sides: tuple[int, int] = (0, 4)) -> Any:
        """A shape; upper bounds are excluded."""
        return tuple(int(n) for n in self.rng.integers(*sides, self.rng.integers(*ndims)))

    def kind(self, group: str) -> str:
        return self.one_of(GROUPS[group]) if group in GROUPS else group

    def array(self, group: str = "any", shape: Any = None, special: bool = True) -> np.ndarray:
        dtype = np.dtype(self.one_of(KINDS[self.kind(group)]))
        shape = self.shape() if shape is None else shape
        if dtype.kind == "b":
            return np.asarray(self.rng.random(shape) < 0.5)
        if dtype.kind in "iu":
            low = 0 if dtype.kind == "u" else -5
            return np.asarray(self.rng.integers(low, 6, shape), dtype)
        x = self.floats(shape, special)
        if dtype.kind == "c":
            x = x.astype(complex)
            x.imag = self.floats(shape, special and self.chance())
        return np.asarray(x, dtype)

    def floats(self, shape: Any, special: bool) -> np.ndarray:
        x = np.asarray(self.rng.normal(size=shape) * 2)
        where = self.rng.random(shape) < (0.4 if special else 0.0)
        return np.where(where, self.rng.choice(SPECIAL, shape), x)

    def pair(self, group: str, *, scalars: bool = True) -> tuple[Any, Any]:
        """Two arrays of one kind that broadcast, or one and a Python scalar."""
        kind = self.kind(group)
        whole = self.shape()
        first, second = (
            self.array(kind, tuple(1 if self.chance(0.2) else n for n in whole)[self.cut(whole) :])
            for _ in range(2)
        )
        if scalars and self.chance(0.3):
            return (first, second.flat[0].item() if second.size else second.dtype.type(1).item())
        return first, second

    def cut(self, whole: Any) -> int:
        return int(self.rng.integers(len(whole) + 1)) if self.chance(0.3) else 0

    def axis(self, ndim: int) -> int:
        return int(self.rng.integers(-ndim, ndim))

    def axes(self, ndim: int, *, many: bool = True) -> Any:
        """None, an axis, or a tuple of different axes."""
        if ndim == 0 or self.chance(0.3):
            return None
        if many and self.chance():
            return tuple(int(i) for i in self.rng.permutation(ndim)[: self.rng.integers(ndim + 1)])
        return self.axis(ndim)


Call = tuple[tuple[Any, ...], dict[str, Any]]
CALLS: dict[str, Callable[[Draw], Call]] = {}


def draws(*names: str) -> Any:
    """Decorator: this function draws the arguments of these functions of the standard."""

    def enter(function: Any) -> Any:
        CALLS.update(dict.fromkeys(names, function))
        return function

    return enter


def some(d: Draw, /, **options: Any) -> dict[str, Any]:
    """Some of the keyword arguments; the others keep their defaults."""
    return {name: value for name, value in options.items() if d.chance()}


# Elementwise ----------------------------------------------------------------------------------

UNARY = {
    "numeric": "abs conj isfinite isinf isnan negative positive round square real",
    "real": "ceil floor trunc",
    "floating": """acos acosh asin asinh atan atanh cos cosh exp expm1 log log10 log1p log2
        reciprocal sin sinh sqrt tan tanh""",
    "real floating": "signbit",
    "complex": "imag",
    "bool": "logical_not",
    "bits": "bitwise_invert",
}
BINARY = {
    "numeric": "add equal multiply not_equal subtract",
    "real": "floor_divide greater greater_equal less less_equal maximum minimum remainder",
    "floating": "divide",
    "real floating": "atan2 copysign hypot logaddexp nextafter",
    "bool": "logical_and logical_or logical_xor",
    "bits": "bitwise_and bitwise_or bitwise_xor",
}
for group, names in UNARY.items():
    draws(*names.split())(lambda d, group=group: ((d.array(group),), {}))
for group, names in BINARY.items():
    draws(*names.split())(lambda d, group=group: (d.pair(group), {}))


@draws("sign")
def sign(d):
    kind = d.kind("numeric")
    return (d.array(kind, special=kind != "complex"),), {}


def magnitude(y):
    """|y| of integers, as an array or a Python number as before."""
    if not isinstance(y, np.ndarray):
        return abs(y) if isinstance(y, int) else y
    return np.asarray(abs(y)) if y.dtype.kind == "i" else y


@draws("pow")
def power(d):
    x, y = d.pair("numeric")
    return (x, magnitude(y)), {}


@draws("bitwise_left_shift", "bitwise_right_shift")
def shift(d):
    x, y = d.pair("integer")
    return (x, magnitude(y)), {}


@draws("clip")
def clip(d):
    x = d.array("real")
    low, high = np.sort(d.rng.integers(0, 6, 2)).astype(x.dtype)
    forms = (np.asarray, lambda n: n.item(), lambda n: None, lambda n: np.full(x.shape, n))
    return (x,), some(d, min=d.one_of(forms)(low), max=d.one_of(forms)(high))


# Creation -------------------------------------------------------------------------------------


@draws("arange")
def arange(d):
    numbers = [int(n) for n in d.rng.integers(-6, 7, 2)]
    if d.chance():
        numbers = [n / 2 for n in numbers]
    options = some(d, dtype="float32", device="cpu")
    if d.chance(0.3):
        return (numbers[0],), options
    return (*numbers, d.one_of((1, 2, -1, 0.5))), options


@draws("asarray")
def asarray(d):
    obj = d.one_of((3, 2.5, 1j, True, [[1, 2], [3, 4]], [1.0, float("nan")], d.array()))
    return (obj,), some(d, device="cpu", copy=True, **d.one_of(({}, {"dtype": "complex128"})))


@draws("empty", "zeros", "ones")
def filled(d):
    shape = d.one_of((3, d.shape()))
    return (shape,), some(d, dtype=d.one_of(("int8", "float32", "bool", "complex64")), device="cpu")


@draws("full")
def full(d):
    value = d.one_of((3, 2.5, True, 1j))
    kinds = some(d, dtype="complex64") if value is not True else {}
    return (d.one_of((3, d.shape())), value), kinds


@draws("empty_like", "zeros_like", "ones_like")
def like(d):
    return (d.array(),), some(d, dtype="float32", device="cpu")


@draws("full_like")
def full_like(d):
    x = d.array("numeric")
    return (x, 1), some(d, dtype="float64")


@draws("eye")
def eye(d):
    rows, columns = (int(n) for n in d.rng.integers(0, 5, 2))
    args = d.one_of(((rows,), (rows, columns), (rows, None)))
    return args, some(d, k=int(d.rng.integers(-3, 4)), dtype="float32")


@draws("linspace")
def linspace(d):
    ends = d.one_of(((0, 1), (0.5, -2.0), (1j, 2.0), (3, 3)))
    return (*ends, int(d.rng.integers(0, 6))), some(d, endpoint=False)


@draws("meshgrid")
def meshgrid(d):
    vectors = [d.array("signed", d.shape((1, 2))) for _ in range(d.rng.integers(1, 4))]
    dtype = vectors[0].dtype
    return tuple(v.astype(dtype) for v in vectors), some(d, indexing=d.one_of(("xy", "ij")))


@draws("tril", "triu")
def triangle(d):
    return (d.array("any", d.shape((2, 4))),), some(d, k=int(d.rng.integers(-3, 4)))


# Data types -----------------------------------------------------------------------------------


@draws("astype")
def astype(d):
    x = d.array("any", special=False)
    to = d.one_of(COMPLEX if x.dtype.kind == "c" else ("float32", "int64", "bool", "complex64"))
    return (x, np.dtype(to)), some(d, copy=False)


@draws("can_cast")
def can_cast(d):
    first, second = (np.dtype(d.one_of(SIGNED)) for _ in range(2))
    return (d.one_of((first, np.zeros(2, first))), second), {}


@draws("isdtype")
def isdtype(d):
    kinds = ("bool", "integral", "real floating", "numeric", ("bool", "complex floating"))
    kind = d.one_of((*kinds, "signed integer", "unsigned integer", np.dtype("float32")))
    return (np.dtype(d.one_of(KINDS[d.kind("any")])), kind), {}


@draws("result_type")
def result_type(d):
    kind = d.kind("numeric")
    arrays = [d.array(kind) for _ in range(2)]
    return (*arrays, arrays[0].dtype, 1), {}


# Manipulation ---------------------------------------------------------------------------------


@draws("broadcast_arrays")
def broadcast_arrays(d):
    return d.pair("real", scalars=False), {}


@draws("broadcast_shapes")
def broadcast_shapes(d):
    return tuple(x.shape for x in d.pair("real", scalars=False)), {}


@draws("broadcast_to")
def broadcast_to(d):
    x, y = d.pair("real", scalars=False)
    return (x, np.broadcast_shapes(x.shape, y.shape)), {}


@draws("concat")
def concat(d):
    kind, shape = d.kind("numeric"), list(d.shape((1, 4)))
    axis = d.axis(len(shape))
    arrays = []
    for _ in range(d.rng.integers(1, 4)):
        shape[axis] = int(d.rng.integers(0, 3))
        arrays.append(d.array(kind, tuple(shape)))
    return (arrays,), {"axis": None if d.chance(0.2) else axis}


@draws("stack")
def stack(d):
    kind, shape = d.kind("numeric"), d.shape()
    arrays = tuple(d.array(kind, shape) for _ in range(d.rng.integers(1, 4)))
    return (arrays,), some(d, axis=d.axis(len(shape) + 1))


@draws("expand_dims")
def expand_dims(d):
    x = d.array()
    return (x,), {"axis": d.axis(x.ndim + 1)}


@draws("flip")
def flip(d):
    x = d.array()
    return (x,), some(d, axis=d.axes(x.ndim))


@draws("moveaxis")
def moveaxis(d):
    x = d.array("any", d.shape((1, 4)))
    if d.chance():
        return (x, d.axis(x.ndim), d.axis(x.ndim)), {}
    order = tuple(int(i) for i in d.rng.permutation(x.ndim))
    return (x, order, tuple(range(x.ndim))), {}


@draws("permute_dims")
def permute_dims(d):
    x = d.array()
    return (x, tuple(int(i) - x.ndim * d.chance(0.2) for i in d.rng.permutation(x.ndim))), {}


@draws("repeat")
def repeat(d):
    x = d.array("any", d.shape((1, 4)))
    axis = d.axes(x.ndim, many=False)
    counts = d.rng.integers(0, 3, x.size if axis is None else x.shape[axis])
    return (x, d.one_of((2, counts))), {"axis": axis}


@draws("reshape")
def reshape(d):
    x = d.array("any", d.shape(sides=(1, 4)))
    shape = d.one_of(((-1,), (1, *x.shape), x.shape[::-1], (x.size, 1)))
    return (x, shape), some(d, copy=d.one_of((True, None)))


@draws("roll")
def roll(d):
    x = d.array("any", d.shape((1, 4)))
    if d.chance():
        axes = tuple(range(x.ndim))
        return (x, tuple(int(n) for n in d.rng.integers(-4, 5, x.ndim))), {"axis": axes}
    return (x, int(d.rng.integers(-4, 5))), some(d, axis=d.axis(x.ndim))


@draws("squeeze")
def squeeze(d):
    shape = d.shape((1, 4))
    axis = d.axis(len(shape))
    ones = tuple(1 if i == axis % len(shape) else n for i, n in enumerate(shape))
    return (d.array("any", ones), d.one_of((axis, (axis,)))), {}


@draws("tile")
def tile(d):
    return (d.array(), tuple(int(n) for n in d.rng.integers(0, 3, d.rng.integers(1, 4)))), {}


@draws("unstack")
def unstack(d):
    x = d.array("any", d.shape((1, 4)))
    return (x,), some(d, axis=d.axis(x.ndim))


# Searching, sorting, sets, indexing -----------------------------------------------------------


@draws("argmax", "argmin")
def argmax(d):
    x = d.array("real", d.shape(sides=(1, 4)))
    return (x,), some(d, axis=d.axes(x.ndim, many=False), keepdims=True)


@draws("count_nonzero", "all", "any")
def count(d):
    x = d.array()
    return (x,), some(d, axis=d.axes(x.ndim), keepdims=True)


@draws("nonzero")
def nonzero(d):
    return (d.array("any", d.shape((1, 4))),), {}


@draws("searchsorted")
def searchsorted(d):
    x = d.array("real", d.shape((1, 2)), special=False)
    y = d.array("real", special=False).astype(x.dtype)
    if d.chance():
        return (np.sort(x), d.one_of((y, 1))), some(d, side="right")
    return (x, y), {"sorter": np.argsort(x)}


@draws("where")
def where(d):
    x, y = d.pair("numeric")
    return (d.array("bool", np.shape(x)), x, y), {}


@draws("argsort", "sort")
def sort(d):
    x = d.array("real", d.shape((1, 4)), special=False)
    return (x,), some(d, axis=d.axis(x.ndim), descending=True, stable=True)


@draws("isin")
def isin(d):
    x, y = d.array("signed"), d.array("signed")
    return (x, d.one_of((y, 1))), some(d, invert=True)


@draws("unique_all", "unique_counts", "unique_inverse", "unique_values")
def unique(d):
    return (d.array("real"),), {}


@draws("take")
def take(d):
    x = d.array("any", d.shape((1, 4), (1, 4)))
    axis = d.axis(x.ndim)
    places = d.rng.integers(-x.shape[axis], x.shape[axis], d.shape((1, 2)))
    return (x, places), {} if x.ndim == 1 else {"axis": axis}


@draws("take_along_axis")
def take_along_axis(d):
    x = d.array("any", d.shape((1, 4), (1, 4)))
    places = d.rng.integers(-x.shape[-1], x.shape[-1], (*x.shape[:-1], d.rng.integers(4)))
    return (x, places), some(d, axis=-1)


# Statistics and differences -------------------------------------------------------------------


@draws("max", "min")
def extremum(d):
    x = d.array("real", d.shape(sides=(1, 4)))
    return (x,), some(d, axis=d.axes(x.ndim), keepdims=True)


@draws("mean")
def mean(d):
    x = d.array("floating", d.shape(sides=(1, 4)))
    return (x,), some(d, axis=d.axes(x.ndim), keepdims=True)


@draws("std", "var")
def spread(d):
    x = d.array("real floating", d.shape(sides=(2, 5)), special=False)
    axis = d.axes(x.ndim)
    correction = {} if axis == () or x.ndim == 0 else some(d, correction=d.one_of((1, 0.5)))
    return (x,), {"axis": axis, **correction, **some(d, keepdims=True)}


@draws("sum", "prod")
def total(d):
    x = d.array("numeric")
    wide = "complex128" if x.dtype.kind == "c" else "float64"
    return (x,), some(d, axis=d.axes(x.ndim), keepdims=True, dtype=wide)


@draws("cumulative_sum", "cumulative_prod")
def cumulative(d):
    kind = d.kind("numeric")
    x = d.array(kind, d.shape((1, 4)), special=kind != "complex")
    axis = {} if x.ndim == 1 and d.chance() else {"axis": d.axis(x.ndim)}
    return (x,), {**axis, **some(d, include_initial=True)}


@draws("diff")
def diff(d):
    x = d.array("numeric", d.shape((1, 4), (2, 5)))
    axis = d.axis(x.ndim)
    end = x.take([0], axis)
    return (x,), {"axis": axis, **some(d, n=2, prepend=end, append=end)}


# Products -------------------------------------------------------------------------------------


@draws("matmul")
def matmul(d):
    kind, n = d.kind("numeric"), int(d.rng.integers(0, 4))
    lead = d.shape((0, 2))
    left = (n,) if d.chance(0.3) else (*lead, 2, n)
    right = (n,) if d.chance(0.3) else d.one_of(((n, 3), (*lead, n, 3)))
    return (d.array(kind, left, False), d.array(kind, right, False)), {}


@draws("matrix_transpose")
def matrix(d):
    return (d.array("any", d.shape((2, 4))),), {}


@draws("tensordot")
def tensordot(d):
    kind = d.kind("numeric")
    x, y = d.array(kind, (2, 3, 4), False), d.array(kind, (3, 4, 2), False)
    return (x, y), d.one_of(({}, {"axes": ((0,), (2,))}, {"axes": ((1, -1), (0, 1))}, {"axes": 0}))


@draws("vecdot")
def vecdot(d):
    kind = d.kind("numeric")
    x, y = d.array(kind, (2, 3, 4), False), d.array(kind, d.one_of(((3, 4), (2, 1, 4))), False)
    return (x, y), some(d, axis=-1)


# The extension linalg -------------------------------------------------------------------------


def square(d, lead=None):
    """Well-conditioned square matrices."""
    n = int(d.rng.integers(1, 4))
    x = d.array("floating", (*(d.shape((0, 2)) if lead is None else lead), n, n), False)
    return x + 5 * np.eye(n, dtype=x.dtype)


def hermitian(d):
    x = square(d)
    return x @ np.conj(np.swapaxes(x, -1, -2))


@draws("linalg.cholesky")
def cholesky(d):
    return (hermitian(d),), some(d, upper=True)


@draws("linalg.eigh", "linalg.eigvalsh")
def eigh(d):
    return (hermitian(d),), {}


@draws("linalg.det", "linalg.inv", "linalg.slogdet", "linalg.eig", "linalg.eigvals")
def of_square(d):
    return (square(d),), {}


@draws("linalg.cross")
def cross(d):
    kind = d.kind("numeric")
    axis = d.one_of((-1, -2))
    shape = (2, 3, 3)
    return (d.array(kind, shape, False), d.array(kind, shape, False)), {"axis": axis}


@draws("linalg.diagonal")
def diagonal(d):
    return (d.array("any", d.shape((2, 4))),), some(d, offset=int(d.rng.integers(-3, 4)))


@draws("linalg.trace")
def trace(d):
    x = d.array("numeric", d.shape((2, 4)))
    wide = "complex128" if x.dtype.kind == "c" else "float64"
    return (x,), some(d, offset=int(d.rng.integers(-3, 4)), dtype=wide)


@draws("linalg.matrix_norm")
def matrix_norm(d):
    x = d.array("floating", (*d.shape((0, 2)), 3, 2), False)
    return (x,), some(d, ord=d.one_of(("fro", "nuc", 1, 2, -1, -2, np.inf, -np.inf)), keepdims=True)


@draws("linalg.matrix_power")
def matrix_power(d):
    return (square(d), int(d.rng.integers(-2, 4))), {}


@draws("linalg.matrix_rank", "linalg.pinv")
def low_rank(d):
    x = d.array("real floating", (*d.shape((0, 2)), 4, 2), False)
    return (x @ np.swapaxes(x, -1, -2),), some(d, rtol=1e-3)


@draws("linalg.outer")
def outer(d):
    kind = d.kind("numeric")
    return (d.array(kind, (2,), False), d.array(kind, (3,), False)), {}


@draws("linalg.qr")
def qr(d):
    return (d.array("floating", d.shape((2, 4), (1, 4)), False),), some(d, mode="complete")


@draws("linalg.solve")
def solve(d):
    a = square(d)
    b = d.array("floating", d.one_of(((a.shape[-1],), (*a.shape[:-1], 2))), False)
    return (a, b.real.astype(a.dtype)), {}


@draws("linalg.svd")
def svd(d):
    return (d.array("floating", d.shape((2, 4), (1, 4)), False),), some(d, full_matrices=False)


@draws("linalg.svdvals")
def svdvals(d):
    return (d.array("floating", d.shape((2, 4), (1, 4)), False),), {}


@draws("linalg.vector_norm")
def vector_norm(d):
    x = d.array("floating", d.shape(sides=(1, 4)), False)
    orders = (1, 2, 3, 0, -1, 2.5, np.inf, -np.inf)
    return (x,), {"axis": d.axes(x.ndim) or None, **some(d, ord=d.one_of(orders), keepdims=True)}


for name in ("matmul", "matrix_transpose", "tensordot", "vecdot"):
    CALLS[f"linalg.{name}"] = CALLS[name]


# The extension fft ----------------------------------------------------------------------------

NORMS = ("backward", "ortho", "forward")


@draws("fft.fft", "fft.ifft", "fft.irfft", "fft.hfft")
def transform(d):
    x = d.array("complex", d.shape((1, 4), (2, 6)), False)
    return (x,), some(d, n=d.one_of((3, 6)), axis=d.axis(x.ndim), norm=d.one_of(NORMS))


@draws("fft.rfft", "fft.ihfft")
def real_transform(d):
    x = d.array("real floating", d.shape((1, 4), (2, 6)), False)
    return (x,), some(d, n=d.one_of((3, 6)), axis=d.axis(x.ndim), norm=d.one_of(NORMS))


def over_axes(d, x):
    options = d.one_of(({}, {"s": (3, 4)}, {"s": (2, 3), "axes": (0, 1)}, {"axes": (1, 0)}))
    return (x,), {**options, **some(d, norm=d.one_of(NORMS))}


@draws("fft.fftn", "fft.ifftn", "fft.irfftn")
def many_transforms(d):
    return over_axes(d, d.array("complex", d.shape((2, 4), (2, 6)), False))


@draws("fft.rfftn")
def many_real_transforms(d):
    return over_axes(d, d.array("real floating", d.shape((2, 4), (2, 6)), False))


@draws("fft.fftfreq", "fft.rfftfreq")
def frequencies(d):
    return (int(d.rng.integers(1, 8)),), some(d, d=0.5, dtype="float32", device="cpu")


@draws("fft.fftshift", "fft.ifftshift")
def shifts(d):
    x = d.array("floating", d.shape((1, 4)))
    return (x,), some(d, axes=d.axes(x.ndim))
