"""Fetching the well-known sets from the network, checked by their digests."""

from __future__ import annotations

import hashlib
import os
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from nnad.errors import DataError, did_you_mean

__all__ = ["SETS", "Remote", "fetch"]

BLOCK = 2**16
TIMEOUT = 30.0


@dataclass(frozen=True)
class Remote:
    """A file on the network: its address, ``algorithm:digest``, and the most bytes it may have."""

    url: str
    digest: str
    max_bytes: int = 100 * 2**20

    @property
    def name(self) -> str:
        """The file's name: the last part of the address."""
        return PurePosixPath(urlsplit(self.url).path).name


def _idx(base: str, algorithm: str, digests: Mapping[str, str]) -> tuple[Remote, ...]:
    return tuple(
        Remote(f"{base}/{name}-ubyte.gz", f"{algorithm}:{digest}")
        for name, digest in digests.items()
    )


SETS: dict[str, tuple[Remote, ...]] = {
    "mnist": _idx(
        "https://storage.googleapis.com/cvdf-datasets/mnist",
        "sha256",
        {
            "train-images-idx3": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            "train-labels-idx1": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            "t10k-images-idx3": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            "t10k-labels-idx1": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        },
    ),
    "fashion_mnist": _idx(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
        "md5",
        {
            "train-images-idx3": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "train-labels-idx1": "25c81989df183df01b3e8a0aad5dffbe",
            "t10k-images-idx3": "bef4ecab320f06d8554ea6380940ec79",
            "t10k-labels-idx1": "bb300cfdad3c16e7a12a480ee83cd310",
        },
    ),
    "tinyshakespeare": (
        Remote(
            "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
            "sha256:86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
        ),
    ),
    "california": (
        Remote(
            "https://raw.githubusercontent.com/ageron/handson-ml2/master/datasets/housing/housing.csv",
            "sha256:8a3727f4cf54ac1a327f69b1d5b4db54c5834ea81c6e4efc0d163300022a685e",
        ),
    ),
}


def fetch(
    name: str,
    folder: str | Path,
    *,
    sets: Mapping[str, tuple[Remote, ...]] = SETS,
    say: Callable[[str], object] = lambda line: None,
) -> list[Path]:
    """Download the files of a set into ``folder/name``, unless they are there already.

    A file appears under its name only once it is whole and its digest is right.

    Args:
        name: of the set.
        folder: in which the set's own folder is made.
        sets: the table of sets.
        say: receives a line about each file.

    Raises:
        DataError: for unknown names, files that cannot be had, and wrong digests; one line each.
    """
    if name not in sets:
        raise DataError(
            f"unknown set {name!r}{did_you_mean(name, sets)} (known: {', '.join(sets)})"
        )
    target = Path(folder) / name
    problems, files = [], []
    for remote in sets[name]:
        file = target / remote.name
        try:
            if file.exists() and _digest(file, remote) == remote.digest:
                say(f"{file}: already there")
            else:
                target.mkdir(parents=True, exist_ok=True)
                _download(remote, file)
                say(f"{file}: {file.stat().st_size:,} bytes")
            files.append(file)
        except DataError as error:
            problems += error.problems
        except (OSError, ValueError) as error:  # URLError is an OSError
            reason = getattr(error, "reason", None) or error
            problems.append(f"{remote.url}: cannot be fetched: {reason}")
    if problems:
        names = ", ".join(remote.name for remote in sets[name])
        problems.append(f"expected {names} in {target}: put them there, or set data.path to a copy")
        raise DataError(problems)
    return files


def _download(remote: Remote, file: Path) -> None:
    if urlsplit(remote.url).scheme not in ("http", "https"):
        raise DataError(f"{remote.url}: only http and https are fetched")
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    part = Path(name)
    try:
        with (
            os.fdopen(handle, "wb") as output,
            urllib.request.urlopen(remote.url, timeout=TIMEOUT) as response,
        ):
            received = 0
            while block := response.read(BLOCK):
                received += len(block)
                if received > remote.max_bytes:
                    raise DataError(f"{remote.url}: more than {remote.max_bytes:,} bytes")
                output.write(block)
        got = _digest(part, remote)
        if got != remote.digest:
            raise DataError(f"{remote.url}: wrong content: got {got}, expected {remote.digest}")
        part.chmod(0o644)  # mkstemp makes files that only their owner reads
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)


def _digest(file: Path, remote: Remote) -> str:
    algorithm = remote.digest.partition(":")[0]
    with file.open("rb") as content:
        return f"{algorithm}:{hashlib.file_digest(content, algorithm).hexdigest()}"
