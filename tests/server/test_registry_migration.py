"""A registry of any schema is brought to any other with its rows, whole or not at all, by whoever opens it first."""

import multiprocessing
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import delete, insert, select, update

from skerry.errors import RegistryError
from skerry.security.aead import Cipher
from skerry.server.enrolment import Office
from skerry.server.registry import Registry, migrations
from skerry.server.registry import file as registry_file
from skerry.server.registry.copying import rows_of
from skerry.server.registry.file import RegistryFile
from skerry.server.registry.migrations import OLDEST, lost_below, version_of
from skerry.server.registry.place import database_of
from skerry.server.registry.tables import METADATA, SCHEMA, certificates, devices

from ._enrolment import NOW, Agent, Federation
from ._registry import LAB, accepted, guards, judged, rejected

OLDER = range(OLDEST, SCHEMA)
WAL_AND_NAME = f"pragma journal_mode = wal; pragma application_id = {0x736B6572};"


def as_told(version: int) -> str:
    """The schema of a file as that version's SQLite told it."""
    return Path(__file__).with_name(f"registry_schema_{version}.sql").read_text("utf-8")


def lived_in(folder: Path) -> Federation:
    """A registry with something in every table."""
    registry = Registry(folder)
    registry.record(LAB, "run-1", [judged(1, *accepted(1, "old"), rejected(1, "bad"))])
    registry.quarantine(registry.find("old"), by="ann", why="stolen", now=NOW)
    registry.forget(registry.find("bad"), by="ann", now=NOW)
    harbour = Federation(folder)
    harbour.enrol(Agent.fresh("pi-1"), harbour.invite(tags=["attic"]))
    leaving = Agent.fresh("pi-2")
    harbour.enrol(leaving)
    _leave(harbour, "pi-2")
    return harbour


def _leave(harbour: Federation, name: str) -> None:
    """As the desk enters it; what the device signed does not matter here."""
    from skerry.server.registry.enrolled import add_departure

    with harbour.office.registry.writing() as base:
        add_departure(base, harbour.office.find(name).id, b"signed", NOW)


def contents(folder: Path) -> dict[str, list[tuple]]:
    """All rows, by table."""

    def work(base) -> dict[str, list[tuple]]:
        tables = METADATA.sorted_tables
        return {one.name: list(map(tuple, base.execute(select(one).order_by(*one.primary_key)))) for one in tables}

    return database_of(folder).read(work)


def in_old(folder: Path, version: int, today: Path) -> None:
    """A file of an older schema that holds what today's has in the tables which that one knew."""
    folder.mkdir()
    with closing(sqlite3.connect(folder / "registry.sqlite", isolation_level=None)) as base:
        base.executescript(f"{WAL_AND_NAME} {as_told(version)}")
        base.execute("attach ? as today", (str(today / "registry.sqlite"),))
        for table in METADATA.sorted_tables:
            columns = [row[1] for row in base.execute(f"pragma main.table_info({table.name})")]
            if columns:
                named = ", ".join(f'"{one}"' for one in columns)
                base.execute(f"insert into main.{table.name} ({named}) select {named} from today.{table.name}")
        base.execute(f"pragma user_version = {version}")


def version(folder: Path) -> int:
    with closing(sqlite3.connect(folder / "registry.sqlite")) as base:
        return base.execute("pragma user_version").fetchone()[0]


@pytest.mark.parametrize("old", OLDER)
def test_a_file_of_each_older_schema_opens_with_its_rows(tmp_path: Path, old: int) -> None:
    lived_in(tmp_path / "today")
    before = contents(tmp_path / "today")
    in_old(tmp_path / "old", old, tmp_path / "today")
    after = contents(tmp_path / "old")
    assert version(tmp_path / "old") == SCHEMA
    kept = {name for name, rows in before.items() if migrations._BROUGHT.get(name, OLDEST) <= old}
    assert {name for name, rows in after.items() if rows} == kept
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}
    assert all(before.values()), "every table was tried with rows"


