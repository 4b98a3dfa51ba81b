"""Promises of the strict reader: linear work, one encoding, no tags, exact fields."""

import cbor2
import pytest

from skerry.canonical import encode
from skerry.errors import InputError
from skerry.security.strict import check_bytes, check_hex, check_integer, check_name, read_record


def _refused(data, fields=("a",), limit=4096):
    with pytest.raises(InputError):
        read_record(data, fields, limit=limit)


def test_a_record_comes_back():
    value = {"a": 1, "b": [b"x", "y", {"z": None}], "c": True}
    assert read_record(encode(value), ("c", "b", "a"), limit=100) == value


def test_length_is_checked_before_anything_else():
    data = encode({"a": b"x" * 100})
    assert read_record(data, ("a",), limit=len(data))
    with pytest.raises(InputError, match="longer"):
        read_record(data, ("a",), limit=len(data) - 1)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        b"\xa1\x61a",  # ends early
        encode({"a": 1}) + b"\0",  # a tail
        b"\xa1\x61a\x18\x01",  # 1 in two bytes
        b"\xbf\x61a\x01\xff",  # indefinite length
        b"\xa2\x61a\x01\x61a\x01",  # a key twice
        b"\xa1\x61a\x7f\x61x\xff",  # text in pieces
        b"\xa1\x61a\x5b\x00\xff\xff\xff\xff\xff\xff\xff",  # a string longer than the memory
        encode({}),
        encode({"a": 1, "b": 2}),
        encode({"b": 1}),
        encode([1]),
        encode("a"),
        cbor2.dumps({1: 1}),
        cbor2.dumps({"a": 2**64}),  # a big number is a tag
        b"\x81" * 20 + b"\0",  # too deep
    ],
)
def test_other_bytes_are_refused(data):
    _refused(data)


def test_canonical_keys_are_in_order():
    value = {"b": 1, "a": 2}
    _refused(cbor2.dumps(value), ("a", "b"))
    assert read_record(encode(value), ("a", "b"), limit=99) == value


def _tagged(tag, content):
    long = b"\xd8" + bytes([tag]) if tag < 256 else b"\xd9" + tag.to_bytes(2, "big")
    head = bytes([0xC0 + tag]) if tag < 24 else long
    return b"\xa1\x61a" + head + content


def test_no_tag_is_read():
    contents = (b"\x00", b"\x80", b"\x41x", b"\x61x")
    for tag in range(2**16):  # every tag that any decoder knows by itself is among these
        for content in contents if tag < 300 else contents[tag % 4 :][:1]:
            with pytest.raises(InputError, match="not a CBOR record"):
                read_record(_tagged(tag, content), ("a",), limit=99)


def test_shared_references_do_not_unfold():
    levels = 60
    parts = [b"\xd8\x1c\x81\x00"]  # 28([0]), then each is 28([29(previous), 29(previous)])
    parts += [b"\xd8\x1c\x82" + 2 * (b"\xd8\x1d" + encode(i)) for i in range(levels - 1)]
    data = b"\xa1\x61a" + b"\x98" + bytes([levels]) + b"".join(parts)
    _refused(data)  # unfolded it has 2⁵⁹ items, and this would not end


def test_checks_want_exact_types():
    check_integer(3, "n", low=3, high=3)
    check_bytes(b"ab", "b", 0, 2)
    check_hex("0" * 64, "h")
    check_name("x", "n")
    for wrong in (True, 2, 4, 3.0, "3", None):
        with pytest.raises(InputError):
            check_integer(wrong, "n", low=3, high=3)
    for wrong in (b"a", "ab", bytearray(2), None):
        with pytest.raises(InputError):
            check_bytes(wrong, "b", 0, 2)
    for wrong in ("0" * 63, "0" * 65, "G" * 64, "A" * 64, "0" * 64 + "\n", b"0" * 64, None):
        with pytest.raises(InputError):
            check_hex(wrong, "h")
    for wrong in (b"x", None, 3, "\ud800", "a\u202eb"):
        with pytest.raises(InputError):
            check_name(wrong, "n")
