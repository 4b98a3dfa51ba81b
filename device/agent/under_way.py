"""The message under way: taken, worked on, answered, whatever happens meanwhile; one at a time.

It is written down before anything is done with it, and so is its reply before any of it is sent
(:mod:`~skerry.device.agent.journal`). Work that has to stop because the device may not work leaves the message where it
is. When it has rested for ten seconds, or its answer would soon come too late, it is asked for no more than that
answer: a training that may not go on is then refused, signed, with its reason code, so that the round does not wait for
it. While the round lasts all the same, the coordinator asks again, and the training is done under the same debit.
"""

import contextlib
import logging
import time
from collections.abc import Callable

from flwr.app import Context, Error, Message, RecordDict

from skerry.device.agent.calls import CallFailedError, Fault
from skerry.device.agent.diary import Diary, Event
from skerry.device.agent.flwr_fleet import FleetCalls, Parcel, open_parcel, pack
from skerry.device.agent.journal import Journal
from skerry.device.agent.watch import Watch
from skerry.device.agent.watchdog import Watchdog
from skerry.device.care import Care
from skerry.device.state import DeviceHome
from skerry.device.yielding import NotYetError, YieldedError, may_be_asked_to_yield

__all__ = ["App", "UnderWay"]

App = Callable[[Message, Context], Message]

_LOG = logging.getLogger(__name__)
_APP_FAILED = 2  # Flower's ErrorCode.CLIENT_APP_RAISED_EXCEPTION, which its public face does not name
_HEAVY = 1 << 20  # bytes of a message that the SuperLink should not hold for as long as a training lasts
_TOO_LATE = "its time was over before it could be answered"
_REST_S = 10.0  # most lapses that end soon, such as a processor that others use, end within that
_LAST_CALL_MS, _LAST_SHARE = 15_000, 0.25  # before a message's end, and of its life at most: a refusal has to arrive


