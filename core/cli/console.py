"""What commands write: tables and messages for people, one JSON document for programs.

Standard output carries what was asked for; progress and errors go to standard error. With ``--json`` standard output
holds exactly one JSON document, also when the command fails: then it has the member ``error``
``{kind, reason, what, where, mend, exit_code}``, alone or beside what is known.
"""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Annotated, NoReturn

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from skerry.errors import SkerryError

__all__ = ["AsJson", "FailedWithDocumentError", "RunName", "RunsDir", "emit", "facts", "fail", "note", "out", "table"]

RunsDir = Annotated[
    Path | None, typer.Option("--runs-dir", help="Where runs lie \\[default: $SKERRY_RUNS_DIR, else ./runs].")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
RunName = Annotated[str, typer.Argument(metavar="RUN", help="A run's id, its folder, or 'latest'.")]

PLAIN_WIDTH = 120  # where the output is a file or a pipe and has no width of its own


class FailedWithDocumentError(Exception):
    """A command failed and has something to show all the same."""

    def __init__(self, error: SkerryError, document: Mapping[str, object]) -> None:
        super().__init__(error.what)
        self.error = error
        self.document = document


def out() -> Console:
    """Standard output, for what was asked for."""
    return _console(sys.stdout)


def note() -> Console:
    """Standard error, for progress and messages."""
    return _console(sys.stderr)


def emit(document: object) -> None:
    """Write the one JSON document of a command."""
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False))


def fail(error: SkerryError, document: Mapping[str, object], *, as_json: bool) -> NoReturn:
    """End the command with an error after its findings were shown; as JSON both come in one document.

    Raises:
        FailedWithDocumentError: always, when ``as_json``.
        SkerryError: ``error``, otherwise.
    """
    if as_json:
        raise FailedWithDocumentError(error, document)
    raise error


def table(title: str, columns: Sequence[str], *, right: Sequence[str] = ()) -> Table:
    """An empty table in the house style; columns named in ``right`` hold figures."""
    made = Table(title=title, title_justify="left", title_style="bold", header_style="dim", box=None, pad_edge=False)
    for column in columns:
        made.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return made


def facts(rows: Sequence[tuple[str, str | Text]]) -> Table:
    """A list of named facts in two columns."""
    made = Table.grid(padding=(0, 2))
    made.add_column(style="dim", no_wrap=True)
    made.add_column(overflow="fold")
    for name, value in rows:
        made.add_row(name, value if isinstance(value, Text) else Text(value))
    return made


def _console(file: IO[str]) -> Console:
    """One that says what it is given as it is: brackets in what a server or a person wrote mean nothing."""
    tied = file.isatty() or "COLUMNS" in os.environ
    return Console(file=file, width=None if tied else PLAIN_WIDTH, markup=False, emoji=False, highlight=False)
