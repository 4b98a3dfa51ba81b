"""Columns of sensor readings from CSV and Parquet files; what cannot be used is named by file, row and column."""

import csv
import difflib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from skerry.errors import MissingDependencyError, TaskError

__all__ = ["Columns", "find_files", "header", "read_columns"]

_DELIMITERS = ",;\t"


@dataclass(frozen=True)
class Columns:
    """Chosen columns of one file, row by row.

    Attributes:
        text: by name, ``(rows,)`` of ``str``; empty where there is no value.
        numbers: ``(rows, channels)`` float32, all finite.
        times: ``(rows,)`` float64 seconds or the file's own unit; None when no time column was asked for.
    """

    text: dict[str, list[str]]
    numbers: npt.NDArray[np.float32]
    times: npt.NDArray[np.float64] | None


def find_files(root: Path) -> list[Path]:
    """The file itself, or the folder's CSV and Parquet files in order.

    Raises:
        TaskError: there is none.
    """
    if root.is_dir():
        found = sorted(p for p in root.iterdir() if p.suffix.lower() in {".csv", ".parquet"} and p.is_file())
        if not found:
            raise TaskError("there is no .csv or .parquet file in this folder", where=str(root), mend=_CHECK_ROOT)
        return found
    if not root.is_file():
        raise TaskError("the file does not exist", where=str(root), mend=_CHECK_ROOT)
    if root.suffix.lower() not in {".csv", ".parquet"}:
        raise TaskError("this is neither a .csv nor a .parquet file", where=str(root), mend=_CHECK_ROOT)
    return [root]


def header(path: Path) -> list[str]:
    """Names of a file's columns."""
    return list(_parquet_schema(path)) if _is_parquet(path) else _csv_rows(path)[0]


def read_columns(path: Path, *, text: Sequence[str], numbers: Sequence[str], time: str | None) -> Columns:
    """Read the named columns.

    Args:
        path: a CSV file in UTF-8 with a header (``,``, ``;`` or tab between values), or a Parquet file.
        text: columns of names.
        numbers: columns of readings.
        time: a column of numbers, or of dates in ISO 8601.

    Raises:
        TaskError: a column is missing, a reading is no finite number, or the file is damaged; says where.
        MissingDependencyError: Parquet without pyarrow.
    """
    wanted = [*dict.fromkeys([*text, *numbers, *([time] if time else [])])]
    table = _read_parquet(path, wanted) if _is_parquet(path) else _read_csv(path, wanted)
    rows = len(next(iter(table.values())))
    if not rows:
        raise TaskError("the file has no rows", where=str(path), mend="remove it, or fill it")
    readings = np.empty((rows, len(numbers)), np.float32)
    for i, name in enumerate(numbers):
        readings[:, i] = _finite(table[name], path, name)
    return Columns({n: _text(table[n]) for n in text}, readings, _times(table[time], path, time) if time else None)


def _missing(name: str, columns: Sequence[str], path: Path) -> TaskError:
    near = difflib.get_close_matches(name, columns, n=1, cutoff=0.5)
    listed = ", ".join(columns[:12]) + (", …" if len(columns) > 12 else "")
    return TaskError(
        f"there is no column {name!r}",
        where=str(path),
        mend=f"did you mean {near[0]!r}? " * bool(near) + f"The columns are: {listed}",
    )


# --- values


def _finite(values: Sequence[Any], path: Path, name: str) -> npt.NDArray[np.float64]:
    try:
        numbers = np.asarray(values, np.float64)
    except (ValueError, TypeError):
        row = next(i for i, value in enumerate(values) if not _is_number(value))
        shown = str(values[row])
        what = f"{shown!r} is not a number" if shown.strip() else "a value is missing"
        raise TaskError(
            f"{what} in column {name!r}",
            where=_row(path, row),
            mend=f"{_FILL}, or leave the column out of task.columns",
        ) from None
    bad = np.flatnonzero(~np.isfinite(numbers))
    if len(bad):
        raise TaskError(
            f"{numbers[bad[0]]} in column {name!r}" + (f", and {len(bad) - 1:,} more" if len(bad) > 1 else ""),
            where=_row(path, int(bad[0])),
            mend=_FILL,
        )
    return numbers


