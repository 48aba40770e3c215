"""Pooling and convolution of unusual arrays: integers, no channels."""

import numpy as np
import pytest

import nnad


@pytest.mark.parametrize("dtype", ["i1", "i8", "u1", "?", "f2", "f8"])
def test_the_padding_of_a_maximum_is_never_it(dtype):
    x = np.array([[[0], [1], [0]]] if dtype in ("u1", "?") else [[[-3], [-2], [-4]]]).astype(dtype)
    y = nnad.ops.max_pool(x, kernel=(2,), stride=(1,), padding=(1,))
    assert y.dtype == x.dtype
    np.testing.assert_array_equal(y.ravel(), x.ravel()[[0, 1, 1, 2]])
