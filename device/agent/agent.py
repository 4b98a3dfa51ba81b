"""The agent's loop: stay in touch, take one message at a time, answer it, and survive whatever happens meanwhile.

One turn:

1. *Keep up* the place in the federation: certificate, sealing keys, who the coordinator is.
2. *Look* whether the device may work. If not, go offline, so that nobody waits for it, and rest.
3. *Join*, when offline: the node that is remembered by a sign of life, else a new one.
4. *Ask* for a message, and write it down: it is never given again.
5. *Work*: fetch its parts, let the ``ClientApp`` answer, write the reply down, send it. Work that was asked to stop
   leaves the message where it is, and goes on from its checkpoint later; what it had debited is not debited again.

Whatever fails on the way to the server leads to a wait, ever longer, and another turn; a message that makes no sense is
dropped. Only the owner ends the agent.
"""

import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from flwr.app import Context, Error, Message, RecordDict

from skerry.device.agent.bell import Bell
from skerry.device.agent.calls import CallFailedError, Fault
from skerry.device.agent.conditions import Lapse, LapseReason
from skerry.device.agent.diary import Diary, Event
from skerry.device.agent.ear import Ear
from skerry.device.agent.enrolled import resident_of
from skerry.device.agent.flwr_fleet import FleetCalls, Parcel, open_parcel, pack
from skerry.device.agent.heartbeat import Node
from skerry.device.agent.journal import Journal
from skerry.device.agent.pace import Backoff, Pace
from skerry.device.agent.remembered import RememberedNode
from skerry.device.agent.standing import Standing
from skerry.device.agent.watch import Watch
from skerry.device.agent.watchdog import Watchdog
from skerry.device.care import Care
from skerry.device.state import DeviceHome
from skerry.device.worker import Outcome, Worker
from skerry.device.yielding import NotYetError, YieldedError, may_be_asked_to_yield
from skerry.errors import RunFailedError, SkerryError

__all__ = ["Agent", "App"]

App = Callable[[Message, Context], Message]

