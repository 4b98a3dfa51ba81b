"""Sealed messages between a coordinator and its devices, carried by a network that is not trusted.

The bytes of an envelope, big-endian::

    magic "SKEV" (4) ‖ version (2) ‖ H (2) ‖ header (H, canonical CBOR) ‖ sealed (n) ‖ signature (64)
    sealed    = HPKE(payload; receiver's key, info = domain ‖ all bytes before it)      RFC 9180, base mode
    signature = Ed25519(sender's key; domain ‖ SHA-256(all bytes before it) ‖ receipt)  RFC 8032

HPKE's base mode is anonymous, so the sender signs; a signature alone could be cut off and replaced by a thief's
own, so the header, which names the sender, is bound into the sealing as well. Payloads are hashed once and
copied once on each side; only the small header is parsed. The header also names the suite by which it is sealed
(:mod:`skerry.security.hpke`): that of the receiver's key. By any other it is refused, whoever signed it.

The *receipt* is a header's field of 32 bytes, or empty: the digest of something that the sender states. It is signed a
second time, outside of the hash, so that third parties can check who stated it without the message that it came with
(:func:`verify_statement`).

Opening goes through these states in this order; each either holds or ends in an
:class:`~skerry.errors.EnvelopeRefusedError` whose ``reason`` is a :class:`~skerry.security.refusal.Refusal`:

1. *sized*: no longer than :data:`MAX_ENVELOPE_BYTES`, before any byte is looked at     ``too_large``
2. *framed*: magic, version and lengths agree                       ``malformed``, ``unknown_version``
3. *parsed*: a canonical header with exactly our fields and types    ``malformed``, ``unknown_suite``
4. *known*: the named sender is in the directory                     ``unknown_sender``
5. *authentic*: the signature holds under the sender's key           ``not_authentic``
6. *expected*: for us, by our key's suite, and of the sender, kind, run, round, model and reply that we wait for
   ``not_for_us``, ``wrong_suite``, ``wrong_sender``, ``wrong_kind``, ``wrong_run``, ``wrong_round``, ``wrong_model``,
   ``wrong_reply``
7. *fresh*: issued, and not expired, give or take :data:`SKEW_MS`    ``not_yet_valid``, ``expired``
8. *opened*: sealed to our key, for this header                      ``not_sealed_to_us``
9. *first*: its nonce was not accepted before                        ``replayed``, ``too_many``

The nonce is used up last, so that a refused message never spends one. Sealing has no forward secrecy: who gets
a receiver's private key opens what was sealed to it before.
"""

import hashlib
import struct
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from skerry.canonical import Fields
from skerry.errors import EnvelopeRefusedError, InputError
from skerry.security.hpke import LEAST_OVERHEAD, KemSuite
from skerry.security.identity import Directory, Identity, PublicIdentity, verify_signature
from skerry.security.refusal import Refusal
from skerry.security.replay import ReplayGuard
from skerry.security.strict import check_bytes, check_hex, check_integer, check_name, read_record

__all__ = [
    "MAX_ENVELOPE_BYTES",
    "MAX_LIFETIME_MS",
    "SKEW_MS",
    "Expected",
    "Header",
    "Kind",
    "Opened",
    "Refusal",
    "envelope_digest",
    "issued_of",
    "kind_of",
    "open_envelope",
    "receiver_of",
    "seal",
    "seal_named",
    "verify_statement",
]

MAX_ENVELOPE_BYTES = 64 << 20
"""Room for 16 million float32 numbers: three times EfficientNet-Lite0."""
MAX_LIFETIME_MS = 7 * 24 * 3600 * 1000
"""Longest time from issue to expiry, which bounds how long a nonce must be remembered."""
SKEW_MS = 30_000
"""By how much two honest clocks may differ."""

