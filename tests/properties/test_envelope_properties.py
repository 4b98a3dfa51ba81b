"""Whatever the bytes: an envelope opens as it was sealed, or is refused with a reason. Nothing else happens."""

import hashlib

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from skerry.canonical import encode
from skerry.errors import EnvelopeRefusedError, InputError
from skerry.security import (
    MAX_LIFETIME_MS,
    Directory,
    Expected,
    Header,
    Identity,
    Kind,
    Refusal,
    ReplayGuard,
    open_envelope,
    seal,
)
from skerry.security.envelope import _FIELDS
from skerry.security.strict import MAX_INTEGER, check_name, read_record

ANN, COORDINATOR = Identity.generate("ann"), Identity.generate("coordinator")
KNOWN = Directory({"ann": ANN.public})
LOOSE = Expected(kind=frozenset(Kind), receiver="coordinator")
NOW = 1_800_000_000_000


def _usable(text):
    try:
        check_name(text, "name")
    except InputError:
        return False
    return True


NAMES = st.text(min_size=1, max_size=30).filter(_usable)
LIFETIMES = st.integers(1, MAX_LIFETIME_MS)


@st.composite
def headers(draw):
    issued = draw(st.integers(0, MAX_INTEGER - MAX_LIFETIME_MS))
    return Header(
        kind=draw(st.sampled_from(Kind)),
        run=draw(NAMES),
        round=draw(st.integers(0, MAX_INTEGER)),
        sender="ann",
        receiver="coordinator",
        model=draw(st.sampled_from(["", "0" * 64, "9f" * 32])),
        nonce=draw(st.binary(min_size=16, max_size=16)),
        in_reply_to=draw(st.one_of(st.just(b""), st.binary(min_size=32, max_size=32))),
        receipt=draw(st.one_of(st.just(b""), st.binary(min_size=32, max_size=32))),
        issued=issued,
        expires=issued + draw(LIFETIMES),
    )


# CBOR of any kind, also what our encoder never writes: tags, floats, big numbers, odd keys, broken lengths
ATOMS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.binary(max_size=40))
VALUES = st.recursive(
    ATOMS, lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4))
)


def opened(data, now=NOW, replay=None, expected=LOOSE):
    return open_envelope(data, me=COORDINATOR, directory=KNOWN, expected=expected, now=now, replay=replay)


def outcome(call):
    """What the call gave, and the reason for which it refused."""
    try:
        return call(), None
    except EnvelopeRefusedError as error:
        return None, error.reason


def refusal(data):
    with pytest.raises(EnvelopeRefusedError) as caught:
        opened(data)
    assert caught.value.reason in set(Refusal)
    return caught.value.reason


def hostile(fields):
    """An envelope with these header bytes, rightly signed and sealed by a known sender."""
    head = b"SKEV\x00\x01" + len(fields).to_bytes(2, "big") + fields
    body = head + COORDINATOR.public.encapsulation_key.seal(b"payload", b"skerry/envelope/1/seal:" + head)
    return body + ANN.sign(b"skerry/envelope/1/sign", hashlib.sha256(body).digest())


GOOD = seal(
    Header(
        kind=Kind.UPDATE, run="run", round=1, sender="ann", receiver="coordinator", model="", nonce=b"n" * 16,
        in_reply_to=b"", issued=NOW, expires=NOW + 1000,
    ),
    b"payload" * 20,
    sender=ANN,
    receiver=COORDINATOR.public,
)  # fmt: skip
OTHER = hostile(
    encode(
        {
            "suite": "x25519", "kind": "update", "run": "run", "round": 2, "sender": "ann", "receiver": "coordinator",
            "model": "", "nonce": b"m" * 16, "in_reply_to": b"", "receipt": b"", "issued": NOW, "expires": NOW + 1000,
        }
    )
)  # fmt: skip


@settings(deadline=None, max_examples=60)
@given(headers(), st.binary(max_size=2000))
def test_every_valid_envelope_opens_as_it_was_sealed(header, payload):
    data = seal(header, payload, sender=ANN, receiver=COORDINATOR.public)
    got = opened(data, now=header.issued)
    assert (got.header, got.payload, got.digest) == (header, payload, hashlib.sha256(data).digest())


@settings(deadline=None, max_examples=100)
@given(st.one_of(st.binary(max_size=600), st.binary(max_size=600).map(lambda tail: b"SKEV\x00\x01" + tail)))
def test_random_bytes_are_refused(data):
    refusal(data)


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(1, 255)), min_size=1, max_size=4))
def test_changed_bytes_are_refused(changes):
    bad = bytearray(GOOD)
    for position, mask in changes:
        bad[position] ^= mask
    assume(bytes(bad) != GOOD)
    refusal(bytes(bad))


@settings(deadline=None, max_examples=100)
@given(st.integers(0, len(GOOD)), st.integers(0, len(OTHER)), st.booleans())
def test_pieces_of_two_envelopes_are_refused(cut, other_cut, swap):
    first, second = (OTHER, GOOD) if swap else (GOOD, OTHER)
    data = first[:cut] + second[other_cut:]
    assume(data not in {GOOD, OTHER})
    refusal(data)


def test_the_good_ones_are_good():
    assert opened(GOOD).payload == b"payload" * 20
    assert opened(OTHER).payload == b"payload"


@settings(deadline=None, max_examples=100)
@given(
    st.one_of(
        st.binary(max_size=300), VALUES.map(encode), st.dictionaries(st.sampled_from(_FIELDS), VALUES).map(encode)
    )
)
def test_any_header_by_a_known_sender_is_refused_before_its_signature_counts(fields):
    assert refusal(hostile(fields)) in {Refusal.MALFORMED, Refusal.UNKNOWN_SUITE}


@settings(deadline=None, max_examples=100)
@given(st.sampled_from(_FIELDS), VALUES)
def test_one_field_of_any_value_is_accepted_only_in_its_own_form(field, value):
    record = {
        "suite": "x25519", "kind": "update", "run": "run", "round": 2, "sender": "ann", "receiver": "coordinator",
        "model": "", "nonce": b"m" * 16, "in_reply_to": b"", "receipt": b"", "issued": NOW, "expires": NOW + 1000,
        field: value,
    }  # fmt: skip
    got, refused = outcome(lambda: opened(hostile(encode(record))))
    assert refused in set(Refusal) if got is None else getattr(got.header, field) == value


@settings(deadline=None, max_examples=100)
@given(st.one_of(st.binary(max_size=200), VALUES.map(encode), st.binary(max_size=60).map(lambda b: b"\xa1\x61a" + b)))
def test_the_strict_reader_gives_the_record_or_an_input_error(data):
    try:
        value = read_record(data, ("a",), limit=150)
    except InputError:
        return
    assert encode(value) == data
    assert value.keys() == {"a"}
    assert len(data) <= 150


@settings(deadline=None, max_examples=100)
@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 6), st.integers(0, 20), st.integers(0, 20)), max_size=40),
    st.integers(1, 4),
)
def test_no_sequence_of_claims_accepts_a_message_twice(claims, limit):
    """Whatever the clock does: (sender, nonce) of one lifetime is accepted once."""
    guard = ReplayGuard(per_sender=limit)
    accepted = set()
    for sender, nonce, until, now in claims:
        if now >= until:
            continue  # the envelope refuses it as expired
        message = (sender, nonce, until)
        _, refused = outcome(lambda: guard.claim(sender, bytes([nonce]), until=until, now=now))  # noqa: B023
        assert refused in {None, Refusal.REPLAYED, Refusal.EXPIRED, Refusal.TOO_MANY}
        if refused is None:
            assert message not in accepted
            accepted.add(message)
