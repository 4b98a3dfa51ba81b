"""Whom a certificate speaks of: a role and a name within a federation, as a SPIFFE id.

Reference: SPIFFE-ID, sections 2.1 (trust domain) and 2.2 (path).
"""

import re
from dataclasses import dataclass
from enum import StrEnum

from cryptography import x509

from skerry.errors import InputError

__all__ = ["Role", "Subject", "check_federation"]

_FEDERATION = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_URI = re.compile(r"spiffe://([^/]+)/([a-z]+)/([^/]+)")


class Role(StrEnum):
    """What its holder is there for."""

    DEVICE = "device"
    OPERATOR = "operator"
    AUDITOR = "auditor"
    PUBLISHER = "publisher"


def check_federation(name: str) -> None:
    """Refuse what cannot be a SPIFFE trust domain.

    Raises:
        InputError: it cannot.
    """
    if not _FEDERATION.fullmatch(name):
        raise InputError(
            f"not a usable name of a federation: {name!r:.80}",
            mend="1 to 63 of a-z, 0-9, dot, dash and underscore, the first a letter or digit",
        )


@dataclass(frozen=True)
class Subject:
    """A role and a name in a federation.

    Raises:
        InputError: a part cannot stand in a SPIFFE id.
    """

    federation: str
    role: Role
    name: str

    def __post_init__(self) -> None:
        check_federation(self.federation)
        if not _NAME.fullmatch(self.name):
            raise InputError(
                f"not a usable name in a certificate: {self.name!r:.80}",
                mend="1 to 64 letters, digits, dots, dashes and underscores, the first a letter or digit",
            )

    @property
    def uri(self) -> str:
        """``spiffe://federation/role/name``."""
        return f"spiffe://{self.federation}/{self.role.value}/{self.name}"

    @staticmethod
    def of(certificate: x509.Certificate) -> "Subject":
        """The subject of a certificate, which has exactly one URI as its alternative name.

        Raises:
            InputError: it is not of this form.
        """
        try:
            names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            (uri,) = names.get_values_for_type(x509.UniformResourceIdentifier)
        except (x509.ExtensionNotFound, ValueError) as error:
            raise InputError("the certificate has no single URI as its name") from error
        found = _URI.fullmatch(uri)
        if found is None or found[2] not in set(Role):
            raise InputError(f"the certificate's name is none of ours: {uri!r:.200}")
        return Subject(found[1], Role(found[2]), found[3])
