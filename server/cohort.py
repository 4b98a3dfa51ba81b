"""Stage *plan*, its first half: who is asked in a round.

**What the accounting rests on.** A condition (``cohort.where``) may look at what was asked of a device before, at its
trust, at what is left of its ε. It is asked of each device by itself and looks at that device alone, never at another,
and it only ever takes devices out.

* Example level: the noise is the device's own, every round that asks it is debited in full, and no amplification is
  claimed. Who is asked, and why, changes no figure.
* Device level, drawn by Poisson sampling: a coin of probability q is thrown for *every* device first, with fresh random
  bits in every round; then those are taken out whom the condition does not choose. Nobody is drawn in their place, and
  the divisor of the sum stays the public constant. So a device takes part with probability q where it may and 0 where
  it may not. Its state may depend on its own earlier coins and updates, which nobody sees: given all models that were
  released, it may take part with some probability p ≤ 1 that those models determine, and then does so with probability
  p·q, independently of all others. The round is a Gaussian mechanism sampled at a rate of p·q ≤ q, whose Rényi
  divergence in either direction is at most that at q (joint quasi-convexity: sampling at p·q mixes sampling at q with
  not taking part at all). Adaptive composition over rounds then gives at most what is accounted.
  ``tests/server/test_cohort_accounting.py`` computes an example without any of these steps.
* Device level with every device asked: the same with q = 1.

What would break it is refused: a fixed size or over-selection (who is taken depends on the others), a deadline that
follows others' answers, and conditions under correlated noise, whose schedule is fixed before the run.
"""

import math
from collections.abc import Collection, Iterable
from dataclasses import replace

from skerry.config.scenario import CohortConfig
from skerry.device.training.descent import draw_examples
from skerry.security.privacy.stream import derive_generator
from skerry.server.account import Spending
from skerry.server.federation import Federation
from skerry.server.fleet_rules import devices_needed
from skerry.where import DeviceFacts, parse_where

__all__ = ["choose", "draw_cohort", "facts_now", "size_asked"]

_TOO_FEW = (
    "cohort.where leaves some rounds with fewer devices than the aggregation rule and cohort.at_least need; what keeps "
    "devices out is said of those that never take part"
)


def draw_cohort(federation: Federation, number: int, spending: Spending) -> tuple[str, ...]:
    """The devices of this round: all, or a fixed number drawn uniformly; quarantined devices are never asked.

    Under Poisson sampling each device is drawn by itself, with 64 random bits; nobody but the coordinator may learn
    whom, or the amplification that is accounted is gone. See the module for what a condition does to it.

    A round that an earlier process opened has the devices that were asked then: their debits may be on their disks.

    Under a minimum separation b, "all" are asked in turns, each in one of b rounds; a fixed number is drawn from those
    who were not asked in the last b - 1. A device would refuse anyway.

    The draw is reproducible in simulation. Only Poisson sampling gives privacy amplification, and only it is claimed.
    """
    if number in federation.past.cohorts:
        return federation.past.cohorts[number]
    cohort, apart = federation.scenario.cohort, federation.scenario.privacy.min_separation
    names = sorted(federation.nodes)
    if cohort.rate is not None:
        drawn = [names[i] for i in draw_examples(len(names), cohort.rate, federation.stream("cohort", number))]
        return _eligible(federation, number, drawn, spending)
    rested = [
        name
        for i, name in enumerate(names)
        if (
            i % apart == number % apart
            if cohort.sampling == "all"
            else number - spending.last_asked.get(name, -apart) >= apart
        )
    ]
    eligible = _eligible(federation, number, rested, spending)
    wanted = size_asked(cohort)
    if wanted is None or wanted >= len(eligible):
        return eligible
    generator = derive_generator(federation.scenario.seed, "cohort", number)
    picked = generator.choice(len(eligible), size=wanted, replace=False)
    return tuple(eligible[i] for i in sorted(picked))


def size_asked(cohort: CohortConfig) -> int | None:
    """How many devices are drawn for a round of fixed size: more than are wanted, where some may be late."""
    return None if cohort.size is None else math.ceil(cohort.size * cohort.over_select - 1e-9)


def choose(
    federation: Federation, number: int, devices: Collection[str], spending: Spending
) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
    """Hold the scenario's condition against devices, each by itself.

    Returns:
        Those that it chooses, in their order; and of each other one the parts of the condition that keep it out.
    """
    text = federation.scenario.cohort.where
    if text is None:
        return tuple(devices), {}
    where = parse_where(text)
    facts = facts_now(federation, number, devices, spending)
    chosen = tuple(device for device in devices if where.chooses(facts[device]))
    return chosen, {device: where.misses(facts[device]) for device in devices if device not in set(chosen)}


def facts_now(
    federation: Federation, number: int, devices: Iterable[str], spending: Spending
) -> dict[str, DeviceFacts]:
    """What is known of each device before a round is drawn."""
    known = federation.roster.facts()
    return {
        device: replace(
            known.get(device, DeviceFacts(name=device)),
            rounds_asked=spending.rounds(device),
            rounds_since=number - spending.last_asked.get(device, -math.inf),
            epsilon_left=spending.left(device),
        )
        for device in devices
    }


def _eligible(federation: Federation, number: int, devices: Iterable[str], spending: Spending) -> tuple[str, ...]:
    """Those that may be asked: not in quarantine, there, and chosen."""
    here = federation.roster.askable(name for name in devices if name not in federation.screener.quarantined)
    chosen, missed = choose(federation, number, here, spending)
    if missed and len(chosen) < devices_needed(federation.scenario) <= len(here):
        federation.folder.notify(_TOO_FEW)
    return chosen
