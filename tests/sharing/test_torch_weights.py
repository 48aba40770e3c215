"""Weights in PyTorch's layout: the same outputs from the same numbers."""

import numpy as np
import pytest

from nnad import layers as L
from nnad.errors import CheckpointError, ShapeError
from nnad.sharing import load_torch

torch = pytest.importorskip("torch")
nn = torch.nn


def both(ours, theirs, x, channels_first=False):
    """The outputs of both for the same input."""
    load_torch(ours, theirs.state_dict())
    theirs.eval()
    given = torch.from_numpy(x)
    with torch.no_grad():
        expected = theirs(given.movedim(-1, 1) if channels_first else given)
    expected = expected[0] if isinstance(expected, tuple) else expected
    found = ours.eval()(x)
    found = found[0] if isinstance(found, tuple) else found
    return found.data, (expected.movedim(1, -1) if channels_first else expected).numpy()


PAIRS = {
    "Linear": (L.Linear(4, 3), nn.Linear(4, 3), (5, 4)),
    "Embedding": (L.Embedding(7, 3), nn.Embedding(7, 3), None),
    "LayerNorm": (L.LayerNorm(4), nn.LayerNorm(4), (5, 4)),
    "LSTM": (
        L.LSTM(4, 3, num_layers=2, bidirectional=True),
        nn.LSTM(4, 3, 2, bidirectional=True, batch_first=True),
        (2, 5, 4),
    ),
    "GRU": (L.GRU(4, 3), nn.GRU(4, 3, batch_first=True), (2, 5, 4)),
    "TransformerEncoderLayer": (
        L.TransformerEncoderLayer(8, 2, 16),
        nn.TransformerEncoderLayer(8, 2, 16, batch_first=True),
        (2, 5, 8),
    ),
    "Sequential": (
        L.Sequential(L.Linear(4, 6), L.Tanh(), L.BatchNorm1d(6), L.Linear(6, 2)),
        nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.BatchNorm1d(6), nn.Linear(6, 2)),
        (5, 4),
    ),
}
IMAGES = {
    "Conv2d": (
        L.Conv2d(4, 6, 3, stride=2, padding=1, groups=2),
        nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2),
        (2, 7, 7, 4),
    ),
    "Conv1d": (L.Conv1d(3, 5, 2), nn.Conv1d(3, 5, 2), (2, 7, 3)),
    "ConvTranspose2d": (
        L.ConvTranspose2d(3, 5, 3, stride=2),
        nn.ConvTranspose2d(3, 5, 3, stride=2),
        (2, 4, 4, 3),
    ),
    "BatchNorm2d": (L.BatchNorm2d(3), nn.BatchNorm2d(3), (2, 4, 4, 3)),
}


@pytest.mark.parametrize("name", PAIRS)
def test_a_layer_computes_the_same(name, rng):
    ours, theirs, shape = PAIRS[name]
    x = rng.integers(0, 7, (2, 3)) if shape is None else rng.normal(size=shape).astype(np.float32)
    np.testing.assert_allclose(*both(ours, theirs, x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", IMAGES)
def test_a_layer_of_images_computes_the_same(name, rng):
    ours, theirs, shape = IMAGES[name]
    x = rng.normal(size=shape).astype(np.float32)
    np.testing.assert_allclose(*both(ours, theirs, x, True), rtol=1e-5, atol=1e-5)


def test_bilinear(rng):
    ours, theirs = L.Bilinear(2, 3, 4), nn.Bilinear(2, 3, 4)
    load_torch(ours, theirs.state_dict())
    x, y = rng.normal(size=(5, 2)).astype("f4"), rng.normal(size=(5, 3)).astype("f4")
    with torch.no_grad():
        expected = theirs(torch.from_numpy(x), torch.from_numpy(y)).numpy()
    np.testing.assert_allclose(ours(x, y).data, expected, rtol=1e-5, atol=1e-5)


def test_a_network_under_other_names_with_a_flattened_image(rng, tmp_path):
    theirs = nn.Sequential()
    theirs.add_module("features", nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten()))
    theirs.add_module("head", nn.Linear(4 * 3 * 3, 2))
    ours = L.Sequential(L.Conv2d(3, 4, 3), L.ReLU(), L.Flatten(), L.Linear(36, 2))
    safetensors = pytest.importorskip("safetensors.torch")
    safetensors.save_file(theirs.state_dict(), tmp_path / "weights.safetensors")
    load_torch(
        ours,
        tmp_path / "weights.safetensors",
        names={"features": "", "head": "3"},
        flattened={"3": (4, 3, 3)},
    )
    x = rng.normal(size=(2, 5, 5, 3)).astype(np.float32)
    with torch.no_grad():
        expected = theirs(torch.from_numpy(x).movedim(-1, 1)).numpy()
    np.testing.assert_allclose(ours.eval()(x).data, expected, rtol=1e-5, atol=1e-5)


def test_refusals(tmp_path):
    linear = L.Linear(2, 3)
    with pytest.raises(
        ShapeError, match=r"wight: the model has no such entry; did you mean 'weight'"
    ):
        load_torch(linear, {"wight": np.zeros((3, 2)), "bias": np.zeros(3)})
    with pytest.raises(ShapeError, match=r"\(3, 2\)"):
        load_torch(linear, {"weight": np.zeros((2, 3)), "bias": np.zeros(3)})
    with pytest.raises(ShapeError, match="does not follow a flattened image"):
        load_torch(linear, {"weight": np.zeros((3, 2))}, flattened={"": (3, 4, 4)})
    torch.save({}, tmp_path / "w.pt")
    with pytest.raises(CheckpointError, match="may run code when it is loaded"):
        load_torch(linear, tmp_path / "w.pt")
    (tmp_path / "w.safetensors").write_bytes(b"12345678901234")
    with pytest.raises(CheckpointError, match="not a whole safetensors file"):
        load_torch(linear, tmp_path / "w.safetensors")
