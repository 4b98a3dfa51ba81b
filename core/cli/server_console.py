"""``skerry server console``: a link that lets somebody into the console once."""

from typing import Annotated

import typer

from skerry.addresses import is_any_address
from skerry.cli.console import AsJson, RunsDir, emit, note, out
from skerry.cli.fleet.options import By, who

__all__ = ["console"]


def console(
    *,
    role: Annotated[str, typer.Option("--role", help="operator, or viewer: who may look, and change nothing.")] = (
        "operator"
    ),
    address: Annotated[
        str, typer.Option("--address", help="Where the browser reaches the gateway \\[default: on this machine].")
    ] = "",
    by: By = None,
    runs_dir: RunsDir = None,
    as_json: AsJson = False,
) -> None:
    """Print a link to the console of the servers that run, which lets one browser in, once, within five minutes.

    Whoever may write the federation's folder may do so; --by is the author of the decisions that are made there.
    """
    from skerry.clock import system_clock
    from skerry.errors import InputError, RunFailedError
    from skerry.runfolder import runs_dir as runs_in
    from skerry.server.console import Admitted, ConsoleRole, Links
    from skerry.server.federation_home import FederationHome
    from skerry.server.running import RunningServer

    if role not in set(ConsoleRole):
        raise InputError(f"there is no role {role!r}", where="--role", mend=f"one of {', '.join(ConsoleRole)}")
    home = FederationHome(runs_in(runs_dir))
    server = RunningServer.read(home.server)
    if server is None:
        raise RunFailedError("no server runs", where=str(home.folder), mend="`skerry server up` starts one")
    token = Links(home.console, system_clock).make(Admitted(who(by), ConsoleRole(role)))
    show_link(address or _here(server.addresses["gateway"]), role, token, as_json=as_json)


def _here(address: str) -> str:
    host, _, port = address.rpartition(":")
    return f"https://{'localhost' if is_any_address(host) else host}:{port}"


def show_link(gateway: str, role: str, token: str, *, as_json: bool) -> None:
    """Print a link to the console; the token stands in the fragment, which no browser sends and no log sees."""
    from skerry.server.console.links import LINK_MS

    link = f"{gateway.rstrip('/')}/console/#sign-in:{token}"
    if as_json:
        emit({"link": link, "role": role, "seconds": LINK_MS // 1000})
        return
    out().print(link, soft_wrap=True)
    note().print(f"lets one browser in as {role}, once, within five minutes", style="dim", soft_wrap=True)
