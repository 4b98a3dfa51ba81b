"""``skerry model``: build, show and measure models; one file a command."""

import typer

from skerry.cli.model.bench import bench
from skerry.cli.model.build import build
from skerry.cli.model.compress import compress
from skerry.cli.model.evaluate import evaluate
from skerry.cli.model.export import export
from skerry.cli.model.fit import fit
from skerry.cli.model.show import show

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Build, show, compress, evaluate, export and measure models.")
app.command()(build)
app.command()(show)
app.command()(evaluate)
app.command()(export)
app.command()(compress)
app.command()(fit)
app.command()(bench)
