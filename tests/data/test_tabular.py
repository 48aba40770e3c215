"""The table that ships under data/ is what its script writes, and can be learned."""

import subprocess
import sys
from pathlib import Path

from nnad.data import load

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ROOT / "data" / "tabular.csv"


def test_the_script_writes_the_shipped_file(tmp_path) -> None:
    script = ROOT / "scripts" / "make_tabular.py"
    output = tmp_path / "tabular.csv"
    subprocess.run([sys.executable, script, "--output", output], check=True, capture_output=True)
    assert output.read_bytes() == SHIPPED.read_bytes()


def test_the_shipped_table_has_numbers_categories_gaps_and_labels() -> None:
    config = {"name": "csv", "path": str(SHIPPED), "target": "harvest", "missing": "impute"}
    meta = load({**config, "categorical": "codes"}).meta
    assert meta.class_names == ["fair", "good", "poor"]
    assert [column["name"] for column in meta.categorical] == [
        "species",
        "soil",
        "season",
        "garden",
    ]
    assert meta.preprocessor.fill is not None and len(meta.feature_names) == 9
