"""Text cells of CSV files as numbers and categories, chunk by chunk, every problem named by line.

Several files with the same header are read as one.  A chunk is turned into numbers (8 bytes a cell)
or codes of categories (4 bytes a cell) before the next one is read, so the text of a large file is
never in memory as a whole.
"""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from nnad.errors import DataError
from nnad.files import ordinary

__all__ = ["Builder", "CsvReader", "Problems", "sniff_delimiter"]

CHUNK_ROWS = 20_000
FIRST_CELLS = 2**19  # of the chunk that decides which columns are numeric
CHUNK_CELLS = 2**15  # few enough that their texts stay in the processor's cache
SNIFFED_CHARACTERS = 100_000  # of a line; the csv module refuses cells longer than 131,072
LONGEST_LINE = 2**24  # characters
DELIMITERS = ",;\t|"
# What stands for an empty cell (as in pandas, and "?"); among numbers in any case of letters.
MISSING = frozenset(
    "|#N/A|#NA|-NaN|-nan|<NA>|N/A|NA|NULL|NaN|None|n/a|nan|null|?".split("|")  # noqa: SIM905
)
MISSING_NUMBERS = frozenset(text.lower() for text in MISSING)
ESCAPED = re.compile(r'[^"]*(?:""[^"]*)*')  # up to the quote that closes a cell
TOLD = 50  # problems of a kind


class Problems:
    """Collects problems, of each kind at most a number of them, and raises them all at once."""

    def __init__(self, limit: int = TOLD) -> None:
        self._lines: dict[str, list[str]] = {}
        self._left_out: dict[str, int] = {}
        self._limit = limit

    def __bool__(self) -> bool:
        return bool(self._lines)

    def add(self, kind: str, line: str) -> None:
        """Add a line of text; lines of a kind beyond the limit are only counted."""
        self.add_some(kind, [line], 1)

    def add_some(self, kind: str, lines: Sequence[str], total: int) -> None:
        """Add the first `lines` of `total` problems of a kind."""
        if not total:
            return
        told = self._lines.setdefault(kind, [])
        room = self._limit - len(told)
        told += lines[:room]
        left_out = total - min(room, len(lines))
        if left_out:
            self._left_out[kind] = self._left_out.get(kind, 0) + left_out

    def to_state(self) -> list[dict[str, Any]]:
        """What was collected, as plain JSON values."""
        return [self._lines, self._left_out]

    def take(self, state: Sequence[Mapping[str, Any]]) -> None:
        """Add what `to_state` returned."""
        lines, left_out = state
        for kind, found in lines.items():
            self.add_some(kind, found, len(found) + left_out.get(kind, 0))

    def raise_any(self) -> None:
        """Raise `DataError` with all lines if there are any."""
        lines = []
        for kind, found in self._lines.items():
            lines += found
            if kind in self._left_out:
                lines.append(f"... and {self._left_out[kind]} more of these ({kind})")
        if lines:
            raise DataError(lines)


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


