"""A certificate that browsers know, for the gateway's public names; everybody else is shown the federation's own.

Who asks for a name says it before certificates are shown (SNI). The federation's own names, among them every name that
native devices were told, always get the certificate under its root, which those devices pin; of the rest, the names in
the public certificate get that. No name, or another, gets the federation's own.

The files are read again when they have changed, as after a renewal. While they cannot be read together (a renewal
replaces one after the other), the pair that was read last is shown.
"""

import logging
import ssl
from collections.abc import Callable, Collection
from pathlib import Path

from cryptography import x509
from cryptography.x509.oid import ExtensionOID

from skerry.clock import Clock
from skerry.errors import InputError
from skerry.security.certificates import ms_of

__all__ = ["PublicCertificate", "hardened"]

_log = logging.getLogger(__name__)


class PublicCertificate:
    """The pair of files, as it is shown at the moment; for one event loop.

    Attributes:
        names: that it is shown for, without wildcards that stand for many.
        until: when it ends, ms.

    Args:
        certificate: PEM chain, the gateway's own first.
        key: PEM, not encrypted.
        own: names that the federation's own certificate is shown for.
        clock: ms since the epoch.

    Raises:
        InputError: the files cannot be read, do not belong together, have ended, or are for own names only.
    """

    def __init__(self, certificate: Path, key: Path, *, own: Collection[str], clock: Clock) -> None:
        self._certificate, self._key = certificate, key
        self._own = frozenset(name.lower() for name in own)
        self._seen = self._files()
        self._load()
        if clock() >= self.until:
            raise InputError(
                "the public certificate has expired", where=str(certificate), mend="renew it where it was issued"
            )
        if not self._patterns - self._own:
            raise InputError(
                f"the public certificate is for {', '.join(sorted(self._patterns))}, by which native devices reach the "
                "gateway: they pin the federation's root, and would turn away from it",
                where=str(certificate),
                mend="give browsers a name of their own, such as phones.example, or --name another to devices",
            )

    @property
    def names(self) -> tuple[str, ...]:
        """The names that browsers use, in alphabetical order."""
        return tuple(sorted(name for name in self._patterns - self._own if not name.startswith("*")))

    def shown_for(self, name: str | None) -> ssl.SSLContext | None:
        """What to show who asks for this name; ``None``: the federation's own."""
        asked = (name or "").lower()
        if asked in self._own or not {asked, f"*.{asked.partition('.')[2]}"} & self._patterns:
            return None
        self._look()
        return self._context

    def serve(self, own: ssl.SSLContext) -> None:
        """Have the server's context show this one for its names."""

        def named(connection: ssl.SSLSocket | ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> None:
            chosen = self.shown_for(name)
            if chosen is not None:
                connection.context = chosen

        own.sni_callback = named

    def _look(self) -> None:
        files = self._files()
        if files == self._seen:
            return
        self._seen = files  # what is wrong is said once
        try:
            self._load()
        except InputError as error:
            _log.warning("the public certificate that was read last is shown: %s", error)
        else:
            _log.info("another public certificate is shown, for %s", ", ".join(self.names))

    def _load(self) -> None:
        try:
            chain = x509.load_pem_x509_certificates(self._certificate.read_bytes())
            context = _context(self._certificate, self._key)
        except (OSError, ValueError, ssl.SSLError) as error:
            raise InputError(
                f"the public certificate and its key cannot be used: {error}",
                where=f"{self._certificate}, {self._key}",
                mend="give a PEM chain, the gateway's certificate first, and its key, not encrypted",
            ) from error
        self._context, self.until = context, ms_of(chain[0].not_valid_after_utc)
        self._patterns = _names(chain[0])

    def _files(self) -> tuple[tuple[int, int, int] | None, ...]:
        return tuple(map(_file, (self._certificate, self._key)))


def hardened(context: ssl.SSLContext) -> ssl.SSLContext:
    """TLS as the gateway speaks it."""
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context


def _context(certificate: Path, key: Path) -> ssl.SSLContext:
    context = hardened(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    context.load_cert_chain(certificate, key, password=_no_password(key))
    return context


def _no_password(key: Path) -> Callable[[], str]:
    def asked() -> str:  # by OpenSSL, which would ask a terminal otherwise
        raise ValueError(f"{key} is encrypted")

    return asked


def _names(certificate: x509.Certificate) -> frozenset[str]:
    try:
        found = certificate.extensions.get_extension_for_oid(ExtensionOID.SUBJECT_ALTERNATIVE_NAME).value
    except x509.ExtensionNotFound:
        return frozenset()
    assert isinstance(found, x509.SubjectAlternativeName)
    return frozenset(name.lower() for name in found.get_values_for_type(x509.DNSName))


def _file(path: Path) -> tuple[int, int, int] | None:
    """What tells a file from the one that was there before."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
