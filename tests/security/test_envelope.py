"""Promises of envelopes: authentic, for us, expected, fresh, sealed, and accepted once."""

import os
from dataclasses import replace

import pytest

from skerry.errors import EnvelopeRefusedError, InputError
from skerry.security import (
    MAX_ENVELOPE_BYTES,
    MAX_LIFETIME_MS,
    SKEW_MS,
    Directory,
    Expected,
    Header,
    Identity,
    Kind,
    Refusal,
    ReplayGuard,
    envelope_digest,
    open_envelope,
    seal,
    seal_named,
)
from skerry.security.envelope import receiver_of
from skerry.security.hpke import KemSuite

NOW = 1_800_000_000_000
ANN, COORDINATOR, EVE = (Identity.generate(name) for name in ("ann", "coordinator", "eve"))


def known(*identities):
    return Directory({identity.name: identity.public for identity in identities})


KNOWN = known(ANN, COORDINATOR, EVE)
PAYLOAD = b"delta" * 1000


def header(**changes):
    fields = {
        "kind": Kind.UPDATE,
        "run": "run-1",
        "round": 3,
        "sender": "ann",
        "receiver": "coordinator",
        "model": "ab" * 32,
        "nonce": os.urandom(16),
        "in_reply_to": b"\x07" * 32,
        "issued": NOW,
        "expires": NOW + 600_000,
    }
    return Header(**{**fields, **changes})


EXPECTED = Expected(
    kind=frozenset({Kind.UPDATE, Kind.REFUSAL}),
    receiver="coordinator",
    run="run-1",
    round=3,
    sender="ann",
    in_reply_to=b"\x07" * 32,
    model="ab" * 32,
)


def sealed(payload=PAYLOAD, *, sender=ANN, receiver=COORDINATOR, **changes):
    changes = {"sender": sender.name, "receiver": receiver.name, **changes}
    return seal(header(**changes), payload, sender=sender, receiver=receiver.public)


def opened(data, *, me=COORDINATOR, directory=KNOWN, expected=EXPECTED, now=NOW + 1, replay=None):
    return open_envelope(data, me=me, directory=directory, expected=expected, now=now, replay=replay)


def reason(data, **kwargs):
    with pytest.raises(EnvelopeRefusedError) as caught:
        opened(data, **kwargs)
    return caught.value.reason


def resigned(data, sender=ANN):
    """The same bytes under a fresh signature, as a hostile but known sender would make them."""
    import hashlib

    return data[:-64] + sender.sign(b"skerry/envelope/1/sign", hashlib.sha256(data[:-64]).digest())


@pytest.mark.parametrize("payload", [b"", b"x", PAYLOAD, bytes(1_000_000)])
def test_what_was_sealed_comes_out(payload):
    sent = header()
    data = seal(sent, payload, sender=ANN, receiver=COORDINATOR.public)
    got = opened(data)
    assert got.header == sent
    assert got.payload == payload
    assert got.digest == envelope_digest(data)


def test_an_envelope_is_named_as_it_is_sealed():
    data, name = seal_named(header(), PAYLOAD, sender=ANN, receiver=COORDINATOR.public)
    assert name == envelope_digest(data) == opened(data).digest


def test_open_fields_accept_anything():
    loose = Expected(kind=frozenset(Kind), receiver="coordinator")
    for kind in Kind:
        assert opened(sealed(kind=kind, model="", in_reply_to=b"", round=0), expected=loose).header.kind is kind


def test_the_payload_is_not_readable_on_the_way():
    assert PAYLOAD[:16] not in sealed()
    assert sealed()[:8] == sealed()[:8]
    assert sealed() != sealed()


def test_too_large_is_refused_unread():
    assert reason(bytes(MAX_ENVELOPE_BYTES + 1)) == Refusal.TOO_LARGE
    with pytest.raises(InputError, match="does not fit"):
        sealed(bytes(MAX_ENVELOPE_BYTES - 300))


def test_bytes_that_are_no_envelope_are_malformed():
    data = sealed()
    length = int.from_bytes(data[6:8], "big")
    for bad in (
        b"",
        data[:100],
        b"XXXX" + data[4:],
        data[:6] + b"\xff\xff" + data[8:],
        data[:6] + (len(data) - 8 - 64).to_bytes(2, "big") + data[8:],
        data[:6] + (length - 1).to_bytes(2, "big") + data[8:],
        data[: 8 + length] + data[-64:],
    ):
        assert reason(bad) == Refusal.MALFORMED