def _times(values: Sequence[Any], path: Path, name: str) -> npt.NDArray[np.float64]:
    array = np.asarray(values)
    if array.dtype.kind == "M":
        return (array - np.datetime64(0, "s")) / np.timedelta64(1, "s")
    if _is_number(values[0]):
        return _finite(values, path, name)
    seconds = np.empty(len(values), np.float64)
    for row, value in enumerate(values):
        try:
            moment = datetime.fromisoformat(str(value).strip())
        except ValueError:
            raise TaskError(
                f"{str(value)!r} in column {name!r} is neither a number nor a date in ISO 8601",
                where=_row(path, row),
                mend="mend the time column, or name another in task.time_column",
            ) from None
        seconds[row] = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    return seconds


def _text(values: Sequence[Any]) -> list[str]:
    found = []
    for value in values:
        if value is None or value != value:  # noqa: PLR0124 - a NaN is how Parquet readers mark an absent label
            found.append("")
        elif isinstance(value, float) and value.is_integer():
            found.append(str(int(value)))
        else:
            found.append(str(value).strip())
    return found


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (ValueError, TypeError):
        return False
    return True


def _row(path: Path, row: int) -> str:
    """The first row under the header is row 1."""
    return f"{path}, row {row + 1}"


# --- CSV


def _csv_rows(path: Path) -> list[list[str]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
        first = text.partition("\n")[0]
        delimiter = max(_DELIMITERS, key=first.count)
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TaskError(
            f"the CSV file cannot be read: {error}", where=str(path), mend="save it as UTF-8 CSV"
        ) from error
    while rows and not rows[-1]:
        rows.pop()  # blank lines at the end
    if not rows:
        raise TaskError("the file is empty", where=str(path), mend="remove it, or fill it")
    names = [name.strip() for name in rows[0]]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise TaskError(f"two columns are called {twice!r}", where=str(path), mend="rename one")
    return [names, *rows[1:]]


def _read_csv(path: Path, wanted: Sequence[str]) -> dict[str, Sequence[Any]]:
    names, *rows = _csv_rows(path)
    for number, row in enumerate(rows):
        if len(row) != len(names):
            raise TaskError(
                f"{len(row)} values where the header names {len(names)} columns",
                where=_row(path, number),
                mend="the file may be cut short; mend or remove that row",
            )
    for name in wanted:
        if name not in names:
            raise _missing(name, names, path)
    return {name: [row[names.index(name)] for row in rows] for name in wanted}


# --- Parquet


def _is_parquet(path: Path) -> bool:
    return path.suffix.lower() == ".parquet"


def _pyarrow() -> Any:
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise MissingDependencyError(
            "reading Parquet needs pyarrow", where="task windows", mend="pip install 'skerry[parquet]'"
        ) from error
    return parquet


def _parquet_schema(path: Path) -> list[str]:
    parquet = _pyarrow()
    try:
        names: list[str] = parquet.read_schema(path).names
    except (OSError, ValueError) as error:  # pyarrow's own errors derive from these
        raise TaskError(f"the Parquet file cannot be read: {error}", where=str(path), mend=_AGAIN) from error
    return names


def _read_parquet(path: Path, wanted: Sequence[str]) -> dict[str, Sequence[Any]]:
    names = _parquet_schema(path)
    for name in wanted:
        if name not in names:
            raise _missing(name, names, path)
    try:
        table = _pyarrow().read_table(path, columns=list(wanted))
        return {name: table.column(name).to_numpy(zero_copy_only=False) for name in wanted}
    except (OSError, ValueError) as error:
        raise TaskError(f"the Parquet file cannot be read: {error}", where=str(path), mend=_AGAIN) from error


_FILL = "fill the gap (by interpolation, say) or remove the rows"
_AGAIN = "write it again; it may be cut short"
_CHECK_ROOT = "check task.root"
