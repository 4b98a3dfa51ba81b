"""One line per entry, each bound to all before it, each a leaf of a Merkle tree: the file format of a ledger.

A line is canonical JSON (sorted keys, no spaces, ASCII)::

    {"at":1763900000000,"body":{…},"hash":"<64 hex>","kind":"debit","prev":"<64 hex>","salt":"<32 hex>","seq":7}

* the *commitment* is SHA-256 over 16 random bytes (the salt) and the canonical CBOR of the body: without the salt
  nobody can tell what was committed to, not even by trying all bodies that come into question;
* the *leaf* is the canonical CBOR of ``["skerry/ledger/v2", seq, prev, kind, at, commitment]``;
* ``hash`` is the leaf's hash in the tree of RFC 9162, SHA-256(0x00 ‖ leaf); ``prev`` is the hash of the entry before
  (zeros for the first). So one hash serves the chain and the tree.

A line that is not byte for byte the encoding of its own entry is refused, so every changed bit shows: either the hash
no longer fits, or the form is not canonical.

An *erased* entry has lost body and salt; its commitment stays, and with it the leaf, the chain and every proof::

    {"at":1763900000000,"commitment":"<64 hex>","hash":"<64 hex>","kind":"member","prev":"<64 hex>","seq":1}

What a ledger counts by (:data:`KEPT`) is never erased: a missing debit would be a smaller ε.

A crash while lines are being written leaves a part of one at the end, without a line end: a *torn tail*. An entry that
lacks nothing but its line end counts. A part of an entry does not: its writer never learned that it was written, so
nothing was done on its strength. A complete entry followed by anything but a line end is no crash but damage.
"""

import json
import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from skerry.canonical import encode
from skerry.errors import InputError, LedgerCorruptError
from skerry.security.transparency.merkle import leaf_hash

__all__ = ["GENESIS", "KEPT", "Entry", "entry", "erased", "leaf", "line", "lone", "split", "walk"]

GENESIS = "0" * 64
"""What the first entry names as the hash before it."""

KEPT = frozenset({"policy", "debit", "erasure"})
"""Kinds of entry that cannot be erased."""

_JSON = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)
_DOMAIN = "skerry/ledger/v2"
_KIND = re.compile(r"[a-z][a-z_]{0,31}")
_LONGEST = 1 << 20  # characters of a body
_SALT = 16  # bytes
_WHOLE = {"at", "body", "hash", "kind", "prev", "salt", "seq"}
_ERASED = {"at", "commitment", "hash", "kind", "prev", "seq"}
_FIRST_FORMAT = _WHOLE - {"salt"}


@dataclass(frozen=True)
class Entry:
    """One event: ``at`` in milliseconds since the Unix epoch, ``body`` plain JSON values, hashes and salt in hex.

    An erased one has an empty ``body`` and no ``salt``.
    """

    seq: int
    prev: str
    kind: str
    at: int
    body: Mapping[str, Any]
    hash: str
    salt: str = field(repr=False)
    commitment: str = field(repr=False)

    @property
    def erased(self) -> bool:
        """Whether what it said is gone."""
        return not self.salt


def entry(seq: int, prev: str, kind: str, at: int, body: Mapping[str, Any]) -> Entry:
    """A new entry with a fresh salt and its hash.

    Raises:
        InputError: ``kind`` is not a lower-case word, or ``body`` is not made of plain, finite JSON values with
            text keys, or is longer than 1 MiB.
    """
    if not _KIND.fullmatch(kind):
        raise InputError(f"{kind!r} cannot be a kind of ledger entry", mend="use lower-case letters and underscores")
    try:
        text = _JSON.encode(body)
        if len(text) > _LONGEST:
            raise InputError("a ledger entry holds at most 1 MiB", mend="record a digest instead")
        return _whole(seq, prev, kind, at, json.loads(text), secrets.token_hex(_SALT))
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"a ledger entry holds plain JSON values only: {error}") from error


def erased(value: Entry) -> Entry:
    """The entry without body and salt; the same leaf, hence the same hash.

    Raises:
        InputError: entries of its kind are kept.
    """
    if value.kind in KEPT:
        raise InputError(
            f"entry {value.seq} is a {value.kind}: what a ledger counts by is not erased",
            mend="erase the entries that name somebody; a whole ledger may be deleted with its data",
        )
    return Entry(value.seq, value.prev, value.kind, value.at, {}, value.hash, "", value.commitment)


def leaf(value: Entry) -> bytes:
    """What the entry is in the tree: nothing of its body can be learned from it, erased or not."""
    return _leaf(value.seq, value.prev, value.kind, value.at, value.commitment)


