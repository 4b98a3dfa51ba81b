"""Which kinds of phones a fleet has, and how they are used.

What each number rests on:

* **Availability, interruptions, over-selection**: Bonawitz et al. 2019, "Towards federated learning at scale: system
  design" (arXiv:1902.01046), sections 3 and 9: phones take part while idle, charging and on an unmetered network; about
  four times as many at night as by day, in one time zone; 6 to 10 % of those asked drop out. The hours and lengths of
  charging below are assumptions; together they give that ratio and, for work of some minutes, that share.
* **Speed of classes**: that phones in use differ by more than an order of magnitude is measured (Ignatov et al. 2019,
  "AI
  Benchmark: all about deep learning on smartphones in 2019", arXiv:1910.06663; Wu et al. 2019, "Machine learning at
  Facebook: understanding inference at the edge"). The four classes, their shares and their GFLOP/s in training are
  assumptions.
* **Network**: log-normal with a factor of about 3.6 from the median to the 90th percentile, an assumption in the
  manner of the MobiPerf measurements that FedScale uses (Lai et al. 2022, arXiv:2105.11367).
* **Energy of the radio**: Wi-Fi of Huang et al. 2012, "A close examination of performance and power characteristics of
  4G LTE networks", table 4: 0.133 W and 0.137 (down) or 0.283 (up) W for each Mbit/s. Power of the processor:
  assumptions.

A profile of one's own fleet is a TOML file with the same fields (:func:`load_profile`).
"""

import math
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from skerry.errors import InputError

__all__ = ["PHONES", "FleetProfile", "PhoneClass", "load_profile"]


def _positive(record: object, *names: str) -> None:
    for name in names:
        value = getattr(record, name)
        if type(value) not in {int, float} or not 0 < value < math.inf:
            raise InputError(f"{name} is a number above 0, got {value!r}")


def _within(record: object, name: str, low: float, high: float) -> None:
    value = getattr(record, name)
    if type(value) not in {int, float} or not low <= value <= high or math.isinf(value):
        raise InputError(f"{name} is a number from {low:g} to {high:g}, got {value!r}")


@dataclass(frozen=True, kw_only=True)
class PhoneClass:
    """Phones of one kind.

    Attributes:
        name: as it is shown.
        share: of the fleet; shares of all classes are divided by their sum.
        gflops: median speed in training, 10^9 floating point operations a second.
        network: factor on the fleet's median bandwidths.
        power_w: of the processor while it trains, in watts.
        battery_wh: of a full battery, in watt-hours.
    """

    name: str
    share: float
    gflops: float
    network: float = 1.0
    power_w: float = 3.0
    battery_wh: float = 15.0

    def __post_init__(self) -> None:
        _named(self.name)
        _positive(self, "share", "gflops", "network", "power_w", "battery_wh")


@dataclass(frozen=True, kw_only=True)
class FleetProfile:
    """How a fleet's phones are drawn; hours are local, spreads of log-normals are those of the logarithm.

    Attributes:
        name: as it is shown.
        classes: the kinds of phones.
        speed_spread: of speed within a class.
        down_mbps: median bandwidth down, Mbit/s.
        up_mbps: median bandwidth up, Mbit/s.
        network_spread: of both.
        jitter: spread of speed and bandwidth from one attempt to the next.
        startup_s: from an instruction's arrival to the first computation, seconds.
        time_zones_h: standard deviation of the hour at which a phone's day begins.
        night_share: of nights in which a phone is charged, idle and on Wi-Fi, on average.
        night_hour: mean hour at which it is plugged in for the night.
        night_length_h: mean hours until it is unplugged.
        day_charges: charges a day between 8 and 20 o'clock during which it may work, on average; at most 4.
        day_length_h: mean length of one, exponential.
        interruptions_per_h: how often a phone that may work is picked up, loses its network or ends the program.
        departures_per_week: share of phones that leave the fleet for good in a week.
        examples_spread: of the number of examples on a phone.
    """

    name: str
    classes: tuple[PhoneClass, ...]
    speed_spread: float = 0.35
    down_mbps: float = 40.0
    up_mbps: float = 12.0
    network_spread: float = 1.0
    jitter: float = 0.2
    startup_s: float = 3.0
    time_zones_h: float = 1.0
    night_share: float = 0.55
    night_hour: float = 22.75
    night_length_h: float = 7.2
    day_charges: float = 1.25
    day_length_h: float = 1.5
    interruptions_per_h: float = 1.5
    departures_per_week: float = 0.01
    examples_spread: float = 1.0

    def __post_init__(self) -> None:
        _named(self.name)
        if not self.classes or len({one.name for one in self.classes}) != len(self.classes):
            raise InputError("a profile has at least one class of phones, and their names differ", where=self.name)
        _positive(self, "down_mbps", "up_mbps", "night_length_h", "day_length_h")
        for name in ("speed_spread", "network_spread", "jitter", "startup_s", "time_zones_h", "interruptions_per_h"):
            _within(self, name, 0, math.inf)
        _within(self, "examples_spread", 0, 5)
        _within(self, "night_share", 0, 1)
        _within(self, "night_hour", 0, 24)
        _within(self, "day_charges", 0, 4)
        _within(self, "departures_per_week", 0, 0.99)


def _named(name: object) -> None:
    if type(name) is not str or not name.strip():
        raise InputError(f"a profile and its classes have names, got {name!r}", mend='name = "ours"')


PHONES = FleetProfile(
    name="phones",
    classes=(
        PhoneClass(name="flagship", share=0.2, gflops=12.0, network=1.3, power_w=4.0, battery_wh=18.0),
        PhoneClass(name="middle", share=0.4, gflops=5.0, power_w=3.0, battery_wh=17.0),
        PhoneClass(name="entry", share=0.28, gflops=2.0, network=0.8, power_w=2.5, battery_wh=16.0),
        PhoneClass(name="old", share=0.12, gflops=0.7, network=0.5, power_w=2.0, battery_wh=11.0),
    ),
)
"""The profile that commands and benchmarks use unless another is named; see the module for what it rests on."""


def load_profile(path: Path) -> FleetProfile:
    """A profile from a TOML file: the fields of :class:`FleetProfile`, and a table ``[[classes]]`` for each class.

    Raises:
        InputError: it cannot be read, has an unknown key, or a value out of range.
    """
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"the profile cannot be read: {error}", where=str(path)) from error
    rows = found.pop("classes", [])
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise InputError("classes of phones are tables [[classes]]", where=str(path))
    classes = tuple(PhoneClass(**_known(PhoneClass, row, path)) for row in rows)
    return FleetProfile(classes=classes, **_known(FleetProfile, {"name": path.stem, **found}, path))


def _known(kind: type[PhoneClass] | type[FleetProfile], row: dict[str, Any], path: Path) -> dict[str, Any]:
    names = {field.name for field in fields(kind)} - {"classes"}
    if unknown := sorted(row.keys() - names):
        mend = f"keys: {', '.join(sorted(names))}"
        raise InputError(f"a profile has no key {unknown[0]!r}", where=str(path), mend=mend)
    if missing := sorted({"name", "share", "gflops"} - row.keys()) if kind is PhoneClass else []:
        raise InputError(f"a class of phones lacks {', '.join(missing)}", where=str(path))
    return row
