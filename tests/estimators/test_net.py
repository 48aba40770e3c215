"""NetClassifier and NetRegressor: modules of every kind, nested parameters, all kinds of rows."""

import numpy as np
import pytest
import scipy.sparse
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris, make_regression
from sklearn.model_selection import GridSearchCV

from nnad import layers
from nnad.estimators import NetClassifier, NetRegressor
from nnad.random import default_generator

IRIS = load_iris(return_X_y=True)
COLUMNS = make_regression(150, 6, n_targets=2, random_state=0)

pytestmark = pytest.mark.filterwarnings("ignore:Stochastic Optimizer")


class Wide(layers.Module):
    """A module of its own; takes no generator, so its weights come from the default one."""

    def __init__(self, n_features: int, n_outputs: int, width: int = 24) -> None:
        super().__init__()
        self.first = layers.Linear(n_features, width)
        self.drop = layers.Dropout(0.05)
        self.last = layers.Linear(width, n_outputs)

    def forward(self, x):
        return self.last(self.drop(layers.Tanh()(self.first(x))))


def network(n_features, n_outputs, hidden=16, rng=None):
    return layers.Sequential(
        layers.Linear(n_features, hidden, rng=rng),
        layers.ReLU(),
        layers.Linear(hidden, n_outputs, rng=rng),
    )


ENTRIES = [{"Linear": {"out_features": 16}}, "LayerNorm", "GELU", "Linear"]
MODULES = {"none": None, "a class": Wide, "a function": network, "layer entries": ENTRIES}


@pytest.mark.parametrize("module", MODULES.values(), ids=MODULES.keys())
def test_modules_learn_and_repeat_themselves(module) -> None:
    X, y = IRIS
    model = NetClassifier(module, optimizer__lr=0.02, max_iter=80, random_state=0)
    first, second = clone(model).fit(X, y), clone(model).fit(X, y)
    assert first.score(X, y) > 0.93
    np.testing.assert_array_equal(first.loss_curve_, second.loss_curve_)
    np.testing.assert_array_equal(first.predict_proba(X), second.predict_proba(X))


def test_the_default_generator_is_left_as_it_was() -> None:
    state = default_generator().bit_generator.state
    NetClassifier(Wide, max_iter=2, random_state=0).fit(*IRIS)
    assert default_generator().bit_generator.state == state


def test_labels_and_columns() -> None:
    X = IRIS[0] - IRIS[0].mean(axis=0)
    y = (X[:, :3] > 0).astype(int)
    model = NetClassifier(optimizer__lr=0.05, random_state=0).fit(X, y)
    assert model.predict(X).shape == model.predict_proba(X).shape == y.shape
    assert (model.predict(X) == y).mean() > 0.9
    X, y = COLUMNS
    model = NetRegressor(max_iter=300, optimizer__lr=0.02, random_state=0).fit(X, y / y.std())
    assert model.predict(X).shape == y.shape
    assert model.score(X, y / y.std()) > 0.95


def test_nested_parameters_are_got_set_cloned_and_shown() -> None:
    model = NetClassifier(module__hidden=(8,), optimizer__lr=0.1)
    assert model.get_params()["module__hidden"] == (8,)
    model.set_params(module__hidden=(9,), schedule__warmup_steps=3, max_iter=5)
    copy = clone(model)
    assert copy.get_params() == model.get_params()
    assert " ".join(repr(copy).split()) == (
        "NetClassifier(max_iter=5, module__hidden=(9,), optimizer__lr=0.1, "
        "schedule__warmup_steps=3)"
    )
    assert copy.set_params(schedule="cosine", random_state=0).fit(*IRIS).module_[
        0
    ].weight.shape == (4, 9)


def test_a_grid_over_nested_parameters_in_two_processes() -> None:
    grid = {"module__hidden": [(2,), (20,)], "optimizer__lr": [0.0001, 0.05]}
    search = GridSearchCV(NetClassifier(max_iter=30, random_state=0), grid, n_jobs=2, cv=2)
    search.fit(*IRIS)
    assert search.best_params_ == {"module__hidden": (20,), "optimizer__lr": 0.05}
    assert search.best_estimator_.module_[0].weight.shape == (4, 20)


