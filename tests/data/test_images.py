"""Folders of images."""

import numpy as np
import pytest

from nnad.data import load
from nnad.data.sources import images
from nnad.errors import DataError

Image = pytest.importorskip("PIL.Image")


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def folder(tmp_path, rng):
    for group in ("cat", "dog"):
        for i in range(3):
            save(tmp_path / group / f"{i}.png", rng.integers(0, 256, (5, 4, 3), dtype=np.uint8))
    (tmp_path / "cat" / "notes.txt").write_text("not an image")
    return tmp_path


def config(folder, **more):
    return {"name": "images", "path": str(folder), "test_size": 0, **more}


def test_pixels_and_classes(folder) -> None:
    data = load(config(folder))
    assert data.meta.class_names == ["cat", "dog"]
    assert data.train.y.tolist() == [0, 0, 0, 1, 1, 1]
    expected = np.asarray(Image.open(folder / "dog" / "1.png")) / 255
    np.testing.assert_allclose(data.train.x[4], expected, rtol=1e-6)


def test_grey_and_resized(folder) -> None:
    assert load(config(folder, channels=1, size=[8, 6])).meta.input_shape == (8, 6, 1)


def test_train_and_test_folders_are_the_parts(folder) -> None:
    pixels = np.zeros((5, 4, 3), np.uint8)
    for part, rows in (("train", 3), ("test", 2)):
        for group in ("a", "b"):
            for i in range(rows):
                save(folder / "all" / part / group / f"{i}.png", pixels)
    data = load(config(folder / "all"))
    assert (len(data.train), len(data.test)) == (6, 4)


def test_each_bad_file_is_told(folder) -> None:
    (folder / "cat" / "9.png").write_bytes(b"no image")
    (folder / "dog" / "8.png").write_bytes((folder / "dog" / "0.png").read_bytes()[:60])
    save(folder / "dog" / "9.png", np.zeros((7, 4, 3), np.uint8))
    with pytest.raises(DataError) as caught:
        load(config(folder))
    lines = "\n".join(caught.value.problems)
    assert len(caught.value.problems) == 3
    assert "cat/9.png: cannot be read" in lines and "dog/8.png: cannot be read" in lines
    assert "dog/9.png: 7 x 4 pixels, the first image has 5 x 4; set data.size" in lines


def test_too_many_pixels_are_refused(folder, monkeypatch) -> None:
    monkeypatch.setattr(images, "MAX_PIXELS", 10)
    with pytest.raises(DataError, match="4 x 5 pixels; at most 10 are read"):
        load(config(folder))


def test_images_that_claim_billions_of_pixels_are_refused(folder) -> None:
    (folder / "cat" / "9.ppm").write_bytes(b"P5 99999 99999 255\n")
    with pytest.raises(DataError, match=r"cat/9\.ppm: cannot be read: .* pixels"):
        load(config(folder))


def test_links_that_lead_out_are_refused(folder, tmp_path_factory) -> None:
    outside = tmp_path_factory.mktemp("outside") / "secret.png"
    save(outside, np.zeros((5, 4, 3), np.uint8))
    (folder / "dog" / "link.png").symlink_to(outside)
    with pytest.raises(DataError, match="a link that leads out of"):
        load(config(folder))


def test_wrong_folders_and_sizes_are_refused(folder) -> None:
    with pytest.raises(DataError, match="expected a folder for each class, found none"):
        load(config(folder / "cat"))
    with pytest.raises(DataError, match=r"expected \[height, width\]"):
        load(config(folder, size=[3]))
    with pytest.raises(DataError, match="at most 50,000,000 pixels"):
        load(config(folder, size=[60_000, 60_000]))


def test_small_files_that_unpack_to_much_are_refused(folder, monkeypatch) -> None:
    monkeypatch.setattr(images, "BOMB_BYTES", 2**20)
    for group in ("cat", "dog"):
        for i in range(3):
            save(folder / group / f"{i}.png", np.zeros((400, 400, 3), np.uint8))
    with pytest.raises(DataError, match=r"6 images would unpack from \S+ to 2,880,000 bytes"):
        load(config(folder))
    assert load(config(folder, size=[9, 9])).meta.input_shape == (9, 9, 3)
