"""What all records of enrolment share: canonical CBOR of exact fields, and signatures over it."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from skerry.canonical import encode
from skerry.errors import EnvelopeRefusedError, InputError
from skerry.security.certificates.subject import check_federation
from skerry.security.enrolment.refusal import EnrolmentRefusal, EnrolmentRefusedError
from skerry.security.identity import Identity, PublicIdentity, verify_signature
from skerry.security.identity.keys import separated
from skerry.security.strict import read_record

__all__ = [
    "LONGEST",
    "Record",
    "SignedBody",
    "check_der",
    "check_federation_name",
    "check_some_bytes",
    "signed_by",
    "verify_signed_by",
]

LONGEST = 16_384
"""Bytes of the longest record; nothing longer is looked at."""
_LONGEST_DER = 4096
_LONGEST_ECDSA = 80


@dataclass(frozen=True)
class Record:
    """A record whose canonical CBOR has exactly its fields."""

    def encode(self) -> bytes:
        """The canonical bytes."""
        return encode({name: getattr(self, name) for name in self.__dataclass_fields__})

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """The record of these bytes.

        Raises:
            EnrolmentRefusedError: they are not one (``malformed``).
        """
        try:
            return cls(**read_fields(data, cls.__dataclass_fields__))
        except InputError as error:
            raise EnrolmentRefusedError(EnrolmentRefusal.MALFORMED, error.what) from error


@dataclass(frozen=True)
class SignedBody(Record):
    """A request's body with the signatures of its device's two keys.

    The device's key (P-256, which the certificate is of) and its message key (Ed25519) both sign, so that nobody enrols
    a key that is not theirs.
    """

    body: bytes
    by_device_key: bytes
    by_message_key: bytes

    def __post_init__(self) -> None:
        check_some_bytes(self.body, "a body", LONGEST)
        check_some_bytes(self.by_device_key, "a signature", _LONGEST_ECDSA)
        check_some_bytes(self.by_message_key, "a signature", 64)

    @staticmethod
    def of(body: bytes, domain: bytes, device_key: ec.EllipticCurvePrivateKey, identity: Identity) -> "SignedBody":
        """Sign a body with both keys, for one use."""
        return SignedBody(body, signed_by(device_key, domain, body), identity.sign(domain, body))

    def check(self, domain: bytes, device_key: ec.EllipticCurvePublicKey, identity: PublicIdentity) -> None:
        """Return when both keys signed.

        Raises:
            EnrolmentRefusedError: they did not (``not_authentic``).
        """
        try:
            verify_signed_by(device_key, domain, self.body, self.by_device_key)
            verify_signature(identity, domain, self.body, self.by_message_key)
        except (InvalidSignature, EnvelopeRefusedError):
            raise EnrolmentRefusedError(
                EnrolmentRefusal.NOT_AUTHENTIC,
                "the request is not signed by the keys that it is about",
                where=identity.name,
            ) from None


def signed_by(key: ec.EllipticCurvePrivateKey, domain: bytes, message: bytes) -> bytes:
    """ECDSA with SHA-256 (DER) over ``len(domain) ‖ domain ‖ message``, as :meth:`Identity.sign` separates uses."""
    return key.sign(separated(domain, message), ec.ECDSA(hashes.SHA256()))


def verify_signed_by(key: ec.EllipticCurvePublicKey, domain: bytes, message: bytes, signature: bytes) -> None:
    """Return when the key signed the message for this domain.

    Raises:
        InvalidSignature: it did not.
    """
    key.verify(signature, separated(domain, message), ec.ECDSA(hashes.SHA256()))


def read_fields(data: bytes, names: Collection[str]) -> dict[str, Any]:
    """The fields of a record of enrolment; see :func:`~skerry.security.strict.read_record`."""
    if type(data) is not bytes:
        raise InputError("a record is bytes")
    return read_record(data, names, limit=LONGEST)


def check_some_bytes(value: object, what: str, most: int) -> None:
    """Refuse anything but 1 to ``most`` bytes."""
    if type(value) is not bytes or not 1 <= len(value) <= most:
        raise InputError(f"{what} must be 1 to {most} bytes")


def check_der(value: object, what: str) -> None:
    """Refuse what cannot be a certificate or a request for one."""
    check_some_bytes(value, what, _LONGEST_DER)


def check_federation_name(value: object) -> None:
    """Refuse what cannot be a federation's name."""
    if type(value) is not str:
        raise InputError("a federation's name must be text")
    check_federation(value)
