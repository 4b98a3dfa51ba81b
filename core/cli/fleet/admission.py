"""``skerry fleet approve``, ``deny`` and ``revoke``: an operator decides who is in."""

from typing import TYPE_CHECKING, Annotated

import typer

from skerry.cli.console import AsJson, RunsDir, emit, out
from skerry.cli.fleet.options import By, DeviceName, Reason, enrolled_json, enter_decided, who

if TYPE_CHECKING:
    from skerry.server.registry.enrolled import Enrolled

__all__ = ["approve", "deny", "revoke"]

_FEWEST_DIGITS = 16
"""64 bits: nobody makes a second key of the same digits while a device waits."""


def approve(
    device: DeviceName,
    *,
    fingerprint: Annotated[
        str | None,
        typer.Option("--fingerprint", help="The key's, as the device shows it; 16 digits or more."),
    ] = None,
    reason: Reason = "approved",
    by: By = None,
    runs_dir: RunsDir = None,
    as_json: AsJson = False,
) -> None:
    """Let a device in that waits; it gets its certificate when it asks again.

    A fingerprint that was read off the device (`skerry security keys status` there) makes sure that it is that one.
    """
    from skerry.clock import system_clock
    from skerry.runfolder import runs_dir as runs_in
    from skerry.security.certificates import Authority
    from skerry.server.enrolment import Office, authority_folder
    from skerry.server.registry.enrolled import State

    runs = runs_in(runs_dir)
    office = Office(runs)
    entry = office.find(device, State.PENDING)
    if fingerprint is not None:
        _compare(fingerprint, entry)
    authority = Authority.open(authority_folder(runs))
    decided = office.approve(entry, authority, by=who(by), why=reason, now=system_clock())
    enter_decided(runs)
    _tell(decided, as_json=as_json)


def deny(
    device: DeviceName, *, reason: Reason, by: By = None, runs_dir: RunsDir = None, as_json: AsJson = False
) -> None:
    """Turn a device away that waits; its keys are not taken again."""
    from skerry.clock import system_clock
    from skerry.runfolder import runs_dir as runs_in
    from skerry.server.enrolment import Office
    from skerry.server.registry.enrolled import State

    office = Office(runs_in(runs_dir))
    found = office.find(device, State.PENDING)
    _tell(office.deny(found, by=who(by), why=reason, now=system_clock()), as_json=as_json)


def revoke(
    device: DeviceName, *, reason: Reason, by: By = None, runs_dir: RunsDir = None, as_json: AsJson = False
) -> None:
    """Put an enrolled device out for good: its certificates are listed as revoked, and its keys are not taken again.

    What it has opened already stays open to it. Its name may be enrolled again with other keys.
    """
    from skerry.clock import system_clock
    from skerry.runfolder import runs_dir as runs_in
    from skerry.server.enrolment import Office
    from skerry.server.registry.enrolled import State

    runs = runs_in(runs_dir)
    office = Office(runs)
    found = office.find(device, State.ENROLLED)
    decided = office.revoke(found, by=who(by), why=reason, now=system_clock())
    enter_decided(runs)
    _tell(decided, as_json=as_json)


def _tell(entry: "Enrolled", *, as_json: bool) -> None:
    if as_json:
        emit(enrolled_json(entry))
        return
    decision = entry.admission
    assert decision is not None  # it was just made
    said = f"{entry.device.name} is {entry.state.value}, by {decision.by}: {decision.why}"
    out().print(said, markup=False, soft_wrap=True)


def _compare(read: str, entry: "Enrolled") -> None:
    """Refuse a key whose fingerprint does not begin with the digits that somebody read off the device."""
    from skerry.errors import InputError, RefusedError

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
