"""The special cases that the standard spells out, for both precisions and as operators."""

import operator

import numpy as np
import pytest

import nnad.array_api as xp

nan, inf, pi = float("nan"), float("inf"), np.pi
CASES = {
    "abs": [(-0.0, 0.0), (-inf, inf), (nan, nan)],
    "acos": [(1.0, 0.0), (1.5, nan), (-1.5, nan)],
    "acosh": [(1.0, 0.0), (0.5, nan), (inf, inf)],
    "asin": [(-0.0, -0.0), (0.0, 0.0), (1.5, nan)],
    "asinh": [(-0.0, -0.0), (inf, inf), (-inf, -inf)],
    "atan": [(-0.0, -0.0), (inf, pi / 2), (-inf, -pi / 2)],
    "atanh": [(1.0, inf), (-1.0, -inf), (-0.0, -0.0), (1.5, nan)],
    "ceil": [(-0.5, -0.0), (-0.0, -0.0), (inf, inf), (nan, nan)],
    "cos": [(0.0, 1.0), (-0.0, 1.0), (inf, nan)],
    "cosh": [(-0.0, 1.0), (inf, inf), (-inf, inf)],
    "exp": [(-0.0, 1.0), (inf, inf), (-inf, 0.0)],
    "expm1": [(-0.0, -0.0), (inf, inf), (-inf, -1.0)],
    "floor": [(-0.0, -0.0), (0.5, 0.0), (-inf, -inf)],
    "log": [(0.0, -inf), (-0.0, -inf), (1.0, 0.0), (-1.0, nan), (inf, inf)],
    "log10": [(0.0, -inf), (1.0, 0.0), (-1.0, nan)],
    "log1p": [(-1.0, -inf), (-0.0, -0.0), (-2.0, nan), (inf, inf)],
    "log2": [(0.0, -inf), (1.0, 0.0), (-1.0, nan)],
    "reciprocal": [(0.0, inf), (-0.0, -inf), (inf, 0.0), (-inf, -0.0)],
    "round": [(0.5, 0.0), (1.5, 2.0), (-0.5, -0.0), (2.5, 2.0), (inf, inf), (nan, nan)],
    "sign": [(-3.0, -1.0), (-0.0, 0.0), (0.0, 0.0), (nan, nan), (-inf, -1.0)],
    "signbit": [(-0.0, True), (0.0, False), (-inf, True), (inf, False)],
    "sin": [(-0.0, -0.0), (inf, nan)],
    "sinh": [(-0.0, -0.0), (-inf, -inf)],
    "sqrt": [(-0.0, -0.0), (-1.0, nan), (inf, inf)],
    "tan": [(-0.0, -0.0), (inf, nan)],
    "tanh": [(-0.0, -0.0), (inf, 1.0), (-inf, -1.0)],
    "trunc": [(-0.5, -0.0), (-1.5, -1.0), (-0.0, -0.0), (inf, inf)],
    "add": [(inf, -inf, nan), (-0.0, -0.0, -0.0), (-0.0, 0.0, 0.0), (1.0, -1.0, 0.0)],
    "atan2": [
        (0.0, 0.0, 0.0), (0.0, -0.0, pi), (-0.0, -0.0, -pi), (-0.0, -1.0, -pi), (1.0, inf, 0.0),
        (-1.0, -inf, -pi), (inf, 1.0, pi / 2), (inf, inf, pi / 4), (inf, -inf, 3 * pi / 4),
        (-inf, -inf, -3 * pi / 4), (nan, 1.0, nan),
    ],
    "copysign": [(1.0, -0.0, -1.0), (-1.0, 0.0, 1.0), (0.0, -2.0, -0.0), (inf, -1.0, -inf)],
    "divide": [
        (0.0, 0.0, nan), (inf, inf, nan), (1.0, -0.0, -inf), (-0.0, 1.0, -0.0), (1.0, -inf, -0.0),
    ],
    "floor_divide": [(inf, inf, nan), (0.0, 0.0, nan), (7.0, -2.0, -4.0), (-0.0, 2.0, -0.0)],
    "hypot": [(inf, nan, inf), (nan, -inf, inf), (-0.0, 0.0, 0.0), (3.0, -4.0, 5.0)],
    "logaddexp": [(nan, 1.0, nan), (inf, 1.0, inf), (-inf, -inf, -inf)],
    "maximum": [(nan, 1.0, nan), (1.0, nan, nan), (inf, -inf, inf)],
    "minimum": [(nan, 1.0, nan), (1.0, nan, nan), (inf, -inf, -inf)],
    "multiply": [(inf, 0.0, nan), (-1.0, 0.0, -0.0), (-0.0, -2.0, 0.0), (inf, -1.0, -inf)],
    "nextafter": [(nan, 1.0, nan), (1.0, 1.0, 1.0), (0.0, -0.0, -0.0)],
    "pow": [
        (1.0, nan, 1.0), (nan, 0.0, 1.0), (nan, -0.0, 1.0), (0.5, inf, 0.0), (2.0, inf, inf),
        (-1.0, inf, 1.0), (-0.0, -3.0, -inf), (-0.0, -2.0, inf), (0.0, 2.0, 0.0), (-0.0, 3.0, -0.0),
        (-inf, 3.0, -inf), (-inf, 2.0, inf), (-inf, -3.0, -0.0), (-8.0, 1 / 3, nan),
    ],
    "remainder": [
        (5.0, -3.0, -1.0), (-5.0, 3.0, 1.0), (-0.0, 2.0, 0.0), (1.0, 0.0, nan), (inf, 1.0, nan),
        (0.0, -2.0, -0.0), (nan, 1.0, nan),
    ],
    "subtract": [(inf, inf, nan), (-0.0, 0.0, -0.0), (0.0, 0.0, 0.0)],
    "equal": [(nan, nan, False), (-0.0, 0.0, True), (inf, inf, True)],
    "not_equal": [(nan, nan, True), (-0.0, 0.0, False)],
    "less": [(nan, 1.0, False), (-inf, inf, True), (-0.0, 0.0, False)],
    "greater_equal": [(nan, 1.0, False), (-0.0, 0.0, True)],
    "logical_not": [(True, False), (False, True)],
}  # fmt: skip
OPERATORS = {
    "abs": operator.abs, "add": operator.add, "divide": operator.truediv,
    "floor_divide": operator.floordiv, "multiply": operator.mul, "pow": operator.pow,
    "remainder": operator.mod, "subtract": operator.sub, "equal": operator.eq,
    "not_equal": operator.ne, "less": operator.lt, "greater_equal": operator.ge,
}  # fmt: skip
REDUCTIONS = {
    "sum": ([], 0.0), "prod": ([], 1.0), "mean": ([], nan), "max": ([1.0, nan], nan),
    "min": ([nan, 1.0], nan), "all": ([], True), "any": ([], False), "all of nan": ([nan], True),
    "argmax": ([1.0, nan, 3.0], 1), "count_nonzero": ([0.0, -0.0, nan], 1),
}  # fmt: skip


