"""Sets in several files, rows that stay on disk, and the order they are read in."""

from itertools import pairwise

import numpy as np
import pytest

from nnad.data import BatchIterator, array_files, lazy, load
from nnad.data.batches import BLOCKS_MIXED, block_permutation, permutation
from nnad.data.dataset import Split
from nnad.data.lazy import FileRows, LazyRows, ShardedRows
from nnad.errors import DataError


@pytest.fixture
def whole(rng):
    return rng.normal(size=(50, 6)).astype(np.float32), np.arange(50) % 3


def write(folder, x, y, edges=(0, 20, 21, 50)):
    for i, (a, b) in enumerate(pairwise(edges)):
        np.save(folder / f"x-{i}.npy", x[a:b])
        np.save(folder / f"y-{i}.npy", y[a:b])
        np.savez(folder / f"part-{i}.npz", x=x[a:b], y=y[a:b])


@pytest.mark.parametrize("on_disk", [False, True])
@pytest.mark.parametrize("kind", ["npy", "npz"])
def test_several_files_are_one_set(tmp_path, monkeypatch, whole, kind, on_disk):
    write(tmp_path, *whole)
    if on_disk:
        monkeypatch.setattr(array_files, "IN_MEMORY", 0)
    config = {"name": kind, "path": "part-*.npz", "standardize": True}
    if kind == "npy":
        config |= {"path": "x-*.npy", "target_path": "y-?.npy"}
    parts = load(config, base_dirs=[tmp_path])
    np.save(tmp_path / "x.npy", whole[0])
    np.save(tmp_path / "y.npy", whole[1])
    one = {"name": "npy", "path": "x.npy", "target_path": "y.npy", "standardize": True}
    alone = load(one, base_dirs=[tmp_path])
    assert isinstance(parts.train.x, LazyRows) == on_disk
    np.testing.assert_allclose(np.asarray(parts.train.x), np.asarray(alone.train.x), rtol=1e-6)
    np.testing.assert_array_equal(parts.train.y, alone.train.y)
    assert len(parts.meta.fingerprint) == (6 if kind == "npy" else 3)


@pytest.mark.parametrize(
    ("kind", "suffix", "message"),
    [
        ("npy", "npy", "not a readable NPY file: No such file"),
        ("npz", "npz", "not a readable NPZ archive: No such file"),
        ("csv", "csv", "cannot be read: No such file"),
    ],
)
def test_links_that_lead_nowhere_are_named(tmp_path, whole, kind, suffix, message):
    write(tmp_path, *whole)
    (tmp_path / "part-0.csv").write_text("x,y\n1,2\n")
    np.save(tmp_path / "part-0.npy", whole[0])
    (tmp_path / f"part-9.{suffix}").symlink_to("nothing")
    config = {"name": kind, "path": f"part-*.{suffix}", "task": "autoencoder"}
    with pytest.raises(DataError, match=rf"part-9.{suffix}: {message}"):
        load(config, base_dirs=[tmp_path])


@pytest.mark.parametrize("path", ["**", "x**.npy"])
def test_patterns_lead_to_no_folders_below(tmp_path, whole, path):
    (tmp_path / "below").mkdir()
    write(tmp_path / "below", *whole)
    with pytest.raises(DataError) as error:
        load({"name": "npy", "path": path, "task": "autoencoder"}, base_dirs=[tmp_path])
    assert ("below: " in str(error.value)) == (path == "**")
    assert "below/" not in str(error.value)


