"""``python -m nnad``: the same as the command ``nnad``."""

import sys

from nnad.cli import main

if __name__ == "__main__":
    sys.exit(main())
