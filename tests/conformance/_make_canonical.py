"""Vectors of canonical CBOR: values with their bytes, and bytes that are refused."""

import math
import struct
from typing import Any

from skerry.canonical import decode, encode
from skerry.errors import InputError

__all__ = ["make", "tagged"]

_DEEPEST = 64


def tagged(value: Any) -> dict[str, Any]:
    """A value as JSON that loses nothing: its type is a key; floats are their eight bytes."""
    if value is None:
        return {"null": True}
    match value:
        case bool():
            return {"bool": value}
        case int():
            return {"int": str(value)}
        case float():
            return {"float": struct.pack(">d", value).hex()}
        case str():
            return {"text": value}
        case bytes():
            return {"bytes": value.hex()}
        case list():
            return {"list": [tagged(item) for item in value]}
        case dict():
            return {"map": [[key, tagged(item)] for key, item in value.items()]}
    raise TypeError(type(value))


def make() -> dict[str, Any]:
    """The file's content."""
    return {
        "source": "core/canonical.py",
        "encoded": [{"value": tagged(value), "bytes": encode(value).hex()} for value in _values()],
        "as_deep_as_may_be": encode(decode(encode(_nested(_DEEPEST)))).hex(),
        "refused": [{"why": why, "given": data.hex()} for why, data in _refused().items()],
    }


def _values() -> list[Any]:
    edges = [0, 23, 24, 255, 256, 65535, 65536, 2**32 - 1, 2**32, 2**53 - 1, 2**53, 2**64 - 1, 2**64, 2**80 + 1]
    floats = [
        *(0.0, -0.0, 1.0, 0.5, -1.5, 65504.0, 65505.0, 2.0**-24, 2.0**-25, 6.1035e-05, 2.0**-14, 2.0**-14 - 2.0**-24),
        *(3.0, 0.1, 1e-5, 3.4028234663852886e38, 1e300, 5e-324, math.inf, -math.inf, math.nan, 2.0**53, 100000.0),
    ]
    return [
        *edges,
        *(-1 - edge for edge in edges),
        *floats,
        None,
        True,
        False,
        "",
        "a",
        "ü€𝄞\0\n",
        "x" * 24,
        b"",
        bytes(range(256)),
        [],
        [1, [2, [3.0, {}]]],
        {},
        {"b": 1, "a": 2, "aa": 3, "": 4, "ü": 5, "Z": 6, "__proto__": 7, "10": 8, "9": 9},
        {"run": "digits-1", "round": 3, "nonce": bytes(16), "plan": {"clip": 1.0, "epochs": 1, "engine": "skerry"}},
    ]


def _nested(depth: int) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = [value]
    return value


def _refused() -> dict[str, bytes]:
    """Only what is refused indeed."""
    found = {
        "nothing": b"",
        "a tail": b"\x00\x00",
        "an integer in two bytes that fits in one": b"\x18\x17",
        "a length in nine bytes that fits in one": b"\x5b" + bytes(7) + b"\x01a",
        "a byte string that ends early": b"\x44abc",
        "a byte string longer than memory": b"\x5b" + b"\xff" * 8,
        "a list longer than memory": b"\x9b" + b"\xff" * 8,
        "a list that ends early": b"\x82\x00",
        "a list without end": b"\x9f\xff",
        "a byte string in pieces": b"\x5f\x41a\xff",
        "a map that ends early": b"\xa1\x61a",
        "keys out of order": b"\xa2\x61b\x00\x61a\x00",
        "a longer key first": b"\xa2\x62aa\x00\x61b\x00",
        "a key twice": b"\xa2\x61a\x00\x61a\x01",
        "a text that is not UTF-8": b"\x61\xff",
        "half a surrogate pair": b"\x63\xed\xa0\x80",
        "a float in four bytes that fits in two": b"\xfa\x3f\x80\x00\x00",
        "a float in eight bytes that fits in four": b"\xfb\x40\xf8\x6a\x00\x00\x00\x00\x00",
        "another NaN": b"\xf9\x7e\x01",
        "NaN in eight bytes": b"\xfb\x7f\xf8" + bytes(6),
        "a date": b"\xc1\x00",
        "a shared reference": b"\xd8\x1c\x80",
        "self-described CBOR": b"\xd9\xd9\xf7\x00",
        "a big number that is not big": b"\xc2\x48" + b"\xff" * 8,
        "a big number with a leading zero": b"\xc2\x4a\x00" + b"\xff" * 9,
        "a break alone": b"\xff",
        "an additional information that is reserved": b"\x1c",
        "nested one too deep": encode(_nested(_DEEPEST + 1)),
    }
    for why, data in found.items():
        try:
            decode(data)
        except InputError:
            continue
        raise AssertionError(f"not refused: {why}")
    return found