class UnderWay:
    """See the module.

    Args:
        home: of the device.
        fleet: calls to the SuperLink.
        app: answers messages.
        journal: keeps the message and its reply.
        diary: what the owner is told.
        watch: whether the device may work.
        care: keeps the place of work that was asked to stop.
        watchdog: hears that the work gets on.
        monotonic: seconds on a clock that nobody sets; how long the device rests is measured by it.
    """

    def __init__(
        self,
        home: DeviceHome,
        fleet: FleetCalls,
        app: App,
        journal: Journal,
        diary: Diary,
        watch: Watch,
        care: Care,
        watchdog: Watchdog,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._home, self._fleet, self._app, self._journal = home, fleet, app, journal
        self._diary, self._watch, self._care, self._watchdog = diary, watch, care, watchdog
        self._monotonic = monotonic
        self._runtime_s = 0.0
        self.letter = journal.letter()
        """The message; None when there is none."""
        self.replied: float | None = None
        """When a reply went out last, by the monotonic clock."""
        self.doubtful = False
        """Whether who signs for the coordinator may be another by now; whoever asks there sets it back."""
        self._rests_since: float | None = None

    @property
    def waits(self) -> bool:
        """Whether there is work that was begun, or could be, and is not answered."""
        return self.letter is not None and bool(self.letter.objects) and self._journal.reply() is None

    @property
    def last_call(self) -> bool:
        """Whether the work has rested for long enough, or an answer would soon come too late."""
        if self.letter is None:
            return False
        rested = self._rests_since is not None and self._monotonic() - self._rests_since >= _REST_S
        margin = min(_LAST_CALL_MS, round(_LAST_SHARE * self.letter.life_ms))
        return rested or self._fleet.line.spoken().now >= self.letter.expires - margin

    @property
    def _over(self) -> bool:
        """Whether nobody waits for an answer any more: by the gateway's clock, as the SuperLink's is."""
        return self.letter is not None and self._fleet.line.spoken().now >= self.letter.expires

    def rest(self, *, rests: bool) -> None:
        """The device may not work now, or may again: from when on the work in hand rests."""
        if not rests:
            self._rests_since = None
        elif self._rests_since is None:
            self._rests_since = self._monotonic()

    def ask(self, node: int) -> None:
        """Ask for a message."""
        try:
            letter = self._fleet.pull(node)
        except CallFailedError as error:
            if error.fault is not Fault.GONE:
                raise
            self._diary.tell(Event.DROPPED, f"a message was dropped: {error.what}")
            letter = None
        self._diary.in_touch()
        if letter is not None:
            self.letter = letter  # first: it is ours now, also while the disk is full
            self._journal.keep_letter(letter)

    def advance(self, node: int) -> None:
        """Bring the message one step further, or to its end."""
        assert self.letter is not None  # the caller asked
        if self._over:
            self.drop(_TOO_LATE)
            return
        try:
            if self._journal.reply() is None and not self._answer(node):
                return
            self._send(node)
        except CallFailedError as error:
            if error.fault is not Fault.GONE:
                raise
            self.drop(error.what)
            return
        self.replied = self._monotonic()
        if self.letter.size <= _HEAVY:
            self._confirm(node, self.letter)
        self._journal.clear()
        self.letter = None
        self._diary.in_touch()

    def drop(self, why: str) -> None:
        """Nobody waits for it, or it cannot be answered."""
        if self.letter is not None:
            self.letter = None
            self._journal.clear()
            self._care.expire()  # the same may be asked again, in another copy
            self._diary.tell(Event.DROPPED, f"a message was dropped: {why}")

    def _answer(self, node: int) -> bool:
        """Make the reply and write it down; False when it was asked to stop."""
        letter = self._fetched(node)
        begun = self._monotonic()
        try:
            message = open_parcel(letter)
        except ValueError as error:
            raise CallFailedError(Fault.GONE, str(error)) from error
        context = Context(
            run_id=letter.metadata.run_id,
            node_id=node,
            node_config={"skerry-home": str(self._home.path)},
            state=RecordDict(),
            run_config={},
        )
        try:
            with may_be_asked_to_yield(self._asked_to_yield):
                reply = self._by_app(message, context)
        except NotYetError as lacks:
            raise CallFailedError(Fault.UNREACHABLE, str(lacks)) from lacks
        except YieldedError:
            if self._over:
                self.drop(_TOO_LATE)
            else:
                self._diary.tell(Event.YIELDED, "training stopped; it goes on when the device may work")
            return False
        if reply.has_error():
            self._diary.tell(Event.FAILED, reply.error.reason or "without a reason")
            self.doubtful = True
        self._runtime_s = self._monotonic() - begun
        self._journal.keep_reply(pack(reply))
        return True

    def _fetched(self, node: int) -> Parcel:
        """The message with its parts."""
        assert self.letter is not None  # it is under way
        if not self.letter.objects:
            letter = self._fleet.fetch(node, self.letter)
            self._journal.keep_letter(letter)
            self.letter = letter
            if letter.size > _HEAVY:
                self._confirm(node, letter)
        return self.letter

    def _confirm(self, node: int, letter: Parcel) -> None:
        with contextlib.suppress(CallFailedError):  # it frees memory at the SuperLink, no more
            self._fleet.confirm(node, letter)

    def _asked_to_yield(self) -> bool:
        """Asked at every step of the work, which is how it is known to get on."""
        self._watchdog.alive()
        given_back = self._watch.ending or self._over
        self._care.last_call = self.last_call and not given_back
        return given_back or self._watch.asked_to_yield()

    def _by_app(self, message: Message, context: Context) -> Message:
        try:
            return self._app(message, context)
        except Exception as error:  # noqa: BLE001 - the app is the user's code, and an agent outlives its errors: the type is answered, the rest logged
            _LOG.exception("the device's app failed")
            return Message(Error(_APP_FAILED, f"the device's app failed ({type(error).__name__})"), reply_to=message)

    def _send(self, node: int) -> None:
        """Send the reply; what is still missing goes out in the session in which it was announced, if that holds."""
        kept = self._journal.reply()
        assert kept is not None  # it was just written
        session = kept.session
        if session is not None:
            try:
                for identifier in session.missing:
                    self._fleet.upload(node, kept.reply, session, identifier)
            except CallFailedError as error:
                if error.fault is not Fault.GONE:
                    raise
            else:
                return
        session = self._fleet.announce(node, kept.reply, self._runtime_s)
        if session.missing:
            self._journal.keep_session(session)
        for identifier in session.missing:
            self._fleet.upload(node, kept.reply, session, identifier)
