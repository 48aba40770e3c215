"""Every function of the array API standard against array-api-strict, on random calls.

The list of names and signatures is read from array-api-strict, so that nothing can be forgotten.
"""

import inspect
import warnings

import numpy as np
import pytest

pytest.importorskip("hypothesis")
pytest.importorskip("array_api_strict")
import array_api_strict as strict

import nnad.array_api as xp
from nnad.autodiff.tensor import Tensor
from tests.array_api.draws import CALLS, Draw
from tests.ops.test_properties import random_cases

OF_STRICT_ITSELF = {
    "ArrayAPIStrictFlags",
    "Device",
    "get_array_api_strict_flags",
    "reset_array_api_strict_flags",
    "set_array_api_strict_flags",
    "__version__",
}
MODULES = {"": strict, "linalg.": strict.linalg, "fft.": strict.fft}
NAMES = sorted(
    prefix + name
    for prefix, module in MODULES.items()
    for name in module.__all__
    if name not in OF_STRICT_ITSELF
)
# Tested on their own, below or in test_array_object.py.
ELSEWHERE = {"__array_namespace_info__", "finfo", "iinfo", "from_dlpack"}
# Not yet in array-api-strict, or (isin's `invert`) wrong there: compared with NumPy.
NUMPYS = {
    "isin": np.isin,
    "linalg.eig": lambda x: tuple(y.astype(np.result_type(y, "F")) for y in np.linalg.eig(x)),
    "linalg.eigvals": lambda x: (y := np.linalg.eigvals(x)).astype(np.result_type(y, "F")),
}
# Computed by another formula than NumPy's, or summed in another order.
ROUNDED = {
    "cumulative_prod",
    "mean",
    "sign",
    "std",
    "var",
    "prod",
    "sum",
    "logaddexp",
    "tensordot",
    "vecdot",
    "matmul",
}
UNSPECIFIED = {"empty", "empty_like"}  # values
EITHER_ZERO = {"clip", "cumulative_sum"}  # +0 or -0
DTYPES = {str(dtype): dtype for dtype in vars(xp).values() if isinstance(dtype, np.dtype)}


def find(namespace, name):
    for part in name.split("."):
        namespace = getattr(namespace, part)
    return namespace


FUNCTIONS = [n for n in NAMES if inspect.isfunction(find(strict, n)) and n not in ELSEWHERE]


def translated(x, namespace):
    """An argument in terms of a namespace: its arrays, dtypes and device."""
    if isinstance(x, np.ndarray):
        return namespace.asarray(x)
    if isinstance(x, np.dtype) or (isinstance(x, str) and x in DTYPES):
        return getattr(namespace, str(x))
    if x == "cpu" and namespace is strict:
        return strict.Device("CPU_DEVICE")
    if isinstance(x, (tuple, list)):
        return type(x)(translated(part, namespace) for part in x)
    return x


def call(name, namespace, args, kwargs):
    options = {key: translated(value, namespace) for key, value in kwargs.items()}
    with np.errstate(all="ignore"), warnings.catch_warnings():
        if namespace is strict:
            warnings.simplefilter("ignore", DeprecationWarning)  # of fftn(s=...) without axes
        return find(namespace, name)(*translated(args, namespace), **options)


def dtype_name(dtype):
    return str(dtype).removeprefix("array_api_strict.")


def assert_agree(got, want, name):
    """Equal types of results, names of fields, shapes, dtypes and values."""
    if isinstance(want, tuple) and not all(isinstance(n, int) for n in want):
        assert isinstance(got, tuple)
        assert getattr(got, "_fields", None) == getattr(
            want, "_fields", getattr(got, "_fields", None)
        )
        for a, b in zip(got, want, strict=True):
            assert_agree(a, b, name)
    elif isinstance(want, (bool, tuple)):
        assert got == want
        assert type(got) is type(want)
    elif isinstance(got, np.dtype):
        assert str(got) == dtype_name(want)
    else:
        assert isinstance(got, Tensor), f"{name} returned {type(got)}"
        assert got.shape == want.shape
        assert str(got.dtype) == dtype_name(want.dtype)
        if name not in UNSPECIFIED:
            assert_equal(np.asarray(got), np.asarray(want), name)


