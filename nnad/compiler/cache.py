"""Where compiled things are kept between processes: NNAD_CACHE_DIR, or the user's cache folder."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path


def cache_folder() -> Path:
    """The folder for kernels and generated sources."""
    given = os.environ.get("NNAD_CACHE_DIR")
    if given:
        return Path(given)
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base) / "nnad"


def write_atomically(path: Path, content: bytes) -> bool:
    """Write a file so that other processes see all of it or none; False where it cannot be."""
    temporary = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.replace(temporary, path)
    except OSError:
        if temporary and os.path.exists(temporary):
            os.unlink(temporary)
        return False
    return True


def write_source(name: str, text: str) -> str:
    """Put generated Python into a file, for debuggers and tracebacks; returns its name."""
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    path = cache_folder() / "sources" / f"{name}-{digest}.py"
    if path.exists() or write_atomically(path, text.encode()):
        return str(path)
    return f"<nnad program {name}-{digest}>"
