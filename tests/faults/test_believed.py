"""What loading finds out about data of every kind is believed when a run's folder gives it back."""

from itertools import product

import numpy as np
import pytest

from nnad.data import load
from nnad.errors import UserError
from nnad.training import checkpoint
from nnad.training.forgery import load_meta
from nnad.training.job import preprocessing_state
from nnad.training.run_folder import RunFolder
from tests.faults.forged import SERIES, TABLE, TEXT

MIXED = "k,m,n,y\n" + "".join(
    f"{'ab'[i % 2]},{'xyz'[i % 3]},{i},{i % 5 * 0.3}\n" for i in range(40)
)
DATA = [
    {"name": "csv", "path": "table.csv", "target": "y"},
    {"name": "csv", "path": "table.csv", "target": "y", "features": ["colour", "size"]},
    {"name": "csv", "path": "mixed.csv", "target": "y"},
    {
        "name": "csv",
        "path": "mixed.csv",
        "target": "y",
        "features": ["n", "m"],
        "input_shape": [2, 2],
    },
    {"name": "csv", "path": "series.csv", "target": ["u", "v"]},
    {"name": "csv", "path": "series.csv", "target": ["p", "q"], "task": "multi_label"},
    {"name": "csv", "path": "series.csv", "target": "p", "task": "autoencoder"},
    {"name": "time_series", "path": "series.csv", "target": ["u", "v"], "window": 5, "horizon": 3},
    {"name": "text", "path": "text.txt", "context": 5},
    {"name": "text", "path": "text.txt", "context": 5, "tokenizer": "bpe", "vocabulary_size": 300},
    {"name": "text", "path": "text.txt", "context": 5, "tokenizer": "whitespace"},
    {"name": "npz", "path": "numbers.npz"},
    {"name": "npz", "path": "numbers.npz", "task": "autoencoder"},
    {"name": "npz", "path": "pictures.npz"},
    {"name": "npz", "path": "pictures.npz", "tokens": True},
    {"name": "npy", "path": "x.npy", "task": "autoencoder"},
    {"name": "digits", "input_shape": [8, 8, 1]},
    {"name": "diabetes"},
    {"name": "linnerud"},
]
OPTIONS = {
    "standardize": [False, True, "robust"],
    "standardize_target": [False, True],
    "missing": ["refuse", "impute"],
    "categorical": ["one_hot", "codes"],
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("data")
    for name, content in (("table", TABLE), ("mixed", MIXED), ("series", SERIES)):
        (place / f"{name}.csv").write_text(content)
    (place / "text.txt").write_text(TEXT)
    rng = np.random.default_rng(0)
    np.savez(place / "numbers.npz", x=rng.normal(size=(40, 3, 4)), y=rng.normal(size=(40, 2, 3)))
    pixels = rng.integers(0, 255, (40, 4, 4, 3)).astype(np.uint8)
    np.savez(place / "pictures.npz", x=pixels, y=np.arange(40) % 3)
    np.save(place / "x.npy", rng.normal(size=40))
    return place


@pytest.mark.parametrize("section", DATA, ids=lambda s: f"{s['name']}-{s.get('path', '')}")
def test_what_loading_finds_out_is_believed(place, tmp_path, section):
    believed, folder = 0, RunFolder(tmp_path)
    for values in product(*OPTIONS.values()):
        given = {k: v for k, v in zip(OPTIONS, values, strict=True) if v != OPTIONS[k][0]}
        try:
            data = load({"stratify": False, **section, **given}, base_dirs=[place])
        except UserError:
            continue  # the source has no such option, or needs others
        checkpoint.save(folder.preprocessing, preprocessing_state(data.meta))
        assert vars(load_meta(folder)).keys() == vars(data.meta).keys()
        believed += 1
    assert believed
