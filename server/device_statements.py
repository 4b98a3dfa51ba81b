"""What the federation's log is told of devices: who was enrolled and revoked, and who decided, as the registry has it.

A name that the registry has forgotten is erased in the log.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skerry.errors import NotPublishedError, RunFailedError, SkerryError
from skerry.security.privacy.chain import Entry
from skerry.security.transparency.events import Event, EventKind
from skerry.security.transparency.log import ENTRIES, Change
from skerry.server.federation_log import FOLDER, cause, federation_log

if TYPE_CHECKING:
    from skerry.server.registry import Decision, Device
    from skerry.server.registry.enrolled import Enrolled

__all__ = ["enter_devices", "erase_forgotten", "log_names"]

_OF_DEVICES = {EventKind.ENROLMENT, EventKind.REVOCATION, EventKind.DECISION}


def enter_devices(runs: Path, now: int) -> int:
    """Bring the log to what the registry has of enrolments, revocations and decisions; how many entries that changed.

    A device is entered under the digest of the key that it was enrolled with, which is never enrolled again. Decisions
    are those of people, about enrolled devices: what an invite or the screen decides by itself is none. One that
    the registry has forgotten is not entered, and what the log said of it is erased, as is a reason that named it.
    What the registry does not know at all stays.

    Raises:
        SkerryError, OSError: registry or log cannot be read or written; nothing is lost, it is done the next time.
    """
    from skerry.server.enrolment import Office
    from skerry.server.registry import Registry

    office, registry = Office(runs), Registry(runs)
    if not office.enrolled():
        return 0

    def decide(entries: tuple[Entry, ...]) -> Change:
        everybody = office.enrolled()
        forgotten = {_key(one) for one in everybody if one.forgotten}
        wanted = [event for one in everybody for event in _statements(one)]
        wanted += _decisions(everybody, registry.decided())
        due = {_identity(event.kind.value, event.body): event for event in wanted}
        said = [one for one in entries if one.kind in _OF_DEVICES and not one.erased]
        stale = [one for one in said if one.body["key"] in forgotten or _contradicts(due, one)]
        known = {_identity(one.kind, one.body) for one in said if one not in stale}
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


def _decisions(everybody: "Sequence[Enrolled]", decided: "Iterable[tuple[Device, Decision]]") -> Iterator[Event]:
    """What people have decided: about enrolments, and about the devices that have one."""
    for one in everybody:
        made = one.admission
        by_itself = one.left is not None or (made is not None and made.kind.value == "approve" and made.at == one.at)
        if made is not None and not one.forgotten and not by_itself:
            yield _decision(one, made.kind.value, made.by, made.why, made.at)
    for device, decision in decided:
        places = [one for one in everybody if one.device.id == device.id and one.at <= decision.at]
        if places and not places[-1].forgotten:
            yield _decision(places[-1], decision.kind.value, decision.by, decision.why, decision.at)


def _decision(one: "Enrolled", what: str, by: str, reason: str, at: int) -> Event:
    body = {"what": what, "about": one.device.name, "key": _key(one), "by": by, "reason": reason, "decided": at}
    return Event(EventKind.DECISION, body)


def _key(one: "Enrolled") -> str:
    return sha256(one.device_key).hexdigest()


def _identity(kind: str, body: Mapping[str, Any]) -> tuple[str, str, str, int]:
    """What an entry is about: of a key there is one enrolment and one revocation, and any number of decisions."""
    return kind, body["key"], body.get("what", ""), body.get("decided", 0)


def _contradicts(due: Mapping[tuple[str, str, str, int], Event], entry: Entry) -> bool:
    """Whether the registry has the same in other words: a name in it was forgotten."""
    event = due.get(_identity(entry.kind, entry.body))
    return event is not None and event.body != entry.body


def erase_forgotten(runs: Path, now: int, name: str) -> None:
    """Erase what the log says of devices that the registry has forgotten; see :func:`enter_devices`.

    Decisions about runs whose reason has the ``name`` as a word go too.

    Raises:
        RunFailedError: the log cannot be read or written, and names them still.
        NotPublishedError: it names them no more; something else was entered and is not published.
    """
    try:
        try:
            enter_devices(runs, now)
        finally:
            _erase_reasons(runs, now, name)
    except NotPublishedError:
        raise
    except (SkerryError, OSError) as error:
        raise RunFailedError(
            f"the registry has forgotten it, and the federation's log still names it: {cause(error)}",
            where=str(runs / FOLDER),
            mend="mend the log; the next `skerry fleet approve`, `revoke` or `forget` erases the name there",
        ) from error


def _erase_reasons(runs: Path, now: int, name: str) -> None:
    word = re.compile(rf"(?<![\w-]){re.escape(name)}(?![\w-])")

    def decide(entries: tuple[Entry, ...]) -> Change:
        said = [one for one in entries if one.kind == EventKind.DECISION and not one.erased]
        about_runs = [one for one in said if not one.body["key"]]
        return Change(erase=tuple(one.seq for one in about_runs if word.search(one.body["reason"])), enter=())

    if (runs / FOLDER / ENTRIES).is_file():
        federation_log(runs).revise(decide, now)


def log_names(runs: Path, device: str) -> bool:
    """Whether an enrolment, a revocation or a decision in the log names the device."""
    path = runs / FOLDER / ENTRIES
    names = [f'"{field}":{json.dumps(device)},'.encode() for field in ("device", "about")]
    return path.is_file() and any(name in path.read_bytes() for name in names)
