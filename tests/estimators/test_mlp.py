"""What MLPClassifier and MLPRegressor have beyond scikit-learn's."""

import warnings

import numpy as np
import pytest
from sklearn.datasets import load_iris, make_classification, make_regression
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import log_loss

from nnad import losses
from nnad.estimators import MLPClassifier, MLPRegressor
from nnad.training.callbacks import Callback

IRIS = load_iris(return_X_y=True)
TWO = make_classification(120, 8, random_state=0)
NUMBERS = make_regression(150, 6, noise=1.0, random_state=0)

pytestmark = pytest.mark.filterwarnings(
    "ignore:Stochastic Optimizer", "ignore:lbfgs failed to converge"
)


def classifier(**parameters) -> MLPClassifier:
    return MLPClassifier(**{"random_state": 0, "max_iter": 60, **parameters})


MORE = {
    "an activation of nnad": {"activation": "gelu"},
    "an activation layer by name": {"activation": "Softplus"},
    "an activation entry": {"activation": {"LeakyReLU": {"negative_slope": 0.2}}},
    "activations per layer": {"hidden_layer_sizes": (20, 9), "activation": ["relu", "silu"]},
    "dropout": {"dropout": 0.1},
    "dropout per layer": {"hidden_layer_sizes": (20, 9), "dropout": [0.2, 0.0]},
    "batch norm": {"batch_norm": True},
    "an optimizer by name": {"optimizer": "AdamW"},
    "an optimizer with arguments": {"optimizer": {"name": "Muon", "lr": 0.02}},
    "a schedule": {"schedule": "cosine"},
    "a schedule with arguments": {"schedule": {"name": "one_cycle"}},
    "clipping": {"clip_norm": 0.5},
    "focal loss": {"loss": "focal"},
    "a loss with arguments": {"loss": {"name": "cross_entropy", "label_smoothing": 0.1}},
    "a loss object": {"loss": losses.CrossEntropy(label_smoothing=0.1)},
    "a loss class": {"loss": losses.CrossEntropy},
    "a loss function": {"loss": losses.cross_entropy},
    "hinges": {"loss": "multiclass_hinge"},
}


@pytest.mark.parametrize("parameters", MORE.values(), ids=MORE.keys())
def test_more_than_sklearn_learns_and_repeats_itself(parameters) -> None:
    X, y = IRIS
    model = classifier(learning_rate_init=0.01, **parameters).fit(X, y)
    again = classifier(learning_rate_init=0.01, **parameters).fit(X, y)
    assert model.score(X, y) > 0.9
    np.testing.assert_array_equal(model.loss_curve_, again.loss_curve_)
    assert model.coefs_[0].shape[0] == 4
    assert model.n_layers_ == len(model.coefs_) + 1


@pytest.mark.parametrize("loss", ["hinge", "squared_hinge", "binary_cross_entropy_with_logits"])
def test_losses_of_two_classes(loss) -> None:
    X, y = TWO
    names = np.array(["no", "yes"])[y]
    model = classifier(loss=loss, learning_rate_init=0.01).fit(X, names)
    assert model.score(X, names) > 0.9
    assert hasattr(model, "predict_proba") == (loss == "binary_cross_entropy_with_logits")
    np.testing.assert_array_equal(model.predict(X) == "yes", model.decision_function(X) > 0)


@pytest.mark.parametrize(
    "loss", ["huber", "mae", "log_cosh", "smooth_l1", "mse", {"name": "quantile", "q": 0.5}]
)
def test_losses_of_numbers(loss) -> None:
    X, y = NUMBERS
    y = (y - y.mean()) / y.std()
    model = MLPRegressor(loss, learning_rate_init=0.01, random_state=0).fit(X, y)
    assert model.score(X, y) > 0.9


@pytest.mark.parametrize("loss", ["poisson", "poisson_nll", "gamma_nll", "tweedie"])
def test_losses_of_positive_numbers_predict_positive_numbers(loss) -> None:
    X, y = NUMBERS
    y = np.exp(y / y.std()) + 0.1
    model = MLPRegressor(loss, learning_rate_init=0.01, random_state=0).fit(X, y)
    assert model.predict(X).min() > 0
    assert np.corrcoef(np.log(model.predict(X)), np.log(y))[0, 1] > 0.9


