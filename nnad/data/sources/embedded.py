"""The small sets that come with scikit-learn.

The files are read where scikit-learn keeps them, without importing it: that import alone takes
longer than training on them. Where a version keeps them elsewhere, its own loader is asked.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from nnad.data.dataset import Features, Raw
from nnad.data.options import Options, source

Table = tuple[np.ndarray, np.ndarray, list[str], list[str]]  # x, y, feature names, target names

_IRIS = ["sepal length (cm)", "sepal width (cm)", "petal length (cm)", "petal width (cm)"]
_WINE = """
    alcohol malic_acid ash alcalinity_of_ash magnesium total_phenols flavanoids
    nonflavanoid_phenols proanthocyanins color_intensity hue od280/od315_of_diluted_wines proline
""".split()  # noqa: SIM905
_CELL = """
    radius,texture,perimeter,area,smoothness,compactness,concavity,concave points,symmetry,
    fractal dimension
"""
_BREAST_CANCER = [
    form.format(part.strip())
    for form in ("mean {}", "{} error", "worst {}")
    for part in _CELL.split(",")
]
_DIGITS = [f"pixel_{row}_{column}" for row in range(8) for column in range(8)]
_DIABETES = ["age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6"]


def _folder() -> Path:
    spec = find_spec("sklearn")
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError("scikit-learn")
    return Path(spec.submodule_search_locations[0]) / "datasets" / "data"


def _columns(file: str, delimiter: str | None = ",", skip: int = 0) -> np.ndarray:
    path = _folder() / file
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open(encoding="utf-8") as lines:
        return np.loadtxt(lines, delimiter=delimiter, skiprows=skip)


def _header(file: str) -> list[str]:
    with (_folder() / file).open(encoding="utf-8") as lines:
        return lines.readline().replace(",", " ").split()


def _labelled(file: str, names: list[str]) -> Table:
    """A CSV whose header holds the sizes and the class names, the class in the last column."""
    rows = _columns(file, skip=1)
    return rows[:, :-1], rows[:, -1].astype(np.int64), names, _header(file)[2:]


def _digits() -> Table:
    rows = _columns("digits.csv.gz")
    return rows[:, :-1], rows[:, -1].astype(np.int64), _DIGITS, [str(digit) for digit in range(10)]


def _diabetes() -> Table:
    """Columns of mean 0 and squared norm 1, as scikit-learn hands them out."""
    x = _columns("diabetes_data_raw.csv.gz", delimiter=None)
    x -= x.mean(axis=0)
    x /= np.sqrt((x * x).sum(axis=0))
    return x, _columns("diabetes_target.csv.gz", delimiter=None), _DIABETES, ["target"]


def _linnerud() -> Table:
    files = "linnerud_exercise.csv", "linnerud_physiological.csv"
    x, y = (_columns(file, delimiter=None, skip=1) for file in files)
    return x, y, _header(files[0]), _header(files[1])


_READERS: dict[str, Callable[[], Table]] = {
    "digits": _digits,
    "iris": partial(_labelled, "iris.csv", _IRIS),
    "wine": partial(_labelled, "wine_data.csv", _WINE),
    "breast_cancer": partial(_labelled, "breast_cancer.csv", _BREAST_CANCER),
    "diabetes": _diabetes,
    "linnerud": _linnerud,
}


def _ask_scikit_learn(name: str) -> Table:
    import sklearn.datasets

    found = getattr(sklearn.datasets, f"load_{name}")()
    targets = [str(target) for target in getattr(found, "target_names", ["target"])]
    return found.data, found.target, [str(column) for column in found.feature_names], targets


def _load(options: Options) -> Raw:
    """A small set that comes with scikit-learn."""
    name = options.name
    try:
        x, y, columns, targets = _READERS[name]()
    except (FileNotFoundError, ValueError):
        x, y, columns, targets = _ask_scikit_learn(name)
    classes = y.dtype.kind == "i"
    return Raw(
        Features(x, numeric_names=columns),
        y,
        task="classification" if classes else "regression",
        class_names=targets if classes else None,
        target_names=["target"] if classes else targets,
        label=name,
    )


for _name in _READERS:
    source(_name)(_load)
