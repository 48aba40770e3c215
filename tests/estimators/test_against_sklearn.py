"""MLPClassifier and MLPRegressor beside scikit-learn's: the same curves, errors and warnings."""

import inspect
import warnings

import numpy as np
import pytest
import scipy.sparse
import sklearn.neural_network as theirs
from sklearn.datasets import make_classification, make_multilabel_classification, make_regression
from sklearn.exceptions import ConvergenceWarning

from nnad import estimators as ours

CLASSES = make_classification(230, 12, n_informative=8, n_classes=3, random_state=0)
TWO = make_classification(230, 12, random_state=0)
LABELS = make_multilabel_classification(230, 12, random_state=0)
NUMBERS = make_regression(230, 12, random_state=0)
COLUMNS = make_regression(230, 12, n_targets=3, random_state=0)
COUNTS = (NUMBERS[0], np.random.default_rng(0).poisson(2.0, 230).astype(float))
WEIGHT = np.random.default_rng(1).integers(1, 4, 230).astype(float)

# (name of the class, data, parameters, arguments of fit)
SAME = {
    "three classes": ("MLPClassifier", CLASSES, {}, {}),
    "two classes": ("MLPClassifier", TWO, {}, {}),
    "labels": ("MLPClassifier", LABELS, {}, {}),
    "numbers": ("MLPRegressor", NUMBERS, {}, {}),
    "columns": ("MLPRegressor", COLUMNS, {}, {}),
    "counts": ("MLPRegressor", COUNTS, {"loss": "poisson"}, {}),
    "tanh": ("MLPClassifier", CLASSES, {"activation": "tanh", "hidden_layer_sizes": (9, 7)}, {}),
    "logistic": ("MLPRegressor", NUMBERS, {"activation": "logistic"}, {}),
    "identity": ("MLPClassifier", CLASSES, {"activation": "identity"}, {}),
    "no hidden layer": ("MLPClassifier", CLASSES, {"hidden_layer_sizes": ()}, {}),
    "an integer": ("MLPRegressor", NUMBERS, {"hidden_layer_sizes": 7}, {}),
    "weights": ("MLPClassifier", CLASSES, {}, {"sample_weight": WEIGHT}),
    "weights of numbers": ("MLPRegressor", COLUMNS, {"alpha": 0.3}, {"sample_weight": WEIGHT}),
    "early stopping": ("MLPClassifier", TWO, {"early_stopping": True}, {}),
    "stopped with weights": (
        "MLPRegressor",
        NUMBERS,
        {"early_stopping": True, "learning_rate_init": 0.01},
        {"sample_weight": WEIGHT},
    ),
    "stopped labels": ("MLPClassifier", LABELS, {"early_stopping": True}, {}),
    "sgd": ("MLPClassifier", CLASSES, {"solver": "sgd"}, {}),
    "sgd without Nesterov": (
        "MLPClassifier",
        CLASSES,
        {"solver": "sgd", "nesterovs_momentum": False, "momentum": 0.5},
        {},
    ),
    "invscaling": (
        "MLPClassifier",
        TWO,
        {"solver": "sgd", "learning_rate": "invscaling", "learning_rate_init": 0.5},
        {},
    ),
    "adaptive": (
        "MLPClassifier",
        CLASSES,
        {"solver": "sgd", "learning_rate": "adaptive", "tol": 0.01, "n_iter_no_change": 2},
        {},
    ),
    "batches": ("MLPClassifier", CLASSES, {"batch_size": 32, "beta_1": 0.5, "epsilon": 1e-4}, {}),
    "in order": ("MLPRegressor", NUMBERS, {"batch_size": 50, "shuffle": False, "alpha": 0}, {}),
}


def fitted(module, name, data, parameters, arguments, **more):
    X, y = data
    estimator = getattr(module, name)(random_state=3, **{"max_iter": 30, **parameters, **more})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return estimator.fit(X, y, **arguments)


