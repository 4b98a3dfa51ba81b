"""What carries enrolment: calls of bytes, which a gateway maps to routes and a test calls directly."""

from typing import Protocol

__all__ = ["EnrolmentTransport", "LeavingTransport"]


class EnrolmentTransport(Protocol):
    """The desk as a device sees it.

    A transport protects the token on its way (TLS to a server that the invitation names). All else is signed: what
    comes back is checked against the root that the invitation pins, so a transport cannot enrol a device elsewhere.

    Every call but ``authorities`` and ``revocations`` raises
    :class:`~skerry.security.enrolment.EnrolmentRefusedError` with the desk's reason.
    """

    def challenge(self, request: bytes) -> bytes:
        """A :class:`~skerry.security.enrolment.ChallengeRequest` in, a ``Challenge`` out."""
        ...

    def enrol(self, request: bytes) -> bytes:
        """A signed ``EnrolmentRequest`` in, a signed ``Outcome`` out; the same bytes again ask how it stands."""
        ...

    def renew(self, request: bytes) -> bytes:
        """A signed ``RenewalRequest`` in, a signed ``Outcome`` out."""
        ...

    def authorities(self) -> bytes:
        """Issuing and root certificates, PEM."""
        ...

    def revocations(self) -> bytes:
        """The signed revocation list, DER."""
        ...


class LeavingTransport(EnrolmentTransport, Protocol):
    """One over which a device can leave, too; the native enrolment port has no call for that."""

    def leave(self, request: bytes) -> bytes:
        """A signed ``LeaveRequest`` in, a signed ``Outcome`` out; the same again does nothing more."""
        ...
