"""NumPy's own functions called with Tensors: NumPy's values, and derivatives that hold."""

import inspect

import numpy as np
import pytest

import nnad
import nnad.ops
from nnad.autodiff.table import IMPLEMENTATIONS, Composite
from nnad.autodiff.tensor import Tensor
from nnad.autodiff.trees import flatten, map_leaves
from tests.autodiff.table_checks import assert_same, is_float

RNG = np.random.default_rng(7)
V = RNG.normal(size=4)
M = RNG.normal(size=(3, 4))
C = RNG.normal(size=(2, 3, 4))
Z = RNG.normal(size=3) + 1j * RNG.normal(size=3)
S = np.asarray(RNG.normal())
F = np.asfortranarray(M)
MASK = np.array([[1, 0, 1, 1], [0, 1, 1, 1], [1, 1, 1, 0]], bool)
HOLES = np.where(MASK, M, np.nan)
W = RNG.uniform(0.5, 1.0, 4)
ONES = np.ones((2, 2))


def call(function, *args, **kwargs):
    return function, args, kwargs


# Calls whose results have a derivative.
CALLS = [
    # sums and means
    call(np.sum, M),
    call(np.sum, M, axis=(0, -1)),
    call(np.sum, M, 0, np.float32),
    call(np.sum, M, keepdims=True, initial=2.0, where=MASK),
    call(np.sum, S),
    call(np.sum, Z),
    call(np.mean, C, (0, -1), keepdims=True),
    call(np.mean, M, where=MASK, axis=1),
    call(np.mean, V.astype(np.float16)),
    call(np.var, C, (0, 2), ddof=1),
    call(np.var, M, where=MASK),
    call(np.var, Z, correction=1),
    call(np.var, M, 0, mean=M.mean(0, keepdims=True)),
    call(np.std, M, 1, keepdims=True),
    call(np.std, M, 0, where=MASK),
    call(np.std, Z),
    call(np.prod, M, 1),
    call(np.prod, C, (0, 2), where=C > -1, initial=0.5),
    call(np.prod, Z),
    call(np.average, M, 1, W),
    call(np.average, C, (2, 0), RNG.uniform(0.5, 1, (4, 2)), keepdims=True),
    call(np.average, M, returned=True),
    # extremes
    call(np.max, C, (0, 2)),
    call(np.max, M, 1, initial=0.1, where=MASK),
    call(np.min, M, initial=-5.0),
    call(np.min, M, 0, keepdims=True),
    call(np.amax, M),
    call(np.amin, M, 1),
    call(np.ptp, M, 0),
    call(np.clip, M, -0.5, 0.5),
    call(np.clip, M, None, V),
    call(np.clip, M, V, None),
    call(np.clip, M, min=-1.0, max=W),
    # NaN skipped
    call(np.nansum, HOLES, 1),
    call(np.nanprod, HOLES, 0, keepdims=True),
    call(np.nanmean, HOLES, 1),
    call(np.nanvar, HOLES, 1, ddof=0.5),
    call(np.nanstd, HOLES, where=M < 2),
    call(np.nanmax, HOLES, 1),
    call(np.nanmin, HOLES),
    call(np.nanmedian, HOLES, 1),
    call(np.nanquantile, HOLES, 0.3, 0),
    call(np.nanquantile, HOLES, [0.2, 0.7], method="hazen"),
    call(np.nanpercentile, HOLES, 30.0, 1, keepdims=True),
    call(np.nancumsum, HOLES, 1),
    call(np.nancumprod, HOLES),
    # running
    call(np.maximum.accumulate, M, 1),
    call(np.minimum.accumulate, M),
    call(np.lib.stride_tricks.sliding_window_view, M, 2, 1),
    call(np.lib.stride_tricks.sliding_window_view, M, (2, 3)),
    call(np.cumsum, M),
    call(np.cumsum, M, 0),
    call(np.cumsum, S),
    call(np.cumprod, M, 1),
    call(np.cumprod, np.array([1.0, 0.0, 2.0, 0.0])),
    call(np.cumulative_sum, V, include_initial=True),
    call(np.cumulative_prod, M, axis=1, include_initial=True),
    call(np.diff, M, 2),
    call(np.diff, M, axis=0, prepend=0.0, append=V[None]),
    call(np.ediff1d, M, 1.0, [2.0, 3.0]),
    call(np.gradient, M),
    call(np.gradient, C, 0.5, axis=(0, 2)),
    call(np.gradient, M, 2.0, np.array([0.0, 1.0, 3.0, 4.5]), edge_order=2),
    call(np.trapezoid, M, dx=0.3),
    call(np.trapezoid, M, np.cumsum(W)),
    call(np.unwrap, 3 * V),
    # order statistics
    call(np.median, M),
    call(np.median, C, (0, 2), keepdims=True),
    call(np.quantile, M, 0.3, 1),
    call(np.quantile, M, np.array([0.25, 0.55]), 0, keepdims=True),
    call(np.quantile, M, 0.4, method="inverted_cdf", weights=RNG.integers(1, 3, (3, 4))),
    call(np.percentile, V, [10.0, 55.0], method="median_unbiased"),
    call(np.percentile, V.astype(np.float32), 40),
    call(np.cov, M),
    call(np.cov, M, rowvar=False, bias=True),
    call(np.cov, V, W, aweights=W),
    call(np.cov, Z, ddof=0),
    call(np.corrcoef, M),
    call(np.corrcoef, V, W),
    # shape
    call(np.reshape, M, (2, 6)),
    call(np.reshape, M, -1, order="F"),
    call(np.reshape, F, (2, 6), order="A"),
    call(np.ravel, F, "K"),
    call(np.ravel, F, "A"),
    call(np.ravel, C.transpose(2, 0, 1), "K"),
    call(np.transpose, C),
    call(np.transpose, C, (1, -1, 0)),
    call(np.permute_dims, M),
    call(np.matrix_transpose, C),
    call(np.linalg.matrix_transpose, C),
    call(np.moveaxis, C, [0, 1], [-1, 0]),
    call(np.swapaxes, C, 0, -1),
    call(np.rollaxis, C, 2),
    call(np.squeeze, C[:1, :, :1]),
    call(np.squeeze, C[:1], 0),
    call(np.expand_dims, M, (0, -1)),
    call(np.atleast_1d, S),
    call(np.atleast_1d, S, V),
    call(np.atleast_2d, V),
    call(np.atleast_3d, M),
    call(np.broadcast_to, V, (2, 3, 4)),
    call(np.broadcast_to, S, 3),
    call(np.broadcast_arrays, V, M[:, :1]),
    call(np.meshgrid, V, W, indexing="ij"),
    call(np.meshgrid, V, W, sparse=True),
    call(np.copy, M),
    call(np.flip, C, (0, 2)),
    call(np.fliplr, M),
    call(np.flipud, M),
    call(np.rot90, M),
    call(np.rot90, C, -1, (1, 2)),
    call(np.rot90, M, 2),
    call(np.rot90, M, 4),
    call(np.roll, M, 2),
    call(np.roll, M, (1, -1), (0, 1)),
    call(np.roll, M, 1, (0, 1)),
    # joining
    call(np.concatenate, [M, M[:1]]),
    call(np.concatenate, [M, V], axis=None),
    call(np.concat, [M, M], axis=1, dtype=np.float64),
    call(np.stack, [V, W], axis=-1),
    call(np.hstack, [V, S]),
    call(np.hstack, [M, M]),
    call(np.vstack, [V, M]),
    call(np.dstack, [M, M]),
    call(np.column_stack, [V, W, M.T]),
    call(np.block, [[M, M[:, :1]], [np.ones((1, 5))]]),
    call(np.block, [V, 3.0]),
    call(np.append, M, [[1.0, 2.0, 3.0, 4.0]], axis=0),
    call(np.append, M, V),
    call(np.insert, M, [1, 3], 2.5, 1),
    call(np.insert, M, 1, V, 0),
    call(np.insert, V, np.array([True, False, False, True]), W[:2]),
    call(np.delete, M, [0, 2], 1),
    call(np.delete, M, 1),
    call(np.delete, V, np.array([True, False, False, True])),
    call(np.resize, M, (5, 3)),
    call(np.tile, M, (2, 1, 2)),
    call(np.repeat, M, 2, 1),
    call(np.repeat, M, [1, 0, 2], 0),
    call(np.repeat, M, 3),
    call(np.pad, M, 1),
    call(np.pad, M, ((1, 0), (2, 3)), constant_values=((1.0, 2.0), (3.0, 4.0))),
    call(np.pad, M, {1: (1, 2)}, "edge"),
    call(np.pad, M, 5, "reflect", reflect_type="odd"),
    call(np.pad, S, 2),
    # splitting
    call(np.split, M, 2, 1),
    call(np.split, M, [1, 3], 1),
    call(np.array_split, V, 3),
    call(np.hsplit, M, 2),
    call(np.vsplit, M, [1]),
    call(np.dsplit, C, 2),
    call(np.unstack, M, axis=1),
    # matrices
    call(np.diag, V, 1),
    call(np.diag, M, -1),
    call(np.diagflat, M),
    call(np.diagonal, C, 1, 1, 2),
    call(np.linalg.diagonal, C, offset=-1),
    call(np.trace, C, 0, 0, 2),
    call(np.linalg.trace, C),
    call(np.tril, M, -1),
    call(np.triu, C, 1),
    call(np.tril, V),
    # order
    call(np.sort, M, 0),
    call(np.sort, M, None),
    call(np.sort, Z),
    call(np.sort_complex, V),
    call(np.partition, M, 2, 0),
    call(np.unique, V),
    call(np.unique, M[[0, 1, 0]], axis=0, return_inverse=True),
    call(np.unique_all, V),
    call(np.unique_counts, V),
    call(np.unique_inverse, V),
    call(np.unique_values, V),
    call(np.union1d, V, W),
    call(np.intersect1d, np.r_[V, W], V, return_indices=True),
    call(np.setdiff1d, np.r_[V, W], V),
    call(np.setxor1d, np.r_[V, W], V),
    call(np.trim_zeros, np.array([0.0, 1.0, 2.0, 0.0])),
    call(np.bincount, np.array([0, 2, 2, 1]), V),
    # selection
    call(np.where, MASK, M, V),
    call(np.where, MASK, M, 0),
    call(np.select, [M > 1, M > 0], [M, M**2], 0.5),
    call(np.choose, np.array([0, 1, 0, 1]), [V, W]),
    call(np.take, M, [0, 2, 2], 0),
    call(np.take, M, [[0, 11], [5, 5]]),
    call(np.take, M, 1, axis=1),
    call(np.take, V, [-9, 9], mode="clip"),
    call(np.take_along_axis, M, np.argsort(M, 1), 1),
    call(np.take_along_axis, M, np.array([3, 3, 0]), None),
    call(np.compress, [True, False, True], M, 0),
    call(np.extract, MASK, M),
    call(np.interp, V, np.array([-1.0, 0.0, 2.0]), W[:3]),
    call(np.nan_to_num, np.array([np.nan, np.inf, -np.inf, 1.0]), posinf=5.0),
    call(np.piecewise, V, [V < 0, V > 1], [np.exp, np.sin, 2.0]),
    call(np.apply_along_axis, np.sum, 0, M),
    call(np.apply_over_axes, np.sum, C, [0, 2]),
    # ranges
    call(np.linspace, 0.5, S, 5),
    call(np.linspace, V, W, 3, retstep=True, axis=-1),
    call(np.logspace, S, 2.0, 4),
    call(np.geomspace, W, 8.0, 4),
]

