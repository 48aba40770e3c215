"""Tensor as the standard's array object: operators, conversions, indexing, devices, DLPack."""

import operator

import numpy as np
import pytest

pytest.importorskip("hypothesis")
pytest.importorskip("array_api_strict")
import array_api_strict as strict

import nnad
import nnad.array_api as xp
from nnad.autodiff.tensor import Tensor
from nnad.errors import LeafMutationError, LostGradientError
from tests.array_api.draws import Draw, magnitude
from tests.array_api.test_conformance import assert_agree
from tests.ops.test_properties import random_cases

BINARY = {
    "numeric": "add sub mul eq ne pow",
    "real": "floordiv mod lt le gt ge",
    "floating": "truediv",
    "bits": "and_ or_ xor",
    "integer": "lshift rshift",
}
UNARY = {"numeric": "neg pos abs", "bits": "invert"}
OPERATORS = [(name, group) for group, names in BINARY.items() for name in names.split()]
IN_PLACE = [pair for pair in OPERATORS if pair[0] not in ("eq", "ne", "lt", "le", "gt", "ge")]


def both(x):
    """An array, or a Python number, for nnad and for array-api-strict."""
    return (xp.asarray(x), strict.asarray(x)) if isinstance(x, np.ndarray) else (x, x)


def drawn_pair(name, group, rng):
    x, y = Draw(rng).pair(group)
    return (x, magnitude(y)) if name in ("pow", "lshift", "rshift") else (x, y)


def compare(operation, *args):
    ours, theirs = zip(*map(both, args), strict=True)
    with np.errstate(all="ignore"):
        assert_agree(operation(*ours), operation(*theirs), operation.__name__)


@pytest.mark.parametrize(("name", "group"), OPERATORS)
def test_binary_operators(name, group):
    operation = getattr(operator, name)

    def check(rng):
        x, y = drawn_pair(name, group, rng)
        compare(operation, x, y)
        if not isinstance(y, np.ndarray) and name not in ("pow", "lshift", "rshift"):
            compare(operation, y, x)

    random_cases(8)(check)()


@pytest.mark.parametrize(("name", "group"), [(n, g) for g in UNARY for n in UNARY[g].split()])
def test_unary_operators(name, group):
    random_cases(8)(lambda rng: compare(getattr(operator, name), Draw(rng).array(group)))()


@pytest.mark.parametrize(("name", "group"), IN_PLACE)
def test_in_place_operators(name, group):
    operation = getattr(operator, "i" + name.removesuffix("_"))

    def check(rng):
        d = Draw(rng)
        x = d.array(group, d.shape((1, 4), (1, 4)))
        y = np.abs(d.array("mixed integer", x.shape)).astype(x.dtype)
        y = d.one_of((y, y.flat[0].item(), y[:1]))
        compare(operation, x.copy(), y)
        kept = xp.asarray(x, copy=True)
        with np.errstate(all="ignore"):
            assert operation(kept, both(y)[0]) is kept

    random_cases(8)(check)()


def test_matmul_operators():
    x, y = (np.arange(n).reshape(s).astype(float) for n, s in ((6, (2, 3)), (9, (3, 3))))
    compare(operator.matmul, x, y)
    compare(operator.imatmul, x, y)


def test_in_place_on_a_value_without_axes():
    total = xp.sum(xp.asarray([1.0, 2.0]))
    total += 1
    total /= xp.asarray(2.0)
    assert float(total) == 2.0


X = np.arange(6.0).reshape(2, 3)
KEPT = {
    "shape": (lambda t: operator.iadd(t, xp.ones((4, 2, 3))), ValueError, r"shape \(4, 2, 3\)"),
    "dtype": (lambda t: operator.iadd(xp.asarray([1]), xp.asarray([0.5])), TypeError, "int64"),
    "leaf": (lambda t: operator.iadd(t, xp.ones(3)), LeafMutationError, r"np\.where"),
}


@pytest.mark.parametrize("what", KEPT)
def test_in_place_statements_keep(what):
    statement, error, message = KEPT[what]
    with pytest.raises(error, match=message):
        statement(Tensor(X, requires_grad=what == "leaf"))