@pytest.mark.usefixtures("both")
@pytest.mark.parametrize("old", OLDER)
def test_down_and_up_again_loses_what_the_older_schema_has_no_place_for_and_nothing_else(
    tmp_path: Path, old: int
) -> None:
    lived_in(tmp_path)
    before, database = contents(tmp_path), database_of(tmp_path)
    lost = database.read(lambda base: lost_below(base, old))
    database.downgrade(old)
    assert raw_version(database) == old
    after = contents(tmp_path)
    assert {name for name, rows in before.items() if after[name] != rows} == lost.keys()
    assert {name: len(before[name]) for name in lost} == lost
    assert not any(after[name] for name in lost)
    assert raw_version(database) == SCHEMA
    for table in METADATA.sorted_tables:
        assert guards(tmp_path, table.name) >= 3
    harbour = Federation(tmp_path / "anew", name="anew") if old == OLDEST else None
    assert harbour is None or harbour.enrol(Agent.fresh("pi-9")), "what was brought anew works"


def raw_version(database) -> int:
    engine = database._engine if isinstance(database, RegistryFile) else database._line._engine
    with engine.connect() as base:
        return version_of(base)


@pytest.mark.usefixtures("both")
@pytest.mark.parametrize("old", [None, OLDEST])
def test_what_the_migrations_arrive_at_is_what_a_new_registry_has(tmp_path: Path, old: int | None) -> None:
    database = database_of(tmp_path)
    database.ensure()
    if old is not None:
        database.downgrade(old)

    def differences(base) -> list:
        context = MigrationContext.configure(base, opts={"compare_type": True, "compare_server_default": True})
        return compare_metadata(context, METADATA)

    assert database.read(differences) == []


def test_the_newest_migration_is_the_schema_that_is_written() -> None:
    scripts = ScriptDirectory(str(Path(migrations.__file__).parent))
    assert scripts.get_heads() == [str(SCHEMA)]
    assert [one.revision for one in scripts.walk_revisions()] == [str(n) for n in range(SCHEMA, 0, -1)]


def test_certificates_stay_in_the_order_that_they_were_issued_in(tmp_path: Path) -> None:
    """Schema 4 told it by the time, and within a millisecond by SQLite's row numbers."""
    harbour = Federation(tmp_path / "today")
    harbour.enrol(Agent.fresh("pi-1"))
    in_old(tmp_path / "old", 4, tmp_path / "today")
    later = {b"\xff" * 20: NOW + 5, b"\x00" * 20: NOW + 5, b"\x77" * 20: NOW + 1}
    with closing(sqlite3.connect(tmp_path / "old" / "registry.sqlite", isolation_level=None)) as base:
        for serial, at in later.items():
            base.execute(
                "insert into certificate values (?, 1, ?, ?, ?, ?)", (serial, at, NOW + 10**9, b"attempt", b"der")
            )
    (entry,) = Office(tmp_path / "old").enrolled()
    assert entry.certificate.serial == b"\x00" * 20  # issued last of those at the latest time
    numbers = database_of(tmp_path / "old").read(
        lambda base: base.execute(select(certificates.c.serial).order_by(certificates.c.number)).scalars().all()
    )
    assert numbers[1:] == [b"\x77" * 20, b"\xff" * 20, b"\x00" * 20]


def test_a_device_enrolled_before_it_could_say_what_it_opens_has_the_cipher_of_everybody(tmp_path: Path) -> None:
    harbour = Federation(tmp_path / "today")
    member = harbour.enrol(Agent.fresh("pi-1"))
    in_old(tmp_path / "old", 2, tmp_path / "today")
    (entry,) = Office(tmp_path / "old").enrolled()
    assert (entry.certificate.expires, entry.ciphers) == (
        round(1000 * member.certificate.not_valid_after_utc.timestamp()),
        (Cipher.AES_256_GCM,),
    )


def test_enrolment_works_beside_what_yesterday_wrote(tmp_path: Path) -> None:
    lived_in(tmp_path / "today")
    in_old(tmp_path / "old", 1, tmp_path / "today")
    registry = Registry(tmp_path / "old")
    registry.record(LAB, "run-2", [judged(1, *accepted(1, "old"))])
    assert registry.standing(registry.find("old"), NOW, 30.0).judged == 2
    assert registry.quarantined(LAB)["old"].why == "stolen"
    assert Federation(tmp_path / "old").enrol(Agent.fresh("pi-7"))