# Calls whose results are constants: the same as NumPy's, without history.
CONSTANT_CALLS = [
    call(np.max, M[:0], 0, initial=3.0),
    call(np.all, M, axis=1),
    call(np.any, M > 9),
    call(np.allclose, M, M),
    call(np.isclose, M, M + 1),
    call(np.array_equal, M, M),
    call(np.array_equiv, M, V),
    call(np.argmax, M, 1),
    call(np.argmin, M, keepdims=True),
    call(np.nanargmax, HOLES[:, :1]),
    call(np.nanargmin, M),
    call(np.argsort, M, axis=0),
    call(np.argpartition, M, 1),
    call(np.argwhere, M),
    call(np.lexsort, (V, W)),
    call(np.nonzero, M),
    call(np.flatnonzero, M),
    call(np.where, M),
    call(np.searchsorted, np.sort(V), W, side="right"),
    call(np.digitize, V, np.array([-1.0, 0.0, 1.0])),
    call(np.isin, V, W),
    call(np.count_nonzero, M, axis=0),
    call(np.histogram, V, 3),
    call(np.histogram2d, V, W, 2),
    call(np.histogramdd, M, 2),
    call(np.histogram_bin_edges, V, 3),
    call(np.round, M, 1),
    call(np.around, M),
    call(np.fix, M),
    call(np.isneginf, M),
    call(np.isposinf, M),
    call(np.iscomplex, Z),
    call(np.isreal, Z),
    call(np.iscomplexobj, Z),
    call(np.isrealobj, Z),
    call(np.shape, M),
    call(np.ndim, M),
    call(np.size, M),
    call(np.size, M, 1),
    call(np.result_type, M, np.float32),
    call(np.common_type, M),
    call(np.min_scalar_type, M),
    call(np.can_cast, M.dtype, np.float32),
    call(np.may_share_memory, M, M),
    call(np.shares_memory, M, M),
    call(np.zeros_like, M),
    call(np.ones_like, M, dtype=np.float32),
    call(np.full_like, M, 3.0),
    call(np.tril_indices_from, M),
    call(np.triu_indices_from, M),
    call(np.diag_indices_from, M[:, :3]),
    call(np.array2string, V),
    call(np.array_repr, V),
    call(np.array_str, V),
]


