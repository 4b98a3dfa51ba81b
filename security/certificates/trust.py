"""Whether a certificate holds: chain, time, purpose, name, and that it was not revoked."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from skerry.errors import InputError, RefusedError
from skerry.security.certificates.subject import Subject
from skerry.security.certificates.validity import instant, ms_of, validity

__all__ = ["CertificateRefusal", "Peer", "Trust"]


class CertificateRefusal(StrEnum):
    """Reason of the :class:`~skerry.errors.RefusedError` that a certificate ends in."""

    FOREIGN = "foreign_certificate"
    EXPIRED = "certificate_expired"
    NOT_YET_VALID = "certificate_not_yet_valid"
    REVOKED = "certificate_revoked"
    STALE_LIST = "revocation_list_stale"
    FORGED_LIST = "revocation_list_forged"


@dataclass(frozen=True)
class Peer:
    """Whom a certificate that holds speaks of."""

    subject: Subject
    certificate: x509.Certificate

    @property
    def key(self) -> ec.EllipticCurvePublicKey:
        """The certified key."""
        key = self.certificate.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)  # Trust.peer checked it
        return key


@dataclass(frozen=True)
class Trust:
    """The roots that are trusted for one federation; its name has to stand in every certificate."""

    federation: str
    roots: tuple[x509.Certificate, ...]

    def peer(
        self,
        certificate: x509.Certificate,
        issuers: Sequence[x509.Certificate],
        *,
        now: int,
        revoked: x509.CertificateRevocationList | None,
    ) -> Peer:
        """Verify a client's certificate.

        Args:
            certificate: the leaf.
            issuers: authorities between it and a root.
            now: milliseconds since the epoch.
            revoked: the newest list; None only where the caller asks the registry itself.

        Raises:
            RefusedError: with a :class:`CertificateRefusal`.
        """
        begin, end = validity(certificate)
        name = certificate.subject.rfc4514_string()[:200]
        clock = "check this machine's clock, and renew the certificate"
        if now < begin:
            raise RefusedError(CertificateRefusal.NOT_YET_VALID, "the certificate is not valid yet", where=name)
        if now >= end:
            raise RefusedError(CertificateRefusal.EXPIRED, "the certificate has expired", where=name, mend=clock)
        verifier = PolicyBuilder().store(Store(list(self.roots))).time(instant(now)).build_client_verifier()
        try:
            verifier.verify(certificate, list(issuers))
            subject = Subject.of(certificate)
        except (VerificationError, InputError) as error:
            raise RefusedError(
                CertificateRefusal.FOREIGN,
                "the certificate is not one of this federation",
                where=name,
                mend="enrol with this federation",
            ) from error
        key = certificate.public_key()
        if subject.federation != self.federation or not isinstance(key, ec.EllipticCurvePublicKey):
            raise RefusedError(
                CertificateRefusal.FOREIGN, f"the certificate is of {subject.federation}", where=subject.name
            )
        if revoked is not None:
            self.check_list(revoked, issuers, now=now)
            if revoked.get_revoked_certificate_by_serial_number(certificate.serial_number) is not None:
                raise RefusedError(
                    CertificateRefusal.REVOKED, "the certificate was revoked", where=subject.name, mend="enrol anew"
                )
        return Peer(subject, certificate)

    def issuing_key(self, issuer: x509.Certificate, *, now: int) -> ec.EllipticCurvePublicKey:
        """The key of an issuing certificate that a root of ours vouches for.

        Raises:
            RefusedError: it is not one of ours, or not of now.
        """
        key, (begin, end) = issuer.public_key(), validity(issuer)
        if not isinstance(key, ec.EllipticCurvePublicKey) or not self._vouches(issuer) or not begin <= now < end:
            raise RefusedError(
                CertificateRefusal.FOREIGN,
                "this is not an issuing certificate of the federation, or not one of now",
                where=issuer.subject.rfc4514_string()[:200],
                mend="check this machine's clock; then ask the operator",
            )
        return key

    def check_list(
        self, listed: x509.CertificateRevocationList, issuers: Sequence[x509.Certificate], *, now: int
    ) -> None:
        """Check that a revocation list is of one of the issuers, and of today.

        Raises:
            RefusedError: it is not (``revocation_list_forged``, ``revocation_list_stale``).
        """
        signers = [one.public_key() for one in issuers if self._vouches(one)]
        if not any(isinstance(key, ec.EllipticCurvePublicKey) and listed.is_signature_valid(key) for key in signers):
            raise RefusedError(CertificateRefusal.FORGED_LIST, "the revocation list is not signed by an issuer of ours")
        until = listed.next_update_utc
        if until is None or now >= ms_of(until):
            raise RefusedError(
                CertificateRefusal.STALE_LIST,
                "the revocation list is too old to go by",
                mend="fetch the newest one; check this machine's clock",
            )

    def _vouches(self, issuer: x509.Certificate) -> bool:
        try:
            may = issuer.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        except x509.ExtensionNotFound:
            may = False
        for root in self.roots if may else ():
            try:
                issuer.verify_directly_issued_by(root)
            except (ValueError, TypeError, InvalidSignature):
                continue
            return True
        return False
