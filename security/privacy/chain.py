"""One line per entry, each bound to all before it: the file format of a ledger.

A line is canonical JSON (sorted keys, no spaces, ASCII)::

    {"at":1763900000000,"body":{…},"hash":"<64 hex>","kind":"debit","prev":"<64 hex>","seq":7}

``hash`` is SHA-256 over the canonical CBOR of ``["skerry/ledger/v1", seq, prev, kind, at, body]``; ``prev`` is the
hash of the entry before (zeros for the first). A line that is not byte for byte the encoding of its own entry is
refused, so every changed bit shows: either the hash no longer fits, or the form is not canonical.

A crash while a line is being written leaves a part of it at the end, without a line end: a *torn tail*. An entry that
lacks nothing but its line end counts. A part of an entry does not: its writer never learned that it was written, so
nothing was done on its strength. A complete entry followed by anything but a line end is no crash but damage.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from skerry.canonical import encode, sha256_hex
from skerry.errors import InputError, LedgerCorruptError

__all__ = ["GENESIS", "Entry", "entry", "line", "split", "walk"]

GENESIS = "0" * 64
"""What the first entry names as the hash before it."""

_DOMAIN = "skerry/ledger/v1"
_KIND = re.compile(r"[a-z][a-z_]{0,31}")
_LONGEST = 1 << 20  # characters of a body


@dataclass(frozen=True)
class Entry:
    """One event: ``at`` in milliseconds since the Unix epoch, ``body`` plain JSON values, hashes in hex."""

    seq: int
    prev: str
    kind: str
    at: int
    body: Mapping[str, Any]
    hash: str


def entry(seq: int, prev: str, kind: str, at: int, body: Mapping[str, Any]) -> Entry:
    """A new entry with its hash.

    Raises:
        InputError: ``kind`` is not a lower-case word, or ``body`` is not made of plain, finite JSON values with
            text keys, or is longer than 1 MiB.
    """
    if not _KIND.fullmatch(kind):
        raise InputError(f"{kind!r} cannot be a kind of ledger entry", mend="use lower-case letters and underscores")
    try:
        text = json.dumps(body, allow_nan=False)
        if len(text) > _LONGEST:
            raise InputError("a ledger entry holds at most 1 MiB", mend="record a digest instead")
        plain = json.loads(text)
        return Entry(seq, prev, kind, at, plain, _hash(seq, prev, kind, at, plain))
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"a ledger entry holds plain JSON values only: {error}") from error


def line(value: Entry) -> bytes:
    """The entry as it stands in the file, line end included."""
    return json.dumps(value.__dict__, sort_keys=True, separators=(",", ":"), allow_nan=False).encode() + b"\n"


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


def walk(complete: bytes) -> Iterator[Entry]:
    """The entries of complete lines, each checked against the one before as it is reached.

    Raises:
        LedgerCorruptError: says at which entry the chain breaks.
    """
    prev = GENESIS
    for seq, raw in enumerate(complete.split(b"\n")[:-1]):
        found = _parse(raw, seq)
        if found.seq != seq or found.prev != prev:
            raise _broken(seq, "does not follow the one before it: entries were dropped, moved or inserted")
        yield found
        prev = found.hash


def _parse(raw: bytes, seq: int) -> Entry:
    try:
        found = Entry(**json.loads(raw))
        if line(found) != raw + b"\n":
            raise _broken(seq, "was changed: it is not in canonical form")
        if found.hash != _hash(found.seq, found.prev, found.kind, found.at, found.body):
            raise _broken(seq, "was changed: its hash does not fit")
    except (TypeError, ValueError, RecursionError) as error:
        raise _broken(seq, "was changed: it cannot be read") from error
    return found


def _hash(seq: int, prev: str, kind: str, at: int, body: Mapping[str, Any]) -> str:
    return sha256_hex(encode([_DOMAIN, seq, prev, kind, at, body]))


def _broken(seq: int, what: str) -> LedgerCorruptError:
    return LedgerCorruptError(
        "chain_broken",
        f"ledger entry {seq} {what}",
        mend="restore the ledger from a copy; until then its owner must count its whole budget as spent",
    )
