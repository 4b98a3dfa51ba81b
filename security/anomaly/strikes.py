"""How many drops put a device into quarantine, and what they say about it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import log
from typing import Any

__all__ = ["HOSTILE_RATE", "QUARANTINE_EVIDENCE", "SUSTAINED", "Strikes"]

HOSTILE_RATE = 0.5
"""Share of its rounds in which a hostile device is expected to be dropped; see :class:`Strikes`."""

QUARANTINE_EVIDENCE = 5000.0
"""Factor by which a device's drops must speak for hostile: R rounds exceed it by chance with probability ≤ R/5000."""

SUSTAINED = 5
"""Near drops more than accepted updates, from which on a further near one counts."""


@dataclass
class _Record:
    drops: int = 0
    near: int = 0
    certain: int = 0
    faults: int = 0
    evidence: float = 0.0  # natural logarithm


class Strikes:
    """Counts the drops of each device; ``patience`` of them, over the whole run, are enough.

    *Near* drops, for what lies little beyond a limit, count only where they are sustained: a count of them, which an
    accepted update takes one from, never below 0, must stand at ``SUSTAINED``. Honest devices that lie far out pass a
    limit for some rounds; a reversed update passes it in all.

    Where false alarms happen at a known rate α, a long run would bring them up to any patience. Then drops must also be
    more than α explains: the evidence grows by log(½/α) with a drop, falls by log((1 - α)/½) with an accepted update,
    never below 0, and must reach log 5000. If each honest update is dropped with probability at most α *given what
    came before*, R rounds quarantine an honest device with probability at most R/5000: 2 % in 100 rounds. That is
    more than conformal limits promise, which hold on average over devices: one that is flagged in over 15 % of its
    rounds, because its data are unlike all others', reaches any evidence in the end. So the screen counts as a strike
    only what lies beyond its fixed limit too. Breaches of public constants and faults (NaN, another shape) are no
    chance: ``patience`` of the two together are enough.

    Reference: Shin, Ramdas and Rinaldo 2022 (arXiv:2203.03532), the CUSUM form.

    Args:
        patience: drops.
        rate: α, or None where drops are no chance events.
    """

    def __init__(self, patience: int, rate: float | None) -> None:
        self.patience = patience
        self._rate = rate
        self._records: dict[str, _Record] = {}

    def count(self, device: str) -> int:
        """Drops so far."""
        return self._records[device].drops if device in self._records else 0

    def strike(self, device: str, *, near: bool = False, certain: bool = False, fault: bool = False) -> bool:
        """Count a drop. True: into quarantine with the device.

        Args:
            device: whose update it was.
            near: it lies little beyond the limit.
            certain: the drop rests on public constants alone.
            fault: the update was none: not finite, or of another shape.
        """
        record = self._records.setdefault(device, _Record())
        if near:
            record.near += 1
            if record.near < SUSTAINED:
                return False
        record.drops += 1
        record.certain += certain
        record.faults += fault
        if self._rate is None or record.certain + record.faults >= self.patience:
            return record.drops >= self.patience
        record.evidence += log(HOSTILE_RATE / self._rate)
        return record.drops >= self.patience and record.evidence >= log(QUARANTINE_EVIDENCE)

    def spare(self, device: str) -> None:
        """Count an accepted update."""
        record = self._records.get(device)
        if record is None:
            return
        record.near = max(record.near - 1, 0)
        if self._rate is not None:
            record.evidence = max(record.evidence - log((1 - self._rate) / (1 - HOSTILE_RATE)), 0.0)

    def cleared(self, device: str) -> bool:
        """Whether nothing is held against the device any more."""
        record = self._records.get(device)
        return record is None or (record.evidence == 0.0 and record.near == 0)

    def proven(self, device: str) -> bool:
        """True when breaches of public constants alone are ``patience``: no chance, no comparison, no accident."""
        return device in self._records and self._records[device].certain >= self.patience

    def state(self) -> dict[str, Any]:
        """JSON values by device."""
        return {device: asdict(record) for device, record in self._records.items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`state`."""
        self._records = {str(device): _Record(**record) for device, record in state.items()}
