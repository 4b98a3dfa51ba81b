"""The certificate authority of a federation: a root that signs issuing keys, and an issuing key that signs the rest.

P-256 throughout, because verifiers of X.509 that skerry uses refuse Ed25519 there. The root is needed to make issuing
keys only, and its file may be taken off the machine in between. Lifetimes are short where keys are many: a device has
seven days, so that one that cannot be reached again drops out by itself.
"""

import ipaddress
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from skerry.errors import InputError
from skerry.fsio import write_atomic
from skerry.security.certificates.subject import Subject, check_federation
from skerry.security.certificates.validity import DAY_MS, instant, ms_of
from skerry.security.identity.private_file import read_private
from skerry.security.locking import exclusive

__all__ = ["DEVICE_DAYS", "Authority"]

ROOT_DAYS, ISSUER_DAYS, DEVICE_DAYS = 3650, 365, 7
_BACKDATED_MS = 5 * 60_000  # devices whose clocks are a little late take a fresh certificate too
_LIST_MS = DAY_MS
_ROOT_KEY, _ROOT, _ISSUER_KEY, _ISSUER = "root.key", "root.pem", "issuer.key", "issuer.pem"
_CA_USAGE = ("key_cert_sign", "crl_sign")
_LEAF_USAGE = ("digital_signature",)
_USAGES = (
    "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
    "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
)  # fmt: skip


@dataclass(frozen=True)
class Authority:
    """A federation's root certificate, and the issuing key and certificate in use.

    Attributes:
        federation: the trust domain of every name.
        root: signed the issuing certificates.
        issuer: of the issuing key in use.
        key: the issuing key.
        retired: issuing certificates of earlier keys, under which certificates may still hold.
    """

    federation: str
    root: x509.Certificate
    issuer: x509.Certificate
    key: ec.EllipticCurvePrivateKey = field(repr=False)
    retired: tuple[x509.Certificate, ...] = ()

    @property
    def issuers(self) -> tuple[x509.Certificate, ...]:
        """The issuing certificate in use, then the retired ones."""
        return (self.issuer, *self.retired)

    def issuer_of(self, certificate: x509.Certificate) -> x509.Certificate:
        """The issuing certificate that a certificate was issued under.

        Raises:
            InputError: none of ours.
        """
        for one in self.issuers:
            if one.subject == certificate.issuer:  # a name of its own each: see `_new_issuer`
                return one
        raise InputError(
            f"no issuing certificate is {certificate.issuer.rfc4514_string()}",
            where=certificate.subject.rfc4514_string(),
            mend="enrol anew, or restore issuer.pem",
        )

    @staticmethod
    def create(folder: Path, federation: str, *, now: int, passphrase: bytes | None = None) -> "Authority":
        """Make root and issuing keys in a folder, each file readable by its owner only.

        Args:
            folder: where nothing of the kind is yet.
            federation: becomes the trust domain of every name.
            now: milliseconds since the epoch.
            passphrase: encrypts the root's key; the issuing key has to be usable without anybody there.

        Raises:
            InputError: an unusable name, or there is an authority already.
        """
        check_federation(federation)
        with exclusive(folder / _ROOT):
            if (folder / _ROOT).exists():
                raise InputError(
                    "there is a certificate authority already", where=str(folder), mend="use another folder"
                )
            key = ec.generate_private_key(ec.SECP256R1())
            name = _named(f"{federation} root", federation)
            root = _signed(name, key.public_key(), name, key, now, ROOT_DAYS, authority=1)
            write_atomic(folder / _ROOT_KEY, _pem(key, passphrase), mode=0o600)
            issued = _new_issuer(folder, federation, root, key, now)
            write_atomic(folder / _ROOT, root.public_bytes(Encoding.PEM))  # last: its presence says that all is there
            return issued

    @staticmethod
    def open(folder: Path) -> "Authority":
        """Read what :meth:`create` wrote; the root's key is not needed.

        Raises:
            InputError: there is none, or it is damaged.
            RefusedError: others than the owner may use the issuing key (``open_key_file``).
        """
        if not (folder / _ROOT).exists():
            raise InputError(
                "there is no certificate authority here", where=str(folder), mend="`skerry fleet invite` makes one"
            )
        try:
            root = x509.load_pem_x509_certificate((folder / _ROOT).read_bytes())
            issuers = x509.load_pem_x509_certificates((folder / _ISSUER).read_bytes())
            (federation,) = root.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
            key = _private(folder / _ISSUER_KEY)
            # Not simply the first: a new certificate is written before its key (see `_new_issuer`).
            issuer = next((one for one in issuers if one.public_key() == key.public_key()), None)
            if issuer is None:
                raise ValueError("key and certificate of the issuer do not belong together")
        except (OSError, ValueError, TypeError) as error:
            raise InputError(
                f"the certificate authority cannot be read: {error}", where=str(folder), mend="restore a copy"
            ) from error
        return Authority(str(federation.value), root, issuer, key, tuple(one for one in issuers if one is not issuer))

    @staticmethod
    def rotate(folder: Path, *, now: int, passphrase: bytes | None = None) -> "Authority":
        """A new issuing key, signed by the root; certificates of the old one hold until they expire.

        Raises:
            InputError: there is no authority, the root's key is not here, or the passphrase is not its own.
            RefusedError: others than the owner may use the root's key (``open_key_file``).
        """
        with exclusive(folder / _ROOT):
            known = Authority.open(folder)
            try:
                key = _private(folder / _ROOT_KEY, passphrase)
            except (ValueError, TypeError) as error:
                raise InputError(
                    "the root's key does not open with this passphrase", where=str(folder / _ROOT_KEY), mend="try again"
                ) from error
            left = tuple(one for one in known.issuers if now < ms_of(one.not_valid_after_utc))
            return _new_issuer(folder, known.federation, known.root, key, now, left)

    def issue(self, subject: Subject, key: ec.EllipticCurvePublicKey, *, now: int) -> x509.Certificate:
        """A certificate of seven days for TLS clients and signatures.

        Raises:
            InputError: another federation's subject, or a key that is not P-256.
        """
        if subject.federation != self.federation:
            raise InputError(f"this authority is {self.federation}'s, not {subject.federation}'s", where=subject.name)
        check_curve(key)
        name = _named(subject.name, self.federation)
        alternative = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(subject.uri)])
        usage = ExtendedKeyUsageOID.CLIENT_AUTH
        return _signed(
            name, key, self.issuer.subject, self.key, now, DEVICE_DAYS, alternative=alternative, extended=usage
        )

    def issue_server(
        self, hosts: Sequence[str], key: ec.EllipticCurvePublicKey, *, now: int, days: int = 30
    ) -> x509.Certificate:
        """A certificate for a TLS server of the federation.

        Args:
            hosts: names and addresses under which it is reached, at least one.
            key: the server's.
            now: milliseconds since the epoch.
            days: how long it holds.
        """
        check_curve(key)
        alternative = x509.SubjectAlternativeName([_host(one) for one in hosts])
        usage = ExtendedKeyUsageOID.SERVER_AUTH
        name = _named(hosts[0][:64], self.federation)
        return _signed(name, key, self.issuer.subject, self.key, now, days, alternative=alternative, extended=usage)

    def revocation_list(self, revoked: Mapping[int, int], *, number: int, now: int) -> x509.CertificateRevocationList:
        """The signed list of certificates that hold no more, good for a day.

        Args:
            revoked: by serial number, when, in ms; also of certificates of earlier issuing keys.
            number: grows with every list.
            now: milliseconds since the epoch.
        """
        listed = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.issuer.subject)
            .last_update(instant(now))
            .next_update(instant(now + _LIST_MS))
            .add_extension(x509.CRLNumber(number), critical=False)
            .add_extension(_authority_key(self.key), critical=False)
        )
        for serial, at in sorted(revoked.items()):
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(instant(at)).build()
            listed = listed.add_revoked_certificate(entry)
        return listed.sign(self.key, hashes.SHA256())


