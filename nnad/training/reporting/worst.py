"""The rows that a model gets most wrong: where mistakes in the data show first."""

from __future__ import annotations

from html import escape
from typing import Any

import numpy as np

from nnad.charts import pixels, table
from nnad.charts.scales import text
from nnad.training.reporting.classes import Predicted, predicted
from nnad.training.reporting.evidence import Evidence
from nnad.training.reporting.numbers import predicted_numbers

__all__ = ["worst_table"]

ROWS = 12
MOST_FEATURES = 6
MOST_OUTPUTS = 4
LARGEST_PICTURE = 64
TINY = 1e-12


def worst_table(evidence: Evidence) -> str:
    """The worst rows with what is true, what is predicted and what the model was given."""
    if evidence.meta.task == "language_model":
        return ""
    classes, numbers = predicted(evidence), predicted_numbers(evidence)
    if classes is not None:
        head, error, cells = _of_classes(classes)
    elif numbers is not None:
        head, error, cells = _of_numbers(*numbers)
    else:
        return ""
    rows = np.argsort(-error, kind="stable")[:ROWS]
    inputs, seen = _inputs(evidence, rows)
    body = [[f"{i:,}", *cells(i), *given] for i, given in zip(rows, seen, strict=True)]
    return table(["row", *head, *inputs], body, f"Worst predictions of the {evidence.part} part")


def _of_classes(found: Predicted) -> tuple[list[str], np.ndarray, Any]:
    p, truth, names = found.probability, found.truth, np.array(found.names, object)
    if found.several:
        error = -np.where(truth, np.log(p + TINY), np.log(1 - p + TINY)).mean(axis=1)
    else:
        error = -np.log((p * truth).sum(axis=1) + TINY)

    def cells(i: int) -> list[str]:
        chosen = found.chosen[i]
        called = [", ".join(names[which == 1]) or "none" for which in (truth[i], chosen)]
        own = [] if found.several else [text(float(p[i] @ truth[i])), text(float(p[i].max()))]
        return [*map(escape, called), *(own or [text(float(error[i]))])]

    more = ["mean loss"] if found.several else ["its probability", "the prediction's"]
    return ["true", "predicted", *more], error, cells


def _of_numbers(prediction: np.ndarray, target: np.ndarray) -> tuple[list[str], np.ndarray, Any]:
    error = np.sqrt(((prediction - target) ** 2).mean(axis=1))

    if target.shape[1] > MOST_OUTPUTS:
        return ["error"], error, lambda i: [text(error[i])]

    def cells(i: int) -> list[str]:
        both = [", ".join(map(text, values[i])) for values in (target, prediction)]
        return [*both, text(error[i])]

    return ["true", "predicted", "error"], error, cells


def _inputs(evidence: Evidence, rows: np.ndarray) -> tuple[list[str], list[list[str]]]:
    """Heads and cells that show what the model was given: a picture, or a few of the features."""
    original = evidence.meta.preprocessor.inverse_numeric
    x = [original(np.asarray(evidence.split.x[i : i + 1]))[0] for i in rows]
    shape = evidence.meta.input_shape
    side = round(shape[0] ** 0.5) if len(shape) == 1 else 0
    if len(shape) == 3 and shape[2] in (1, 3) and max(shape[:2]) <= LARGEST_PICTURE:
        return ["picture"], [[_picture(image, i)] for image, i in zip(x, rows, strict=True)]
    names = evidence.meta.feature_names
    if _are_pixels(names) and side**2 == shape[0]:
        squares = [row.reshape(side, side, 1) for row in x]
        return ["picture"], [[_picture(image, i)] for image, i in zip(squares, rows, strict=True)]
    if len(shape) != 1 or len(names) != shape[0]:
        return [], [[] for _ in rows]
    heads = [str(name) for name in names[:MOST_FEATURES]]
    more = ["…"] if len(names) > MOST_FEATURES else []
    return [*heads, *more], [
        [*(text(v) for v in row[: len(heads)]), *("" for _ in more)] for row in x
    ]


def _are_pixels(names: list[str]) -> bool:
    """Whether a table's columns are those of a flat picture, as in scikit-learn's digits."""
    return bool(names) and all("pixel" in str(name) for name in names)


def _picture(image: np.ndarray, row: int) -> str:
    return pixels(f"row {row}", image[..., 0] if image.shape[-1] == 1 else image)
