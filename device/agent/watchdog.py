"""Tells systemd that the agent is ready, and that it still gets on (sd_notify(3), sd_watchdog_enabled(3)).

The protocol is a datagram of lines to the socket that ``NOTIFY_SOCKET`` names; without one nothing is told. "Alive" is
told where the agent does something: between its turns, and between the steps of a training, never by a thread that
would go on when the agent does not.
"""

import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

__all__ = ["Watchdog"]

_KIND = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK  # a manager that does not read stops nobody


class Watchdog:
    """What the service manager hears.

    Args:
        environment: of the process.
        pid: of the process.
        monotonic: seconds that never go back.
    """

    def __init__(
        self, environment: Mapping[str, str], pid: int, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        usec = environment.get("WATCHDOG_USEC", "")
        mine = environment.get("WATCHDOG_PID", str(pid)) == str(pid)
        self._every_s = int(usec) / 4e6 if usec.isdigit() and mine else None  # four times in its limit
        self._monotonic = monotonic
        self._told = -float("inf")

    def ready(self) -> None:
        """The agent runs."""
        self._tell("READY=1")

    def stopping(self) -> None:
        """The agent ends."""
        self._tell("STOPPING=1")

    def alive(self) -> None:
        """It gets on; passed on no more often than it has to be, so that any step may say it."""
        if self._every_s is None:
            return
        now = self._monotonic()
        if now - self._told >= self._every_s:
            self._told = now
            self._tell("WATCHDOG=1")

    def _tell(self, line: str) -> None:
        if not self._address.startswith(("/", "@")):
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with suppress(OSError), socket.socket(socket.AF_UNIX, _KIND) as sender:
            sender.sendto(line.encode(), address)  # one that does not listen has ended, or will end us
