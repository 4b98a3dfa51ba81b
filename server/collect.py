"""Stages *collect* and *open*: gather answers until the deadline, and keep only the authentic ones.

Whatever is wrong with an answer costs its device this round and nobody else anything.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from flwr.app import ConfigRecord

from skerry.device.protocol import CONDITIONS_LAPSED, Update
from skerry.errors import EnvelopeRefusedError, InputError
from skerry.records import Reason
from skerry.security.envelope import Kind, Refusal, kind_of
from skerry.security.envelope import Opened as OpenedEnvelope
from skerry.security.privacy.receipt import SignedReceipt
from skerry.security.privacy.stream import derive_generator
from skerry.server.federation import Federation
from skerry.server.fleet_rules import devices_needed
from skerry.server.journal import Answer, Asked, Kept, RoundJournal
from skerry.server.mailbox import NETWORK_POLL_S, Mailbox, exchange
from skerry.server.opening import Opening, open_answer, read_update
from skerry.server.plan import RoundPlan

__all__ = [
    "Opened",
    "Replies",
    "collect",
    "declines",
    "open_replies",
    "refusal",
    "rests",
    "settled",
]

_REASONS = {
    Refusal.EXPIRED: Reason.STALE,
    Refusal.NOT_YET_VALID: Reason.STALE,
    Refusal.WRONG_ROUND: Reason.STALE,
    Refusal.WRONG_REPLY: Reason.REPLAYED,
    Refusal.REPLAYED: Reason.REPLAYED,
    Refusal.NOT_FOR_US: Reason.NOT_FOR_US,
    Refusal.WRONG_RUN: Reason.NOT_FOR_US,
}

_AGAIN = 1 / 3  # of the deadline: then a device that is silent is asked the same again, and again after as long


@dataclass(frozen=True)
class Replies:
    """Sealed answers by device, why the others have none, and when each came (ms since the epoch).

    ``opening`` has those that helpers may be at already.
    """

    envelopes: dict[str, bytes] = field(default_factory=dict)
    dropped: dict[str, Reason] = field(default_factory=dict)
    arrived: dict[str, int] = field(default_factory=dict)
    opening: Opening | None = field(default=None, compare=False, repr=False)

    @property
    def bytes_up(self) -> int:
        """Bytes of all envelopes received."""
        return sum(len(envelope) for envelope in self.envelopes.values())


@dataclass(frozen=True)
class Opened:
    """Authentic updates by device, sorted, with the receipt signed beside each; sorted too, why others were dropped.

    ``refusals`` holds the reason code that a device itself gave for not taking part.
    """

    updates: dict[str, Update]
    receipts: dict[str, SignedReceipt]
    dropped: dict[str, Reason]
    refusals: dict[str, str]


def collect(
    federation: Federation,
    plan: RoundPlan,
    journal: RoundJournal,
    *,
    deadline_s: float | None = None,
    mailbox: Mailbox | None = None,
) -> Replies:
    """Send the instructions and wait for answers, at most until the deadline; each is kept as it comes.

    A device of a fleet that says that it may not work now, or is offline, holds nobody where enough others answer;
    while the round lasts it is asked again. Not under device-level privacy: how long the round lasts hangs on others,
    and whoever is silent would decide whether another takes part.

    Where more devices were asked than updates are wanted, the round is over with the look that brought enough, and the
    others are not waited for: whether they are late or silent, stragglers tell. In a simulation, where all answer at
    once, those that are late are drawn by chance.

    Args:
        federation: the run.
        plan: the round's instructions.
        journal: keeps the answers.
        deadline_s: the cohort's where nobody says another.
        mailbox: an empty one, in which late answers can be looked for.
    """
    opening = Opening(federation, plan.number, plan.asked, len(plan.asked))
    replies = Replies({device: kept.envelope for device, kept in plan.answers.items()}, opening=opening)
    replies.arrived.update({device: kept.arrived for device, kept in plan.answers.items()})
    deadline = federation.scenario.cohort.deadline_s if deadline_s is None else deadline_s
    journal.open(plan.number, plan.answers)
    order = list(plan.envelopes)
    if federation.scenario.cohort.spread_s:
        shuffled = derive_generator(federation.scenario.seed, "spread", plan.number).permutation(len(order))
        order = [order[i] for i in shuffled.tolist()]
    contents = {device: (federation.nodes[device], {"envelope": plan.envelopes[device]}) for device in order}
    lives_s = max(deadline, federation.scenario.cohort.deadline_s)
    wanted = _wanted(federation)
    updates: set[str] = set()
    if wanted is not None:
        updates = {device for device, answer in plan.answers.items() if _updates(federation, plan, device, answer)}
    if federation.simulated:
        answers = exchange(federation.grid, contents, "train", deadline_s=deadline, mailbox=mailbox, lives_s=lives_s)
    else:
        again_s = deadline * _AGAIN

        def now_rests(device: str, record: ConfigRecord) -> bool:
            said = record.get("envelope")
            return rests(federation, plan.number, plan.asked[device], device, said, now=federation.clock())

        answers = exchange(
            federation.grid,
            contents,
            "train",
            deadline_s=deadline,
            again_s=again_s,
            first_poll_s=NETWORK_POLL_S,
            rests=None if federation.plan.unit == "device" else now_rests,
            enough=devices_needed(federation.scenario) - len(plan.answers),
            mailbox=mailbox,
            lives_s=lives_s,
            spread_s=federation.scenario.cohort.spread_s,
            closed=lambda: wanted is not None and len(updates) >= wanted,
        )
    for device, record in answers:
        envelope = record.get("envelope") if record is not None else None
        if isinstance(envelope, bytes):
            replies.dropped.pop(device, None)  # it was away, and came back
            replies.envelopes[device], replies.arrived[device] = envelope, federation.clock()
            answer = Answer(envelope, replies.arrived[device])
            journal.add(plan.number, device, answer)
            opening.take(device, envelope, answer.arrived)
            if wanted is not None and _updates(federation, plan, device, answer):
                updates.add(device)
        else:
            replies.dropped[device] = Reason.ERROR
    full = not federation.simulated and wanted is not None and len(updates) >= wanted
    for device in plan.asked.keys() - replies.envelopes.keys() - replies.dropped.keys():
        replies.dropped[device] = Reason.NOT_AWAITED if full else Reason.NO_REPLY
    if wanted is not None and federation.simulated:
        for device in _slower(federation, plan.number, sorted(updates), wanted):
            del replies.envelopes[device], replies.arrived[device]
            replies.dropped[device] = Reason.LATE
    return replies


def settled(federation: Federation, number: int, kept: Kept) -> Kept:
    """What an earlier process left of a round that goes on, without those answers that are but words for then.

    Who could not work then is asked again, and is not counted among those who have answered. A round that was released
    comes out as it was.
    """
    if number in federation.past.released:
        return kept
    answers = {
        device: answer
        for device, answer in kept.answers.items()
        if not rests(federation, number, kept.asked[device], device, answer.envelope, now=answer.arrived)
    }
    return replace(kept, answers=answers)


def open_replies(federation: Federation, plan: RoundPlan, replies: Replies) -> Opened:
    """Verify, unseal and parse each answer; it must come from the device asked and answer this very instruction."""
    updates: dict[str, Update] = {}
    receipts: dict[str, SignedReceipt] = {}
    gone = federation.roster.gone(replies.envelopes)
    dropped = replies.dropped | dict.fromkeys(gone, Reason.NOT_ENROLLED)
    refusals: dict[str, str] = {}
    devices = sorted(replies.envelopes.keys() - gone)
    opening = replies.opening or Opening(federation, plan.number, plan.asked, len(devices))
    for device in devices:
        opening.take(device, replies.envelopes[device], replies.arrived[device])
    known = opening.opened()
    for device in devices:
        if device in known:
            updates[device], receipts[device] = known[device]
            continue
        try:
            opened = open_answer(
                federation,
                plan.number,
                plan.asked[device],
                device,
                replies.envelopes[device],
                now=replies.arrived[device],
            )
            if opened.header.kind is Kind.REFUSAL:
                dropped[device] = Reason.REFUSED
                refusals[device] = _reason(opened)
                continue
            updates[device], receipts[device] = read_update(opened, federation.run, plan.number, device)
        except EnvelopeRefusedError as error:
            dropped[device] = _REASONS.get(Refusal(error.reason), Reason.NOT_AUTHENTIC)
        except InputError:
            dropped[device] = Reason.SHAPE
    return Opened(updates, receipts, dict(sorted(dropped.items())), refusals)


def _wanted(federation: Federation) -> int | None:
    """How many updates end a round in which more devices were asked; None where all are waited for."""
    cohort = federation.scenario.cohort
    return cohort.size if cohort.over_select > 1 else None


def _updates(federation: Federation, plan: RoundPlan, device: str, answer: Answer) -> bool:
    """Whether it is an authentic update: what anybody else sends closes no round."""
    try:
        opened = open_answer(federation, plan.number, plan.asked[device], device, answer.envelope, now=answer.arrived)
    except EnvelopeRefusedError:
        return False
    return opened.header.kind is Kind.UPDATE


def _slower(federation: Federation, number: int, devices: Sequence[str], wanted: int) -> tuple[str, ...]:
    """Of simulated devices those that answered after enough others had."""
    order = derive_generator(federation.scenario.seed, "late", number).permutation(len(devices))
    return tuple(devices[i] for i in order[wanted:].tolist())


def _reason(refusal: OpenedEnvelope) -> str:
    return refusal.payload[:64].decode("ascii", "replace")


def refusal(
    federation: Federation, number: int, asked: Asked, device: str, envelope: object, *, now: int
) -> str | None:
    """The reason code of a device's signed refusal of its instruction; None of anything else."""
    try:
        if not isinstance(envelope, bytes) or kind_of(envelope) is not Kind.REFUSAL:
            return None
        return _reason(open_answer(federation, number, asked, device, envelope, now=now))
    except EnvelopeRefusedError:
        return None  # whatever it is, it is looked at with the others


def rests(federation: Federation, number: int, asked: Asked, device: str, envelope: object, *, now: int) -> bool:
    """Whether the device says, signed, that it may not work now."""
    return refusal(federation, number, asked, device, envelope, now=now) == CONDITIONS_LAPSED


def declines(federation: Federation, number: int, asked: Asked, device: str, envelope: object, *, now: int) -> bool:
    """Whether an answer in a buffered run is worth no more than silence: a signed refusal takes no place in the buffer.

    Were it otherwise, as many devices as the buffer holds would end a run by refusing at once. Under device-level
    privacy it takes one, unless it is that the device may not work now: what a device sends must move nobody else's.
    """
    code = refusal(federation, number, asked, device, envelope, now=now)
    return code is not None and (federation.plan.unit != "device" or code == CONDITIONS_LAPSED)
