"""A registry in PostgreSQL: passwords stay secret, what is lost is told and asked again, and nobody has two."""

import json
import os
import signal
import sqlite3
import threading
import traceback
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psutil
import pytest
from sqlalchemy import Connection, make_url, text

from skerry.clock import system_clock
from skerry.errors import InputError, RegistryError
from skerry.server import enrolled_devices
from skerry.server.backup import make_backup
from skerry.server.console.device_facts import DeviceFacts
from skerry.server.enrolled_devices import RegistryDevices
from skerry.server.registry import Registry, postgresql_line
from skerry.server.registry import postgresql as postgresql_registry
from skerry.server.registry.copying import rows_of
from skerry.server.registry.place import NOTE, database_of
from skerry.server.registry.postgresql import PostgresqlRegistry
from skerry.server.restoring import restore_backup
from tests._postgresql import PASSWORD, Postgresql, postgresql_server

from ._enrolment import Agent, Federation
from ._registry import LAB, NOW, accepted, judged

ROUND = [judged(1, *accepted(1, "good"))]


@pytest.fixture
def told(postgresql: Postgresql, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL that SKERRY_REGISTRY names."""
    url = postgresql.schema()
    monkeypatch.setenv("SKERRY_REGISTRY", url)
    return url


@pytest.fixture(scope="module")
def restless() -> Iterator[Postgresql]:
    """A server that a test may stop and start."""
    with postgresql_server() as server:
        yield server


def reached(url: str, pause=lambda _: None) -> PostgresqlRegistry:
    return PostgresqlRegistry(make_url(url).set(drivername="postgresql+psycopg"), pause=pause)


def schema_of(url: str) -> str:
    return url.rpartition("%3D")[2]


def test_the_password_is_in_no_file_and_in_no_word_of_ours(told: str, tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    registry.record(LAB, "run-1", ROUND)
    assert PASSWORD in told
    assert "skerry@/postgres" in registry.where
    said = [registry.where, repr(registry), repr(registry._database), (tmp_path / NOTE).read_text()]
    for wrong in (told.replace(PASSWORD, "not-" + PASSWORD), told.replace("/postgres", "/no-such-database")):
        with pytest.raises(RegistryError, match="cannot be used") as error:
            reached(wrong).ensure()
        said += traceback.format_exception(error.value)
    with pytest.raises(RegistryError) as error, database_of(tmp_path).writing() as base:
        base.execute(text("select cast(:secret as integer)"), {"secret": "a device key"})
    told_of = traceback.format_exception(error.value)
    assert not [words for words in said + told_of if PASSWORD in words]
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and PASSWORD.encode() in path.read_bytes()]


def test_a_folder_knows_its_registry_and_takes_the_password_from_a_file(
    told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = tmp_path / "runs"
    Registry(runs).record(LAB, "run-1", ROUND)
    monkeypatch.delenv("SKERRY_REGISTRY")
    (tmp_path / "password").write_text(PASSWORD + "\n")
    monkeypatch.setenv("SKERRY_REGISTRY_PASSWORD_FILE", str(tmp_path / "password"))
    assert Registry(runs).find("good").name == "good"
    assert not (runs / "registry.sqlite").exists()


def test_nobody_has_two_registries(
    postgresql: Postgresql, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Registry(tmp_path).record(LAB, "run-1", ROUND)
    monkeypatch.setenv("SKERRY_REGISTRY", postgresql.schema())
    with pytest.raises(RegistryError, match="the registry of this folder is") as error:
        Registry(tmp_path)
    assert "fleet_" in str(error.value)
    monkeypatch.delenv("SKERRY_REGISTRY")
    Registry(tmp_path / "file").record(LAB, "run-1", ROUND)
    monkeypatch.setenv("SKERRY_REGISTRY", told)
    with pytest.raises(RegistryError, match=r"registry\.sqlite") as error:
        Registry(tmp_path / "file")
    assert "server registry move" in error.value.mend


@pytest.mark.parametrize(
    "url",
    [
        "mysql://h/d",
        "fleet",
        "postgresql+asyncpg://u:{}@h/d",
        "http://u:{}@h",
        "postgresql://u@h:{}/d",
    ],
)
def test_what_is_no_url_of_postgresql_is_refused_without_being_repeated(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SKERRY_REGISTRY", url.format(PASSWORD))
    with pytest.raises(InputError, match="no URL") as error:
        Registry(tmp_path)
    assert PASSWORD not in str(error.value)


def test_a_folder_is_not_tied_to_a_database_that_could_not_be_used(
    told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SKERRY_REGISTRY", told.replace("/postgres", "/no-such-database"))
    with pytest.raises(RegistryError, match="cannot be used"):
        Registry(tmp_path).record(LAB, "run-1", ROUND)
    monkeypatch.setenv("SKERRY_REGISTRY", told)
    Registry(tmp_path).record(LAB, "run-1", ROUND)
    assert Registry(tmp_path).find("good").name == "good"


def test_looking_makes_nothing(postgresql: Postgresql, told: str, tmp_path: Path) -> None:
    assert Registry(tmp_path / "runs").standings(NOW, 30.0) == []
    assert not (tmp_path / "runs").exists()
    assert postgresql.ask(f"select count(*) from pg_tables where schemaname = '{schema_of(told)}'") == [(0,)]


def test_other_programs_tables_are_left_alone(postgresql: Postgresql, told: str, tmp_path: Path) -> None:
    name = schema_of(told)
    postgresql.ask(f"create table {name}.alembic_version as select '3f' as version_num")
    with pytest.raises(RegistryError, match="not a registry"):
        Registry(tmp_path).record(LAB, "run-1", ROUND)
    postgresql.ask(f"drop table {name}.alembic_version")
    postgresql.ask(f"create table {name}.device (id int)")
    with pytest.raises(RegistryError, match="not a registry"):
        Registry(tmp_path).record(LAB, "run-1", ROUND)


def test_a_read_whose_connection_is_lost_is_done_again(postgresql: Postgresql, told: str) -> None:
    registry, tries = reached(told), []
    registry.ensure()

    def work(base) -> dict[str, int]:
        tries.append(1)
        if len(tries) == 1:
            (mine,) = base.exec_driver_sql("select pg_backend_pid()").one()
            postgresql.ask(f"select pg_terminate_backend({mine})")
        return rows_of(base)

    assert set(registry.read(work).values()) == {0}
    assert len(tries) == 2


def test_a_change_whose_connection_is_lost_is_told_and_not_repeated(postgresql: Postgresql, told: str) -> None:
    registry = reached(told)
    registry.ensure()

    def change() -> None:
        with registry.writing() as base:
            (mine,) = base.exec_driver_sql("select pg_backend_pid()").one()
            base.exec_driver_sql("insert into run (name, at) values ('r', 1)")
            postgresql.ask(f"select pg_terminate_backend({mine})")

    with pytest.raises(RegistryError, match="does not answer") as error:
        change()
    assert "look whether it was taken" in error.value.mend
    assert registry.read(rows_of)["run"] == 0


def test_a_server_that_restarts_costs_a_wait_and_a_gateway_goes_on(restless: Postgresql) -> None:
    waited: list[float] = []

    def pause(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 1:
            restless.start()

    registry = reached(restless.schema(), pause)
    registry.ensure()
    watch = registry.watch()
    assert watch.changed()
    assert not watch.changed()
    restless.stop()
    assert registry.read(rows_of)["run"] == 0
    assert waited[:1] == [0.2]
    watch.changed()  # on a connection made anew
    with registry.writing() as base:
        base.exec_driver_sql("insert into device (kind, scope, name, first_seen) values ('real', 'h', 'pi', 1)")
    assert watch.changed()
    assert watch.knows("pi")
    watch.close()


@contextmanager
def hanging(server: Postgresql) -> Iterator[None]:
    """Every process of the server is stopped: what connects is taken, and nobody answers."""
    (main,) = (server.folder / "data" / "postmaster.pid").read_text().split()[:1]
    family = [psutil.Process(int(main)), *psutil.Process(int(main)).children()]
    for one in family:
        one.suspend()
    try:
        yield
    finally:
        for one in family:
            one.resume()


def test_a_server_that_hangs_is_an_error_for_all_who_wait_and_nobody_hangs_with_it(
    restless: Postgresql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql_registry, "_WATCH_S", 0.3)
    monkeypatch.setattr(postgresql_registry, "_READ_S", 0.3)
    monkeypatch.setattr(postgresql_line, "_ENOUGH_S", 0.0)
    monkeypatch.setattr(enrolled_devices, "_TURN_S", 0.1)
    registry = reached(restless.schema())
    devices = RegistryDevices(registry, "harbour", system_clock)
    assert devices.find("pi") is None
    errors: list[str] = []

    def ask() -> None:
        with pytest.raises(RegistryError, match="does not answer") as error:
            devices.find("pi")
        errors.append(error.value.what)

    threads = [threading.Thread(target=ask, daemon=True) for _ in range(3)]
    with hanging(restless):
        for one in threads:
            one.start()
        for one in threads:
            one.join(180)
        assert not any(one.is_alive() for one in threads)
    assert sorted("others wait" in one for one in errors) == [False, True, True]
    stopped: list[int] = []

    def hang(base: Connection) -> None:
        stopped.append(base.exec_driver_sql("select pg_backend_pid()").scalar_one())
        os.kill(stopped[-1], signal.SIGSTOP)
        base.exec_driver_sql("select 1")

    try:
        with pytest.raises(RegistryError, match="nothing came"):
            registry.read(hang)
    finally:
        for one in stopped:
            os.kill(one, signal.SIGCONT)
    assert devices.find("pi") is None, "as soon as it answers"
    devices.close()


def test_a_server_that_stays_away_is_told_with_a_hint(tmp_path: Path) -> None:
    waited: list[float] = []
    registry = reached(f"postgresql://skerry:{PASSWORD}@/fleet?host={tmp_path}", waited.append)
    with pytest.raises(RegistryError, match="does not answer") as error:
        registry.ensure()
    assert "SKERRY_REGISTRY" in error.value.mend
    assert waited == [0.2, 1.0, 3.0]
    assert PASSWORD not in "".join(traceback.format_exception(error.value))


def test_writers_come_one_after_another_and_each_sees_what_was_before(told: str) -> None:
    """What is looked up and what is entered because of it are never apart: an invite for one lets one in."""
    registry = reached(told)
    registry.ensure()

    def enter() -> None:
        for _ in range(5):
            with registry.writing() as base:
                before = base.exec_driver_sql("select count(*) from run").scalar_one()
                base.exec_driver_sql("insert into run (name, at) values (%s, 1)", (f"after {before}",))

    threads = [threading.Thread(target=enter) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    names = registry.read(lambda base: base.exec_driver_sql("select name from run order by id").scalars().all())
    assert names == [f"after {number}" for number in range(20)]


def test_a_backup_of_it_comes_back_as_a_file(told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs, back, words = tmp_path / "runs", tmp_path / "back", b"a passphrase of some length"
    harbour = Federation(runs)
    harbour.enrol(Agent.fresh("pi-1"))
    Registry(runs).record(LAB, "run-1", ROUND)
    before = database_of(runs).read(rows_of)
    keys = [one.device_key for one in harbour.office.enrolled()]
    make_backup(runs, tmp_path / "b", words, now=system_clock())
    restore_backup(tmp_path / "b", back, words, now=system_clock())
    monkeypatch.delenv("SKERRY_REGISTRY")
    assert not (back / NOTE).exists()
    file = back / "registry.sqlite"
    assert file.stat().st_mode & 0o077 == 0
    with closing(sqlite3.connect(file)) as base:
        assert base.execute("pragma integrity_check").fetchone() == ("ok",)
        assert base.execute("pragma journal_mode").fetchone() == ("wal",)
        assert [key for (key,) in base.execute("select device_key from enrolment")] == keys
    assert database_of(back).read(rows_of) == before
    assert Registry(back).find("good").name == "good"


def test_where_it_is_is_noted_and_a_note_that_cannot_be_read_is_told(
    told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Registry(tmp_path).record(LAB, "run-1", ROUND)
    assert json.loads((tmp_path / NOTE).read_bytes())["registry"].startswith("postgresql://skerry@/postgres?")
    monkeypatch.delenv("SKERRY_REGISTRY")
    (tmp_path / NOTE).write_text("{")
    with pytest.raises(RegistryError, match="cannot be read where"):
        Registry(tmp_path)


def test_the_console_sees_at_its_next_look_what_somebody_else_wrote(told: str, tmp_path: Path) -> None:
    harbour = Federation(tmp_path)
    harbour.enrol(Agent.fresh("pi-1"))
    facts = DeviceFacts(tmp_path, lambda: NOW, now=lambda: 0.0)
    assert dict(facts.look(()))["device/real/harbour/pi-1"]["state"] == "idle"
    harbour.office.revoke(harbour.office.find("pi-1"), by="ann", why="lost", now=NOW)
    assert dict(facts.look(()))["device/real/harbour/pi-1"]["state"] == "revoked"
