"""Time series in CSV files as windows, to predict what follows each."""

from __future__ import annotations

import numpy as np

from nnad.data.cells import Problems
from nnad.data.dataset import Features, Raw, Rows
from nnad.data.lazy import LazyRows
from nnad.data.options import Option, Options, source
from nnad.data.sources.csv import NAMES, as_list
from nnad.data.splits import count
from nnad.data.table import read_csv
from nnad.errors import DataError, did_you_mean

__all__ = ["load_time_series", "windows_of"]

IN_MEMORY = 256 * 2**20  # bytes of windows; beyond that they are cut out batch by batch


@source(
    "time_series",
    Option("path", str, doc="CSV file, a row for each moment, in order"),
    Option("target", str | list[str], doc="name of the column to predict, or a list of several"),
    Option("features", NAMES, None, "input columns (left out: all, the target's past included)"),
    Option("window", int, doc="moments that the model sees", least=1),
    Option("horizon", int, 1, "moments to predict, from the one after the window on", least=1),
    Option("delimiter", str | None, None, "sign between cells (left out: found out)"),
    split="ordered",
    test_size=0.2,
    validation_size=0.1,
    task="regression",
)
def load_time_series(options: Options) -> Raw:
    """Windows over a time series: (window, columns) inputs, the next horizon values as targets.

    The series is cut in order. A row belongs to the part that all of its targets lie in, so no
    target is seen in training that is tested later.
    """
    path = options.locate()
    table = read_csv(path, delimiter=options.delimiter)
    targets = as_list(options.target)
    inputs = as_list(options.features) or list(table.columns)
    problems = Problems()
    if options.split == "random":
        problems.add("split", "data.split: a series is only cut in order; leave split out")
    for name in dict.fromkeys(targets + inputs):
        if name not in table.columns:
            hint = did_you_mean(name, table.columns)
            problems.add("names", f"data: {path} has no column {name!r}{hint}")
            continue
        column = table.columns[name]
        if not column.numeric:
            remedy = "name the input columns in data.features"
            problems.add("text", f"{path}: column {name!r} holds text, not numbers; {remedy}")
            continue
        column.refuse_gaps("gaps", "has no value", problems)
    problems.raise_any()
    rows = len(table) - options.window - options.horizon + 1
    if rows < 1:
        raise DataError(
            f"{path}: {len(table)} rows are too few for data.window {options.window} and "
            f"data.horizon {options.horizon}"
        )
    x = windows_of(np.column_stack([table.values(name) for name in inputs]), options.window)
    y = windows_of(np.column_stack([table.values(name) for name in targets]), options.horizon)
    y = y[options.window :].reshape(rows, -1)
    x = x[:rows]
    return Raw(
        Features(x if x.nbytes <= IN_MEMORY else LazyRows(x), numeric_names=inputs),
        y[:, 0] if y.shape[1] == 1 else y,
        target_names=[
            name if options.horizon == 1 else f"{name}+{step + 1}"
            for step in range(options.horizon)
            for name in targets
        ],
        parts=_rows(len(table), options),
        files=[path],
        label=str(path),
        extras={"window": options.window},
    )


def windows_of(series: np.ndarray, window: int) -> np.ndarray:
    """All (window, columns) stretches of a (moments, columns) series, as a view.

    >>> windows_of(np.arange(4.0)[:, None], 3)[:, :, 0]
    array([[0., 1., 2.],
           [1., 2., 3.]])
    """
    if len(series) < window:
        return np.empty((0, window, series.shape[1]))
    view = np.lib.stride_tricks.sliding_window_view(series, window, axis=0)
    return view.transpose(0, 2, 1)


def _rows(moments: int, options: Options) -> dict[str, Rows]:
    """Rows whose targets lie within each part of the series."""
    test = count(options.test_size, moments)
    validation = count(options.validation_size, moments - test)
    ends = {
        "train": moments - test - validation,
        "validation": moments - test,
        "test": moments,
    }
    parts: dict[str, Rows] = {}
    begin, lead = options.window, options.window + options.horizon
    for name, end in ends.items():
        rows = slice(begin - options.window, max(end - lead + 1, begin - options.window))
        if rows.stop > rows.start:
            parts[name] = rows
        elif end > begin or name == "train":
            raise DataError(
                f"{options.path}: the {name} part is too short for data.window {options.window} "
                f"and data.horizon {options.horizon}"
            )
        begin = max(begin, end)
    return parts
