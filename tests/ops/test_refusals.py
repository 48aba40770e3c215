"""What NumPy's signatures allow and Tensors cannot do is refused by name, with a remedy."""

import numpy as np
import pytest

import nnad
from nnad.autodiff.tensor import Tensor

X = np.array([[1.0, 2.0], [3.0, 4.0]])


def tensor():
    return Tensor(X, requires_grad=True) * 1.0


REFUSED = {
    "sum into an ndarray": (lambda t: np.sum(t, 0, out=np.zeros(2)), TypeError, "y = np.sum"),
    "cumsum into an ndarray": (lambda t: np.cumsum(t, out=np.zeros(4)), TypeError, "recorded"),
    "sum into another shape": (lambda t: np.sum(t, 0, out=tensor()), ValueError, "shape"),
    "max where without initial": (lambda t: np.max(t, where=X > 1), ValueError, "initial="),
    "clip where": (lambda t: np.clip(t, 0, 1, where=X > 1), TypeError, "where="),
    "pad by a function": (lambda t: np.pad(t, 1, lambda *_: None), ValueError, "np.concatenate"),
    "unknown mode of pad": (lambda t: np.pad(t, 1, "mirror"), ValueError, "'mirror' is none of"),
    "pad with a wrong option": (
        lambda t: np.pad(t, 1, "edge", constant_values=3),
        ValueError,
        "constant_values",
    ),
    "negative pad": (lambda t: np.pad(t, -1), ValueError, "negative"),
    "pad by a fraction": (lambda t: np.pad(t, 1.5), TypeError, "integers"),
    "stat_length 0": (lambda t: np.pad(t, 1, "mean", stat_length=0), ValueError, "stat_length"),
    "reflect_type": (lambda t: np.pad(t, 1, "reflect", reflect_type="x"), ValueError, "even"),
    "unknown method of quantile": (
        lambda t: np.quantile(t, 0.5, method="best"),
        ValueError,
        "'best' is none of linear",
    ),
    "quantile out of range": (lambda t: np.quantile(t, 1.5), ValueError, "range"),
    "percentile out of range": (lambda t: np.percentile(t, 150.0), ValueError, "100"),
    "weighted linear quantile": (
        lambda t: np.quantile(t, 0.5, weights=X),
        ValueError,
        "inverted_cdf",
    ),
    "weights of another shape": (
        lambda t: np.quantile(t, 0.5, weights=np.ones(3), method="inverted_cdf"),
        ValueError,
        "shape",
    ),
    "average without axis": (lambda t: np.average(t, weights=[1.0, 2.0]), TypeError, "axis="),
    "average with wrong weights": (
        lambda t: np.average(t, 0, weights=np.ones(3)),
        ValueError,
        r"expected \(2,\)",
    ),
    "ddof and correction": (lambda t: np.var(t, ddof=1, correction=1), ValueError, "correction"),
    "uneven split": (lambda t: np.split(t, 3), ValueError, "array_split"),
    "dsplit of a matrix": (lambda t: np.dsplit(t, 2), ValueError, "3 or more axes"),
    "split key": (lambda t: np.unstack(t.sum()), ValueError, "1 or more axes"),
    "three-axis diag": (lambda t: np.diag(t[None]), ValueError, "1 or 2 axes"),
    "indexing of meshgrid": (lambda t: np.meshgrid(t, indexing="yx"), ValueError, "'yx'"),
    "axis out of range": (lambda t: np.sum(t, axis=2), ValueError, "out of bounds"),
    "repeated axis": (lambda t: np.max(t, axis=(0, 0)), ValueError, "duplicate"),
    "squeeze": (lambda t: np.squeeze(t, 0), ValueError, "size not equal to one"),
    "reshape": (lambda t: np.reshape(t, (3, 2)), ValueError, "cannot reshape"),
    "concatenate": (lambda t: np.concatenate([t, t[0]]), ValueError, "dimension"),
    "diff of a number": (lambda t: np.diff(t.sum()), ValueError, "1 or more axes"),
    "diff, negative": (lambda t: np.diff(t, -1), ValueError, "n >= 0"),
    "gradient, too short": (lambda t: np.gradient(t, edge_order=2), ValueError, "3 points"),
    "gradient, edge_order": (lambda t: np.gradient(t, edge_order=3), ValueError, "1 or 2"),
    "gradient, spacings": (lambda t: np.gradient(t, 1.0, 2.0, 3.0), TypeError, "spacings"),
    "gradient, coordinates": (lambda t: np.gradient(t, np.ones(5), axis=0), ValueError, "length"),
    "cumulative_sum of a matrix": (lambda t: np.cumulative_sum(t), ValueError, "axis="),
    "linspace": (lambda t: np.linspace(t, 1.0, -1), ValueError, "negative"),
    "select": (lambda t: np.select([X > 1], [t, t]), ValueError, "as many choices"),
    "choose": (lambda t: np.choose(np.array([5, 0]), [t, t]), ValueError, "0 to 1"),
    "piecewise": (lambda t: np.piecewise(t, [X > 1], [1.0, 2.0, 3.0]), ValueError, "conditions"),
    "where with two arguments": (lambda t: np.where(X > 1, t, None), ValueError, "both"),
    "interp": (lambda t: np.interp(0.5, t[0], t), ValueError, "vectors of one length"),
    "take_along_axis": (lambda t: np.take_along_axis(t, np.array([0]), 0), ValueError, "axes"),
    "cov of three axes": (lambda t: np.cov(t[None]), ValueError, "at most 2 axes"),
    "cov, weights": (lambda t: np.cov(t, fweights=np.ones(5, int)), ValueError, "fweights"),
    "apply_along_axis": (
        lambda t: np.apply_along_axis(np.sum, 0, t[:, :0]),
        ValueError,
        "no lines",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_name(name):
    call, error, said = REFUSED[name]
    with pytest.raises(error, match=said):
        call(tensor())


def test_out_may_be_an_intermediate_tensor():
    def f(x):
        y = x * 1.0
        np.cumsum(x, axis=1, out=y)
        return y

    nnad.check_grads(f, X, order=1)


def test_plain_arrays_may_be_written_into():
    out = np.zeros(2)
    assert nnad.ops.sum(X, 0, out=out) is out
    np.testing.assert_array_equal(out, [4.0, 6.0])


def test_full_like_and_pad_take_recorded_values():
    v = np.array([2.0, 3.0])
    nnad.check_grads(lambda v: np.full_like(v, v[0]) * v, v)
    nnad.check_grads(lambda v: np.pad(v, (1, 2), constant_values=(v[0], v[1])), v)
    nnad.check_grads(lambda v: np.pad(v, 1, constant_values=v[0]), v)
    nnad.check_grads(lambda v: np.pad(v[None], 1, constant_values=((v[0], 1.0), (0.0, v[1]))), v)


def test_lists_of_tensors_are_arrays_to_our_own_functions():
    def f(x):
        return nnad.ops.sum([[x[0], 2.0], [x[1], x[0]]], axis=0)

    nnad.check_grads(f, np.array([2.0, 3.0]))


def test_results_for_plain_arrays_are_plain():
    assert type(nnad.ops.cumsum(X)) is np.ndarray
    assert type(nnad.ops.median(X)) is np.float64
    assert type(nnad.ops.sort(X)) is np.ndarray
