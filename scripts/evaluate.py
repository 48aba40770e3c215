"""Print the metrics of a run's best checkpoint: see --help."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from nnad.cli import command, run

if __name__ == "__main__":
    sys.exit(run(command("evaluate"), sys.argv[1:], prog="evaluate.py"))
