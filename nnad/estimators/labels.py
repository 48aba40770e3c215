"""Class labels as numbers and back: one class a row, or any number of yes-or-no labels a row."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.multiclass import type_of_target, unique_labels

__all__ = ["Labels"]

KINDS = ("binary", "multiclass", "multilabel-indicator")


class Labels:
    """What the classes of a target are, and how rows are turned into numbers and back.

    Args:
        classes: sorted labels; for yes-or-no targets the numbers of the columns.
        kind: "binary" (also for a single class), "multiclass" or "multilabel-indicator".

    >>> labels = Labels.of(np.array(["b", "a", "b"]))
    >>> labels.encode(np.array(["b", "a"])), labels.decode(np.array([0, 1]))
    (array([1, 0]), array(['a', 'b'], dtype='<U1'))
    """

    def __init__(self, classes: np.ndarray, kind: str) -> None:
        self.classes = classes
        self.kind = kind

    @classmethod
    def of(cls, y: Any) -> Labels:
        """The labels of a target.

        Raises:
            ValueError: `y` holds no classes, in scikit-learn's words.
        """
        kind = type_of_target(y, input_name="y")
        if "multioutput" in kind:
            raise ValueError("Multioutput target data is not supported with label binarization")
        return cls(unique_labels(y), kind)

    @property
    def is_multilabel(self) -> bool:
        """Whether a row has any number of labels."""
        return self.kind.startswith("multilabel")

    @property
    def count(self) -> int:
        """How many classes there are."""
        return len(self.classes)

    def check(self, y: Any) -> None:
        """Raise a ValueError if `y` is of another kind than the target that was seen first."""
        is_multilabel = type_of_target(y).startswith("multilabel")
        if self.is_multilabel and not is_multilabel:
            raise ValueError("The object was not fitted with multilabel input.")
        if is_multilabel and not self.is_multilabel:
            raise ValueError("The object was not fitted with multilabel input: got several a row.")

    def encode(self, y: np.ndarray) -> np.ndarray:
        """Class numbers (rows,), or for yes-or-no targets booleans (rows, labels)."""
        if self.is_multilabel:
            dense = y.toarray() if hasattr(y, "toarray") else y
            return np.asarray(dense).astype(bool)
        return np.searchsorted(self.classes, y)

    def decode(self, numbers: np.ndarray) -> np.ndarray:
        """The labels of class numbers, or 0 and 1 of booleans."""
        if self.is_multilabel:
            return numbers.astype(int)
        return self.classes.take(numbers)
