"""How much memory training with a model takes on this device: measured while it trains, and asked for the next time.

A peak is the largest resident memory of the process during a training (``VmHWM``, set back before it) less what it held
before: the same that ``skerry.device.step_cost`` calls ``added_mb``, measured here on the device's own data. Before the
first training with a model nothing is known, and only the owner's ``free_memory_mb`` is asked for.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from skerry.device.agent.host import Host
from skerry.device.agent.memory import peak_memory, reset_peak_memory, resident_memory
from skerry.fsio import write_json

__all__ = ["Peaks"]

FILE = "peaks.json"
_SPARE = 1.3  # of the measured peak: allocators do not give back what they took in the same order
_MOST = 16  # models whose peaks are kept


class Peaks:
    """Measured peaks, kept in the agent's folder.

    Args:
        folder: of the agent, in the device's home.
        host: where to look.
    """

    def __init__(self, folder: Path, host: Host) -> None:
        self._path, self._host = folder / FILE, host
        self._known = self._read()
        self._model = ""
        self._before: int | None = None

    def expect(self, model: str) -> None:
        """The next training is with this model."""
        self._model = model

    def needed(self) -> int:
        """Bytes that the expected training will still take; 0 where that was never measured."""
        grown = 0 if self._before is None else max(0, resident_memory(self._host) - self._before)
        return max(0, round(_SPARE * self._known.get(self._model, 0)) - grown)

    @contextmanager
    def measuring(self) -> Iterator[None]:
        """Measure the training of the block; one that stops early tells a part only, so the larger figure is kept."""
        self._before = resident_memory(self._host)
        told = reset_peak_memory(self._host)
        try:
            yield
        finally:
            before, self._before = self._before, None
            if told and self._model:
                self._keep(max(peak_memory(self._host) - before, self._known.get(self._model, 0)))

    def _keep(self, peak: int) -> None:
        if self._known.get(self._model) == peak:
            return
        self._known.pop(self._model, None)
        self._known[self._model] = peak
        while len(self._known) > _MOST:
            del self._known[next(iter(self._known))]
        write_json(self._path, self._known, durable=False)

    def _read(self) -> dict[str, int]:
        try:
            value = json.loads(self._path.read_text("utf-8"))
        except (OSError, ValueError):
            return {}  # its own notes: measured again
        good = isinstance(value, dict) and all(type(peak) is int and peak >= 0 for peak in value.values())
        return value if good else {}
