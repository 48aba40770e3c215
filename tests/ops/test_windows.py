"""Pooling and convolution of unusual arrays: integers, no channels."""

import numpy as np
import pytest

import nnad
from nnad.errors import ShapeError


@pytest.mark.parametrize("dtype", ["i1", "i8", "u1", "?", "f2", "f8"])
def test_the_padding_of_a_maximum_is_never_it(dtype):
    x = np.array([[[0], [1], [0]]] if dtype in ("u1", "?") else [[[-3], [-2], [-4]]]).astype(dtype)
    y = nnad.ops.max_pool(x, kernel=(2,), stride=(1,), padding=(1,))
    assert y.dtype == x.dtype
    np.testing.assert_array_equal(y.ravel(), x.ravel()[[0, 1, 1, 2]])


@pytest.mark.parametrize(("inputs", "outputs"), [(0, 3), (3, 0), (0, 0)])
@pytest.mark.parametrize("size", [1, 2])
def test_a_convolution_without_channels_is_refused(size, inputs, outputs):
    x, w = np.zeros((2, 5, 5, inputs)), np.zeros((size, size, inputs, outputs))
    options = {"stride": (1, 1), "padding": ((0, 0),) * 2, "dilation": (1, 1)}
    with pytest.raises(ShapeError, match=f"{inputs} input and {outputs} output channels"):
        nnad.ops.conv(x, w, None, **options)
