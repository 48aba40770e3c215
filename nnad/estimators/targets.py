"""What follows from the kind of target: classes or numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils import column_or_1d, compute_sample_weight
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import _check_partial_fit_first_call, type_of_target, unique_labels

from nnad.estimators.labels import Labels
from nnad.estimators.objectives import Objective, has_probabilities, predictions
from nnad.estimators.rows import Rows

__all__ = ["ClassTarget", "NumberTarget"]


class ClassTarget(ClassifierMixin):
    """Classes, or any number of yes-or-no labels a row."""

    @property
    def _labels(self) -> Labels:
        return Labels(self.classes_, self._label_kind)

    def _read_target(self, y: Any, incremental: bool) -> Any:
        """Note the classes at the first fit; in later ones they must be known."""
        y = _one_dimensional(y)
        if not hasattr(self, "classes_") or not (self.warm_start or incremental):
            labels = Labels.of(y)
            self.classes_, self._label_kind = labels.classes, labels.kind
        elif not self.warm_start:
            self._read_held_out_target(y)
        elif set(classes := unique_labels(y)) != set(self.classes_):
            raise ValueError(
                "warm_start can only be used where `y` has the same classes as in the previous "
                f"call to fit. Previously got {self.classes_}, `y` has {classes}"
            )
        return y

    def _read_held_out_target(self, y: Any) -> Any:
        """Classes must be known."""
        y = _one_dimensional(y)
        classes = unique_labels(y)
        if len(np.setdiff1d(classes, self.classes_, assume_unique=True)):
            raise ValueError(
                "`y` has classes not in `self.classes_`. "
                f"`self.classes_` has {self.classes_}. 'y' has {classes}."
            )
        self._labels.check(y)
        return y

    def _note_classes(self, y: Any, classes: Any) -> None:
        """Take the classes of a first `partial_fit` from its argument."""
        if _check_partial_fit_first_call(self, classes):
            is_multilabel = type_of_target(y).startswith("multilabel")
            self._label_kind = Labels.of(y if is_multilabel else classes).kind

    def _encode(self, y: Any, objective: Objective, dtype: Any) -> np.ndarray:
        """Class numbers, or what a single output is compared with."""
        return objective.target(self._labels.encode(y), dtype)

    def _class_weights(self, y: Any, incremental: bool) -> np.ndarray | None:
        """By `class_weight`."""
        if self.class_weight is None:
            return None
        if incremental and self.class_weight == "balanced":
            raise ValueError(
                "class_weight 'balanced' is not supported for partial_fit: one call does not know "
                "the frequencies of all. Use compute_class_weight('balanced', classes=classes, "
                "y=y) on a large enough sample of y and pass the weights as a dict"
            )
        return compute_sample_weight(self.class_weight, y)

    def _decide(self, outputs: np.ndarray, threshold: float) -> np.ndarray:
        """Class numbers, or booleans of yes-or-no labels, from scores or probabilities."""
        if self._label_kind.startswith("multilabel"):
            return outputs > threshold
        if outputs.shape[1] == 1:
            if len(self.classes_) == 1:
                return np.zeros(len(outputs), np.intp)
            return (outputs[:, 0] > threshold).view(np.int8)
        return outputs[:, : len(self.classes_)].argmax(axis=1)

    def _strata(self, y: Any) -> Any:
        """As scikit-learn has it: two classes keep their proportions."""
        return self._labels.encode(y) if self._label_kind == "binary" else None

    def _score_outputs(self, outputs: np.ndarray, rows: Rows) -> float:
        """Accuracy; for several labels a row, of whole rows."""
        decided = self._decide(outputs, 0.0 if self._link is None else 0.5)
        if decided.ndim == 1:
            right = decided == rows.target.reshape(-1)
        else:
            right = (decided == (rows.target > 0.5)).all(axis=1)
        return float(np.average(right, weights=rows.weight))

    def predict(self, X: Any) -> np.ndarray:
        """The classes of rows.

        Args:
            X: (rows, features), an array, a frame or a sparse matrix.

        Returns:
            labels (rows,), or 0 and 1 (rows, labels) for several labels a row.
        """
        scores = self._scores(self._rows_for_prediction(X))
        threshold = 0.5 if self._link == "identity" else 0.0
        return self._labels.decode(self._decide(scores, threshold))

    def decision_function(self, X: Any) -> np.ndarray:
        """Scores before the link: (rows,) for two classes, else (rows, classes)."""
        scores = self._scores(self._rows_for_prediction(X))
        if self._label_kind.startswith("multilabel") or scores.shape[1] > 2:
            return scores
        return scores[:, 0] if scores.shape[1] == 1 else scores[:, 1] - scores[:, 0]

    def _predicts_probabilities(self) -> bool:
        """True; an AttributeError, as scikit-learn asks for, where the loss gives none."""
        if not has_probabilities(self.loss):
            raise AttributeError(
                f"probability estimates are not available for loss={self.loss!r}; use "
                "decision_function, or a loss such as log_loss"
            )
        return True

    @available_if(lambda estimator: estimator._predicts_probabilities())
    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities (rows, classes), or of each label for several labels a row."""
        scores = self._scores(self._rows_for_prediction(X))
        p = predictions(self._link, scores)
        if self._label_kind.startswith("multilabel"):
            return p
        if len(self.classes_) == 1:
            return np.ones((len(p), 1), p.dtype)
        return np.hstack([1 - p, p]) if p.shape[1] == 1 else p

    @available_if(lambda estimator: estimator._predicts_probabilities())
    def predict_log_proba(self, X: Any) -> np.ndarray:
        """The logarithm of `predict_proba`."""
        p = self.predict_proba(X)
        with np.errstate(divide="ignore"):
            return np.log(p)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


class NumberTarget(RegressorMixin):
    """One number a row, or several."""

    _y_is_numeric = True

    def _read_target(self, y: Any, incremental: bool) -> Any:
        return _one_dimensional(y)

    def _read_held_out_target(self, y: Any) -> Any:
        return _one_dimensional(y)

    def _encode(self, y: Any, objective: Objective, dtype: Any) -> np.ndarray:
        """Columns of numbers."""
        return objective.target(y, dtype)

    def _score_outputs(self, outputs: np.ndarray, rows: Rows) -> float:
        """R², the mean over the outputs."""
        from sklearn.metrics import r2_score

        if not np.isfinite(outputs).all():
            return float("nan")
        return float(r2_score(rows.target, outputs, sample_weight=rows.weight))

    def predict(self, X: Any) -> np.ndarray:
        """Predicted numbers.

        Args:
            X: (rows, features), an array, a frame or a sparse matrix.

        Returns:
            (rows,), or (rows, outputs) if there are several.
        """
        scores = self._scores(self._rows_for_prediction(X))
        outputs = predictions(self._link, scores)
        return outputs[:, 0] if outputs.shape[1] == 1 else outputs

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


def _one_dimensional(y: Any) -> Any:
    """A column vector as a vector, with a warning."""
    if y.ndim == 2 and y.shape[1] == 1:
        return column_or_1d(y, warn=True)
    return y
