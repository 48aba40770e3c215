"""Long fits of nnad's own layers and losses run compiled, and give what the tape gives."""

import importlib.util

import numpy as np
import pytest
from sklearn.datasets import load_iris

from nnad import layers
from nnad.estimators import MLPClassifier, NetClassifier, NetRegressor, compiling

X, Y = load_iris(return_X_y=True)
WEIGHT = np.random.default_rng(0).integers(0, 3, 150).astype(float)
NEVER = 10**9

ENTRIES = [
    {"Linear": {"out_features": 9}},
    "BatchNorm1d",
    "SiLU",
    {"Dropout": {"p": 0.2}},
    "Linear",
]
CASES = {
    "dropout and batch norm": (NetClassifier(ENTRIES), {}),
    "weights": (MLPClassifier(activation="gelu", clip_norm=0.5), {"sample_weight": WEIGHT}),
    "an optimizer": (MLPClassifier(optimizer="AdamW", schedule="cosine"), {}),
    "numbers": (NetRegressor(loss="huber"), {}),
}

pytestmark = pytest.mark.filterwarnings("ignore:Stochastic Optimizer")


def curve(monkeypatch, estimator, arguments, numpy_steps=NEVER, native_steps=NEVER) -> list[float]:
    monkeypatch.setattr(compiling, "NUMPY_STEPS", numpy_steps)
    monkeypatch.setattr(compiling, "NATIVE_STEPS", native_steps)
    estimator.set_params(max_iter=6, batch_size=40, random_state=0)
    return estimator.fit(X, Y, **arguments).loss_curve_


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_numpy_programs_give_the_bits_of_the_tape(monkeypatch, case) -> None:
    assert curve(monkeypatch, *case, numpy_steps=1) == curve(monkeypatch, *case)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("llvmlite") is None, reason="needs llvmlite")
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_machine_code_gives_the_same_to_rounding(monkeypatch, case) -> None:
    got = curve(monkeypatch, *case, numpy_steps=1, native_steps=1)
    np.testing.assert_allclose(got, curve(monkeypatch, *case), rtol=1e-10)


class Noisy(layers.Module):
    """Draws by NumPy, of which a program would know one draw only."""

    draws: list[float]

    def __init__(self, n_features: int, n_outputs: int) -> None:
        super().__init__()
        self.linear = layers.Linear(n_features, n_outputs)
        self.numpy_rng = np.random.default_rng(0)
        self.draws = []

    def forward(self, x):
        self.draws.append(self.numpy_rng.standard_normal())
        return self.linear(x * self.draws[-1])


def test_python_of_the_users_own_runs_at_each_step(monkeypatch) -> None:
    model = NetClassifier(Noisy)
    curve(monkeypatch, model, {}, numpy_steps=1)
    assert len(set(model.module_.draws)) >= 6 * 4


def test_a_step_that_cannot_be_compiled_runs_as_it_is(monkeypatch) -> None:
    def step(x, target, weight):
        return x if x.sum() > 0 else -x

    run = compiling.compiled(step, layers.ReLU(), compiling.compiled, NEVER)
    assert run is not step
    np.testing.assert_array_equal(run(np.ones(2), None, None), np.ones(2))
    np.testing.assert_array_equal(run(-np.ones(2), None, None), np.ones(2))