def line(value: Entry) -> bytes:
    """The entry as it stands in the file, line end included."""
    fields = {"at": value.at, "hash": value.hash, "kind": value.kind, "prev": value.prev, "seq": value.seq}
    rest = {"commitment": value.commitment} if value.erased else {"body": value.body, "salt": value.salt}
    return _JSON.encode(fields | rest).encode() + b"\n"


def split(data: bytes) -> tuple[bytes, bytes]:
    """A ledger's bytes as (complete lines, torn tail).

    Raises:
        LedgerCorruptError: the last line is complete but damaged.
    """
    complete = data[: data.rfind(b"\n") + 1]
    tail = data[len(complete) :]
    try:
        _, end = json.JSONDecoder().raw_decode(tail.decode("ascii", "replace"))
    except (ValueError, RecursionError):
        return complete, tail
    if end != len(tail):
        raise LedgerCorruptError("damaged", "the ledger's last entry is followed by bytes that no crash leaves")
    return data + b"\n", b""


def walk(complete: bytes, *, first: int = 0, prev: str = GENESIS) -> Iterator[Entry]:
    """The entries of complete lines, each checked against the one before as it is reached.

    Args:
        complete: whole lines.
        first: number of the first of them.
        prev: hash of the entry before it.

    Raises:
        LedgerCorruptError: says at which entry the chain breaks.
    """
    for seq, raw in enumerate(complete.split(b"\n")[:-1], first):
        found = _parse(raw, seq)
        if found.seq != seq or found.prev != prev:
            raise _broken(seq, "does not follow the one before it: entries were dropped, moved or inserted")
        yield found
        prev = found.hash


def lone(raw: bytes, seq: int, expected: str) -> Entry:
    """The entry of one line, which must be the one of that number and hash.

    Raises:
        LedgerCorruptError: it is another, or was changed.
    """
    found = _parse(raw.removesuffix(b"\n"), seq)
    if (found.seq, found.hash) != (seq, expected):
        raise _broken(seq, "is not the one that was looked for")
    return found


def _parse(raw: bytes, seq: int) -> Entry:
    try:
        fields = json.loads(raw)
        keys = fields.keys()
        if keys == _WHOLE:
            given = fields.pop("hash")
            found = _whole(**fields)
        elif keys == _ERASED and fields["kind"] not in KEPT:
            found = Entry(**fields, body={}, salt="")
            given, found = found.hash, _gone(found)
        elif keys == _FIRST_FORMAT:
            raise LedgerCorruptError(
                "old_format",
                "this ledger was written in format 1, without salts; this program reads format 2",
                mend="read it with the version that wrote it; its budget is not carried over, so count it as spent",
            )
        else:
            raise _broken(seq, "was changed: it is not an entry")
        if type(found.seq) is not int or type(found.at) is not int:
            raise _broken(seq, "was changed: it is not an entry")
        if found.hash != given:
            raise _broken(seq, "was changed: its hash does not fit")
        if line(found) != raw + b"\n":
            raise _broken(seq, "was changed: it is not in canonical form")
    except (AttributeError, TypeError, ValueError, RecursionError) as error:
        raise _broken(seq, "was changed: it cannot be read") from error
    return found


def _whole(seq: int, prev: str, kind: str, at: int, body: Mapping[str, Any], salt: str) -> Entry:
    key = bytes.fromhex(salt)
    if len(key) != _SALT or key.hex() != salt:  # one salt has one form
        raise ValueError(f"a salt is {_SALT} bytes in lower-case hexadecimal")
    commitment = sha256(key + encode(body)).hexdigest()
    found = leaf_hash(_leaf(seq, prev, kind, at, commitment)).hex()
    return Entry(seq, prev, kind, at, body, found, salt, commitment)


def _gone(value: Entry) -> Entry:
    commitment = bytes.fromhex(value.commitment)
    if len(commitment) != 32 or commitment.hex() != value.commitment:
        raise ValueError("a commitment is 32 bytes in lower-case hexadecimal")
    found = leaf_hash(leaf(value)).hex()
    return Entry(value.seq, value.prev, value.kind, value.at, {}, found, "", value.commitment)


def _leaf(seq: int, prev: str, kind: str, at: int, commitment: str) -> bytes:
    return encode([_DOMAIN, seq, bytes.fromhex(prev), kind, at, bytes.fromhex(commitment)])


def _broken(seq: int, what: str) -> LedgerCorruptError:
    return LedgerCorruptError(
        "chain_broken",
        f"ledger entry {seq} {what}",
        mend="restore the ledger from a copy; until then its owner must count its whole budget as spent",
    )
