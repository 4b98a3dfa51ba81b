"""How far a log's file need not be read: up to the last entry under the checkpoint that its own key has signed.

The last tiles of each level hold exactly the hashes that the root is made of, and nothing else of a log is needed to
add to it. So they, the checkpoint and the file's end say enough, whatever the log's length:

1. the checkpoint is signed by the log's key;
2. the last tiles give the root that it names;
3. the entry of that number stands in the file, byte for byte what its leaf stands for, and its leaf is under that root.

What lies before that entry is *not* looked at; it is when it is read.
"""

import mmap
from dataclasses import dataclass, field
from pathlib import Path

from skerry.errors import LedgerCorruptError, RefusedError
from skerry.security.privacy.chain import lone
from skerry.security.transparency.checkpoint import Checkpoint
from skerry.security.transparency.merkle import Tree, verify_inclusion
from skerry.security.transparency.note import NoteKey
from skerry.security.transparency.publisher import CHECKPOINT
from skerry.security.transparency.tiles import TiledTree

__all__ = ["SignedEnd", "signed_checkpoint", "signed_end"]


@dataclass(frozen=True)
class SignedEnd:
    """Where the signed part of a log's file ends.

    Attributes:
        tree: of the entries up to there, whose root was signed.
        offset: of the first byte after them.
        line: the last of them, as it stands in the file.
        hash: of that entry, hexadecimal.
    """

    tree: Tree
    offset: int
    line: bytes = field(repr=False)
    hash: str


def signed_checkpoint(published: Path, key: NoteKey) -> Checkpoint | None:
    """What the log's key has signed last; ``None`` where it has signed nothing.

    Raises:
        RefusedError: what lies there is not of this key (``signature``, ``origin``, ``malformed``).
    """
    try:
        note = (published / CHECKPOINT).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    # It is not synced: a power cut may leave its name alone.
    return Checkpoint.open(note, [key], origin=key.name) if note else None


def signed_end(entries: Path, published: Path, key: NoteKey) -> SignedEnd | None:
    """The end of the signed part; ``None`` where it cannot be told from the file's end: then all of it is to be read.

    Raises:
        RefusedError: see :func:`signed_checkpoint`.
    """
    signed = signed_checkpoint(published, key)
    if signed is None or not signed.size:
        return None
    number, tree = signed.size - 1, TiledTree(published, signed.size)
    try:
        if tree.root() != signed.root:
            return None
        leaf = tree.leaf(number)
        verify_inclusion(leaf, number, signed.size, tree.inclusion_proof(number), signed.root)
        found = _find(entries, number)
        if found is None:
            return None
        offset, line = found
        return SignedEnd(tree, offset, line, lone(line, number, leaf.hex()).hash)
    except (LedgerCorruptError, RefusedError):
        return None  # reading all of it tells what is wrong


def _find(entries: Path, number: int) -> tuple[int, bytes] | None:
    """Where the line of that entry ends, and the line; looked for from the file's end, behind the line before it."""
    try:
        with entries.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            at = data.rfind(_ending(number))
            end, begin = at + len(_ending(number)), data.rfind(b"\n", 0, max(at, 0)) + 1
            before = _ending(number - 1) if number else b""
            if at < 0 or data[max(begin - len(before), 0) : begin] != before:
                return None
            return end, data[begin:end]
    except (OSError, ValueError):  # not there, or empty
        return None


def _ending(number: int) -> bytes:
    """How the line of an entry ends: with its last field, and a body holds no line end."""
    return b',"seq":%d}\n' % number
