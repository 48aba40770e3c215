"""From rows of a CSV file to predictions, for predictors that stand alone.

These functions are written into such a file as they are here, so they use NumPy and the standard
library only.  `plan` holds the texts and numbers that preparing rows and naming answers need,
`arrays` what was learned from the training rows.
"""

from __future__ import annotations

import csv
import os
import sys
from typing import Any

import numpy as np

from nnad.data.cells import MISSING, MISSING_NUMBERS
from nnad.data.preprocessing import SMOOTH_CLIP
from nnad.training.inference import class_probabilities, sigmoid

__all__ = ["answers", "main", "prepare", "read"]


def read(path: str, plan: dict[str, Any]) -> list[dict[str, str]]:
    """The rows of a CSV file, by the names of its columns."""
    with open(path, encoding="utf-8-sig", newline="") as file:
        delimiter = max(",;\t|", key=file.readline().count)
        file.seek(0)
        reader = csv.reader(file, delimiter=delimiter)
        names = [name.strip() for name in next(reader, [])]
        wanted = plan["numeric_names"] + plan["categorical_names"]
        if missing := [name for name in wanted if name not in names]:
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise ValueError(f"no column {missing[0]!r}{more}; it has {', '.join(names[:8])}")
        rows = []
        for cells in filter(None, reader):
            if len(cells) != len(names):
                got = f"{len(cells)} cells, expected {len(names)}"
                raise ValueError(f"line {reader.line_num}: {got}")
            rows.append(dict(zip(names, cells, strict=True)))
    if not rows:
        raise ValueError("no rows under the header")
    return rows


def prepare(rows: list[dict[str, str]], plan: dict[str, Any], arrays: dict[str, Any]) -> np.ndarray:
    """Rows, as `read` gives them, as the array that the model takes."""
    names = plan["numeric_names"]
    numbers = [[_number(row, name, i) for name in names] for i, row in enumerate(rows, 1)]
    x = np.array(numbers, np.float64).reshape(len(rows), len(names))
    if "fill" in arrays:
        x = np.where(np.isnan(x), arrays["fill"], x)
    for i, column in np.argwhere(np.isnan(x))[:1]:
        raise ValueError(f"row {i + 1}: column {names[column]!r} has no value; fill it")
    if "center" in arrays:
        x = (x - arrays["center"]) / arrays["scale"]
    if plan["smooth_clip"]:
        x = x / np.sqrt(1 + (x / SMOOTH_CLIP) ** 2)
    parts = [x.astype(plan["dtype"])]
    for i, name in enumerate(plan["categorical_names"]):
        fill = plan["fill_categorical"] and plan["fill_categorical"][i]
        codes = _codes([row[name] for row in rows], plan["categories"][i], fill)
        one_hot = codes[:, None] == np.arange(1, len(plan["categories"][i]) + 1)
        parts.append((one_hot if plan["encoding"] == "one_hot" else codes[:, None]).astype(x.dtype))
    x = np.concatenate(parts, axis=1, dtype=plan["dtype"])
    return x if plan["row_shape"] is None else x.reshape(len(x), *plan["row_shape"])


def _number(row: dict[str, str], name: str, place: int) -> float:
    cell = row[name].strip()
    if cell.lower() in MISSING_NUMBERS:
        return float("nan")
    try:
        return float(cell.replace(",", "."))
    except ValueError:
        raise ValueError(f"row {place}: column {name!r}: {cell!r} is not a number") from None


def _codes(cells: list[str], known: list[str], fill: str | None) -> np.ndarray:
    """The code of each cell: 1, 2, ... of the known texts, 0 of others."""
    code = {text: i for i, text in enumerate(known, 1)}
    stripped = (cell.strip() for cell in cells)
    return np.array([code.get(fill if fill and c in MISSING else c, 0) for c in stripped], int)


def answers(
    outputs: np.ndarray, plan: dict[str, Any], arrays: dict[str, Any]
) -> dict[str, np.ndarray]:
    """Columns by name: predictions, and probabilities where there are classes."""
    classes = plan["class_names"]
    flat = outputs.reshape(len(outputs), -1)
    if plan["task"] == "classification" and classes:
        p = class_probabilities(outputs, plan["loss"])
        columns = {"prediction": np.array(classes, object)[p.argmax(axis=1)]}
        return columns | {f"probability_{name}": p[:, i] for i, name in enumerate(classes)}
    if plan["task"] == "multi_label" and classes:
        p = flat if plan["loss"] == "binary_cross_entropy" else sigmoid(flat)
        columns = {
            f"prediction_{name}": (p[:, i] > 0.5).astype(int) for i, name in enumerate(classes)
        }
        return columns | {f"probability_{name}": p[:, i] for i, name in enumerate(classes)}
    if "target_scale" in arrays:
        outputs = outputs * arrays["target_scale"] + arrays["target_center"]
        flat = outputs.reshape(len(outputs), -1)
    names = plan["target_names"]
    if flat.shape[1] == 1:
        return {"prediction": flat[:, 0]}
    if len(names) != flat.shape[1]:
        names = [str(i) for i in range(flat.shape[1])]
    return {f"prediction_{name}": flat[:, i] for i, name in enumerate(names)}


def main(predict: Any, plan: dict[str, Any], arrays: dict[str, Any]) -> int:
    """`python predictor.py rows.csv > predictions.csv`."""
    if len(sys.argv) != 2:
        sys.stderr.write(f"usage: python {sys.argv[0]} rows.csv > predictions.csv\n")
        return 2
    try:
        rows = read(sys.argv[1], plan)
        columns = answers(predict(prepare(rows, plan, arrays)), plan, arrays)
    except UnicodeDecodeError as error:
        return _refuse(f"not UTF-8 ({error.reason}); save it as UTF-8 (Excel: CSV UTF-8)")
    except OSError as error:
        return _refuse(error.strerror)
    except (ValueError, csv.Error) as error:
        return _refuse(error)
    writer = csv.writer(sys.stdout, lineterminator="\n")
    try:
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
        sys.stdout.flush()
    except BrokenPipeError:  # the reader has gone, as in `python predictor.py ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _refuse(why: Any) -> int:
    sys.stderr.write(f"{sys.argv[1]}: {why}\n")
    return 2
