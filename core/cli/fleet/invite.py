"""``skerry fleet invite``: a one-time token as text and QR."""

import io
import math
import re
from typing import Annotated

import typer

from skerry.cli.authority import open_authority
from skerry.cli.console import AsJson, RunsDir, emit, note, out
from skerry.cli.fleet.options import PHONE, By, who

__all__ = ["invite"]

_HOUR_MS = 3_600_000
_GATEWAY = re.compile(r"https://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?/?")


def invite(
    *,
    device_class: Annotated[
        str, typer.Option("--class", help="Of the devices that are invited, such as pi; for phone it is a link.")
    ],
    address: Annotated[
        str, typer.Option("--address", help="Where devices reach the gateway, https://…; none: on this machine only.")
    ] = "",
    hours: Annotated[float, typer.Option("--hours", min=0.01, max=720, help="How long the invitation holds.")] = 24.0,
    uses: Annotated[int, typer.Option("--uses", min=1, max=10_000, help="How many devices may enrol by it.")] = 1,
    approve: Annotated[bool, typer.Option("--approve", help="Let them in without asking again.")] = False,
    tag: Annotated[
        list[str] | None, typer.Option("--tag", help="What those who enrol by it are called; may be repeated.")
    ] = None,
    role: Annotated[str, typer.Option("--role", help="device, operator, auditor or publisher.")] = "device",
    federation: Annotated[
        str | None, typer.Option("--federation", help="Name of the federation, the first time \\[default: fleet].")
    ] = None,
    by: By = None,
    runs_dir: RunsDir = None,
    as_json: AsJson = False,
) -> None:
    """Make an invitation: hand it over in secret; of its token only a hash is kept here.

    For class `phone` it is a link to the gateway's page, which a phone opens or scans (with --address).

    The first one makes the federation's certificate authority, in the folder `federation` of the folder of runs.
    SKERRY_ROOT_PASSPHRASE encrypts the root's key then.
    """
    from skerry.clock import system_clock
    from skerry.errors import InputError
    from skerry.runfolder import runs_dir as runs_in
    from skerry.security.certificates import Role
    from skerry.server.enrolment import Office
    from skerry.server.federation_home import FederationHome
    from skerry.wording import moment

    if role not in set(Role):
        raise InputError(f"there is no role {role!r}", where="--role", mend=f"one of {', '.join(Role)}")
    if math.isnan(hours):  # passes every range
        raise InputError("nan is no number of hours", where="--hours", mend="give one")
    if address and not _GATEWAY.fullmatch(address):
        mend = "https://HOST or https://HOST:PORT, such as https://fleet.example:8443"
        raise InputError("devices reach the gateway by https, at no path", where="--address", mend=mend)
    if device_class == PHONE and not address:
        mend = "where phones reach the gateway, such as https://fleet.example:8443"
        raise InputError("a phone opens a link to the gateway", where="--address", mend=mend)
    runs, now = runs_in(runs_dir), system_clock()
    made = Office(runs).invite(
        open_authority(FederationHome(runs), federation=federation, now=now),
        device_class=device_class,
        by=who(by),
        now=now,
        life=round(hours * _HOUR_MS),
        role=Role(role),
        uses=uses,
        approve=approve,
        address=address,
        tags=tag or (),
    )
    if as_json:
        emit({
            "invitation": made.text, "federation": made.federation, "address": made.address, "role": made.role,
            "class": made.device_class, "tags": tag or [], "uses": uses, "approve": approve, "expires": made.expires,
            "link": made.link if address else None,
        })  # fmt: skip
        return
    import segno

    shown = made.link if device_class == PHONE else made.text
    code = io.StringIO()
    segno.make(shown, error="l").terminal(out=code, compact=True)
    typer.echo(code.getvalue())
    out().print(shown, soft_wrap=True)
    times = "once" if uses == 1 else f"{uses} times"
    then = "enrols at once" if approve else "waits for `skerry fleet approve`"
    said = (
        f"{made.federation}: a {made.role} of class {device_class}, {times}, until {moment(made.expires)} UTC; {then}"
    )
    note().print(said, soft_wrap=True)
    note().print("who has it can enrol: hand it over in secret, it cannot be shown again", style="dim", soft_wrap=True)
