"""For whom a release is sealed, when nobody says it by hand."""

from dataclasses import dataclass
from pathlib import Path

from skerry.errors import InputError
from skerry.runfolder import RunFolder
from skerry.security.aead import Cipher, suited_cipher
from skerry.security.certificates import Role
from skerry.security.delivery import verify
from skerry.security.identity import Directory
from skerry.server.enrolment import Office
from skerry.server.provision import coordinator_public, device_directory
from skerry.server.registry.enrolled import State

__all__ = ["EnrolledRecipients", "enrolled_recipients", "run_recipients"]


@dataclass(frozen=True)
class EnrolledRecipients:
    """Whom a release can be sealed for now.

    Attributes:
        devices: by their newest sealing keys.
        cipher: that suits all of them.
        ended: names of enrolled devices whose certificate or sealing key has ended; they renew before the next release.
    """

    devices: Directory
    cipher: Cipher
    ended: tuple[str, ...]


def enrolled_recipients(runs: Path, *, now: int) -> EnrolledRecipients:
    """The devices that are enrolled now; who was revoked is not among them.

    Args:
        runs: folder of runs, in which the registry lies.
        now: ms since the epoch; certificates and sealing keys have to hold then.

    Raises:
        InputError: nobody is left.
    """
    entries = [e for e in Office(runs).enrolled() if e.state is State.ENROLLED and e.role is Role.DEVICE]
    if not entries:
        raise InputError("no device is enrolled", where=str(runs), mend="invite some: `skerry fleet invite`")
    good = [e for e in entries if e.certificate is not None and now < min(e.certificate.expires, e.kem.expires)]
    if not good:
        raise InputError(
            "the certificates or sealing keys of all enrolled devices have ended",
            where=str(runs),
            mend="renew on the devices: `skerry device enrol`",
        )
    kept = {e.device.name: e.identity for e in good}
    cipher = suited_cipher(e.ciphers for e in good)
    return EnrolledRecipients(
        Directory(kept), cipher, tuple(e.device.name for e in entries if e.device.name not in kept)
    )


def run_recipients(folder: RunFolder) -> Directory:
    """Who a run's own release is for: its devices without those in quarantine."""
    known = device_directory(folder)
    info = verify(folder.path / "release", publisher=coordinator_public(folder))
    return Directory({name: known.get(name) for name in info.recipients})
