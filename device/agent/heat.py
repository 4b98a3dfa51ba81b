"""How hot a device is, and whether its firmware holds it back.

Temperatures are the kernel's (``/sys/class/thermal``, else ``/sys/class/hwmon``). A Raspberry Pi's firmware tells by a
word of bits what it does about heat and a weak supply: bit 0 too little voltage now, 1 clock capped, 2 throttled,
3 soft temperature limit; bits 16 and up say the same of the time since it was started (``vcgencmd get_throttled`` in
the Pi's documentation). A machine with no sensor at all is fine, and :attr:`Heat.celsius` says that it was not told.
"""

from dataclasses import dataclass

from skerry.device.agent.host import Host

__all__ = ["Heat", "read_heat"]

_FIRMWARE = "sys/devices/platform/soc/soc:firmware/get_throttled"  # where the Pi's kernel gives it without a command
_LEAST_C, _MOST_C = -40, 125  # beyond: a sensor that nothing is connected to


@dataclass(frozen=True)
class Heat:
    """What sensors and firmware say now.

    Attributes:
        celsius: of the hottest sensor; None where there is none.
        throttled: the firmware slows the processor down for its heat now.
        weak_supply: the voltage is too low now.
    """

    celsius: float | None
    throttled: bool
    weak_supply: bool


def read_heat(host: Host) -> Heat:
    """All sensors and the firmware's word."""
    zones = (host.root / "sys/class/thermal").glob("thermal_zone*/temp")
    found = [value for file in zones if (value := host.number(file)) is not None]
    if not found:
        chips = (host.root / "sys/class/hwmon").glob("hwmon*/temp*_input")
        found = [value for file in chips if (value := host.number(file)) is not None]
    degrees = [value / 1000 for value in found if _LEAST_C <= value / 1000 <= _MOST_C]
    bits = _throttled(host)
    return Heat(max(degrees, default=None), throttled=bool(bits & 0b1100), weak_supply=bool(bits & 0b0001))


def _throttled(host: Host) -> int:
    word = host.text(_FIRMWARE) or host.run("vcgencmd", "get_throttled") or ""
    try:
        return int(word.strip().removeprefix("throttled="), 16)
    except ValueError:
        return 0
