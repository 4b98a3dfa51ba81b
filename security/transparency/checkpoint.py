"""Checkpoints (C2SP tlog-checkpoint): a log's name, size and root, signed; who keeps one can tell a rewritten log."""

import base64
import binascii
import re
from collections.abc import Iterable
from dataclasses import dataclass

from skerry.errors import InputError, RefusedError
from skerry.security.transparency.note import NoteKey, NoteSigner, open_note, sign_note

__all__ = ["Checkpoint"]

_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")


@dataclass(frozen=True)
class Checkpoint:
    """What a log was at one moment.

    Attributes:
        origin: the log's unique name, e.g. ``skerry/ledger/writer-03``.
        size: number of entries.
        root: 32 bytes, RFC 9162.
    """

    origin: str
    size: int
    root: bytes

    def __post_init__(self) -> None:
        if not self.origin or "\n" in self.origin or self.size < 0 or len(self.root) != 32:
            raise InputError("a checkpoint has an origin of one line, a size and a root of 32 bytes")

    def sign(self, signer: NoteSigner) -> str:
        """The checkpoint as a signed note."""
        return sign_note(f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n", signer)

    @staticmethod
    def open(note: str, keys: Iterable[NoteKey], *, origin: str) -> "Checkpoint":
        """The checkpoint in a note that one of the keys signed, of the log asked for; extension lines are passed over.

        Raises:
            RefusedError: bad signature, another log (``signature``, ``origin``), or a malformed checkpoint.
        """
        text, _ = open_note(note, keys)
        lines = text.split("\n")
        if lines[0] != origin:
            raise RefusedError("origin", f"this checkpoint is of another log: {lines[0][:80]}", where=origin)
        try:
            root = base64.b64decode(lines[2], validate=True)
            if not _SIZE.fullmatch(lines[1]) or base64.b64encode(root).decode() != lines[2] or lines[-1]:
                raise ValueError(lines[1])
            return Checkpoint(lines[0], int(lines[1]), root)
        except (IndexError, ValueError, binascii.Error, InputError) as error:
            raise RefusedError("malformed", "this is not a checkpoint", where=origin) from error
