"""Indexing, and assignment into an intermediate Tensor."""

import numpy as np
import pytest

import nnad
from nnad.autodiff.tensor import Tensor
from nnad.errors import LeafMutationError
from nnad.ops.index import Slot, split_key

X = np.random.default_rng(3).normal(size=(4, 5, 3))
ROWS = np.array([0, 3, 3, -1])
MASK = X[:, :, 0] > 0

KEYS = {
    "integer": 1,
    "negative": -1,
    "numpy integer": np.int64(2),
    "slice": slice(1, 3),
    "reversed": slice(None, None, -2),
    "ellipsis": (..., 0),
    "newaxis": (None, slice(None), None),
    "all integers": (1, 2, 0),
    "rows, repeated": ROWS,
    "list": [0, 0, 2],
    "matrix of rows": np.array([[0, 1], [3, 3]]),
    "unsigned": np.array([1, 2], np.uint8),
    "column": (slice(None), ROWS[:2]),
    "mixed": (ROWS, slice(1, 4), 0),
    "two arrays": (ROWS, np.array([0, 1, 1, 4])),
    "broadcast arrays": (ROWS[:, None], np.array([[0, 2, 2]])),
    "arrays apart": (ROWS[:3], slice(None), np.array([0, 1, 0])),
    "array and integer": (ROWS, 0),
    "three arrays": (ROWS, np.array([0, 1, 1, 4]), np.array([2, 2, 2, 0])),
    "ellipsis and array": (..., np.array([0, 0, 1])),
    "newaxis and array": (None, ROWS, ..., None),
    "mask": MASK,
    "full mask": X > 0,
    "mask of rows": np.array([True, False, True, True]),
    "mask and slice": (np.array([True, False, True, True]), slice(2, 4)),
    "mask and array": (np.array([True, False, True, True]), np.array([0, 1, 1])),
    "list of booleans": [True, False, False, True],
    "0-d array": np.array(2),
    "true": True,
    "empty": np.array([], int),
    "empty list": [],
    "empty tuple": (),
}


def named(table):
    return pytest.mark.parametrize("key", list(table.values()), ids=list(table))


@named(KEYS)
def test_reading_is_numpys_and_differentiable(key):
    got = Tensor(X, requires_grad=True)[key]
    np.testing.assert_array_equal(got.data, X[key])
    assert got.dtype == X.dtype
    nnad.check_grads(lambda x: x[key] ** 2, X)


@named(KEYS)
def test_repeated_places_add_up(key):
    counts = np.zeros(X.shape)
    np.add.at(counts, key, 1.0)
    gradient = nnad.grad(lambda x: np.sum(x[key]))(X)
    np.testing.assert_array_equal(gradient, counts)


@named(KEYS)
def test_assignment_is_numpys_and_differentiable(key):
    value = np.random.default_rng(4).normal(size=np.shape(X[key]))

    def assign(x, value):
        y = x * 2.0
        y[key] = value * 3.0
        return y * x

    expected = X * 2.0
    expected[key] = value * 3.0
    got = assign(Tensor(X, requires_grad=True), Tensor(value, requires_grad=True))
    np.testing.assert_array_equal(got.data, expected * X)
    nnad.check_grads(assign, X, value)


def test_assignment_of_a_number_and_of_a_broadcast_value():
    def f(x, row, number):
        y = x + 0.0
        y[1] = row
        y[:, 2] = number
        y[0, 0] = 7.0
        return np.sum(y**2, axis=1)

    nnad.check_grads(f, X, X[0, :1], np.asarray(0.5))
    nnad.check_grads(f, X, X[:1, :1], np.asarray(0.5))  # leading axes of length one are dropped


def test_where_places_repeat_only_the_last_value_counts():
    def f(v):
        y = np.zeros_like(v)[:2]
        y[[0, 0, 1]] = v
        return y

    jacobian = nnad.jacobian(f)(np.array([1.0, 2.0, 3.0]))
    np.testing.assert_array_equal(jacobian, [[0, 1, 0], [0, 0, 1]])


def test_in_place_statements_accumulate():
    def f(x):
        total = np.zeros_like(x)
        for i in range(3):
            total[i:] += x[i] ** 2
        total *= x
        return total

    nnad.check_grads(f, np.array([0.5, -1.0, 2.0]))


def test_assignment_into_an_input_is_refused_with_a_remedy():
    def f(x):
        x[0] = 1.0
        return np.sum(x)

    with pytest.raises(LeafMutationError, match=r"x\.copy\(\)"):
        nnad.grad(f)(np.ones(3))


def test_a_copy_of_an_input_may_be_assigned_into():
    def f(x):
        y = x.copy()
        y[0] = 5.0
        return np.sum(y * x)

    x = np.array([1.0, 2.0])
    np.testing.assert_array_equal(nnad.grad(f)(x), [5.0, 4.0])
    np.testing.assert_array_equal(x, [1.0, 2.0])


