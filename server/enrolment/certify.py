"""Certificate requests in, certificates out, each entered in the registry in the same transaction."""

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_der_public_key
from cryptography.x509.oid import NameOID
from sqlalchemy import Connection

from skerry.security.certificates import Authority, Subject
from skerry.security.certificates.validity import validity
from skerry.security.enrolment import EnrolmentRefusal, EnrolmentRefusedError
from skerry.server.registry.enrolled import Certificate, Enrolled, add_certificate

__all__ = ["SERIAL_BYTES", "certify", "device_key_of", "requested_key"]

SERIAL_BYTES = 20


def device_key_of(entry: Enrolled) -> ec.EllipticCurvePublicKey:
    """The P-256 key of an enrolment."""
    key = load_der_public_key(entry.device_key)
    assert isinstance(key, ec.EllipticCurvePublicKey)  # `requested_key` let no other in
    return key


def requested_key(csr: bytes, name: str) -> ec.EllipticCurvePublicKey:
    """The P-256 key that a certificate request is of, which signed it, for this name.

    Nothing else is taken from a request: what stands in a certificate is ours to say.

    Raises:
        EnrolmentRefusedError: it is none (``malformed``), or not signed by its key (``not_authentic``).
    """
    try:
        request = x509.load_der_x509_csr(csr)
        key = request.public_key()
        names = [one.value for one in request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
        signed = request.is_signature_valid
    except Exception as error:
        raise EnrolmentRefusedError(EnrolmentRefusal.MALFORMED, "not a certificate request", where=name) from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1) or names != [name]:
        raise EnrolmentRefusedError(
            EnrolmentRefusal.MALFORMED, "a certificate request is of a P-256 key, and of the device's name", where=name
        )
    if not signed:
        raise EnrolmentRefusedError(
            EnrolmentRefusal.NOT_AUTHENTIC, "the certificate request is not signed by its key", where=name
        )
    return key


def certify(
    base: Connection, authority: Authority, entry: Enrolled, *, now: int, attempt: bytes | None = None
) -> Certificate:
    """Issue and enter a certificate for an enrolment; ``attempt`` is what a renewal was asked for under."""
    subject = Subject(authority.federation, entry.role, entry.device.name)
    made = authority.issue(subject, device_key_of(entry), now=now)
    serial = made.serial_number.to_bytes(SERIAL_BYTES, "big")
    issued = Certificate(serial, now, validity(made)[1], attempt, made.public_bytes(Encoding.DER))
    add_certificate(base, entry.id, issued)
    return issued
