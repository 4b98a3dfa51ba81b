"""The Merkle tree of RFC 9162 (as of RFC 6962): one hash for a whole log, and short proofs about it.

* An *inclusion proof* shows that an entry is the i-th of the n that a root stands for.
* A *consistency proof* shows that the first m of those n are the very ones an older root stood for: nothing was
  changed, dropped or moved.

Both are checked by functions that need no tree. Sizes are at most 2⁶³; hashes are SHA-256, 32 bytes.
"""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Protocol

from skerry.errors import InputError, RefusedError

__all__ = [
    "EMPTY_ROOT",
    "MerkleTree",
    "Tree",
    "leaf_hash",
    "node_hash",
    "verify_consistency",
    "verify_inclusion",
]

EMPTY_ROOT = hashlib.sha256(b"").digest()
"""Root of a log without entries (RFC 9162, section 2.1.1)."""

_HASH = 32
_LARGEST = 1 << 63


def leaf_hash(entry: bytes) -> bytes:
    """SHA-256(0x00 ‖ entry)."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 ‖ left ‖ right): no leaf can be taken for a node."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class Tree(Protocol):
    """Proofs from the roots of complete subtrees, wherever they are kept; a proof reads at most 2·log₂ n of them."""

    def __len__(self) -> int:
        """Number of leaves."""
        ...

    def subtree(self, level: int, index: int) -> bytes:
        """Root of the complete subtree of 2^level leaves that begins at leaf ``index·2^level``."""
        ...

    def leaf(self, index: int) -> bytes:
        """The leaf hash at an index."""
        return self.subtree(0, index)

    def root(self, size: int | None = None) -> bytes:
        """Root over the first ``size`` leaves; over all of them when None.

        Raises:
            InputError: there are not so many.
        """
        size = self._size(size)
        return self._root(0, size) if size else EMPTY_ROOT

    def inclusion_proof(self, index: int, size: int | None = None) -> list[bytes]:
        """Proof that leaf ``index`` is among the first ``size`` (RFC 9162, section 2.1.3.1).

        Raises:
            InputError: it is not.
        """
        size = self._size(size)
        if not 0 <= index < size:
            raise InputError(f"entry {index} is not among the first {size}")
        proof: list[bytes] = []
        first = 0
        while size > 1:
            half = _split(size)
            if index - first < half:
                proof.append(self._root(first + half, first + size))
                size = half
            else:
                proof.append(self._root(first, first + half))
                first, size = first + half, size - half
        return proof[::-1]

    def consistency_proof(self, old: int, size: int | None = None) -> list[bytes]:
        """Proof that the first ``size`` leaves begin with the first ``old`` (RFC 9162, section 2.1.4.1).

        Raises:
            InputError: ``old`` is larger, or negative.
        """
        size = self._size(size)
        if not 0 <= old <= size:
            raise InputError(f"a log of {size} entries cannot extend one of {old}")
        if old in {0, size}:
            return []
        proof: list[bytes] = []
        first, whole = 0, True
        while old != size:
            half = _split(size)
            if old <= half:
                proof.append(self._root(first + half, first + size))
                size = half
            else:
                proof.append(self._root(first, first + half))
                first, old, size, whole = first + half, old - half, size - half, False
        return proof[::-1] if whole else [self._root(first, first + old), *proof[::-1]]

    def _size(self, size: int | None) -> int:
        if size is None:
            return len(self)
        if not 0 <= size <= len(self):
            raise InputError(f"the log has {len(self)} entries, {size} were asked for")
        return size

    def _root(self, first: int, last: int) -> bytes:
        size = last - first
        level = size.bit_length() - 1
        if size == 1 << level and first % size == 0:
            return self.subtree(level, first >> level)
        half = _split(size)
        return node_hash(self._root(first, first + half), self._root(first + half, last))


class MerkleTree(Tree):
    """A tree that only grows; it holds the hash of every complete subtree, two hashes an entry.

    Appending costs amortised two hashes.

    Args:
        leaves: leaf hashes to begin with.
        before: the leaves before those, of a tree that is kept elsewhere and is believed. What is asked for of it later
            is what its own root is made of, at most one subtree a level, unless older subtrees are asked for.
    """

    def __init__(self, leaves: Iterable[bytes] = (), *, before: Tree | None = None) -> None:
        self._before = before
        self._first = len(before) if before else 0
        self._levels: list[list[bytes]] = [[]]
        for leaf in leaves:
            self.append(leaf)

    def __len__(self) -> int:
        return self._first + len(self._levels[0])

    def append(self, leaf: bytes) -> int:
        """Add a leaf hash and return its index.

        Raises:
            InputError: it is not 32 bytes long.
        """
        if len(leaf) != _HASH:
            raise InputError(f"a leaf hash has 32 bytes, this one has {len(leaf)}")
        self._levels[0].append(leaf)
        level, last = 0, len(self) - 1
        while last % 2:
            if level + 1 == len(self._levels):
                self._levels.append([])
            pair = node_hash(self.subtree(level, last - 1), self.subtree(level, last))
            level, last = level + 1, last >> 1
            self._levels[level].append(pair)
        return len(self) - 1

    def subtree(self, level: int, index: int) -> bytes:
        """From memory, or of the tree before."""
        old = self._first >> level
        if self._before is not None and index < old:
            return self._before.subtree(level, index)
        return self._levels[level][index - old]


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Check that the leaf hash is entry ``index`` of the ``size`` entries under ``root`` (RFC 9162, section 2.1.3.2).

    Raises:
        RefusedError: it is not (``inclusion``).
    """
    _check_form(proof, (leaf, root), size)
    if not 0 <= index < size:
        raise _refused("inclusion", f"entry {index} cannot be among {size}")
    position, last, found = index, size - 1, leaf
    for step in proof:
        if last == 0:
            raise _refused("inclusion", "the proof is too long")
        if position % 2 or position == last:
            found = node_hash(step, found)
            while position % 2 == 0 and position:
                position, last = position >> 1, last >> 1
        else:
            found = node_hash(found, step)
        position, last = position >> 1, last >> 1
    if last or found != root:
        raise _refused("inclusion", f"entry {index} is not the one under this root")


