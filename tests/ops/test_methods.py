"""The methods of Tensor are those of ndarray."""

import numpy as np
import pytest

import nnad
from nnad.autodiff.tensor import Tensor
from nnad.ops.methods import LEFT_OUT
from tests.autodiff.table_checks import assert_same

M = np.random.default_rng(5).normal(size=(3, 4))
SQUARE = M[:, :3]
V = M[0]

METHODS = {
    "all": lambda x: x.all(1),
    "any": lambda x: x.any(),
    "argmax": lambda x: x.argmax(0),
    "argmin": lambda x: x.argmin(),
    "argsort": lambda x: x.argsort(axis=0),
    "argpartition": lambda x: x.argpartition(1),
    "astype": lambda x: x.astype(np.float32),
    "clip": lambda x: x.clip(-0.5, 0.5),
    "compress": lambda x: x.compress([True, False, True], axis=0),
    "conj": lambda x: x.conj(),
    "conjugate": lambda x: x.conjugate(),
    "copy": lambda x: x.copy(),
    "cumprod": lambda x: x.cumprod(0),
    "cumsum": lambda x: x.cumsum(),
    "diagonal": lambda x: x.diagonal(1),
    "dot": lambda x: x.dot(V),
    "flatten": lambda x: x.flatten(),
    "flatten in F": lambda x: x.flatten("F"),
    "max": lambda x: x.max(axis=1, keepdims=True),
    "mean": lambda x: x.mean((0, 1)),
    "min": lambda x: x.min(0),
    "nonzero": lambda x: x.nonzero(),
    "prod": lambda x: x.prod(1),
    "ravel": lambda x: x.ravel(),
    "repeat": lambda x: x.repeat(2, axis=0),
    "reshape": lambda x: x.reshape(2, 6),
    "reshape to a tuple": lambda x: x.reshape((4, -1), order="F"),
    "round": lambda x: x.round(1),
    "searchsorted": lambda x: x[0].cumsum().searchsorted(0.3),
    "squeeze": lambda x: x[None].squeeze(0),
    "std": lambda x: x.std(0, ddof=1),
    "sum": lambda x: x.sum(1, keepdims=True),
    "swapaxes": lambda x: x.swapaxes(0, 1),
    "take": lambda x: x.take([1, 1], axis=1),
    "trace": lambda x: x.trace(),
    "transpose": lambda x: x.transpose(1, 0),
    "transpose by a tuple": lambda x: x.transpose((1, 0)),
    "transpose by default": lambda x: x.transpose(),
    "var": lambda x: x.var(),
    "T": lambda x: x.T,
    "mT": lambda x: x.mT,
    "real": lambda x: x.real,
    "imag": lambda x: x.imag,
    "unpacking": lambda x: list(x),
    "contains": lambda x: 99.0 in x,
    "choose": lambda x: (x > 0).astype(int).choose([0, 1]),
    "divmod": lambda x: divmod(x, 0.4),
    "divmod by": lambda x: divmod(3.0, abs(x) + 2),
    "np.divmod": lambda x: np.divmod(x, 0.4),
    "np.modf": lambda x: np.modf(x),
    "np.frexp": lambda x: np.frexp(x)[0],
    "np.ldexp": lambda x: np.ldexp(x, 2),
    "np.vecdot": lambda x: np.vecdot(x, x, axis=0),
    "item": lambda x: x.item(1, 2),
    "transpose by None": lambda x: x.transpose(None),
    "reshape with a copy": lambda x: x.reshape(2, 6, copy=True),
}
CONSTANT = {
    "all", "any", "argmax", "argmin", "argsort", "argpartition", "nonzero", "round",
    "searchsorted", "contains", "choose", "item",
}  # fmt: skip


@pytest.mark.parametrize("name", METHODS)
def test_method_gives_numpys_value(name):
    assert_same(METHODS[name](Tensor(M, requires_grad=True)), METHODS[name](M), name)


@pytest.mark.parametrize("name", sorted(set(METHODS) - CONSTANT - {"astype"}))
def test_method_is_differentiable(name):
    nnad.check_grads(METHODS[name], M, order=1)


def test_every_method_of_ndarray_is_offered_or_left_out_for_a_reason():
    array_api = {"device", "to_device"}  # tests/array_api
    public = {name for name in dir(np.ndarray) if not name.startswith("_")} - {"data"} - array_api
    assert {name for name in public if not hasattr(Tensor, name)} == set(LEFT_OUT)


@pytest.mark.parametrize("name", LEFT_OUT)
def test_what_is_left_out_says_what_to_write(name):
    with pytest.raises(AttributeError, match=r"t\.|np\.|numpy"):
        getattr(Tensor(M), name)


def test_a_name_that_no_array_has_is_an_ordinary_attribute_error():
    with pytest.raises(AttributeError, match=r"no attribute 'sums'$"):
        Tensor(M).sums


def test_a_share_of_hits_is_rounded_like_a_number():
    assert round(np.mean(Tensor(M) > 0), 3) == round(np.mean(M > 0), 3)
    assert round(Tensor(2.5)) == 2


def test_integers_go_through_functions_that_have_no_rule():
    mask = Tensor(M, requires_grad=True) > 0
    np.testing.assert_array_equal(np.bitwise_count(mask), np.bitwise_count(M > 0))
    np.testing.assert_array_equal(np.gcd(mask.astype(int) * 6, 4), np.gcd((M > 0) * 6, 4))
    np.testing.assert_array_equal(
        np.maximum.accumulate(mask, axis=1), np.maximum.accumulate(M > 0, axis=1)
    )
    with pytest.raises(nnad.errors.MissingRuleError, match="spacing"):
        np.spacing(Tensor(M, requires_grad=True))
