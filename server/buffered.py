"""Stages *plan*, *collect* and *open* of a buffered run (FedBuff): a round is what happens between two steps of the
model.

1. *plan*     free places are given to devices that may begin: whose turn it is by
  :class:`~skerry.strategies.buffered.Turns`,
   drawn uniformly. Who is asked is settled once a round, in the ledger, before the first instruction leaves.
2. *collect*  answers come in, of this round's devices and of earlier ones', until the buffer is full, or nobody is
   left to wait for. A device that is silent for the deadline gives up its place; an answer that is too stale is
   dropped. Whatever an answer holds, it takes a place in the buffer: so what a device sends moves nobody else's answer.
3. *open*     each answer must be to the instruction of its own round.

In a simulation the clock is virtual (``arrivals.py``) and everything else is as in rounds.
"""

from collections import defaultdict
from dataclasses import replace

from skerry.clock import Stopwatch
from skerry.device.protocol import Update
from skerry.errors import EnvelopeRefusedError
from skerry.records import Reason
from skerry.security.envelope import issued_of
from skerry.security.privacy.receipt import SignedReceipt
from skerry.security.privacy.stream import derive_generator
from skerry.server.account import open_round
from skerry.server.arrivals import Arrival, VirtualArrivals
from skerry.server.collect import Opened, Replies, collect, open_replies
from skerry.server.federation import Federation
from skerry.server.journal import Asked
from skerry.server.plan import RoundPlan, make_plan
from skerry.server.progress import Gathered, Progress
from skerry.strategies.buffered import Turns

__all__ = ["BufferedGathering"]

# Of an example: a MobileNetV2 at 224 pixels, forward, and forward and backward. Only the order of answers hangs on it.
_HEAD_GFLOP, _NETWORK_GFLOP = 0.6, 1.8
# Of wall-clock time: whether an answer comes in time is told by the virtual clock alone, however slow the host is.
_WALL_DEADLINE_S = 6 * 24 * 3600.0


