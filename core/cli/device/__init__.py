"""``skerry device``: what is done on a device; one file a command."""

import typer

from skerry.cli.device.doctor import doctor
from skerry.cli.device.enrol import enrol
from skerry.cli.device.forget import forget
from skerry.cli.device.leave import leave
from skerry.cli.device.pause import pause
from skerry.cli.device.run import run
from skerry.cli.device.status import status
from skerry.cli.device.tell import tell

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True,
    help="On a device: take part in a federation, see what it did with your data, pause, leave, forget.",
)


@app.callback()
def device() -> None:
    """On a device: take part in a federation, see what it did with your data, pause, leave, forget."""


app.command()(enrol)
app.command()(run)
app.command()(status)
app.command()(pause)
app.command()(leave)
app.command()(forget)
app.command()(doctor)
app.command()(tell)
