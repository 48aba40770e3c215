"""Numbers that are not numbers: in weights and gradients of every layer, and in what is read."""

import numpy as np
import pytest

import nnad
from nnad import layers as L
from nnad import losses, optimizers
from nnad.data.dataset import Split
from nnad.errors import DivergedError
from nnad.training.trainer import Trainer

LAYERS = {
    "0.Linear": lambda: L.Linear(4, 4, rng=0),
    "1.LayerNorm": lambda: L.LayerNorm(4),
    "2.Tanh": L.Tanh,
    "3.BatchNorm1d": lambda: L.BatchNorm1d(4),
    "4.Linear": lambda: L.Linear(4, 3, rng=1),
}


@nnad.primitive
def infinite_slope(x):
    """0 everywhere, by a rule that says otherwise."""
    return np.zeros_like(x)


nnad.defvjp(infinite_slope, lambda ans, x: lambda g: g * np.inf)


class Poisoned(L.Module):
    """Hands on its input, with a bad number in it, or in the gradient that comes back."""

    def __init__(self, bad: float, backwards: bool) -> None:
        super().__init__()
        self.bad, self.backwards = bad, backwards

    def forward(self, x):
        if not self.backwards:
            return x * self.bad
        return infinite_slope(x) + x


def fit(model, x=None):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(16, 4)).astype(np.float32) if x is None else x
    optimizer = optimizers.SGD(model.parameters(), lr=0.1)
    trainer = Trainer(model, losses.cross_entropy, optimizer, epochs=2, batch_size=8)
    before = {name: array.copy() for name, array in model.state_dict().items()}
    with pytest.raises(DivergedError) as error:
        trainer.fit(Split(x, rng.integers(0, 3, len(x))))
    after = model.state_dict()
    untouched = [n for n in before if "running" not in n and np.isfinite(before[n]).all()]
    for name in untouched:  # a step that cannot be taken changes no parameter
        np.testing.assert_array_equal(after[name], before[name])
    return str(error.value)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("position", range(len(LAYERS)))
def test_a_bad_weight_is_found_in_its_layer(position, bad):
    name = list(LAYERS)[position]
    model = L.Sequential(*(make() for make in LAYERS.values()))
    weights = list(model[position].parameters())
    if not weights:
        pytest.skip("no weights")
    weights[0].data[...] = bad
    told = fit(model)
    assert "diverged at step 1 (epoch 1)" in told
    assert f"parameter {position}.weight" in told or f"model.{name}" in told


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("position", range(1, len(LAYERS) + 1))
def test_a_bad_output_is_found_in_the_layer_that_makes_it(position, bad):
    layers = [make() for make in LAYERS.values()]
    layers.insert(position, Poisoned(bad, backwards=False))
    assert f"model.{position}.Poisoned" in fit(L.Sequential(*layers))


@pytest.mark.parametrize("position", range(1, len(LAYERS) + 1))
def test_a_bad_gradient_is_found_in_the_layer_that_makes_it(position):
    layers = [make() for make in LAYERS.values()]
    layers.insert(position, Poisoned(np.nan, backwards=True))
    told = fit(L.Sequential(*layers))
    assert "the gradient is not finite" in told
    assert f"model.{position}.Poisoned" in told


def test_a_bad_number_in_the_data_is_found():
    x = np.random.default_rng(0).normal(size=(16, 4)).astype(np.float32)
    x[3, 2] = np.nan
    told = fit(L.Sequential(*(make() for make in LAYERS.values())), x)
    assert "first non-finite number: " in told
