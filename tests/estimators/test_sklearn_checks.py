"""scikit-learn's own checks of estimators: every one passes, none is skipped."""

import json
import os
import subprocess
import sys

import pytest

pytest.importorskip("pandas")  # without it some checks are skipped

ENVIRONMENT = {**os.environ, "SCIPY_ARRAY_API": "1", "PYTHONPATH": os.pathsep.join(sys.path)}

# Prints [[check, status, error], ...] for an estimator of nnad (or one that is wrong on purpose).
PROGRAM = """
import json, sys, warnings
from sklearn.utils.estimator_checks import check_estimator
from nnad import estimators

class ChangesItsInput(estimators.MLPRegressor):
    def fit(self, X, y, sample_weight=None):
        super().fit(X, y, sample_weight)
        X += 1
        return self

warnings.simplefilter("ignore")
for name in sys.argv[1:]:
    made = (ChangesItsInput if name == "ChangesItsInput" else getattr(estimators, name))()
    done = check_estimator(made, on_fail=None, on_skip=None)
    print(json.dumps([[c["check_name"], c["status"], repr(c["exception"])] for c in done]))
"""


def results(*names: str) -> list[list[list[str]]]:
    command = [sys.executable, "-c", PROGRAM, *names]
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def check(*names: str) -> None:
    for name, checks in zip(names, results(*names), strict=True):
        assert [c for c in checks if c[1] != "passed"] == [], name
        assert len(checks) > 50  # 61 and 68 with scikit-learn 1.9


def test_all_checks_pass_and_none_is_skipped() -> None:
    check("MLPClassifier", "NetRegressor")


@pytest.mark.slow
def test_all_checks_of_the_other_two_pass_and_none_is_skipped() -> None:
    check("MLPRegressor", "NetClassifier")


@pytest.mark.slow
def test_the_checks_pass_as_tests_of_their_own(tmp_path) -> None:
    page = tmp_path / "test_checks.py"
    page.write_text(
        "import pytest\n"
        "from sklearn.utils.estimator_checks import parametrize_with_checks\n"
        "from nnad.estimators import *\n"
        "@pytest.mark.filterwarnings('ignore')\n"
        "@parametrize_with_checks([MLPClassifier(), MLPRegressor(), NetClassifier(), "
        "NetRegressor()])\n"
        "def test_checks(estimator, check):\n"
        "    check(estimator)\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(page)]
    done = subprocess.run(
        command, capture_output=True, text=True, env=ENVIRONMENT, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stdout
    assert "skipped" not in done.stdout
    assert "xfailed" not in done.stdout


@pytest.mark.slow
def test_the_checks_see_an_estimator_that_changes_its_input() -> None:
    (checks,) = results("ChangesItsInput")
    failed = {name for name, status, _ in checks if status == "failed"}
    assert "check_readonly_memmap_input" in failed


def test_importing_the_estimators_loads_no_more_of_sklearn_than_its_base() -> None:
    code = (
        "import sys, sklearn.base; before = set(sys.modules); import nnad.estimators;"
        "print(*sorted(m for m in set(sys.modules) - before if not m.startswith('nnad')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    )
    loaded = done.stdout.split()
    light = {"base", "callback", "exceptions", "utils"}
    assert [m for m in loaded if m.startswith("sklearn") and m.split(".")[1] not in light] == []
    assert {"pandas", "pydantic", "yaml", "tqdm"}.isdisjoint(m.split(".")[0] for m in loaded)
