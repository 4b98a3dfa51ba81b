"""Vectors of envelopes: sealed with fixed keys and nonces, and refused for every reason that one message can give."""

import hashlib
from dataclasses import replace
from typing import Any

from skerry.canonical import decode, encode
from skerry.errors import EnvelopeRefusedError
from skerry.security import Directory, Expected, Identity, Kind, open_envelope
from skerry.security.envelope import MAX_ENVELOPE_BYTES, SKEW_MS, Header
from skerry.security.hpke import KemSuite
from skerry.security.refusal import Refusal

from ._people import described, ephemeral, person
from ._reference import KEMS, seal

__all__ = ["make", "written"]

_NOW = 1_800_000_000_000
_SIGN = b"skerry/envelope/1/sign"
_DEVICE, _COORDINATOR = person("writer-00"), person("coordinator")
_CHIP = person("chip-01", KemSuite.P256)
_STRANGER = person("stranger")
_PEOPLE = {who.name: who for who in (_DEVICE, _COORDINATOR, _CHIP, _STRANGER)}
_DIRECTORY = Directory({who.name: who.public for who in (_DEVICE, _COORDINATOR, _CHIP)})
_NOT_BY_ONE_MESSAGE = {Refusal.REPLAYED, Refusal.TOO_MANY, Refusal.REPLAY_STATE}

_HEADER = Header(
    kind=Kind.INSTRUCTION,
    run="digits-1",
    round=4,
    sender="coordinator",
    receiver="writer-00",
    model="5e" * 32,
    nonce=bytes(range(16)),
    in_reply_to=b"",
    issued=_NOW,
    expires=_NOW + 600_000,
)


def make() -> dict[str, Any]:
    """The file's content."""
    reply = hashlib.sha256(b"the instruction").digest()
    update = replace(
        _HEADER, kind=Kind.UPDATE, sender="writer-00", receiver="coordinator", in_reply_to=reply,
        receipt=hashlib.sha256(b"a debit").digest(),
    )  # fmt: skip
    headers = [
        (_HEADER, b"do this"),
        (replace(_HEADER, receiver="chip-01", suite=KemSuite.P256), bytes(range(256)) * 4),
        (update, b"\x00" * 33),
        (replace(update, sender="chip-01", kind=Kind.REFUSAL, receipt=b""), b""),
        (replace(_HEADER, run="r", round=2**53 - 1, model="", kind=Kind.IDENTIFY), b"x"),
    ]
    return {
        "source": "security/envelope.py, sealed by tests/conformance/_reference.py",
        "people": {name: described(who) for name, who in _PEOPLE.items()},
        "known": sorted(_DIRECTORY),
        "longest": MAX_ENVELOPE_BYTES,
        "sealed": [_sealed(header, payload) for header, payload in headers],
        "refused": _refused(),
    }


def written(header: Header, payload: bytes, label: str) -> bytes:
    """The envelope that :func:`skerry.security.envelope.seal` would make, but for the one-time key that is given."""
    fields = {name: value for name, value in vars(header).items() if name != "version"}
    fields |= {"suite": header.suite.value, "kind": header.kind.value}
    return _framed(encode(fields), header.sender, header.receiver, header.receipt, payload, label)


def _framed(
    fields: bytes, sender: str, receiver: str, receipt: bytes, payload: bytes, label: str, version: int = 1
) -> bytes:
    head = b"SKEV" + version.to_bytes(2, "big") + len(fields).to_bytes(2, "big") + fields
    to = _PEOPLE[receiver].kem
    info = b"skerry/envelope/1/seal:" + head
    sealed = seal(KEMS[to.suite], payload, to.public.raw, info, ephemeral=ephemeral(to.suite, label).raw)
    return _signed(head + sealed, _PEOPLE[sender], receipt)


def _signed(body: bytes, who: Identity, receipt: bytes = b"") -> bytes:
    return body + who.sign(_SIGN, hashlib.sha256(body).digest() + receipt)


def _sealed(header: Header, payload: bytes) -> dict[str, Any]:
    label = f"{header.sender} {header.kind}"
    data = written(header, payload, label)
    opened = _open(data, _PEOPLE[header.receiver], Expected(kind=frozenset(Kind), receiver=header.receiver), _NOW)
    assert (opened.header, opened.payload) == (header, payload)
    once = ephemeral(header.suite, label)
    return {
        "header": {name: value.hex() if isinstance(value, bytes) else value for name, value in vars(header).items()},
        "payload": payload.hex(),
        "ephemeral_private": once.raw.hex(),
        "ephemeral_public": once.public.raw.hex(),
        "envelope": data.hex(),
        "digest": opened.digest.hex(),
        "body": opened.body.hex(),
        "signature": opened.signature.hex(),
    }


def _open(data: bytes, me: Identity, expected: Expected, now: int) -> Any:
    return open_envelope(data, me=me, directory=_DIRECTORY, expected=expected, now=now, replay=None)


