"""Write the predictions of a run's best checkpoint: see --help."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from nnad.cli import command, run

if __name__ == "__main__":
    sys.exit(run(command("predict"), sys.argv[1:], prog="predict.py"))
