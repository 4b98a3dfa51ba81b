"""Who somebody is: one Ed25519 key to sign and one key to be sealed to, under one name.

An identity's private half lives in one file that nobody else may read. Its public half travels; a
:class:`~skerry.security.identity.Directory` says which public half belongs to which name, and is the only root of trust
for messages.
"""

import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from skerry.errors import EnvelopeRefusedError, InputError
from skerry.fsio import write_atomic, write_new
from skerry.security.hpke import KemPrivateKey, KemPublicKey, KemSuite
from skerry.security.identity.private_file import read_private
from skerry.security.refusal import Refusal
from skerry.security.strict import check_bytes, check_name

__all__ = ["Identity", "PublicIdentity", "separated", "verify_signature"]

_SCHEMA = 1
_P = 2**255 - 19
_ORDER_8 = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7
# y-coordinates of the eight points of small order on edwards25519, with the encodings above p that readers accept:
# for such a "key" anybody can make signatures that verify (RFC 8032 does not ask verifiers to refuse it).
_SMALL_ORDER = frozenset({0, 1, _P - 1, _P, _P + 1, _ORDER_8, _P - _ORDER_8})


@dataclass(frozen=True)
class PublicIdentity:
    """What others know of an identity.

    Guarantee: both keys are usable. A key of small order (signatures that anybody can make, a shared secret that
    anybody knows) cannot be held by this class.

    Attributes:
        name: see :func:`~skerry.security.strict.check_name`.
        signing_key: 32 bytes, Ed25519 (RFC 8032).
        kem_key: the key to be sealed to, in the form of its suite (:class:`~skerry.security.hpke.KemPublicKey`).
        suite: of the sealing key. Who is known by a key of one suite is never sealed to by another.
    """

    name: str
    signing_key: bytes
    kem_key: bytes
    suite: KemSuite = KemSuite.X25519

    def __post_init__(self) -> None:
        check_name(self.name, "an identity's name")
        check_bytes(self.signing_key, "a signing key", 32)
        if int.from_bytes(self.signing_key, "little") & (2**255 - 1) in _SMALL_ORDER:
            raise InputError("a public key of small order protects nothing", where=self.name)
        try:
            _ = self.encapsulation_key
        except InputError as error:
            raise InputError(error.what, where=self.name) from error

    @cached_property
    def verifying_key(self) -> Ed25519PublicKey:
        """The signing key as the library's object."""
        return Ed25519PublicKey.from_public_bytes(self.signing_key)

    @cached_property
    def encapsulation_key(self) -> KemPublicKey:
        """The sealing key, with which to seal."""
        return KemPublicKey(self.suite, self.kem_key)

    def to_json(self) -> dict[str, str]:
        """Plain JSON values, keys in hexadecimal."""
        return {
            "name": self.name,
            "signing_key": self.signing_key.hex(),
            "kem_key": self.kem_key.hex(),
            "suite": self.suite.value,
        }

    @staticmethod
    def from_json(value: object) -> "PublicIdentity":
        """The identity that :meth:`to_json` described.

        Raises:
            InputError: other fields, or keys that cannot be used.
        """
        if not isinstance(value, dict) or value.keys() != {"name", "signing_key", "kem_key", "suite"}:
            raise InputError("a public identity has exactly the fields name, signing_key, kem_key and suite")
        return PublicIdentity(
            value["name"], _unhex(value["signing_key"]), _unhex(value["kem_key"]), _suite(value["suite"])
        )