def _refused() -> list[dict[str, Any]]:
    good = written(_HEADER, b"do this", "good")
    size = int.from_bytes(good[6:8], "big")
    fields = decode(good[8 : 8 + size])
    awaited = {"kind": ["instruction"], "receiver": "writer-00"}
    found: list[dict[str, Any]] = []

    def case(why: str, data: bytes, *, me: Identity = _DEVICE, now: int = _NOW, **wanted: Any) -> None:
        said = awaited | wanted
        typed = {
            name: frozenset(map(Kind, value))
            if name == "kind"
            else bytes.fromhex(value)
            if name == "in_reply_to"
            else value
            for name, value in said.items()
        }
        try:
            _open(data, me, Expected(**typed), now)
            reason = ""
        except EnvelopeRefusedError as error:
            reason = str(error.reason)
        given = {"envelope": data.hex(), "me": me.name, "now": now, "expected": said}
        found.append({"why": why, "given": given, "reason": reason})

    def altered(**changes: Any) -> bytes:
        return _framed(encode(fields | changes), "coordinator", "writer-00", b"", b"do this", "good")

    case("nothing is wrong", good)
    case("the last moment", good, now=_HEADER.expires + SKEW_MS - 1)
    case("the first moment", good, now=_NOW - SKEW_MS)
    case(
        "all that may be awaited is",
        good,
        run="digits-1",
        round=4,
        sender="coordinator",
        model="5e" * 32,
        in_reply_to="",
    )
    case("empty", b"")
    case("cut short", good[:119])
    case("another magic", b"SKEW" + good[4:])
    case("a later version", _signed(good[:4] + b"\x00\x02" + good[6:-64], _COORDINATOR))
    case("a header longer than the rest", good[:6] + b"\x0f\xff" + good[8:])
    case("a header of too many bytes", good[:6] + b"\x20\x00" + good[8:] + bytes(9000))
    case("a field more", altered(more=1))
    case(
        "a field less",
        _framed(
            encode({k: v for k, v in fields.items() if k != "model"}), "coordinator", "writer-00", b"", b"", "good"
        ),
    )
    case("an unknown suite", altered(suite="mlkem"))
    case("a suite that is a list", altered(suite=["x25519"]))
    case("an unknown kind", altered(kind="order"))
    case("a round that is a float", altered(round=4.0))
    case("a round that is true", altered(round=True))
    case("a negative round", altered(round=-1))
    case("a round of 2^53", altered(round=2**53))
    case("a name with a slash", altered(run="../x"))
    case("an empty name", altered(run=""))
    case("a name of 129 bytes", altered(run="x" * 129))
    case("a name that ends in a blank", altered(run="x "))
    case("a name with a line end", altered(run="x\ny"))
    case("a model in capitals", altered(model="5E" * 32))
    case("a short nonce", altered(nonce=bytes(15)))
    case("a receipt of another length", altered(receipt=bytes(31)))
    case("an expiry before the issue", altered(expires=_NOW))
    case("a life of more than seven days", altered(expires=_NOW + 7 * 24 * 3600 * 1000 + 1))
    case("fields out of order", _signed(good[:8] + _reordered(fields) + good[8 + size : -64], _COORDINATOR))
    case(
        "an unknown sender", _framed(encode(fields | {"sender": "stranger"}), "stranger", "writer-00", b"", b"", "good")
    )
    case("signed by another", good[:-64] + _STRANGER.sign(_SIGN, hashlib.sha256(good[:-64]).digest()))
    case("a changed signature", good[:-1] + bytes([good[-1] ^ 1]))
    case("a changed payload", good[:-70] + bytes([good[-70] ^ 1]) + good[-69:])
    case("a receipt that is not in the signature", _signed(altered(receipt=bytes(32))[:-64], _COORDINATOR))
    case("for somebody else", good, me=_COORDINATOR, receiver="coordinator")
    case("by a suite that is not of our key", altered(suite="p256"))
    case("by a suite that browsers lack", altered(suite="xwing"))
    case("of another sender", good, sender="chip-01")
    case("of another kind", good, kind=["identify", "update"])
    case("of another run", good, run="digits-2")
    case("of another round", good, round=5)
    case("of another model", good, model="00" * 32)
    case("in reply to something", good, in_reply_to="00" * 32)
    case("from the future", good, now=_NOW - SKEW_MS - 1)
    case("expired", good, now=_HEADER.expires + SKEW_MS)
    case(
        "sealed to another key",
        _signed(_framed(good[8 : 8 + size], "coordinator", "stranger", b"", b"do this", "good")[:-64], _COORDINATOR),
    )
    case("sealed under another header", _signed(altered(round=5)[: 8 + size] + good[8 + size : -64], _COORDINATOR))
    shown = {item["reason"] for item in found}
    missing = {reason.value for reason in Refusal} - {r.value for r in _NOT_BY_ONE_MESSAGE} - {"too_large"} - shown
    assert not missing, missing
    return found


def _reordered(fields: dict[str, Any]) -> bytes:
    """The same fields the other way round, which ordinary CBOR would allow."""
    items = [encode(name) + encode(value) for name, value in fields.items()]
    return encode(fields)[:1] + b"".join(reversed(items))
