"""What files with a right checksum may still hold: a stranger can compute one too.

A run folder may come from anybody.  What it says is compared with what the program itself would
have written, file by file and part by part, before it is believed: the state in checkpoints
(`require_state_like`), what is known about the data (`load_meta`), and the texts beside them
(`read_summary`, `read_environment`, `read_history`).  Where a file is something else, `believing`
says so in words, with its name.
"""

from nnad.training.forgery.metas import load_meta, require_consistent
from nnad.training.forgery.states import require_state_like
from nnad.training.forgery.texts import read_environment, read_history, read_summary
from nnad.training.forgery.trees import MALFORMED, believing, brief, require_like

__all__ = [
    "MALFORMED",
    "believing",
    "brief",
    "load_meta",
    "read_environment",
    "read_history",
    "read_summary",
    "require_consistent",
    "require_like",
    "require_state_like",
]