@pytest.mark.parametrize("kind", ["npy", "npz"])
def test_small_files_of_a_large_set_stay_on_disk(tmp_path, monkeypatch, whole, kind):
    write(tmp_path, *whole, edges=(0, 20, 20, 40))
    x = np.asfortranarray(whole[0][40:])  # cannot be read by rows
    np.save(tmp_path / "x-3.npy", x)
    np.save(tmp_path / "y-3.npy", whole[1][40:])
    np.savez(tmp_path / "part-3.npz", x=x, y=whole[1][40:])
    monkeypatch.setattr(array_files, "IN_MEMORY", 800)  # less than all files, more than any array
    config = {"name": kind, "path": "part-*.npz", "split": "ordered", "test_size": 0}
    if kind == "npy":
        config |= {"path": "x-*.npy", "target_path": "y-*.npy"}
    train = load(config, base_dirs=[tmp_path]).train
    np.testing.assert_array_equal(np.asarray(train.x), whole[0])
    np.testing.assert_array_equal(train.y, whole[1])
    parts = train.x.base.base.base.parts
    assert [isinstance(part, FileRows) for part in parts] == [True, False, True, False]
    np.save(tmp_path / "x-3.npy", np.where(x == x[3, 3], np.nan, x))
    np.savez(tmp_path / "part-3.npz", x=np.where(x == x[3, 3], np.nan, x), y=whole[1][40:])
    with pytest.raises(DataError, match=r"row 3 .counted from 0. holds a number that is not"):
        load(config, base_dirs=[tmp_path])


def test_a_set_of_many_files_is_read_as_far_as_the_system_allows(tmp_path, monkeypatch, whole):
    class System:
        RLIMIT_NOFILE, soft, hard = 7, 100, 10_000

        def getrlimit(self, what):
            return self.soft, self.hard

        def setrlimit(self, what, limits):
            if limits[0] > self.hard:
                raise ValueError("not allowed to raise maximum limit")
            self.soft = limits[0]

    system = System()
    write(tmp_path, *whole)
    monkeypatch.setattr(array_files, "resource", system)
    config = {"name": "npy", "path": "x-*.npy", "target_path": "y-*.npy"}
    load(config, base_dirs=[tmp_path])
    assert system.soft == 100  # in memory
    monkeypatch.setattr(array_files, "IN_MEMORY", 0)
    load(config, base_dirs=[tmp_path])
    assert system.soft == 3 + array_files.OTHER_FILES
    system.soft = system.hard = 200
    with pytest.raises(DataError, match=r"x-0.npy and 2 more: .* the system allows 200; save"):
        load(config, base_dirs=[tmp_path])


def test_files_that_do_not_belong_together_are_refused(tmp_path, whole):
    write(tmp_path, *whole)
    np.save(tmp_path / "x-1.npy", np.zeros((1, 5), np.float32))
    np.save(tmp_path / "x-2.npy", np.zeros((29, 6)))
    config = {"name": "npy", "path": "x-*.npy", "target_path": "y-*.npy"}
    with pytest.raises(DataError) as error:
        load(config, base_dirs=[tmp_path])
    assert len(error.value.problems) == 2
    assert "rows of shape (5,)" in str(error.value)
    with pytest.raises(DataError, match=r"data.path: no file matches .*nothing-\*.npy"):
        load({**config, "path": "nothing-*.npy"}, base_dirs=[tmp_path])
    with pytest.raises(DataError) as error:
        load({**config, "path": "nothing-*.npy"}, base_dirs=[tmp_path, tmp_path])
    assert str(error.value).count("nothing") == 1


def test_rows_of_parts_equal_rows_of_the_whole(tmp_path, rng):
    array = rng.normal(size=(40, 3))
    (tmp_path / "a").write_bytes(array[10:25].tobytes())
    parts = ShardedRows(
        [array[:10], FileRows(tmp_path / "a", array.dtype, (15, 3)), array[25:25], array[25:]]
    )
    keys = [slice(None), slice(5, 30, 3), np.array([39, 0, 12, 12, 24, 25]), np.empty(0, int)]
    for key in [*keys, rng.permutation(40), np.r_[20:35, 0:7]]:
        np.testing.assert_array_equal(parts[key], array[key])


@pytest.mark.parametrize(
    ("wanted", "runs"),
    [
        (np.r_[10:30, 50:53, 150:180], [(10, 53), (150, 180)]),  # nearer than 64 rows
        (np.r_[0:200:8], [(0, 57), (64, 121), (128, 185), (192, 193)]),  # 64 at most
        (np.r_[0:200:11], []),  # more than eight times what is wanted: row by row
        (np.r_[5, 5, 7], [(5, 8)]),
        (np.r_[5, 150], []),
    ],
)
def test_runs_of_near_rows_are_read_in_one_go(wanted, runs, tmp_path, rng, monkeypatch):
    array = rng.normal(size=(200, 2))
    (tmp_path / "a").write_bytes(array.tobytes())
    monkeypatch.setattr(lazy, "NEAR", 64 * 16)
    monkeypatch.setattr(lazy, "RUN", 64 * 16)
    rows = FileRows(tmp_path / "a", array.dtype, array.shape)
    read, found = FileRows._read_run, []
    monkeypatch.setattr(
        FileRows, "_read_run", lambda s, a, b: found.append((a, b)) or read(s, a, b)
    )
    key = rng.permutation(wanted)
    np.testing.assert_array_equal(rows[key], array[key])
    assert found == runs