@dataclass(frozen=True)
class Identity:
    """A name with its private keys, which never appear in its ``repr``.

    Attributes:
        name: see :func:`~skerry.security.strict.check_name`.
        signing: of messages.
        kem: to be sealed to.
        earlier: sealing keys of epochs before, the newest first, for what is still on its way to them.
    """

    name: str
    signing: Ed25519PrivateKey = field(repr=False)
    kem: KemPrivateKey = field(repr=False)
    earlier: tuple[KemPrivateKey, ...] = field(default=(), repr=False)

    @staticmethod
    def generate(name: str, suite: KemSuite = KemSuite.X25519) -> "Identity":
        """Fresh keys from the system's random generator; ``suite`` is that of the sealing key."""
        check_name(name, "an identity's name")
        return Identity(name, Ed25519PrivateKey.generate(), KemPrivateKey.generate(suite))

    @cached_property
    def public(self) -> PublicIdentity:
        """The half that others may know."""
        sealing = self.kem.public
        return PublicIdentity(self.name, self.signing.public_key().public_bytes_raw(), sealing.raw, sealing.suite)

    def sign(self, domain: bytes, message: bytes) -> bytes:
        """Ed25519 signature (64 bytes) over ``len(domain) ‖ domain ‖ message``.

        Args:
            domain: 1–255 bytes that name the use, so that a signature made for one use never verifies for another.
            message: what is signed; large messages are hashed by the caller, because Ed25519 reads them twice.
        """
        return self.signing.sign(separated(domain, message))

    def open(self, sealed: bytes | memoryview, info: bytes) -> bytes | None:
        """What was sealed to the key, or to one of those before it, under this ``info``; None when to none of them."""
        for key in (self.kem, *self.earlier):
            plain = key.open(sealed, info)
            if plain is not None:
                return plain
        return None

    def save(self, path: Path, *, new: bool = False) -> None:
        """Write the private keys, readable by the owner alone, atomically and onto stable storage.

        ``new``: there is no such file, and nobody reads it before the caller has put it on stable storage
        (:func:`~skerry.fsio.write_new`).
        """
        secret = {
            "schema": _SCHEMA,
            "name": self.name,
            "signing": self.signing.private_bytes_raw().hex(),
            "kem": self.kem.raw.hex(),
            "suite": self.kem.suite.value,
        }
        (write_new if new else write_atomic)(path, json.dumps(secret).encode() + b"\n", mode=0o600)

    @staticmethod
    def load(path: Path) -> "Identity":
        """Read what :meth:`save` wrote.

        Raises:
            InputError: no such file, or not a key file.
            RefusedError: others than the owner may read or change the file (``open_key_file``).
        """
        text = read_private(path)
        try:
            value = json.loads(text)
            if value["schema"] != _SCHEMA:
                raise ValueError("another schema")
            check_name(value["name"], "an identity's name")
            return Identity(
                value["name"],
                Ed25519PrivateKey.from_private_bytes(bytes.fromhex(value["signing"])),
                KemPrivateKey(KemSuite(value["suite"]), bytes.fromhex(value["kem"])),
            )
        except (ValueError, KeyError, TypeError, InputError):
            # no "from": the cause's message could quote the file
            raise InputError("the file is not a key file", where=str(path), mend="make new keys") from None


def verify_signature(public: PublicIdentity, domain: bytes, message: bytes, signature: bytes) -> None:
    """Return when ``public`` signed ``message`` for ``domain`` (see :meth:`Identity.sign`).

    Raises:
        EnvelopeRefusedError: it did not (``not_authentic``).
    """
    try:
        public.verifying_key.verify(signature, separated(domain, message))
    except InvalidSignature:
        raise EnvelopeRefusedError(
            Refusal.NOT_AUTHENTIC, "the signature does not hold under the sender's key", where=public.name
        ) from None


def separated(domain: bytes, message: bytes) -> bytes:
    """What is signed: ``len(domain) ‖ domain ‖ message``; a signature for one use never verifies for another."""
    return len(domain).to_bytes(1, "big") + domain + message


def _unhex(text: object) -> bytes:
    try:
        return bytes.fromhex(text)  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise InputError("a key must be hexadecimal text") from error


def _suite(text: object) -> KemSuite:
    try:
        return KemSuite(str(text))
    except ValueError as error:
        raise InputError(f"the suite {text!r:.40} is not one of {', '.join(KemSuite)}") from error
