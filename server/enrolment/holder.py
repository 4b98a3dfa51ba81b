"""Who a request is of, by a certificate that was issued; and that nobody is served who was put out."""

from sqlalchemy import Connection

from skerry.security.enrolment import EnrolmentRefusal, EnrolmentRefusedError
from skerry.server.registry.enrolled import Enrolled, State, certificate_of, enrolled

__all__ = ["holder_of", "turned_away"]


def holder_of(base: Connection, serial: bytes, name: str) -> Enrolled:
    """The enrolment that a certificate was issued for."""
    number = certificate_of(base, serial)
    found = [] if number is None else [one for one in enrolled(base, number=number) if one.device.name == name]
    if not found:
        raise EnrolmentRefusedError(
            EnrolmentRefusal.UNKNOWN_DEVICE, "no device of this name has this certificate", where=name, mend="enrol"
        )
    return found[0]


def turned_away(entry: Enrolled) -> None:
    """Return unless the enrolment was denied or revoked.

    Raises:
        EnrolmentRefusedError: it was (``denied``, ``revoked``).
    """
    if entry.admission is not None and entry.state in {State.DENIED, State.REVOKED}:
        raise EnrolmentRefusedError(
            EnrolmentRefusal(entry.state.value),
            f"{entry.device.name} was {entry.state.value}: {entry.admission.why}",
            where=entry.device.name,
            mend="ask the operator; new keys need a new invite",
        )
