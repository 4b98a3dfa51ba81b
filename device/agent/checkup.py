"""What `skerry device doctor` looks at: each finding with what to do about it. Nothing is changed."""

import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from skerry.clock import Clock
from skerry.device.agent.capability import Capability
from skerry.device.agent.conditions import Lapse
from skerry.device.agent.enrolled import LEDGER
from skerry.device.agent.heat import read_heat
from skerry.device.agent.host import Host
from skerry.device.agent.memory import free_memory
from skerry.device.agent.terms import TERMS, DeviceTerms, read_terms
from skerry.device.membership import ENROL_AGAIN, Folder
from skerry.errors import SkerryError
from skerry.security.certificates import ms_of
from skerry.security.enrolment import Invitation, Membership
from skerry.security.identity import KeyStore
from skerry.security.privacy.verification import read_ledger
from skerry.wording import moment, size

__all__ = ["Finding", "Gateway", "checkup"]

_MOST_OFF_MS = 30_000  # messages are refused where clocks differ by more
_LEAST_MEMORY = 150_000_000  # an idle agent and a base model


@dataclass(frozen=True)
class Finding:
    """One line. ``fail`` keeps the device from taking part; ``warn`` is worth knowing."""

    name: str
    state: Literal["ok", "warn", "fail"]
    found: str
    mend: str | None = None


@dataclass(frozen=True)
class Gateway:
    """What a gateway said whose certificate leads to the pinned root: its time, ms; None where it named none."""

    date: int | None


def checkup(
    home: Path,
    *,
    open_keys: Callable[[], KeyStore],
    ask_gateway: Callable[[Invitation], Gateway],
    conditions: Callable[[DeviceTerms], tuple[Lapse, ...]],
    capability: Callable[[], Capability],
    host: Host,
    clock: Clock,
) -> list[Finding]:
    """All findings.

    Args:
        home: the device's folder.
        open_keys: opens its key store.
        ask_gateway: asks there; raises where nobody answers, or not the federation that invited.
        conditions: what keeps the device from training under these terms.
        capability: what it can do.
        host: where to look.
        clock: of the device.
    """
    folder = Folder(home)
    return [
        *_keys(folder, open_keys),
        *_certificate(folder, clock()),
        *_gateway(folder, ask_gateway, clock),
        *_ledger(home),
        *_room(home, host),
        _thermal(host),
        *_able(capability()),
        *_terms(home, conditions),
    ]


def _keys(folder: Folder, open_keys: Callable[[], KeyStore]) -> Iterator[Finding]:
    if not folder.keys.exists():
        yield Finding("keys", "fail", "there are none", "skerry device enrol INVITATION --name NAME")
        return
    others = [path for path in (folder.path, folder.keys) if stat.S_IMODE(path.stat().st_mode) & 0o077]
    if others:
        names = " ".join(map(str, others))
        state: Literal["warn", "fail"] = "fail" if folder.keys in others else "warn"
        yield Finding("keys closed", state, f"others may read {names}", f"chmod go= {names}")
    else:
        yield Finding("keys closed", "ok", "their owner alone may read them")
    try:
        store = open_keys()
    except SkerryError as error:
        yield Finding("keys", "fail", error.what, error.mend or "name the key file with --key-file")
        return
    yield Finding("keys", "ok", f"{store.identity.name}, opened by {store.backend}")


def _certificate(folder: Folder, now: int) -> Iterator[Finding]:
    name = "certificate"
    try:
        member = folder.membership()
    except SkerryError as error:
        yield Finding(name, "fail", error.what, error.mend)
        return
    if member is None:
        mend = "call `skerry device enrol` again" if folder.waiting else "skerry device enrol INVITATION --name NAME"
        yield Finding(name, "fail", "waits for approval" if folder.waiting else "not enrolled", mend)
        return
    yield _dates(name, member, now)
    if member.coordinator is None:
        yield Finding("coordinator", "warn", "the federation has named none yet", "skerry device enrol --renew, later")
    else:
        yield Finding("coordinator", "ok", member.coordinator.name)


def _dates(name: str, member: Membership, now: int) -> Finding:
    begins, ends = ms_of(member.certificate.not_valid_before_utc), ms_of(member.certificate.not_valid_after_utc)
    until = f"{member.subject.uri}, until {moment(ends)} UTC"
    if now < begins:
        return Finding(name, "fail", f"not valid before {moment(begins)} UTC", "this clock is behind: set it (NTP)")
    if now >= ends:
        mend = f"if this clock is right, call `skerry device enrol --renew`; if it is refused: {ENROL_AGAIN}"
        return Finding(name, "fail", until, mend)
    if now >= member.renew_at:
        return Finding(name, "warn", until, "due for renewal: `skerry device run` does it, or `skerry device enrol`")
    return Finding(name, "ok", until)