@pytest.mark.parametrize("case", SAME.values(), ids=SAME.keys())
def test_the_same_random_state_gives_the_same_curve_weights_and_predictions(case) -> None:
    mine, sklearns = fitted(ours, *case), fitted(theirs, *case)
    X = case[1][0]
    np.testing.assert_allclose(mine.loss_curve_, sklearns.loss_curve_, rtol=1e-10)
    for a, b in zip(mine.coefs_ + mine.intercepts_, sklearns.coefs_ + sklearns.intercepts_):
        np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(mine.predict(X), sklearns.predict(X), rtol=1e-7)
    if hasattr(sklearns, "predict_proba"):
        np.testing.assert_allclose(mine.predict_proba(X), sklearns.predict_proba(X), rtol=1e-6)
        np.testing.assert_allclose(
            mine.predict_log_proba(X), sklearns.predict_log_proba(X), rtol=1e-6, atol=1e-9
        )
    for attribute in ATTRIBUTES:
        assert hasattr(mine, attribute) == hasattr(sklearns, attribute), attribute
        if hasattr(sklearns, attribute):
            assert equal(getattr(mine, attribute), getattr(sklearns, attribute)), attribute


ATTRIBUTES = [
    "best_loss_",
    "best_validation_score_",
    "classes_",
    "loss_",
    "n_features_in_",
    "n_iter_",
    "n_layers_",
    "n_outputs_",
    "out_activation_",
    "t_",
    "validation_scores_",
]


def equal(a, b) -> bool:
    if isinstance(b, (float, list)):
        return np.allclose(a, b, rtol=1e-9, atol=0)
    return np.array_equal(a, b)


def test_a_planted_mistake_is_seen_in_the_curve() -> None:
    case = ("MLPClassifier", CLASSES, {}, {})
    mine, sklearns = fitted(ours, *case, alpha=1.01e-4), fitted(theirs, *case)
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(mine.loss_curve_, sklearns.loss_curve_, rtol=1e-10)


@pytest.mark.parametrize("layout", ["csr_matrix", "csc_array", "coo_array"])
def test_sparse_rows_give_the_curve_of_dense_ones(layout) -> None:
    X, y = CLASSES
    sparse = getattr(scipy.sparse, layout)(X * (X > 0))
    mine = fitted(ours, "MLPClassifier", (sparse, y), {}, {})
    dense = fitted(theirs, "MLPClassifier", (X * (X > 0), y), {}, {})
    np.testing.assert_allclose(mine.loss_curve_, dense.loss_curve_, rtol=1e-10)
    np.testing.assert_allclose(mine.predict_proba(sparse), dense.predict_proba(X * (X > 0)))


def test_single_precision_stays_single_and_follows_sklearns_curve() -> None:
    X, y = CLASSES
    case = ("MLPClassifier", (X.astype(np.float32), y), {}, {})
    mine, sklearns = fitted(ours, *case), fitted(theirs, *case)
    np.testing.assert_allclose(mine.loss_curve_, sklearns.loss_curve_, rtol=1e-4)
    assert {a.dtype for a in mine.coefs_ + mine.intercepts_} == {np.dtype("float32")}
    assert mine.predict_proba(X.astype(np.float32)).dtype == np.float32


@pytest.mark.parametrize("name", ["MLPClassifier", "MLPRegressor"])
def test_lbfgs_reaches_the_loss_that_sklearn_reaches(name) -> None:
    data = CLASSES if name == "MLPClassifier" else NUMBERS
    case = (name, data, {"solver": "lbfgs", "alpha": 1.0}, {"sample_weight": WEIGHT})
    mine, sklearns = (fitted(m, *case, max_iter=5) for m in (ours, theirs))
    assert mine.loss_ == pytest.approx(sklearns.loss_, rel=1e-9)
    assert (mine.n_iter_, mine.t_) == (sklearns.n_iter_, sklearns.t_)


