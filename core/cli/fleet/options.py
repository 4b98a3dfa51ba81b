"""What the commands of ``skerry fleet`` share."""

import getpass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from skerry.cli.console import note

if TYPE_CHECKING:
    from skerry.server.operations import Operations
    from skerry.server.registry import Decision, Device, Standing
    from skerry.server.registry.enrolled import Enrolled

__all__ = [
    "HALF_LIFE_DAYS",
    "PHONE",
    "By",
    "DeviceName",
    "HalfLife",
    "Reason",
    "ScopeOption",
    "decision_json",
    "enrolled_json",
    "enrolment_of",
    "enter_decided",
    "honoured",
    "operations",
    "standing_json",
    "tell_note",
    "who",
]

DeviceName = Annotated[str, typer.Argument(metavar="DEVICE", help="A device's name, as `skerry fleet list` has it.")]
ScopeOption = Annotated[
    str | None, typer.Option("--scope", help="Of which scenario and data, where several have a device of that name.")
]
Reason = Annotated[str, typer.Option("--reason", help="Why; kept with the decision.")]
By = Annotated[str | None, typer.Option("--by", metavar="NAME", help="Who decides \\[default: who is logged in].")]
HALF_LIFE_DAYS = 30.0
PHONE = "phone"
"""The class of devices that join by opening a link in a browser."""
HalfLife = Annotated[
    float,
    typer.Option(
        "--half-life", envvar="SKERRY_HALF_LIFE_DAYS", metavar="DAYS", help="Days after which evidence counts half."
    ),
]


def who(by: str | None) -> str:
    """The author of a decision, as told: nothing proves it but the rights to the registry's file.

    Raises:
        InputError: nobody is logged in, and no name was given.
    """
    from skerry.errors import InputError

    try:
        return by or getpass.getuser()
    except (OSError, KeyError) as error:  # a user without a name
        raise InputError("a decision needs an author", where="--by", mend="say who decides") from error


def honoured(device: "Device") -> str:
    """Which runs keep to a device's quarantine."""
    return f"runs of {device.scope.name} with defence.remember = true do not ask it; others do, and say so"


def standing_json(standing: "Standing") -> dict[str, Any]:
    """A standing as JSON values; times in milliseconds since the epoch."""
    device, kept = standing.device, standing.quarantine
    return {
        "device": device.name,
        "kind": device.scope.kind.value,
        "scope": device.scope.name,
        "first_seen": device.first_seen,
        "last_seen": standing.last_seen,
        "score": standing.reputation.score,
        "accepted_weight": standing.reputation.accepted,
        "rejected_weight": standing.reputation.rejected,
        "judged": standing.judged,
        "rejected": standing.rejected,
        "quarantine": None if kept is None else decision_json(kept),
    }


def decision_json(decision: "Decision") -> dict[str, Any]:
    """A decision as JSON values."""
    return {**decision.__dict__, "kind": decision.kind.value}


def enrolled_json(entry: "Enrolled") -> dict[str, Any]:
    """An enrolment as JSON values; times in milliseconds since the epoch."""
    decision, certificate = entry.admission, entry.certificate
    return {
        "device": entry.device.name,
        "federation": entry.device.scope.name,
        "state": entry.state.value,
        "role": entry.role.value,
        "class": entry.device_class,
        "tags": list(entry.tags),
        "left": entry.left,
        "asked": entry.at,
        "fingerprint": entry.fingerprint,
        "decision": None if decision is None else {**decision.__dict__, "kind": decision.kind.value},
        "certificate_ends": None if certificate is None else certificate.expires,
        "kem": {"suite": entry.kem.suite.value, "epoch": entry.kem.epoch, "ends": entry.kem.expires},
    }


def enrolment_of(runs: Path, device: "Device") -> "Enrolled | None":
    """The newest enrolment of a device; None of one that is simulated."""
    from skerry.server.enrolment import Office

    return next((one for one in reversed(Office(runs, upgrade=False).enrolled()) if one.device.id == device.id), None)


def operations(by: str | None, runs_dir: Path | None) -> "Operations":
    """Decisions in a folder of runs, in somebody's name."""
    from skerry.clock import system_clock
    from skerry.runfolder import runs_dir as runs_in
    from skerry.server.operations import Operations

    return Operations(runs_in(runs_dir), system_clock, who(by))


def enter_decided(runs: Path) -> None:
    """What was decided goes into the federation's log too; it stands in the registry, whatever becomes of this."""
    from skerry.clock import system_clock
    from skerry.server.operations import entered

    tell_note(entered(runs, system_clock))


def tell_note(sentence: str | None) -> None:
    """Say what of a decision is not in the federation's log."""
    if sentence is not None:
        note().print(f"decided; {sentence}", soft_wrap=True)