def assert_equal(got, want, name):
    if "." in name or name in ROUNDED:
        exact = want.dtype.kind not in "fc"
        rtol = 0 if exact else 100 * np.finfo(want.dtype).eps
        np.testing.assert_allclose(got, want, rtol=rtol, atol=10 * rtol)
        return
    np.testing.assert_array_equal(got, want)
    if want.dtype.kind == "f" and name not in EITHER_ZERO:
        numbers = ~np.isnan(want)
        np.testing.assert_array_equal(np.signbit(got[numbers]), np.signbit(want[numbers]))


def check(name, rng):
    args, kwargs = CALLS[name](Draw(rng))
    if name in NUMPYS:
        want = NUMPYS[name](*args, **kwargs)
    else:
        want = call(name, strict, args, kwargs)
    assert_agree(call(name, xp, args, kwargs), want, name)


def test_no_function_is_without_a_sample():
    assert sorted({*FUNCTIONS, *NUMPYS} - CALLS.keys()) == []
    assert sorted(CALLS.keys() - {*FUNCTIONS, *NUMPYS}) == []


@pytest.mark.parametrize("name", sorted(CALLS))
def test_values_and_dtypes(name):
    random_cases(8)(lambda rng: check(name, rng))()


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(CALLS))
def test_values_and_dtypes_of_many(name):
    random_cases(300)(lambda rng: check(name, rng))()


@pytest.mark.parametrize("name", [*NAMES, *NUMPYS])
def test_every_name_is_there(name):
    found = find(xp, name)
    if not callable(found):
        wanted = find(strict, name)
        assert str(found) == dtype_name(wanted) or inspect.ismodule(found)


@pytest.mark.parametrize("name", [*sorted(FUNCTIONS), "finfo", "iinfo", "from_dlpack"])
def test_signature_takes_every_call_that_the_standard_allows(name):
    ours = inspect.signature(find(xp, name)).parameters
    theirs = inspect.signature(find(strict, name)).parameters
    positions = [p for p in ours.values() if p.kind is not p.KEYWORD_ONLY]
    for i, (key, wanted) in enumerate(theirs.items()):
        if wanted.kind is wanted.KEYWORD_ONLY or wanted.kind is wanted.POSITIONAL_OR_KEYWORD:
            assert ours[key].kind in (wanted.KEYWORD_ONLY, wanted.POSITIONAL_OR_KEYWORD)
        if wanted.kind is not wanted.KEYWORD_ONLY:
            assert (
                positions[i].kind is not wanted.VAR_POSITIONAL or wanted.kind is positions[i].kind
            )
        mine = ours.get(key)
        if mine is not None and wanted.default is not wanted.empty:
            undefined = "UNDEF" in str(wanted.default)
            assert mine.default == (None if undefined else wanted.default)


PLANTED = {
    "argsort": lambda x, /, **options: Tensor(np.argsort(np.asarray(x))),
    "copysign": lambda x1, x2, /: Tensor(np.copysign(x1, 1.0)),
    "isnan": lambda x, /: np.isnan(np.asarray(x)),
    "logaddexp": lambda x1, x2, /: Tensor(np.log(np.exp(np.asarray(x1)) + np.exp(np.asarray(x2)))),
    "sum": lambda x, /, *, axis=None, dtype=None, keepdims=False: Tensor(x.data.sum()),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_mistake_is_seen(monkeypatch, name):
    monkeypatch.setattr(xp, name, PLANTED[name])
    with pytest.raises(AssertionError):
        for seed in range(20):
            check(name, np.random.default_rng(seed))
