"""From rows of a CSV file to predictions, for predictors that stand alone.

These functions are written into such a file as they are here, so they use NumPy and the standard
library only.  `plan` holds the texts and numbers that preparing rows and naming answers need,
`arrays` what was learned from the training rows.
"""

from __future__ import annotations

import csv
import sys
from typing import Any

import numpy as np

from nnad.data.cells import MISSING, MISSING_NUMBERS
from nnad.data.preprocessing import SMOOTH_CLIP
from nnad.training.inference import class_probabilities, sigmoid

__all__ = ["answers", "main", "prepare"]


def prepare(rows: list[dict[str, str]], plan: dict[str, Any], arrays: dict[str, Any]) -> np.ndarray:
    """Rows, as csv.DictReader gives them, as the array that the model takes."""
    numbers = [[_number(row, name) for name in plan["numeric_names"]] for row in rows]
    x = np.array(numbers, np.float64).reshape(len(rows), len(plan["numeric_names"]))
    if "fill" in arrays:
        x = np.where(np.isnan(x), arrays["fill"], x)
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
    if np.isnan(x).any():
        raise ValueError(f"row {np.flatnonzero(np.isnan(x).any(1))[0] + 1}: an empty cell")
    return x if plan["row_shape"] is None else x.reshape(len(x), *plan["row_shape"])


def _number(row: dict[str, str], name: str) -> float:
    cell = row[name].strip()
    if cell.lower() in MISSING_NUMBERS:
        return float("nan")
    return float(cell.replace(",", "."))


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
    with open(sys.argv[1], encoding="utf-8-sig", newline="") as file:
        dialect = csv.Sniffer().sniff(file.readline(), ",;\t|")
        file.seek(0)
        rows = list(csv.DictReader(file, dialect=dialect))
    try:
        columns = answers(predict(prepare(rows, plan, arrays)), plan, arrays)
    except (KeyError, ValueError) as error:
        sys.stderr.write(f"{sys.argv[1]}: {error}\n")
        return 2
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return 0
