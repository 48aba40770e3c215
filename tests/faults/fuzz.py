"""Fuzz a reader for as long as one likes: `python tests/faults/fuzz.py csv --seconds 3600`.

With atheris installed (pip install atheris) the mutations are guided by what code they reach;
without it they are random.  A case that takes over a second, over 1 GB, or ends in anything but a
refusal stops the run and is written to a file.  All seconds are the processor's, so that it may run
beside other work.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import sys
import tempfile
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

try:
    import atheris
except ImportError:
    atheris = None


def guided() -> AbstractContextManager[object]:
    """Within the block modules are imported so that what they reach can be seen."""
    return atheris.instrument_imports(include=["nnad", "yaml"]) if atheris else nullcontext()


with guided():
    from tests.faults.readers import READERS, REFUSALS, SEEDS
    from tests.faults.splices import SPLICES

SECONDS, BYTES = 1.0, 2**30


class Target:
    """One reader, and what it has been through."""

    def __init__(self, name: str, seconds: float) -> None:
        self.name = name
        self.folder = Path(tempfile.mkdtemp())
        self.end = time.process_time() + seconds
        self.cases = self.refused = 0
        with guided():
            for content in SEEDS[name]:  # imports
                READERS[name](content, self.folder)

    def __call__(self, content: bytes) -> None:
        if time.process_time() > self.end:
            self.report()
        self.cases += 1
        start = time.process_time()
        try:
            READERS[self.name](content, self.folder)
        except REFUSALS:
            self.refused += 1
        except BaseException:
            self.keep(content)
            raise
        took = time.process_time() - start
        if took > SECONDS or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 > BYTES:
            self.keep(content)
            raise AssertionError(f"{took:.2f} s, or more than {BYTES:,} bytes")

    def keep(self, content: bytes) -> None:
        """Write a case that failed where it can be looked at."""
        path = Path(tempfile.mkdtemp()) / f"{self.name}.case"
        path.write_bytes(content)
        print(f"{self.name}: failed; the case is {path}")

    def report(self) -> None:
        """Say what was tried, and end."""
        print(
            f"{self.name}: {self.cases:,} cases, {self.refused:,} refused, none failed", flush=True
        )
        os._exit(0)  # atheris has no other end


def mutate(rng: random.Random, content: bytes) -> bytes:
    """A few random changes."""
    changed = bytearray(content)
    for _ in range(rng.randint(1, 6)):
        at = rng.randint(0, len(changed))
        kind = rng.randrange(5)
        if kind == 0 and at < len(changed):
            changed[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del changed[at : at + rng.randint(1, 60)]
        elif kind == 2:
            changed[at:at] = rng.choice(SPLICES)
        elif kind == 3:
            changed[at:at] = changed[at : at + 40] * rng.randint(1, 30)
        else:
            changed[at : at + 8] = rng.randbytes(rng.randint(0, 8))
    return bytes(changed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("reader", choices=READERS, nargs="?")
    parser.add_argument("--list", action="store_true", help="print the names of the readers")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.list:
        print(*READERS)
        return
    if options.reader is None:
        parser.error(f"name a reader: {', '.join(READERS)}")
    target = Target(options.reader, options.seconds)
    rng = random.Random(options.seed)
    if atheris is None:
        while True:
            target(mutate(rng, rng.choice(SEEDS[options.reader])))

    corpus = Path(tempfile.mkdtemp())
    for i, content in enumerate(SEEDS[options.reader]):
        (corpus / str(i)).write_bytes(content)
    settings = ["-max_len=20000", f"-artifact_prefix={corpus}-", f"-seed={options.seed + 1}"]
    atheris.Setup([sys.argv[0], str(corpus), *settings], target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
