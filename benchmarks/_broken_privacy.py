"""Faults that a privacy audit must find, put into the running code: positive controls.

Usage: ``python _broken_privacy.py FAULT FOLDER KEY=VALUE…`` runs the default scenario with that fault (``none``: as it
is) and prints what its audit found.
"""

import json
import sys
from collections.abc import Callable
from fractions import Fraction
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from skerry.config import default_scenario
from skerry.device.training.dp.grid import Grid
from skerry.result import load_result
from skerry.security.privacy.mechanisms import DiscreteGaussian
from skerry.security.privacy.stream import RandomStream
from skerry.server.launch import launch

__all__ = ["FAULTS", "break_privacy"]

Rows = npt.NDArray[np.float64]
Cells = npt.NDArray[np.int64]


def _noise_off() -> None:
    def release(self: Grid, total: Cells, stream: RandomStream) -> npt.NDArray[np.float64]:
        del stream
        return total * self.cell

    Grid.release = release


def _noise_halved() -> None:
    noise = cached_property(lambda self: DiscreteGaussian(Fraction(self.noise_multiplier) * self.bound / 2))
    noise.__set_name__(Grid, "noise")
    Grid.noise = noise


def _clip_skipped() -> None:
    def add(self: Grid, rows: Rows, total: Cells) -> int:
        del self
        total += np.rint(rows).astype(np.int64).sum(axis=0)
        return 0

    Grid.factors = lambda self, norms: np.full_like(norms, 1 / self.cell)
    Grid.add = add


def _weights_not_uniform() -> None:
    plain = Grid.add

    def add(self: Grid, rows: Rows, total: Cells) -> int:
        heavy = rows[::2].copy()  # every other example counts three times
        for _ in range(2):
            plain(self, heavy.copy(), total)
        return plain(self, rows, total)

    Grid.add = add


FAULTS: dict[str, Callable[[], None]] = {
    "none": lambda: None,
    "noise_off": _noise_off,
    "noise_halved": _noise_halved,
    "clip_skipped": _clip_skipped,
    "weights_not_uniform": _weights_not_uniform,
}


def break_privacy(fault: str) -> None:
    """Put a fault of :data:`FAULTS` in, for as long as the process lives."""
    FAULTS[fault]()


def main() -> None:
    fault, parent, *overrides = sys.argv[1:]
    break_privacy(fault)
    folder = launch(default_scenario(["report.references=false", *overrides]), engine="inprocess", parent=Path(parent))
    found = load_result(folder.path)
    print(json.dumps({"accuracy": found.quality.final.accuracy, **found.privacy.audit.model_dump(mode="json")}))


if __name__ == "__main__":
    main()
