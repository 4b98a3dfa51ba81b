"""For whom a release is sealed, when nobody says it by hand."""

from pathlib import Path

from skerry.errors import InputError
from skerry.runfolder import RunFolder
from skerry.security.certificates import Role
from skerry.security.delivery import verify
from skerry.security.identity import Directory
from skerry.server.enrolment import Office
from skerry.server.provision import coordinator_public, device_directory
from skerry.server.registry.enrolled import State

__all__ = ["enrolled_recipients", "run_recipients"]


def enrolled_recipients(runs: Path) -> Directory:
    """The devices that are enrolled now, by their newest sealing keys; who was revoked is not among them.

    Raises:
        InputError: nobody is.
    """
    entries = [e for e in Office(runs).enrolled() if e.state is State.ENROLLED and e.role is Role.DEVICE]
    if not entries:
        raise InputError("no device is enrolled", where=str(runs), mend="invite some: `skerry fleet invite`")
    return Directory({entry.device.name: entry.identity for entry in entries})


def run_recipients(folder: RunFolder) -> Directory:
    """Who a run's own release is for: its devices without those in quarantine."""
    known = device_directory(folder)
    info = verify(folder.path / "release", publisher=coordinator_public(folder))
    return Directory({name: known.get(name) for name in info.recipients})
