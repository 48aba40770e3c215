"""Runs side by side."""

import shutil

import pytest

from nnad.cli import main


def test_a_table_tells_scores_and_what_differs(runs, capsys) -> None:
    assert main(["compare", str(runs / "numbers"), str(runs / "quantiles")]) == 0
    head, first, second = capsys.readouterr().out.splitlines()
    assert {"run", "epochs", "test", "parameters", "loss.name"} <= set(head.split())
    assert "mse" in first.split() and "quantile" in second.split()


def test_settings_stand_as_in_yaml_and_the_page_with_the_rest_is_named(
    runs, tmp_path, capsys
) -> None:
    names, page = [str(runs / name) for name in ("binary", "labels")], tmp_path / "all.html"
    assert main(["compare", *names]) == 0
    assert capsys.readouterr().out.endswith("more settings differ: see --output PAGE.html\n")
    assert main(["compare", *names, "--output", str(page)]) == 0
    assert f"more settings differ: see {page}\n" in capsys.readouterr().out
    text = page.read_text()
    assert "<td>null</td>" in text and "<td>None</td>" not in text


def test_a_page_holds_a_curve_for_each_run(runs, tmp_path, capsys) -> None:
    file = tmp_path / "all.html"
    names = [str(runs / name) for name in ("binary", "classes", "numbers")]
    assert main(["compare", *names, str(runs.parent / "labels.csv"), "--output", str(file)]) == 0
    err = capsys.readouterr().err
    assert err.startswith("warning: ") and "is a file" in err
    text = file.read_text()
    loss = text.split('data-figure="train_loss"')[1].split("</figure>")[0]
    assert [name in loss for name in ("binary", "classes", "numbers")] == [True] * 3
    assert "output.name" not in text and "data.name" in text


def test_nothing_to_compare_is_told(tmp_path, capsys) -> None:
    assert main(["compare", str(tmp_path / "a"), str(tmp_path / "b")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 2


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("summary.json", b'{"fit_seconds": 1}'),
        ("summary.json", b'{"test": 3}'),
        ("summary.json", b'{"test": {"a": "x"}}'),
        ("metrics.csv", b"epoch,a\n1,x\n"),
        ("metrics.csv", b"\xff\xfe"),
        ("config.yaml", b"a: \xff"),
    ],
)
def test_files_that_no_run_wrote_are_told(runs, tmp_path, capsys, file, content) -> None:
    run = shutil.copytree(runs / "numbers", tmp_path / "run")
    (run / file).write_bytes(content)
    assert main(["compare", str(run)]) == 2
    assert f"run/{file}: holds something else than a run writes" in capsys.readouterr().err
