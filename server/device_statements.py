"""What the federation's log is told of devices: who was enrolled and revoked, as the registry has it.

A name that the registry has forgotten is erased in the log.
"""

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from skerry.errors import NotPublishedError, RunFailedError, SkerryError
from skerry.security.privacy.chain import Entry
from skerry.security.transparency.events import Event, EventKind
from skerry.security.transparency.log import ENTRIES, Change
from skerry.server.federation_log import FOLDER, cause, federation_log

if TYPE_CHECKING:
    from skerry.server.registry.enrolled import Enrolled

__all__ = ["enter_devices", "erase_forgotten", "log_names"]


def enter_devices(runs: Path, now: int) -> int:
    """Bring the log to what the registry has of enrolments and revocations; how many entries that changed.

    A device is entered under the digest of the key that it was enrolled with, which is never enrolled again. One that
    the registry has forgotten is not entered, and what the log said of it is erased, as is a reason that named it.
    What the registry does not know at all stays.

    Raises:
        SkerryError, OSError: registry or log cannot be read or written; nothing is lost, it is done the next time.
    """
    from skerry.server.enrolment import Office

    office = Office(runs)
    if not office.enrolled():
        return 0

    def decide(entries: tuple[Entry, ...]) -> Change:
        everybody = office.enrolled()
        forgotten = {_key(one) for one in everybody if one.forgotten}
        due = {(event.kind.value, event.body["key"]): event for one in everybody for event in _statements(one)}
        said = [one for one in entries if one.kind in {EventKind.ENROLMENT, EventKind.REVOCATION} and not one.erased]
        stale = [one for one in said if one.body["key"] in forgotten or _contradicts(due, one)]
        known = {(one.kind, one.body["key"]) for one in said if one not in stale}
        return Change(
            erase=tuple(one.seq for one in stale),
            enter=tuple(event for which, event in due.items() if which not in known),
        )

    changed = federation_log(runs).revise(decide, now)
    return len(changed.erase) + len(changed.enter)


def _statements(one: "Enrolled") -> list[Event]:
    """What is to stand in the log of an enrolment."""
    from skerry.server.registry.enrolled import State

    if one.forgotten or one.state not in {State.ENROLLED, State.REVOKED}:
        return []
    who = {"device": one.device.name, "key": _key(one)}
    events = [Event(EventKind.ENROLMENT, {**who, "role": one.role.value})]
    if one.state is State.REVOKED and one.admission is not None:
        events.append(Event(EventKind.REVOCATION, {**who, "reason": one.admission.why}))
    return events


def _key(one: "Enrolled") -> str:
    return sha256(one.device_key).hexdigest()


def _contradicts(due: Mapping[tuple[str, str], Event], entry: Entry) -> bool:
    """Whether the registry has the same enrolment or revocation in other words: a name in it was forgotten."""
    event = due.get((entry.kind, entry.body["key"]))
    return event is not None and event.body != entry.body


def erase_forgotten(runs: Path, now: int) -> None:
    """Erase what the log says of devices that the registry has forgotten; see :func:`enter_devices`.

    Raises:
        RunFailedError: the log cannot be read or written, and names them still.
        NotPublishedError: it names them no more; something else was entered and is not published.
    """
    try:
        enter_devices(runs, now)
    except NotPublishedError:
        raise
    except (SkerryError, OSError) as error:
        raise RunFailedError(
            f"the registry has forgotten it, and the federation's log still names it: {cause(error)}",
            where=str(runs / FOLDER),
            mend="mend the log; the next `skerry fleet approve`, `revoke` or `forget` erases the name there",
        ) from error


def log_names(runs: Path, device: str) -> bool:
    """Whether an enrolment or a revocation in the log names the device."""
    path = runs / FOLDER / ENTRIES
    return path.is_file() and f'"device":{json.dumps(device)},'.encode() in path.read_bytes()