def _gateway(folder: Folder, ask: Callable[[Invitation], Gateway], clock: Clock) -> Iterator[Finding]:
    try:
        desk = folder.desk()
    except SkerryError as error:
        yield Finding("gateway", "fail", error.what, error.mend)
        return
    if desk is None or not desk.address:
        yield Finding("gateway", "fail", "the device knows no address", "enrol with an invitation that names one")
        return
    try:
        told = ask(desk)
    except SkerryError as error:
        yield Finding("gateway", "fail", error.what, error.mend)
        return
    yield Finding("gateway", "ok", f"{desk.address}, under the root that was pinned")
    if told.date is None:
        yield Finding("clock", "warn", "the gateway names no time", "compare the clock by hand")
        return
    off = clock() - told.date
    found = f"{abs(off) / 1000:.0f} s {'ahead of' if off > 0 else 'behind'} the gateway's"
    if abs(off) > _MOST_OFF_MS:
        yield Finding("clock", "fail", found, "set it (NTP): messages are refused where clocks differ by half a minute")
    else:
        yield Finding("clock", "ok", found)


def _ledger(home: Path) -> Iterator[Finding]:
    path = home / LEDGER
    if not path.exists():
        yield Finding("ledger", "ok", "not begun: nothing was spent")
        return
    try:
        account = read_ledger(path)
    except SkerryError as error:
        yield Finding("ledger", "fail", error.what, "do not train with this folder; keep the file, and ask")
        return
    if account.problems:
        yield Finding("ledger", "fail", "; ".join(account.problems), "do not train with this folder; keep the file")
        return
    yield Finding("ledger", "ok", f"verified, {account.debits} rounds")


def _room(home: Path, host: Host) -> Iterator[Finding]:
    free, whole = host.disk(home)
    yield Finding("disk", "ok", f"{size(free)} of {size(whole)} free")
    memory = free_memory(host)
    if memory is None:
        yield Finding("memory", "warn", "the kernel does not tell", None)
    elif memory < _LEAST_MEMORY:
        yield Finding("memory", "warn", f"{size(memory)} free", "end other programs: the agent alone takes 140 MB")
    else:
        yield Finding("memory", "ok", f"{size(memory)} free")


def _thermal(host: Host) -> Finding:
    heat = read_heat(host)
    if heat.weak_supply:
        return Finding("heat", "warn", "the firmware sees too little voltage", "take the power supply made for it")
    if heat.celsius is None:
        return Finding("heat", "ok", "no sensor here: heat cannot stop training, see to the air yourself")
    slowed = ", and the firmware slows it down" if heat.throttled else ""
    return Finding("heat", "warn" if slowed else "ok", f"{heat.celsius:.0f} °C{slowed}", "cool it" if slowed else None)


def _able(can: Capability) -> Iterator[Finding]:
    if "head" not in can.trainable:
        yield Finding("runtimes", "fail", ", ".join(can.runtimes) or "none", "pip install 'skerry[device]'")
    else:
        missing = "torch" not in can.runtimes
        mend = "for modes other than head: pip install 'skerry[device,train]'" if missing else None
        yield Finding("runtimes", "ok", ", ".join(can.runtimes), mend)
    flags = f", {' '.join(can.isa)}" if can.isa else ""
    speed = f"{can.ms_per_example:.3g} ms an example of a head"
    yield Finding("capability", "ok", f"{can.cores} cores {can.architecture}{flags}; {speed}")


def _terms(home: Path, conditions: Callable[[DeviceTerms], tuple[Lapse, ...]]) -> Iterator[Finding]:
    try:
        terms = read_terms(home)
    except SkerryError as error:
        yield Finding(TERMS, "fail", error.what, error.mend)
        return
    yield Finding(TERMS, "ok", f"{terms.task.name}, {terms.model.trainable}, unit {terms.privacy.unit}")
    lapses = conditions(terms)
    for lapse in lapses:
        yield Finding(f"condition: {lapse.reason.value}", "warn", lapse.sentence, f"or change it in {home / TERMS}")
    if not lapses:
        yield Finding("conditions", "ok", "it may train now")
