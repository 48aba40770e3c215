"""Augmentations: what they may change, that they repeat, and what is refused."""

import numpy as np
import pytest

from nnad.data import BatchIterator, batching, load
from nnad.data.augment import AUGMENTATIONS, build, crop, cutout, flip, mixup, shift
from nnad.errors import ConfigError


@pytest.fixture
def images(rng):
    return rng.normal(size=(40, 6, 5, 2)).astype(np.float32), np.arange(40) % 3


def generator():
    return np.random.default_rng(7)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_each_keeps_shape_and_dtype_repeats_and_leaves_its_input(name, images) -> None:
    x, y = images
    before = x.copy()
    step = build([name], x.shape[1:], 3)
    first, second = step(x, y, generator()), step(x, y, generator())
    np.testing.assert_array_equal(x, before)
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)
    assert first[0].shape == x.shape and first[0].dtype == x.dtype
    assert (first[0] != x).any()


@pytest.mark.parametrize(("axis", "mirror"), [("width", np.s_[:, ::-1]), ("height", np.s_[::-1])])
def test_flip_mirrors_about_half(axis, mirror, images) -> None:
    x, y = images
    got, _ = flip(x, y, generator(), axis=axis)
    mirrored = [np.array_equal(a, b[mirror]) for a, b in zip(got, x, strict=True)]
    same = [np.array_equal(a, b) for a, b in zip(got, x, strict=True)]
    assert all(np.logical_xor(mirrored, same))
    assert 10 < sum(mirrored) < 30


@pytest.mark.parametrize(("function", "mode"), [(shift, "edge"), (crop, "reflect")])
def test_moved_images_are_pieces_of_the_padded_one(function, mode, images) -> None:
    x, y = images
    got, _ = function(x, y, generator(), **{"pixels" if function is shift else "padding": 2})
    offsets = set()
    for image, original in zip(got, x, strict=True):
        padded = np.pad(original, [(2, 2), (2, 2), (0, 0)], mode=mode)
        places = [
            (top, left)
            for top in range(5)
            for left in range(5)
            if np.array_equal(padded[top : top + 6, left : left + 5], image)
        ]
        assert places
        offsets.update(places)
    assert len(offsets) > 12


def test_cutout_covers_a_square_by_the_mean(images) -> None:
    x, y = images
    got, _ = cutout(x, y, generator(), size=3)
    for image, original in zip(got, x, strict=True):
        hidden = (image != original).any(axis=-1)
        rows, columns = np.flatnonzero(hidden.any(axis=1)), np.flatnonzero(hidden.any(axis=0))
        assert 1 < len(rows) <= 3 and 1 < len(columns) <= 3
        assert hidden[np.ix_(rows, columns)].all()
        np.testing.assert_array_equal(image[hidden][0], original.mean(axis=(0, 1)))


def test_mixup_blends_inputs_and_targets_alike(images) -> None:
    x, y = images
    x = x * 0 + y[:, None, None, None]
    got_x, got_y = mixup(x, y, generator(), alpha=1.0, classes=3)
    np.testing.assert_allclose(got_y.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(got_y @ np.arange(3), got_x[:, 0, 0, 0], atol=1e-6)
    numbers = mixup(x, y.astype(np.float32), generator(), alpha=1.0)[1]
    np.testing.assert_allclose(numbers, got_x[:, 0, 0, 0], atol=1e-6)


REFUSED = [
    (["shfit"], "[0]: unknown augmentation 'shfit'; did you mean 'shift'?"),
    ([3], "[0]: unknown augmentation 3 (known: flip, shift"),
    ([{"shift": 2}], "[0].shift: got 2, expected a mapping"),
    ([{"shift": {"pixel": 2}}], "[0].shift.pixel: unknown option; did you mean 'pixels'?"),
    ([{"shift": {"pixels": 1.5}}], "expected a whole number of pixels"),
    ([{"crop": {"padding": 8}}], "expected a whole number of pixels smaller than the image"),
    ([{"mixup": {"alpha": 0}}], "expected a number above 0"),
    ([{"flip": {"axis": "depth"}}], "expected width or height"),
]


@pytest.mark.parametrize(("entries", "message"), REFUSED)
def test_wrong_entries_are_refused(entries, message) -> None:
    with pytest.raises(ConfigError) as caught:
        build(entries, (8, 8, 1))
    assert message in str(caught.value)


def test_all_problems_at_once_and_rows_that_are_no_images() -> None:
    with pytest.raises(ConfigError) as caught:
        build(["flip", "nothing", {"shift": {"pixels": -1}}], (64,))
    assert len(caught.value.problems) == 4  # two that need images, one unknown, one number


def test_from_a_configuration() -> None:
    config = {
        "name": "digits",
        "input_shape": [8, 8, 1],
        "batch_size": 50,
        "augment": [{"shift": {"pixels": 1}}, {"mixup": {"alpha": 0.4}}],
    }
    data = load(config)
    batch = next(BatchIterator(data.train, **batching(config, data)).rest_of_epoch())
    assert batch.x.shape == (50, 8, 8, 1) and batch.y.shape == (50, 10)
    with pytest.raises(ConfigError, match="leaves out shorter batches"):
        batching({"name": "digits", "batch_size": 5000, "drop_last": True}, data)