def verify_consistency(old: int, old_root: bytes, size: int, root: bytes, proof: Sequence[bytes]) -> None:
    """Check that ``size`` entries under ``root`` begin with the ``old`` under ``old_root`` (RFC 9162, 2.1.4.2).

    Raises:
        RefusedError: they do not (``consistency``): the log was rewritten, or is an older copy.
    """
    _check_form(proof, (old_root, root), size)
    if not 0 <= old <= size:
        raise _refused("consistency", f"a log of {size} entries cannot extend one of {old}")
    if old in {0, size}:
        expected = EMPTY_ROOT if old == 0 else root
        if proof or old_root != expected:
            raise _refused("consistency", f"the first {old} entries are not the ones that were there before")
        return
    steps = list(proof)
    if old & (old - 1) == 0:
        steps.insert(0, old_root)
    if not steps:
        raise _refused("consistency", "the proof is empty")
    position, last = old - 1, size - 1
    while position % 2:
        position, last = position >> 1, last >> 1
    before = after = steps[0]
    for step in steps[1:]:
        if last == 0:
            raise _refused("consistency", "the proof is too long")
        if position % 2 or position == last:
            before, after = node_hash(step, before), node_hash(step, after)
            while position % 2 == 0 and position:
                position, last = position >> 1, last >> 1
        else:
            after = node_hash(after, step)
        position, last = position >> 1, last >> 1
    if last or before != old_root or after != root:
        raise _refused("consistency", f"the first {old} entries are not the ones that were there before")


def _split(size: int) -> int:
    """The largest power of two below ``size``."""
    return 1 << ((size - 1).bit_length() - 1)


def _check_form(proof: Sequence[bytes], hashes: Iterable[bytes], size: int) -> None:
    if len(proof) > 64 or any(len(value) != _HASH for value in (*proof, *hashes)) or not 0 <= size <= _LARGEST:
        raise RefusedError("malformed", "a proof holds at most 64 hashes of 32 bytes")


def _refused(reason: str, what: str) -> RefusedError:
    return RefusedError(reason, what, mend="ask for the log and its checkpoint again; do not rely on either until then")
