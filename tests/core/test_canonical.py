"""One value has one encoding, and no other is accepted."""

from random import Random

import cbor2
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from skerry.canonical import Fields, decode, digest, encode, sha256_hex
from skerry.errors import InputError

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text() | st.binary() | st.floats(allow_nan=False),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(VALUES)
def test_values_survive(value):
    assert decode(encode(value)) == value


@given(st.dictionaries(st.text(), st.integers(), min_size=2))
def test_the_order_of_keys_does_not_matter(value):
    backwards = dict(reversed(value.items()))
    assert encode(value) == encode(backwards)
    assert digest(value) == digest(backwards)


PLAIN = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text() | st.binary()


@example({"a": 0.5}, Random(0))
@example({"a": {"bb": 1, "b": 2}}, Random(0))
@example({"bb": 1, "c": True, "aa": None}, Random(0))
@given(st.dictionaries(st.text(), PLAIN) | st.dictionaries(st.text(), VALUES) | VALUES, st.randoms())
def test_known_fields_change_no_byte(value, random):
    keys = list(value) if isinstance(value, dict) else ["a", "b"]
    random.shuffle(keys)
    assert Fields(keys).encode(value) == encode(value)
    assert Fields(["a", "bb"]).encode(value) == encode(value)


@given(st.binary(max_size=64))
def test_random_bytes_are_refused_or_canonical(data):
    try:
        value = decode(data)
    except InputError:
        return
    assert encode(value) == data


@pytest.mark.parametrize(
    "data",
    [b"", b"\x18\x01", cbor2.dumps({"b": 1, "a": 2}), encode(1) + b"\x00", b"\xbf\x61a\x01\xff"],
    ids=["empty", "long integer", "unsorted keys", "tail", "indefinite map"],
)
def test_other_encodings_of_a_value_are_refused(data):
    with pytest.raises(InputError):
        decode(data)


def test_shared_references_cannot_unfold_into_a_bomb():
    """Two hundred bytes of nested shared references would otherwise stand for 2^60 items."""
    bomb = b"\xd8\x1c\x80"
    for depth in range(60):
        bomb = b"\xd8\x1c\x82" + bomb + b"\xd8\x1d" + cbor2.dumps(60 - depth)
    with pytest.raises(InputError):
        decode(bomb)


def test_digest_is_sha256_of_the_encoding():
    assert digest({"a": 1}) == sha256_hex(bytes.fromhex("a1616101"))
