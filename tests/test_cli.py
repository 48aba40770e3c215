"""The command line itself: usage, problems in one line each, exit statuses."""

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from nnad import cli
from nnad.data.options import source_table
from nnad.errors import DivergedError, ShapeError, UserError
from nnad.training import catalogue
from nnad.training.callbacks import Interrupted
from nnad.training.config import config_schema
from nnad.training.registry import entries
from nnad.training.report import closing_table

ROOT = Path(__file__).resolve().parents[1]
DENIED = "Permission denied; choose a place that may be written (a run's: output.dir)"


@pytest.mark.parametrize(
    ("error", "status", "lines"),
    [
        (UserError(["a", "b"]), 2, ["a", "b"]),
        (DivergedError("diverged"), 3, ["diverged"]),
        (ShapeError("shapes"), 2, ["shapes"]),
        (Interrupted(2), 130, ["interrupted by SIGINT"]),
        (Interrupted(15), 143, ["interrupted by SIGTERM"]),
        (KeyboardInterrupt(), 130, []),
        (FileNotFoundError(2, "No such file or directory", "x.csv"), 2, ["x.csv: no such file"]),
        (PermissionError(13, "Permission denied", "runs"), 2, [f"runs: {DENIED}"]),
        (MemoryError("too large"), 2, None),
    ],
)
def test_what_ends_a_command_becomes_lines_and_a_status(error, status, lines, capsys):
    def command(arguments):
        raise error

    assert cli.run(command, []) == status
    told = capsys.readouterr().err.splitlines()
    assert told == lines if lines is not None else len(told) == 1


def test_mistakes_of_ours_are_not_hidden():
    def command(arguments):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        cli.run(command, [])


def test_warnings_are_told_in_a_line(capsys):
    import warnings

    def command(arguments):
        warnings.warn("two\nlines", stacklevel=1)
        return 0

    assert cli.run(command, []) == 0
    assert capsys.readouterr().err == "warning: two lines\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], "unknown command 'trian'; did you mean 'train'?"),
        (["train"], "one of the arguments --config --resume is required"),
        (["train", "--config"], "--config: expected one argument"),
        (["train", "--config", "a", "--resume", "b"], "not allowed with"),
        (["train", "--resume", "b", "--check"], "--resume goes with none of"),
        (["train", "--config", "nowhere.yaml"], "nowhere.yaml: there is no such file"),
        (["evaluate"], "the following arguments are required: run"),
        (["evaluate", "nowhere"], "nowhere: no such run"),
        (["predict", "nowhere", "--input", "a.csv"], "required: --output"),
        (["export", "run", "--card", "nowhere/a.md"], "there is no folder nowhere; make it first"),
        (["export", "run", "--onnx", "/"], "/: is a folder; name the file to write"),
        (["explain", "x", "x=1", "--output", "nowhere/a.svg"], "there is no folder nowhere"),
    ],
)
def test_wrong_usage_is_told_in_one_line(arguments, message, capsys):
    try:
        status = cli.main(arguments)
    except SystemExit as end:
        status = end.code
    out, err = capsys.readouterr()
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert message in err


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["--version"]])
def test_help_goes_to_stdout(arguments, capsys):
    try:
        status = cli.main(arguments)
    except SystemExit as end:
        status = end.code
    out, err = capsys.readouterr()
    assert (status or 0, err) == (0, "")
    assert "nnad" in out


def test_overrides_may_stand_between_options(capsys):
    order = ["trainer.epochs=2", "--config", "mlp.yaml", "--print-config", "seed=5"]
    assert cli.main(["train", *order]) == 0
    out = capsys.readouterr().out
    assert "seed: 5" in out
    assert "epochs: 2" in out


