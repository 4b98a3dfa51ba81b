"""``skerry fleet approve``, ``deny`` and ``revoke``: an operator decides who is in."""

from typing import TYPE_CHECKING, Annotated

import typer

from skerry.cli.console import AsJson, RunsDir, emit, out
from skerry.cli.fleet.options import By, DeviceName, Reason, enrolled_json, operations, tell_note

if TYPE_CHECKING:
    from skerry.server.operations import Decided
    from skerry.server.registry.enrolled import Enrolled

__all__ = ["approve", "deny", "revoke"]


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
    _tell(operations(by, runs_dir).approve(device, reason, fingerprint=fingerprint), as_json=as_json)


def deny(
    device: DeviceName, *, reason: Reason, by: By = None, runs_dir: RunsDir = None, as_json: AsJson = False
) -> None:
    """Turn a device away that waits; its keys are not taken again."""
    _tell(operations(by, runs_dir).deny(device, reason), as_json=as_json)


def revoke(
    device: DeviceName, *, reason: Reason, by: By = None, runs_dir: RunsDir = None, as_json: AsJson = False
) -> None:
    """Put an enrolled device out for good: its certificates are listed as revoked, and its keys are not taken again.

    What it has opened already stays open to it. Its name may be enrolled again with other keys.
    """
    _tell(operations(by, runs_dir).revoke(device, reason), as_json=as_json)


def _tell(decided: "Decided[Enrolled]", *, as_json: bool) -> None:
    tell_note(decided.note)
    entry = decided.what
    if as_json:
        emit(enrolled_json(entry))
        return
    decision = entry.admission
    assert decision is not None  # it was just made
    said = f"{entry.device.name} is {entry.state.value}, by {decision.by}: {decision.why}"
    out().print(said, soft_wrap=True)
