"""A witness: it keeps the last state of each log that it saw, and takes a newer one only with proof that it has grown.

It needs no key and trusts nobody. What it protects against is whoever can write the log: an older copy, a rewritten
past, two histories shown to two readers. It is worth as much as its memory is out of that writer's reach.

::

    <memory>/<log>.json              the last state, with the signed checkpoint when there was one
    <memory>/<log>.refused-<n>.json  a state that did not extend it; with two signed notes, proof that the signer lied
"""

import glob
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from skerry.errors import InputError, RefusedError
from skerry.fsio import write_json
from skerry.security.locking import exclusive
from skerry.security.transparency.checkpoint import Checkpoint
from skerry.security.transparency.merkle import verify_consistency

__all__ = ["Seen", "Witness"]


@dataclass(frozen=True)
class Seen:
    """A state of a log, and the signed note that vouched for it (empty: nobody signed)."""

    checkpoint: Checkpoint
    note: str = ""


class Witness:
    """The memory, a folder; several processes may use it at once."""

    def __init__(self, memory: Path) -> None:
        self._memory = memory

    def recall(self, log: str) -> Seen | None:
        """The last state of that log.

        Raises:
            InputError: the memory is damaged: it must not pass for "never seen".
        """
        path = self._path(log)
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
            if value["schema"] != 1 or value["log"] != log:
                raise ValueError("another log")
            return Seen(Checkpoint(value["origin"], value["size"], bytes.fromhex(value["root"])), value["note"])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"what the witness remembers of {log} cannot be read: {error}",
                where=str(path),
                mend="restore it from a copy; if you remove it, nothing is known of the log's past",
            ) from error

    def witness(self, log: str, new: Seen, prove: Callable[[int, int], Sequence[bytes]]) -> Seen | None:
        """Take a newer state of a log.

        Args:
            log: under which name it is remembered.
            new: the state it is said to be in.
            prove: gives the consistency proof from one size to another.

        Returns:
            What was remembered before; None for a log seen for the first time.

        Raises:
            RefusedError: the log does not extend what was remembered, which stays (``consistency``).
            InputError: see :meth:`recall`.
        """
        with exclusive(self._path(log)):
            old = self.recall(log)
            if old is not None:
                try:
                    self._check(old.checkpoint, new.checkpoint, prove)
                except RefusedError:
                    self._write(self._free(log), log, new)
                    raise
            if old is None or new.checkpoint.size > old.checkpoint.size or (new.note and not old.note):
                self._write(self._path(log), log, new)
            return old

    @staticmethod
    def _check(old: Checkpoint, new: Checkpoint, prove: Callable[[int, int], Sequence[bytes]]) -> None:
        if old.origin != new.origin:
            raise RefusedError("consistency", f"it is another log: {new.origin}, not {old.origin}")
        if new.size < old.size:
            raise RefusedError(
                "consistency",
                f"it has {new.size} entries, and had {old.size}",
                mend="an older copy was put in its place, or entries were cut off",
            )
        verify_consistency(old.size, old.root, new.size, new.root, prove(old.size, new.size))

    def _path(self, log: str) -> Path:
        return self._memory / f"{quote(log, safe='')}.json"

    def _free(self, log: str) -> Path:
        name = quote(log, safe="")
        taken = len(list(self._memory.glob(f"{glob.escape(name)}.refused-*.json")))
        return self._memory / f"{name}.refused-{taken + 1}.json"

    @staticmethod
    def _write(path: Path, log: str, seen: Seen) -> None:
        state = seen.checkpoint
        fields = {"origin": state.origin, "size": state.size, "root": state.root.hex(), "note": seen.note}
        write_json(path, {"schema": 1, "log": log, **fields})
