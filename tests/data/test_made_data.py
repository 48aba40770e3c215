"""The files that ship under data/ are what their script writes."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "make_data.py"


def test_the_script_writes_the_shipped_files(tmp_path) -> None:
    subprocess.run([sys.executable, SCRIPT, "--folder", tmp_path], check=True, capture_output=True)
    made = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert sorted(made) == ["notes.csv", "rides.csv", "tales.txt"]
    for name, content in made.items():
        assert (ROOT / "data" / name).read_bytes() == content, name


def test_unknown_names_are_refused(tmp_path) -> None:
    command = [sys.executable, SCRIPT, "tale", "--folder", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "unknown: tale (known: rides, notes, tales)" in done.stderr
    assert not list(tmp_path.iterdir())
