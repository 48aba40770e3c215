"""Train a network as a YAML file describes it: see --help."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from nnad.cli import command, run

if __name__ == "__main__":
    sys.exit(run(command("train"), sys.argv[1:], prog="train.py"))