def test_a_network_by_its_tape_trains_as_the_one_written_out() -> None:
    """`Sigmoid` is "logistic" by another name, which only modules know."""
    X, y = IRIS
    plain = classifier(activation="tanh", alpha=0.1).fit(X, y)
    module = classifier(activation="Tanh", alpha=0.1).fit(X, y)
    assert not hasattr(plain, "module_")
    np.testing.assert_allclose(module.loss_curve_, plain.loss_curve_, rtol=1e-9)
    np.testing.assert_allclose(module.coefs_[0], plain.coefs_[0], rtol=1e-6, atol=1e-9)
    for solver in ("sgd", "lbfgs"):
        a = classifier(activation="tanh", solver=solver, max_iter=8).fit(X, y)
        b = classifier(activation="Tanh", solver=solver, max_iter=8).fit(X, y)
        assert b.loss_ == pytest.approx(a.loss_, rel=1e-9)


def test_class_weight_counts_like_sample_weight() -> None:
    X, y = TWO
    by_class = classifier(class_weight={0: 1, 1: 3}).fit(X, y)
    by_row = classifier().fit(X, y, sample_weight=np.where(y == 1, 3.0, 1.0))
    np.testing.assert_allclose(by_class.loss_curve_, by_row.loss_curve_)
    rare = np.r_[np.flatnonzero(y == 0), np.flatnonzero(y == 1)[:12]]
    balanced = classifier(class_weight="balanced", max_iter=20).fit(X[rare], y[rare])
    plain = classifier(max_iter=20).fit(X[rare], y[rare])
    assert (balanced.predict(X) == 1).sum() > (plain.predict(X) == 1).sum()
    with pytest.raises(ValueError, match="'balanced' is not supported for partial_fit"):
        classifier(class_weight="balanced").partial_fit(X, y, classes=[0, 1])


def test_dropout_counts_while_training_only() -> None:
    X, y = IRIS
    model = classifier(dropout=0.5).fit(X, y)
    np.testing.assert_array_equal(model.predict_proba(X), model.predict_proba(X))
    assert log_loss(y, model.predict_proba(X)) < model.loss_


# Validation rows ----------------------------------------------------------------------------------


@pytest.mark.parametrize("more", [{}, {"dropout": 0.1}, {"solver": "lbfgs", "max_iter": 200}])
def test_given_validation_rows_are_watched_and_the_best_weights_kept(more) -> None:
    X, y = TWO
    model = classifier(max_iter=200, learning_rate_init=0.02, alpha=0.0).set_params(**more)
    model.fit(X[:60], y[:60], X_val=X[60:], y_val=y[60:])
    curve = model.validation_loss_curve_
    assert model.best_validation_loss_ == min(curve) == curve[model.best_epoch_ - 1]
    assert curve[-1] > min(curve)
    kept = log_loss(y[60:], model.predict_proba(X[60:]))
    assert kept == pytest.approx(model.best_validation_loss_, rel=1e-9)
    score = model.score(X[60:], y[60:])
    assert score == model.best_validation_score_ == model.validation_scores_[model.best_epoch_ - 1]


def test_weights_of_validation_rows_count() -> None:
    X, y = TWO
    weight = np.arange(60) % 3
    repeated = np.repeat(np.arange(60, 120), weight)
    weighted = classifier(early_stopping=True).fit(
        X[:60], y[:60], X_val=X[60:], y_val=y[60:], sample_weight_val=weight
    )
    copied = classifier(early_stopping=True).fit(
        X[:60], y[:60], X_val=X[repeated], y_val=y[repeated]
    )
    np.testing.assert_allclose(weighted.validation_loss_curve_, copied.validation_loss_curve_)
    np.testing.assert_allclose(weighted.validation_scores_, copied.validation_scores_)


def test_partial_fit_stops_early_with_given_rows_and_keeps_the_best_weights() -> None:
    X, y = TWO
    model = classifier(early_stopping=True, n_iter_no_change=3, learning_rate_init=0.05)
    for _ in range(60):
        model.partial_fit(X[:60], y[:60], classes=[0, 1], X_val=X[60:], y_val=y[60:])
    epochs = len(model.validation_scores_)
    assert 4 < epochs < 60
    assert len(model.loss_curve_) == epochs
    assert model.score(X[60:], y[60:]) == max(model.validation_scores_)
    with pytest.raises(ValueError, match="partial_fit does not support early_stopping=True"):
        classifier(early_stopping=True).partial_fit(X, y, classes=[0, 1])


# The rest -----------------------------------------------------------------------------------------


def test_auto_takes_lbfgs_for_few_rows_and_adam_where_epochs_are_asked_for() -> None:
    X, y = IRIS
    many = np.repeat(X, 7, axis=0), np.repeat(y, 7)
    assert classifier(solver="auto").fit(X, y).solver_ == "lbfgs"
    assert classifier(solver="auto", max_iter=1).fit(*many).solver_ == "adam"
    assert classifier(solver="auto", max_iter=1, dropout=0.1).fit(X, y).solver_ == "adam"
    assert classifier(solver="auto").partial_fit(X, y, classes=[0, 1, 2]).solver_ == "adam"


