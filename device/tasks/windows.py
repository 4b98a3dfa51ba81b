"""Your own time series, without writing Python: CSV or Parquet with a device, a label and sensor readings in each row.

1. *read*: the file ``task.root``, or every ``.csv`` and ``.parquet`` in that folder;
2. *series*: rows of one device, one file and one value of ``task.series_column`` (if named), in the file's order or by
   ``task.time_column``; a series is cut where its label changes;
3. *windows*: ``task.window`` rows, a new one every ``task.stride``, each inside one such piece, so it has one label;
   the network sees the means of ``task.downsample`` rows in a row;
4. *standardise*: ``(value - mean) / scale`` for each channel, by ``task.mean`` and ``task.scale`` as you declare them,
   or by the mean and standard deviation of the public device's readings.

Statistics of the private devices' pooled readings are never used: they would be a release of private data outside every
budget, and in a real federation nobody holds the pool. State what the sensor's data sheet says.

``task.public`` names a device whose windows are public. Without one, calibration uses synthetic windows in the declared
range, with label -1, and there is no first head.
"""

import difflib
import functools
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from skerry.canonical import sha256_hex
from skerry.config import ModelConfig, TaskConfig
from skerry.device.tasks.holdout import held_out
from skerry.device.tasks.series_file import find_files, header, read_columns
from skerry.device.tasks.windowing import cut, downsample, standardise, synthetic_windows
from skerry.errors import TaskError
from skerry.records import Examples, Float32Array

__all__ = ["WindowsTask"]

_CALIBRATION = 512
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

Piece = tuple[str, str, Float32Array]
"""Device, label, and ``(t, channels)`` readings of one stretch without a change of either."""


