"""Verdicts for the fleet's registry."""

import os
from pathlib import Path

from skerry.records import Action, Reason, Score, Verdict
from skerry.server.registry import (
    DeviceKind,
    JudgedRound,
    Registry,
    Scope,
)
from skerry.server.registry.copying import rows_of
from skerry.server.registry.place import database_of

DAY = 86_400_000
NOW = 1_764_000_000_000
LAB = Scope(DeviceKind.SIMULATED, "digits/digits")
FIELD = Scope(DeviceKind.REAL, "harbour")


def accepted(number: int, *names: str) -> list[Verdict]:
    return [Verdict(number, name, Action.ACCEPT, (), (Score("norm", 1.0, 0.5, 2.0, "Usual."),)) for name in names]


def rejected(number: int, name: str, action: Action = Action.DROP, reason: Reason = Reason.NORM) -> Verdict:
    scores = (Score("norm", 9.0, 0.5, 2.0, "Nine times too long."), Score("cosine", 0.9, 0.1, None, "Points along."))
    last = (Score("strikes", 3.0, None, 3.0, "Dropped 3 times."),) if action is Action.QUARANTINE else ()
    return Verdict(number, name, action, (reason,), scores + last, propose_revocation=bool(last))


def silent(number: int, name: str, reason: Reason) -> Verdict:
    return Verdict(number, name, Action.DROP, (reason,))


def judged(number: int, *verdicts: Verdict, day: float = 0.0) -> JudgedRound:
    return JudgedRound(number, NOW + round(day * DAY), verdicts)


def standing(registry: Registry, name: str, *, day: float = 0.0, half_life: float = 30.0):
    return registry.standing(registry.find(name), NOW + round(day * DAY), half_life)


def rows(registry: Registry, table: str) -> int:
    return database_of(registry.folder).read(rows_of)[table]


def kept(folder: Path) -> bytes:
    """All bytes of a registry's tables and indices, as they lie on the disk."""
    if "SKERRY_REGISTRY" not in os.environ:
        return b"".join(one.read_bytes() for one in sorted(folder.glob("registry*")) if one.is_file())
    import psycopg

    with psycopg.connect(os.environ["SKERRY_REGISTRY"], autocommit=True) as base:
        base.execute("checkpoint")
        places = base.execute(
            "with ours as (select oid, reltoastrelid from pg_class where relnamespace = current_schema()::regnamespace)"
            " select current_setting('data_directory') || '/' || pg_relation_filepath(one) from"
            " (select oid from ours union select reltoastrelid from ours) as every(one)"
            " where pg_relation_filepath(one) is not null"
        ).fetchall()
    return b"".join(Path(place).read_bytes() for (place,) in places)


def guards(folder: Path, table: str) -> int:
    """How many triggers guard a table."""
    if "SKERRY_REGISTRY" in os.environ:
        query = "select count(*) from pg_trigger where tgrelid = '{}'::regclass and not tgisinternal"
    else:
        query = "select count(*) from sqlite_master where type = 'trigger' and tbl_name = '{}'"
    return database_of(folder).read(lambda base: base.exec_driver_sql(query.format(table)).scalar_one())
