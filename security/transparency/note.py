"""Signed notes (C2SP signed-note): a text with signature lines that a person can read and many tools can check.

::

    example.org/ledger
    42
    qINS1GRFhWHwdkUeqLEoP4yEMkTBBzxBkGwGQlVlVcs=

    — example.org/ledger Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=

The text ends with a line end; an empty line and one line per signature follow. Signatures are Ed25519 over the text.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from skerry.errors import InputError, RefusedError

__all__ = ["NoteKey", "NoteSigner", "open_note", "sign_note"]

_ED25519 = b"\x01"
_NAME = re.compile(r"[^\s+]+")
_DASH = "— "
_LONGEST = 1 << 16
_MOST_SIGNATURES = 100


@dataclass(frozen=True)
class NoteKey:
    """A verifier key: whose signature lines count.

    Attributes:
        name: of the signer: a URL without scheme, or anything without spaces and ``+``.
        public: 32 bytes, Ed25519.
    """

    name: str
    public: bytes

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise InputError(f"{self.name!r} cannot name a signer", mend="leave out spaces and plus signs")

    @cached_property
    def id(self) -> bytes:
        """4 bytes that tell keys of one name apart; not a secret and not unique on purpose."""
        return hashlib.sha256(self.name.encode() + b"\n" + _ED25519 + self.public).digest()[:4]

    def __str__(self) -> str:
        """The usual text form, ``name+id+base64``."""
        return f"{self.name}+{self.id.hex()}+{base64.b64encode(_ED25519 + self.public).decode()}"

    @staticmethod
    def parse(text: str) -> "NoteKey":
        """The key that :meth:`__str__` wrote.

        Raises:
            InputError: another form, another algorithm, or an id that does not fit.
        """
        name, _, rest = text.partition("+")
        identifier, _, encoded = rest.partition("+")
        try:
            raw = base64.b64decode(encoded, validate=True)
            key = NoteKey(name, raw[1:])
        except (binascii.Error, ValueError) as error:
            raise InputError("this is not a verifier key (name+id+base64)", where=text[:80]) from error
        if raw[:1] != _ED25519 or len(raw) != 33 or key.id.hex() != identifier:
            raise InputError("this is not an Ed25519 verifier key, or its id does not fit", where=text[:80])
        return key


@dataclass(frozen=True)
class NoteSigner:
    """A private key under a name."""

    name: str
    private: Ed25519PrivateKey

    @cached_property
    def key(self) -> NoteKey:
        """The public half."""
        return NoteKey(self.name, self.private.public_key().public_bytes_raw())


def sign_note(text: str, signer: NoteSigner) -> str:
    """The text with one signature line.

    Raises:
        InputError: the text is empty, does not end with a line end, holds control characters, or an empty line's end
            would not be found again.
    """
    _check_text(text)
    line = base64.b64encode(signer.key.id + signer.private.sign(text.encode())).decode()
    return f"{text}\n{_DASH}{signer.name} {line}\n"


def open_note(note: str, keys: Iterable[NoteKey]) -> tuple[str, tuple[NoteKey, ...]]:
    """The text of a note, and which of the given keys signed it; lines of unknown signers are passed over.

    Raises:
        RefusedError: the note is malformed, a known key's signature is wrong, or no known key signed (``signature``).
    """
    text, separator, lines = note.rpartition("\n\n")
    text += "\n"
    if not separator or not lines.endswith("\n") or len(note) > _LONGEST:
        raise _refused("this is not a signed note")
    try:
        _check_text(text)
    except InputError as error:
        raise _refused("this is not a signed note") from error
    known = {(key.name, key.id): key for key in keys}
    signed: list[NoteKey] = []
    rows = lines[:-1].split("\n")
    if len(rows) > _MOST_SIGNATURES:
        raise _refused("a note with so many signatures is not read")
    for row in rows:
        name, identifier, signature = _signature_line(row)
        key = known.get((name, identifier))
        if key is None:
            continue
        try:
            Ed25519PublicKey.from_public_bytes(key.public).verify(signature, text.encode())
        except InvalidSignature as error:
            raise _refused(f"the signature of {name} does not fit the text") from error
        if key not in signed:
            signed.append(key)
    if not signed:
        raise _refused("nobody whose key is known signed this note")
    return text, tuple(signed)


def _signature_line(row: str) -> tuple[str, bytes, bytes]:
    name, space, encoded = row.removeprefix(_DASH).partition(" ")
    try:
        raw = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise _refused("a signature line is malformed") from error
    canonical = base64.b64encode(raw).decode() == encoded  # one signature has one form
    if not canonical or not row.startswith(_DASH) or not space or not _NAME.fullmatch(name) or len(raw) < 5:
        raise _refused("a signature line is malformed")
    return name, raw[:4], raw[4:]


def _check_text(text: str) -> None:
    if not text.endswith("\n") or len(text) < 2 or any(ord(c) < 0x20 and c != "\n" for c in text):
        raise InputError("the text of a note is lines without control characters")
    try:
        text.encode()
    except UnicodeEncodeError as error:  # half of a surrogate pair, which no signer can have signed
        raise InputError("the text of a note is not Unicode") from error
    if f"\n\n{_DASH}" in text:
        raise InputError("the text of a note holds no signature lines")


def _refused(what: str) -> RefusedError:
    return RefusedError("signature", what, mend="ask its signer again")