class WindowsTask:
    """Windows of a table's sensor columns, one device for each value of its device column.

    Raises:
        TaskError: the table cannot be used; names the file, row and column, or the device.
        MissingDependencyError: Parquet without pyarrow.
    """

    name = "windows"

    def __init__(self, task: TaskConfig, model: ModelConfig) -> None:
        del model  # the network's input follows from the windows
        if task.root is None:
            raise TaskError("windows needs a file or folder of time series", where="task.root", mend='task.root = "…"')
        self._root = str(task.root)
        columns, pieces = _read(task.root, task)
        self.columns = columns
        self.input_shape = (len(columns), 1, task.window // task.downsample)
        self._length, self._downsample = task.window, task.downsample
        self.classes = _classes({label for _, label, _ in pieces}, task.classes, self._root)
        self._windows = _windows(pieces, self.classes, task.window, task.stride, self._root)
        self._public = task.public
        if task.public is not None and task.public not in self._windows:
            near = difflib.get_close_matches(task.public, self._windows, n=1, cutoff=0.4)
            mend = f"did you mean {near[0]!r}?" if near else "check task.public"
            raise TaskError(f"there is no device {task.public!r} that could be public", where=self._root, mend=mend)
        holders = sorted(name for name in self._windows if name != task.public)
        self._held_out = held_out(holders, task.holdout, self._root)
        self._training = tuple(name for name in holders if name not in self._held_out)
        self._mean, self._scale = self._constants(task)

    def devices(self) -> tuple[str, ...]:
        """Values of the device column, without the held-out and the public ones."""
        return self._training

    def local_data(self, device: str) -> Examples:
        """One device's windows, ``(n, length, channels)`` float32 in the file's units."""
        if device not in self._training:
            raise TaskError(f"{device!r} is not a training device of this task", where=self._root)
        return self._windows[device]

    def public_data(self) -> Examples:
        """The public device's windows, or synthetic ones with label -1 (for calibration only)."""
        if self._public is not None:
            return self._windows[self._public]
        x = synthetic_windows(_CALIBRATION, self._length, self._mean, self._scale)
        return Examples(x, np.full(len(x), -1, np.int64))

    def evaluation(self) -> Mapping[str, Examples]:
        """The held-out devices' windows."""
        return MappingProxyType({name: self._windows[name] for name in self._held_out})

    def transform(self, x: npt.NDArray[Any]) -> Float32Array:
        """``(n, length, channels)`` to ``(n, channels, 1, length / downsample)`` float32, standardised."""
        return standardise(downsample(x, self._downsample), self._mean, self._scale)

    def identity(self, device: str | None = None) -> str:
        """Digest of one device's windows and labels, or of everybody's."""
        if device is not None:
            return _digest(self._windows[device])
        return sha256_hex("".join(_digest(self._windows[name]) for name in sorted(self._windows)).encode())

    def _constants(self, task: TaskConfig) -> tuple[Float32Array, Float32Array]:
        channels = self.input_shape[0]
        if task.scale is not None:
            return _each(task.mean or (0.0,), channels, "task.mean"), _each(task.scale, channels, "task.scale")
        if self._public is None:
            raise TaskError(
                "nothing says how the readings are standardised",
                where=self._root,
                mend="state task.scale (and task.mean) from the sensors' data sheets, or name a public device in "
                "task.public; statistics of private readings are never used",
            )
        readings = self._windows[self._public].x.reshape(-1, channels).astype(np.float64)
        spread = readings.std(0)
        if not spread.all():
            column = self.columns[int(np.flatnonzero(spread == 0)[0])]
            raise TaskError(
                f"the public device's column {column!r} never changes", where=self._root, mend="state task.scale"
            )
        return readings.mean(0).astype(np.float32), spread.astype(np.float32)


def _read(root: Path, task: TaskConfig) -> tuple[tuple[str, ...], tuple[Piece, ...]]:
    files = find_files(root)
    stamp = tuple((path, path.stat().st_mtime_ns, path.stat().st_size) for path in files)
    return _pieces(stamp, task.device_column, task.label_column, task.series_column, task.time_column, task.columns)


@functools.lru_cache(maxsize=2)
def _pieces(
    stamp: tuple[tuple[Path, int, int], ...],
    device: str,
    label: str,
    series: str | None,
    time: str | None,
    columns: tuple[str, ...] | None,
) -> tuple[tuple[str, ...], tuple[Piece, ...]]:
    """Sensor columns and all pieces; the files' times and sizes are there so that a changed file is read again."""
    keys = [device, label, *([series] if series else [])]
    files = [path for path, _, _ in stamp]
    if columns is None:
        names = header(files[0])
        columns = tuple(name for name in names if name not in {*keys, time})
        if not columns:
            raise TaskError(
                "there is no sensor column", where=str(files[0]), mend=f"the columns are: {', '.join(names)}"
            )
    found: list[Piece] = []
    for path in files:
        table = read_columns(path, text=keys, numbers=columns, time=time)
        _all_named(table.text, [device, label], path)
        parts = [table.text[key] for key in keys if key != label]
        found += _cut_in_series(list(zip(*parts, strict=True)), table.text[label], table.numbers, table.times, path)
    return columns, tuple(found)


def _all_named(text: Mapping[str, list[str]], keys: list[str], path: Path) -> None:
    for key in keys:
        if "" in text[key]:
            raise TaskError(
                f"a value is missing in column {key!r}",
                where=f"{path}, row {text[key].index('') + 1}",
                mend="name it, or remove the rows",
            )
    for name in dict.fromkeys(text[keys[0]]):
        if not _NAME.fullmatch(name):
            raise TaskError(
                f"{name!r} cannot be a device's name",
                where=str(path),
                mend="use letters, digits, '.', '_' and '-', at most 64; it names folders",
            )


def _cut_in_series(
    keys: list[tuple[str, ...]],
    labels: list[str],
    numbers: Float32Array,
    times: npt.NDArray[np.float64] | None,
    path: Path,
) -> Iterator[Piece]:
    rows_of: dict[tuple[str, ...], list[int]] = {}
    for row, key in enumerate(keys):
        rows_of.setdefault(key, []).append(row)
    for key, listed in rows_of.items():
        rows = np.array(listed)
        if times is not None:
            rows = rows[np.argsort(times[rows], kind="stable")]
            same = np.flatnonzero(np.diff(times[rows]) == 0)
            if len(same):
                raise TaskError(
                    f"device {key[0]!r} has two rows of one time in one series",
                    where=f"{path}, row {rows[same[0] + 1] + 1}",
                    mend="if recordings are mixed, name the column that tells them apart in task.series_column",
                )
        own = np.array([labels[row] for row in rows])
        for part in np.split(rows, np.flatnonzero(own[1:] != own[:-1]) + 1):
            yield key[0], labels[part[0]], numbers[part]


def _classes(found: set[str], declared: tuple[str, ...] | None, where: str) -> tuple[str, ...]:
    if declared is not None:
        for label in sorted(found - set(declared)):
            near = difflib.get_close_matches(label, declared, n=1, cutoff=0.4)
            raise TaskError(
                f"the label {label!r} is not among task.classes",
                where=where,
                mend=f"did you mean {near[0]!r}?" if near else f"they are: {', '.join(declared)}",
            )
        found = set(declared)
    if len(found) < 2:
        raise TaskError(
            f"there is only one class: {', '.join(found)}", where=where, mend="a classifier needs at least two labels"
        )
    if declared is not None:
        return declared
    whole = all(re.fullmatch(r"-?\d+", label) for label in found)
    return tuple(sorted(found, key=int)) if whole else tuple(sorted(found))


def _windows(
    pieces: tuple[Piece, ...], classes: tuple[str, ...], length: int, stride: int, where: str
) -> dict[str, Examples]:
    made: dict[str, list[tuple[Float32Array, int]]] = {}
    longest: dict[str, int] = {}
    for device, label, readings in pieces:
        windows = cut(readings, length, stride)
        made.setdefault(device, []).append((windows, classes.index(label)))
        longest[device] = max(longest.get(device, 0), len(readings))
    for device, parts in made.items():
        if not any(len(windows) for windows, _ in parts):
            raise TaskError(
                f"device {device!r} has no window of {length} rows: its longest stretch under one label has "
                f"{longest[device]}",
                where=where,
                mend="lower task.window, or remove that device's rows",
            )
    return {
        device: Examples(
            np.concatenate([windows for windows, _ in parts]),
            np.repeat(np.array([label for _, label in parts], np.int64), [len(windows) for windows, _ in parts]),
        )
        for device, parts in made.items()
    }


def _each(values: tuple[float, ...], channels: int, key: str) -> Float32Array:
    if len(values) not in {1, channels}:
        raise TaskError(
            f"{len(values)} numbers are given for {channels} sensor columns",
            where=key,
            mend="give one, or one for each",
        )
    return np.broadcast_to(np.array(values, np.float32), (channels,)).copy()


def _digest(data: Examples) -> str:
    return sha256_hex(data.x.tobytes() + data.y.tobytes())
