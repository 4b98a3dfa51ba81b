"""``skerry release``: models on their way to devices, from a repository's making to going back; one file a subject."""

import typer

from skerry.cli.release.keeping import init, renew, rotate
from skerry.cli.release.looking import list_, verify
from skerry.cli.release.pruning import prune
from skerry.cli.release.publishing import publish, rollback
from skerry.cli.release.taking import fetch

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Publish, list, verify, fetch and take back signed, encrypted releases.")
app.command()(init)
app.command()(publish)
app.command("list")(list_)
app.command()(verify)
app.command()(fetch)
app.command()(rollback)
app.command()(renew)
app.command()(rotate)
app.command()(prune)
