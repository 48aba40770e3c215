"""Tables of text cells: reading CSV files into compact columns, with every problem named by line.

A file is read in chunks of rows; each chunk is turned into numbers (8 bytes a cell) or codes of
categories (4 bytes a cell) before the next one is read, so the text of a large file is never in
memory as a whole.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from nnad.errors import DataError

__all__ = ["Column", "Problems", "Table", "read_csv", "sniff_delimiter"]

CHUNK_ROWS = 20_000
SNIFFED_CHARACTERS = 100_000  # of a line; the csv module refuses cells longer than 131,072
DELIMITERS = ",;\t|"
# What stands for an empty cell (as in pandas, and "?"); among numbers in any case of letters.
MISSING = frozenset(
    "|#N/A|#NA|-NaN|-nan|<NA>|N/A|NA|NULL|NaN|None|n/a|nan|null|?".split("|")  # noqa: SIM905
)
MISSING_NUMBERS = frozenset(text.lower() for text in MISSING)


class Problems:
    """Collects problems, of each kind at most a number of them, and raises them all at once."""

    def __init__(self, limit: int = 50) -> None:
        self._lines: dict[str, list[str]] = {}
        self._left_out: dict[str, int] = {}
        self._limit = limit

    def add(self, kind: str, line: str) -> None:
        """Add a line of text; lines of a kind beyond the limit are only counted."""
        lines = self._lines.setdefault(kind, [])
        if len(lines) < self._limit:
            lines.append(line)
        else:
            self._left_out[kind] = self._left_out.get(kind, 0) + 1

    def raise_any(self) -> None:
        """Raise `DataError` with all lines if there are any."""
        lines = []
        for kind, found in self._lines.items():
            lines += found
            if kind in self._left_out:
                lines.append(f"... and {self._left_out[kind]} more of these ({kind})")
        if lines:
            raise DataError(lines)


@dataclass
class Column:
    """One column: numbers with NaN where a cell is missing, or codes into levels with -1 there.

    `unreadable` are the rows whose cell is no number where one belongs: not missing, but NaN too.
    """

    name: str
    numeric: bool
    values: np.ndarray
    levels: list[str] = field(default_factory=list)
    unreadable: list[int] = field(default_factory=list)

    def texts(self) -> np.ndarray:
        """The cells of a categorical column as text; missing ones are empty."""
        return np.array([*self.levels, ""], dtype=object)[self.values]

    @property
    def missing(self) -> np.ndarray:
        """Which rows have no value."""
        if not self.numeric:
            return self.values < 0
        missing = np.isnan(self.values)
        missing[self.unreadable] = False
        return missing


@dataclass
class Table:
    """The columns of a file, all names in its header, and the line on which each row ends."""

    path: Path
    columns: dict[str, Column]
    header: list[str]
    lines: np.ndarray

    def __len__(self) -> int:
        return len(self.lines)

    def where(self, row: int) -> str:
        """``file:line`` of a row."""
        return f"{self.path}:{self.lines[row]}"


def sniff_delimiter(lines: Sequence[str]) -> str:
    r"""The delimiter that splits the first lines into the most columns, equally many on each.

    >>> sniff_delimiter(["a;b;c", "1,5;2;3"]), sniff_delimiter(["a\tb", "1\t2"])
    (';', '\t')
    >>> sniff_delimiter(["only", "1"])
    ','
    """

    def merit(delimiter: str) -> tuple[float, int]:
        widths = [len(row) for row in csv.reader(lines, delimiter=delimiter) if row]
        if not widths or widths[0] == 1:
            return 0.0, 0
        return sum(width == widths[0] for width in widths) / len(widths), widths[0]

    return max(DELIMITERS, key=merit)


def read_csv(
    path: Path,
    *,
    delimiter: str | None = None,
    decimal: str = ".",
    numeric: Sequence[str] = (),
    categorical: Sequence[str] = (),
    only: Sequence[str] | None = None,
    problems: Problems | None = None,
) -> Table:
    """Read a CSV file with a header line.

    A column is numeric if it is named so, or if most of its first cells are numbers; then every
    other cell must be a number or missing.

    Args:
        path: the file: UTF-8, with or without a byte order mark, any line ends.
        delimiter: between cells; found from the first lines if None.
        decimal: the decimal sign, ``.`` or ``,``.
        numeric, categorical: columns whose kind is given.
        only: names of the columns to keep, None for all; names that the file lacks are passed over.
        problems: collects wrong rows and cells, which the caller then raises together with what
            else is wrong; None: they are raised here.

    Raises:
        DataError: with a line per problem: unreadable, empty or ragged file, duplicate or missing
            column names, text or infinity where numbers belong.
    """
    found = Problems() if problems is None else problems
    if delimiter is not None and (len(delimiter) != 1 or delimiter in '"\r\n'):
        raise DataError(f"data.delimiter: got {delimiter!r}, expected a single sign such as , or ;")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            head = [line[:SNIFFED_CHARACTERS] for line in islice(file, 50)]
            file.seek(0)
            reader = csv.reader(file, delimiter=delimiter or sniff_delimiter(head))
            header = _header(path, reader, found)
            builders = {
                position: _Builder(name, _kind(name, numeric, categorical), decimal)
                for position, name in enumerate(header)
                if only is None or name in only
            }
            lines = _fill(path, reader, len(header), builders, found)
    except UnicodeDecodeError as error:
        raise DataError(f"{path}:{_line_of_bad_byte(path)}: not UTF-8 ({error.reason})") from None
    except csv.Error as error:
        raise DataError(f"{path}:{reader.line_num}: {error}") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    if not len(lines):
        found.add("rows", f"{path}: no rows under the header")
    if problems is None or not len(lines):
        found.raise_any()
    return Table(path, {b.name: b.column() for b in builders.values()}, header, lines)


def _kind(name: str, numeric: Sequence[str], categorical: Sequence[str]) -> bool | None:
    return True if name in numeric else False if name in categorical else None


def _header(path: Path, reader: Iterator[list[str]], problems: Problems) -> list[str]:
    header = next((row for row in reader if row), None)
    if header is None:
        raise DataError(f"{path}: the file is empty; expected a header line with column names")
    names = [name.strip() for name in header]
    for name in dict.fromkeys(n for n in names if n and names.count(n) > 1):
        places = ", ".join(str(i + 1) for i, other in enumerate(names) if other == name)
        problems.add("header", f"{path}:1: column name {name!r} occurs twice (columns {places})")
    for position, name in enumerate(names, 1):
        if not name:
            message = (
                f"{path}:1: column {position} has no name; give it one, or leave the column out"
            )
            problems.add("header", f"{message} (pandas: index=False)")
    problems.raise_any()
    return names


def _fill(
    path: Path,
    reader: Any,
    width: int,
    builders: dict[int, _Builder],
    problems: Problems,
) -> np.ndarray:
    """Feed the rows to the columns chunk by chunk; return the line number of each row."""
    all_lines: list[np.ndarray] = []
    while True:
        rows, lines, started = [], [], reader.line_num
        for row in islice(reader, CHUNK_ROWS):
            if len(row) == width:
                rows.append(row)
                lines.append(reader.line_num)
            elif row:
                where = f"{path}:{reader.line_num}"
                problems.add("ragged", f"{where}: {len(row)} cells, expected {width}")
        if reader.line_num == started:
            return np.concatenate(all_lines) if all_lines else np.empty(0, np.int64)
        if rows:
            cells = list(zip(*rows, strict=True))
            for position, builder in builders.items():
                builder.add(cells[position], path, lines, problems)
            all_lines.append(np.array(lines, np.int64))


def _line_of_bad_byte(path: Path) -> int:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                return number
    return number


class _Builder:
    """Grows one column from chunks of cells."""

    def __init__(self, name: str, numeric: bool | None, decimal: str) -> None:
        self.name = name
        self.numeric = numeric
        self.given = numeric is not None
        self.decimal = decimal
        self.chunks: list[np.ndarray] = []
        self.unreadable: list[int] = []
        self.codes: dict[str, int] = {}

    def add(
        self, cells: Sequence[str], path: Path, lines: Sequence[int], problems: Problems
    ) -> None:
        if self.numeric is None:
            self.numeric = self._mostly_numbers(cells)
        if self.numeric:
            self.chunks.append(self._numbers(cells, path, lines, problems))
        else:
            self.chunks.append(self._codes(cells))

    def column(self) -> Column:
        """The finished column."""
        empty = np.empty(0, np.float64 if self.numeric else np.int32)
        values = np.concatenate(self.chunks) if self.chunks else empty
        return Column(self.name, bool(self.numeric), values, list(self.codes), self.unreadable)

    def _mostly_numbers(self, cells: Sequence[str]) -> bool:
        """Whether more than half of the cells that have a value are numbers."""
        counts = [0, 0]
        for cell in cells:
            if cell.strip().lower() not in MISSING_NUMBERS:
                counts[self._number(cell) is not None] += 1
        return counts[1] > counts[0] or counts == [0, 0]

    def _number(self, cell: str) -> float | None:
        text = cell.replace(",", ".") if self.decimal == "," else cell
        if "_" in text:  # float() reads 1_000, which is no number in a data file
            return None
        try:
            return float(text)
        except ValueError:
            return None

    def _numbers(
        self, cells: Sequence[str], path: Path, lines: Sequence[int], problems: Problems
    ) -> np.ndarray:
        values, before = np.empty(len(cells)), sum(map(len, self.chunks))
        for i, cell in enumerate(cells):
            number = self._number(cell)
            if number is None:
                number = np.nan
                if cell.strip().lower() not in MISSING_NUMBERS:
                    self._complain(f"{path}:{lines[i]}", cell, problems)
                    self.unreadable.append(before + i)
            elif number in (np.inf, -np.inf):
                problems.add(
                    "infinite numbers",
                    f"{path}:{lines[i]}: column {self.name!r}: {cell.strip()!r} is not finite",
                )
            values[i] = number
        return values

    def _complain(self, where: str, cell: str, problems: Problems) -> None:
        text = cell.strip() if len(cell) < 40 else cell.strip()[:37] + "..."
        hint = "" if self.given else f" (a column of texts? categorical_columns: [{self.name}])"
        message = f"{where}: column {self.name!r}: {text!r} is not a number{hint}"
        problems.add("text where numbers belong", message)

    def _codes(self, cells: Sequence[str]) -> np.ndarray:
        codes = self.codes
        stripped = (cell.strip() for cell in cells)
        return np.fromiter(
            (-1 if text in MISSING else codes.setdefault(text, len(codes)) for text in stripped),
            np.int32,
            len(cells),
        )
