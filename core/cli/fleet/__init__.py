"""``skerry fleet``: the devices of a folder of runs, what was found against them, who is out; one file a command."""

import typer

from skerry.cli.fleet.appeal import appeal
from skerry.cli.fleet.list import list_
from skerry.cli.fleet.quarantine import quarantine
from skerry.cli.fleet.show import show

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="See the devices and their evidence; quarantine them, hear their appeals.")
app.command("list")(list_)
app.command()(show)
app.command()(quarantine)
app.command()(appeal)