class CsvReader:
    """Reads CSV files with a header line, the same in all, as one table.

    A column is numeric if it is named so, or if most of the cells of the first chunk are numbers;
    then every other cell must be a number or missing.  A column of texts in one file and of numbers
    in a later one is refused, unless its kind is given.

    Args:
        paths: the files: UTF-8, with or without a byte order mark, any line ends.
        problems: collects wrong rows and cells.
        delimiter: between cells; found from the first lines if None.
        decimal: the decimal sign, ``.`` or ``,``.
        numeric, categorical: columns whose kind is given.
        wanted: from the names of all columns those to keep; None for all.
        most_levels: how many different texts a column may have.

    Attributes:
        header: all names, once the first file is open.
        builders: what makes each column, by its position in the header.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        problems: Problems,
        *,
        delimiter: str | None = None,
        decimal: str = ".",
        numeric: Sequence[str] = (),
        categorical: Sequence[str] = (),
        wanted: Callable[[Sequence[str]], Collection[str]] | None = None,
        most_levels: int | None = None,
    ) -> None:
        if delimiter is not None and (len(delimiter) != 1 or delimiter in '"\r\n'):
            raise DataError(
                f"data.delimiter: got {delimiter!r}, expected a single sign such as , or ;"
            )
        self.paths = list(paths)
        self.problems = problems
        self.delimiter = delimiter
        self.decimal = decimal
        self.kinds = {**dict.fromkeys(categorical, False), **dict.fromkeys(numeric, True)}
        self.wanted = wanted
        self.most_levels = most_levels
        self.header: list[str] = []
        self.builders: dict[int, Builder] = {}
        self._underscores = False  # whether there was one in any line
        self._last = ""  # the line read last
        self._line = 1  # where the record that is read starts: one in quotes may go on for many

    def chunks(self) -> Iterator[dict[int, np.ndarray]]:
        """Some rows after the other, as the columns that are kept by their position.

        Raises:
            DataError: a file cannot be read, is empty or not UTF-8, or its header is wrong.
        """
        rows = 0
        for path in self.paths:
            self._line = 1
            reader: Any = None
            try:
                with open(path, encoding="utf-8-sig", newline="", opener=ordinary) as file:
                    delimiter = self._delimiter_of(file)
                    reader = csv.reader(self._lines_of(file), delimiter=delimiter)
                    if self._take_header(path, reader):
                        for chunk in self._chunks_of(path, reader):
                            rows += len(next(iter(chunk.values()), ()))
                            yield chunk
            except UnicodeDecodeError as error:
                raise DataError(not_utf8(path, error.reason)) from None
            except csv.Error as error:
                where = f"{path}:{self._line}"
                raise DataError(f"{where}: {error}{quote_hint(self._line, reader)}") from None
            except OSError as error:
                raise DataError(f"{path}: cannot be read: {error.strerror}") from None
        if not rows and self.builders:
            self.problems.add("rows", f"{self.paths[0]}: no rows under the header")
            self.problems.raise_any()

    def _delimiter_of(self, file: TextIO) -> str:
        if self.delimiter is None:
            head = [line[:SNIFFED_CHARACTERS] for line in islice(self._lines_of(file), 50)]
            file.seek(0)
            self.delimiter = sniff_delimiter(head)
        return self.delimiter

    def _lines_of(self, file: TextIO) -> Iterator[str]:
        """The lines of a file, none of which takes all memory."""
        number = 1
        while line := file.readline(LONGEST_LINE):
            if len(line) == LONGEST_LINE and line[-1] not in "\r\n":
                raise DataError(
                    f"{file.name}:{number}: a line of more than {LONGEST_LINE:,} characters"
                )
            self._underscores = self._underscores or "_" in line
            self._last = line
            yield line
            number += 1

    def _take_header(self, path: Path, reader: Iterator[list[str]]) -> bool:
        """Read the header; whether the rows under it can be taken."""
        names = header_of(path, reader)
        if not self.header:
            self.header = names
            kept = set(names) if self.wanted is None else set(self.wanted(names))
            self.builders = {
                position: Builder(name, self.kinds.get(name), self.decimal, self.most_levels)
                for position, name in enumerate(names)
                if name in kept
            }
        elif names != self.header:
            odd = [f"{a!r} for {b!r}" for a, b in zip(names, self.header, strict=False) if a != b]
            what = ", ".join(odd[:3]) or f"{len(names)} columns for {len(self.header)}"
            self.problems.add(
                "headers", f"{path}:1: columns differ from those of {self.paths[0]}: {what}"
            )
        return names == self.header

    def _chunks_of(self, path: Path, reader: Any) -> Iterator[dict[int, np.ndarray]]:
        width = len(self.header)
        self._line = reader.line_num + 1
        while True:
            decided = all(builder.numeric is not None for builder in self.builders.values())
            most = max(1, min(CHUNK_ROWS, (CHUNK_CELLS if decided else FIRST_CELLS) // width))
            rows, lines, started = [], [], reader.line_num
            for row in islice(reader, most):
                if len(row) == width:
                    if reader.line_num > self._line and is_swallowed(self._last, self.delimiter):
                        what = f"a quote is not closed: its cell goes on to line {reader.line_num}"
                        self.problems.add("quotes", f"{path}:{self._line}: {what}")
                    rows.append(row)
                    lines.append(self._line)
                elif row:
                    what = f"{len(row)} cells, expected {width}{quote_hint(self._line, reader)}"
                    self.problems.add("ragged", f"{path}:{self._line}: {what}")
                self._line = reader.line_num + 1
            if reader.line_num == started:
                return
            if rows:
                cells = list(zip(*rows, strict=True))
                yield {
                    position: builder.add(
                        cells[position], path, lines, self.problems, self._underscores
                    )
                    for position, builder in self.builders.items()
                }


def quote_hint(start: int, reader: Any) -> str:
    """What may be wrong with a record that goes on after the line in which it starts."""
    end = reader.line_num
    return f" (it goes on to line {end}: is a quote not closed?)" if end > start else ""


def is_swallowed(line: str, delimiter: str | None) -> bool:
    """Whether a cell in quotes that ends in `line`, or with the file, began with a stray quote.

    What is meant to open a cell of this line closes that one: it stands after a delimiter and
    before a text. No file has that whose quotes are right.
    """
    found = ESCAPED.match(line)
    end = found.end() if found else 0
    before, after = line[end - 1 : end], line[end + 1 : end + 2]
    opens = before in ("", delimiter) and after not in ("", delimiter, "\r", "\n")
    return opens or end == len(line)


def header_of(path: Path, reader: Iterator[list[str]]) -> list[str]:
    """The names in the header line, which are there, and different from each other."""
    header = next((row for row in reader if row), None)
    if header is None:
        raise DataError(f"{path}: the file is empty; expected a header line with column names")
    problems = Problems()
    names = [name.strip() for name in header]
    found: dict[str, list[int]] = {}
    for position, name in enumerate(names, 1):
        found.setdefault(name, []).append(position)
    if len(found) < len(names) and all(map(is_number, names)):
        raise DataError(
            f"{path}:1: expected a header line with column names, got the numbers "
            f"{', '.join(names[:5])}{', ...' if len(names) > 5 else ''}; write a line of different "
            "names above them"
        )
    for name, positions in found.items():
        if name and len(positions) > 1:
            places = ", ".join(map(str, positions[:TOLD]))
            message = f"column name {name!r} occurs twice (columns {places})"
            problems.add("header", f"{path}:1: {message}")
    for position, name in enumerate(names, 1):
        if not name:
            message = (
                f"{path}:1: column {position} has no name; give it one, or leave the column out"
            )
            problems.add("header", f"{message} (pandas: index=False)")
    problems.raise_any()
    return names


NO_TEXT = {  # by the first bytes
    b"\x1f\x8b": "the file is compressed, expected a text: unpack it first (gunzip)",
    b"PK": "an archive or an Excel workbook, expected a text: save it as CSV (Excel: CSV UTF-8)",
}


def is_number(text: str) -> bool:
    """Whether a text is a number rather than a name."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def not_utf8(path: Path, reason: str) -> str:
    """What is wrong with a file that is not UTF-8: where, or which encoding it has."""
    told = f"not UTF-8 ({reason}); save it as UTF-8 (Excel: CSV UTF-8)"
    with open(path, "rb", opener=ordinary) as file:
        start = file.read(2)
        if start in NO_TEXT:
            return f"{path}: {NO_TEXT[start]}"
        if start in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            return (
                f"{path}: the file is UTF-16, expected UTF-8: save it as UTF-8 (Excel: CSV UTF-8) "
                "or convert it (iconv -f UTF-16 -t UTF-8)"
            )
        file.seek(0)
        for number, line in enumerate(file, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                return f"{path}:{number}: {told}"
    return f"{path}: {told}"


class Builder:
    """Turns the cells of one column into numbers, NaN where one is missing, or codes, -1 there.

    Attributes:
        numeric: whether they are numbers; None before the first cells, unless it is given.
        levels: the code of each text.
        gaps: ``file:line`` of the first missing cells.
        gap_count: how many cells are missing.
        low, high: the least and the largest number.
    """

    def __init__(
        self, name: str, numeric: bool | None, decimal: str, most_levels: int | None = None
    ) -> None:
        self.name = name
        self.numeric = numeric
        self.given = numeric is not None
        self.path: Path | None = None  # the file whose cells came last
        self.decimal = decimal
        self.most_levels = most_levels
        self.levels: dict[str, int] = {}
        self.gaps: list[str] = []
        self.gap_count = 0
        self.low, self.high = np.inf, -np.inf

    def add(
        self,
        cells: Sequence[str],
        path: Path,
        lines: Sequence[int],
        problems: Problems,
        underscores: bool = True,
    ) -> np.ndarray:
        """The values of some cells, in which there may be `underscores`."""
        if not self.given and path != self.path:
            self._settle_kind(cells, path, problems)
        values = (
            self._numbers(cells, underscores)
            if self.numeric
            else self._codes(cells, path, problems)
        )
        if not self.numeric:
            self._note_gaps(np.flatnonzero(values < 0), path, lines)
            return values
        odd = np.flatnonzero(~np.isfinite(values))
        if odd.size:
            told = [
                i for i in odd.tolist() if self._complain(cells[i], f"{path}:{lines[i]}", problems)
            ]
            self._note_gaps(np.setdiff1d(odd, told, assume_unique=True), path, lines)
        if len(odd) < len(values):
            self.low = min(self.low, float(np.fmin.reduce(values)))
            self.high = max(self.high, float(np.fmax.reduce(values)))
        return values

    def _note_gaps(self, rows: np.ndarray, path: Path, lines: Sequence[int]) -> None:
        self.gaps += [f"{path}:{lines[i]}" for i in rows[: TOLD - len(self.gaps)]]
        self.gap_count += len(rows)

    def _settle_kind(self, cells: Sequence[str], path: Path, problems: Problems) -> None:
        """Find the kind from the first cells of the first file, and see those of others agree.

        Texts among numbers are told cell by cell; numbers among texts would pass for categories.
        """
        numbers, texts = self._count(cells)
        if self.numeric is None:
            self.numeric = numbers > texts or numbers == texts == 0
        elif not self.numeric and numbers > texts:
            problems.add(
                "kinds",
                f"{path}: column {self.name!r} holds numbers, but texts in the files before: name "
                f"its kind (numeric_columns: [{self.name}] or categorical_columns: [{self.name}])",
            )
        self.path = path

    def _count(self, cells: Sequence[str]) -> tuple[int, int]:
        """How many of the cells that have a value are numbers, and how many are not."""
        odd = np.flatnonzero(np.isnan(self._numbers(cells, underscores=True)))
        texts = sum(cells[i].strip().lower() not in MISSING_NUMBERS for i in odd.tolist())
        return len(cells) - len(odd), texts

    def _number(self, cell: str) -> float:
        """The number in a cell; NaN where there is none."""
        text = cell.replace(",", ".") if self.decimal == "," else cell
        if "_" in text:  # float() reads 1_000, which is no number in a data file
            return np.nan
        try:
            return float(text)
        except ValueError:
            return np.nan

    def _numbers(self, cells: Sequence[str], underscores: bool) -> np.ndarray:
        if self.decimal == "." and not (underscores and "_" in "".join(cells)):
            try:
                return np.fromiter(map(float, cells), np.float64, len(cells))
            except ValueError:
                pass  # some cell is no number
        return np.fromiter(map(self._number, cells), np.float64, len(cells))

    def _complain(self, cell: str, where: str, problems: Problems) -> bool:
        """Tell what is wrong with a cell that is no finite number, unless it is missing."""
        text = cell.strip() if len(cell) < 40 else cell.strip()[:37] + "..."
        if cell.strip().lower() in MISSING_NUMBERS:
            return False
        if not np.isnan(self._number(cell)):
            problems.add(
                "infinite numbers", f"{where}: column {self.name!r}: {text!r} is not finite"
            )
            return True
        hint = "" if self.given else f" (a column of texts? categorical_columns: [{self.name}])"
        message = f"{where}: column {self.name!r}: {text!r} is not a number{hint}"
        problems.add("text where numbers belong", message)
        return True

    def _codes(self, cells: Sequence[str], path: Path, problems: Problems) -> np.ndarray:
        levels = self.levels
        stripped = (cell.strip() for cell in cells)
        codes = np.fromiter(
            (-1 if text in MISSING else levels.setdefault(text, len(levels)) for text in stripped),
            np.int32,
            len(cells),
        )
        if self.most_levels is not None and len(levels) > self.most_levels:
            problems.add(
                "levels",
                f"{path}: column {self.name!r} holds more than {self.most_levels:,} different "
                f"texts; leave it out (data.drop: [{self.name}])",
            )
            problems.raise_any()
        return codes
