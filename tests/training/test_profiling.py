"""Where the time of a step goes."""

from nnad.autodiff.tensor import state
from nnad.training.profiling import profile_job


def test_a_profile_names_every_layer_and_operation(workplace, nnad_main):
    found = profile_job("job.yaml", ["model=[{Linear: {out_features: 3}}, Tanh]"], steps=2)
    assert list(found.layers) == ["0.Linear", "1.Tanh", "(loss)"]
    assert all(ms > 0 for path in ("0.Linear", "1.Tanh") for ms in found.layers[path])
    assert "eager" in found.steps
    assert "numpy program" in found.steps
    calls = {name: calls for name, (calls, _) in found.operations.items()}
    assert calls["linear"] == calls["tanh"] == calls["Adam.step"] == 1
    assert 0 < found.products < 1
    assert state.capture is None


def test_the_command_prints_tables_and_writes_a_page(workplace, nnad_main):
    wanted = ("profile", "--config", "job.yaml", "--steps", "1")
    status, out, _ = nnad_main(*wanted, "--html", "p.html")
    assert status == 0
    assert any(line.startswith("0.Linear") for line in out)
    assert out[-1].startswith("matrix products: ")
    page = (workplace.folder / "p.html").read_text()
    assert page.count("<svg") == 2
    assert "http:" not in page.replace("http://www.w3.org", "")
    status, _, err = nnad_main(*wanted[:-1], "0")
    assert status == 2
    assert "at least 1" in err[-1]