def test_loss_arguments() -> None:
    smooth = NetClassifier(loss="cross_entropy", loss__label_smoothing=0.3, random_state=0)
    assert smooth.fit(*IRIS).best_loss_ > 0.4
    with pytest.raises(TypeError, match="label_smooth"):
        NetClassifier(loss="cross_entropy", loss__label_smooth=0.3, random_state=0).fit(*IRIS)


# Kinds of rows ------------------------------------------------------------------------------------


def test_images_keep_their_axes() -> None:
    digits = load_digits()
    X, y = digits.images[:300, :, :, None], digits.target[:300]
    entries = [
        {"Conv2d": {"out_channels": 4, "kernel_size": 3}},
        "ReLU",
        "Flatten",
        "Linear",
    ]
    model = NetClassifier(entries, dtype="float32", optimizer__lr=0.01, random_state=0, max_iter=9)
    assert model.fit(X, y).score(X, y) > 0.9
    assert model.module_.dtype == np.float32
    with pytest.raises(ValueError, match=r"rows of shape \(8, 8, 2\).*fitted with .*\(8, 8, 1\)"):
        model.predict(np.concatenate([X, X], axis=-1))


def test_integers_reach_an_embedding_as_they_are() -> None:
    ids = np.random.default_rng(0).integers(0, 9, (200, 5))
    entries = [{"Embedding": {"num_embeddings": 9, "embedding_dim": 4}}, "Flatten", "Linear"]
    model = NetClassifier(entries, random_state=0, optimizer__lr=0.05)
    assert model.fit(ids, ids[:, 0] % 2).score(ids, ids[:, 0] % 2) == 1.0


@pytest.mark.parametrize("layout", ["csr_matrix", "csc_array", "coo_array"])
def test_sparse_rows_give_what_dense_ones_give(layout) -> None:
    X, y = IRIS
    sparse = getattr(scipy.sparse, layout)(X)
    model = NetClassifier(max_iter=5, batch_size=40, random_state=0)
    dense = clone(model).fit(X, y)
    np.testing.assert_allclose(clone(model).fit(sparse, y).loss_curve_, dense.loss_curve_)
    np.testing.assert_allclose(dense.predict_proba(sparse), dense.predict_proba(X))


def test_single_precision_rows_make_a_network_of_single_precision() -> None:
    X, y = IRIS
    model = NetClassifier(max_iter=3, random_state=0)
    assert clone(model).fit(X.astype(np.float32), y).module_.dtype == np.float32
    assert clone(model).fit(X, y).module_.dtype == np.float64


REFUSED = {
    "unknown keyword": ({"lr": 0.1}, TypeError, "unexpected keyword argument 'lr'"),
    "unknown hyper-parameter": ({"optimizer__rate": 0.1}, ValueError, "Adam has no argument 'rat"),
    "unknown argument": ({"module__hiden": 3}, TypeError, "unexpected keyword argument 'hiden'"),
    "a number": ({"module": 3}, TypeError, "module must be a function"),
    "no module": ({"module": lambda n, m: None}, TypeError, "must return an nnad.layers.Module"),
    "unknown layer": ({"module": ["Lineer"]}, ValueError, "did you mean 'Linear'"),
    "arguments for a list": ({"module": ENTRIES, "module__a": 1}, ValueError, "nothing to go to"),
    "outputs that do not fit": (
        {"module": [{"Linear": {"out_features": 5}}]},
        ValueError,
        r"maps rows of shape \(4,\) to \(5,\), but the target and the loss ask for \(3,\)",
    ),
    "a loss of numbers": ({"loss": "mse"}, ValueError, "the loss mse is for numbers"),
}


@pytest.mark.parametrize(("parameters", "error", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_is_refused(parameters, error, words) -> None:
    with pytest.raises(error, match=words):
        NetClassifier(random_state=0, **parameters).fit(*IRIS)


def test_parameters_that_do_not_exist_cannot_be_set() -> None:
    with pytest.raises(ValueError, match="Invalid parameter 'lr' for estimator NetClassifier"):
        NetClassifier().set_params(lr=3)
