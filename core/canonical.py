"""One byte string per value: deterministic CBOR (RFC 8949, section 4.2) and its digest.

Signatures, hash chains and digests are taken over these bytes only. Decoding is strict: bytes that are not
the canonical encoding of their own value are refused, so that no two encodings of one value both verify.
"""

import hashlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NoReturn

import cbor2

from skerry.errors import InputError

__all__ = ["Fields", "decode", "digest", "encode", "file_sha256", "sha256_hex"]


def encode(value: Any) -> bytes:
    """Canonical CBOR of ``value`` (maps with text keys, lists, text, bytes, ints, floats, bools, None)."""
    return cbor2.dumps(value, canonical=True)


class Fields:
    """Maps with these text keys, whose order is found once: of a dozen keys that is half of the time of :func:`encode`.

    Args:
        names: the keys.
    """

    _PLAIN = frozenset({str, bytes, int, bool, type(None)})  # of these there is one form, whatever cbor2 is told

    def __init__(self, names: Collection[str]) -> None:
        self.names = frozenset(names)
        texts = ((name.encode(), name) for name in self.names)
        self._order = [name for _, name in sorted(texts, key=lambda text: (len(text[0]), text[0]))]

    def encode(self, value: Any) -> bytes:
        """The bytes of :func:`encode`, of any value: quicker if it is such a map, and nothing in it holds anything."""
        if type(value) is dict and value.keys() == self.names:
            value = {name: value[name] for name in self._order}
            if self._PLAIN.issuperset(map(type, value.values())):
                return cbor2.dumps(value)
        return encode(value)


def _refuse_tag(*_: object) -> NoReturn:
    raise ValueError("a tag")


# Every tag that cbor2 would read by itself, but for big integers; the hook gets all others. Shared references
# (28, 29) let 200 bytes stand for 2²⁰ items that are unfolded when they are encoded again for the comparison.
_NO_TAGS = dict.fromkeys(
    (0, 1, 4, 5, 25, 28, 29, 30, 35, 36, 37, 52, 54, 100, 256, 258, 260, 261, 1004, 43000, 55799), _refuse_tag
)


def decode(data: bytes) -> Any:
    """The value of canonical CBOR bytes; work and memory are linear in their length.

    Raises:
        InputError: the bytes are not CBOR, have a tail, hold a tag, or are not in canonical form.
    """
    try:
        value = cbor2.loads(
            data,
            tag_hook=_refuse_tag,
            semantic_decoders=_NO_TAGS,
            max_depth=64,
            allow_indefinite=False,
            allow_duplicate_keys=False,
            strict_hashable_types=True,
        )
        again = encode(value)
    except Exception as error:  # cbor2 raises many kinds on hostile bytes; all mean the same here
        raise InputError("bytes are not valid CBOR", mend="the sender must encode canonically") from error
    if again != data:
        raise InputError("bytes are not canonical CBOR", mend="the sender must encode canonically")
    return value


def sha256_hex(data: bytes) -> str:
    """SHA-256 in lower-case hexadecimal (64 characters)."""
    return hashlib.sha256(data).hexdigest()


def file_sha256(path: Path) -> str:
    """The same of a file's content, in constant memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(value: Mapping[str, Any] | list[Any]) -> str:
    """SHA-256 of the canonical encoding of a record, in hexadecimal."""
    return sha256_hex(encode(value))
