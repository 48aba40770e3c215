"""Download a well-known data set and check its digests.

    python scripts/fetch_data.py mnist [--folder data]

Sets: mnist, fashion_mnist, tinyshakespeare, california. Files that are there already are kept.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from nnad.data.download import SETS, fetch
from nnad.errors import UserError


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line and fetch; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", help=f"one of {', '.join(SETS)}")
    parser.add_argument("--folder", type=Path, default=Path("data"))
    options = parser.parse_args(arguments)
    try:
        fetch(options.name, options.folder, say=print)
    except UserError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
