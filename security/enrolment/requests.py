"""What a device asks the desk for: a challenge, a certificate, the next certificate, to be let go."""

from collections.abc import Sequence
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric import ec

from skerry.errors import InputError
from skerry.security.aead import read_ciphers
from skerry.security.certificates import Role, Subject
from skerry.security.enrolment.invitation import TOKEN_BYTES
from skerry.security.enrolment.record import (
    Record,
    SignedBody,
    check_der,
    check_some_bytes,
)
from skerry.security.hpke import KemSuite
from skerry.security.identity import Identity
from skerry.security.strict import check_bytes, check_integer, check_name

__all__ = [
    "ENROL",
    "LEAVE",
    "NONCE_BYTES",
    "RENEW",
    "ChallengeRequest",
    "EnrolmentRequest",
    "LeaveRequest",
    "RenewalRequest",
]

NONCE_BYTES = 40
_LONGEST_KEM_KEY = 2048
ENROL, RENEW, LEAVE = b"skerry/enrol/1", b"skerry/renew/1", b"skerry/leave/1"
"""Domains of their signatures."""


@dataclass(frozen=True)
class ChallengeRequest(Record):
    """Asks for a nonce under an invite, which is named by the hash of its token (:func:`invite_id`)."""

    invite: bytes

    def __post_init__(self) -> None:
        check_bytes(self.invite, "an invite's id", 32)


@dataclass(frozen=True)
class EnrolmentRequest(Record):
    """Asks for a certificate.

    Attributes:
        federation: whose device it wants to be.
        nonce: of the challenge.
        token: of the invitation.
        name: that it wants.
        device_class: that it says it is of.
        csr: certificate request (DER), signed by the device's P-256 key.
        signing_key: Ed25519, for messages.
        kem_key: to be sealed to, of the newest epoch, in the form of its suite.
        kem_suite: a :class:`~skerry.security.hpke.KemSuite`.
        kem_epoch: number of that epoch.
        kem_expires: when it ends, ms.
        ciphers: that it opens, best first (:func:`~skerry.security.aead.ciphers_here`).
        issued: ms since the epoch by the device's clock.
    """

    federation: str
    nonce: bytes
    token: bytes
    name: str
    device_class: str
    csr: bytes
    signing_key: bytes
    kem_key: bytes
    kem_suite: str
    kem_epoch: int
    kem_expires: int
    ciphers: Sequence[str]
    issued: int

    def __post_init__(self) -> None:
        check_bytes(self.nonce, "a nonce", NONCE_BYTES)
        check_bytes(self.token, "a token", TOKEN_BYTES)
        check_name(self.device_class, "a device class")
        check_bytes(self.signing_key, "a signing key", 32)
        _check_common(self)

    def signed(self, device_key: ec.EllipticCurvePrivateKey, identity: Identity) -> bytes:
        """The bytes to send."""
        return SignedBody.of(self.encode(), ENROL, device_key, identity).encode()


@dataclass(frozen=True)
class RenewalRequest(Record):
    """Asks for the next certificate of the same key.

    Attributes:
        federation: whose device it is.
        name: under which it is enrolled.
        serial: of the certificate that it has, 20 bytes, big-endian.
        attempt: 16 random bytes, kept until the answer is there: a lost answer is asked for again under the same.
        csr: certificate request (DER) of the same device key.
        kem_key: to be sealed to, of the newest epoch, in the form of its suite.
        kem_suite: a :class:`~skerry.security.hpke.KemSuite`.
        kem_epoch: its number, never smaller than before.
        kem_expires: when it ends, ms.
        ciphers: that it opens, best first (:func:`~skerry.security.aead.ciphers_here`).
        issued: ms since the epoch by the device's clock.
    """

    federation: str
    name: str
    serial: bytes
    attempt: bytes
    csr: bytes
    kem_key: bytes
    kem_suite: str
    kem_epoch: int
    kem_expires: int
    ciphers: Sequence[str]
    issued: int

    def __post_init__(self) -> None:
        check_bytes(self.serial, "a serial number", 20)
        check_bytes(self.attempt, "an attempt", 16)
        _check_common(self)

    def signed(self, device_key: ec.EllipticCurvePrivateKey, identity: Identity) -> bytes:
        """The bytes to send."""
        return SignedBody.of(self.encode(), RENEW, device_key, identity).encode()


@dataclass(frozen=True)
class LeaveRequest(Record):
    """Says that a device leaves for good.

    Attributes:
        federation: that it leaves.
        name: under which it is enrolled.
        serial: of a certificate that it was given there, 20 bytes, big-endian; also of one that has ended.
        issued: ms since the epoch by the device's clock; kept, and not judged: it may leave with a clock that is wrong.
    """

    federation: str
    name: str
    serial: bytes
    issued: int

    def __post_init__(self) -> None:
        if type(self.federation) is not str or type(self.name) is not str:
            raise InputError("names must be text")
        Subject(self.federation, Role.DEVICE, self.name)  # refuses what cannot stand in a certificate
        check_bytes(self.serial, "a serial number", 20)
        check_integer(self.issued, "a time")

    def signed(self, device_key: ec.EllipticCurvePrivateKey, identity: Identity) -> bytes:
        """The bytes to send."""
        return SignedBody.of(self.encode(), LEAVE, device_key, identity).encode()


def _check_common(request: "EnrolmentRequest | RenewalRequest") -> None:
    if type(request.federation) is not str or type(request.name) is not str:
        raise InputError("names must be text")
    Subject(request.federation, Role.DEVICE, request.name)  # refuses what cannot stand in a certificate
    check_der(request.csr, "a certificate request")
    check_some_bytes(request.kem_key, "a sealing key", _LONGEST_KEM_KEY)
    if request.kem_suite not in set(KemSuite):
        raise InputError("unknown suite of a sealing key")
    check_integer(request.kem_epoch, "an epoch", low=1)
    check_integer(request.kem_expires, "a time")
    read_ciphers(request.ciphers)
    check_integer(request.issued, "a time")
    if request.kem_expires <= request.issued:
        raise InputError("the sealing key has expired")
