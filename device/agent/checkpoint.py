"""A training that was stopped, kept until it can go on.

What is kept is secret: weights between two steps, which are not what the round releases; under unit ``example`` they
are sums that all have their noise already, under the other units they are bare functions of private data; and the key
of the noise, with which it could be taken off the answer. A sum without its noise is never kept: the step that it
belonged to is done again.

So a checkpoint is sealed by the device's key store, in a file that its owner alone may read (0600), bound to the one
instruction that it belongs to; where the device has no key store it stays in memory, and a process that dies begins
that training again, under the debit that was made. It is erased as soon as the answer is kept, or refused for good, or
the training has failed, and when the instruction is over: at the agent's next turn, hence at the next start where it
did not run then. A refusal for now (``conditions_lapsed``) leaves it: asked again meanwhile, the device goes on, by the
same noise, of which nothing was sent. A disk that does not let it be erased is asked again. Erased means unlinked:
flash and journals may hold old blocks, which are sealed.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from skerry.canonical import decode, encode
from skerry.device.care import Undertaking
from skerry.device.yielding import Standing
from skerry.errors import DiskFullError, InputError, RefusedError
from skerry.fsio import write_atomic

__all__ = ["Checkpoint", "Checkpoints", "FileCheckpoints", "MemoryCheckpoints", "Sealing"]

FILE = "checkpoint"
_CONTEXT = b"skerry/checkpoint/1/"
_TYPES = frozenset({"<f4", "<f8"})


@dataclass(frozen=True)
class Checkpoint:
    """The key of a training's coins, and where its descent stood; ``None``: at its beginning."""

    key: bytes
    standing: Standing | None


class Checkpoints(Protocol):
    """Keeps one checkpoint."""

    def keep(self, work: Undertaking, checkpoint: Checkpoint) -> None:
        """In the place of the one before it."""
        ...

    def find(self, work: Undertaking) -> Checkpoint | None:
        """That of this training; None, and another's is erased, where there is none."""
        ...

    def erase(self) -> None:
        """Whatever is kept."""
        ...

    def expire(self, now: int) -> None:
        """Erase what nobody waits for any more."""
        ...


class MemoryCheckpoints:
    """In memory only."""

    def __init__(self) -> None:
        self._kept: tuple[Undertaking, Checkpoint] | None = None

    def keep(self, work: Undertaking, checkpoint: Checkpoint) -> None:
        """See :class:`Checkpoints`."""
        self._kept = (work, checkpoint)

    def find(self, work: Undertaking) -> Checkpoint | None:
        """See :class:`Checkpoints`."""
        if self._kept is not None and self._kept[0].asked != work.asked:
            self.erase()
        return None if self._kept is None else self._kept[1]

    def erase(self) -> None:
        """See :class:`Checkpoints`."""
        self._kept = None

    def expire(self, now: int) -> None:
        """See :class:`Checkpoints`."""
        if self._kept is not None and now >= self._kept[0].until:
            self.erase()


class Sealing(Protocol):
    """The part of a :class:`~skerry.security.identity.KeyStore` that is used here."""

    def seal(self, secret: bytes, context: bytes) -> bytes:
        """What :meth:`unseal` alone opens, under the same context."""
        ...

    def unseal(self, sealed: bytes, context: bytes) -> bytes:
        """What was sealed."""
        ...


class FileCheckpoints:
    """Sealed, in a file.

    Args:
        folder: of the agent, in the device's home.
        store: the device's keys.
    """

    def __init__(self, folder: Path, store: Sealing) -> None:
        self._path, self._store = folder / FILE, store
        self._unwritten = MemoryCheckpoints()
        self._until = self._kept_until()

    def keep(self, work: Undertaking, checkpoint: Checkpoint) -> None:
        """See :class:`Checkpoints`; in memory where the disk has no room."""
        self.erase()
        sealed = self._store.seal(_to_bytes(checkpoint), _CONTEXT + work.asked.encode())
        value = {"schema": 1, "asked": work.asked, "until": work.until, "sealed": sealed}
        try:
            write_atomic(self._path, encode(value), mode=0o600)
        except (DiskFullError, OSError):
            self._unlink()
            self._unwritten.keep(work, checkpoint)
        else:
            self._unwritten.erase()
            self._until = work.until

    def find(self, work: Undertaking) -> Checkpoint | None:
        """See :class:`Checkpoints`. One that was damaged, or that these keys do not open, is erased."""
        unwritten = self._unwritten.find(work)
        if unwritten is not None:
            return unwritten
        try:
            value = self._read()
            if value is not None and value["asked"] == work.asked:
                return _from_bytes(self._store.unseal(value["sealed"], _CONTEXT + work.asked.encode()))
        except (InputError, RefusedError, KeyError, TypeError, ValueError, OSError):
            pass  # the training begins again; what is there is of no use
        self.erase()
        return None

    def erase(self) -> None:
        """See :class:`Checkpoints`."""
        self._unwritten.erase()
        self._unlink()

    def expire(self, now: int) -> None:
        """See :class:`Checkpoints`."""
        self._unwritten.expire(now)
        if self._until is not None and now >= self._until:
            self._unlink()

    def _unlink(self) -> None:
        try:
            self._path.unlink(missing_ok=True)
        except OSError:
            self._until = 0  # over: it is erased when the disk lets it be
        else:
            self._until = None

    def _kept_until(self) -> int | None:
        """When nobody waits any more for what a former process kept; one that was damaged is over."""
        try:
            value = self._read()
            return None if value is None else int(value["until"])
        except (InputError, KeyError, TypeError, ValueError, OSError):
            return 0

    def _read(self) -> dict[str, Any] | None:
        try:
            value = decode(self._path.read_bytes())
        except FileNotFoundError:
            return None
        if not isinstance(value, dict) or value.get("schema") != 1:
            raise InputError("the checkpoint was damaged", where=str(self._path))
        return value


def _to_bytes(checkpoint: Checkpoint) -> bytes:
    at = checkpoint.standing
    standing = None
    if at is not None:
        arrays = [[array.dtype.newbyteorder("<").str, array.astype(array.dtype.newbyteorder("<")).tobytes()]
                  for array in (at.weights, at.velocity)]  # fmt: skip
        standing = {"done": at.done, "drawn": at.drawn, "arrays": arrays}
    return encode({"key": checkpoint.key, "standing": standing})


def _from_bytes(data: bytes) -> Checkpoint:
    value = decode(data)
    at = value["standing"]
    if at is None:
        return Checkpoint(value["key"], None)
    if not all(kind in _TYPES for kind, _ in at["arrays"]):
        raise InputError("the checkpoint holds numbers of another kind")
    weights, velocity = (np.frombuffer(numbers, kind).copy() for kind, numbers in at["arrays"])
    return Checkpoint(value["key"], Standing(at["done"], weights, velocity, at["drawn"]))
