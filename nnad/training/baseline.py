"""A scikit-learn estimator on the same rows, prepared in the same way, to compare with."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
import warnings
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from nnad.errors import ConfigError, did_you_mean

__all__ = ["fit_baseline", "make_estimator", "outputs_of", "require_task", "unknown_estimator"]

TINY = 1e-15  # probabilities are at least this before their logarithm is taken


def make_estimator(name: str, params: Mapping[str, Any], seed: int, where: str = "baseline") -> Any:
    """The scikit-learn estimator of the given class name, not fitted.

    Args:
        name: class name, such as ``MLPClassifier``.
        params: its constructor arguments; ``random_state`` is `seed` unless given.
        seed: start of its randomness.
        where: begins the messages.

    Raises:
        ConfigError: there is no such estimator or argument.
    """
    cls = _find(name, where)
    known = inspect.signature(cls).parameters
    unknown = [key for key in params if key not in known]
    if unknown:
        raise ConfigError(
            f"{where}.params.{key}: {name} has no such argument{did_you_mean(key, known)} "
            f"(known: {', '.join(known)})"
            for key in unknown
        )
    defaults = {"random_state": seed} if "random_state" in known else {}
    estimator = cls(**(defaults | {key: _as_python(value) for key, value in params.items()}))
    try:
        estimator._validate_params()  # what `fit` begins with; there is no public name for it
    except AttributeError:
        return estimator
    except ValueError as error:
        raise ConfigError(f"{where}.params: {_first_line(error)}") from error
    return estimator


def require_task(estimator: Any, task: str, where: str = "baseline") -> None:
    """Raise a ConfigError if a regressor is to tell classes apart or a classifier to give numbers.

    Args:
        estimator: of scikit-learn.
        task: what is learned: ``classification``, ``regression``, ...
        where: begins the message.
    """
    from sklearn.base import is_classifier, is_regressor

    name = type(estimator).__name__
    if task == "classification" and is_regressor(estimator):
        raise ConfigError(
            f"{where}.estimator: {name} is for numbers, but the target holds classes; choose a "
            "classifier such as LogisticRegression or MLPClassifier"
        )
    if task == "regression" and is_classifier(estimator):
        raise ConfigError(
            f"{where}.estimator: {name} is for classes, but the target holds numbers; choose a "
            "regressor such as Ridge or MLPRegressor"
        )


def fit_baseline(estimator: Any, train: Any, where: str = "baseline") -> float:
    """Fit `estimator` on the training part; returns the seconds its ``fit`` took.

    Raises:
        ConfigError: it refuses its arguments or the data.
    """
    weighted = train.weight is not None and _takes_weights(estimator)
    extra = {"sample_weight": train.weight} if weighted else {}
    x, y = _rows(train.x), np.asarray(train.y)
    start = perf_counter()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as: not converged after max_iter
            estimator.fit(x, y, **extra)
    except (ValueError, TypeError) as error:
        name = type(estimator).__name__
        raise ConfigError(f"{where}: {name} fails: {_first_line(error)}") from error
    return perf_counter() - start


def outputs_of(estimator: Any, x: Any, n_outputs: int, task: str = "") -> tuple[np.ndarray, bool]:
    """What the estimator answers, in the form of a network's outputs.

    Returns:
        (outputs, soft): log-probabilities, log-odds where the network has one output or several
        labels, or the predictions themselves, a single one for each of several quantiles; `soft` is
        false where classes are all that the estimator gives, so that a loss of them means nothing.
    """
    rows = _rows(x)
    if not hasattr(estimator, "classes_"):
        y = np.asarray(estimator.predict(rows))
        return (np.repeat(y[:, None], n_outputs, axis=1) if y.ndim == 1 < n_outputs else y), True
    if task == "multi_label":
        return _label_odds(estimator, rows)
    soft = hasattr(estimator, "predict_proba")
    if soft:
        p = np.asarray(estimator.predict_proba(rows))
    else:
        p = (estimator.predict(rows)[:, None] == estimator.classes_).astype(float)
    log_p = np.log(np.clip(p, TINY, None))
    if n_outputs == 1:
        return log_p[:, 1] - log_p[:, 0], soft
    every = np.full((len(rows), n_outputs), np.log(TINY))
    every[:, estimator.classes_] = log_p
    return every, soft


def _label_odds(estimator: Any, rows: np.ndarray) -> tuple[np.ndarray, bool]:
    """(rows, labels) log-odds, from one array of probabilities or from one per label."""
    soft = hasattr(estimator, "predict_proba")
    p = estimator.predict_proba(rows) if soft else estimator.predict(rows)
    if isinstance(p, list):  # of (rows, classes), with only one class where the others never came
        found = zip(p, estimator.classes_, strict=True)
        p = np.stack([q @ np.asarray(classes, np.float64) for q, classes in found], axis=1)
    p = np.clip(np.asarray(p, np.float64), TINY, 1 - TINY)
    return np.log(p) - np.log1p(-p), soft


def _rows(x: Any) -> np.ndarray:
    rows = np.asarray(x)
    return rows.reshape(len(rows), -1)


def _takes_weights(estimator: Any) -> bool:
    return "sample_weight" in inspect.signature(estimator.fit).parameters


def _as_python(value: Any) -> Any:
    """Lists from YAML as tuples: what scikit-learn's arguments of several numbers expect."""
    return tuple(value) if isinstance(value, list) else value


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]


def unknown_estimator(name: str) -> str:
    """Say that scikit-learn has no estimator of that name, or nothing; imports none of it."""
    known = _exports()
    if name in known:
        return ""
    hint = did_you_mean(name, known) or ";"
    return (
        f"scikit-learn has no {name!r}{hint} expected a class name such as MLPClassifier or "
        "HistGradientBoostingRegressor"
    )


def _find(name: str, where: str) -> Any:
    if problem := unknown_estimator(name):
        raise ConfigError(f"{where}.estimator: {problem}")
    cls = getattr(importlib.import_module(_exports()[name]), name)
    if not (inspect.isclass(cls) and hasattr(cls, "fit") and hasattr(cls, "predict")):
        raise ConfigError(f"{where}.estimator: {name} is no estimator with fit and predict")
    return cls


@cache
def _exports() -> dict[str, str]:
    """Public names of scikit-learn by module, read from its files: imports take long."""
    found: dict[str, str] = {}
    package = importlib.util.find_spec("sklearn")
    if package is None or package.origin is None:
        return found
    root = Path(package.origin).parent
    for init in sorted(root.glob("*/__init__.py")):
        exported = init.read_text(encoding="utf-8").partition("__all__")[2]
        for name in re.findall(r'"([A-Z]\w+)"', exported):
            found.setdefault(name, f"sklearn.{init.parent.name}")
    for module in sorted(root.glob("[a-z]*.py")):  # such as sklearn.dummy
        for name in re.findall(r"^class ([A-Z]\w+)", module.read_text(encoding="utf-8"), re.M):
            found.setdefault(name, f"sklearn.{module.stem}")
    return found