def assert_is(got, expected, dtype):
    got = np.asarray(got)
    if isinstance(expected, bool):
        assert got.dtype == np.bool_
        assert got == expected
        return
    assert got.dtype == dtype
    np.testing.assert_allclose(got, expected, rtol=1e-6 if dtype == xp.float32 else 1e-15)
    if not np.isnan(expected):
        assert np.signbit(got) == np.signbit(expected), (got, expected)


@pytest.mark.parametrize("dtype", [xp.float32, xp.float64], ids=str)
@pytest.mark.parametrize("name", CASES)
def test_elementwise(name, dtype):
    for *args, expected in CASES[name]:
        kind = xp.bool if isinstance(args[0], bool) else dtype
        arrays = [xp.asarray(x, dtype=kind) for x in args]
        with np.errstate(all="ignore"):
            assert_is(getattr(xp, name)(*arrays), expected, dtype)
            if name in OPERATORS:
                assert_is(OPERATORS[name](*arrays), expected, dtype)


@pytest.mark.parametrize("name", REDUCTIONS)
@pytest.mark.filterwarnings("ignore:Mean of empty slice", "ignore:invalid value")
def test_reductions(name):
    values, expected = REDUCTIONS[name]
    got = getattr(xp, name.split()[0])(xp.asarray(values, dtype=xp.float64))
    assert_is(got, expected, xp.int64 if isinstance(expected, int) else xp.float64)


COMPLEX = {
    "exp": [(complex(-inf, 0), 0), (complex(0, 0), 1), (complex(inf, 0), complex(inf, 0))],
    "sqrt": [(complex(-4, 0), 2j), (complex(-4, -0.0), -2j)],
    "log": [(complex(-1, 0), complex(0, pi)), (complex(-1, -0.0), complex(0, -pi))],
    "conj": [(complex(1, -0.0), complex(1, 0.0))],
    "sign": [(3 + 4j, 0.6 + 0.8j), (0j, 0j)],
    "tanh": [(complex(inf, 1), 1)],
    "expm1": [(complex(0, 0), 0)],
}


@pytest.mark.parametrize("name", COMPLEX)
def test_complex(name):
    for x, expected in COMPLEX[name]:
        with np.errstate(all="ignore"):
            got = np.asarray(getattr(xp, name)(xp.asarray(x)))
        np.testing.assert_allclose(got, expected, rtol=1e-15, atol=1e-15)


def test_sets_take_every_nan_for_one_of_its_own():
    x = xp.asarray([nan, 1.0, nan, 1.0, -0.0, 0.0])
    result = xp.unique_all(x)
    assert np.isnan(np.asarray(result.values)).sum() == 2
    assert result.counts.shape == result.values.shape == (4,)
    np.testing.assert_array_equal(np.asarray(result.values[result.inverse_indices]), np.asarray(x))
    assert not xp.isin(xp.asarray([nan]), xp.asarray([nan]))[0]
