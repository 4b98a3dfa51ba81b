"""Whether a command line is one that skerry takes: parsed by the command line itself, and not run."""

from collections.abc import Sequence

import click
from typer.main import get_command


def parsed(words: Sequence[str]) -> str:
    """The name of the command that the words, without ``skerry`` itself, call.

    Raises:
        click.ClickException: it has no such command, option or argument, or a value is none.
    """
    from skerry.cli import app

    command: click.Command = get_command(app)
    left, names, parent = list(words), [], None
    while isinstance(command, click.Group):
        name, found, left = command.resolve_command(click.Context(command, parent=parent), left)
        assert name is not None
        assert found is not None
        names.append(name)
        command = found
    command.make_context(" ".join(names), left)
    return " ".join(names)