def test_tensors_as_indices():
    i = Tensor(np.array([2, 0, 0]))
    np.testing.assert_array_equal(nnad.grad(lambda x: np.sum(x[i]))(np.ones(3)), [2, 0, 1])
    j = Tensor(np.array(1))
    np.testing.assert_array_equal(nnad.grad(lambda x: x[j])(np.ones(3)), [0, 1, 0])
    order = nnad.grad(lambda x: np.sum(x[np.argsort(x)] * np.arange(3.0)))(np.array([3.0, 1, 2]))
    np.testing.assert_array_equal(order, [2, 0, 1])


@pytest.mark.parametrize("key", [1.5, np.array([0.5]), "a", [1.0], (0, 2.0)])
def test_other_indices_are_refused(key):
    with pytest.raises(IndexError, match="integers"):
        Tensor(X, requires_grad=True)[key]


def test_out_of_range_is_an_index_error():
    with pytest.raises(IndexError):
        Tensor(X, requires_grad=True)[9]
    with pytest.raises(IndexError):
        Tensor(X, requires_grad=True)[[0, 9]]


def test_keys_are_taken_apart():
    template, arrays = split_key((0, [1, 2], ..., MASK))
    assert template == (0, Slot(0), ..., Slot(1))
    assert [a.dtype.kind for a in arrays] == ["i", "b"]
    assert split_key(slice(1)) == (slice(1), ())


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.complex64, np.longdouble])
@named({k: KEYS[k] for k in ("integer", "rows, repeated", "column", "mask", "two arrays")})
def test_gradients_keep_the_dtype(dtype, key):
    x = X.astype(dtype)
    y, pullback = nnad.vjp(lambda x: x[key], x)
    (ct,) = pullback(y)
    assert y.dtype == ct.dtype == dtype
    assert ct.shape == x.shape


# NumPy's functions that assign ------------------------------------------------------------------

WRITERS = {
    "put_along_axis": lambda y, v: np.put_along_axis(y, np.array([[2, 0]]), v[None, :2], 1),
    "put_along_axis, flat": lambda y, v: np.put_along_axis(y, np.array([3, 1]), v[:2], None),
    "put": lambda y, v: np.put(y, [0, 5], v),
    "put, clipped": lambda y, v: np.put(y, [0, 50], v, mode="clip"),
    "put, wrapped": lambda y, v: np.put(y, [-1, 7], v, mode="wrap"),
    "put, cycled": lambda y, v: np.put(y, [0, 1, 2, 4, 5], v),
    "putmask": lambda y, v: np.putmask(y, np.array([[True, False, True]] * 2), v),
    "place": lambda y, v: np.place(y, np.array([[True, False, True]] * 2), v[:2]),
    "add.at": lambda y, v: np.add.at(y, ([0, 1, 0], [1, 2, 1]), v),
    "add.at, rows": lambda y, v: np.add.at(y, [1, 1], v),
    "copyto": lambda y, v: np.copyto(y, v),
    "copyto where": lambda y, v: np.copyto(y, v, where=np.array([True, False, True])),
    "fill_diagonal": lambda y, v: np.fill_diagonal(y, v[0]),
    "fill_diagonal with values": lambda y, v: np.fill_diagonal(y, v[:2]),
    "fill": lambda y, v: y.fill(v[0]),
    "sort": lambda y, v: y.sort(axis=0),
    "partition": lambda y, v: y.partition(1),
    "method put": lambda y, v: y.put([1, 1], v[:2]),
}


@pytest.mark.parametrize("write", list(WRITERS.values()), ids=list(WRITERS))
def test_functions_that_assign_are_recorded(write):
    x, v = np.array([[3.0, 1.0, 2.0], [0.5, 6.0, 4.0]]), np.array([7.0, -8.0, 9.0])

    def f(x, v):
        y = x * 2.0
        write(y, v)
        return y

    np.testing.assert_array_equal(
        f(Tensor(x, requires_grad=True), Tensor(v, requires_grad=True)).data, f(x, v)
    )
    nnad.check_grads(f, x, v, order=1)


def test_an_ndarray_cannot_take_a_recorded_value():
    with pytest.raises(TypeError, match="cannot hold a recorded result"):
        nnad.grad(lambda x: np.copyto(np.zeros(3), x))(np.ones(3))


def test_the_gradient_of_many_rows_is_that_of_a_loop():
    rng = np.random.default_rng(0)
    table, rows = rng.normal(size=(50, 7)), rng.integers(-50, 50, 2000)
    g = rng.normal(size=(2000, 7))
    expected = np.zeros_like(table)
    for row, part in zip(rows, g, strict=True):
        expected[row] += part
    for read in (lambda t: t[rows], lambda t: np.take(t, rows, 0)):
        (got,) = nnad.vjp(read, table)[1](g)
        np.testing.assert_allclose(got, expected, rtol=1e-12)
