"""Tables in memory: the columns of CSV files, and the inputs made of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np

from nnad.data.cells import Builder, CsvReader, Problems
from nnad.data.dataset import Features

__all__ = ["Column", "Table", "read_csv", "tables_of"]


@dataclass
class Column:
    """One column: numbers with NaN where a cell is missing, or codes into levels with -1 there.

    Attributes:
        name: in the header.
        numeric: whether it holds numbers.
        levels: the texts that occur.
        gaps: ``file:line`` of the first missing cells.
        gap_count: how many cells are missing.
    """

    name: str
    numeric: bool
    levels: list[str] = field(default_factory=list)
    gaps: list[str] = field(default_factory=list)
    gap_count: int = 0

    @classmethod
    def of(cls, builder: Builder) -> Self:
        """What a builder knows at its end."""
        made = (bool(builder.numeric), list(builder.levels), builder.gaps, builder.gap_count)
        return cls(builder.name, *made)

    def refuse_gaps(self, kind: str, what: str, problems: Problems) -> None:
        """Add a problem for each missing cell: where it is, and `what`."""
        lines = [f"{place}: column {self.name!r} {what}" for place in self.gaps]
        problems.add_some(kind, lines, self.gap_count)


@dataclass
class Table:
    """The columns of one or several files.

    Attributes:
        label: what messages call it.
        header: all names in the header, also of columns that were not kept.
        columns: those that were kept, by name.
        arrays: the values of each column.
        rows: their number.
    """

    label: str
    header: list[str]
    columns: dict[str, Column]
    arrays: dict[str, np.ndarray]
    rows: int

    def __len__(self) -> int:
        return self.rows

    def values(self, name: str) -> np.ndarray:
        """A whole column."""
        return self.arrays[name]

    def features(self, inputs: Sequence[str]) -> Features:
        """The named columns as inputs: numbers in one array, categories in another."""
        numeric = [name for name in inputs if self.columns[name].numeric]
        categorical = [name for name in inputs if not self.columns[name].numeric]
        numbers = [self.arrays[name] for name in numeric]
        codes = [self.arrays[name] for name in categorical]
        return Features(
            np.column_stack(numbers) if numbers else np.empty((self.rows, 0)),
            np.column_stack(codes) if codes else None,
            [self.columns[name].levels for name in categorical],
            numeric,
            categorical,
        )


def read_csv(
    paths: Path | Sequence[Path],
    *,
    delimiter: str | None = None,
    decimal: str = ".",
    numeric: Sequence[str] = (),
    categorical: Sequence[str] = (),
    wanted: Callable[[Sequence[str]], Collection[str]] | None = None,
    problems: Problems | None = None,
) -> Table:
    """Read CSV files with the same header line into memory.

    Args:
        paths: the files, or a single one.
        delimiter, decimal, numeric, categorical, wanted: see `nnad.data.cells.CsvReader`; names
            that the file lacks are passed over.
        problems: collects wrong rows and cells, which the caller then raises together with what
            else is wrong; None: they are raised here.

    Raises:
        DataError: with a line per problem: unreadable, empty or ragged file, duplicate or missing
            column names, text or infinity where numbers belong.
    """
    files = [paths] if isinstance(paths, Path) else list(paths)
    found = Problems() if problems is None else problems
    reader = CsvReader(
        files,
        found,
        delimiter=delimiter,
        decimal=decimal,
        numeric=numeric,
        categorical=categorical,
        wanted=wanted,
    )
    chunks = list(reader.chunks())
    if problems is None:
        found.raise_any()
    return _table(reader, chunks)


def tables_of(reader: CsvReader, rows: int) -> Iterator[Table]:
    """The rows of CSV files as tables, each of `rows` of them but the last."""
    chunks: list[dict[int, np.ndarray]] = []
    count = 0
    for chunk in reader.chunks():
        size = _rows_in(chunk)
        begin = 0
        while count + size - begin >= rows:
            end = begin + rows - count
            yield _table(reader, [*chunks, _cut(chunk, begin, end)])
            chunks, count, begin = [], 0, end
        if begin < size:
            chunks.append(_cut(chunk, begin, size))
            count += size - begin
    if chunks:
        yield _table(reader, chunks)


def _table(reader: CsvReader, chunks: Sequence[dict[int, np.ndarray]]) -> Table:
    """Some of the rows that were read, as a table."""
    values = {
        builder.name: np.concatenate([chunk[position] for chunk in chunks])
        for position, builder in reader.builders.items()
    }
    columns = {b.name: Column.of(b) for b in reader.builders.values()}
    return Table(label_of(reader.paths), reader.header, columns, values, _rows_in(values))


def _rows_in(columns: Mapping[Any, np.ndarray]) -> int:
    return len(next(iter(columns.values()), ()))


def _cut(chunk: dict[int, np.ndarray], begin: int, end: int) -> dict[int, np.ndarray]:
    return {position: column[begin:end] for position, column in chunk.items()}


def label_of(paths: Sequence[Path]) -> str:
    """What messages call some files."""
    return str(paths[0]) if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more"
