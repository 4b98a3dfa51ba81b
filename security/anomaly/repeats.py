"""Updates that a device sends again, bit for bit."""

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any

import numpy as np

from skerry.records import Float32Array
from skerry.security.anomaly.evidence import Mask

__all__ = ["Repeats"]

_BYTES = 16  # of a digest: two different updates share one with probability 2⁻¹²⁸


class Repeats:
    """Remembers a digest of each device's last update that is not zero."""

    def __init__(self) -> None:
        self._last: dict[str, str] = {}

    def found(self, rows: Float32Array, devices: Sequence[str]) -> Mask:
        """``(n,)`` rows that are their device's last ones again; all rows take the place of the last ones.

        Nobody's, where half of the devices or more repeat themselves: the round may start from where the last one did,
        and then training that draws nothing at random gives the same.
        """
        again = np.zeros(len(rows), np.bool_)
        for i, (row, device) in enumerate(zip(rows, devices, strict=True)):
            if row.any():
                digest = blake2b(row.astype("<f4").tobytes(), digest_size=_BYTES).hexdigest()
                again[i] = self._last.get(device) == digest
                self._last[device] = digest
        return again if 2 * again.sum() < len(rows) else np.zeros_like(again)

    def state(self) -> dict[str, Any]:
        """JSON values by device."""
        return dict(self._last)

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`state`."""
        self._last = {str(device): str(digest) for device, digest in state.items()}
