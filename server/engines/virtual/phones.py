"""A fleet drawn from a profile, and how its attempts to train go."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from skerry.errors import InputError
from skerry.server.engines.virtual.availability import WEEK_S, Availability, draw_availability
from skerry.server.engines.virtual.profile import FleetProfile

__all__ = ["Attempts", "Fleet", "Work", "draw_fleet"]

Float64Array = npt.NDArray[np.float64]
Phones = npt.NDArray[np.int64]

_RADIO_W = 0.133  # Huang et al. 2012, table 4, Wi-Fi: β, α_d and α_u in watts and watts for each Mbit/s
_DOWN_W_MBPS, _UP_W_MBPS = 0.137, 0.283
_MEGABIT = 1e6 / 8  # bytes


@dataclass(frozen=True, kw_only=True)
class Work:
    """What one participation asks of a phone.

    Attributes:
        bytes_down: of the instruction, with the vector to start from.
        bytes_up: of the answer.
        gflop: forward and backward pass of one example, 10^9 floating point operations.
        epochs: passes over the phone's examples.
    """

    bytes_down: int
    bytes_up: int
    gflop: float
    epochs: int = 1

    def __post_init__(self) -> None:
        if self.bytes_down < 0 or self.bytes_up < 0 or not 0 <= self.gflop < float("inf") or self.epochs < 1:
            raise InputError("work has bytes and operations of at least 0, and at least one epoch")


@dataclass(frozen=True)
class Attempts:
    """How attempts of ``(m,)`` phones that began together went; times in seconds.

    Attributes:
        phones: numbers of the phones.
        ends: when the answer was there, or the phone ceased.
        lost: whether it ceased: it had to stop working, or left the fleet. Nobody tells the server.
        energy_j: what it took from the battery or the charger.
        bytes_down: received.
        bytes_up: sent.
        began: when they all did.
    """

    phones: Phones
    ends: Float64Array
    lost: npt.NDArray[np.bool_]
    energy_j: Float64Array
    bytes_down: Float64Array
    bytes_up: Float64Array
    began: float

    @property
    def work_s(self) -> float:
        """Seconds at work, of all of them together."""
        return float((self.ends - self.began).sum())


@dataclass(frozen=True)
class Fleet:
    """n phones; every array has one row a phone.

    Attributes:
        profile: what they were drawn from.
        classes: ``(n,)`` number of each phone's class in the profile.
        gflops: speed in training.
        down: bytes a second.
        up: bytes a second.
        examples: on each phone.
        departs: when it leaves the fleet, seconds.
        availability: when it may work.
    """

    profile: FleetProfile
    classes: Phones
    gflops: Float64Array
    down: Float64Array
    up: Float64Array
    examples: Phones
    departs: Float64Array
    availability: Availability

    def __len__(self) -> int:
        return len(self.classes)

    def holding(self, examples: Phones) -> "Fleet":
        """The same phones with so many examples each.

        Raises:
            InputError: not one number a phone.
        """
        if examples.shape != self.classes.shape:
            raise InputError(f"{len(self)} phones hold {examples.shape} numbers of examples")
        return replace(self, examples=examples)

    def ready(self, at: float) -> npt.NDArray[np.bool_]:
        """``(n,)``: which phones may work at an instant."""
        found: npt.NDArray[np.bool_] = (self.availability.until(at) > at) & (self.departs > at)
        return found

    def attempt(self, phones: Phones, at: float, work: Work, generator: np.random.Generator) -> Attempts:
        """Let phones that are ready begin at ``at``: download, train, upload, unless something ends it.

        A phone ceases when its window ends, when its owner or its network interrupts it (exponential waiting time), or
        when it leaves the fleet; what it spent until then is spent.

        Args:
            phones: ``(m,)`` numbers.
            at: seconds.
            work: what is asked.
            generator: of the attempt's own deviations.
        """
        profile, size = self.profile, len(phones)
        slowness = np.exp(generator.normal(0.0, profile.jitter, (3, size)))
        down_s = work.bytes_down / self.down[phones] * slowness[0]
        train_s = work.epochs * self.examples[phones] * work.gflop / self.gflops[phones] * slowness[1]
        up_s = work.bytes_up / self.up[phones] * slowness[2]
        needed = profile.startup_s + down_s + train_s + up_s
        rate = profile.interruptions_per_h / 3600
        patience = generator.exponential(1.0, size) / rate if rate else np.full(size, np.inf)
        stays = np.minimum(self.availability.until(at, phones), self.departs[phones]) - at
        lasts = np.minimum(patience, stays)
        lost = lasts < needed
        spent = np.minimum(needed, lasts)

        downloading = np.clip(spent - profile.startup_s, 0.0, down_s)
        training = np.clip(spent - profile.startup_s - down_s, 0.0, train_s)
        uploading = np.clip(spent - profile.startup_s - down_s - train_s, 0.0, up_s)
        received = downloading * self.down[phones] / slowness[0]
        sent = uploading * self.up[phones] / slowness[2]
        watts = np.array([one.power_w for one in profile.classes])[self.classes[phones]]
        radio = _RADIO_W * (downloading + uploading) + (received * _DOWN_W_MBPS + sent * _UP_W_MBPS) / _MEGABIT
        return Attempts(phones, at + spent, lost, watts * training + radio, received, sent, at)


def draw_fleet(profile: FleetProfile, count: int, *, seed: int, examples: int = 100) -> Fleet:
    """``count`` phones of a profile.

    Args:
        profile: their distributions.
        count: n.
        seed: the same seed gives the same fleet.
        examples: median number of examples on a phone; see :meth:`Fleet.holding` for given ones.

    Raises:
        InputError: no phones, or no examples.
    """
    if count < 1 or examples < 1:
        raise InputError(f"a fleet has phones and examples, got {count} and {examples}")
    chance = [np.random.default_rng([seed, stream]) for stream in range(5)]
    shares = np.array([one.share for one in profile.classes])
    classes = chance[0].choice(len(shares), size=count, p=shares / shares.sum())
    speed = np.array([one.gflops for one in profile.classes])[classes]
    factor = np.array([one.network for one in profile.classes])[classes]
    link = np.exp(chance[2].normal(0.0, profile.network_spread, (2, count)))  # down and up by themselves
    rate = -np.log1p(-profile.departures_per_week) / WEEK_S
    waits = chance[4].exponential(1.0, count)
    return Fleet(
        profile=profile,
        classes=classes.astype(np.int64),
        gflops=speed * np.exp(chance[1].normal(0.0, profile.speed_spread, count)),
        down=profile.down_mbps * _MEGABIT * factor * link[0],
        up=profile.up_mbps * _MEGABIT * factor * link[1],
        examples=np.rint(examples * np.exp(chance[3].normal(0.0, profile.examples_spread, count)))
        .clip(min=1)
        .astype(np.int64),
        departs=waits / rate if rate else np.full(count, np.inf),
        availability=draw_availability(profile, count, chance[4]),
    )