_LOG = logging.getLogger(__name__)
_APP_FAILED = 2  # Flower's ErrorCode.CLIENT_APP_RAISED_EXCEPTION, which its public face does not name
_HEAVY = 1 << 20  # bytes of a message that the SuperLink should not hold for as long as a training lasts
_REST_S = 1.0  # how soon a change of pause or conditions is seen
_STRANGER_S = 600.0
_TROUBLE_S = 30.0


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

    def __post_init__(self) -> None:
        self._node = Node(self.fleet, self.random)
        self._ear = Ear(self.fleet.line, self.bell.nudge, self.random)
        self._backoff = Backoff(0.5, _TROUBLE_S, self.random.uniform)
        self._strange = Backoff(5.0, _STRANGER_S, self.random.uniform)
        self._under_way = self.journal.letter()
        self._worked = time.monotonic()
        self._replied: float | None = None
        self._runtime_s = 0.0
        self._lapsed: tuple[LapseReason, ...] = ()
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
        self._in_trouble = ""
        return wait

    def _turn(self) -> float:
        self.care.expire()
        self._keep_up()
        lapses = self.watch.lapses()
        if lapses:
            self._ear.listen(wanted=False)
            self._yield_to(lapses)
            return _REST_S
        if self.standing.member.coordinator is None:
            raise RunFailedError("the federation has named no coordinator yet")
        node = self._node.identifier or self._join()
        self._ear.listen(wanted=True)
        hears = self._ear.hears  # before it asks: what is rung for later is heard
        letter = self._under_way or self._ask(node)
        if letter is None:
            return self.pace.wait(time.monotonic() - self._worked, self.random, hears=hears)
        self._work(node, letter)
        self._worked = time.monotonic()
        return self.pace.slow if self._ear.hears else 0.0  # what was sent meanwhile has nudged

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
            self._drop("the SuperLink that asked is no more")
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

    def _ask(self, node: int) -> Parcel | None:
        try:
            letter = self.fleet.pull(node)
        except CallFailedError as error:
            if error.fault is not Fault.GONE:
                raise
            self.diary.tell(Event.DROPPED, f"a message was dropped: {error.what}")
            letter = None
        self.diary.in_touch()
        if letter is not None:
            self._under_way = letter  # first: it is ours now, also while the disk is full
            self.journal.keep_letter(letter)
        return letter

    def _work(self, node: int, letter: Parcel) -> None:
        """Bring the message that is under way one step further, or to its end."""
        if self.fleet.line.spoken().now >= letter.expires:  # by the gateway's clock, as the SuperLink's is
            self._drop("its time was over before it could be answered")
            return
        try:
            if self.journal.reply() is None and not self._answer(node, letter):
                return
            self._send(node)
        except CallFailedError as error:
            if error.fault is not Fault.GONE:
                raise
            self._drop(error.what)
            return
        self._replied = time.monotonic()
        if letter.size <= _HEAVY:
            self._confirm(node, letter)
        self.journal.clear()
        self._under_way = None
        self.diary.in_touch()

    def _answer(self, node: int, letter: Parcel) -> bool:
        """Make the reply and write it down; False when it was asked to stop."""
        if not letter.objects:
            letter = self.fleet.fetch(node, letter)
            self.journal.keep_letter(letter)
            self._under_way = letter
            if letter.size > _HEAVY:
                self._confirm(node, letter)
        begun = time.monotonic()
        try:
            message = open_parcel(letter)
        except ValueError as error:
            raise CallFailedError(Fault.GONE, str(error)) from error
        context = Context(
            run_id=letter.metadata.run_id,
            node_id=node,
            node_config={"skerry-home": str(self.home.path)},
            state=RecordDict(),
            run_config={},
        )
        try:
            with may_be_asked_to_yield(self._asked_to_yield):
                reply = self._by_app(message, context)
        except NotYetError as lacks:
            raise CallFailedError(Fault.UNREACHABLE, str(lacks)) from lacks
        except YieldedError:
            self.diary.tell(Event.YIELDED, "training stopped; it goes on when the device may work")
            return False
        if reply.has_error():
            self.diary.tell(Event.FAILED, reply.error.reason or "without a reason")
            self._doubtful = True  # who signs for the coordinator may be another by now
        self._runtime_s = time.monotonic() - begun
        self.journal.keep_reply(pack(reply))
        return True

    def _confirm(self, node: int, letter: Parcel) -> None:
        with contextlib.suppress(CallFailedError):  # it frees memory at the SuperLink, no more
            self.fleet.confirm(node, letter)

    def _asked_to_yield(self) -> bool:
        """Asked at every step of the work, which is how it is known to get on."""
        self.watchdog.alive()
        return self.watch.asked_to_yield()

    def _by_app(self, message: Message, context: Context) -> Message:
        try:
            return self.app(message, context)
        except Exception as error:  # noqa: BLE001 - training may raise anything; the server is told the type, the log the rest
            _LOG.exception("the device's app failed")
            return Message(Error(_APP_FAILED, f"the device's app failed ({type(error).__name__})"), reply_to=message)

    def _send(self, node: int) -> None:
        """Send the reply; what is still missing goes out in the session in which it was announced, if that holds."""
        kept = self.journal.reply()
        assert kept is not None  # it was just written
        session = kept.session
        if session is not None:
            try:
                for identifier in session.missing:
                    self.fleet.upload(node, kept.reply, session, identifier)
            except CallFailedError as error:
                if error.fault is not Fault.GONE:
                    raise
            else:
                return
        session = self.fleet.announce(node, kept.reply, self._runtime_s)
        if session.missing:
            self.journal.keep_session(session)
        for identifier in session.missing:
            self.fleet.upload(node, kept.reply, session, identifier)

    def _drop(self, why: str) -> None:
        if self._under_way is not None:
            self._under_way = None
            self.journal.clear()
            self.care.finished()
            self.diary.tell(Event.DROPPED, f"a message was dropped: {why}")

    def _yield_to(self, lapses: tuple[Lapse, ...]) -> None:
        reasons = tuple(lapse.reason for lapse in lapses)
        if reasons != self._lapsed:
            self._lapsed = reasons
            event = Event.PAUSED if LapseReason.PAUSED in reasons else Event.YIELDED
            self.diary.tell(event, "; ".join(lapse.sentence for lapse in lapses), reasons[0].value)
        self._leave()

    def _leave(self) -> None:
        """Go offline, so that who asks for the device is told at once; as far as the SuperLink can be reached.

        A SuperLink loses replies of nodes that are offline. So a node that has just replied is left to go offline by
        itself, when its next two signs of life did not come.
        """
        just_replied = self._replied is not None and time.monotonic() - self._replied < 2 * self.fleet.heartbeat_s
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
        if error.fault is Fault.WRONG_CLOCK:
            self.diary.tell(Event.TURNED_AWAY, f"{error.what}; it signs by the gateway's time now: set the clock (NTP)")
            return self._backoff.failed(error.retry_after_s)
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
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and not self.bell.wait(min(left, _REST_S)):
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
