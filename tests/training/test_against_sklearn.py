"""The same initial weights, batches and solver as scikit-learn's MLP give the same loss curve."""

import warnings

import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier, MLPRegressor

import nnad
from nnad.data import Split
from nnad.training.callbacks import Callback
from nnad.training.trainer import Trainer

EPOCHS, ROWS, BATCH = 20, 300, 32  # the last batch of an epoch is short
ACTIVATIONS = {"relu": nnad.layers.ReLU, "tanh": nnad.layers.Tanh, "logistic": nnad.layers.Sigmoid}

SOLVERS = {
    "sgd": {"solver": "sgd", "momentum": 0.0, "learning_rate_init": 0.1},
    "momentum": {"solver": "sgd", "nesterovs_momentum": False, "learning_rate_init": 0.01},
    "nesterov": {"solver": "sgd", "learning_rate_init": 0.01},
    "adam": {"solver": "adam", "learning_rate_init": 0.01},
}


def peer_of(kind, solver, alpha, activation):
    """scikit-learn's estimator, which takes its batches in the order of the rows."""
    return kind(
        hidden_layer_sizes=(12, 8),
        activation=activation,
        alpha=alpha,
        batch_size=BATCH,
        max_iter=EPOCHS,
        shuffle=False,
        tol=0.0,
        n_iter_no_change=EPOCHS,
        random_state=3,
        **SOLVERS[solver],
    )


def initial_weights(peer, x, y):
    """What `fit` starts from: a copy of the estimator that trains for no epoch."""
    peer = type(peer)(**peer.get_params())
    peer._fit_stochastic = lambda *args, **kwargs: None
    peer.fit(x, y)
    return [np.array(a) for a in peer.coefs_], [np.array(a) for a in peer.intercepts_]


def network(weights, biases, activation):
    layers = []
    for weight, bias in zip(weights, biases, strict=True):
        layer = nnad.layers.Linear(*weight.shape, dtype="float64")
        layer.load_state_dict({"weight": weight, "bias": bias})
        layers += [layer, ACTIVATIONS[activation]()]
    return nnad.layers.Sequential(*layers[:-1])


def optimizer_of(solver, model):
    lr = SOLVERS[solver]["learning_rate_init"]
    if solver == "adam":
        return nnad.optimizers.Adam(model.parameters(), lr=lr)
    momentum = {"sgd": 0.0, "momentum": 0.9, "nesterov": 0.9}[solver]
    nesterov = solver == "nesterov"
    return nnad.optimizers.SGD(model.parameters(), lr=lr, momentum=momentum, nesterov=nesterov)


class UncorrectedEps(Callback):
    """scikit-learn's Adam adds eps to a root without bias correction, PyTorch's to one with it."""

    def on_fit_begin(self, trainer):
        self.on_step_end(trainer)

    def on_step_end(self, trainer):
        if isinstance(trainer.optimizer, nnad.optimizers.Adam):
            group = trainer.optimizer.param_groups[0]
            group["eps"] = 1e-8 / np.sqrt(1 - 0.999 ** (trainer.step + 1))


def loss_curve(model, solver, alpha, loss, x, y):
    """The losses of our trainer, with scikit-learn's penalty: alpha / 2 rows, biases left out."""
    matrices = [p for p in model.parameters() if p.ndim == 2]

    def penalised(prediction, target, sample_weight=None):
        penalty = sum(np.sum(p * p) for p in matrices)
        return loss(prediction, target) + 0.5 * alpha / len(target) * penalty

    trainer = Trainer(
        model,
        penalised,
        optimizer_of(solver, model),
        epochs=EPOCHS,
        batch_size=BATCH,
        batching={"shuffle": False},
        callbacks=[UncorrectedEps()],
    )
    return trainer.fit(Split(x, y))["train_loss"]


def classes():
    x, y = load_digits(return_X_y=True)
    return x[:ROWS] / 16, y[:ROWS]


def numbers():
    x, y = load_diabetes(return_X_y=True)
    return x[:ROWS] * 20, y[:ROWS] / 100


@pytest.mark.parametrize("alpha", [0.0, 0.5])
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize(
    ("kind", "data", "loss", "activation"),
    [
        (MLPClassifier, classes, nnad.losses.cross_entropy, "relu"),
        (
            MLPRegressor,
            numbers,
            lambda prediction, target: 0.5 * nnad.losses.mse(prediction[:, 0], target),
            "tanh",
        ),
    ],
)
def test_the_loss_curve_is_scikit_learns(kind, data, loss, activation, solver, alpha):
    x, y = data()
    peer = peer_of(kind, solver, alpha, activation)
    model = network(*initial_weights(peer, x, y), activation)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        peer.fit(x, y)
    ours = loss_curve(model, solver, alpha, loss, x, y)
    assert len(peer.loss_curve_) == EPOCHS
    assert peer.loss_curve_[-1] < 0.8 * peer.loss_curve_[0]
    np.testing.assert_allclose(ours, peer.loss_curve_, rtol=0, atol=1e-10)
    weights = [p.data for p in model.parameters() if p.ndim == 2]
    for own, other in zip(weights, peer.coefs_, strict=True):
        np.testing.assert_allclose(own, other, rtol=0, atol=1e-10)


def test_another_rate_gives_another_curve():
    x, y = classes()
    peer = peer_of(MLPClassifier, "nesterov", 0.0, "logistic")
    weights = initial_weights(peer, x, y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        peer.fit(x, y)
    loss = nnad.losses.cross_entropy
    curves = {
        solver: loss_curve(network(*weights, "logistic"), solver, 0.0, loss, x, y)
        for solver in ("nesterov", "momentum")
    }
    np.testing.assert_allclose(curves["nesterov"], peer.loss_curve_, rtol=0, atol=1e-10)
    assert np.abs(np.subtract(curves["momentum"], peer.loss_curve_)).max() > 1e-6
