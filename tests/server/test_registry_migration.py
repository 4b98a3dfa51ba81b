"""A registry of an older skerry opens, keeps its rows and triggers, and is brought up to date whole or not at all."""

import sqlite3
from pathlib import Path

import pytest

from skerry.errors import RegistryError
from skerry.security.aead import Cipher
from skerry.server.enrolment import Office
from skerry.server.registry import Registry
from skerry.server.registry import file as registry_file
from skerry.server.registry.tables import SCHEMA

from ._enrolment import Agent, Federation
from ._registry import LAB, NOW, accepted, judged

# as those versions' SQLite told it
YESTERDAY, SECOND = (Path(__file__).with_name(f"registry_schema_{version}.sql") for version in (1, 2))


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A registry of schema 1 with a device that was accepted once and is in quarantine."""
    path = tmp_path / "registry.sqlite"
    base = sqlite3.connect(path)
    base.executescript(f"pragma journal_mode = wal; {YESTERDAY.read_text('utf-8')}")
    base.executescript(
        f"""
        pragma application_id = {0x736B6572}; pragma user_version = 1;
        insert into device values (1, 'simulated', '{LAB.name}', 'old', {NOW});
        insert into run values (1, 'run-1', {NOW});
        insert into outcome values (1, 1, 1, {NOW}, 'accept', null, null, null, null);
        insert into decision values (1, 1, {NOW}, 'quarantine', 'ann', 'stolen', null, null, null);
        """
    )
    base.close()
    return path


def version(path: Path) -> int:
    with sqlite3.connect(path) as base:
        return base.execute("pragma user_version").fetchone()[0]


def test_what_yesterday_wrote_is_there_today_and_enrolment_works_beside_it(old: Path) -> None:
    registry = Registry(old.parent)
    assert registry.standing(registry.find("old"), NOW, 30.0).judged == 1
    assert registry.quarantined(LAB)["old"].why == "stolen"
    assert version(old) == SCHEMA
    registry.record(LAB, "run-2", [judged(1, *accepted(1, "old"))])
    harbour = Federation(old.parent)
    assert harbour.enrol(Agent.fresh("pi-1"))
    assert [one.device.name for one in registry.standings(NOW, 30.0)] == ["pi-1", "old"]


def test_the_first_to_look_may_be_the_office(old: Path) -> None:
    assert Office(old.parent).enrolled() == []
    assert version(old) == SCHEMA


def test_a_device_enrolled_before_it_could_say_what_it_opens_has_the_cipher_of_everybody(tmp_path: Path) -> None:
    today = Federation(tmp_path / "today")
    agent = Agent.fresh("pi-1")
    member = today.enrol(agent)
    old = tmp_path / "old" / "registry.sqlite"
    old.parent.mkdir()
    with sqlite3.connect(old) as base:
        base.executescript(f"pragma journal_mode = wal; {SECOND.read_text('utf-8')}")
        base.execute("attach ? as today", (str(today.office.file.path),))
        for table in ("device", "invite", "enrolment", "admission", "kem_key", "certificate"):
            base.execute(f"insert into main.{table} select * from today.{table}")
        base.commit()
        base.executescript(f"pragma application_id = {0x736B6572}; pragma user_version = 2;")
    (entry,) = Office(old.parent).enrolled()
    assert (entry.certificate.expires, entry.ciphers) == (
        round(1000 * member.certificate.not_valid_after_utc.timestamp()),
        (Cipher.AES_256_GCM,),
    )
    assert version(old) == SCHEMA == 4


@pytest.mark.parametrize(
    "table",
    ["device", "outcome", "capability", "invite", "invite_tag", "enrolment", "kem_key", "certificate", "tagging"],
)
def test_rows_are_guarded_in_old_and_new_tables(old: Path, table: str) -> None:
    harbour = Federation(old.parent)
    harbour.enrol(Agent.fresh("pi-1"), harbour.invite(tags=["attic"]))
    with sqlite3.connect(old) as base, pytest.raises(sqlite3.IntegrityError, match="only grows"):
        base.execute(f"delete from {table}")


def test_a_step_that_fails_leaves_the_old_file_as_it_was(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = registry_file.create

    def interrupted(base, *, have: int = 0) -> None:
        made(base, have=have)
        raise RuntimeError("the power went")

    monkeypatch.setattr(registry_file, "create", interrupted)
    with pytest.raises(RuntimeError):
        Registry(old.parent).standings(NOW, 30.0)
    assert version(old) == 1
    with sqlite3.connect(old) as base:
        assert base.execute("select count(*) from sqlite_master where name = 'enrolment'").fetchone() == (0,)
    monkeypatch.undo()
    assert Registry(old.parent).find("old").name == "old"


def test_an_old_file_that_cannot_be_brought_up_to_date_says_so(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(base, *, have: int = 0) -> None:
        base.exec_driver_sql("pragma query_only = on")
        made(base, have=have)

    made = registry_file.create
    monkeypatch.setattr(registry_file, "create", full)
    with pytest.raises(RegistryError, match="cannot be opened"):
        Registry(old.parent).standings(NOW, 30.0)
    assert version(old) == 1