def name_of(entry):
    function, args, kwargs = entry
    return f"{function.__name__}-{len(args)}-{'-'.join(kwargs)}"


def tensors(tree):
    return map_leaves(lambda x: Tensor(x, requires_grad=True) if is_float(x) else x, tree)


# Where the test's own points are special: equal elements, or a memory order that moving them loses.
NOT_SMOOTH = (np.unique_all, np.unique_counts, np.unique_inverse, np.unique_values, np.union1d,
              np.intersect1d, np.setdiff1d, np.setxor1d, np.trim_zeros)  # fmt: skip


def finite(entry):
    return all(np.isfinite(x).all() for x in flatten(entry[1])[0] if is_float(x))


def smooth(entry):
    function, args, kwargs = entry
    options = {x for x in (*args, *kwargs.values()) if isinstance(x, str)}
    layout = function in (np.ravel, np.reshape) and bool(options & {"A", "K"})
    repeated = function is np.unique and "axis" in kwargs
    cast = any(x is np.float32 for x in args)
    return finite(entry) and function not in NOT_SMOOTH and not (layout or repeated or cast)


@pytest.mark.parametrize("entry", CALLS, ids=name_of)
def test_value_is_numpys(entry):
    function, args, kwargs = entry
    got = function(*tensors(args), **tensors(kwargs))
    want = function(*args, **kwargs)
    tight = all(x.dtype.char in "dD" for x in flatten(args)[0] if is_float(x))
    assert_same(got, want, function.__name__, rtol=1e-12 if tight else 1e-3)
    recorded = [y for y in flatten(got)[0] if isinstance(y, Tensor)]
    assert any(y.requires_grad for y in recorded)


