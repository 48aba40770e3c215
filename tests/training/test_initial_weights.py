"""Beginning with the weights of another run."""

from safetensors.numpy import load_file

BEST = "checkpoints/best.safetensors"


def train(finished, nnad_main, *overrides):
    return nnad_main(
        "train",
        "--config",
        "job.yaml",
        "output.name=next",
        "trainer.epochs=1",
        f"trainer.initial_weights={finished.run / BEST}",
        *overrides,
    )


def test_weights_that_fit_are_taken_and_frozen_ones_stay(finished, workplace, nnad_main):
    layers = "model.4={Linear: {out_features: 3, bias: false}}"
    status, _, err = train(finished, nnad_main, "trainer.freeze=['0.*']", layers)
    assert (status, err) == (0, [])
    before = load_file(finished.run / BEST)
    after = load_file(workplace.folder / "runs" / "next" / BEST)
    for name in ("0.weight", "0.bias"):
        assert (after[name] == before[name]).all()
    assert (after["4.weight"] != before["4.weight"]).any()
    assert abs(after["4.weight"] - before["4.weight"]).max() < 0.2  # a few steps from there


def test_what_begins_anew_is_told(finished, workplace, nnad_main):
    wider = "model.0={Linear: {out_features: 9}}"
    status, _, err = train(finished, nnad_main, wider)
    assert status == 0
    (line,) = err
    assert line.startswith("warning: ") and "has no weights for 0.weight, 0.bias, 3.weight" in line
    assert "4.bias" not in line


def test_files_of_no_use_are_refused(finished, workplace, nnad_main):
    other = "model=[{Linear: {out_features: 7}}, Tanh, Linear]"
    status, _, err = train(finished, nnad_main, other, "trainer.initial_weights=none.safetensors")
    assert status == 2 and "trainer.initial_weights: no such file or folder" in err[0]
    status, _, err = train(finished, nnad_main, other)
    assert status == 2 and len(err) == 1
    assert "nothing in" in err[0] and "the model 0.weight (4, 7)" in err[0]
    status, _, err = train(finished, nnad_main, f"trainer.initial_weights={finished.run}")
    assert status == 2 and f"is a folder; expected a file, such as {finished.run / BEST}" in err[0]
    (workplace.folder / "x.safetensors").write_bytes(b"\0" * 20)
    status, _, err = train(finished, nnad_main, "trainer.initial_weights=x.safetensors")
    assert status == 2 and len(err) == 1 and "not a whole safetensors file" in err[0]
