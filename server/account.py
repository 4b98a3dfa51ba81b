"""Stage *account*: what the round spent goes into the population's ledger before anything of it is used further."""

import statistics
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from skerry.security.privacy.accounting import epsilon_from_rdp, rdp
from skerry.security.privacy.chain import Entry
from skerry.server.federation import Federation
from skerry.server.judge import Judged, Valid
from skerry.server.plan import RoundPlan
from skerry.syncer import Syncer

__all__ = ["Spending", "open_round", "release_round"]


class Spending:
    """ε of each device as the coordinator must assume it: a device that was asked has spent, answer or not.

    Example level, add/remove, RDP composition; a device's own ledger may show less (it never got the message).
    """

    def __init__(self, federation: Federation) -> None:
        plan = federation.plan
        self._delta = federation.scenario.privacy.delta
        self._asked = dict.fromkeys(federation.nodes, 0)
        self._once = None if plan.event is None else rdp(plan.event)
        self._known: dict[int, float] = {0: 0.0}

    def add(self, plan: RoundPlan) -> None:
        """Count a round's instructions."""
        for device in plan.asked:
            self._asked[device] += 1

    def epsilon(self, rounds: int) -> float | None:
        """ε(δ) of a device that was asked ``rounds`` times; None without privacy, where no finite ε holds."""
        if self._once is None:
            return None
        if rounds not in self._known:
            self._known[rounds] = float(epsilon_from_rdp(self._once * rounds, self._delta)[0])
        return self._known[rounds]

    @property
    def maximum(self) -> float | None:
        """The largest ε of any device."""
        return self.epsilon(max(self._asked.values(), default=0))

    @property
    def median(self) -> float | None:
        """The median ε over devices (the lower one of two)."""
        return self.epsilon(statistics.median_low(self._asked.values()))


@contextmanager
def open_round(federation: Federation, number: int, cohort: Sequence[str], syncer: Syncer) -> Iterator[None]:
    """Record who will be asked to spend what, while the block prepares the instructions; durable when it is left."""
    mechanism = {
        "name": federation.scenario.privacy.mechanism if federation.plan.unit == "example" else "none",
        "noise_multiplier": federation.plan.noise_multiplier,
        "clip": federation.plan.clip,
        "steps": federation.plan.steps,
        "sampling_rate": federation.plan.sampling_rate,
    }
    body = {"round": number, "mechanism": mechanism, "cohort": list(cohort), "weights": "uniform"}
    with federation.ledger.recording("round_open", body, federation.clock(), syncer=syncer):
        yield


@contextmanager
def release_round(
    federation: Federation, number: int, valid: Valid, judged: Judged, vector_digest: str, syncer: Syncer
) -> Iterator[Entry]:
    """Record the devices' receipts and the vector that the round releases, while the block looks at it.

    Durable when the block is left: nothing of the vector may be published in it.
    """
    recording = federation.ledger.recording(
        "release",
        {
            "round": number,
            "accepted": list(judged.devices),
            "receipts": dict(sorted(valid.heads.items())),
            "vector": vector_digest,
        },
        federation.clock(),
        syncer=syncer,
    )
    with recording as entry:
        yield entry
