"""Whether this device may train now: its owner's limits held against what the machine says.

A limit that was reached stops training; to go on takes a margin more, so that a device at a limit does not start and
stop every second.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

from skerry.device.agent.conditions import Lapse, LapseReason
from skerry.device.agent.heat import Heat, read_heat
from skerry.device.agent.host import Host
from skerry.device.agent.memory import free_memory
from skerry.device.agent.metered import Metered, read_metered
from skerry.device.agent.occupancy import OthersLoad, user_idle_s
from skerry.device.agent.power import read_power
from skerry.device.agent.settings import FILE, Limits

__all__ = ["PAUSE_FILE", "DeviceConditions"]

PAUSE_FILE = "pause"
"""In the device's home: while it is there, whatever is in it, the device does not train."""

_SPARE = 1.1  # of memory and disk, before it goes on
_BUSY_MARGIN = 0.1  # of all cores


class DeviceConditions:
    """The device's :class:`~skerry.device.agent.conditions.Conditions`; asked from one thread at a time.

    Where the machine does not tell, a limit does not stop it, with one exception: an unknown network, as to guess wrong
    would cost the owner money. The owner then says which it is (``metered`` in ``device.toml``).

    Args:
        limits: the owner's.
        home: the device's folder.
        host: where to look.
        memory_needed: bytes that training is still to take.
    """

    def __init__(self, limits: Limits, home: Path, host: Host, *, memory_needed: Callable[[], int] = lambda: 0) -> None:
        self._limits, self._home, self._host, self._needed = limits, home, host, memory_needed
        self._others = OthersLoad(host)
        self._lapsed: frozenset[LapseReason] = frozenset()

    def lapses(self) -> tuple[Lapse, ...]:
        """What keeps the device from training now."""
        heat = read_heat(self._host)  # one look for both that ask: it may be a command
        found = (
            *self._pause(),
            *self._quiet(),
            *self._power(heat),
            *self._network(),
            *self._busy(),
            *self._heat(heat),
            *self._memory(),
            *self._disk(),
        )
        self._lapsed = frozenset(lapse.reason for lapse in found)
        return found

    def _pause(self) -> Iterator[Lapse]:
        if (self._home / PAUSE_FILE).exists():
            yield Lapse(LapseReason.PAUSED, "you paused this device")

    def _quiet(self) -> Iterator[Lapse]:
        end = self._limits.quiet_until(self._host.local().time())
        if end is not None:
            yield Lapse(LapseReason.QUIET_HOURS, f"quiet hours until {end}")

    def _power(self, heat: Heat) -> Iterator[Lapse]:
        limits, power = self._limits, read_power(self._host)
        if power.battery_percent is not None and not power.external:
            least = limits.battery_percent + self._held(LapseReason.POWER, limits.battery_margin)
            if power.battery_percent < min(100, least):
                charge = f"the battery is at {power.battery_percent:.0f} % and is not being charged"
                yield Lapse(LapseReason.POWER, f"{charge}; it takes {least:.0f} %")
        if heat.weak_supply:
            yield Lapse(LapseReason.POWER, "the power supply is too weak: the firmware sees too little voltage")

    def _network(self) -> Iterator[Lapse]:
        told = Metered(self._limits.metered) if self._limits.metered != "detect" else read_metered(self._host)
        if told in {Metered.YES, Metered.GUESS_YES}:
            guess = "NetworkManager guesses that the network is metered" if told is Metered.GUESS_YES else None
            yield Lapse(LapseReason.NETWORK, guess or "the network is metered")
        elif told is Metered.UNKNOWN:
            mend = f'write metered = "no" (or "yes") under [conditions] in {self._home / FILE}'
            yield Lapse(LapseReason.NETWORK, f"nothing here tells whether the network is metered; {mend}")

    def _busy(self) -> Iterator[Lapse]:
        limits = self._limits
        share, most = self._others.share(), limits.busy_percent / 100 - self._held(LapseReason.BUSY, _BUSY_MARGIN)
        if share is not None and share > max(0.0, most):
            took = f"others take {share:.0%} of the processor"
            yield Lapse(LapseReason.BUSY, f"{took}; it waits until that is {max(0.0, most):.0%} or less")
        if limits.user_idle_min:
            idle = user_idle_s(self._host)
            if idle is not None and idle < 60 * limits.user_idle_min:
                yield Lapse(LapseReason.BUSY, f"somebody used it {idle / 60:.0f} min ago")

    def _heat(self, heat: Heat) -> Iterator[Lapse]:
        limits = self._limits
        most = limits.temperature_c - self._held(LapseReason.HEAT, limits.temperature_margin_c)
        held = LapseReason.HEAT in self._lapsed
        if heat.celsius is not None and (heat.celsius >= most if held else heat.celsius > most):
            yield Lapse(LapseReason.HEAT, f"it is {heat.celsius:.0f} °C hot; it waits until it is below {most:.0f} °C")
        if heat.throttled:
            yield Lapse(LapseReason.HEAT, "the firmware slows the processor down for its heat")

    def _memory(self) -> Iterator[Lapse]:
        free = free_memory(self._host)
        least = (self._limits.free_memory_mb * 10**6 + self._needed()) * self._spare(LapseReason.MEMORY)
        if free is not None and free < least:
            yield Lapse(LapseReason.MEMORY, f"{free / 1e6:.0f} MB of memory are free; it takes {least / 1e6:.0f} MB")

    def _disk(self) -> Iterator[Lapse]:
        free, _ = self._host.disk(self._home)
        least = self._limits.free_disk_mb * 10**6 * self._spare(LapseReason.DISK)
        if free < least:
            yield Lapse(LapseReason.DISK, f"{free / 1e6:.0f} MB of disk are free; it takes {least / 1e6:.0f} MB")

    def _held(self, reason: LapseReason, margin: float) -> float:
        return margin if reason in self._lapsed else 0.0

    def _spare(self, reason: LapseReason) -> float:
        return _SPARE if reason in self._lapsed else 1.0
