"""Charts of numbers at the ends of what a float holds."""

import re
from itertools import product

import numpy as np
import pytest

from nnad.charts import Line, Points, histogram, line_chart, point_chart

ENDS = (0.0, -1.0, 1e308, -1e308, 5e-324, 1e17, np.inf, -np.inf, np.nan)
CHARTS = {
    "up": lambda n, v: line_chart("", [Line("", n, v)]),
    "up log": lambda n, v: line_chart("", [Line("", n, v)], log=True),
    "across": lambda n, v: line_chart("", [Line("", v, n)]),
    "points": lambda n, v: point_chart("", [Points("", n, v)], level=0.0),
    "points log": lambda n, v: point_chart("", [Points("", v, n)], log_x=True),
    "histogram": lambda n, v: histogram("", v),
}


@pytest.mark.parametrize("chart", CHARTS)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of numbers that are not finite
def test_all_numbers_have_a_place_or_none(chart) -> None:
    for count in (1, 2):
        for values in product(ENDS, repeat=count):
            assert "<svg" in CHARTS[chart](np.arange(float(count)), np.array(values))


def test_a_histogram_counts_as_numpy_does(rng) -> None:
    values = rng.normal(size=200)
    counts = [int(n) for n in re.findall(r": (\d+)</title>", histogram("", values))]
    assert counts == np.histogram(values, 30)[0].tolist()
