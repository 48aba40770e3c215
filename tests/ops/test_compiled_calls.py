"""NumPy's functions in a compiled step: replayed on other values as in eager mode, or refused.

What is refused reads values where more than numbers hangs on them: the shape of a result, a choice
between operations.  Nothing may replay the choices of the first call in silence.
"""

import numpy as np
import pytest

import nnad
from nnad.autodiff.tensor import Tensor, value_of
from nnad.autodiff.trees import flatten
from nnad.compiler.capture import DataDependentError
from tests.autodiff.table_checks import is_float
from tests.ops.test_numpy_calls import CALLS, CONSTANT_CALLS, M, V, call, name_of

MORE = [
    call(lambda x: x[x > 0], M),
    call(lambda x: np.where(x > 0), M),
    call(lambda x: np.repeat(x, np.abs(x[0]).astype(int), axis=1), 2 * M),
    call(lambda x: np.choose(x > 0, [x, -x], mode="clip"), M),
    call(lambda x: np.choose(x > 0, [x, -x]), M),
    call(lambda x: np.compress(x[0] > 0, x, axis=1), M),
    call(lambda x: np.extract(x > 0, x), M),
    call(lambda x: np.piecewise(x, [x > 0], [np.exp, np.sin]), M),
    call(lambda x: np.bincount(np.abs(x[0]).astype(int)), 3 * M),
    call(lambda x: np.lexsort((x[0], x[1])), M),
    call(lambda x: np.isin(np.round(x), [0.0, 1.0]), M),
    call(lambda x: np.logical_and.reduce(x > 0), M),
    call(lambda x: np.max(x, where=x > 0, initial=0.0), M),
    call(lambda x: np.delete(x, np.abs(x[:2]).astype(int)), V),
]
MAY_REFUSE = {
    np.argwhere, np.bincount, np.choose, np.compress, np.extract, np.flatnonzero, np.intersect1d,
    np.lexsort, np.nonzero, np.piecewise, np.quantile, np.percentile, np.nanquantile,
    np.nanpercentile, np.average, np.cov, np.setdiff1d, np.setxor1d, np.trim_zeros, np.union1d,
    np.unique, np.unique_all, np.unique_counts, np.unique_inverse, np.unique_values, np.where,
    np.array2string, np.array_repr, np.array_str, np.delete, np.insert, np.min_scalar_type,
}  # fmt: skip
OF_THE_MEMORY = {np.may_share_memory, np.shares_memory}
NESTED = {np.histogramdd, np.diag_indices_from}  # tuples in tuples, one array twice: an error
REFUSED_OF_MORE = {0, 1, 2, 4, 5, 6, 7, 8, 9, 13}


def other(x):
    """Other values in the same shape and memory order, in another order of size."""
    return np.asarray(np.flip(x), order="K").reshape(x.shape) * x.dtype.type(0.75)


def outcomes(entry):
    """What a compiled step gives for the second of two inputs, and what eager mode gives."""
    function, args, kwargs = entry
    leaves, rebuild = flatten((args, kwargs))
    places = [i for i, x in enumerate(leaves) if is_float(x) and isinstance(x, np.ndarray)]

    def step(*xs):
        filled = list(leaves)
        for i, x in zip(places, xs, strict=True):
            filled[i] = x
        args, kwargs = rebuild(filled)
        return function(*args, **kwargs)

    first = [leaves[i] for i in places]
    second = [other(x) for x in first]
    compiled = nnad.compile(step, backend="numpy")
    with np.errstate(all="ignore"):
        compiled(*first)
        return compiled(*second), step(*map(Tensor, second))


TRIED = [e for e in (*CALLS, *CONSTANT_CALLS) if e[0] not in OF_THE_MEMORY | NESTED]


@pytest.mark.parametrize("entry", TRIED, ids=name_of)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_numpys_functions(entry):
    try:
        got, expected = outcomes(entry)
    except DataDependentError:
        assert entry[0] in MAY_REFUSE
        return
    for a, b in zip(flatten(got)[0], flatten(expected)[0], strict=True):
        a, b = value_of(a), value_of(b)
        inexact = np.asarray(b).dtype.kind in "fc"
        np.testing.assert_allclose(a, b, 1e-15) if inexact else np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("i", range(len(MORE)))
def test_what_depends_on_values(i):
    if i in REFUSED_OF_MORE:
        with pytest.raises(DataDependentError, match="not known when the program is made"):
            outcomes(MORE[i])
        return
    got, expected = outcomes(MORE[i])
    np.testing.assert_array_equal(value_of(got), value_of(expected))
