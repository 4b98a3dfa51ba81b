"""Waits at the gateway's bell, in a thread of its own, so that the loop need not ask again and again for a message.

Nothing but "it is worth asking now" comes this way. Who waits there is seen: the gateway tells the SuperLink that the
device is there as often as that needs to hear of it, and no other sign of life is given meanwhile, unless a message is
under way. After a ring it does not go back before the loop has fetched what it rang for: the question goes over the
connection on which the ring was heard, and needs no new one. Where the gateway has no bell, or no place at it, the loop
asks at its own pace, as it does now and then in any case.
"""

from collections.abc import Callable, Mapping
from random import Random
from threading import Event, Thread

from skerry.device.agent.calls import CallFailedError
from skerry.device.agent.line import GatewayLine
from skerry.device.agent.pace import Backoff
from skerry.errors import SkerryError

__all__ = ["Ear"]

_PATH = "/v1/bell"
_STROKE = 64
_AGAIN_S, _SELDOM_S = 5.0, 600.0
_ASKS_S = 5.0  # the loop may be at something else, or fail


class Ear:
    """Listens while it is told to.

    Args:
        line: to the gateway.
        presence: headers by which the SuperLink knows the device's node.
        nudge: called, from the thread, when there may be a message.
        random: gives the jitter; no secret.
    """

    def __init__(
        self,
        line: GatewayLine,
        presence: Callable[[], Mapping[str, str]],
        nudge: Callable[[], None],
        random: Random,
    ) -> None:
        self._line = line
        self._presence = presence
        self._nudge = nudge
        self._backoff = Backoff(_AGAIN_S, _SELDOM_S, random.uniform)
        self._wanted, self._ended, self._again, self._asked = Event(), Event(), Event(), Event()
        self._heard = ""
        self.hears = False
        """Whether a message would be heard of: the gateway answered here last time."""
        self._thread = Thread(target=self._run, name="ear", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def end(self) -> None:
        """Stop; a wait that is under way ends with the line."""
        self._ended.set()
        self._wanted.set()
        self._again.set()
        self._asked.set()

    def asked(self) -> None:
        """The loop has fetched what there was: the line is free to listen on."""
        self._asked.set()

    def try_again(self) -> None:
        """The gateway is reached again: what failed before is tried at once, and nothing is held against it."""
        self._again.set()

    def listen(self, *, wanted: bool) -> None:
        """Listen from now on, or not: a device that may not work hears nothing, and uses no network for it."""
        if wanted:
            self._wanted.set()
        else:
            self._wanted.clear()
            self.hears = False

    def _run(self) -> None:
        while not self._ended.is_set():
            self._wanted.wait()
            if self._ended.is_set():
                return
            try:
                stroke = self._line.post(_PATH, self._heard.encode(), self._presence(), longest=_STROKE)
            except (CallFailedError, SkerryError, OSError, RuntimeError) as error:  # RuntimeError: the line was closed
                if self.hears:
                    self.hears = False
                    self._nudge()  # who waits as one that hears is to ask at its own pace
                at_least = error.retry_after_s if isinstance(error, CallFailedError) else 0.0
                if self._again.wait(self._backoff.failed(at_least)):
                    self._again.clear()
                    self._backoff.worked()
                continue
            self._backoff.worked()
            said = stroke.decode(errors="replace")
            rung, self._heard = said != self._heard, said
            self.hears = self._wanted.is_set()
            if rung:
                self._asked.clear()
                self._nudge()
                self._asked.wait(_ASKS_S)
