"""The device's side: apply under an invitation, ask how it stands, renew in time, leave.

1. ask for a challenge; what answers must lead to the root that the invitation pins, and its clock agree with ours
2. sign the request with the device's key and its message key, and keep its bytes: sent again they ask how it stands
3. check the answer: signed by the federation, about this request, a certificate of our key and name
4. at two thirds of the certificate's life, renew
5. leave: say so, signed by both keys, under a certificate that the desk gave
"""

import hashlib
from dataclasses import dataclass
from typing import Protocol

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from skerry.errors import InputError
from skerry.security.aead import ciphers_here
from skerry.security.certificates import Subject, Trust, ms_of, renew_at
from skerry.security.certificates.subject import Role
from skerry.security.enrolment.answers import Challenge, Outcome, SignedOutcome, Status
from skerry.security.enrolment.invitation import Invitation, invite_id
from skerry.security.enrolment.refusal import EnrolmentRefusal, EnrolmentRefusedError
from skerry.security.enrolment.requests import ChallengeRequest, EnrolmentRequest, LeaveRequest, RenewalRequest
from skerry.security.enrolment.transport import EnrolmentTransport, LeavingTransport
from skerry.security.identity import Identity, PublicIdentity
from skerry.security.identity.epochs import KemEpoch

__all__ = ["Applicant", "Application", "Membership", "apply", "ask", "leave", "renew"]

_SKEW_MS = 5 * 60_000


class Applicant(Protocol):
    """The keys that apply."""

    @property
    def identity(self) -> Identity:
        """Name and message keys; its sealing key is of the newest epoch."""
        ...

    @property
    def device_key(self) -> ec.EllipticCurvePrivateKey:
        """P-256; may be a handle to a key that never leaves its chip."""
        ...

    @property
    def epoch(self) -> KemEpoch:
        """The newest epoch of the sealing key."""
        ...


@dataclass(frozen=True)
class Membership:
    """A device's place in a federation.

    Attributes:
        certificate: of the device's key.
        issuer: that signed it.
        root: that the invitation pinned.
        coordinator: whose instructions are to be trusted; None where the federation had none yet.
    """

    certificate: x509.Certificate
    issuer: x509.Certificate
    root: x509.Certificate
    coordinator: PublicIdentity | None

    @property
    def subject(self) -> Subject:
        """Federation, role and name."""
        return Subject.of(self.certificate)

    @property
    def renew_at(self) -> int:
        """When to renew, ms."""
        return renew_at(self.certificate)

    @property
    def chain_pem(self) -> bytes:
        """Certificate and issuer, as TLS wants them."""
        return b"".join(one.public_bytes(Encoding.PEM) for one in (self.certificate, self.issuer))


@dataclass(frozen=True)
class Application:
    """A request that was made; kept until it is decided.

    Attributes:
        request: its bytes, which hold the token.
        root: of the federation, as pinned.
        role: that the invitation promised.
    """

    request: bytes
    root: x509.Certificate
    role: Role


def apply(invitation: Invitation, keys: Applicant, transport: EnrolmentTransport, *, now: int) -> Application:
    """Ask for a challenge and make the request; nothing but the challenge was asked for yet.

    Raises:
        EnrolmentRefusedError: the desk's reason; or ``not_authentic``, ``wrong_federation``, ``wrong_clock``: it is not
            the federation that invited, or clocks disagree.
    """
    Subject(invitation.federation, Role(invitation.role), keys.identity.name)  # refuses an unusable name at once
    if now >= invitation.expires:
        raise EnrolmentRefusedError(
            EnrolmentRefusal.INVITE_EXPIRED, "the invitation has expired", mend="ask for another"
        )
    challenge = Challenge.decode(transport.challenge(ChallengeRequest(invite_id(invitation.token)).encode()))
    root = _certificate(challenge.root)
    if root.fingerprint(hashes.SHA256()) != invitation.root:
        raise EnrolmentRefusedError(
            EnrolmentRefusal.NOT_AUTHENTIC,
            "who answers is not the federation that invited",
            where=invitation.address or None,
            mend="do not go on; ask the operator",
        )
    if challenge.federation != invitation.federation:
        raise EnrolmentRefusedError(
            EnrolmentRefusal.WRONG_FEDERATION, f"invited by {invitation.federation}, answered by {challenge.federation}"
        )
    off = now - challenge.now
    if abs(off) > _SKEW_MS:
        raise EnrolmentRefusedError(
            EnrolmentRefusal.WRONG_CLOCK,
            f"this machine's clock is {abs(off) // 1000} s {'ahead' if off > 0 else 'behind'} of the federation's",
            where=keys.identity.name,
            mend="set this machine's clock (NTP)",
        )
    public = keys.identity.public
    asked = EnrolmentRequest(
        federation=invitation.federation,
        nonce=challenge.nonce,
        token=invitation.token,
        name=public.name,
        device_class=invitation.device_class,
        csr=_request_for(public.name, keys.device_key),
        signing_key=public.signing_key,
        kem_key=keys.epoch.key.public.raw,
        kem_suite=keys.epoch.key.suite.value,
        kem_epoch=keys.epoch.number,
        kem_expires=keys.epoch.ends,
        ciphers=tuple(cipher.value for cipher in ciphers_here()),
        issued=now,
    )
    return Application(asked.signed(keys.device_key, keys.identity), root, Role(invitation.role))


