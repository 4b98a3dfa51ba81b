"""What the desk answers: a challenge, and how an enrolment stands, signed by the issuing key."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec

from skerry.errors import InputError
from skerry.security.enrolment.record import (
    Record,
    check_der,
    check_federation_name,
    check_some_bytes,
    signed_by,
    verify_signed_by,
)
from skerry.security.enrolment.refusal import EnrolmentRefusal, EnrolmentRefusedError
from skerry.security.enrolment.requests import NONCE_BYTES
from skerry.security.strict import check_bytes, check_integer

__all__ = ["Challenge", "Outcome", "SignedOutcome", "Status"]

_DOMAIN = b"skerry/outcome/1"


class Status(StrEnum):
    """How an enrolment stands, where it was not refused."""

    PENDING = "pending"
    ENROLLED = "enrolled"
    LEFT = "left"


@dataclass(frozen=True)
class Challenge(Record):
    """A nonce of the desk, its time in ms, and its certificates (DER)."""

    federation: str
    nonce: bytes
    now: int
    root: bytes
    issuer: bytes

    def __post_init__(self) -> None:
        check_federation_name(self.federation)
        check_bytes(self.nonce, "a nonce", NONCE_BYTES)
        check_integer(self.now, "a time")
        check_der(self.root, "a certificate")
        check_der(self.issuer, "a certificate")


@dataclass(frozen=True)
class Outcome(Record):
    """How an enrolment stands.

    Attributes:
        status: a :class:`Status`.
        request: SHA-256 of the request's bytes that this answers.
        certificate: DER; empty while pending, and after leaving.
        certificate_issuer: the issuing certificate that it is under, DER; not the answer's own where the issuing key
            was made anew in between. Empty where there is no certificate.
        coordinator: the coordinator's message keys, as ``PublicIdentity.to_json``; empty where there is none.
        now: the desk's time, ms.
    """

    status: str
    request: bytes
    certificate: bytes
    certificate_issuer: bytes
    coordinator: Mapping[str, str]
    now: int

    def __post_init__(self) -> None:
        if self.status not in set(Status):
            raise InputError("unknown status")
        check_bytes(self.request, "a digest", 32)
        if self.status == Status.ENROLLED:
            check_der(self.certificate, "a certificate")
            check_der(self.certificate_issuer, "a certificate")
        elif self.certificate or self.certificate_issuer:
            raise InputError("a certificate of one who is not enrolled")
        if not isinstance(self.coordinator, dict):
            raise InputError("the coordinator's keys must be a map")
        check_integer(self.now, "a time")


@dataclass(frozen=True)
class SignedOutcome(Record):
    """An outcome's bytes, the issuing certificate (DER), and its key's signature."""

    body: bytes
    issuer: bytes
    by_issuer: bytes

    def __post_init__(self) -> None:
        check_some_bytes(self.body, "a body", 12_288)
        check_der(self.issuer, "a certificate")
        check_some_bytes(self.by_issuer, "a signature", 80)

    @staticmethod
    def of(outcome: Outcome, issuer: bytes, key: ec.EllipticCurvePrivateKey) -> "SignedOutcome":
        """Sign an outcome."""
        body = outcome.encode()
        return SignedOutcome(body, issuer, signed_by(key, _DOMAIN, body))

    def open(self, issuer: ec.EllipticCurvePublicKey) -> Outcome:
        """The outcome that this key signed.

        Raises:
            EnrolmentRefusedError: it did not sign it (``not_authentic``), or it is none (``malformed``).
        """
        try:
            verify_signed_by(issuer, _DOMAIN, self.body, self.by_issuer)
        except InvalidSignature:
            raise EnrolmentRefusedError(
                EnrolmentRefusal.NOT_AUTHENTIC, "the answer is not signed by the federation"
            ) from None
        return Outcome.decode(self.body)
