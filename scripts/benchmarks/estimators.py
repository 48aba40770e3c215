"""Our MLPClassifier and MLPRegressor beside scikit-learn's, with default parameters.

Both are fitted in turn, seed by seed, on the same rows: times are medians over the seeds, the ratio
is the median of the ratios, and scores (accuracy or R² on a quarter of the rows) are means with
their standard deviation. The inputs are standardised.
"""

from __future__ import annotations

import csv
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["SECTION", "compare", "table"]

SECTION = "estimators"
SEEDS = 5
ROOT = Path(__file__).resolve().parents[2]

Data = tuple[np.ndarray, np.ndarray]


@dataclass
class Comparison:
    """Times and scores of both libraries, an entry a seed.

    Attributes:
        name: of the data.
        seconds, scores: by library, "scikit-learn" and "nnad".
    """

    name: str
    seconds: dict[str, list[float]] = field(default_factory=dict)
    scores: dict[str, list[float]] = field(default_factory=dict)

    @property
    def ratio(self) -> float:
        """Time of nnad over that of scikit-learn."""
        pairs = zip(self.seconds["nnad"], self.seconds["scikit-learn"], strict=True)
        return statistics.median(mine / theirs for mine, theirs in pairs)

    def add(self, library: str, seconds: float, score: float) -> None:
        """Note a fit."""
        self.seconds.setdefault(library, []).append(seconds)
        self.scores.setdefault(library, []).append(score)


def _sklearn_set(name: str) -> Data:
    from sklearn import datasets

    return getattr(datasets, f"load_{name}")(return_X_y=True)


def _table_like_california() -> Data:
    """20,640 rows, eight inputs, a smooth target with noise."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((20640, 8))
    return x, np.sin(x[:, 0]) + x[:, 1] * x[:, 2] + 0.3 * rng.standard_normal(len(x))


def _california() -> Data | None:
    """The census of 1990, in 100,000 dollars, where the file lies beside the repository."""
    paths = (folder / "shared/data/california/housing.csv" for folder in ROOT.parents)
    path = next((p for p in paths if p.exists()), None)
    if path is None:
        return None
    with open(path, encoding="utf-8", newline="") as file:
        rows = [row[:9] for row in csv.reader(file)][1:]
    values = np.array([[float(cell or "nan") for cell in row] for row in rows])
    x = values[:, :8]
    return np.where(np.isnan(x), np.nanmedian(x, axis=0), x), values[:, 8] / 1e5


DATA: dict[str, tuple[str, Callable[[], Data | None]]] = {
    "digits": ("MLPClassifier", lambda: _sklearn_set("digits")),
    "breast cancer": ("MLPClassifier", lambda: _sklearn_set("breast_cancer")),
    "diabetes": ("MLPRegressor", lambda: _sklearn_set("diabetes")),
    "20,640 x 8, synthetic": ("MLPRegressor", _table_like_california),
    "California": ("MLPRegressor", _california),
}


def compare(name: str, seeds: int = SEEDS) -> Comparison | None:
    """Fit both libraries to one of `DATA`; None if the data is not there."""
    import sklearn.neural_network
    from sklearn.model_selection import train_test_split
    from sklearn.preprocessing import StandardScaler

    from nnad import estimators

    kind, load = DATA[name]
    data = load()
    if data is None:
        return None
    comparison = Comparison(name)
    libraries = {"scikit-learn": sklearn.neural_network, "nnad": estimators}
    for seed in range(seeds):
        x, x_test, y, y_test = train_test_split(*data, random_state=seed)
        scaler = StandardScaler().fit(x)
        x, x_test = scaler.transform(x), scaler.transform(x_test)
        for library, module in libraries.items():
            model: Any = getattr(module, kind)(random_state=seed)
            start = time.perf_counter()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of not having converged
                model.fit(x, y)
            comparison.add(library, time.perf_counter() - start, model.score(x_test, y_test))
    return comparison


def table(seeds: int = SEEDS) -> Iterator[str]:
    """Lines of Markdown, as they come."""
    yield f"### Estimators: fit with default parameters, {seeds} seeds\n"
    yield "| data | scikit-learn | nnad | ratio | score of scikit-learn | score of nnad |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: |"
    for name in DATA:
        done = compare(name, seeds)
        if done is None:
            continue
        cells = [name]
        cells += [f"{statistics.median(times):.3g} s" for times in done.seconds.values()]
        cells.append(f"{done.ratio:.2f}")
        cells += [f"{np.mean(s):.4f} ± {np.std(s):.4f}" for s in done.scores.values()]
        yield f"| {' | '.join(cells)} |"
