"""The root of the command line: which commands there are."""

import os
from typing import Annotated

import typer

from skerry import __version__
from skerry.cli import device, doctor, fleet, model, privacy, release, report, run, runs, security, server
from skerry.cli.boundary import Boundary
from skerry.cli.top import top

__all__ = ["app", "main"]

EPILOG = (
    "Exit codes: 0 ok, 1 failed, 2 bad input, 3 refused by policy. With --json standard output is one JSON document, "
    "also for an error. --debug, anywhere on the line, shows the traceback of an error."
)

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

app = typer.Typer(
    name="skerry",
    cls=Boundary,
    help="Secure federated on-device learning: quantized models, audited privacy, screened updates, sealed delivery.",
    epilog=EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"skerry {__version__}")
        raise typer.Exit


@app.callback()
def root(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Options that belong to no single command."""


app.command()(run.demo)
app.command()(run.run)
app.add_typer(runs.app, name="runs")
app.command()(report.report)
app.add_typer(model.app, name="model")
app.add_typer(fleet.app, name="fleet")
app.add_typer(device.app, name="device")
app.add_typer(privacy.app, name="privacy")
app.add_typer(release.app, name="release")
app.add_typer(security.app, name="security")
app.add_typer(server.app, name="server")
app.command()(top)
app.command()(doctor.doctor)


def main() -> None:
    """Entry point of the ``skerry`` command.

    BLAS and OpenMP compute in one thread, unless the environment says otherwise: devices are many and their products
    small, so more threads mostly wait for each other, and spin while they do.
    """
    for name in _THREADS:
        os.environ.setdefault(name, "1")  # before numpy is loaded, which reads it once
    app()