_VERSION = 1
_MAGIC = b"SKEV"
_PREFIX = struct.Struct(">4sHH")
_HEADER_LIMIT = 4096
_SUITES = [suite.value for suite in KemSuite]  # a list: a value that cannot be hashed is not in it
_SIGNATURE = 64
_SEALING = b"skerry/envelope/1/seal:"
_SIGNING = b"skerry/envelope/1/sign"
_FIELDS = (
    "suite", "kind", "run", "round", "sender", "receiver", "model", "nonce", "in_reply_to", "receipt", "issued",
    "expires",
)  # fmt: skip
_HEADER = Fields(_FIELDS)


class Kind(StrEnum):
    """What a message is."""

    IDENTIFY = "identify"
    IDENTITY = "identity"
    INSTRUCTION = "instruction"
    UPDATE = "update"
    REFUSAL = "refusal"


@dataclass(frozen=True, kw_only=True)
class Header:
    """What is readable on the outside of an envelope, and bound to its inside.

    Attributes:
        suite: by which the payload is sealed: that of the receiver's key.
        kind: what the payload is.
        run: the federation's run.
        round: 0 before the first round.
        sender: name under which the receiver knows the signing key.
        receiver: name under which the sender knows the sealing key.
        model: SHA-256 in hexadecimal of the model meant, or empty.
        nonce: 16 bytes, random, new for each envelope.
        in_reply_to: :func:`envelope_digest` of the envelope that this one answers, or empty.
        receipt: digest of a statement of the sender's that others may check, or empty.
        issued: ms since the epoch.
        expires: ms since the epoch, later than ``issued`` by at most :data:`MAX_LIFETIME_MS`.

    Raises:
        InputError: a field has another type or form.
    """

    version: int = _VERSION
    suite: KemSuite = KemSuite.X25519
    kind: Kind
    run: str
    round: int
    sender: str
    receiver: str
    model: str
    nonce: bytes
    in_reply_to: bytes
    receipt: bytes = b""
    issued: int
    expires: int

    def __post_init__(self) -> None:
        if self.version != _VERSION or not isinstance(self.suite, KemSuite) or not isinstance(self.kind, Kind):
            raise InputError("the header's version, suite or kind is not one of ours")
        check_name(self.run, "the run")
        check_name(self.sender, "the sender")
        check_name(self.receiver, "the receiver")
        check_integer(self.round, "the round")
        if self.model != "":
            check_hex(self.model, "the model")
        check_bytes(self.nonce, "the nonce", 16)
        check_bytes(self.in_reply_to, "the digest replied to", 0, 32)
        check_bytes(self.receipt, "the receipt", 0, 32)
        check_integer(self.issued, "the time of issue")
        check_integer(self.expires, "the expiry", low=self.issued + 1, high=self.issued + MAX_LIFETIME_MS)


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What the receiver waits for; ``None`` leaves a field open."""

    kind: frozenset[Kind]
    receiver: str
    run: str | None = None
    round: int | None = None
    sender: str | None = None
    in_reply_to: bytes | None = None
    model: str | None = None


@dataclass(frozen=True)
class Opened:
    """An envelope that went through every state: ``digest`` (32 bytes) is what a reply names.

    ``body`` (32 bytes) and ``signature`` (64 bytes) prove the header's receipt to others.
    """

    header: Header
    payload: bytes
    digest: bytes
    body: bytes
    signature: bytes


def envelope_digest(envelope: bytes) -> bytes:
    """SHA-256 of a whole envelope, as a reply to it carries it in ``in_reply_to``."""
    return hashlib.sha256(envelope).digest()


def seal(header: Header, payload: bytes, *, sender: Identity, receiver: PublicIdentity) -> bytes:
    """The envelope that shows ``header``, signed by ``sender``, whose payload only ``receiver`` reads.

    Raises:
        InputError: the header names another sender, receiver or suite, or the envelope would be too long.
    """
    return seal_named(header, payload, sender=sender, receiver=receiver)[0]


def seal_named(header: Header, payload: bytes, *, sender: Identity, receiver: PublicIdentity) -> tuple[bytes, bytes]:
    """The envelope of :func:`seal` with its :func:`envelope_digest`, in one pass over its bytes.

    Raises:
        InputError: see :func:`seal`.
    """
    if (header.sender, header.receiver) != (sender.name, receiver.name):
        raise InputError("the header names another sender or receiver than the keys given", where=header.sender)
    if header.suite is not receiver.suite:
        raise InputError(f"{receiver.name} has a key of suite {receiver.suite}, not {header.suite}")
    head = _head(header)
    if len(head) + len(payload) + header.suite.overhead + _SIGNATURE > MAX_ENVELOPE_BYTES:
        raise InputError(f"a payload of {len(payload)} bytes does not fit into an envelope", where=header.sender)
    sealed = receiver.encapsulation_key.seal(payload, _SEALING + head)
    whole = hashlib.sha256(head)
    whole.update(sealed)
    signature = sender.sign(_SIGNING, whole.digest() + header.receipt)
    whole.update(signature)
    return b"".join((head, sealed, signature)), whole.digest()


def verify_statement(sender: PublicIdentity, body: bytes, receipt: bytes, signature: bytes) -> None:
    """Check that ``sender`` signed an envelope with this receipt, by what :class:`Opened` kept of the envelope.

    Raises:
        EnvelopeRefusedError: it did not (``not_authentic``).
    """
    if len(body) != hashlib.sha256().digest_size or len(receipt) != hashlib.sha256().digest_size:
        raise EnvelopeRefusedError(Refusal.NOT_AUTHENTIC, "this proves no receipt", where=sender.name)
    verify_signature(sender, _SIGNING, body + receipt, signature)


def open_envelope(
    data: bytes,
    *,
    me: Identity,
    directory: Directory,
    expected: Expected,
    now: int,
    replay: ReplayGuard | None,
) -> Opened:
    """Go through the states above, in order.

    Args:
        data: the bytes as they came.
        me: who opens.
        directory: the senders that are trusted to be who they are.
        expected: what is waited for.
        now: ms since the epoch by the receiver's clock.
        replay: remembers accepted nonces; ``None`` only where the caller makes each message count once by
            another means.

    Raises:
        EnvelopeRefusedError: with the reason of the first state that does not hold.
    """
    head, sealed, signature = _frame(data)
    header = _parse(head)
    sender = directory.get(header.sender)
    body, digest = _authenticate(data, signature, sender, header.receipt)
    _expect(header, expected, me.kem.suite)
    _check_time(header, now)
    payload = me.open(sealed, _SEALING + head)
    if payload is None:
        raise EnvelopeRefusedError(
            Refusal.NOT_SEALED_TO_US, "the payload does not open with our key", where=header.sender
        )
    if replay is not None:
        replay.claim(header.sender, header.nonce, until=header.expires + SKEW_MS, now=now)
    return Opened(header, payload, digest, body, signature)


def receiver_of(data: bytes) -> str:
    """Whom an envelope says it is for, before anything of it is believed: to find out who is to open it.

    Raises:
        EnvelopeRefusedError: it is not one (states 1 to 3).
    """
    return _parse(_frame(data)[0]).receiver


def kind_of(data: bytes) -> Kind:
    """What an envelope says that it is, before anything of it is believed: to find out whether to open it now.

    Raises:
        EnvelopeRefusedError: it is not one (states 1 to 3).
    """
    return _parse(_frame(data)[0]).kind


def issued_of(data: bytes) -> int:
    """When an envelope says that it was issued (ms since the epoch), before anything of it is believed.

    Raises:
        EnvelopeRefusedError: it is not one (states 1 to 3).
    """
    return _parse(_frame(data)[0]).issued


def _head(header: Header) -> bytes:
    """All bytes of an envelope before the sealed part."""
    named = {"suite": header.suite.value, "kind": header.kind.value}  # as plain text
    fields = _HEADER.encode({name: getattr(header, name) for name in _FIELDS} | named)
    return _PREFIX.pack(_MAGIC, header.version, len(fields)) + fields


def _frame(data: bytes) -> tuple[bytes, memoryview, bytes]:
    if len(data) > MAX_ENVELOPE_BYTES:
        raise EnvelopeRefusedError(
            Refusal.TOO_LARGE, f"{len(data)} bytes are more than the {MAX_ENVELOPE_BYTES} allowed"
        )
    if len(data) < _PREFIX.size + LEAST_OVERHEAD + _SIGNATURE:
        raise EnvelopeRefusedError(Refusal.MALFORMED, "too short for an envelope")
    magic, version, length = _PREFIX.unpack_from(data)
    if magic != _MAGIC:
        raise EnvelopeRefusedError(Refusal.MALFORMED, "not an envelope")
    if version != _VERSION:
        raise EnvelopeRefusedError(
            Refusal.UNKNOWN_VERSION, f"an envelope of version {version}; version {_VERSION} is known"
        )
    start = _PREFIX.size + length
    if length > _HEADER_LIMIT or start + LEAST_OVERHEAD + _SIGNATURE > len(data):
        raise EnvelopeRefusedError(Refusal.MALFORMED, "the header's length does not fit")
    return data[:start], memoryview(data)[start:-_SIGNATURE], data[-_SIGNATURE:]


@lru_cache(maxsize=8)  # who asks an envelope for whom it is opens it next
def _parse(head: bytes) -> Header:
    try:
        record = read_record(head[_PREFIX.size :], _FIELDS, limit=_HEADER_LIMIT)
        if record["suite"] not in _SUITES:
            raise EnvelopeRefusedError(
                Refusal.UNKNOWN_SUITE, f"the suite {record['suite']!r:.40} is not known", mend="update skerry"
            )
        return Header(**{**record, "suite": KemSuite(record["suite"]), "kind": Kind(record["kind"])})
    except (InputError, ValueError) as error:
        raise EnvelopeRefusedError(Refusal.MALFORMED, f"the header cannot be used: {error}") from error


def _authenticate(data: bytes, signature: bytes, sender: PublicIdentity, receipt: bytes) -> tuple[bytes, bytes]:
    """Check the signature; the digests of what was signed and of the whole envelope, in one pass over its bytes."""
    body = hashlib.sha256(memoryview(data)[:-_SIGNATURE])
    signed = body.digest()
    verify_signature(sender, _SIGNING, signed + receipt, signature)
    body.update(signature)
    return signed, body.digest()


def _expect(header: Header, expected: Expected, suite: KemSuite) -> None:
    kinds = " or ".join(sorted(kind.value for kind in expected.kind))
    checks: tuple[tuple[Refusal, str | int | bytes, str | int | bytes | None], ...] = (
        (Refusal.NOT_FOR_US, header.receiver, expected.receiver),
        (Refusal.WRONG_SUITE, header.suite.value, suite.value),
        (Refusal.WRONG_SENDER, header.sender, expected.sender),
        (Refusal.WRONG_KIND, header.kind.value, None if header.kind in expected.kind else kinds),
        (Refusal.WRONG_RUN, header.run, expected.run),
        (Refusal.WRONG_ROUND, header.round, expected.round),
        (Refusal.WRONG_MODEL, header.model, expected.model),
        (Refusal.WRONG_REPLY, header.in_reply_to, expected.in_reply_to),
    )
    for refusal, got, wanted in checks:
        if wanted is not None and got != wanted:
            raise EnvelopeRefusedError(
                refusal, f"the message says {_show(got)}, awaited is {_show(wanted)}", where=header.sender
            )


def _check_time(header: Header, now: int) -> None:
    mend = "set the clocks of both sides (NTP)"
    if now < header.issued - SKEW_MS:
        early = header.issued - now
        raise EnvelopeRefusedError(
            Refusal.NOT_YET_VALID, f"issued {early} ms in the future", where=header.sender, mend=mend
        )
    if now >= header.expires + SKEW_MS:
        late = now - header.expires
        raise EnvelopeRefusedError(Refusal.EXPIRED, f"expired {late} ms ago", where=header.sender, mend=mend)


def _show(value: str | int | bytes) -> str:
    return value.hex() if isinstance(value, bytes) else repr(value)
