"""``skerry server registry``: where the fleet's registry is, and what is done to it as a whole."""

from pathlib import Path
from typing import Annotated

import typer

from skerry.cli.console import AsJson, RunsDir, emit, facts, out

__all__ = ["app"]

_END = (
    "end that first (`skerry server stop`, or `systemctl stop skerry-server`); then `skerry server metrics` "
    "(skerry-metrics) and `skerry top` too, which keep what they have open"
)

app = typer.Typer(no_args_is_help=True, help="The fleet's registry as a whole: where it is, moving it, older schemas.")


@app.command()
def show(*, runs_dir: RunsDir = None, as_json: AsJson = False) -> None:
    """Say where the registry is, the version of its schema, and how many rows it has."""
    from skerry.runfolder import runs_dir as runs_in
    from skerry.server.registry.copying import rows_of
    from skerry.server.registry.place import database_of
    from skerry.server.registry.tables import SCHEMA

    database = database_of(runs_in(runs_dir), upgrade=False)
    found = database.peek(lambda base, have: (have, rows_of(base))) if database.exists() else None
    version, rows = found or (None, {})
    if as_json:
        emit({"registry": database.where, "schema": version, "rows": rows})
        return
    told = "nothing was written yet" if version is None else str(version)
    if version is not None and version < SCHEMA:
        told += f" (older schema: this skerry's is {SCHEMA}; the next server, run or decision brings it up)"
    out().print(facts([("registry", database.where), ("schema", told), *_numbers(rows)]))


@app.command()
def move(*, runs_dir: RunsDir = None, as_json: AsJson = False) -> None:
    """Move the registry's file into the empty PostgreSQL database that SKERRY_REGISTRY names.

    Servers and runs of this folder are ended before. The file stays beside, as registry.sqlite.moved.
    """
    from skerry.runfolder import runs_dir as runs_in
    from skerry.server.registry.place import move_to_postgresql

    runs = runs_in(runs_dir)
    _quiet(runs)
    database, rows = move_to_postgresql(runs)
    if as_json:
        emit({"registry": database.where, "rows": rows})
        return
    out().print(facts([("registry", database.where), *_numbers(rows)]))


@app.command()
def downgrade(
    version: Annotated[int, typer.Argument(min=1, help="Of the schema, as the older skerry names it.")],
    *,
    discard: Annotated[bool, typer.Option("--discard", help="Lose the rows that it has no table for.")] = False,
    runs_dir: RunsDir = None,
    as_json: AsJson = False,
) -> None:
    """Take the registry down to an older schema, for an older skerry.

    The next server, run or decision of this skerry brings it up again; what only looks (`fleet list`, `skerry top`,
    `skerry server metrics`, the console) leaves it there and says so.
    """
    from skerry.errors import InputError, RefusedError
    from skerry.runfolder import runs_dir as runs_in
    from skerry.server.registry.migrations import lost_below
    from skerry.server.registry.place import database_of
    from skerry.server.registry.tables import SCHEMA

    runs = runs_in(runs_dir)
    if version > SCHEMA:
        raise InputError(f"the newest schema is {SCHEMA}, not {version}", where="VERSION")
    _quiet(runs)
    database = database_of(runs)
    if not database.exists():
        raise InputError("there is no registry", where=database.where)
    lost = database.peek(lambda base, _: lost_below(base, version))
    if lost and not discard:
        raise RefusedError(
            "rows_lost",
            f"schema {version} has no place for {', '.join(f'{number} of {name}' for name, number in lost.items())}",
            where=database.where,
            mend="make a backup (`skerry server backup`), then say --discard",
        )
    database.downgrade(version)
    if as_json:
        emit({"registry": database.where, "schema": version, "lost": lost})
        return
    out().print(facts([("registry", database.where), ("schema", str(version))]))


def _numbers(rows: dict[str, int]) -> list[tuple[str, str]]:
    return [(name, str(number)) for name, number in rows.items() if number]


def _quiet(runs: Path) -> None:
    """Refuse while somebody uses the registry: who holds the file would go on with what is no longer the registry."""
    from skerry.errors import RefusedError
    from skerry.runfolder import list_runs
    from skerry.server.federation_home import FederationHome
    from skerry.server.running import RunningServer

    server = RunningServer.read(FederationHome(runs).server)
    using = [] if server is None else [f"the server (process {server.pid})"]
    using += [run.id for run in list_runs(runs) if run.state in {"preparing", "running", "finishing"}]
    if using:
        raise RefusedError("in_use", f"in use by {', '.join(using)}", where=str(runs), mend=_END)
