"""Dealing out rows to training, validation and test.

The indices equal those of scikit-learn's ``train_test_split`` for the same ``random_state``, so
that its estimators and ours see the same rows. They are drawn here because importing scikit-learn
takes longer than a whole training run on its small sets; a test holds the two together.
"""

from __future__ import annotations

from math import ceil

import numpy as np

from nnad.errors import DataError

__all__ = ["count", "fold_indices", "split_indices"]


def count(size: float, rows: int) -> int:
    """Number of rows that a size means: a share below 1 (rounded up) or a number of rows.

    >>> count(0.25, 10), count(3, 10)
    (3, 3)
    """
    return ceil(size * rows) if isinstance(size, float) else size


def split_indices(
    rows: int, held_out: int, *, seed: int, classes: np.ndarray | None = None, what: str = "test"
) -> tuple[np.ndarray, np.ndarray]:
    """Deal out ``rows`` rows at random into two parts.

    Args:
        rows: number of rows.
        held_out: how many of them go to the second part.
        seed: equals scikit-learn's ``random_state``.
        classes: (rows,) class of each row, 0, 1, ..., to keep the share of each (stratification).
        what: the name of the second part, for messages.

    Returns:
        Row indices of the first and of the second part, both in random order.

    Raises:
        DataError: if a part or a class would be empty.

    >>> split_indices(5, 2, seed=0)
    (array([1, 3, 4]), array([2, 0]))
    """
    if not 0 < held_out < rows:
        raise DataError(
            f"data.{what}_size takes {held_out} of {rows} rows; both parts need at least one row"
        )
    rng = np.random.RandomState(seed)
    if classes is None:
        order = rng.permutation(rows)
        return order[held_out:], order[:held_out]
    return _stratified(classes, rows - held_out, held_out, rng, what)


def fold_indices(
    rows: int, folds: int, number: int, *, seed: int | None, classes: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Deal out ``rows`` rows into folds, by scikit-learn's KFold or StratifiedKFold.

    Args:
        rows: number of rows.
        folds: number of folds of nearly the same size.
        number: the fold that is held out, from 0.
        seed: of the draw, ``random_state``; None: each fold is a run of neighbouring rows.
        classes: (rows,) class of each row, to keep the share of each.

    Returns:
        Row indices of all other folds, and of the one that is held out, both ascending.

    Raises:
        DataError: if there are fewer rows, or rows of a class, than folds.

    >>> fold_indices(5, 2, 1, seed=None)
    (array([0, 1, 2]), array([3, 4]))
    """
    from sklearn.model_selection import KFold, StratifiedKFold

    if rows < folds:
        raise DataError(f"data.folds: {rows} rows cannot be dealt out to {folds} folds")
    drawn = {"shuffle": seed is not None, "random_state": seed}
    if classes is None:
        return list(KFold(folds, **drawn).split(np.empty(rows)))[number]
    sizes = np.bincount(classes)
    fewest = int(sizes[sizes > 0].min())
    if fewest < folds:
        raise DataError(
            f"data.folds: a class has {fewest} rows, which cannot be in each of {folds} folds; "
            "set data.stratify: false, or merge or drop rare classes"
        )
    return list(StratifiedKFold(folds, **drawn).split(np.empty(rows), classes))[number]


def _stratified(
    classes: np.ndarray, n_first: int, n_second: int, rng: np.random.RandomState, what: str
) -> tuple[np.ndarray, np.ndarray]:
    counts = np.bincount(classes)  # np.unique would import numpy.ma first, which takes longer
    sizes, codes = counts[counts > 0], (np.cumsum(counts > 0) - 1)[classes]
    _check_classes(sizes, n_first, n_second, what)
    members = np.split(np.argsort(codes, kind="stable"), np.cumsum(sizes)[:-1])
    from_first = _proportional(sizes, n_first, rng)
    from_second = _proportional(sizes - from_first, n_second, rng)
    first, second = [], []
    for rows, a, b in zip(members, from_first, from_second, strict=True):
        shuffled = rows[rng.permutation(len(rows))]
        first.append(shuffled[:a])
        second.append(shuffled[a : a + b])
    return rng.permutation(np.concatenate(first)), rng.permutation(np.concatenate(second))


def _check_classes(sizes: np.ndarray, n_first: int, n_second: int, what: str) -> None:
    remedy = (
        "set data.stratify: false, or merge or drop rare classes; a target of numbers needs "
        "data.task: regression"
    )
    if sizes.min() < 2:
        lonely = int((sizes < 2).sum())
        raise DataError(
            f"data.stratify: {lonely} of {len(sizes)} classes have a single row, which cannot be "
            f"in both the training and the {what} part; {remedy}"
        )
    if min(n_first, n_second) < len(sizes):
        raise DataError(
            f"data.{what}_size: parts of {n_first} and {n_second} rows cannot each hold all "
            f"{len(sizes)} classes; change the size or set data.stratify: false"
        )


def _proportional(sizes: np.ndarray, draws: int, rng: np.random.RandomState) -> np.ndarray:
    """How many rows of each class make ``draws`` rows in proportion to ``sizes``.

    What is left after rounding down goes to the classes with the largest remainders, ties by lot.
    """
    exact = sizes / sizes.sum() * draws
    taken = np.floor(exact)
    remainder = exact - taken
    missing = int(draws - taken.sum())
    for value in sorted(set(remainder.tolist()), reverse=True):
        if missing <= 0:
            break
        (tied,) = np.where(remainder == value)
        chosen = rng.choice(tied, size=min(len(tied), missing), replace=False)
        taken[chosen] += 1
        missing -= len(chosen)
    return taken.astype(int)
