"""The agent's loop: stay in touch, take one message at a time, answer it, and survive whatever happens meanwhile.

One turn:

1. *Keep up* the place in the federation: certificate, sealing keys, who the coordinator is.
2. *Look* whether the device may work. If not, and nothing is under way, go offline, so that nobody waits for it, and
   rest.
3. *Join*, when offline: the node that is remembered by a sign of life, else a new one.
4. *Ask* for a message, and write it down: it is never given again.
5. *Work* (``under_way.py``): fetch its parts, let the ``ClientApp`` answer, write the reply down, send it. Work that
   was asked to stop leaves the message where it is, and goes on from its checkpoint later; what it had debited is not
   debited again. Until then the device stays in touch, since its answer is waited for; when the time for that runs out,
   it refuses.

Whatever fails on the way to the server leads to a wait, ever longer, and another turn; a message that makes no sense is
dropped. Only the owner ends the agent.
"""

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from flwr.app import Context, Message

from skerry.device.agent.bell import Bell
from skerry.device.agent.calls import CallFailedError, Fault
from skerry.device.agent.conditions import Lapse, LapseReason
from skerry.device.agent.diary import Diary, Event
from skerry.device.agent.ear import Ear
from skerry.device.agent.enrolled import resident_of
from skerry.device.agent.flwr_fleet import FleetCalls
from skerry.device.agent.heartbeat import Node
from skerry.device.agent.journal import Journal
from skerry.device.agent.pace import Backoff, Pace
from skerry.device.agent.remembered import RememberedNode
from skerry.device.agent.standing import Standing
from skerry.device.agent.under_way import App, UnderWay
from skerry.device.agent.watch import Watch
from skerry.device.agent.watchdog import Watchdog
from skerry.device.care import Care
from skerry.device.state import DeviceHome
from skerry.device.worker import Outcome, Worker
from skerry.errors import RunFailedError, SkerryError

__all__ = ["Agent", "App"]

_REST_S = 1.0  # how soon a change of pause or conditions is seen
_STRANGER_S = 600.0
_TROUBLE_S = 30.0
_SPREAD_S = 1.0  # a gateway that has started serves its whole fleet from the same moment on