def test_in_place_statements_keep_the_precision():
    x = xp.asarray([1.0], dtype=xp.float32)
    x *= xp.asarray([0.1])
    assert x.dtype == xp.float32


def test_in_place_statements_leave_the_memory_of_inputs_alone():
    x = X.copy()

    def f(x):
        y = x.detach()
        y += 1
        y[0] = 5.0
        return xp.sum(x * y)

    gradient = nnad.grad(f)(x)
    np.testing.assert_array_equal(x, X)
    np.testing.assert_array_equal(gradient, [[5, 5, 5], [4, 5, 6]])


def test_in_place_on_intermediates_is_recorded():
    def f(x):
        y = xp.asarray(x) * 2
        y *= x
        y -= xp.ones_like(y)
        y[0, :] = y[1, :] ** 2
        y[xp.asarray([False, True]), 1] += 3
        return xp.sum(y)

    nnad.check_grads(f, X + 1, order=2)


# Conversions ----------------------------------------------------------------------------------

CONVERSIONS = [
    (bool, 2.0, True), (bool, False, False), (bool, float("nan"), True),
    (int, 3.9, 3), (int, True, 1), (float, 2, 2.0), (float, float("-inf"), float("-inf")),
    (complex, 1 + 2j, 1 + 2j), (complex, 3.0, 3 + 0j), (operator.index, 5, 5),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "value", "expected"), CONVERSIONS)
def test_conversions_to_python_numbers(kind, value, expected):
    got = kind(xp.asarray(value))
    assert got == expected
    assert type(got) is type(expected)


@pytest.mark.parametrize(
    ("kind", "value"), [(float, 1j), (int, 1j), (operator.index, 1.0), (float, [1.0, 2.0])]
)
def test_conversions_that_lose_something_raise(kind, value):
    with pytest.raises((TypeError, ValueError)):
        kind(xp.asarray(value))


def test_a_tensor_of_one_integer_indexes_a_list():
    assert ["a", "b", "c"][xp.asarray(1)] == "b"
    assert np.arange(4)[xp.asarray([True, False, True, False])].tolist() == [0, 2]


# Indexing -------------------------------------------------------------------------------------

A = np.arange(24).reshape(2, 3, 4)
KEYS = {
    "integer": 1,
    "negative integer": -1,
    "integers": (0, 1, 2),
    "slice": (slice(None, None, -1),),
    "slices": (slice(0, 1), slice(None), slice(1, 4, 2)),
    "ellipsis": (..., 0),
    "new axis": (None, 0, ..., None),
    "empty tuple": (),
    "mask": A % 5 > 2,
    "mask of rows": np.array([False, True]),
    "a mask of no axes": np.array(True),
    "array": (np.array([1, 0, 1]),),
    "arrays": (np.array([0, 1]), np.array([[2], [0]])),
    "array and integer": (0, np.array([1, 1])),
}


def key_for(key):
    """A key with its arrays as Tensors."""
    if isinstance(key, tuple):
        return tuple(map(key_for, key))
    return xp.asarray(key) if isinstance(key, np.ndarray) else key


@pytest.mark.parametrize("name", KEYS)
def test_reading_by_index(name):
    assert_agree(xp.asarray(A)[key_for(KEYS[name])], A[KEYS[name]], name)


@pytest.mark.parametrize("name", KEYS)
def test_writing_by_index(name):
    ours, theirs = xp.asarray(A, copy=True), A.copy()
    ours[key_for(KEYS[name])] = theirs[KEYS[name]] = -1
    assert_agree(ours, theirs, name)


def test_reading_out_of_bounds_raises():
    for key in (2, (0, 3), (0, 0, 0, 0), xp.asarray([5])):
        with pytest.raises(IndexError):
            xp.asarray(A)[key]


def test_writing_into_an_input_is_refused_and_says_what_to_write():
    with pytest.raises(LeafMutationError, match=r"np\.where"):
        Tensor(X, requires_grad=True)[0] = 1.0


def test_what_libraries_write_beyond_the_standard():
    x = xp.asarray([1.0, 4.0, 9.0])
    assert np.asarray(xp.diff(x, 2)).tolist() == [2.0]
    (places,) = xp.where(x > 2)
    assert np.asarray(places).tolist() == [1, 2]


# Attributes, devices, memory ------------------------------------------------------------------


