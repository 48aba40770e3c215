"""Fetching data sets, from a server of our own."""

import functools
import hashlib
import http.server
import importlib.util
import threading
from pathlib import Path

import pytest

from nnad.data import download
from nnad.data.download import SETS, Remote, fetch
from nnad.errors import DataError

CONTENT = b"some rows\n" * 100
SHA = "sha256:" + hashlib.sha256(CONTENT).hexdigest()
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def server(tmp_path):
    """The address of a server that hands out one file, and the requests it has seen."""
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "rows.csv").write_bytes(CONTENT)
    seen = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            seen.append(self.path)

    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Handler, directory=folder)
    ) as httpd:
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}", seen
        httpd.shutdown()
        thread.join()


def test_a_set_is_fetched_once(server, tmp_path) -> None:
    address, seen = server
    sets = {"rows": (Remote(f"{address}/rows.csv", SHA),)}
    said = []
    for _ in range(2):
        [file] = fetch("rows", tmp_path / "data", sets=sets, say=said.append)
        assert file == tmp_path / "data" / "rows" / "rows.csv" and file.read_bytes() == CONTENT
    assert len(seen) == 1
    assert said == [f"{file}: 1,000 bytes", f"{file}: already there"]
    file.write_bytes(b"damaged")
    fetch("rows", tmp_path / "data", sets=sets)
    assert file.read_bytes() == CONTENT
    assert list(file.parent.iterdir()) == [file]


def test_what_is_wrong_is_told_and_leaves_nothing(server, tmp_path) -> None:
    address, _ = server
    sets = {
        "bad": (
            Remote(f"{address}/rows.csv", "md5:00"),
            Remote(f"{address}/none.csv", SHA),
            Remote(f"{address}/rows.csv", SHA, max_bytes=999),
            Remote((tmp_path / "served" / "rows.csv").as_uri(), SHA),
            Remote("http://127.0.0.1:1/rows.csv", SHA),
        )
    }
    with pytest.raises(DataError) as caught:
        fetch("bad", tmp_path / "data", sets=sets)
    expected = [
        "wrong content: got md5:",
        "File not found",
        "more than 999",
        "only http",
        "refused",
        f"expected rows.csv, none.csv, rows.csv, rows.csv, rows.csv in {tmp_path}/data/bad: put",
    ]
    assert len(caught.value.problems) == len(expected)
    for line, text in zip(caught.value.problems, expected, strict=True):
        assert text in line
    assert list((tmp_path / "data" / "bad").iterdir()) == []


def test_unknown_sets_are_refused(tmp_path) -> None:
    with pytest.raises(DataError, match="did you mean 'mnist'"):
        fetch("mnst", tmp_path)


def test_the_table_is_sound() -> None:
    for files in SETS.values():
        names = [remote.name for remote in files]
        assert len(set(names)) == len(names)
        for remote in files:
            algorithm, _, digest = remote.digest.partition(":")
            assert len(digest) == 2 * hashlib.new(algorithm).digest_size
            assert int(digest, 16)


def test_the_script(server, tmp_path, monkeypatch, capsys) -> None:
    address, _ = server
    monkeypatch.setitem(download.SETS, "rows", (Remote(f"{address}/rows.csv", SHA),))
    spec = importlib.util.spec_from_file_location("fetch", ROOT / "scripts" / "fetch_data.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert script.main(["rows", "--folder", str(tmp_path)]) == 0
    assert "1,000 bytes" in capsys.readouterr().out
    assert script.main(["nothing", "--folder", str(tmp_path)]) == 2
    assert "unknown set 'nothing'" in capsys.readouterr().err
