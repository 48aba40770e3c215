"""Write the made-up data of some configs: data/rides.csv, data/notes.csv and data/tales.txt.

    python scripts/make_data.py [NAME ...] [--folder data] [--seed 0]

rides   bicycles hired in each hour of 84 days: a daily and a weekly course, temperature, rain, and
        noise that grows with the number (for time series and quantiles)
notes   how often each of 24 words stands in a note, and which of 5 topics it is about, several of
        them or none (for several labels at once)
tales   sentences drawn from a small grammar (for language models)

The same seed gives the same files, byte for byte.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

DAYS, HOURS = 84, 24
WEEKDAYS = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]

NOTES = 1200
TOPICS = {"garden": 0.35, "kitchen": 0.3, "repair": 0.25, "travel": 0.2, "music": 0.3}
WORDS = (
    "soil seed rain leaf pot oven salt spoon bread knife screw glue saw paint pipe train map "
    "ticket song drum choir today list early"
)
OWN_WORDS = 5  # of each topic, in order; a topic shares some with the next one

SENTENCES = 700
GRAMMAR: dict[str, Sequence[str]] = {
    "sentence": ("OPENING , the WHO DID .", "the WHO DID .", "the WHO DID and then DID .", "SAID"),
    "SAID": ("the WHO asked the WHO PLEA .", "OPENING , the WHO begged PLEA ."),
    "OPENING": ("one morning", "in the evening", "long ago", "after the storm", "that winter"),
    "WHO": ("KIND", "MOOD KIND", "KIND from the PLACE", "old MOOD KIND"),
    "KIND": ("fox", "miller", "heron", "tinker", "badger", "weaver", "toad", "ferryman"),
    "MOOD": ("patient", "hungry", "clever", "sleepy", "proud", "quiet"),
    "PLACE": ("valley", "mill", "river bank", "hollow oak", "market", "lighthouse"),
    "DID": ("walked to the PLACE", "FOUND a THING", "mended the THING", "waited by the PLACE"),
    "FOUND": ("found", "lost", "carried home", "traded"),
    "THING": ("lantern", "copper kettle", "net", "loaf of bread", "basket", "wooden flute"),
    "PLEA": ("to keep the THING", "to wait at the PLACE", "not to wake the KIND", "for a THING"),
}


def rides(rng: np.random.Generator) -> dict[str, list[str]]:
    """Columns of the hours, in order."""
    moments = DAYS * HOURS
    hour, day = np.arange(moments) % HOURS, np.arange(moments) // HOURS
    weekend = day % 7 >= 5
    warm = 12 + 6 * np.sin(2 * np.pi * day / DAYS) + 4 * np.sin(2 * np.pi * (hour - 9) / HOURS)
    temperature = warm + _slow(rng, moments, 0.95) * 2
    wet = _slow(rng, moments, 0.9) > 1.1
    commute = np.exp(-((hour - 8) ** 2) / 3) + np.exp(-((hour - 17) ** 2) / 5)
    leisure = np.exp(-((hour - 14) ** 2) / 18)
    mean = 8 + np.where(weekend, 90 * leisure, 110 * commute + 30 * leisure)
    mean *= np.exp(0.04 * (temperature - 14) - 0.7 * wet)
    counts = rng.poisson(mean * np.exp(0.25 * _slow(rng, moments, 0.7)))
    return {
        "hour": [str(h) for h in hour],
        "weekday": [WEEKDAYS[d % 7] for d in day],
        "temperature": [f"{t:.1f}" for t in temperature],
        "rain": [str(int(w)) for w in wet],
        "rides": [str(c) for c in counts],
    }


def _slow(rng: np.random.Generator, moments: int, memory: float) -> np.ndarray:
    """Noise of variance 1 in which each value keeps the share `memory` of the one before."""
    values = rng.normal(size=moments)
    for i in range(1, moments):
        values[i] = memory * values[i - 1] + np.sqrt(1 - memory**2) * values[i]
    return values


def notes(rng: np.random.Generator) -> dict[str, list[str]]:
    """Columns of word counts and of topics, 0 or 1."""
    words = WORDS.split()
    topics = rng.random((NOTES, len(TOPICS))) < list(TOPICS.values())
    rates = np.full((NOTES, len(words)), 0.2)
    for i, about in enumerate(topics.T):
        first = i * (OWN_WORDS - 1)
        rates[:, first : first + OWN_WORDS] += 0.9 * about[:, None]
    length = rng.gamma(2.0, 1.0, (NOTES, 1))  # of the note: words of all topics grow with it
    counts = rng.poisson(rates * length)
    columns = {word: [str(n) for n in counts[:, i]] for i, word in enumerate(words)}
    return columns | {t: [str(int(v)) for v in topics[:, i]] for i, t in enumerate(TOPICS)}


def tales(rng: np.random.Generator) -> str:
    """Sentences, a line each."""
    lines = (_expanded("sentence", rng) for _ in range(SENTENCES))
    tidy = (line.replace(" ,", ",").replace(" .", ".") for line in lines)
    return "".join(line[0].upper() + line[1:] + "\n" for line in tidy)


def _expanded(symbol: str, rng: np.random.Generator) -> str:
    """One of the ways to write a symbol; what is no symbol stays."""
    if symbol not in GRAMMAR:
        return symbol
    ways = GRAMMAR[symbol]
    chosen = ways[int(rng.integers(len(ways)))]
    return " ".join(_expanded(part, rng) for part in chosen.split())


def table_text(columns: Mapping[str, Sequence[str]]) -> str:
    """Columns as CSV."""
    rows = [list(columns), *zip(*columns.values(), strict=True)]
    return "".join(",".join(row) + "\n" for row in rows)


FILES: dict[str, tuple[str, Callable[[np.random.Generator], Any]]] = {
    "rides": ("rides.csv", rides),
    "notes": ("notes.csv", notes),
    "tales": ("tales.txt", tales),
}


def main() -> None:
    """Parse the command line and write the files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(FILES)}")
    default = Path(__file__).resolve().parent.parent / "data"
    parser.add_argument("--folder", type=Path, default=default)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(FILES)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))} (known: {', '.join(FILES)})")
    arguments.folder.mkdir(parents=True, exist_ok=True)
    for name in arguments.names or FILES:
        file, make = FILES[name]
        made = make(np.random.default_rng(arguments.seed))
        text = made if isinstance(made, str) else table_text(made)
        (arguments.folder / file).write_text(text, encoding="utf-8", newline="\n")
        print(f"{arguments.folder / file}: {len(text.splitlines())} lines")


if __name__ == "__main__":
    main()
