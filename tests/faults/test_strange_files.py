"""Pipes, devices, folders and links where files belong: refused at once, never written through."""

import os
import signal

import pytest

from nnad.data import load
from nnad.errors import DataError, UserError
from nnad.files import ordinary, own, read_bytes
from nnad.training import checkpoint
from nnad.training.callbacks import Interruption
from nnad.training.config import load_config
from nnad.training.config.loading import text_of
from nnad.training.job import check, start
from nnad.training.loggers import Jsonl
from tests.faults.forged import COMMANDS, copied, made

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")

SECONDS = 10
KINDS = {
    "a named pipe": os.mkfifo,
    "a device": lambda place: os.symlink(os.devnull, place),
    "a folder": os.mkdir,
}
READ = [
    ("preprocessing.safetensors", "predict"),
    ("checkpoints/last.safetensors", "report"),
    ("summary.json", "compare"),
    ("environment.json", "card"),
    ("metrics.csv", "compare"),
    (".lock", "resume"),
]
WRITTEN = [
    *(".config.yaml.tmp", "metrics.csv", ".metrics.csv.tmp", ".summary.json.tmp", ".lock"),
    *("report.html", ".report.html.tmp", "metrics.jsonl", ".metrics.jsonl.tmp", "steps.csv"),
    *("checkpoints/.last.safetensors.tmp", "checkpoints/last.safetensors"),
    *("checkpoints/.best.safetensors.tmp", "checkpoints/best.safetensors", "summary.json"),
]


@pytest.fixture(autouse=True)
def _in_time():
    """What waits for a pipe fails."""

    def fail(*_):
        raise AssertionError(f"waited for {SECONDS} s")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return made("stopping", tmp_path_factory.mktemp("run"))


def put(place, kind):
    place.unlink(missing_ok=True)
    KINDS[kind](place)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("file", "command"), READ)
def test_what_is_no_file_of_a_run_is_refused(run, tmp_path, file, command, kind):
    folder = copied(run, tmp_path / "copy")
    put(folder / file, kind)
    with pytest.raises((UserError, OSError)) as error:
        COMMANDS[command](folder)
    told = f"{getattr(error.value, 'filename', '')} {error.value}"
    assert file in told
    assert kind in told or "is a link" in told or "Is a directory" in told


@pytest.mark.parametrize("file", ["timing.json", "checkpoints/best.safetensors"])
def test_what_can_be_done_without_is_passed_over(run, tmp_path, file):
    folder = copied(run, tmp_path / "copy")
    put(folder / file, "a named pipe")
    with pytest.warns(UserWarning) if "best" in file else pytest.MonkeyPatch.context():
        COMMANDS["evaluate" if "best" in file else "resume"](folder)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "data",
    [
        {"name": "csv", "target": "y"},
        {"name": "time_series", "target": "y", "window": 3},
        {"name": "npz"},
        {"name": "npy", "task": "autoencoder"},
        {"name": "text"},
        {"name": "idx", "labels_path": "labels"},
    ],
    ids=lambda data: data["name"],
)
def test_data_that_are_no_file_are_refused(tmp_path, data, kind):
    (tmp_path / "labels").touch()
    put(tmp_path / "input", kind)
    with pytest.raises(DataError, match=f"input: .*({kind}|expected one or two files)"):
        load({**data, "path": str(tmp_path / "input")}, base_dirs=[tmp_path])


@pytest.mark.parametrize("kind", ["a named pipe", "a device"])
@pytest.mark.parametrize(
    "read", [load_config, text_of, lambda file: checkpoint.load(file), read_bytes]
)
def test_pipes_and_devices_are_not_read(tmp_path, read, kind):
    put(tmp_path / "job.yaml", kind)
    with pytest.raises((UserError, OSError), match=f"is {kind}; expected an ordinary file"):
        read(tmp_path / "job.yaml")


def test_images_that_are_no_file_are_told(tmp_path):
    pytest.importorskip("PIL")
    for name in ("a/0.pgm", "b/0.pgm"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"P5 3 2 255\n" + bytes(6))
    put(tmp_path / "a/1.pgm", "a named pipe")
    (tmp_path / "b/1.pgm").symlink_to("1.pgm")
    with pytest.raises(DataError) as error:
        load({"name": "images", "path": str(tmp_path)})
    assert "1.pgm: cannot be read: is a named pipe" in str(error.value)
    assert "Too many levels of symbolic links" in str(error.value)


@pytest.mark.parametrize("file", WRITTEN)
def test_nothing_is_written_through_a_link(run, tmp_path, file):
    folder = copied(run, tmp_path / "copy")
    victim = tmp_path / "victim"
    made_anew = (folder / file).name.startswith(".")
    victim.write_bytes(b"precious" if made_anew else (folder / file).read_bytes())
    before = victim.read_bytes()
    (folder / file).unlink(missing_ok=True)
    (folder / file).symlink_to(victim)
    for command in ("resume", "report"):
        try:
            COMMANDS[command](folder)
        except (UserError, OSError) as error:
            assert file.rpartition("/")[2] in f"{getattr(error, 'filename', '')} {error}"
    assert victim.read_bytes() == before


@pytest.mark.parametrize("file", ["report.html", ".report.html.tmp"])
def test_a_pipe_in_the_place_of_the_report_is_replaced(run, tmp_path, file):
    folder = copied(run, tmp_path / "copy")
    put(folder / file, "a named pipe")
    COMMANDS["report"](folder)
    assert (folder / "report.html").is_file()
    assert not (folder / ".report.html.tmp").exists()


@pytest.mark.parametrize("name", ["../victim", "{place}/victim", "link/victim"])
@pytest.mark.parametrize("callback", ["jsonl", "csv", "tensorboard"])
def test_callbacks_write_in_the_folder_of_the_run_alone(tmp_path, callback, name):
    if callback == "tensorboard":
        pytest.importorskip("tensorboard")
    (tmp_path / "runs/run").mkdir(parents=True)
    (tmp_path / "runs/run/link").symlink_to(tmp_path)
    job = tmp_path / "run.yaml"
    job.write_text(
        "data: {name: iris}\nmodel: [Linear]\nloss: cross_entropy\noptimizer: Adam\n"
        f"output: {{dir: {tmp_path}/runs}}\nbaseline: false\ntrainer: {{epochs: 1, progress: "
        f"false, callbacks: [{{name: {callback}, path: '{name.format(place=tmp_path)}'}}]}}\n"
    )
    for refuse in (check, lambda *a: start(*a, True, Interruption())):
        with pytest.raises(UserError, match=r"leads out of the run's folder"):
            refuse(str(job), [])
    assert not (tmp_path / "victim").exists()


def test_a_name_that_no_file_may_have_leads_nowhere(tmp_path):
    with pytest.raises(UserError, match="leads out of"):
        Jsonl(path="a\0b").attach(tmp_path, {})


def test_links_to_data_are_followed(tmp_path):
    (tmp_path / "real").write_text("content")
    (tmp_path / "link").symlink_to("real")
    assert read_bytes(tmp_path / "link") == b"content"
    with pytest.raises(OSError, match="has 7 bytes; at most 3 are read"):
        read_bytes(tmp_path / "link", 3)
    with (
        pytest.raises(OSError, match="is a link"),
        open(tmp_path / "link", "a", opener=own),
    ):
        pass
    with open(tmp_path / "link", opener=ordinary) as file:
        assert file.name == str(tmp_path / "link")
