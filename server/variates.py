"""The server's side of SCAFFOLD: the mean of the devices' control variates, and which update of each was counted.

Karimireddy et al. 2020, algorithm 1, line 17: ``c ← c + (1/N)·Σ_S Δc_i`` over the m updates that were counted, of N
devices. Their mean change is that of the mean update (:mod:`skerry.device.training.scaffold`), so the same aggregate
moves model and variate. What is kept is the sum over devices: one that joins later has the variate 0, and the sum
stays.

The method rests on this sum being that of what the devices keep: a difference is never forgotten, and moves the point
to which the rounds lead for good. Hence what ``core/config/scaffold.py`` refuses.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np

from skerry.device.protocol import CommonVariate
from skerry.device.training.plan import TrainPlan
from skerry.device.training.scaffold import variate_change
from skerry.records import Float32Array

__all__ = ["ControlVariates"]


@dataclass(frozen=True)
class ControlVariates:
    """Between two rounds.

    Attributes:
        total: ``(d,)`` float32, Σ c_i over all devices.
        devices: N, as the round before knew it; at least 1.
        counted: the last round whose update was counted, by device; others have none.
    """

    total: Float32Array
    devices: int = 1
    counted: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))

    @staticmethod
    def start(size: int) -> "ControlVariates":
        """Zero, as all devices begin."""
        return ControlVariates(np.zeros(size, np.float32))

    @property
    def common(self) -> Float32Array:
        """``(d,)`` c of the next round."""
        return (self.total / np.float32(self.devices)).astype(np.float32, copy=False)

    def told(self, device: str) -> CommonVariate:
        """What a device's instruction says of them."""
        return CommonVariate(self.common, self.counted.get(device, 0))

    def after(
        self, number: int, accepted: Iterable[str], mean: Float32Array, plan: TrainPlan, devices: int
    ) -> "ControlVariates":
        """Those after a round.

        Args:
            number: of the round.
            accepted: whose updates the mean is of.
            mean: ``(d,)`` of their updates.
            plan: of the round.
            devices: N now.
        """
        names = tuple(accepted)
        change = len(names) * variate_change(self.common, mean, plan).astype(np.float64)
        total = (self.total + change).astype(np.float32)
        return ControlVariates(total, devices, {**self.counted, **dict.fromkeys(names, number)})
