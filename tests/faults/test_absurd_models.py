"""Models far larger than the weights that are there: refused before memory is taken."""

import tracemalloc
from contextlib import contextmanager

import numpy as np
import pytest

from nnad.errors import ConfigError, UserError
from nnad.initializers import INITIALIZERS, TooManyNumbers, room_for
from nnad.training import checkpoint
from nnad.training.config import load_config
from tests.faults.forged import COMMANDS, copied, made

PEAK_BYTES = 150 * 2**20
HUGE = 10**8  # as float64 800 MB
READERS = ["evaluate", "predict", "export", "report", "resume"]


@contextmanager
def little_memory():
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < PEAK_BYTES
    finally:
        tracemalloc.stop()


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return {job: made(job, tmp_path_factory.mktemp(job)) for job in ("plain", "tokens")}


@pytest.mark.parametrize("command", READERS)
def test_a_configuration_that_makes_the_model_larger_is_refused(runs, tmp_path, command):
    folder = copied(runs["plain"], tmp_path / "copy")
    config = folder / "config.yaml"
    config.write_text(config.read_text().replace("out_features: 4", f"out_features: {HUGE}"))
    with little_memory(), pytest.raises(UserError, match=r"the weights in .* are \d\d numbers"):
        COMMANDS[command](folder)


@pytest.mark.parametrize("command", ["predict", "export"])
def test_data_that_make_the_model_larger_are_refused(runs, tmp_path, command):
    folder = copied(runs["tokens"], tmp_path / "copy")
    file = folder / "preprocessing.safetensors"
    tree = checkpoint.load(file)
    tree["plain"]["extras"]["tokens"] = 2**24
    checkpoint.save(file, tree)
    with little_memory(), pytest.raises(UserError, match=r"33,554,432 initial values"):
        COMMANDS[command](folder)


@pytest.mark.parametrize(
    "layer",
    [
        f"Linear: {{in_features: 4, out_features: {HUGE}}}",
        f"PReLU: {{num_parameters: {HUGE}}}",
        f"LayerNorm: {{normalized_shape: [{HUGE}]}}",
        f"BatchNorm1d: {{num_features: {HUGE}}}",
        "GRU: {input_size: 4, hidden_size: 10000}",
        "Conv2d: {in_channels: 1, out_channels: 1, kernel_size: 10000}",
        "MultiHeadAttention: {embed_dim: 10000, num_heads: 1}",
        f"PeriodicEmbedding: {{in_features: {HUGE}, embedding_dim: 4}}",
    ],
)
def test_large_layers_are_not_made_to_check_a_configuration(tmp_path, layer):
    file = tmp_path / "a.yaml"
    file.write_text(f"data: {{name: iris}}\nmodel: [{{{layer}}}, Linear]\nloss: mse\n")
    with little_memory():
        load_config(file)
    file.write_text(f"data: {{name: iris}}\nmodel: [{{{layer}}}, Lniear]\nloss: mse\n")
    with pytest.raises(ConfigError, match="did you mean 'Linear'"):
        load_config(file)


@pytest.mark.parametrize("name", INITIALIZERS)
def test_initial_values_take_the_room_that_there_is(name):
    with room_for(12, "no more"):
        for _ in range(2):
            INITIALIZERS[name]((2, 3), rng=0)
        with pytest.raises(TooManyNumbers, match=r"1 initial values of shape \(1, 1\): no more"):
            INITIALIZERS[name]((1, 1), rng=0)
    assert np.shape(INITIALIZERS[name]((2, 3), rng=0)) == (2, 3)
