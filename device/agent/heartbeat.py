"""Signs of life, from a thread of its own: a device that computes is not offline.

None is given while the device waits at the gateway's bell with nothing to do: there it is seen.
"""

from collections.abc import Callable
from random import Random
from threading import Event, Lock, Thread

from skerry.device.agent.calls import CallFailedError, Fault
from skerry.device.agent.flwr_fleet import FleetCalls
from skerry.errors import SkerryError

__all__ = ["Node"]

_SHARE = 0.6  # of the interval that was promised: one may be lost on its way
_AGAIN_S = 3.0


class Node:
    """The device's node while it is online; keeps it so.

    Args:
        fleet: the calls.
        random: gives the jitter.
        seen: whether no sign of life of its own is needed now; asked from the thread.
    """

    def __init__(self, fleet: FleetCalls, random: Random, *, seen: Callable[[], bool] = lambda: False) -> None:
        self._fleet = fleet
        self._random = random
        self._seen = seen
        self._lock = Lock()  # so that no sign of life that is under way brings a node back that has just left
        self._identifier: int | None = None
        self._ended = Event()
        self._thread = Thread(target=self._beat, name="heartbeat", daemon=True)

    @property
    def identifier(self) -> int | None:
        """None while it is offline."""
        return self._identifier

    def start(self) -> None:
        """Begin to give signs of life while online."""
        self._thread.start()

    def end(self) -> None:
        """Stop; the node itself is left as it is."""
        self._ended.set()

    def online(self, identifier: int) -> None:
        """It is online from now on."""
        self._identifier = identifier

    def offline(self, leave: Callable[[int], None]) -> None:
        """It is offline; ``leave`` says so to the SuperLink."""
        with self._lock:
            identifier, self._identifier = self._identifier, None
            if identifier is not None:
                leave(identifier)

    def lost(self) -> None:
        """The SuperLink does not know it any more."""
        self._identifier = None

    def _beat(self) -> None:
        wait = self._interval()
        while not self._ended.wait(wait):
            wait = self._interval()
            with self._lock:
                identifier = self._identifier
                if identifier is None or self._seen():
                    continue
                try:
                    known = self._fleet.heartbeat(identifier)
                except CallFailedError as error:  # the main loop meets it too, and says so
                    known, wait = error.fault is not Fault.NOT_REGISTERED, _AGAIN_S
                except (SkerryError, OSError):  # such as a key store that cannot sign now
                    known, wait = True, _AGAIN_S
                if not known and self._identifier == identifier:
                    self._identifier = None

    def _interval(self) -> float:
        return self._fleet.heartbeat_s * _SHARE * self._random.uniform(0.9, 1.0)
