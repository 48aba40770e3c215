"""The comparison with scikit-learn that `scripts/benchmark.py estimators` makes."""

from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def estimators(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    from benchmarks import estimators

    return estimators


def test_a_comparison_has_times_and_equal_scores(estimators) -> None:
    done = estimators.compare("diabetes", seeds=2)
    assert done.scores["nnad"] == pytest.approx(done.scores["scikit-learn"], rel=1e-6)
    assert len(done.seconds["nnad"]) == len(done.seconds["scikit-learn"]) == 2
    assert done.ratio > 0


@pytest.mark.statistical
@pytest.mark.parametrize("name", ["digits", "breast cancer", "20,640 x 8, synthetic"])
def test_default_parameters_score_as_scikit_learns_do(estimators, name) -> None:
    scores = estimators.compare(name).scores
    noise = np.std(scores["scikit-learn"])
    assert np.mean(scores["nnad"]) >= np.mean(scores["scikit-learn"]) - noise
