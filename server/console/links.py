"""Links that let somebody into the console once.

A link carries a random token; of it only the hash is kept, as the name of a file in the federation's private folder.
The token begins with whom it is for, as a hash: so a person's own links, of which a few are open at once, are found
without reading anybody's. Whoever may write that folder, which is the account that runs the servers, may let somebody
in, and so may a member of the federation who signed for it (:mod:`~skerry.server.console.routes`). The file goes when
the token is used.
"""

import json
import re
import secrets
from dataclasses import asdict, dataclass
from enum import StrEnum
from hashlib import sha256
from pathlib import Path

from skerry.clock import Clock
from skerry.fsio import write_atomic

__all__ = ["LINK_MS", "Admitted", "ConsoleRole", "Links"]

LINK_MS = 300_000
"""How long a link can be used."""

_TOKEN_BYTES = 32
_PERSON = 16  # characters
_MOST_EACH = 4
_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,128}")  # what is taken for one


class ConsoleRole(StrEnum):
    """What somebody may do at the console."""

    VIEWER = "viewer"
    OPERATOR = "operator"


@dataclass(frozen=True)
class Admitted:
    """Whom a link lets in.

    Attributes:
        who: author of the decisions that are made in the session.
        role: see :class:`ConsoleRole`.
        member: name of the enrolled member who signed for the link; the session ends with that member's standing.
    """

    who: str
    role: ConsoleRole
    member: str | None = None


class Links:
    """Links that can still be used, in a folder; several processes may use it.

    Args:
        folder: made when missing, closed to others.
        clock: ms since the epoch.
    """

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._folder = folder
        self._clock = clock

    def make(self, admitted: Admitted) -> str:
        """A token that lets somebody in once, within :data:`LINK_MS`; the oldest of a few that they have makes room.

        Raises:
            DiskFullError: no room.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        self._folder.chmod(0o700)
        person = sha256(json.dumps(asdict(admitted), sort_keys=True).encode()).hexdigest()[:_PERSON]
        self._make_room(person)
        token = person + secrets.token_urlsafe(_TOKEN_BYTES)
        kept = {**asdict(admitted), "expires": self._clock() + LINK_MS}
        write_atomic(self._file(token), json.dumps(kept).encode(), mode=0o600, durable=False)
        return token

    def take(self, token: str) -> Admitted | None:
        """Whom a token lets in, which it does no more; ``None`` for one that is unknown, used or too old."""
        if not _TOKEN.fullmatch(token):
            return None
        path = self._file(token)
        try:
            kept = json.loads(path.read_bytes())
            path.unlink()  # of two who come at once one has it
        except FileNotFoundError:
            return None
        if self._clock() >= kept["expires"]:
            return None
        return Admitted(kept["who"], ConsoleRole(kept["role"]), kept["member"])

    def _file(self, token: str) -> Path:
        return self._folder / f"{token[:_PERSON]}-{sha256(token.encode()).hexdigest()}.json"

    def _make_room(self, person: str) -> None:
        """Drop links that are too old, by when their files were written, and a person's oldest; reads none of them."""
        theirs = []
        for path in self._folder.glob("*.json"):
            try:
                written = path.stat().st_mtime_ns
            except FileNotFoundError:
                continue  # used meanwhile
            if self._clock() >= written // 1_000_000 + LINK_MS:
                path.unlink(missing_ok=True)
            elif path.name.startswith(f"{person}-"):
                theirs.append((written, path))
        for _, path in sorted(theirs)[: max(0, len(theirs) - _MOST_EACH + 1)]:
            path.unlink(missing_ok=True)
