"""A device leaves: entered with what it signed, its certificates revoked, its keys not taken again."""

from skerry.security.enrolment import EnrolmentRefusal, EnrolmentRefusedError, LeaveRequest
from skerry.security.enrolment.record import SignedBody
from skerry.security.enrolment.requests import LEAVE
from skerry.server.enrolment.certify import device_key_of
from skerry.server.enrolment.holder import holder_of, turned_away
from skerry.server.registry.database import RegistryDatabase
from skerry.server.registry.enrolled import Admission, AdmissionKind, add_admission, add_departure

__all__ = ["depart"]

_BY, _WHY = "the device", "it left"  # without its name, which may have to be forgotten


def depart(registry: RegistryDatabase, request: bytes, *, federation: str, now: int) -> bool:
    """Enter that the device which signed this has left; once, however often it says so.

    Its clock is not judged, and a certificate that has ended will do: nobody has to be in order to be let go.

    Returns:
        Whether that was entered now.

    Raises:
        EnrolmentRefusedError: it is no such request (``malformed``), to somebody else (``wrong_federation``), under no
            certificate of ours (``unknown_device``), not signed by the device's keys (``not_authentic``), or of a
            device that was put out before (``revoked``).
    """
    outer = SignedBody.decode(request)
    asked = LeaveRequest.decode(outer.body)
    if asked.federation != federation:
        raise EnrolmentRefusedError(
            EnrolmentRefusal.WRONG_FEDERATION, f"this is {federation}, not {asked.federation}", where=asked.name
        )
    # Nobody holds up writers before it was seen who it is.
    entry = registry.read(lambda base: holder_of(base, asked.serial, asked.name))
    outer.check(LEAVE, device_key_of(entry), entry.identity)
    with registry.writing() as base:
        entry = holder_of(base, asked.serial, asked.name)
        if entry.left is not None:
            return False
        turned_away(entry)
        add_departure(base, entry.id, request, now)
        add_admission(base, entry.id, Admission(AdmissionKind.REVOKE, now, _BY, _WHY))
        return True
