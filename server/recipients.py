"""For whom a release is sealed, when nobody says it by hand."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from skerry.errors import InputError
from skerry.runfolder import RunFolder
from skerry.security.aead import EVERYBODYS, Cipher, suited_cipher
from skerry.security.certificates import Role
from skerry.security.delivery.repository.opening import recipients_of
from skerry.security.delivery.verifying import read_manifest
from skerry.security.identity import Directory
from skerry.server.enrolment import Office
from skerry.server.provision import coordinator_public, device_directory
from skerry.server.registry.enrolled import Enrolled, State

__all__ = ["Recipients", "enrolled_cipher", "enrolled_recipients", "run_recipients"]


@dataclass(frozen=True)
class Recipients:
    """Whom a release can be sealed for.

    Attributes:
        devices: by their newest sealing keys.
        opens: the ciphers that a device opens, best first, as far as it has said.
        ended: names of enrolled devices whose certificate or sealing key has ended; they renew before the next release.
        called: class and tags of each device, as far as the registry knows it.
        enrolments: of each device, likewise.
    """

    devices: Directory
    opens: Mapping[str, Sequence[Cipher]] = field(default_factory=dict)
    ended: tuple[str, ...] = ()
    called: Mapping[str, frozenset[str]] = field(default_factory=dict)
    enrolments: Mapping[str, Enrolled] = field(default_factory=dict)

    def cipher_for(self, names: Iterable[str]) -> Cipher:
        """The one that suits these: who does not receive it has no say."""
        return suited_cipher(self.opens.get(name, EVERYBODYS) for name in names)

    def tagged(self, tags: Collection[str]) -> tuple[str, ...]:
        """Names of the devices whose class or one of whose tags is among these; of all where none is asked for."""
        wanted = frozenset(tags)
        return tuple(name for name in self.devices if not wanted or wanted & self.called.get(name, frozenset()))


def enrolled_recipients(runs: Path, *, now: int, upgrade: bool = True) -> Recipients:
    """The devices that are enrolled now; who was revoked is not among them.

    Args:
        runs: folder of runs, in which the registry lies.
        now: ms since the epoch; certificates and sealing keys have to hold then.
        upgrade: whether a registry of an older schema is brought up to date; else it is refused.

    Raises:
        InputError: nobody is left.
    """
    entries = _enrolled_devices(runs, upgrade=upgrade)
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
    return Recipients(
        Directory(kept),
        {e.device.name: e.ciphers for e in good},
        tuple(e.device.name for e in entries if e.device.name not in kept),
        {e.device.name: e.called for e in good},
        {e.device.name: e for e in good},
    )


def enrolled_cipher(runs: Path, names: Iterable[str]) -> Cipher:
    """The one that suits these devices, by what each said last, also where its certificate has ended since.

    Args:
        runs: folder of runs, in which the registry lies.
        names: of devices; one that is not enrolled is taken to open what everybody does.
    """
    return Recipients(Directory({}), {e.device.name: e.ciphers for e in _enrolled_devices(runs)}).cipher_for(names)


def run_recipients(folder: RunFolder) -> Directory:
    """Who a run's own release is for: its devices without those in quarantine."""
    known = device_directory(folder)
    release = folder.path / "release"
    names = recipients_of(release, read_manifest(release, coordinator_public(folder)))
    return Directory({name: known.get(name) for name in names})


def _enrolled_devices(runs: Path, *, upgrade: bool = True) -> list[Enrolled]:
    return [e for e in Office(runs, upgrade=upgrade).enrolled() if e.state is State.ENROLLED and e.role is Role.DEVICE]
