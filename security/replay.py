"""Each message once: the nonces that were accepted, until their messages expire by themselves.

Memory is bounded for each sender apart, so that one that floods is refused and costs nobody else. A nonce is
forgotten once its message has expired; the latest expiry ever forgotten is kept, so that setting the clock back
does not make a forgotten message acceptable again.
"""

import json
import threading
from dataclasses import dataclass, field
from pathlib import Path

from skerry.errors import EnvelopeRefusedError
from skerry.fsio import write_atomic
from skerry.security.locking import exclusive
from skerry.security.refusal import Refusal

__all__ = ["ReplayGuard"]

_SCHEMA = 1


@dataclass
class _Seen:
    forgotten: int = 0
    nonces: dict[str, dict[str, int]] = field(default_factory=dict)

    def forget(self, now: int, sender: str) -> None:
        kept = {nonce: until for nonce, until in self.nonces[sender].items() if until > now}
        gone = self.nonces[sender].keys() - kept.keys()
        self.forgotten = max([self.forgotten, *(self.nonces[sender][nonce] for nonce in gone)])
        self.nonces[sender] = kept

    def claim(self, sender: str, nonce: str, until: int, now: int, limit: int) -> None:
        mine = self.nonces.setdefault(sender, {})
        if nonce in mine:
            raise EnvelopeRefusedError(Refusal.REPLAYED, "this message was accepted before", where=sender)
        if until <= self.forgotten:
            raise EnvelopeRefusedError(
                Refusal.EXPIRED,
                "the message expired before messages that are already forgotten",
                where=sender,
                mend="the clock was set back: check it",
            )
        if len(mine) >= limit:
            self.forget(now, sender)
        if len(self.nonces[sender]) >= limit:
            raise EnvelopeRefusedError(
                Refusal.TOO_MANY, f"{limit} unexpired messages of this sender are remembered already", where=sender
            )
        self.nonces[sender][nonce] = until


class ReplayGuard:
    """Remembers accepted nonces; safe for threads, and across processes when it has a file.

    Args:
        path: where to remember beyond this process's life: each claim is on stable storage before it returns.
            Without it a restart forgets, which is sound only if the keys or the run do not outlive the process.
        per_sender: unexpired messages remembered for one sender; more are refused (``too_many``).
    """

    def __init__(self, path: Path | None = None, *, per_sender: int = 4096) -> None:
        self._path = path
        self._limit = per_sender
        self._mutex = threading.Lock()
        self._seen = _Seen()

    def claim(self, sender: str, nonce: bytes, *, until: int, now: int) -> None:
        """Use up ``(sender, nonce)``, remembered while ``now < until`` (both in ms).

        Raises:
            EnvelopeRefusedError: used up before (``replayed``), older than what is forgotten (``expired``), too
                many at once (``too_many``), or an unreadable file (``replay_state``).
        """
        with self._mutex:
            if self._path is None:
                self._seen.claim(sender, nonce.hex(), until, now, self._limit)
                return
            with exclusive(self._path):
                seen = _read(self._path)
                for name in list(seen.nonces):
                    seen.forget(now, name)
                seen.nonces = {name: kept for name, kept in seen.nonces.items() if kept}
                seen.claim(sender, nonce.hex(), until, now, self._limit)
                record = {"schema": _SCHEMA, "forgotten": seen.forgotten, "nonces": seen.nonces}
                write_atomic(self._path, json.dumps(record).encode(), mode=0o600)


def _read(path: Path) -> _Seen:
    try:
        value = json.loads(path.read_bytes())
        if value["schema"] != _SCHEMA:
            raise ValueError("another schema")
        nonces = {str(s): {str(n): int(u) for n, u in kept.items()} for s, kept in value["nonces"].items()}
        return _Seen(int(value["forgotten"]), nonces)
    except FileNotFoundError:
        return _Seen()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        # starting afresh would accept every unexpired message a second time
        raise EnvelopeRefusedError(
            Refusal.REPLAY_STATE,
            "the record of accepted messages cannot be read",
            where=str(path),
            mend="remove it once every message sealed before now has expired",
        ) from error