def test_warm_start_and_partial_fit_continue_as_sklearns_do() -> None:
    X, y = CLASSES
    pair = [m.MLPClassifier(random_state=3, max_iter=4, warm_start=True) for m in (ours, theirs)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        mine, sklearns = (e.fit(X, y).fit(X, y) for e in pair)
    np.testing.assert_allclose(mine.loss_curve_, sklearns.loss_curve_, rtol=1e-10)
    assert len(mine.loss_curve_) == 8
    pair = [m.MLPClassifier(random_state=3) for m in (ours, theirs)]
    for e in pair:
        for rows in (slice(0, 100), slice(100, 230), slice(0, 230)):
            e.partial_fit(X[rows], y[rows], classes=[0, 1, 2])
    np.testing.assert_allclose(pair[0].loss_curve_, pair[1].loss_curve_, rtol=1e-10)
    assert (pair[0].t_, pair[0].n_iter_) == (pair[1].t_, pair[1].n_iter_)


@pytest.mark.parametrize("name", ["MLPClassifier", "MLPRegressor"])
def test_parameters_begin_with_sklearns_and_ours_are_keywords(name) -> None:
    mine = list(inspect.signature(getattr(ours, name)).parameters.values())
    sklearns = list(inspect.signature(getattr(theirs, name)).parameters.values())
    got = [(p.name, p.default, p.kind) for p in mine]
    assert got[: len(sklearns)] == [(p.name, p.default, p.kind) for p in sklearns]
    assert {p.kind for p in mine[len(sklearns) :]} == {inspect.Parameter.KEYWORD_ONLY}


X, Y = CLASSES
BAD = {
    "no such solver": ({"solver": "newton"}, (X, Y)),
    "alpha below zero": ({"alpha": -1.0}, (X, Y)),
    "text for a size": ({"batch_size": "all"}, (X, Y)),
    "a layer of no units": ({"hidden_layer_sizes": (5, 0)}, (X, Y)),
    "validation rows too few": (
        {"early_stopping": True, "validation_fraction": 0.01},
        (X[:50], Y[:50]),
    ),
    "not finite": ({}, (np.where(X > 2, np.nan, X), Y)),
    "lengths differ": ({}, (X, Y[1:])),
    "no rows": ({}, (X[:0], Y[:0])),
    "one axis": ({}, (X[0], Y[:12])),
    "numbers for classes": ({}, (X, X[:, 0])),
    "values overflow": ({"learning_rate_init": 1e300}, (X, Y)),
}


def problem(module, parameters, data) -> tuple[type, str]:
    with pytest.raises(Exception) as caught, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module.MLPClassifier(max_iter=3, random_state=0, **parameters).fit(*data)
    return type(caught.value), str(caught.value)


@pytest.mark.parametrize("case", BAD.values(), ids=BAD.keys())
def test_bad_input_raises_what_sklearn_raises(case) -> None:
    (mine, my_words), (sklearns, their_words) = problem(ours, *case), problem(theirs, *case)
    assert mine is sklearns
    if "a str among" not in their_words:  # where ours accepts more
        assert my_words == their_words


@pytest.mark.parametrize(
    ("parameters", "category"),
    [
        ({"max_iter": 2}, ConvergenceWarning),
        ({"max_iter": 2, "solver": "lbfgs"}, ConvergenceWarning),
        ({"batch_size": 1000, "tol": 10.0}, UserWarning),
    ],
)
def test_warnings_are_sklearns(parameters, category) -> None:
    words = []
    for module in (ours, theirs):
        with pytest.warns(category) as caught:
            module.MLPClassifier(random_state=0, **parameters).fit(X, Y)
        words.append([str(w.message) for w in caught])
    assert words[0] == words[1]


def test_verbose_says_what_sklearn_says(capsys) -> None:
    said = []
    for module in (ours, theirs):
        fitted(module, "MLPClassifier", TWO, {"early_stopping": True, "tol": 0.1}, {}, verbose=True)
        said.append(capsys.readouterr().out)
    assert said[0] == said[1]
    assert "Validation score: " in said[0]


def test_partial_fit_is_for_stochastic_solvers() -> None:
    words = []
    for module in (ours, theirs):
        with pytest.raises(AttributeError) as caught:
            module.MLPClassifier(solver="lbfgs").partial_fit
        words.append((str(caught.value), str(caught.value.__cause__)))
    assert words[0] == words[1]


def test_classes_that_were_not_announced_are_refused() -> None:
    words = []
    for module in (ours, theirs):
        estimator = module.MLPClassifier(random_state=0).partial_fit(X, Y, classes=[0, 1, 2])
        with pytest.raises(ValueError) as caught:
            estimator.partial_fit(X[:3], [0, 1, 7])
        words.append(str(caught.value))
    assert words[0] == words[1]