def test_an_unknown_version_is_named_as_such():
    data = sealed()
    assert reason(data[:4] + b"\x00\x02" + data[6:]) == Refusal.UNKNOWN_VERSION


def test_an_unknown_suite_is_named_as_such():
    data = sealed()
    assert data.count(b"x25519") == 1
    assert reason(resigned(data.replace(b"x25519", b"x25518"))) == Refusal.UNKNOWN_SUITE


@pytest.mark.parametrize("suite", KemSuite)
def test_every_suite_carries_a_payload_and_says_so(suite):
    receiver = Identity.generate("coordinator", suite)
    data = sealed(receiver=receiver, suite=suite)
    got = opened(data, me=receiver)
    assert (got.payload, got.header.suite) == (PAYLOAD, suite)
    assert PAYLOAD[:16] not in data
    for position in (-65, -81, -200):
        bad = bytearray(data)
        bad[position] ^= 1
        assert reason(bytes(bad), me=receiver) == Refusal.NOT_AUTHENTIC
        assert reason(resigned(bytes(bad)), me=receiver) == Refusal.NOT_SEALED_TO_US


@pytest.mark.parametrize("suite", KemSuite)
def test_nobody_is_talked_down_from_the_suite_of_its_key(suite):
    """Whatever a known sender signs: a message by another suite than the receiver's key has is refused by name."""
    receiver = Identity.generate("coordinator", suite)
    for other in set(KemSuite) - {suite}:
        weaker = Identity.generate("coordinator", other)
        assert reason(sealed(receiver=weaker, suite=other), me=receiver) == Refusal.WRONG_SUITE
        with pytest.raises(InputError, match="has a key of suite"):
            sealed(receiver=receiver, suite=other)


def test_the_name_of_the_suite_cannot_be_changed_on_the_way():
    data = sealed()
    length = int.from_bytes(data[6:8], "big")
    renamed = data[: 8 + length].replace(b"fx25519", b"exwing")  # a text of five instead of six bytes
    head = renamed[:6] + (length - 1).to_bytes(2, "big") + renamed[8:]
    changed = head + data[8 + length :]
    assert reason(changed) == Refusal.NOT_AUTHENTIC
    assert reason(resigned(changed)) == Refusal.WRONG_SUITE
    lattice = Identity.generate("coordinator", KemSuite.XWING)
    assert reason(resigned(changed), me=lattice) == Refusal.NOT_SEALED_TO_US


def test_an_unknown_kind_is_malformed_even_when_signed():
    data = sealed()
    assert reason(resigned(data.replace(b"fupdate", b"fupdoot"))) == Refusal.MALFORMED


def test_a_stranger_is_refused():
    assert reason(sealed(), directory=known(COORDINATOR)) == Refusal.UNKNOWN_SENDER


def test_every_part_is_signed():
    data = sealed()
    length = int.from_bytes(data[6:8], "big")
    start = 8 + length
    nonce = data.index(b"enonce") + 7
    for position in (nonce, start, start + 32, start + 500, len(data) - 65, len(data) - 64, len(data) - 1):
        bad = bytearray(data)
        bad[position] ^= 1
        assert reason(bytes(bad)) == Refusal.NOT_AUTHENTIC, position


def test_nobody_speaks_in_anothers_name():
    data = seal(header(sender="eve"), PAYLOAD, sender=EVE, receiver=COORDINATOR.public)
    assert reason(resigned(sealed(), EVE)) == Refusal.NOT_AUTHENTIC
    assert reason(data) == Refusal.WRONG_SENDER


def test_a_stolen_ciphertext_does_not_open_under_the_thiefs_name():
    """The thief cuts off ann's signature, writes its own name of the same length, and signs."""
    cat = Identity.generate("cat")
    stolen = resigned(sealed().replace(b"cann", b"ccat"), cat)
    directory = known(COORDINATOR, cat)
    assert b"ccat" in stolen
    expected = replace(EXPECTED, sender="cat")
    assert reason(stolen, directory=directory, expected=expected) == Refusal.NOT_SEALED_TO_US


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"run": "run-2"}, Refusal.WRONG_RUN),
        ({"round": 2}, Refusal.WRONG_ROUND),
        ({"kind": Kind.INSTRUCTION}, Refusal.WRONG_KIND),
        ({"model": "cd" * 32}, Refusal.WRONG_MODEL),
        ({"model": ""}, Refusal.WRONG_MODEL),
        ({"in_reply_to": b""}, Refusal.WRONG_REPLY),
        ({"in_reply_to": b"\x08" * 32}, Refusal.WRONG_REPLY),
        ({"sender": "eve"}, Refusal.WRONG_SENDER),
        ({"receiver": "ann"}, Refusal.NOT_FOR_US),
    ],
)
def test_only_what_is_awaited_is_opened(changes, expected):
    sender = EVE if changes.get("sender") else ANN
    receiver = ANN if changes.get("receiver") else COORDINATOR
    data = seal(header(**changes), PAYLOAD, sender=sender, receiver=receiver.public)
    assert reason(data) == expected