def test_attributes():
    x = xp.asarray(A)
    assert (x.shape, x.ndim, x.size, x.device) == ((2, 3, 4), 3, 24, "cpu")
    assert x.dtype == xp.int64
    assert hash(x.dtype) == hash(xp.int64)
    np.testing.assert_array_equal(np.asarray(x.mT), np.swapaxes(A, -1, -2))
    np.testing.assert_array_equal(np.asarray(x[0].T), A[0].T)
    assert x.to_device("cpu") is x
    with pytest.raises(ValueError, match="axes"):
        x[0, 0].mT


@pytest.mark.parametrize("version", [None, "2021.12", "2022.12", "2023.12", "2024.12", "2025.12"])
def test_the_namespace_of_a_tensor(version):
    x = xp.asarray(1.0)
    assert x.__array_namespace__(api_version=version) is xp
    assert nnad.grad(lambda x: float(x.__array_namespace__() is xp) * x)(1.0) == 1.0


REFUSED = {
    "version": (lambda x: x.__array_namespace__(api_version="1999.12"), "2025.12"),
    "device": (lambda x: x.to_device("cuda"), "'cuda'"),
    "stream": (lambda x: x.to_device("cpu", stream=1), "stream"),
    "device of zeros": (lambda x: xp.zeros(3, device="gpu"), "gpu"),
    "device of astype": (lambda x: xp.astype(x, xp.int8, device="gpu"), "gpu"),
    "device of asarray": (lambda x: xp.asarray([1.0], device="gpu"), "gpu"),
    "asarray without a copy": (lambda x: xp.asarray(x, dtype=xp.int8, copy=False), "int8"),
    "a list without a copy": (lambda x: xp.asarray([1], copy=False), "list"),
    "reshape without a copy": (lambda x: xp.reshape(x.mT, (6,), copy=False), r"\(3, 2\) to \(6,\)"),
    "take without an axis": (lambda x: xp.take(x, xp.asarray([0])), "axis="),
    "squeeze of a long axis": (lambda x: xp.squeeze(x, 0), "size"),
    "concat of shapes": (lambda x: xp.concat([x, xp.ones((3, 3))], axis=1), "dimension"),
    "broadcast to less": (lambda x: xp.broadcast_to(x, (3,)), "dimensions"),
    "running sum of a matrix": (xp.cumulative_sum, "axis"),
    "cross product of pairs": (lambda x: xp.linalg.cross(x[:, :2], x[:, :2]), "3"),
    "outer of matrices": (lambda x: xp.linalg.outer(x, x), "one-dimensional"),
    "place of nothing": (lambda x: xp.nonzero(x[0, 0]), "without axes"),
    "axis": (lambda x: xp.expand_dims(x, axis=5), "axis"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused(what):
    call, message = REFUSED[what]
    with pytest.raises((ValueError, IndexError), match=message):
        call(xp.asarray(X))


COPIES = {
    "asarray": lambda x: xp.asarray(x, copy=True),
    "astype": lambda x: xp.astype(x, x.dtype),
    "reshape": lambda x: xp.reshape(x, (3, 2), copy=True),
    "method": lambda x: x.astype(x.dtype),
}
SHARED = {
    "asarray": xp.asarray,
    "asarray, no copy": lambda x: xp.asarray(x, copy=False),
    "astype": lambda x: xp.astype(x, x.dtype, copy=False),
    "reshape": lambda x: xp.reshape(x, (3, 2), copy=False),
    "method": lambda x: x.astype(x.dtype, copy=False),
}


@pytest.mark.parametrize("name", COPIES)
def test_copies_share_no_memory_and_stay_recorded(name):
    x = Tensor(X, requires_grad=True)
    y = COPIES[name](x)
    assert not np.shares_memory(x.data, y.data)
    xp.sum(y * y).backward()
    np.testing.assert_array_equal(x.grad, 2 * X)


@pytest.mark.parametrize("name", SHARED)
def test_memory_is_shared_where_asked(name):
    x = Tensor(X)
    assert np.shares_memory(x.data, SHARED[name](x).data)


def test_dlpack_shares_memory_both_ways():
    x = xp.asarray(X.copy())
    assert np.shares_memory(np.from_dlpack(x), x.data)
    assert x.__dlpack_device__() == X.__dlpack_device__()
    array = X.copy()
    assert np.shares_memory(xp.from_dlpack(array).data, array)
    assert not np.shares_memory(xp.from_dlpack(array, copy=True).data, array)


@pytest.mark.slow
def test_dlpack_with_torch():
    torch = pytest.importorskip("torch")
    x = xp.asarray(X.copy())
    assert torch.from_dlpack(x).sum().item() == X.sum()
    assert float(xp.sum(xp.from_dlpack(torch.ones(3)))) == 3.0


def test_what_would_lose_the_gradient_raises():
    for leave in (np.from_dlpack, xp.from_dlpack, np.asarray, float, memoryview):
        with pytest.raises((LostGradientError, TypeError)):
            nnad.grad(lambda x, leave=leave: xp.sum(x) * leave(x[0, 0]))(X)


# Data types and inspection --------------------------------------------------------------------


@pytest.mark.parametrize("name", ["float32", "float64", "complex64", "complex128"])
def test_finfo(name):
    ours, theirs = xp.finfo(getattr(xp, name)), strict.finfo(getattr(strict, name))
    for field in ("bits", "eps", "max", "min", "smallest_normal"):
        assert getattr(ours, field) == getattr(theirs, field)
        assert type(getattr(ours, field)) in (int, float)
    assert str(ours.dtype) == str(theirs.dtype).removeprefix("array_api_strict.")
    assert xp.finfo(xp.zeros(1, dtype=getattr(xp, name))) == ours


@pytest.mark.parametrize("name", ["int8", "uint8", "int16", "uint32", "int64", "uint64"])
def test_iinfo(name):
    ours, theirs = xp.iinfo(getattr(xp, name)), strict.iinfo(getattr(strict, name))
    assert (ours.bits, ours.min, ours.max) == (theirs.bits, theirs.min, theirs.max)
    assert xp.iinfo(xp.zeros(1, dtype=getattr(xp, name))).max == theirs.max
    assert ours.dtype == getattr(xp, name)


def test_everything_of_the_array_object_is_there():
    theirs = {name for name in dir(strict.asarray(1)) if name.startswith("__")} - {
        "__annotations__"
    }
    public = {"T", "mT", "device", "dtype", "ndim", "shape", "size", "to_device"}
    assert {name for name in theirs | public if not hasattr(Tensor, name)} <= {"__buffer__"}


def test_hypothesis_draws_tensors():
    from hypothesis import given, settings
    from hypothesis import strategies as st
    from hypothesis.extra.array_api import make_strategies_namespace

    xps = make_strategies_namespace(xp)

    @settings(max_examples=20, deadline=None, derandomize=True, database=None)
    @given(xps.arrays(xps.scalar_dtypes(), xps.array_shapes(min_dims=0, min_side=0)), st.data())
    def check(x, data):
        assert isinstance(x, Tensor)
        key = data.draw(xps.indices(x.shape, allow_newaxis=True))
        np.testing.assert_array_equal(np.asarray(x[key]), np.asarray(x)[key])

    check()


def test_inspection():
    info = xp.__array_namespace_info__()
    assert info.capabilities()["boolean indexing"]
    assert info.capabilities()["data-dependent shapes"]
    assert info.capabilities()["max dimensions"] >= 32
    assert info.default_device() in info.devices()
    assert info.default_dtypes() == {
        "real floating": xp.float64,
        "complex floating": xp.complex128,
        "integral": xp.int64,
        "indexing": xp.int64,
    }
    assert info.dtypes(kind="real floating") == {"float32": xp.float32, "float64": xp.float64}
    kinds = ("bool", "integral")
    assert info.dtypes(kind=kinds) == {**info.dtypes(kind="bool"), **info.dtypes(kind="integral")}
    with pytest.raises(ValueError, match="'real' is none of"):
        info.dtypes(kind="real")
    assert len(info.dtypes()) == 13
    for name, dtype in info.dtypes().items():
        assert getattr(xp, name) == dtype
        assert xp.zeros(1, dtype=dtype).dtype == dtype


def test_constants():
    assert (xp.pi, xp.e, xp.inf) == (np.pi, np.e, np.inf)
    assert xp.nan != xp.nan
    assert xp.newaxis is None
