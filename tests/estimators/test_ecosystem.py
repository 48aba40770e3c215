"""The estimators among others: pickles, copies, pipelines, searches, frames."""

import copy
import importlib.util
import pickle
import pickletools
import subprocess
import sys

import numpy as np
import pytest
from sklearn import set_config
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_iris
from sklearn.inspection import permutation_importance
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from nnad.estimators import MLPClassifier, MLPRegressor, NetClassifier, NetRegressor

X, Y = load_iris(return_X_y=True)
NAMES = ["a", "b", "c", "d"]
FRAMES = [name for name in ("pandas", "polars") if importlib.util.find_spec(name)]
for _name in FRAMES:  # here, since importing polars changes the environment
    importlib.import_module(_name)

pytestmark = pytest.mark.filterwarnings("ignore:Stochastic Optimizer")

ENTRIES = ({"Linear": {"out_features": 6}}, "BatchNorm1d", "SiLU", "Linear")
ESTIMATORS = {
    "plain": MLPClassifier(max_iter=9, random_state=0),
    "with a module": MLPClassifier(max_iter=9, batch_norm=True, activation="mish", random_state=0),
    "default network": NetClassifier(max_iter=9, module__hidden=(7,), random_state=0),
    "entries": NetClassifier(ENTRIES, max_iter=9, random_state=0),
    "regressor": MLPRegressor(max_iter=9, dropout=0.1, random_state=0),
    "regressor around a module": NetRegressor(ENTRIES, max_iter=9, random_state=0),
}


def outputs(model) -> np.ndarray:
    return getattr(model, "predict_proba", model.predict)(X)


@pytest.mark.parametrize("estimator", ESTIMATORS.values(), ids=ESTIMATORS.keys())
def test_pickles_and_copies_predict_the_same_and_train_on(estimator, tmp_path) -> None:
    model = estimator.fit(X, Y)
    written = pickle.dumps(model)
    for other in (pickle.loads(written), copy.deepcopy(model)):
        np.testing.assert_array_equal(outputs(other), outputs(model))
        other.partial_fit(X, Y)
        assert not np.array_equal(outputs(other), outputs(model))
    np.testing.assert_array_equal(outputs(pickle.loads(written)), outputs(model))


@pytest.mark.parametrize("estimator", ESTIMATORS.values(), ids=ESTIMATORS.keys())
def test_pickles_name_estimators_and_numpy_only(estimator) -> None:
    allowed = {"estimators", "numpy", "collections"}
    strings = [a for op, a, _ in pickletools.genops(pickle.dumps(estimator.fit(X, Y))) if a]
    modules = {a for a in strings if isinstance(a, str) and a.split(".")[0] in sys.modules}
    assert {m.removeprefix("nnad.").split(".")[0] for m in modules} <= allowed, modules


def test_pickles_load_in_another_process(tmp_path) -> None:
    models = [e.fit(X, Y) for e in ESTIMATORS.values()]
    (tmp_path / "models").write_bytes(pickle.dumps(models))
    code = (
        "import pickle, sys, numpy as np; from sklearn.datasets import load_iris;"
        f"models = pickle.load(open({str(tmp_path / 'models')!r}, 'rb'));"
        "X = load_iris().data; print(*(m.predict(X).sum() for m in models))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    sums = [float(word) for word in done.stdout.split()]
    np.testing.assert_allclose(sums, [m.predict(X).sum() for m in models], rtol=1e-12)


def test_pipelines_searches_calibration_and_importance() -> None:
    pipeline = make_pipeline(StandardScaler(), MLPClassifier(max_iter=60, random_state=0))
    search = GridSearchCV(pipeline, {"mlpclassifier__dropout": [0.0, 0.5]}, n_jobs=2, cv=3)
    assert search.fit(X, Y).best_score_ > 0.85
    calibrated = CalibratedClassifierCV(pipeline, cv=2).fit(X, Y)
    np.testing.assert_allclose(calibrated.predict_proba(X).sum(axis=1), 1)
    importance = permutation_importance(search, X, Y, n_repeats=3, random_state=0)
    assert importance.importances_mean.argmax() >= 2  # the petals


def test_rows_for_validation_are_routed_through_a_pipeline() -> None:
    set_config(enable_metadata_routing=True)
    try:
        model = MLPClassifier(max_iter=5, random_state=0).set_fit_request(X_val=True, y_val=True)
        pipeline = make_pipeline(StandardScaler(), model)
        pipeline.transform_input = ["X_val"]
        pipeline.fit(X[::2], Y[::2], X_val=X[1::2], y_val=Y[1::2])
    finally:
        set_config(enable_metadata_routing=False)
    assert len(pipeline[-1].validation_loss_curve_) == 5
    assert pipeline[-1].best_validation_score_ == pipeline.score(X[1::2], Y[1::2])


@pytest.mark.parametrize("library", FRAMES)
@pytest.mark.parametrize("cls", [MLPClassifier, NetClassifier])
def test_frames_and_text_labels(library, cls) -> None:
    frames = sys.modules[library]
    table = frames.DataFrame(dict(zip(NAMES, X.T, strict=True)))
    names = np.array(["setosa", "versicolor", "virginica"])[Y]
    model = cls(max_iter=9, random_state=0).fit(table, frames.Series(names))
    assert model.feature_names_in_.tolist() == NAMES
    assert set(model.predict(table)) <= set(names)
    assert model.classes_.tolist() == sorted(set(names))
    plain = cls(max_iter=9, random_state=0).fit(X, names)
    np.testing.assert_array_equal(plain.predict_proba(X), model.predict_proba(table))
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(table[NAMES[::-1]])
