"""Stages *plan*, *collect* and *open* of a buffered run (FedBuff): a round is what happens between two steps of the
model.

1. *plan*     free places are given to devices that may begin: whose turn it is by
  :class:`~skerry.strategies.buffered.Turns`,
   drawn uniformly. Who is asked is settled once a round, in the ledger, before the first instruction leaves.
2. *collect*  answers come in, of this round's devices and of earlier ones', until the buffer is full, or nobody is
   left to wait for. A device that is silent for the deadline gives up its place, and one that refuses does so as late;
   an answer that is too stale is dropped. Whatever else an answer holds, it takes a place in the buffer. Under
   device-level privacy a refusal takes one too: so what a device sends moves nobody else's answer.
3. *open*     each answer must be to the instruction of its own round.

When answers come is told by a virtual clock in a simulation (``virtual_arrivals.py``), over a fleet by the devices
(``live_arrivals.py``). After each step all that a process needs to go on is on the disk (``buffer_state.py``) before
the checkpoint of that step is.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from skerry.clock import Stopwatch
from skerry.device.protocol import Update, to_bytes
from skerry.records import Float32Array, Reason
from skerry.security.privacy.receipt import SignedReceipt
from skerry.security.privacy.stream import derive_generator
from skerry.server.account import open_round
from skerry.server.arrivals import Arrival, Arrivals
from skerry.server.buffer_state import BufferState
from skerry.server.carried import carried, carry
from skerry.server.collect import Opened, Replies, open_replies, refusal
from skerry.server.federation import Federation
from skerry.server.journal import Asked, Kept
from skerry.server.live_arrivals import LiveArrivals
from skerry.server.mailbox import Mailbox
from skerry.server.plan import RoundPlan, make_plan
from skerry.server.progress import Gathered, Progress
from skerry.server.virtual_arrivals import WALL_DEADLINE_S, VirtualArrivals
from skerry.strategies.buffered import Turns

__all__ = ["REFUSAL_RESTS", "BufferedGathering"]

# Of an example: a MobileNetV2 at 224 pixels, forward, and forward and backward. Only the order of answers hangs on it.
_HEAD_GFLOP, _NETWORK_GFLOP = 0.6, 1.8
_STATE, _STATES = "buffer", 2  # a process may have to go on from the step before the one whose state is written
_GIVES_UP = frozenset({Reason.NO_REPLY, Reason.REFUSED})
REFUSAL_RESTS = 10
"""Steps for which a device rests whose refusal took a place in the buffer, beside those between any two turns."""
# What a device refuses for before it looks at its examples. Of a refusal that hangs on them nobody may see more than of
# an update: under device-level privacy its device goes on being drawn as before.
_BEFORE_ITS_DATA = frozenset({"budget_exceeded", "unit_refused", "separation_refused", "unknown_model", "wrong_model"})


class BufferedGathering:
    """Gathers the answers of one step after another.

    Guarantee: at most ``cohort.concurrency`` devices work at a time; a step has at most ``cohort.buffer`` answers, at
    most one of a device; a device's answers enter steps at least ``privacy.min_separation`` apart. A process that goes
    on asks for no answer that is on this disk, and for the others under the nonces of their first instructions.
    """

    def __init__(self, federation: Federation) -> None:
        scenario = federation.scenario
        size, places = scenario.cohort.buffer, scenario.cohort.concurrency
        assert size is not None, "a scenario of buffered rounds has a buffer"
        assert places is not None, "a scenario of buffered rounds has a concurrency"
        self._size, self._places = size, places
        self._arrivals = _arrivals(federation)
        before = federation.past.rounds
        state = BufferState()
        if 0 < before < scenario.rounds:
            data = carried(federation.folder.path, _STATE, before)
            state = BufferState.from_bytes(data, where=str(federation.folder.path))
        self._arrivals.restore(state.now, state.held)
        self._turns = Turns.resumed(
            scenario.privacy.min_separation,
            scenario.privacy.max_participations,
            state.turns,
            [one.arrival.device for one in state.held],
        )
        self._asked: dict[str, Asked] = dict(state.asked)
        self._vectors: dict[int, bytes] = dict(state.vectors)
        self._left = {one.arrival.device: one.arrival.base for one in state.held if not one.answered}

    def __call__(self, federation: Federation, progress: Progress, number: int, watch: Stopwatch) -> Gathered:
        """The answers of step ``number``, and the instructions of those who begin before it."""
        with watch.stage("plan"):
            again = number == federation.past.rounds + 1
            kept = progress.journal.read(number, self._left) if again else None
            cohort = self._draw(federation, number)
            debit = progress.central.debit(number) if progress.central is not None else None
            with open_round(federation, number, cohort, progress.syncer, debit):
                plan = self._plan(federation, number, cohort, progress.vector, progress, kept)
            progress.planned(plan, cohort)
            self._asked |= plan.asked
            earlier = self._plan_again(federation, progress, kept or Kept())
            asked = {device: self._asked[device] for device in self._left} | plan.asked
            self._left = {}
        with watch.stage("checkpoint"):
            progress.syncer.settle()
            progress.journal.begin(number, asked)
        with watch.stage("collect"):
            for one in earlier:
                self._arrivals.ask_again(federation, one)
            self._arrivals.begin(federation, plan, progress.journal)
            taken, left = self._take(federation, progress, number)
        kept_now = progress.syncer.begin(progress.journal.sync)
        progress.syncer.begin(carry, federation.folder.path, _STATE, number, self._state().to_bytes(), _STATES)
        with watch.stage("open"):
            opened = self._open(federation, [*taken, *left])
        return Gathered(
            opened,
            plan.bytes_down,
            sum(len(one.envelope) for one in [*taken, *left] if one.envelope is not None),
            kept_now,
            bases={one.device: one.base for one in taken if one.base != number},
            told={
                "virtual_s" if federation.simulated else "elapsed_s": self._arrivals.now,
                "staleness": {one.device: number - one.base for one in taken},
                "under_way": self._arrivals.working,
            },
        )

    def _draw(self, federation: Federation, number: int) -> tuple[str, ...]:
        """Who begins now: as many as there are free places, uniformly among those who may.

        Under device-level privacy those in quarantine are drawn too, and what they send is dropped: what a device sent
        must not change who else is asked. A step that an earlier process opened has the devices that were asked then.
        """
        cohort = federation.past.cohorts.get(number)
        if cohort is None:
            free = self._places - self._arrivals.working - len(self._left)
            out = frozenset() if federation.plan.unit == "device" else federation.screener.quarantined
            able = [
                name for name in sorted(federation.nodes) if name not in out and self._turns.may_begin(name, number)
            ]
            able = list(federation.roster.askable(able))
            generator = derive_generator(federation.scenario.seed, "cohort", number)
            picked = generator.permutation(len(able))[:free]
            cohort = tuple(able[i] for i in sorted(picked.tolist()))
        for device in cohort:
            self._turns.begin(device, number)
        return cohort

    def _plan(
        self,
        federation: Federation,
        number: int,
        devices: Iterable[str],
        vector: Float32Array,
        progress: Progress,
        kept: Kept | None,
    ) -> RoundPlan:
        deadline_s = WALL_DEADLINE_S if federation.simulated else None
        self._vectors[number] = to_bytes(vector)
        return make_plan(federation, number, tuple(devices), vector, progress.receipts, kept, deadline_s=deadline_s)

    def _plan_again(self, federation: Federation, progress: Progress, kept: Kept) -> list[RoundPlan]:
        """New envelopes for who was at work for earlier steps when an earlier process ended, and has not answered.

        An answer names the very envelope that it is to: which one each device was sent last is known by ``kept``, the
        journal of the step under way, where this process has begun it before.
        """
        silent: dict[int, list[str]] = defaultdict(list)
        for device, base in self._left.items():
            self._asked[device] = kept.asked.get(device, self._asked[device])
            if device not in kept.answers:
                silent[base].append(device)
        plans: list[RoundPlan] = []
        for base, devices in sorted(silent.items()):
            before = Kept({device: self._asked[device] for device in devices})
            vector = np.frombuffer(self._vectors[base], "<f4").astype(np.float32)
            plans.append(self._plan(federation, base, sorted(devices), vector, progress, before))
            self._asked |= plans[-1].asked
        return plans

    def _take(self, federation: Federation, progress: Progress, number: int) -> tuple[list[Arrival], list[Arrival]]:
        """Fill the buffer: what is in it, and what freed a place and is not, each with the reason.

        A step that an earlier process released is made of what is here.
        """
        stalest = federation.scenario.cohort.max_staleness
        wait = number not in federation.past.released
        taken: list[Arrival] = []
        left: list[Arrival] = []
        while len(taken) < self._size:
            arrival = self._arrivals.next(federation, progress.journal, wait=wait)
            if arrival is None:
                break
            if arrival.reason in _GIVES_UP:
                left.append(arrival)
                self._turns.end(arrival.device)
            elif number - arrival.base > stalest:
                left.append(replace(arrival, envelope=None, reason=Reason.STALE))
                self._turns.end(arrival.device)
            else:
                taken.append(arrival)
                self._turns.enter(arrival.device, number)
                if self._may_not_take_part(federation, arrival):
                    self._turns.rest(arrival.device, REFUSAL_RESTS)
        return taken, left

    def _may_not_take_part(self, federation: Federation, one: Arrival) -> bool:
        asked = self._asked[one.device]
        return refusal(federation, one.base, asked, one.device, one.envelope, now=one.arrived) in _BEFORE_ITS_DATA

    def _state(self) -> BufferState:
        held = tuple(self._arrivals.held())
        here = {one.arrival.device for one in held}
        bases = {one.arrival.base for one in held if not one.answered}
        self._vectors = {step: vector for step, vector in self._vectors.items() if step in bases}
        asked = {device: one for device, one in self._asked.items() if device in here}
        return BufferState(self._arrivals.now, held, asked, self._turns.told(), dict(self._vectors))

    def _open(self, federation: Federation, came: list[Arrival]) -> Opened:
        """Open the answers of each round under its own instructions."""
        by_base: dict[int, list[Arrival]] = defaultdict(list)
        for one in came:
            by_base[one.base].append(one)
        updates: dict[str, Update] = {}
        receipts: dict[str, SignedReceipt] = {}
        dropped: dict[str, Reason] = {}
        refusals: dict[str, str] = {}
        for base, some in sorted(by_base.items()):
            replies = Replies(
                {one.device: one.envelope for one in some if one.envelope is not None},
                {one.device: one.reason for one in some if one.reason is not None},
                {one.device: one.arrived for one in some},
            )
            asked = {one.device: self._asked.pop(one.device) for one in some}
            opened = open_replies(federation, RoundPlan(base, asked, {}), replies)
            updates |= opened.updates
            receipts |= opened.receipts
            dropped |= opened.dropped
            refusals |= opened.refusals
        return Opened(dict(sorted(updates.items())), receipts, dropped, refusals)  # rules are told rows by name


def _arrivals(federation: Federation) -> Arrivals:
    scenario, task = federation.scenario, federation.task
    if not federation.simulated:
        return LiveArrivals(Mailbox(federation.grid), timeout_s=scenario.cohort.deadline_s)
    return VirtualArrivals(
        {device: len(task.local_data(device).y) for device in federation.nodes},
        gflop=_HEAD_GFLOP if scenario.model.trainable == "head" else _NETWORK_GFLOP,
        epochs=scenario.training.epochs,
        timeout_s=scenario.cohort.deadline_s,
        seed=scenario.seed,
    )
