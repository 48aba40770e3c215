"""Write the generated parts of docs/: reference.md and the figures of the course.

    python scripts/make_docs.py [--check]

With --check nothing is written; files that are out of date are named, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from documentation.figures import figures
from documentation.reference import reference

DOCS = Path(__file__).resolve().parent.parent / "docs"


def generated() -> dict[Path, str]:
    """Every generated file and its text."""
    drawn = {DOCS / "figures" / name: svg for name, svg in figures().items()}
    return {DOCS / "reference.md": reference(), **drawn}


def main() -> int:
    """Write or check the files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="name files that are out of date")
    check = parser.parse_args().check
    stale = {
        path: text
        for path, text in generated().items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    }
    for path, text in stale.items():
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        print(f"{path.relative_to(DOCS.parent)}: {'out of date' if check else 'written'}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
