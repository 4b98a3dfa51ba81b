"""``skerry fleet forget``: a device's name goes from the registry, the federation's log and its inbox."""

from typing import Annotated

import typer

from skerry.cli.console import AsJson, RunsDir, emit, out
from skerry.cli.fleet.options import By, DeviceName, ScopeOption, who

__all__ = ["forget"]


def forget(
    device: DeviceName,
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    by: By = None,
    scope: ScopeOption = None,
    runs_dir: RunsDir = None,
    as_json: AsJson = False,
) -> None:
    """Erase a device's name from registry, log and inbox; what was judged stays, and so does what keeps its keys out.

    With it go its receipts, its last condition, which blobs it fetched, and decisions about runs whose reason names it.

    One that is enrolled is revoked first. Runs' ledgers are another matter: `skerry privacy forget`.
    """
    from skerry.clock import system_clock
    from skerry.errors import InputError
    from skerry.runfolder import runs_dir as runs_in
    from skerry.server.device_statements import erase_forgotten
    from skerry.server.federation_home import FederationHome
    from skerry.server.registry import DeviceKind, Registry
    from skerry.server.service.inbox import Inbox

    runs = runs_in(runs_dir)
    registry = Registry(runs)
    found = registry.find(device, scope)
    if not yes:
        if as_json:
            raise InputError("what is erased does not come back", mend="add --yes")
        typer.confirm(f"Erase the name of {device} from {registry.where}? It does not come back", abort=True)
    alias = registry.forget(found, by=who(by), now=system_clock())
    inbox = FederationHome(runs).inbox
    if found.scope.kind is DeviceKind.REAL and inbox.exists():
        Inbox(inbox, most=0).forget(device)
    erase_forgotten(runs, system_clock(), device)
    if as_json:
        emit({"scope": found.scope.name, "alias": alias})
        return
    out().print(f"erased; what is left of it is called {alias}", soft_wrap=True)