class BufferedGathering:
    """Gathers the answers of one step after another.

    Guarantee: at most ``cohort.concurrency`` devices work at a time; a step has at most ``cohort.buffer`` answers, at
    most one of a device; a device's answers enter steps at least ``privacy.min_separation`` apart.
    """

    def __init__(self, federation: Federation) -> None:
        scenario, task = federation.scenario, federation.task
        size, places = scenario.cohort.buffer, scenario.cohort.concurrency
        assert size is not None, "a scenario of buffered rounds has a buffer"
        assert places is not None, "a scenario of buffered rounds has a concurrency"
        self._size, self._places = size, places
        self._turns = Turns(scenario.privacy.min_separation, scenario.privacy.max_participations)
        self._asked: dict[str, Asked] = {}
        self._arrivals = VirtualArrivals(
            {device: len(task.local_data(device).y) for device in federation.nodes},
            gflop=_HEAD_GFLOP if scenario.model.trainable == "head" else _NETWORK_GFLOP,
            epochs=scenario.training.epochs,
            timeout_s=scenario.cohort.deadline_s,
            seed=scenario.seed,
        )

    def __call__(self, federation: Federation, progress: Progress, number: int, watch: Stopwatch) -> Gathered:
        """The answers of step ``number``, and the instructions of those who begin before it."""
        with watch.stage("plan"):
            cohort = self._draw(federation, number)
            debit = progress.central.debit(number) if progress.central is not None else None
            with open_round(federation, number, cohort, progress.syncer, debit):
                given = (cohort, progress.vector, progress.receipts)
                plan = make_plan(federation, number, *given, deadline_s=_WALL_DEADLINE_S)
            progress.planned(plan, cohort)
            self._asked |= plan.asked
        with watch.stage("checkpoint"):
            progress.syncer.settle()
            progress.journal.begin(number, plan.asked)
        with watch.stage("collect"):
            self._send(federation, progress, plan)
            taken, dropped = self._take(federation, number)
        kept = progress.syncer.begin(progress.journal.sync)
        with watch.stage("open"):
            opened = self._open(federation, taken, dropped)
        return Gathered(
            opened,
            plan.bytes_down,
            sum(len(one.envelope) for one in taken if one.envelope is not None),
            kept,
            bases={one.device: one.base for one in taken if one.base != number},
            told={
                "virtual_s": self._arrivals.now,
                "staleness": {one.device: number - one.base for one in taken},
                "under_way": self._arrivals.working,
            },
        )

    def _draw(self, federation: Federation, number: int) -> tuple[str, ...]:
        """Who begins now: as many as there are free places, uniformly among those who may.

        Under device-level privacy those in quarantine are drawn too, and what they send is dropped: what a device sent
        must not change who else is asked.
        """
        free = self._places - self._arrivals.working
        out = frozenset() if federation.plan.unit == "device" else federation.screener.quarantined
        able = [name for name in sorted(federation.nodes) if name not in out and self._turns.may_begin(name, number)]
        able = list(federation.roster.askable(able))
        generator = derive_generator(federation.scenario.seed, "cohort", number)
        picked = generator.permutation(len(able))[:free]
        cohort = tuple(able[i] for i in sorted(picked.tolist()))
        for device in cohort:
            self._turns.begin(device, number)
        return cohort

    def _send(self, federation: Federation, progress: Progress, plan: RoundPlan) -> None:
        """Let the devices of this round work; nothing is sent to one that will be interrupted."""
        size = max((asked.size for asked in plan.asked.values()), default=0)
        able = self._arrivals.begin(tuple(plan.asked), size)
        sent = {device: envelope for device, envelope in plan.envelopes.items() if device in able}
        asked = replace(plan, envelopes=sent)
        self._arrivals.hold(plan.number, collect(federation, asked, progress.journal, deadline_s=_WALL_DEADLINE_S))

    def _take(self, federation: Federation, number: int) -> tuple[list[Arrival], dict[str, Reason]]:
        """Fill the buffer: what is in it, and who gave up a place without."""
        stalest = federation.scenario.cohort.max_staleness
        taken: list[Arrival] = []
        dropped: dict[str, Reason] = {}
        while self._arrivals.working and len(taken) < self._size:
            arrival = self._arrivals.next()
            if arrival.reason is Reason.NO_REPLY:
                dropped[arrival.device] = Reason.NO_REPLY
                self._turns.end(arrival.device)
            elif number - arrival.base > stalest:
                dropped[arrival.device] = Reason.STALE
                self._turns.end(arrival.device)
            else:
                taken.append(arrival)
                self._turns.enter(arrival.device, number)
        return taken, dropped

    def _open(self, federation: Federation, taken: list[Arrival], dropped: dict[str, Reason]) -> Opened:
        """Open the answers of each round under its own instructions."""
        by_base: dict[int, list[Arrival]] = defaultdict(list)
        for one in taken:
            by_base[one.base].append(one)
        updates: dict[str, Update] = {}
        receipts: dict[str, SignedReceipt] = {}
        refusals: dict[str, str] = {}
        dropped = dict(dropped)
        for base, some in sorted(by_base.items()):
            replies = Replies(
                {one.device: one.envelope for one in some if one.envelope is not None},
                {one.device: one.reason for one in some if one.reason is not None},
                {one.device: _made(one) for one in some},
            )
            asked = {one.device: self._asked.pop(one.device) for one in some}
            opened = open_replies(federation, RoundPlan(base, asked, {}), replies)
            updates |= opened.updates
            receipts |= opened.receipts
            dropped |= opened.dropped
            refusals |= opened.refusals
        return Opened(dict(sorted(updates.items())), receipts, dropped, refusals)  # rules are told rows by name


def _made(one: Arrival) -> int:
    """As of when an answer is opened: the coordinator sees it only when all that were asked with it are computed.

    That it is no old one is told by the instruction that it answers, which was never sent before.
    """
    try:
        return one.arrived if one.envelope is None else issued_of(one.envelope)
    except EnvelopeRefusedError:
        return one.arrived  # whatever it is, opening it tells
