"""Stage *plan*: who is asked this round, and the signed instruction each of them gets."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from skerry.device.protocol import Instruction
from skerry.device.training.descent import draw_examples
from skerry.records import Float32Array
from skerry.security.envelope import Header, Kind, seal_named
from skerry.security.privacy.stream import derive_generator
from skerry.server.federation import Federation
from skerry.server.journal import Answer, Asked, Kept
from skerry.server.variates import ControlVariates

__all__ = ["RoundPlan", "draw_cohort", "make_plan"]

GRACE_MS = 60_000


@dataclass(frozen=True)
class RoundPlan:
    """The round's instructions by device, sorted.

    Attributes:
        number: of the round.
        asked: what is known of each instruction.
        envelopes: those that are to be sent.
        answers: those that an earlier process received; their devices are not asked again.
    """

    number: int
    asked: dict[str, Asked]
    envelopes: dict[str, bytes]
    answers: dict[str, Answer] = field(default_factory=dict)

    @property
    def bytes_down(self) -> int:
        """Bytes of all instructions, those of an earlier process too; one that is sent again counts once."""
        return sum(asked.size for asked in self.asked.values())


def draw_cohort(federation: Federation, number: int, last_asked: Mapping[str, int]) -> tuple[str, ...]:
    """The devices of this round: all, or a fixed number drawn uniformly; quarantined devices are never asked.

    Under Poisson sampling each device is drawn by itself, with 64 random bits; nobody but the coordinator may learn
    whom, or the amplification that is accounted is gone.

    A round that an earlier process opened has the devices that were asked then: their debits may be on their disks.

    Under a minimum separation b, "all" are asked in turns, each in one of b rounds; a fixed number is drawn from those
    who were not asked in the last b - 1. A device would refuse anyway.

    The draw is reproducible in simulation. Only Poisson sampling gives privacy amplification, and only it is claimed.
    """
    if number in federation.past.cohorts:
        return federation.past.cohorts[number]
    cohort, apart = federation.scenario.cohort, federation.scenario.privacy.min_separation
    if cohort.rate is not None:
        names = sorted(federation.nodes)
        chosen = [names[i] for i in draw_examples(len(names), cohort.rate, federation.stream("cohort", number))]
        drawn = tuple(name for name in chosen if name not in federation.screener.quarantined)
        return federation.roster.askable(drawn)
    rested = [
        name
        for i, name in enumerate(sorted(federation.nodes))
        if (i % apart == number % apart if cohort.sampling == "all" else number - last_asked.get(name, -apart) >= apart)
    ]
    eligible = federation.roster.askable(name for name in rested if name not in federation.screener.quarantined)
    if cohort.sampling == "all" or cohort.size is None or cohort.size >= len(eligible):
        return eligible
    generator = derive_generator(federation.scenario.seed, "cohort", number)
    picked = generator.choice(len(eligible), size=cohort.size, replace=False)
    return tuple(eligible[i] for i in sorted(picked))


def make_plan(
    federation: Federation,
    number: int,
    cohort: Sequence[str],
    vector: Float32Array,
    receipts: Mapping[str, bytes] = MappingProxyType({}),
    kept: Kept | None = None,
    *,
    deadline_s: float | None = None,
    variates: ControlVariates | None = None,
) -> RoundPlan:
    """Sign and seal one instruction for each device of the cohort.

    ``receipts`` are the digests of the last ones that devices gave: an instruction carries its device's. ``kept`` is
    what an earlier process left of this round: devices that answered it are not asked again, and the others are asked
    under the same nonce, by which they know whether they have done the work. Instructions hold for ``deadline_s``,
    which is the cohort's where nobody says another. ``variates`` are those of a run of SCAFFOLD.
    """
    before = kept or Kept()
    common = Instruction(
        vector=vector,
        layout=federation.model.layout.digest,
        plan=federation.plan_for(number),
        seed=federation.scenario.seed if federation.simulated else None,
        loss=federation.scenario.training.fairness > 0,
    )
    words: dict[int, bytes] = {}  # all devices are told the same, but for the round that SCAFFOLD counted last of each
    now = federation.clock()
    deadline = federation.scenario.cohort.deadline_s if deadline_s is None else deadline_s
    lifetime = int(deadline * 1000) + GRACE_MS
    asked: dict[str, Asked] = {}
    envelopes: dict[str, bytes] = {}
    here = set(federation.roster.askable(cohort))
    # In a buffered run who has not answered in its round answers in a later one.
    lapsed = number in federation.past.released and federation.scenario.cohort.mode != "buffered"
    for device in cohort:
        earlier = before.asked.get(device)
        if earlier is not None and device in before.answers:
            asked[device] = earlier
            continue
        if lapsed and device not in federation.past.answered[number]:
            # The round went on without it, and comes out as it was released.
            asked[device] = earlier or Asked(b"", b"", 0)
            continue
        if device not in here:  # an earlier process of this run had chosen it
            asked[device] = earlier or Asked(b"", b"", 0)
            continue
        nonce = earlier.nonce if earlier is not None else secrets.token_bytes(16)
        receiver = federation.directory.get(device)
        header = Header(
            suite=receiver.suite,
            kind=Kind.INSTRUCTION,
            run=federation.run,
            round=number,
            sender=federation.coordinator.name,
            receiver=device,
            model=federation.model.digest,
            nonce=nonce,
            in_reply_to=b"",
            receipt=receipts.get(device, b""),
            issued=now,
            expires=now + lifetime,
        )
        counted = 0 if variates is None else variates.counted.get(device, 0)
        if counted not in words:
            told = None if variates is None else variates.told(device)
            words[counted] = replace(common, variate=told).to_bytes()
        envelopes[device], digest = seal_named(header, words[counted], sender=federation.coordinator, receiver=receiver)
        asked[device] = Asked(digest, nonce, len(envelopes[device]))
    return RoundPlan(number, asked, envelopes, dict(before.answers))
