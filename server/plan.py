"""Stage *plan*, its second half: the signed instruction that each device of a round gets."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from skerry.device.protocol import Instruction
from skerry.records import Float32Array
from skerry.server.federation import Federation
from skerry.server.journal import Answer, Asked, Kept
from skerry.server.sealing import Addressed, seal_instructions
from skerry.server.variates import ControlVariates

__all__ = ["RoundPlan", "make_plan"]

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

    def sent(self) -> "RoundPlan":
        """The same without the instructions themselves; for whom there were any is still known."""
        return replace(self, envelopes=dict.fromkeys(self.envelopes, b""))


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
    to: list[Addressed] = []
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
        counted = 0 if variates is None else variates.counted.get(device, 0)
        if counted not in words:
            told = None if variates is None else variates.told(device)
            words[counted] = replace(common, variate=told).to_bytes()
        asked[device] = Asked(b"", nonce, 0)  # it has its place; the rest is known once it is sealed
        to.append(Addressed(device, nonce, receipts.get(device, b""), words[counted]))
    envelopes: dict[str, bytes] = {}
    sealed = seal_instructions(federation, number, to, issued=now, expires=now + lifetime)
    for one, (envelope, digest) in zip(to, sealed, strict=True):
        envelopes[one.device] = envelope
        asked[one.device] = Asked(digest, one.nonce, len(envelope))
    return RoundPlan(number, asked, envelopes, dict(before.answers))
