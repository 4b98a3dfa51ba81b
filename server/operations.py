"""What operators decide, by whichever way: the command line and the console call these and nothing else.

Each decision is one transaction, or one file, with its author and reason; then it is entered in the federation's log
(:mod:`~skerry.server.device_statements`). What is decided holds whatever becomes of the log: that it was not entered is
told. About devices the next decision enters it too, as the registry has it; of runs only the note is left of it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from skerry.clock import Clock
from skerry.errors import InputError, RefusedError, SkerryError
from skerry.runfolder import RunFolder
from skerry.security.certificates import Authority
from skerry.security.transparency.events import Event, EventKind
from skerry.server.device_statements import enter_devices
from skerry.server.enrolment import Office, authority_folder
from skerry.server.federation_log import federation_log, told
from skerry.server.pausing import Pause, go_on, pause
from skerry.server.registry import Decision, Device, DeviceKind, Registry
from skerry.server.registry.enrolled import Enrolled, State
from skerry.server.registry.words import plain_words

__all__ = ["Decided", "Operations", "entered"]

_FEWEST_DIGITS = 16
"""64 bits: nobody makes a second key of the same digits while a device waits."""

T = TypeVar("T")


@dataclass(frozen=True)
class Decided(Generic[T]):
    """A decision that was made; ``note`` says in a sentence what of it is not in the federation's log, if anything."""

    what: T
    note: str | None = None


@dataclass(frozen=True)
class Operations:
    """Decisions in a folder of runs.

    Attributes:
        runs: the folder.
        clock: ms since the epoch.
        by: who decides; nothing here proves it.
    """

    runs: Path
    clock: Clock
    by: str

    def approve(self, name: str, why: str, *, fingerprint: str | None = None) -> Decided[Enrolled]:
        """Let a device in that waits; it gets its certificate when it asks again.

        Args:
            name: of the device.
            why: the reason.
            fingerprint: of its key, as somebody read it off the device: the key that waits must have it.

        Raises:
            InputError: nobody of the name waits, or too few digits.
            RefusedError: it does not wait (``not_pending``), or another key does (``wrong_fingerprint``).
        """
        office = Office(self.runs)
        entry = office.find(name, State.PENDING)
        if fingerprint is not None:
            _compare(fingerprint, entry)
        authority = Authority.open(authority_folder(self.runs))
        return self._entered(office.approve(entry, authority, by=self.by, why=why, now=self.clock()))

    def deny(self, name: str, why: str) -> Decided[Enrolled]:
        """Turn a device away that waits; its keys are not taken again."""
        office = Office(self.runs)
        return self._entered(office.deny(office.find(name, State.PENDING), by=self.by, why=why, now=self.clock()))

    def revoke(self, name: str, why: str) -> Decided[Enrolled]:
        """Put an enrolled device out for good."""
        office = Office(self.runs)
        return self._entered(office.revoke(office.find(name, State.ENROLLED), by=self.by, why=why, now=self.clock()))

    def quarantine(self, device: Device, why: str) -> Decided[Decision]:
        """Put a device into quarantine until an appeal."""
        made = Registry(self.runs).quarantine(device, by=self.by, why=why, now=self.clock())
        return self._entered(made) if device.scope.kind is DeviceKind.REAL else Decided(made)

    def appeal(self, device: Device, why: str, *, restore: float) -> Decided[Decision]:
        """Lift a device's quarantine, and take back a share of what is held against it."""
        made = Registry(self.runs).appeal(device, by=self.by, why=why, now=self.clock(), restore=restore)
        return self._entered(made) if device.scope.kind is DeviceKind.REAL else Decided(made)

    def pause(self, folder: RunFolder, why: str) -> Decided[Pause]:
        """Let a run wait before its next round."""
        wanted = self._said(why)
        pause(folder, wanted)
        return Decided(wanted, self._enter_unless_simulated("pause", folder, wanted))

    def resume(self, folder: RunFolder, why: str) -> Decided[Pause]:
        """Let a paused run go on; returns the pause that was on."""
        said = self._said(why)
        return Decided(go_on(folder), self._enter_unless_simulated("resume", folder, said))

    def published(self, folder: RunFolder, why: str) -> str | None:
        """Enter that a run's model was published, by whom and why; what kept it out, in a sentence."""
        return self._enter("publish", folder, self._said(why))

    def _said(self, why: str) -> Pause:
        return Pause(plain_words(self.by, "by"), plain_words(why, "reason"), self.clock())

    def _entered(self, made: T) -> Decided[T]:
        return Decided(made, entered(self.runs, self.clock))

    def _enter_unless_simulated(self, what: str, folder: RunFolder, said: Pause) -> str | None:
        """Enter a decision about a run, where it is one of the federation's fleet: a simulation commits nobody."""
        return None if folder.simulated else self._enter(what, folder, said)

    def _enter(self, what: str, folder: RunFolder, said: Pause) -> str | None:
        body = {"what": what, "about": folder.id, "key": "", "by": said.by, "reason": said.why, "decided": said.at}
        return _told(lambda: federation_log(self.runs).append([Event(EventKind.DECISION, body)], said.at))


def entered(runs: Path, clock: Clock) -> str | None:
    """Enter in the federation's log what the registry has; what kept it out, in a sentence."""
    return _told(lambda: enter_devices(runs, clock()))


def _told(enter: Callable[[], object]) -> str | None:
    try:
        enter()
    except (SkerryError, OSError) as error:
        return told(error)
    return None


def _compare(read: str, entry: Enrolled) -> None:
    """Refuse a key whose fingerprint does not begin with the digits that somebody read off the device."""
    digits = read.replace(":", "").replace(" ", "").lower()
    if len(digits) < _FEWEST_DIGITS or not set(digits) <= set("0123456789abcdef"):
        raise InputError(
            f"a fingerprint is at least {_FEWEST_DIGITS} hexadecimal digits",
            where="--fingerprint",
            mend="read it off the device: `skerry security keys status`",
        )
    if not entry.fingerprint.startswith(digits):
        raise RefusedError(
            "wrong_fingerprint",
            f"the key that waits has the fingerprint {entry.fingerprint}, not {read}",
            where=entry.device.name,
            mend="deny it, and find out who asked",
        )
