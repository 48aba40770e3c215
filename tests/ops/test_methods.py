"""The methods of Tensor are those of ndarray."""

import numpy as np
import pytest

import nnad
from nnad.autodiff.tensor import Tensor
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
}
CONSTANT = {
    "all", "any", "argmax", "argmin", "argsort", "argpartition", "nonzero", "round",
    "searchsorted", "contains", "choose",
}  # fmt: skip


@pytest.mark.parametrize("name", METHODS)
def test_method_gives_numpys_value(name):
    assert_same(METHODS[name](Tensor(M, requires_grad=True)), METHODS[name](M), name)


@pytest.mark.parametrize("name", sorted(set(METHODS) - CONSTANT - {"astype"}))
def test_method_is_differentiable(name):
    nnad.check_grads(METHODS[name], M, order=1)


NOT_OFFERED = {
    "base": "the memory is the engine's own",
    "byteswap": "bytes have no derivative",
    "ctypes": "bytes have no derivative",
    "data": "the ndarray itself",
    "device": "belongs to the array API standard",
    "dump": "pickle the Tensor",
    "dumps": "pickle the Tensor",
    "flags": "those of .data",
    "flat": "an assignment to it could not be recorded",
    "getfield": "bytes have no derivative",
    "resize": "an in-place change of shape",
    "setfield": "bytes have no derivative",
    "setflags": "those of .data",
    "strides": "those of .data",
    "to_device": "belongs to the array API standard",
    "tobytes": "use .numpy()",
    "tofile": "use .numpy()",
    "view": "bytes have no derivative",
}


def test_every_method_of_ndarray_is_offered_or_left_out_for_a_reason():
    public = {name for name in dir(np.ndarray) if not name.startswith("_")}
    missing = {name for name in public if not hasattr(Tensor, name)}
    assert sorted(missing - NOT_OFFERED.keys()) == []
