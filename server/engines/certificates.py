"""A certificate authority and node keys that live as long as one run on this machine.

They protect the loopback connections of the superlink engine and nothing else; a real deployment brings its own.
"""

import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from skerry.fsio import write_atomic

__all__ = ["LoopbackTls", "write_node_key"]

_LIFETIME = timedelta(days=7)  # longer than any run on one machine, short enough to be worthless if left behind
_SKEW = timedelta(minutes=5)


class LoopbackTls:
    """Certificate files for servers on 127.0.0.1, signed by an authority whose key is thrown away at once.

    Attributes:
        authority: PEM of the authority's certificate, the clients' root of trust.
        certificate: PEM of the servers' certificate (127.0.0.1 and localhost).
        key: the servers' private key (0600).
    """

    def __init__(self, folder: Path) -> None:
        now = datetime.now(UTC)
        authority_key = ec.generate_private_key(ec.SECP256R1())
        authority = _sign("skerry loopback authority", authority_key.public_key(), authority_key, now, authority=True)
        server_key = ec.generate_private_key(ec.SECP256R1())
        server = _sign("127.0.0.1", server_key.public_key(), authority_key, now, authority=False)
        self.authority = folder / "authority.pem"
        self.certificate = folder / "server.pem"
        self.key = folder / "server.key"
        write_atomic(self.authority, authority.public_bytes(serialization.Encoding.PEM), durable=False)
        write_atomic(self.certificate, server.public_bytes(serialization.Encoding.PEM), durable=False)
        pem = server_key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        write_atomic(self.key, pem, mode=0o600, durable=False)


def write_node_key(path: Path) -> ec.EllipticCurvePublicKey:
    """Make a node's authentication key (P-256, OpenSSH form, 0600) and return its public half."""
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    write_atomic(path, pem, mode=0o600, durable=False)
    return key.public_key()


def _sign(
    subject: str,
    key: ec.EllipticCurvePublicKey,
    issuer_key: ec.EllipticCurvePrivateKey,
    now: datetime,
    *,
    authority: bool,
) -> x509.Certificate:
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name("skerry loopback authority"))
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + _LIFETIME)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=0 if authority else None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )
    if not authority:
        names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])
