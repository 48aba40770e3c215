"""The split equals scikit-learn's, and refuses what cannot be split."""

import numpy as np
import pytest
from sklearn.model_selection import train_test_split

from nnad.data.splits import count, split_indices
from nnad.errors import DataError

CLASSES = {
    "even": np.arange(60) % 3,
    "uneven": np.repeat([0, 1, 2], [50, 7, 3]),
    "many": np.arange(200) % 17,
    "with gaps": np.array([5, 0, 9, 0] * 12),
}


@pytest.mark.parametrize("seed", [0, 1, 12345])
@pytest.mark.parametrize("size", [0.25, 0.1, 0.5, 20])
@pytest.mark.parametrize("kind", CLASSES)
def test_stratified_rows_are_those_of_scikit_learn(kind, size, seed) -> None:
    classes = CLASSES[kind]
    rows = np.arange(len(classes))
    try:
        expected = train_test_split(rows, test_size=size, stratify=classes, random_state=seed)
    except ValueError:  # fewer rows than classes in the test part
        with pytest.raises(DataError, match="cannot each hold all"):
            split_indices(len(rows), count(size, len(rows)), seed=seed, classes=classes)
        return
    got = split_indices(len(rows), count(size, len(rows)), seed=seed, classes=classes)
    for ours, theirs in zip(got, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("seed", [0, 7])
@pytest.mark.parametrize(("rows", "size"), [(10, 0.25), (101, 0.33), (7, 1), (7, 6)])
def test_plain_rows_are_those_of_scikit_learn(rows, size, seed) -> None:
    expected = train_test_split(np.arange(rows), test_size=size, random_state=seed)
    got = split_indices(rows, count(size, rows), seed=seed)
    for ours, theirs in zip(got, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("held_out", [0, 5, 9])
def test_an_empty_part_is_refused(held_out) -> None:
    with pytest.raises(DataError, match="at least one row"):
        split_indices(5, held_out, seed=0)


def test_a_class_with_one_row_cannot_be_stratified() -> None:
    with pytest.raises(
        DataError, match=r"1 of 3 classes have a single row.*stratify: false.*task: regression"
    ):
        split_indices(9, 3, seed=0, classes=np.array([0, 0, 0, 0, 1, 1, 1, 1, 2]))
