"""Who signs what in a repository, for how long, and where its private key belongs.

===========  =========  ========  ===========================================================
role         signs for  keys      signs
===========  =========  ========  ===========================================================
root         365 days   2 of 3    which keys the other roles have
targets      90 days    1         which key signs for which model
<model>      90 days    1         manifests, statements and bills of materials of that model
snapshot     7 days     1         which versions of the above belong together
timestamp    1 day      1         which snapshot is the newest
===========  =========  ========  ===========================================================

Root and targets keys are needed only to change keys and to add a model, so they stay offline. Snapshot and
timestamp keys sit where the repository is renewed every day: who steals both can hold back news, and nothing else.
"""

import re
from datetime import timedelta

from skerry.errors import InputError

__all__ = ["ISSUED", "OFFLINE", "ONLINE", "ROOT_KEYS", "ROOT_THRESHOLD", "TOP_LEVEL", "check_model", "lifetime"]

ISSUED = "skerry_issued_ms"
"""Field of the signed timestamp: when it was made (ms since the epoch). Other clients pass over it."""

ROOT_KEYS, ROOT_THRESHOLD = 3, 2
OFFLINE = ("root", "targets")
ONLINE = ("snapshot", "timestamp")
TOP_LEVEL = (*OFFLINE, *ONLINE)

_DAYS = {"root": 365, "snapshot": 7, "timestamp": 1}
_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


def lifetime(role: str) -> timedelta:
    """How long a signature of the role holds."""
    return timedelta(days=_DAYS.get(role, 90))


def check_model(name: str) -> None:
    """Refuse what cannot name a delegated role: it becomes a file name, an address and a pattern of paths.

    Raises:
        InputError: other characters, or the name of a top-level role.
    """
    if not _MODEL.fullmatch(name) or name.lower() in TOP_LEVEL:
        raise InputError(
            f"a repository cannot have a model of the name {name!r:.80}",
            mend="1 to 64 letters, digits, hyphens and underscores; not root, targets, snapshot or timestamp",
        )
