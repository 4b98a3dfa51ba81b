"""An invitation: what an operator hands over, once and in secret, as text or QR."""

import base64
import hashlib
from dataclasses import dataclass

from skerry.errors import InputError
from skerry.security.certificates import Role
from skerry.security.enrolment.record import LONGEST, Record, check_federation_name
from skerry.security.enrolment.refusal import EnrolmentRefusedError
from skerry.security.strict import check_bytes, check_integer, check_name

__all__ = ["TOKEN_BYTES", "Invitation", "invite_id"]

TOKEN_BYTES = 16
_SCHEME = "skerry-enrol:"
_LONGEST_ADDRESS = 512
_PAGE = "/phone/"


def invite_id(token: bytes) -> bytes:
    """What is kept of a token: a SHA-256 (32 bytes). Tokens are random, so no slower hash is needed."""
    return hashlib.sha256(b"skerry/invite/1\0" + token).digest()


@dataclass(frozen=True)
class Invitation(Record):
    """A one-time token, and what its holder needs to know beforehand.

    Attributes:
        federation: whose.
        address: where the desk is reached, such as ``https://fleet.example``; empty where the caller knows.
        token: 16 random bytes.
        root: SHA-256 of the root certificate (DER), to which everything from the desk must lead.
        role: of the invited, a :class:`~skerry.security.certificates.Role`.
        device_class: of the invited.
        expires: ms since the epoch.
    """

    federation: str
    address: str
    token: bytes
    root: bytes
    role: str
    device_class: str
    expires: int

    def __post_init__(self) -> None:
        check_federation_name(self.federation)
        if type(self.address) is not str or len(self.address) > _LONGEST_ADDRESS or not self.address.isprintable():
            raise InputError("not an address")
        check_bytes(self.token, "a token", TOKEN_BYTES)
        check_bytes(self.root, "a root's digest", 32)
        if self.role not in set(Role):
            raise InputError("unknown role")
        check_name(self.device_class, "a device class")
        check_integer(self.expires, "a time")

    @property
    def text(self) -> str:
        """One word to copy or to show as QR."""
        return _SCHEME + base64.urlsafe_b64encode(self.encode()).decode().rstrip("=")

    @property
    def link(self) -> str:
        """What a phone opens: the gateway's page, with :attr:`text` behind the ``#``, which no browser sends.

        Raises:
            InputError: the invitation has no address.
        """
        if not self.address:
            raise InputError(
                "a phone opens a link, and this invitation has no address for it",
                where="--address",
                mend="such as https://fleet.example:8443",
            )
        return f"{self.address.rstrip('/')}{_PAGE}#{self.text}"

    @staticmethod
    def parse(text: str) -> "Invitation":
        """The invitation of :attr:`text` or :attr:`link`; blanks and line ends in it do no harm.

        Raises:
            InputError: it is not one.
        """
        word = "".join(text.split()).rpartition(f"{_PAGE}#")[2]
        body = word.removeprefix(_SCHEME)
        try:
            if body == word or len(body) > LONGEST:
                raise ValueError("another scheme")
            return Invitation.decode(base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True))
        except (ValueError, EnrolmentRefusedError):
            # no "from": the cause could quote the token
            raise InputError(
                "this is not an invitation",
                mend=f"copy all of what `skerry fleet invite` printed: one word that begins with {_SCHEME}",
            ) from None
