"""The baseline: scikit-learn's estimators by name, scored as networks are."""

import numpy as np
import pytest

from nnad.data import Split
from nnad.errors import ConfigError
from nnad.training.baseline import fit_baseline, make_estimator, outputs_of, require_task


@pytest.fixture
def classes():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 60)
    return Split((rng.standard_normal((60, 2, 2)) + y[:, None, None]), y)


def test_an_estimator_is_found_by_name_and_seeded():
    estimator = make_estimator("MLPClassifier", {"hidden_layer_sizes": [8, 4]}, seed=5)
    assert estimator.get_params()["hidden_layer_sizes"] == (8, 4)
    assert estimator.random_state == 5


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("MLPClasifier", {}, "did you mean 'MLPClassifier'"),
        ("StandardScaler", {}, "no estimator with fit and predict"),
        ("os", {}, "scikit-learn has no 'os'"),
        ("Ridge", {"alpah": 1}, r"where\.params\.alpah.*did you mean 'alpha'"),
    ],
)
def test_what_scikit_learn_does_not_know_is_refused(name, params, message):
    with pytest.raises(ConfigError, match=message):
        make_estimator(name, params, 0, "where")


def test_bad_values_are_told_before_anything_is_fitted():
    with pytest.raises(ConfigError, match=r"where\.params: The 'C' parameter"):
        make_estimator("LogisticRegression", {"C": -1}, 0, "where")


def test_data_that_an_estimator_refuses_are_told_in_one_line(classes):
    estimator = make_estimator("MultinomialNB", {}, 0)
    with pytest.raises(ConfigError) as error:
        fit_baseline(estimator, classes, "where")
    (problem,) = error.value.problems
    assert problem.startswith("where: MultinomialNB fails: Negative values in data")


@pytest.mark.parametrize(
    ("name", "task", "words"),
    [
        ("Ridge", "classification", r"baseline\.estimator: Ridge is for numbers"),
        ("SVC", "regression", r"baseline\.estimator: SVC is for classes"),
    ],
)
def test_an_estimator_of_the_wrong_kind_is_refused(name, task, words):
    with pytest.raises(ConfigError, match=words):
        require_task(make_estimator(name, {}, 0), task)


@pytest.mark.parametrize(
    ("name", "task"),
    [("SVC", "classification"), ("Ridge", "regression"), ("KMeans", "classification")],
)
def test_an_estimator_of_the_right_kind_is_taken(name, task):
    require_task(make_estimator(name, {}, 0), task)


def test_log_probabilities_are_what_a_classifier_answers(classes):
    estimator = make_estimator("LogisticRegression", {}, 0)
    assert fit_baseline(estimator, classes) > 0
    outputs, soft = outputs_of(estimator, classes.x, 3)
    p = np.exp(outputs)
    np.testing.assert_allclose(p, estimator.predict_proba(classes.x.reshape(60, 4)), rtol=1e-12)
    assert soft


def test_a_class_that_the_training_part_lacks_has_no_probability(classes):
    few = Split(classes.x[classes.y != 1], classes.y[classes.y != 1])
    estimator = make_estimator("LogisticRegression", {}, 0)
    fit_baseline(estimator, few)
    outputs, _ = outputs_of(estimator, classes.x, 3)
    assert (np.exp(outputs[:, 1]) < 1e-10).all()


def test_log_odds_are_what_is_compared_with_one_output(classes):
    two = Split(classes.x, (classes.y > 0).astype(np.int64))
    estimator = make_estimator("LogisticRegression", {}, 0)
    fit_baseline(estimator, two)
    outputs, _ = outputs_of(estimator, two.x, 1)
    np.testing.assert_allclose(outputs, estimator.decision_function(two.x.reshape(60, 4)))


def test_classes_alone_are_marked_as_such(classes):
    estimator = make_estimator("LinearSVC", {}, 0)
    fit_baseline(estimator, classes)
    outputs, soft = outputs_of(estimator, classes.x, 3)
    np.testing.assert_array_equal(
        outputs.argmax(axis=1), estimator.predict(classes.x.reshape(60, 4))
    )
    assert not soft


def test_weights_of_rows_are_used(classes):
    weight = np.where(classes.y == 0, 1.0, 0.0)
    estimator = make_estimator("DummyClassifier", {"strategy": "prior"}, 0)
    fit_baseline(estimator, Split(classes.x, classes.y, weight))
    assert (estimator.predict(classes.x) == 0).all()


def test_predictions_are_what_a_regressor_answers(classes):
    split = Split(classes.x, classes.x[:, 0, 0].astype(np.float64))
    estimator = make_estimator("Ridge", {}, 0)
    fit_baseline(estimator, split)
    outputs, _ = outputs_of(estimator, split.x, 1)
    np.testing.assert_array_equal(outputs, estimator.predict(split.x.reshape(60, 4)))


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("MLPClassifier", {"max_iter": 300}),
        ("KNeighborsClassifier", {}),
        ("RandomForestClassifier", {}),
        ("RidgeClassifier", {}),
    ],
)
def test_several_labels_are_answered_by_log_odds(name, params):
    x = np.random.default_rng(0).standard_normal((80, 4))
    y = np.concatenate([(x[:, :2] > 0), np.ones((80, 1))], axis=1)
    estimator = make_estimator(name, params, 0)
    fit_baseline(estimator, Split(x, y))
    outputs, soft = outputs_of(estimator, x, 3, "multi_label")
    np.testing.assert_array_equal(outputs > 0, estimator.predict(x) == 1)
    assert soft == (name != "RidgeClassifier")


def test_a_single_number_stands_for_every_quantile(classes):
    split = Split(classes.x, classes.x[:, 0, 0].astype(np.float64))
    estimator = make_estimator("Ridge", {}, 0)
    fit_baseline(estimator, split)
    outputs, _ = outputs_of(estimator, split.x, 3)
    assert outputs.shape == (60, 3)
    assert (outputs[:, 0] == outputs[:, 2]).all()