def test_whom_an_envelope_is_for_can_be_read_before_it_is_believed():
    assert receiver_of(sealed()) == "coordinator"
    for bad in (b"", b"SKEV", sealed()[:100], b"XXXX" + sealed()[4:], bytes(MAX_ENVELOPE_BYTES + 1)):
        with pytest.raises(EnvelopeRefusedError):
            receiver_of(bad)


def test_an_instruction_for_one_device_does_not_open_on_another():
    data = seal(
        header(kind=Kind.INSTRUCTION, sender="coordinator", receiver="ann"),
        PAYLOAD,
        sender=COORDINATOR,
        receiver=ANN.public,
    )
    loose = Expected(kind=frozenset({Kind.INSTRUCTION}), receiver="ann")
    assert opened(data, me=ANN, expected=loose).payload == PAYLOAD
    assert reason(data, me=EVE, expected=replace(loose, receiver="eve")) == Refusal.NOT_FOR_US
    assert reason(data, me=EVE, expected=loose) == Refusal.NOT_SEALED_TO_US


def test_times_are_held_within_the_permitted_skew():
    data = sealed()
    expires = NOW + 600_000
    for now in (NOW - SKEW_MS, NOW, expires, expires + SKEW_MS - 1):
        assert opened(data, now=now).payload == PAYLOAD
    assert reason(data, now=NOW - SKEW_MS - 1) == Refusal.NOT_YET_VALID
    assert reason(data, now=expires + SKEW_MS) == Refusal.EXPIRED


def test_a_message_is_accepted_once():
    guard = ReplayGuard()
    data = sealed()
    opened(data, replay=guard)
    assert reason(data, replay=guard) == Refusal.REPLAYED
    last = NOW + 600_000 + SKEW_MS - 1
    assert reason(data, replay=guard, now=last) == Refusal.REPLAYED
    opened(sealed(), replay=guard)


def test_a_refused_message_uses_up_no_nonce():
    guard = ReplayGuard()
    data = sealed()
    assert reason(data, replay=guard, now=NOW - SKEW_MS - 1) == Refusal.NOT_YET_VALID
    assert reason(data, replay=guard, me=EVE) == Refusal.NOT_SEALED_TO_US
    opened(data, replay=guard)


def test_a_full_guard_refuses_the_sender():
    guard = ReplayGuard(per_sender=1)
    opened(sealed(), replay=guard)
    assert reason(sealed(), replay=guard) == Refusal.TOO_MANY


@pytest.mark.parametrize(
    "changes",
    [
        {"version": 2},
        {"suite": "x25519"},  # the text, where the suite is meant
        {"suite": "null"},
        {"kind": "update"},
        {"run": ""},
        {"run": 7},
        {"round": -1},
        {"round": 1.0},
        {"round": True},
        {"round": 2**53},
        {"sender": "../ann"},
        {"receiver": ""},
        {"model": "AB" * 32},
        {"model": b""},
        {"nonce": b"short"},
        {"nonce": "0" * 16},
        {"in_reply_to": b"\0" * 31},
        {"issued": -1},
        {"issued": "now"},
        {"expires": NOW},
        {"expires": NOW + MAX_LIFETIME_MS + 1},
    ],
)
def test_a_header_holds_only_what_it_should(changes):
    with pytest.raises(InputError):
        header(**changes)


def test_nobody_seals_under_a_wrong_name():
    with pytest.raises(InputError, match="another sender or receiver"):
        seal(header(sender="eve"), b"", sender=ANN, receiver=COORDINATOR.public)
    with pytest.raises(InputError, match="another sender or receiver"):
        seal(header(), b"", sender=ANN, receiver=EVE.public)


def test_refusals_say_what_and_where():
    with pytest.raises(EnvelopeRefusedError) as caught:
        opened(sealed(round=2))
    said = caught.value.diagnostics()
    assert said.where == "ann"
    assert "2" in said.what
    assert "3" in said.what
    assert caught.value.exit_code == 3