def ask(
    application: Application, federation: str, keys: Applicant, transport: EnrolmentTransport, *, now: int
) -> Membership | None:
    """Send the request, for the first time or again; None while it is pending.

    Raises:
        EnrolmentRefusedError: the desk's reason; ``not_authentic``: what answers is not the federation.
    """
    answer = transport.enrol(application.request)
    trust, subject = Trust(federation, (application.root,)), Subject(federation, application.role, keys.identity.name)
    return _membership(answer, application.request, trust, subject, keys, now)


def renew(
    member: Membership,
    keys: Applicant,
    transport: EnrolmentTransport,
    *,
    attempt: bytes,
    now: int,
    epoch: KemEpoch | None = None,
) -> Membership:
    """The next certificate, and a newer sealing key if there is one; the desk has then agreed with our clock.

    Args:
        member: whose certificate is renewed.
        keys: the same device key.
        transport: to the desk.
        attempt: 16 random bytes that were kept before this call: the same again asks for an answer that was lost.
        now: ms since the epoch.
        epoch: of the sealing key that is shown; None for the newest.

    Raises:
        EnrolmentRefusedError: the desk's reason; ``not_authentic``: what answers is not the federation.
    """
    subject, shown = member.subject, epoch or keys.epoch
    request = RenewalRequest(
        federation=subject.federation,
        name=subject.name,
        serial=member.certificate.serial_number.to_bytes(20, "big"),
        attempt=attempt,
        csr=_request_for(subject.name, keys.device_key),
        kem_key=shown.key.public.raw,
        kem_suite=shown.key.suite.value,
        kem_epoch=shown.number,
        kem_expires=shown.ends,
        ciphers=tuple(cipher.value for cipher in ciphers_here()),
        issued=now,
    ).signed(keys.device_key, keys.identity)
    trust = Trust(subject.federation, (member.root,))
    renewed = _membership(transport.renew(request), request, trust, subject, keys, now)
    if renewed is None:
        raise EnrolmentRefusedError(EnrolmentRefusal.MALFORMED, "a renewal was answered without a certificate")
    return renewed


def leave(member: Membership, keys: Applicant, transport: LeavingTransport, *, now: int) -> None:
    """Tell the federation that the device leaves for good; returns when the federation has said that it is out.

    Its certificates are revoked then and its keys not taken again. After a lost answer, leave again. The device's clock
    is told and not believed: the issuing certificate need hold at the time that the answer itself says.

    Raises:
        EnrolmentRefusedError: the desk's reason (``revoked``: it was put out before); ``not_authentic``: what answers
            is not the federation.
    """
    subject = member.subject
    serial = member.certificate.serial_number.to_bytes(20, "big")
    request = LeaveRequest(subject.federation, subject.name, serial, now).signed(keys.device_key, keys.identity)
    outcome = _outcome(transport.leave(request), request, Trust(subject.federation, (member.root,)), None)
    if outcome.status != Status.LEFT:
        raise EnrolmentRefusedError(EnrolmentRefusal.MALFORMED, "who leaves was answered something else")


def _outcome(answer: bytes, request: bytes, trust: Trust, now: int | None) -> Outcome:
    """What the federation says to this request, at our time, or at its own where that is None."""
    signed = SignedOutcome.decode(answer)
    issuer = _certificate(signed.issuer)
    if now is None:
        outcome = signed.open(trust.issuing_key(issuer, now=ms_of(issuer.not_valid_before_utc)))
        trust.issuing_key(issuer, now=outcome.now)
    else:
        outcome = signed.open(trust.issuing_key(issuer, now=now))
    if outcome.request != hashlib.sha256(request).digest():
        raise EnrolmentRefusedError(EnrolmentRefusal.NOT_AUTHENTIC, "the answer is to another request")
    return outcome


def _membership(
    answer: bytes, request: bytes, trust: Trust, subject: Subject, keys: Applicant, now: int
) -> Membership | None:
    outcome = _outcome(answer, request, trust, now)
    if outcome.status == Status.PENDING:
        return None
    certificate, issuer = _certificate(outcome.certificate), _certificate(outcome.certificate_issuer)
    peer = trust.peer(certificate, [issuer], now=now, revoked=None)
    if peer.subject != subject or peer.key != keys.device_key.public_key():
        raise EnrolmentRefusedError(
            EnrolmentRefusal.NOT_AUTHENTIC, "the certificate is not of this device's key and name", where=subject.name
        )
    return Membership(certificate, issuer, trust.roots[0], _coordinator(dict(outcome.coordinator)))


def _request_for(name: str, key: ec.EllipticCurvePrivateKey) -> bytes:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return request.public_bytes(Encoding.DER)


def _certificate(der: bytes) -> x509.Certificate:
    try:
        return x509.load_der_x509_certificate(der)
    except ValueError as error:
        raise EnrolmentRefusedError(EnrolmentRefusal.MALFORMED, "the answer holds no certificate") from error


def _coordinator(value: dict[str, str]) -> PublicIdentity | None:
    try:
        return PublicIdentity.from_json(value) if value else None
    except InputError as error:
        raise EnrolmentRefusedError(EnrolmentRefusal.MALFORMED, error.what) from error
