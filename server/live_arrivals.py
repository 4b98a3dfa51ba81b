"""When the devices of a fleet answer in a buffered run: whenever they do.

An answer is written down as it comes, before anything else happens to it, in the order in which a process that goes on
takes it again; so is that a device is waited for no more. A device that is silent is sent the same once more at each
third of its deadline, as in a round: a SuperLink gives a message once, and a device that took it and died would never
hear of it again. So is one that refuses, and one that is offline: it keeps its place until its deadline, as if it were
silent, so that neither is ever quicker than work. At its deadline a device is waited for no more, and what it says
later is not looked at.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from flwr.app import ConfigRecord

from skerry.records import Reason
from skerry.server.arrivals import Arrival, Held
from skerry.server.collect import declines
from skerry.server.engines.grid import RunGrid
from skerry.server.federation import Federation
from skerry.server.journal import Answer, Asked, RoundJournal
from skerry.server.mailbox import NETWORK_POLL_S, Mailbox
from skerry.server.plan import RoundPlan

__all__ = ["LiveArrivals"]

_AGAIN = 1 / 3  # of the deadline
_MARGIN_S = 60.0


@dataclass(frozen=True)
class _Working:
    """A device that was asked, and when it is asked again and given up."""

    base: int
    asked: Asked
    envelope: bytes
    again: float
    until: float
    refusal: Answer | None = None


class LiveArrivals:
    """Devices of a fleet that are at work (see :class:`~skerry.server.arrivals.Arrivals`).

    Args:
        mailbox: to their nodes.
        timeout_s: seconds after which a silent device gives up its place.
        now: seconds since this process's run began.
    """

    def __init__(self, mailbox: Mailbox, *, timeout_s: float, now: Callable[[], float] = time.monotonic) -> None:
        self._mailbox, self._timeout_s, self._clock = mailbox, timeout_s, now
        self._begun = now()
        self._working: dict[str, _Working] = {}
        self._here: deque[Arrival] = deque()
        self._left: dict[str, int] = {}
        self._step = 0

    @property
    def now(self) -> float:
        """Seconds since the run began, those between two processes of it left out."""
        return self._clock() - self._begun

    @property
    def working(self) -> int:
        """Devices that were asked and are waited for, or whose answer is here and was not taken."""
        return len(self._working) + len(self._here)

    def begin(self, federation: Federation, plan: RoundPlan, journal: RoundJournal) -> None:
        """Send the instructions; answers that are here already arrive before others, in the order in which they did."""
        self._step = plan.number
        journal.open(plan.number, plan.answers)
        for device, answer in plan.answers.items():
            self._here.append(_arrival(device, self._left.get(device, plan.number), answer))
        self._send(federation, plan)

    def ask_again(self, federation: Federation, plan: RoundPlan) -> None:
        """Send the instructions of a step that an earlier process began; its devices have a whole deadline again."""
        self._send(federation, plan)

    def _send(self, federation: Federation, plan: RoundPlan) -> None:
        now = self._clock()
        for device, asked in plan.asked.items():
            if device in plan.answers:
                continue
            again, until = now + _AGAIN * self._timeout_s, now + self._timeout_s
            if device not in plan.envelopes:  # it left the fleet before it could be asked again
                until = now
            self._working[device] = _Working(plan.number, asked, plan.envelopes.get(device, b""), again, until)
        self._post(federation, plan.envelopes, self._timeout_s)

    def _post(self, federation: Federation, devices: Iterable[str], left_s: float) -> None:
        """Send these devices' instructions; each is answered under a key of its own, whatever was asked before."""
        contents = {
            _key(device, self._working[device].base): (
                federation.nodes[device],
                {"envelope": self._working[device].envelope},
            )
            for device in devices
            if device in federation.nodes
        }
        # Flower answers a message that has outlived its time with an error: by then its device was given up.
        self._mailbox.send(contents, "train", ttl_s=left_s + _MARGIN_S)

    def next(self, federation: Federation, journal: RoundJournal, *, wait: bool = True) -> Arrival | None:
        """Wait for what comes next, at most until the first deadline of those who are at work."""
        while not self._here and self._working and wait:
            self._receive(federation, journal)
            if not self._here:
                self._give_up(federation, journal)
            if self._here:
                break
            self._remind(federation)
            if isinstance(federation.grid, RunGrid):
                federation.grid.rest(NETWORK_POLL_S)
            else:
                time.sleep(NETWORK_POLL_S)
        return self._here.popleft() if self._here else None

    def _receive(self, federation: Federation, journal: RoundJournal) -> None:
        for key, record in self._mailbox.receive():
            device = key.partition(" ")[2]
            one = self._working.get(device)
            if one is None or key != _key(device, one.base):
                continue  # it was given up
            if record is None and key in self._mailbox.unheard:
                continue  # it may come back: it is asked again as one that is silent
            envelope = _envelope(record)
            answer = Answer(envelope or b"", federation.clock())
            if declines(federation, one.base, one.asked, device, envelope, now=answer.arrived):
                self._working[device] = replace(one, refusal=replace(answer, reason=Reason.REFUSED))
                continue
            journal.add(self._step, device, answer)
            self._here.append(_arrival(device, one.base, answer))
            del self._working[device]

    def _give_up(self, federation: Federation, journal: RoundJournal) -> None:
        """Written down too: who was given up may be asked anew, which a process that goes on finds in the ledger."""
        now = self._clock()
        for device in sorted(name for name, one in self._working.items() if one.until <= now):
            one = self._working.pop(device)
            answer = one.refusal or Answer(b"", federation.clock(), Reason.NO_REPLY)
            journal.add(self._step, device, answer)
            self._here.append(_arrival(device, one.base, answer))

    def _remind(self, federation: Federation) -> None:
        now = self._clock()
        for device, one in list(self._working.items()):
            if one.again <= now < one.until - _AGAIN * self._timeout_s / 2:
                self._working[device] = replace(one, again=one.again + _AGAIN * self._timeout_s)
                self._post(federation, [device], one.until - now)

    def held(self) -> list[Held]:
        """Answers that are here, in order, and after them who is at work."""
        working = [Held(Arrival(name, one.base, None, 0, None)) for name, one in self._working.items()]
        return [*(Held(arrival) for arrival in self._here), *working]

    def restore(self, now: float, held: Sequence[Held]) -> None:
        """Go on; who is at work is known again when it was asked again."""
        self._begun = self._clock() - now
        self._here.extend(one.arrival for one in held if one.answered)
        self._left = {one.arrival.device: one.arrival.base for one in held if not one.answered}


def _key(device: str, base: int) -> str:
    return f"{base} {device}"


def _envelope(record: ConfigRecord | None) -> bytes | None:
    envelope = None if record is None else record.get("envelope")
    return envelope if isinstance(envelope, bytes) else None


def _arrival(device: str, base: int, answer: Answer) -> Arrival:
    """An answer; without an envelope or a reason, the device's error."""
    reason = None if answer.envelope else Reason.ERROR
    return Arrival(device, base, answer.envelope or None, answer.arrived, answer.reason or reason)