@dataclass
class Agent:
    """One device's agent; :meth:`run` returns when the bell was rung.

    Attributes:
        home: of the device.
        standing: its place in the federation.
        fleet: calls to the SuperLink, through the gateway.
        app: answers messages.
        worker: of this process, in which ``app`` looks the device up.
        journal: what is under way.
        remembered: the node of last time.
        diary: what the owner is told.
        watch: whether it may work.
        care: keeps the place of work that was asked to stop.
        watchdog: hears that the agent gets on.
        bell: rung to end it.
        random: gives jitter.
        pace: of its questions.
        monotonic: seconds on a clock that nobody sets.
    """

    home: DeviceHome
    standing: Standing
    fleet: FleetCalls
    app: App
    worker: Worker
    journal: Journal
    remembered: RememberedNode
    diary: Diary
    watch: Watch
    care: Care
    watchdog: Watchdog
    bell: Bell
    random: Random
    pace: Pace = field(default_factory=Pace)
    monotonic: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self._ear = Ear(self.fleet.line, self.fleet.presence, self.bell.nudge, self.random)
        self._node = Node(self.fleet, self.random, seen=self._seen)
        self._backoff = Backoff(0.5, _TROUBLE_S, self.random.uniform)
        self._strange = Backoff(5.0, _STRANGER_S, self.random.uniform)
        self._under_way = UnderWay(
            self.home,
            self.fleet,
            self._by_app,
            self.journal,
            self.diary,
            self.watch,
            self.care,
            self.watchdog,
            self.monotonic,
        )
        self._worked = self.monotonic()
        self._lapsed: tuple[LapseReason, ...] = ()
        self._rests = False  # as the owner was told
        self._in_trouble = ""
        self._not_renewed = ""
        self._doubtful = self.standing.member.coordinator is None

    def run(self) -> None:
        """Be there for the federation until the bell is rung."""
        self.diary.tell(Event.STARTED, f"{self.home.device} of {self.standing.member.subject.federation}")
        self.worker.told, self.worker.care = self._hear, self.care
        self._take_place()
        self._node.start()
        self._ear.start()
        self.watchdog.ready()
        try:
            while not self.bell.rung:
                self.watchdog.alive()
                self._rest(self._turn_or_trouble())
        finally:
            self.watchdog.stopping()
            self._node.end()
            self._ear.end()
            self._leave()
            self.diary.tell(Event.STOPPED, self._summary())

    def _turn_or_trouble(self) -> float:
        """One turn; seconds to wait after it."""
        try:
            wait = self._turn()
        except CallFailedError as error:
            return self._meet(error)
        except (SkerryError, OSError) as error:  # a disk that fails may come back; a fault of ours ends the process
            return self._trouble(str(error), self._backoff.failed())
        self._backoff.worked()
        self._strange.worked()
        if self._in_trouble:
            self._in_trouble = ""
            self._ear.try_again()
        return wait

    def _turn(self) -> float:
        self.care.expire()
        self._keep_up()
        lapses = self.watch.lapses()
        self._under_way.rest(rests=bool(lapses))
        if lapses:
            self._ear.listen(wanted=False)
            return self._may_not(lapses)
        if self._rests:
            self._lapsed, self._rests = (), False
            self.diary.tell(Event.RESUMED, "the device may work again")
        if self.standing.member.coordinator is None:
            raise RunFailedError("the federation has named no coordinator yet")
        node = self._node.identifier or self._join()
        self._ear.listen(wanted=True)
        hears = self._ear.hears  # before it asks: what is rung for later is heard
        if self._under_way.letter is None:
            self._under_way.ask(node)
        if self._under_way.letter is None:
            self._ear.asked()
            return self.pace.wait(self.monotonic() - self._worked, self.random, hears=hears)
        self._work(node)
        self._worked = self.monotonic()
        return self.pace.slow if self._ear.hears else 0.0  # what was sent meanwhile has nudged

    def _may_not(self, lapses: tuple[Lapse, ...]) -> float:
        """What there is to do while the device may not work; seconds to wait after it."""
        if self._under_way.waits:
            node = self._node.identifier or self._join()
            self._tell(lapses)
            if self._under_way.last_call:
                self._work(node)
        else:
            self._tell(lapses)
            self._leave()
        return _REST_S

    def _seen(self) -> bool:
        """Whether the bell alone may say that the device is there: not while an answer hangs on that."""
        return self._ear.hears and self._under_way.letter is None

    def _by_app(self, message: Message, context: Context) -> Message:
        self._ear.asked()  # what the message needs is here
        return self.app(message, context)  # the one that it has then

    def _work(self, node: int) -> None:
        self._under_way.advance(node)
        self._rests = self._rests or self._under_way.waits  # it yielded, and said so
        self._doubtful, self._under_way.doubtful = self._doubtful or self._under_way.doubtful, False

    def _keep_up(self) -> None:
        """Renew what is due. Where that fails while the certificate still holds, the work goes on."""
        doubtful, self._doubtful = self._doubtful, False
        try:
            renewed = self.standing.keep_up(doubtful=doubtful)
        except SkerryError as error:
            if str(error) != self._not_renewed:
                self._not_renewed = str(error)
                self.diary.tell(Event.FAILED, f"the certificate was not renewed: {error}")
            return
        finally:
            self._doubtful = self.standing.member.coordinator is None
        if renewed:
            self._not_renewed = ""
            self.diary.tell(Event.RENEWED, "the certificate was renewed")
            self._take_place()

    def _take_place(self) -> None:
        if self.standing.member.coordinator is not None:
            resident = resident_of(self.home, self.standing.store, self.standing.member)
            self.worker.residents[self.home.path] = resident

    def _join(self) -> int:
        before = self.remembered.read()
        node = before if before is not None and self._still_known(before) else self.fleet.activate()
        if node != before:
            self._under_way.drop("the SuperLink that asked is no more")
            self.remembered.write(node)
        self._node.online(node)
        self._lapsed = ()
        self.diary.in_touch()
        self.diary.tell(Event.ONLINE, f"in touch with {self.fleet.line.address}")
        return node

    def _still_known(self, node: int) -> bool:
        try:
            return self.fleet.heartbeat(node)
        except CallFailedError as error:
            if error.fault is Fault.NOT_REGISTERED:
                return False
            raise

    def _tell(self, lapses: tuple[Lapse, ...]) -> None:
        reasons = tuple(lapse.reason for lapse in lapses)
        if reasons != self._lapsed:
            self._lapsed, self._rests = reasons, True
            event = Event.PAUSED if LapseReason.PAUSED in reasons else Event.YIELDED
            self.diary.tell(event, "; ".join(lapse.sentence for lapse in lapses), reasons[0].value)

    def _leave(self) -> None:
        """Go offline, so that who asks for the device is told at once; as far as the SuperLink can be reached.

        A SuperLink loses replies of nodes that are offline. So a node that has just replied is left to go offline by
        itself, when its next two signs of life did not come.
        """
        replied = self._under_way.replied
        just_replied = replied is not None and self.monotonic() - replied < 2 * self.fleet.heartbeat_s
        if self._node.identifier is None or self._in_trouble or just_replied:
            self._node.lost()
            return
        with contextlib.suppress(CallFailedError):
            self._node.offline(self.fleet.deactivate)
            self.diary.tell(Event.OFFLINE, "told the SuperLink that the device is away")

    def _meet(self, error: CallFailedError) -> float:
        """Seconds to wait after a call that failed."""
        if error.fault is Fault.NOT_REGISTERED:
            self._node.lost()
            return self._backoff.failed(error.retry_after_s)
        if error.fault is Fault.UNKNOWN:
            self._node.lost()
            self._doubtful = True  # the desk says why, where the gateway does not
            wait = self._strange.failed(error.retry_after_s)
            return self._trouble(f"the gateway does not let this device in: {error.what}", wait, Event.TURNED_AWAY)
        if error.fault is Fault.WRONG_CLOCK and error.retry_after_s:  # it is there, and has just started
            self._backoff.worked()
            return self._trouble(str(error), error.retry_after_s + self.random.uniform(0.0, _SPREAD_S))
        if error.fault is Fault.WRONG_CLOCK:
            self.diary.tell(Event.TURNED_AWAY, f"{error.what}; it signs by the gateway's time now: set the clock (NTP)")
            return self._backoff.failed()
        return self._trouble(str(error), self._backoff.failed(error.retry_after_s))

    def _trouble(self, what: str, wait: float, event: Event = Event.LOST) -> float:
        """Tell it once, however long it lasts."""
        if what != self._in_trouble:
            self._in_trouble = what
            self.diary.tell(event, what)
        return wait

    def _rest(self, seconds: float) -> None:
        """Wait, but see soon whether the device may work or not any more."""
        before = bool(self.watch.lapses())
        until = self.monotonic() + seconds
        while (left := until - self.monotonic()) > 0 and not self.bell.wait(min(left, _REST_S)):
            self.watchdog.alive()
            if self.bell.nudged() or bool(self.watch.lapses()) != before:
                return

    def _hear(self, outcome: Outcome) -> None:
        where = f"round {outcome.round} of {outcome.run}"
        if outcome.reason:
            self.diary.tell(Event.REFUSED, f"{where}: {outcome.what}", outcome.reason)
        else:
            self.diary.tell(Event.TRAINED, where)

    def _summary(self) -> str:
        counts = self.diary.counts
        return f"{counts.get('trained', 0)} rounds trained, {counts.get('refused', 0)} refused since it was started"