def test_python_m_nnad_is_the_command(tmp_path):
    command = [sys.executable, "-m", "nnad", "--version"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("nnad ")


@pytest.mark.parametrize("script", ["train", "evaluate", "predict"])
def test_scripts_run_from_any_folder(script, tmp_path):
    command = [sys.executable, ROOT / "scripts" / f"{script}.py", "--help"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"usage: {script}.py")


def test_print_config_prints_yaml_that_trains(capsys, tmp_path):
    assert cli.main(["train", "--config", "mlp.yaml", "--print-config"]) == 0
    first = capsys.readouterr().out
    (tmp_path / "again.yaml").write_text(first)
    assert cli.main(["train", "--config", str(tmp_path / "again.yaml"), "--print-config"]) == 0
    assert capsys.readouterr().out == first


def test_check_prints_shapes_and_counts(capsys):
    assert cli.main(["train", "--config", "mlp.yaml", "--check", "baseline=false"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "4,810" in out
    assert "(64, 64)" in out


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_explains_itself_as_the_overview_does(name):
    assert (cli.command(name).__doc__ or "").splitlines()[0] == cli.COMMANDS[name]


@pytest.mark.parametrize("what", catalogue.LISTS)
def test_everything_is_listed_and_each_of_it_shown(what, capsys):
    assert cli.main(["list", what]) == 0
    kind = catalogue.LISTS[what]
    known = source_table() if kind == "dataset" else entries(kind)
    lines = capsys.readouterr().out.splitlines()
    names = {line.split()[0] for line in lines if not line.startswith("     ")}
    assert names == set(known)
    for name in known:
        text = catalogue.page(kind, name)
        assert text.startswith(f"{kind} {name}\n\n")
        assert len(text.splitlines()) > 4
    assert cli.main(["show", kind, name]) == 0
    assert capsys.readouterr().out == text + "\n"
    assert cli.main(["show", kind, f"{name}x"]) == 2
    assert f"did you mean {name!r}?" in capsys.readouterr().err


def test_what_may_be_left_out_is_shown_as_yaml_has_it():
    lines = [" ".join(line.split()) for line in catalogue.page("layer", "Linear").splitlines()]
    assert "bias true or false, true if left out" in lines
    assert "weight_init as described, torch_uniform if left out" in lines
    assert "bias_init as described, null if left out" in lines
    assert "(left out: found out) (null)" in catalogue.page("dataset", "csv")


def test_the_example_of_a_layer_without_its_sizes_can_be_read():
    text = catalogue.page("layer", "Linear")
    assert "in_features   a whole number, follows from the data if left out" in text
    assert "model: [{Linear: {out_features: ...}}]" in text
    assert "model: [ReLU]" in catalogue.page("layer", "ReLU")


def test_the_schema_is_the_one_configurations_are_checked_by(capsys):
    assert cli.main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(config_schema()))


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_every_command_and_option(shell, capsys):
    assert cli.main(["completion", shell]) == 0
    script = capsys.readouterr().out
    for word in [*cli.COMMANDS, "resume", "trainer.epochs=", "optimizers", "Conv2d"]:
        assert word in script


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_bash_completes(capsys):
    assert cli.main(["completion", "bash"]) == 0
    ask = 'COMP_WORDS=(nnad train --re); COMP_CWORD=2; _nnad; echo "${COMPREPLY[@]}"'
    done = subprocess.run(
        ["bash", "-c", capsys.readouterr().out + ask], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["--resume"]


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_problems_that_nobody_can_be_told_still_end_with_their_status():
    line = f"exec {sys.executable} {ROOT / 'scripts' / 'evaluate.py'} nowhere 2>&-"
    assert subprocess.run(["bash", "-c", line], check=False).returncode == 2


def test_signs_that_a_terminal_lacks_are_shown_as_numbers(monkeypatch):
    from nnad.cli.running import say

    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    say("snow ☃ and half a pair \udc80")
    sys.stdout.flush()
    assert written.getvalue() == b"snow \\u2603 and half a pair \\udc80\n"


@pytest.mark.parametrize(("epochs", "told"), [(1, "1 epoch,"), (2, "2 epochs,")])
def test_epochs_are_counted_as_one_speaks(epochs, told):
    summary = {"parameters": 5, "epochs": epochs, "best_epoch": 1, "test": {}, "fit_seconds": 0.1}
    assert told in closing_table("runs/a", summary)


@pytest.mark.parametrize(("leads", "told"), [(True, "Once\n"), (False, "")])
def test_generated_text_is_told_by_one_process(leads, told, monkeypatch, capsys):
    monkeypatch.setattr("nnad.distributed.world", lambda: SimpleNamespace(leads=leads))
    monkeypatch.setattr("nnad.training.generation.generate_text", lambda **_: "Once")
    assert cli.main(["generate", "runs/tales"]) == 0
    assert capsys.readouterr().out == told
