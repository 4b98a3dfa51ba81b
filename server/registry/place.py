"""Where the registry of a folder of runs is: a file in that folder, unless it was begun in PostgreSQL.

``SKERRY_REGISTRY`` names the database when it is begun. The folder then notes it (``registry.json``), without the
password, so that whoever uses the folder later, with or without that variable, uses the same registry or is refused:
two registries of one fleet would each miss the other's revocations.
"""

import json
import os
from pathlib import Path

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from skerry.errors import InputError, RegistryError
from skerry.fsio import sync_folder, write_json
from skerry.server.registry.copying import move
from skerry.server.registry.database import RegistryDatabase
from skerry.server.registry.file import FILE, RegistryFile
from skerry.server.registry.postgresql import PostgresqlRegistry
from skerry.server.registry.postgresql_line import shown

__all__ = ["NOTE", "PASSWORD_FILE", "REGISTRY", "database_of", "move_to_postgresql"]

NOTE = "registry.json"
"""In a folder of runs, says in which database its registry is."""

REGISTRY = "SKERRY_REGISTRY"
"""The environment's word on where a registry is: a URL of PostgreSQL."""

PASSWORD_FILE = "SKERRY_REGISTRY_PASSWORD_FILE"  # noqa: S105 - the name of a variable
"""The environment's word on which file holds the password of that URL."""


def database_of(runs: Path, *, upgrade: bool = True) -> RegistryDatabase:
    """The registry of a folder of runs.

    Args:
        runs: the folder.
        upgrade: False for who only looks: a registry of an older schema is refused, and not brought up to date.

    Raises:
        InputError: ``SKERRY_REGISTRY`` is no URL of PostgreSQL, or its password file cannot be read.
        MissingDependencyError: the driver is not installed.
        RegistryError: the folder's registry is another than ``SKERRY_REGISTRY`` says.
    """
    told, noted = _told(), _noted(runs)
    url = told or noted
    if url is None:
        return RegistryFile(runs / FILE, upgrade=upgrade)
    if (runs / FILE).exists():
        raise RegistryError(
            f"the registry of this folder is {FILE}, and {REGISTRY if told else NOTE} says {shown(url)}",
            where=str(runs),
            mend="`skerry server registry move` takes it there, or ends a move that was broken off"
            + (f"; or unset {REGISTRY}" if told else ""),
        )
    if noted is not None and shown(noted) != shown(url):
        raise RegistryError(
            f"the registry of this folder is {shown(noted)}, and {REGISTRY} says {shown(url)}",
            where=str(runs / NOTE),
            mend=f"set {REGISTRY} to that; or, if the same database has moved there, delete {NOTE}",
        )
    return PostgresqlRegistry(_with_password(url), begun=lambda: _note(runs, url), upgrade=upgrade)


def move_to_postgresql(runs: Path) -> tuple[RegistryDatabase, dict[str, int]]:
    """Move the file of a folder of runs into the empty database that ``SKERRY_REGISTRY`` names.

    Whoever wants to change the file meanwhile waits, and then is told that it moved. It stays beside, as
    ``registry.sqlite.moved``. A move that was broken off is ended by the next one: the database has the same rows.

    Returns:
        The registry, and how many rows each of its tables has.

    Raises:
        InputError: there is no file, or no database was named.
        RegistryError: the database has other rows already, or one of them cannot be used.
    """
    url, file = _told() or _noted(runs), runs / FILE
    if url is None:
        raise InputError(
            "where is the registry to go?",
            where=REGISTRY,
            mend=f"export {REGISTRY}=postgresql://USER@HOST/DATABASE, and {PASSWORD_FILE} if it needs a password",
        )
    if not file.exists():
        raise InputError("there is no registry to move", where=str(file), mend="the first to write begins one there")
    target = PostgresqlRegistry(_with_password(url))
    with RegistryFile(file).writing() as rows:
        moved = move(rows, target)
        _write_note(runs, url)  # whatever one says that an earlier move left
        file.rename(file.with_name(f"{FILE}.moved"))
        sync_folder(runs)
    return target, moved


def _note(runs: Path, url: URL) -> None:
    if not (runs / NOTE).exists():
        runs.mkdir(parents=True, exist_ok=True)
        _write_note(runs, url)


def _write_note(runs: Path, url: URL) -> None:
    write_json(runs / NOTE, {"registry": shown(url)})


def _told() -> URL | None:
    text = os.environ.get(REGISTRY)
    return _read(text, REGISTRY) if text else None


def _noted(runs: Path) -> URL | None:
    note = runs / NOTE
    try:
        text = json.loads(note.read_bytes())["registry"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise RegistryError(
            "it cannot be read where this folder's registry is",
            where=str(note),
            mend='write {"registry": "postgresql://…"} into it, or restore it',
        ) from error
    return _read(text, str(note))


def _read(text: str, where: str) -> URL:
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):  # of a port that is none, with a part of the password in its words
        url = None
    if url is None or url.drivername not in {"postgresql", "postgres", "postgresql+psycopg"}:
        raise InputError(  # what was given may hold a password: it is not told
            "this is no URL of a PostgreSQL database",
            where=where,
            mend="postgresql://USER@HOST:5432/DATABASE; without one the registry is a file among the runs",
        )
    return url.set(drivername="postgresql+psycopg")


def _with_password(url: URL) -> URL:
    file = os.environ.get(PASSWORD_FILE)
    if not file:
        return url
    try:
        text = Path(file).read_text("utf-8")
    except (OSError, ValueError) as error:
        raise InputError(f"the registry's password cannot be read: {error}", where=PASSWORD_FILE) from error
    return url.set(password=text.removesuffix("\n").removesuffix("\r"))
