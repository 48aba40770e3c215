"""The table of shapes, parameters and multiply-adds."""

import re

import numpy as np
import pytest

from nnad import layers as L


def lenet() -> L.Sequential:
    return L.Sequential(
        L.Conv2d(1, 6, 5, padding=2),
        L.ReLU(),
        L.MaxPool2d(2),
        L.Flatten(),
        L.Linear(6 * 14 * 14, 10),
    )


def test_rows_and_totals() -> None:
    model = lenet()
    model.freeze("0.*")
    table = L.summary(model, (2, 28, 28, 1))
    assert [(r.path, r.layer, r.output_shape) for r in table.rows] == [
        ("0", "Conv2d", (2, 28, 28, 6)),
        ("1", "ReLU", (2, 28, 28, 6)),
        ("2", "MaxPool2d", (2, 14, 14, 6)),
        ("3", "Flatten", (2, 1176)),
        ("4", "Linear", (2, 10)),
    ]
    assert table.parameters == 156 + 11770
    assert table.trainable == 11770
    assert table.multiply_adds == 2 * (28 * 28 * 6 * 25 + 11760)
    text = str(table)
    assert "11,926" in text
    assert text.endswith("of the parameters 156 are frozen")
    assert len({len(line) for line in text.splitlines()[:-1]}) == 1


def test_the_network_is_left_as_it_was() -> None:
    model = L.Sequential(L.BatchNorm1d(3), L.Dropout(0.5), L.Residual(L.Linear(3, 3)))
    model[1].eval()
    before = model.state_dict()
    L.summary(model, (4, 3))
    assert [m.training for m in model.modules()] == [True, True, False, True, True]
    assert all("forward" not in vars(m) for m in model.modules())
    for path, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[path])
    with pytest.raises(ValueError, match="BatchNorm1d"):
        L.summary(model, (4, 2))
    assert all("forward" not in vars(m) for m in model.modules())


@pytest.mark.parametrize(
    ("module", "inputs", "expected"),
    [
        (L.Linear(3, 4), ((5, 3),), 60),
        (L.Bilinear(2, 3, 4), ((5, 2), (5, 3)), 120),
        (L.Conv1d(4, 6, 3, groups=2), ((2, 7, 4),), 2 * 5 * 6 * 3 * 2),
        (L.ConvTranspose2d(3, 4, 2, stride=2), ((2, 5, 5, 3),), 2 * 25 * 3 * 4 * 4),
        (L.SeparableConv2d(3, 4, 3, padding=1), ((1, 5, 5, 3),), 25 * (3 * 9 + 12)),
        (L.LSTM(3, 4, bidirectional=True), ((2, 5, 3),), 2 * 5 * 2 * (3 * 16 + 4 * 16)),
        (L.GRU(3, 4), ((2, 5, 3),), 2 * 5 * (3 * 12 + 4 * 12)),
        (L.MultiHeadAttention(4, 2), ((2, 3, 4),), 2 * (3 * 4 * 12 + 2 * 9 * 4 + 3 * 16)),
        (
            L.TransformerDecoderLayer(4, 2, 8),
            ((1, 3, 4), (1, 5, 4)),
            (3 * 4 * 12 + 2 * 9 * 4 + 3 * 16)
            + (3 * 16 + 5 * 4 * 8 + 2 * 15 * 4 + 3 * 16)
            + 2 * 3 * 4 * 8,
        ),
        (L.PeriodicEmbedding(3, 4, 5), ((2, 3),), 2 * 3 * 5 * 3),
        (L.Embedding(5, 3), (np.zeros((2, 4), int),), 0),
    ],
)
def test_multiply_adds(module: L.Module, inputs: tuple, expected: int) -> None:
    assert L.summary(module, *inputs).multiply_adds == expected


def test_a_notebook_shows_the_parameters_of_every_layer() -> None:
    model = L.Sequential(L.Linear(4, 3), L.ReLU())
    model.freeze("0.bias")
    text = model._repr_html_()
    cell = "<td>(.*?)</td>"
    rows = re.findall(f'<tr><th scope="row">(.*?)</th>{cell * 3}', text)
    assert rows == [
        ("whole", "Sequential()", "", ""),
        ("0", "Linear(4, 3)", "weight (4, 3), bias (3,)", "15"),
        ("1", "ReLU()", "", ""),
    ]
    assert "Sequential: 15 parameters" in text
    model.freeze()
    assert "15 (frozen)" in model._repr_html_()