def test_another_solver_may_go_on() -> None:
    model = classifier(solver="sgd").partial_fit(*IRIS, classes=[0, 1, 2])
    loss = model.set_params(solver="adam").partial_fit(*IRIS).loss_
    assert model.partial_fit(*IRIS).loss_ < loss


class Record(Callback):
    def __init__(self) -> None:
        self.seen = []

    def on_fit_begin(self, trainer) -> None:
        self.seen.append("begin")

    def on_step_end(self, trainer) -> None:
        self.seen.append(trainer.step)

    def on_epoch_end(self, trainer, row) -> None:
        self.seen.append(sorted(row))

    def on_fit_end(self, trainer) -> None:
        self.seen.append("end")

    def close(self) -> None:
        self.seen.append("closed")


def test_callbacks_hear_of_steps_and_epochs() -> None:
    record = Record()
    classifier(callbacks=[record], max_iter=2, batch_size=100).fit(*IRIS)
    row = ["epoch", "learning_rate", "step", "train_loss"]
    assert record.seen == ["begin", 1, 2, row, 3, 4, row, "end", "closed"]


class Counter:
    """A callback of scikit-learn's protocol."""

    def __init__(self, stop_after: int) -> None:
        self.stop_after = stop_after
        self.scores = []

    def setup(self, estimator, context) -> None: ...

    def teardown(self, estimator, context) -> None: ...

    def on_fit_task_begin(self, estimator, context) -> None: ...

    def on_fit_task_end(self, estimator, context, *, X, y, fitted_estimator) -> bool:
        if context.task_name == "epoch":
            self.scores.append(fitted_estimator.score(X, y))
        return len(self.scores) >= self.stop_after


@pytest.mark.parametrize("more", [{}, {"dropout": 0.1}])
def test_callbacks_of_sklearn_get_an_estimator_that_predicts(more) -> None:
    pytest.importorskip("sklearn.callback")
    counter = Counter(stop_after=3)
    model = classifier(**more).set_callbacks(counter).fit(*IRIS)
    assert model.n_iter_ == len(counter.scores) == 3
    assert counter.scores[-1] == model.score(*IRIS)


def test_a_schedule_sets_the_rate_of_each_step() -> None:
    X, y = IRIS
    none = classifier(schedule=lambda step: 0.0, max_iter=3).fit(X, y)
    start = classifier(max_iter=1, learning_rate_init=1e-300).fit(X, y)
    np.testing.assert_array_equal(none.coefs_[0], start.coefs_[0])
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        classifier(schedule="cosine", max_iter=3).fit(X, y)


def test_a_last_batch_of_one_row_joins_the_one_before_under_batch_norm() -> None:
    X, y = IRIS
    model = classifier(batch_norm=True, batch_size=149, max_iter=2).fit(X, y)
    assert model.t_ == 300


REFUSED = {
    "loss of numbers": ({"loss": {"name": "mse"}}, "the loss mse is for numbers"),
    "loss of two classes": ({"loss": "hinge"}, "tells two classes apart, but y has 3"),
    "loss of probabilities": ({"loss": "nll"}, "ends in scores"),
    "unknown loss": ({"loss": {"name": "focall"}}, "did you mean 'focal'"),
    "unknown optimizer": ({"optimizer": "AdanW"}, "did you mean 'AdamW'"),
    "unknown argument": ({"optimizer": {"name": "Adam", "rate": 1}}, "Adam has no argument 'rate'"),
    "unknown schedule": ({"schedule": "cosin"}, "did you mean 'cosine'"),
    "too few rates": ({"dropout": [0.1, 0.2]}, "dropout has 2 entries, but there are 1 hidden"),
    "unknown activation": ({"activation": ["rellu"]}, "did you mean 'ReLU'"),
    "noise for lbfgs": ({"solver": "lbfgs", "dropout": 0.1}, "cannot go with dropout"),
}


@pytest.mark.parametrize(("parameters", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_is_refused_with_a_way_out(parameters, words) -> None:
    with pytest.raises(ValueError, match=words):
        classifier(**parameters).fit(*IRIS)


def test_validation_needs_rows_and_targets() -> None:
    X, y = IRIS
    with pytest.raises(ValueError, match="got X_val without y_val"):
        classifier().fit(X, y, X_val=X)
    with pytest.raises(ValueError, match="has classes not in"):
        classifier().fit(X, y, X_val=X[:3], y_val=[0, 1, 9])
    with pytest.raises(AttributeError, match="no attribute 'predict_proba'") as caught:
        classifier(loss="multiclass_hinge").fit(X, y).predict_proba(X)
    assert "not available for loss='multiclass_hinge'" in str(caught.value.__cause__)
