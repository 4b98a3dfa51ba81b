"""``skerry fleet tag``: what an enrolled device is called, so that a scenario can choose it."""

from typing import Annotated

import typer

from skerry.cli.console import AsJson, RunsDir, emit, out
from skerry.cli.fleet.options import By, DeviceName, enrolled_json, who

__all__ = ["tag"]


def tag(
    device: DeviceName,
    tags: Annotated[
        list[str] | None, typer.Argument(metavar="[TAG]...", help="All of them; none takes all away.")
    ] = None,
    *,
    by: By = None,
    runs_dir: RunsDir = None,
    as_json: AsJson = False,
) -> None:
    """Call an enrolled device by these tags, and by no others: a scenario with `cohort.tags` chooses by tags and class.

    A run that goes on keeps to it from its next round.
    """
    from skerry.clock import system_clock
    from skerry.runfolder import runs_dir as runs_in
    from skerry.server.enrolment import Office
    from skerry.server.registry.enrolled import State

    office = Office(runs_in(runs_dir))
    found = office.find(device, State.ENROLLED, State.PENDING)
    called = office.tag(found, tags or (), by=who(by), now=system_clock())
    if as_json:
        emit(enrolled_json(called))
        return
    said = ", ".join(called.tags) or "none"
    out().print(f"{device} is of class {called.device_class}; tags: {said}", soft_wrap=True)
