"""``skerry device``: what is done on a device; one file a command."""

import typer

from skerry.cli.device.enrol import enrol
from skerry.cli.device.run import run

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="On a device: take a place in a federation, and keep it.")


@app.callback()
def device() -> None:
    """On a device: take a place in a federation, and keep it."""


app.command()(enrol)
app.command()(run)
