"""Tables larger than memory: CSV files turned once into a binary file, which is read by rows.

The file is kept in the user's cache folder (NNAD_CACHE_DIR) under a key of the CSV files' places,
sizes and times, so that another run, another process or a resumed run finds it.  It holds a record
a row: the numbers, then the codes of the categories.  Nothing in it is executed, and one that is
not as its description says is made again.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from nnad.compiler.cache import cache_folder
from nnad.data.cells import CsvReader, Problems
from nnad.data.dataset import Features
from nnad.data.lazy import FileRows, LazyRows
from nnad.data.table import Column, label_of
from nnad.errors import DataError

try:
    import fcntl
except ImportError:  # a system without flock: two processes may then do the same work
    fcntl = None  # type: ignore[assignment]

__all__ = ["StoredTable", "stored_csv"]

FORMAT = 2
MOST_LEVELS = 2**20
BLOCK_BYTES = 16 * 2**20  # read at once where all rows are
DESCRIPTION, ROWS = "table.json", "rows.bin"


@dataclass
class StoredColumn(Column):
    """A column in a file.

    Attributes:
        place: its position among the numbers, or among the codes, of a record.
        low, high: the least and the largest number; 0 for texts.
    """

    place: int = 0
    low: float = 0.0
    high: float = 0.0


@dataclass
class StoredTable:
    """Columns in a file; see `nnad.data.table.Table`.

    Attributes:
        label: what messages call it.
        header: all names in the header, also of columns that were not kept.
        columns: those that were kept, by name.
        file: the records; none where something is wrong with them, which is then raised.
    """

    label: str
    header: list[str]
    columns: dict[str, StoredColumn]
    file: FileRows

    def __len__(self) -> int:
        return len(self.file)

    def values(self, name: str) -> np.ndarray:
        """A whole column, in memory."""
        column = self.columns[name]
        part = "numbers" if column.numeric else "codes"
        found = np.empty(len(self), self.file.dtype[part].base)
        step = max(1, BLOCK_BYTES // self.file.dtype.itemsize)
        for start in range(0, len(self), step):
            records = self.file[start : start + step]
            found[start : start + step] = records[part][:, column.place]
        return found

    def features(self, inputs: Sequence[str]) -> Features:
        """The named columns as inputs, read when they are asked for."""
        rows = StoredFeatures(self.file, [self.columns[name] for name in inputs])
        return Features(
            LazyRows(rows, transform=lambda part: part.numeric),
            LazyRows(rows, transform=lambda part: part.codes) if rows.categorical else None,
            [column.levels for column in rows.categorical],
            [column.name for column in rows.numeric],
            [column.name for column in rows.categorical],
            together=rows,
            extremes=np.array([[c.low for c in rows.numeric], [c.high for c in rows.numeric]]),
        )


class StoredFeatures:
    """Some columns of a file of records: indexed by rows, it gives `Features` in memory."""

    def __init__(self, file: FileRows, columns: Sequence[StoredColumn]) -> None:
        self.file = file
        self.row_bytes = file.row_bytes
        self.numeric = [column for column in columns if column.numeric]
        self.categorical = [column for column in columns if not column.numeric]
        self._numbers = [column.place for column in self.numeric]
        self._codes = [column.place for column in self.categorical]

    def __len__(self) -> int:
        return len(self.file)

    def __getitem__(self, key: slice | np.ndarray) -> Features:
        records = self.file[key]
        return Features(
            records["numbers"][:, self._numbers],
            records["codes"][:, self._codes] if self._codes else None,
            [column.levels for column in self.categorical],
            [column.name for column in self.numeric],
            [column.name for column in self.categorical],
        )


def stored_csv(paths: Sequence[Path], problems: Problems, key: str, **reading: Any) -> StoredTable:
    """CSV files with the same header as a table that stays on disk.

    Args:
        paths: the files.
        problems: collects wrong rows and cells; where there are any, they are all that is kept.
        key: tells apart what `reading` asks for.
        reading: arguments of `CsvReader`.

    Raises:
        DataError: a file cannot be read, or the cache folder cannot be written.
    """
    states = [state_of(path) for path in paths]
    where, content = digest([state[0] for state in states]), digest(states)
    folder = cache_folder() / "tables"
    entry = folder / f"{where}-{content}-{digest([FORMAT, key])}"
    with telling_of(folder):
        # Entries appear whole: one that is there needs no lock, nor a folder that can be written.
        found = opened(entry, label_of(paths), problems)
        if found is not None:
            return found
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / f"{where}.lock"):
            found = opened(entry, label_of(paths), problems)
            if found is not None:
                return found
            shutil.rmtree(entry, ignore_errors=True)  # only here: without the lock it may be new
            remove_old(folder, where, f"{where}-{content}")
            found = convert(entry, paths, problems, reading)
            if states != [state_of(path) for path in paths]:
                shutil.rmtree(entry, ignore_errors=True)
                raise DataError(f"{label_of(paths)}: was changed while it was read; try again")
            return found


def convert(
    entry: Path, paths: Sequence[Path], problems: Problems, reading: Mapping[str, Any]
) -> StoredTable:
    """Read the files and write the entry, whole or not at all."""
    temporary = entry.with_name(f".{entry.name}")
    temporary.mkdir()
    try:
        reader = CsvReader(paths, problems, most_levels=MOST_LEVELS, **reading)
        with (temporary / ROWS).open("wb") as file:
            rows = write_rows(file, reader, problems)
            file.flush()
            os.fsync(file.fileno())
        if problems:
            rows = 0
            (temporary / ROWS).write_bytes(b"")
        description = {
            "header": reader.header,
            "rows": rows,
            "columns": [asdict(column) for column in columns_of(reader)],
            "problems": problems.to_state(),
        }
        (temporary / DESCRIPTION).write_text(json.dumps(description), encoding="utf-8")
        os.replace(temporary, entry)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    found = opened(entry, label_of(paths), Problems())
    assert found is not None
    return found


def write_rows(file: BinaryIO, reader: CsvReader, problems: Problems) -> int:
    """Write a record for each row, as long as all is well; returns how many there are."""
    rows = 0
    for chunk in shown(reader.chunks()):
        size = len(next(iter(chunk.values()), ()))
        rows += size
        if problems or not size:
            continue
        columns = columns_of(reader)
        records = np.empty(size, record_of(columns))
        for column, values in zip(columns, chunk.values(), strict=True):
            records["numbers" if column.numeric else "codes"][:, column.place] = values
        file.write(records.view(np.uint8).data)
    return rows


def columns_of(reader: CsvReader) -> list[StoredColumn]:
    """What is known of the columns so far, each with its place in a record."""
    counts = {True: 0, False: 0}
    columns = []
    for builder in reader.builders.values():
        column = StoredColumn.of(builder)
        column.place = counts[column.numeric]
        counts[column.numeric] += 1
        if builder.low <= builder.high:
            column.low, column.high = builder.low, builder.high
        columns.append(column)
    return columns


def record_of(columns: Sequence[StoredColumn]) -> np.dtype:
    """The numbers of a row, then its codes."""
    numbers = sum(column.numeric for column in columns)
    return np.dtype([("numbers", "<f8", (numbers,)), ("codes", "<i4", (len(columns) - numbers,))])


def opened(entry: Path, label: str, problems: Problems) -> StoredTable | None:
    """The table of an entry; None if it is not whole.

    What was wrong with the files, which need not be read again for that, is added to `problems`.
    """
    try:
        told = json.loads((entry / DESCRIPTION).read_text(encoding="utf-8"))
        columns = [StoredColumn(**column) for column in told["columns"]]
        rows, record = int(told["rows"]), record_of(columns)
        if (entry / ROWS).stat().st_size != rows * record.itemsize:
            raise ValueError("cut off")
        file = FileRows(entry / ROWS, record, (rows,))
        problems.take(told["problems"])
        return StoredTable(label, told["header"], {c.name: c for c in columns}, file)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def remove_old(folder: Path, where: str, current: str) -> None:
    """Remove what was made of earlier versions of the same files, or left by a process killed."""
    for other in folder.iterdir():
        if other.name.startswith(f".{where}-") or (
            other.name.startswith(f"{where}-") and not other.name.startswith(current)
        ):
            shutil.rmtree(other, ignore_errors=True)


def state_of(path: Path) -> tuple[str, int, int, int]:
    """What changes when a file does: its place, size and times."""
    state = path.stat()
    return str(path.resolve()), state.st_size, state.st_mtime_ns, state.st_ctime_ns


def digest(what: Any) -> str:
    """A name for anything that JSON knows."""
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()[:16]


def shown(chunks: Iterator[dict[int, np.ndarray]]) -> Iterator[dict[int, np.ndarray]]:
    """The same chunks; on a terminal it is told how many rows there were, since it takes long."""
    if sys.stderr is None or not sys.stderr.isatty():
        yield from chunks
        return
    from tqdm import tqdm

    with tqdm(desc="reading the table once", unit="row", unit_scale=True, leave=False) as bar:
        for chunk in chunks:
            yield chunk
            bar.update(len(next(iter(chunk.values()), ())))


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Within, no other process makes the same entries: it waits, and finds them made."""
    with path.open("a") as file:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def telling_of(folder: Path) -> Iterator[None]:
    """Within, a cache folder that cannot be written is a problem of the user's."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        reason = (
            "the disk is full; free some space, or"
            if full
            else f"the system says: {error.strerror};"
        )
        raise DataError(
            f"{error.filename or folder}: a table larger than memory is kept there in a form that "
            f"is read by rows, but {reason} name another folder that can be written by the "
            "environment variable NNAD_CACHE_DIR"
        ) from error
