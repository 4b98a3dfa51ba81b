"""``skerry fleet``: the devices of a folder of runs, what was found against them, who is out; one file a command."""

import typer

from skerry.cli.fleet.admission import approve, deny, revoke
from skerry.cli.fleet.appeal import appeal
from skerry.cli.fleet.console import console
from skerry.cli.fleet.forget import forget
from skerry.cli.fleet.invite import invite
from skerry.cli.fleet.list import list_
from skerry.cli.fleet.plan import plan
from skerry.cli.fleet.quarantine import quarantine
from skerry.cli.fleet.show import show
from skerry.cli.fleet.tag import tag

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True,
    help="Let devices in and put them out; see their evidence, quarantine them, hear their appeals; plan for many.",
)
app.command("list")(list_)
app.command()(show)
app.command()(quarantine)
app.command()(appeal)
for _other in (invite, approve, deny, revoke, forget, tag, plan, console):
    app.command()(_other)
