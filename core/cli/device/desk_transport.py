"""How a device's commands reach the desk of its federation."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from skerry.security.enrolment import Invitation, LeavingTransport

__all__ = ["desk_transport"]


def desk_transport(asked: "Invitation | None", runs_dir: Path | None) -> "LeavingTransport":
    """To the desk that an invitation names; without an address, to the one of this folder of runs.

    Raises:
        InputError, RefusedError, RunFailedError: there is none, or who answers is not the federation.
    """
    if asked is not None and asked.address:
        from skerry.device.service import HttpsEnrolment

        return HttpsEnrolment(asked)
    from skerry.cli.fleet.options import enter_decided
    from skerry.runfolder import runs_dir as runs_in
    from skerry.server.enrolment import local_desk

    runs = runs_in(runs_dir)
    return local_desk(runs, lambda: enter_decided(runs))