@pytest.mark.parametrize("entry", [e for e in CALLS if smooth(e)], ids=name_of)
def test_derivatives_of_the_call(entry):
    """With respect to every array among the arguments."""
    function, args, kwargs = entry
    leaves, rebuild = flatten((args, kwargs))
    places = [i for i, x in enumerate(leaves) if is_float(x)]

    def f(*xs):
        filled = list(leaves)
        for i, x in zip(places, xs, strict=True):
            filled[i] = x
        positional, named = rebuild(filled)
        return function(*positional, **named)

    nnad.check_grads(f, *(leaves[i] for i in places), order=1, tolerance=1e-6)


@pytest.mark.parametrize(
    ("x", "order"), [(F, "K"), (F, "A"), (C.transpose(2, 0, 1), "K"), (F[:, ::-1], "K")]
)
def test_memory_order_of_the_input_is_followed_backwards(x, order):
    y, pullback = nnad.vjp(lambda x: np.ravel(x, order), x)
    np.testing.assert_array_equal(y, np.ravel(x, order))
    np.testing.assert_array_equal(pullback(y)[0], x)


@pytest.mark.parametrize("entry", [e for e in CALLS if not finite(e)], ids=name_of)
def test_holes_have_derivative_zero_and_do_not_spread(entry):
    function, args, kwargs = entry
    x = args[0]
    _, pullback = nnad.vjp(lambda x: function(x, *args[1:], **kwargs), x)
    out = function(x, *args[1:], **kwargs)
    (got,) = pullback(np.ones_like(out))
    assert np.isfinite(got).all()
    assert (got[~np.isfinite(x)] == 0).all()

    def of_numbers(numbers):
        filled = x.copy()
        filled[np.isfinite(x)] = numbers
        return function(filled, *args[1:], **kwargs)

    numbers, h = x[np.isfinite(x)], 1e-6
    for i, slope in enumerate(got[np.isfinite(x)]):
        step = h * (np.arange(numbers.size) == i)
        change = (of_numbers(numbers + step) - of_numbers(numbers - step)) / (2 * h)
        np.testing.assert_allclose(slope, change.sum(), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("entry", CONSTANT_CALLS, ids=name_of)
def test_constant_result_is_numpys(entry):
    function, args, kwargs = entry
    got = function(*tensors(args), **kwargs)
    want = function(*args, **kwargs)
    for a, b in zip(flatten(got)[0], flatten(want)[0], strict=True):
        if isinstance(a, Tensor):
            assert not a.requires_grad
            a = a.data
        assert np.array_equal(a, b)
        assert getattr(a, "dtype", None) == getattr(b, "dtype", None)


# Discovery ----------------------------------------------------------------------------------------

NAMES = (
    "constants cumulative diagonals index joining nan ordering padding ranges reduce selection "
    "shape statistics"
)
ROOM = {f"nnad.ops.{name}" for name in NAMES.split(" ")}
TESTED_ELSEWHERE = {
    np.put_along_axis,
    np.put,
    np.putmask,
    np.place,
    np.add.at,
    np.copyto,
    np.fill_diagonal,
    np.empty_like,
    np.astype,
    np.ix_,
    np.ravel_multi_index,
    np.unravel_index,
    np.packbits,
    np.unpackbits,
}


def home_of(target):
    function = target.forward if isinstance(target, Composite) else target
    return getattr(function, "__module__", "")


OURS = [f for f, target in IMPLEMENTATIONS.items() if home_of(target) in ROOM]


def test_every_function_of_these_files_is_called():
    called = {entry[0] for entry in CALLS + CONSTANT_CALLS} | TESTED_ELSEWHERE
    assert sorted(f.__name__ for f in OURS if f not in called) == []


LEFT_OUT = {"like", "subok"}  # nothing a Tensor could do with them


def parameters(function):
    return [p for p in inspect.signature(function).parameters if p not in LEFT_OUT]


@pytest.mark.parametrize("function", OURS, ids=lambda f: f.__name__)
def test_signature_is_numpys(function):
    target = IMPLEMENTATIONS[function]
    target = target.forward if isinstance(target, Composite) else target
    try:
        want = parameters(function)
        got = parameters(target)
    except (ValueError, TypeError):
        pytest.skip("NumPy does not tell the signature")
    assert [name for name in want if name not in got] == []
    shared = [name for name in got if name in want]
    assert shared == want