@pytest.mark.usefixtures("both")
def test_rows_are_guarded_in_tables_that_a_migration_brought(tmp_path: Path) -> None:
    database = database_of(tmp_path)
    database.ensure()
    database.downgrade(OLDEST)
    lived_in(tmp_path)
    for table in METADATA.sorted_tables:
        for change in (delete(table), update(table).values({list(table.c)[-1]: None})):
            with pytest.raises(RegistryError, match="only grows"), database.writing() as base:
                base.execute(change)


def test_a_step_that_fails_leaves_the_old_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lived_in(tmp_path / "today")
    in_old(tmp_path / "old", 1, tmp_path / "today")
    brought = registry_file.bring

    def interrupted(base, to: int) -> None:
        brought(base, to)
        raise RuntimeError("the power went")

    monkeypatch.setattr(registry_file, "bring", interrupted)
    with pytest.raises(RuntimeError):
        Registry(tmp_path / "old").standings(NOW, 30.0)
    assert version(tmp_path / "old") == 1
    with closing(sqlite3.connect(tmp_path / "old" / "registry.sqlite")) as base:
        assert base.execute("select count(*) from sqlite_master where name = 'enrolment'").fetchone() == (0,)
    monkeypatch.undo()
    assert Registry(tmp_path / "old").find("old").name == "old"


def test_an_old_file_that_cannot_be_brought_up_to_date_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lived_in(tmp_path / "today")
    in_old(tmp_path / "old", 1, tmp_path / "today")
    brought = registry_file.bring

    def full(base, to: int) -> None:
        base.exec_driver_sql("pragma query_only = on")
        brought(base, to)

    monkeypatch.setattr(registry_file, "bring", full)
    with pytest.raises(RegistryError, match="cannot be opened"):
        Registry(tmp_path / "old").standings(NOW, 30.0)
    assert version(tmp_path / "old") == 1


@pytest.mark.usefixtures("both")
def test_a_registry_of_a_newer_skerry_is_refused_and_left_alone(tmp_path: Path) -> None:
    registry, database = Registry(tmp_path), database_of(tmp_path)
    registry.record(LAB, "run-1", [judged(1, *accepted(1, "good"))])
    with database.writing() as base:
        migrations.stamp(base, SCHEMA + 1)
        if isinstance(database, RegistryFile):
            base.exec_driver_sql(f"pragma user_version = {SCHEMA + 1}")
    for use in (
        lambda: registry.standings(NOW, 30.0),
        lambda: registry.record(LAB, "run-2", [judged(1, *accepted(1, "good"))]),
        lambda: database.downgrade(1),
    ):
        with pytest.raises(RegistryError, match=rf"newer skerry \(schema {SCHEMA + 1}; this one knows {SCHEMA}\)"):
            use()
    assert raw_version(database) == SCHEMA + 1


def _open(folder: Path, go) -> None:
    go.wait()
    assert len(Registry(folder).standings(NOW, 30.0)) >= 2


@pytest.mark.usefixtures("both")
def test_processes_that_open_an_older_registry_at_once_bring_it_up_once(tmp_path: Path) -> None:
    lived_in(tmp_path)
    before = database_of(tmp_path).read(rows_of)
    database_of(tmp_path).downgrade(4)
    context = multiprocessing.get_context("fork")
    go = context.Event()
    openers = [context.Process(target=_open, args=(tmp_path, go)) for _ in range(3)]
    for opener in openers:
        opener.start()
    go.set()
    for opener in openers:
        opener.join(180)
        assert opener.exitcode == 0
    assert database_of(tmp_path).read(rows_of) == before


@pytest.mark.usefixtures("both")
def test_a_row_that_is_entered_twice_at_once_is_refused_by_the_database(tmp_path: Path) -> None:
    lived_in(tmp_path)
    twice = {"kind": "real", "scope": "harbour", "name": "pi-1", "first_seen": 1}
    database = database_of(tmp_path)
    before = database.read(rows_of)
    if isinstance(database, RegistryFile):  # the guard of replacements leaves the row as it is
        with database.writing() as base:
            base.execute(insert(devices), twice)
    else:
        with pytest.raises(RegistryError, match="duplicate key"), database.writing() as base:
            base.execute(insert(devices), twice)
    assert database.read(rows_of) == before