def check_curve(key: object) -> None:
    """Refuse any key but a P-256 one.

    Raises:
        InputError: it is another.
    """
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise InputError("only P-256 keys are certified")


def _new_issuer(
    folder: Path,
    federation: str,
    root: x509.Certificate,
    root_key: ec.EllipticCurvePrivateKey,
    now: int,
    retired: tuple[x509.Certificate, ...] = (),
) -> Authority:
    """Certificates first, with the retired ones, then the key: a crash in between leaves the old key with its own."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _named(f"{federation} issuing {secrets.token_hex(4)}", federation)
    issuer = _signed(name, key.public_key(), root.subject, root_key, now, ISSUER_DAYS, authority=0)
    bundle = b"".join(one.public_bytes(Encoding.PEM) for one in (issuer, *retired))
    write_atomic(folder / _ISSUER, bundle)
    write_atomic(folder / _ISSUER_KEY, _pem(key, None), mode=0o600)
    return Authority(federation, root, issuer, key, retired)


def _signed(
    name: x509.Name,
    key: ec.EllipticCurvePublicKey,
    issuer: x509.Name,
    issuer_key: ec.EllipticCurvePrivateKey,
    now: int,
    days: int,
    *,
    authority: int | None = None,
    alternative: x509.SubjectAlternativeName | None = None,
    extended: x509.ObjectIdentifier | None = None,
) -> x509.Certificate:
    """``authority`` is how many authorities may follow below; None makes a leaf."""
    allowed = _LEAF_USAGE if authority is None else _CA_USAGE
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(instant(now - _BACKDATED_MS))
        .not_valid_after(instant(now) + timedelta(days=days))
        .add_extension(x509.BasicConstraints(authority is not None, authority), critical=True)
        .add_extension(x509.KeyUsage(**{usage: usage in allowed for usage in _USAGES}), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(_authority_key(issuer_key), critical=False)
    )
    if alternative is not None:
        made = made.add_extension(alternative, critical=False)
    if extended is not None:
        made = made.add_extension(x509.ExtendedKeyUsage([extended]), critical=False)
    return made.sign(issuer_key, hashes.SHA256())


def _authority_key(key: ec.EllipticCurvePrivateKey) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())


def _named(common: str, federation: str) -> x509.Name:
    return x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, federation), x509.NameAttribute(NameOID.COMMON_NAME, common)]
    )


def _host(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def _pem(key: ec.EllipticCurvePrivateKey, passphrase: bytes | None) -> bytes:
    locked: KeySerializationEncryption = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, locked)


def _private(path: Path, passphrase: bytes | None = None) -> ec.EllipticCurvePrivateKey:
    key = load_pem_private_key(read_private(path), passphrase)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise InputError("not a P-256 key", where=str(path))
    return key
