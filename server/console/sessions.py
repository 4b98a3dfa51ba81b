"""Who is signed in at the console: in the gateway's memory, so that its end is theirs too.

A cookie is 256 random bits; only its hash is kept. A session ends after :data:`LONGEST_S`, after :data:`IDLE_S` without
use, when it is signed out, and when the oldest has to make room: of the same person, who has a few; over all, of those
who may only look before those who decide.
"""

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256

from skerry.server.console.links import Admitted, ConsoleRole

__all__ = ["COOKIE", "IDLE_S", "LONGEST_S", "Session", "Sessions"]

COOKIE = "__Host-skerry-console"
"""A browser takes a cookie of this prefix only from this host, over TLS, for all of its paths."""

LONGEST_S = 12 * 3600.0
IDLE_S = 3600.0
_MOST = 64
_MOST_EACH = 8
_BYTES = 32


@dataclass(frozen=True)
class Session:
    """One sign-in.

    Attributes:
        key: hash of the cookie.
        admitted: who it is.
        csrf: what a request that changes something has to repeat in a header: only the page itself was told it.
        until: when it ends at the latest, by the sessions' clock.
    """

    key: str
    admitted: Admitted
    csrf: str
    until: float


class Sessions:
    """One for a gateway, on its event loop.

    Args:
        now: seconds that only go forward.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._open: OrderedDict[str, tuple[Session, float]] = OrderedDict()  # with their last use, oldest use first

    def begin(self, admitted: Admitted) -> tuple[str, Session]:
        """A new session, and the cookie that it is known by."""
        cookie = secrets.token_urlsafe(_BYTES)
        session = Session(_key(cookie), admitted, secrets.token_urlsafe(_BYTES), self._now() + LONGEST_S)
        theirs = [key for key, (one, _) in self._open.items() if one.admitted == admitted]
        for key in theirs[: max(0, len(theirs) - _MOST_EACH + 1)]:
            self.end(key)
        if len(self._open) >= _MOST:
            lookers = (key for key, (one, _) in self._open.items() if one.admitted.role is ConsoleRole.VIEWER)
            self.end(next(lookers, next(iter(self._open))))
        self._open[session.key] = session, self._now()
        return cookie, session

    def find(self, cookie: str) -> Session | None:
        """The session of a cookie, which is used by that."""
        return self.use(_key(cookie))

    def use(self, key: str) -> Session | None:
        """A session that goes on, which is used by that; one that does not is forgotten."""
        found = self._open.pop(key, None)
        if found is None or self._now() >= min(found[0].until, found[1] + IDLE_S):
            return None
        self._open[key] = found[0], self._now()
        return found[0]

    def end(self, key: str) -> None:
        """Sign out."""
        self._open.pop(key, None)


def _key(cookie: str) -> str:
    return sha256(cookie.encode()).hexdigest()
