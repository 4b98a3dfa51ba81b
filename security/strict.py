"""Reading what strangers wrote: size first, one encoding per value, exact fields, exact types.

Canonical CBOR alone is not enough for bytes of hostile origin. Shared references (tags 28 and 29) let 200
bytes stand for a structure of 2²⁰ items that is only unfolded when it is encoded again for the comparison, and
tags call constructors of dates, regular expressions and big numbers. Our records need no tag, so none is read.
"""

import re
from collections.abc import Collection
from functools import lru_cache
from typing import Any, NoReturn

import cbor2

from skerry.canonical import Fields
from skerry.errors import InputError

__all__ = ["MAX_INTEGER", "check_bytes", "check_hex", "check_integer", "check_name", "read_record"]

MAX_INTEGER = 2**53 - 1
"""Largest integer in a record: the largest that JavaScript and JSON readers hold exactly."""

_HEX_DIGEST = re.compile(r"[0-9a-f]{64}")
_NAME_BYTES = 128


def _refuse_tag(*_: object) -> NoReturn:
    raise ValueError("a tag")


# Every tag that cbor2 would read by itself; the hook gets all others.
_BUILT_IN = (
    0, 1, 2, 3, 4, 5, 25, 28, 29, 30, 35, 36, 37, 52, 54, 100, 256, 258, 260, 261, 1004, 43000, 55799,
)  # fmt: skip
_NO_TAGS = dict.fromkeys(_BUILT_IN, _refuse_tag)


def read_record(data: bytes, fields: Collection[str], *, limit: int) -> dict[str, Any]:
    """The map with exactly these text keys that ``data`` is the canonical encoding of.

    Guarantee: work and memory are linear in ``len(data)``, and at most ``limit`` bytes are looked at.

    Raises:
        InputError: too long, not CBOR, not canonical, tagged, nested deeper than 8, or other fields.
    """
    known = _known(tuple(fields))
    if len(data) > limit:
        raise InputError(f"a record of {len(data)} bytes is longer than the {limit} allowed")
    try:
        value = cbor2.loads(
            data,
            tag_hook=_refuse_tag,
            semantic_decoders=_NO_TAGS,
            max_depth=8,
            allow_indefinite=False,
            allow_duplicate_keys=False,
            strict_hashable_types=True,
        )
        same = known.encode(value) == data
    except Exception as error:  # cbor2 raises many kinds on hostile bytes; all mean the same here
        raise InputError("the bytes are not a CBOR record") from error
    if not same:
        raise InputError("the bytes are not the canonical encoding of their record")
    if not isinstance(value, dict) or value.keys() != known.names:
        raise InputError("the record has missing or unknown fields")
    return value


_known = lru_cache(maxsize=64)(Fields)  # those of each kind of record


def check_integer(value: object, what: str, *, low: int = 0, high: int = MAX_INTEGER) -> None:
    """Refuse anything but an ``int`` (no ``bool``) from ``low`` to ``high``, both included."""
    if type(value) is not int or not low <= value <= high:
        raise InputError(f"{what} must be an integer from {low} to {high}")


def check_bytes(value: object, what: str, *lengths: int) -> None:
    """Refuse anything but ``bytes`` of one of the lengths."""
    if type(value) is not bytes or len(value) not in lengths:
        raise InputError(f"{what} must be {' or '.join(map(str, lengths))} bytes")


def check_hex(value: object, what: str) -> None:
    """Refuse anything but a SHA-256 in lower-case hexadecimal."""
    if type(value) is not str or not _HEX_DIGEST.fullmatch(value):
        raise InputError(f"{what} must be 64 lower-case hexadecimal digits")


def check_name(value: object, what: str) -> None:
    """Refuse what cannot be one plain file name and one printable word or phrase.

    Names of devices, runs, models and delivered files become parts of paths, so a separator, a leading dot
    (``..`` and hidden files), control characters and blank ends are out, and the length is 1–128 UTF-8 bytes.
    """
    if type(value) is not str or not _is_name(value):
        raise InputError(
            f"{what} is not a usable name: {value!r:.80}",
            mend=f"1 to {_NAME_BYTES} printable bytes, no slash, no leading dot, no blank at either end",
        )


@lru_cache(maxsize=1024)
def _is_name(value: str) -> bool:
    """Remembered: the same few names stand in every message."""
    return (
        value.isprintable()  # no control characters, no surrogates
        and value == value.strip()
        and 1 <= len(value.encode()) <= _NAME_BYTES
        and value[0] != "."
        and "/" not in value
        and "\\" not in value
    )
