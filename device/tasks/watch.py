"""Shoulder exercises seen by a smartwatch: ten people, seven exercises, six channels at 50 Hz.

Burns et al., "Shoulder physiotherapy exercise recognition" (arXiv:1802.01489); a part of that study's recordings is
shipped in the package ``seglearn`` (BSD licence). Each person did about twenty repetitions of each exercise on each
side: 140 series of 19 to 52 seconds. Accelerations are in g with gravity, rotation rates in rad/s.

* *devices*: one for each person, without the held-out ones; ``task.holdout = 0`` to ``4`` are the five pairs in order.
* *windows*: ``task.window`` readings, a new one every ``task.stride``, each inside one series; the network sees
  means of ``task.downsample`` readings in a row.
* *scale*: by constants of the sensors (:data:`SCALE`), not by statistics of anybody's data.
* *public*: nobody, unless ``task.public`` names a person who gives all data away. Without one, calibration uses
  :func:`~skerry.device.tasks.windowing.synthetic_windows`, with label -1: there is no first head.

The file is a pickle. It is read by :mod:`~skerry.device.tasks.inert_pickle`, and seglearn itself is never imported.
"""

import functools
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from skerry.canonical import sha256_hex
from skerry.config import ModelConfig, TaskConfig
from skerry.device.tasks.holdout import held_out
from skerry.device.tasks.inert_pickle import read_pickled_npy
from skerry.device.tasks.windowing import cut, downsample, standardise, synthetic_windows
from skerry.errors import MissingDependencyError, TaskError
from skerry.records import Examples, Float32Array

__all__ = ["SCALE", "WatchTask"]

SCALE = np.array([1.0, 1.0, 1.0, 2.0, 2.0, 2.0], np.float32)
"""One unit of each channel: 1 g of acceleration (gravity alone), 2 rad/s of rotation (about 115° a second)."""

_PEOPLE = 10
_CALIBRATION = 512
_CODES = ["PEN", "ABD", "FEL", "IR", "ER", "TRAP", "ROW"]
_CHANNELS = ["ax", "ay", "az", "wx", "wy", "wz"]


class WatchTask:
    """Smartwatch windows, one device for each person.

    Raises:
        MissingDependencyError: seglearn is not installed.
        TaskError: its data file is not what it should be, or the windows are longer than the series.
    """

    name = "watch"
    classes = (
        "pendulum",
        "abduction",
        "forward elevation",
        "internal rotation",
        "external rotation",
        "trapezius extension",
        "upright row",
    )

    def __init__(self, task: TaskConfig, model: ModelConfig) -> None:
        del model  # the network's input follows from the windows
        self.input_shape = (len(SCALE), 1, task.window // task.downsample)
        self._length, self._downsample = task.window, task.downsample
        self._windows = _windows(_file(), task.window, task.stride)
        self._public = task.public
        if task.public is not None and task.public not in self._windows:
            raise TaskError(f"there is no person {task.public!r}", where="task.public", mend="subject-01 to subject-10")
        people = [name for name in self._windows if name != task.public]
        self._held_out = held_out(people, task.holdout, "task watch")
        self._training = tuple(name for name in people if name not in self._held_out)

    def devices(self) -> tuple[str, ...]:
        """``subject-01`` to ``subject-10`` without the held-out and the public ones."""
        return self._training

    def local_data(self, device: str) -> Examples:
        """One person's windows, ``(n, length, 6)`` float32 in g and rad/s."""
        if device not in self._training:
            raise TaskError(f"{device!r} is not a training device of this task", where="task watch")
        return self._windows[device]

    def public_data(self) -> Examples:
        """The volunteer's windows, or synthetic ones with label -1 (for calibration only)."""
        if self._public is not None:
            return self._windows[self._public]
        x = synthetic_windows(_CALIBRATION, self._length, np.zeros_like(SCALE), SCALE)
        return Examples(x, np.full(len(x), -1, np.int64))

    def evaluation(self) -> Mapping[str, Examples]:
        """The held-out people's windows."""
        return MappingProxyType({name: self._windows[name] for name in self._held_out})

    def transform(self, x: npt.NDArray[Any]) -> Float32Array:
        """``(n, length, 6)`` to ``(n, 6, 1, length / downsample)`` float32 in units of :data:`SCALE`."""
        return standardise(downsample(x, self._downsample), np.zeros_like(SCALE), SCALE)

    def identity(self, device: str | None = None) -> str:
        """Digest of one person's windows and labels, or of everybody's."""
        chosen = [device] if device is not None else sorted(self._windows)
        return sha256_hex(b"".join(self._windows[n].x.tobytes() + self._windows[n].y.tobytes() for n in chosen))


@functools.lru_cache(maxsize=4)
def _windows(path: Path, length: int, stride: int) -> Mapping[str, Examples]:
    series, labels, people = _series(path)
    if length > min(map(len, series)):
        shortest = min(map(len, series))
        raise TaskError(
            f"windows of {length} readings do not fit the shortest series",
            where="task.window",
            mend=f"{shortest} is the most",
        )
    found: dict[str, Examples] = {}
    for person in range(1, _PEOPLE + 1):
        own = np.flatnonzero(people == person)
        parts = [cut(series[i], length, stride) for i in own]
        y = np.repeat(labels[own], [len(part) for part in parts]).astype(np.int64)
        found[f"subject-{person:02d}"] = Examples(np.concatenate(parts), y)
    return MappingProxyType(found)


def _series(path: Path) -> tuple[list[npt.NDArray[Any]], npt.NDArray[Any], npt.NDArray[Any]]:
    """Each series ``(t, 6)``, its exercise and its person."""
    content = read_pickled_npy(path)
    try:
        series, labels, people = content["X"], content["y"], content["subject"]
        good = (
            content["X_labels"] == _CHANNELS
            and content["y_labels"] == _CODES
            and len(series) == len(labels) == len(people)
            and all(one.ndim == 2 and one.shape[1] == len(_CHANNELS) and np.isfinite(one).all() for one in series)
            and set(people.tolist()) == set(range(1, _PEOPLE + 1))
            and set(labels.tolist()) == set(range(len(_CODES)))
        )
    except (KeyError, TypeError, AttributeError):
        good = False
    if not good:
        raise TaskError(
            "these are not the ten people's recordings",
            where=str(path),
            mend="install another version: pip install 'seglearn>=1.2.5'",
        )
    return series, labels, people


def _file() -> Path:
    found = importlib.util.find_spec("seglearn")
    if found is None or found.origin is None:
        raise MissingDependencyError(
            "the watch task needs seglearn's data", where="task watch", mend="pip install seglearn, or 'skerry[demo]'"
        )
    return Path(found.origin).parent / "data" / "watch_dataset.npy"