@pytest.mark.parametrize("part", [(0, 1), (1, 4)])
def test_an_epoch_by_blocks_reads_few_runs_also_of_a_share_and_of_chosen_rows(
    part, tmp_path, rng, monkeypatch
):
    array = rng.normal(size=(200_000, 8)).astype("f4")
    (tmp_path / "a").write_bytes(array.tobytes())
    chosen = np.sort(rng.permutation(len(array))[: len(array) * 4 // 5])
    x = LazyRows(FileRows(tmp_path / "a", array.dtype, array.shape), chosen)
    read, runs = FileRows._read_run, []
    monkeypatch.setattr(FileRows, "_read_run", lambda s, a, b: runs.append(b - a) or read(s, a, b))
    batches = BatchIterator(Split(x, np.arange(len(x))), 64, shuffle="blocks", part=part)
    for batch in batches.batches(0):
        np.testing.assert_array_equal(batch.x, array[chosen[batch.y]])
    assert sum(runs) > len(x) / part[1] and len(runs) < 100  # 6.4 MB in blocks of 256 KiB


@pytest.mark.parametrize(("rows", "block"), [(1, 1), (10, 3), (1000, 7), (64 * 7, 7), (5, 100)])
def test_a_block_permutation_holds_every_row_once(rows, block):
    order = block_permutation(rows, block, 0, 1)
    assert sorted(order.tolist()) == list(range(rows))
    np.testing.assert_array_equal(order, block_permutation(rows, block, 0, 1))
    if rows > 10:
        assert (order != block_permutation(rows, block, 0, 2)).any()


def test_blocks_are_mixed_nearly_as_well_as_all_rows():
    """A file sorted by class, the worst case: how far batches stray from the classes' shares."""
    rows, block, batch, classes = 64_000, 50, 100, 10
    y = np.arange(rows) * classes // rows

    def straying(order):
        counts = [
            np.bincount(y[order[i : i + batch]], minlength=classes) for i in range(0, rows, batch)
        ]
        return np.std(counts) / np.sqrt(batch / classes * (1 - 1 / classes))  # of random draws: 1

    assert straying(permutation(rows, 0, 0)) == pytest.approx(1, abs=0.03)
    mixed = straying(block_permutation(rows, block, 0, 0))
    assert 1 < mixed < 1.8  # 64 blocks at a time leave each class 6.4 ± 2.4 blocks
    assert straying(np.arange(rows)) > 9
    assert BLOCKS_MIXED == 64


def test_batches_by_blocks_can_be_resumed_and_shared(rng):
    split = Split(np.arange(1000.0)[:, None], np.arange(1000), None)
    whole = [b.y.copy() for b in BatchIterator(split, 32, shuffle="blocks", seed=3).batches(2)]
    late = BatchIterator(split, 32, shuffle="blocks", seed=3).batches(2, 20)
    for one, other in zip(whole[20:], late, strict=True):
        np.testing.assert_array_equal(one, other.y)
    for shuffle in ("blocks", True, False):
        alone = [b.y.copy() for b in BatchIterator(split, 32, shuffle=shuffle, seed=3).batches(1)]
        sharing = [
            BatchIterator(split, 32, shuffle=shuffle, seed=3, part=(i, 3)).batches(1)
            for i in range(3)
        ]
        parts = [[(batch.y.copy(), batch.share) for batch in batches] for batches in sharing]
        for batch, *shares in zip(alone, *parts, strict=True):
            np.testing.assert_array_equal(np.concatenate([y for y, _ in shares]), batch)
            assert [share[0] for _, share in shares[1:]] == [share[1] for _, share in shares[:-1]]
            assert {share[2] for _, share in shares} == {len(batch)}
