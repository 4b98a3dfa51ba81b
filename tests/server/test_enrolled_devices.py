"""Who is in good standing at this moment, as servers ask for each call."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import Event

import pytest

from skerry.errors import RegistryError
from skerry.security.certificates import Role
from skerry.server import enrolled_devices
from skerry.server.enrolled_devices import RegistryDevices

from ._enrolment import NOW, Agent, Federation


@pytest.mark.usefixtures("both")
def test_a_revocation_counts_at_once_whoever_made_it(harbour: Federation) -> None:
    harbour.enrol(Agent.fresh("pi-1"))
    devices = RegistryDevices(harbour.office.registry, "harbour", lambda: NOW)
    assert devices.find("pi-1")
    assert devices.find("pi-2") is None
    harbour.enrol(Agent.fresh("pi-2"))
    assert devices.find("pi-2")
    harbour.office.revoke(harbour.office.find("pi-1"), by="ann", why="stolen", now=NOW)
    assert devices.find("pi-1") is None
    assert devices.find("pi-2")
    devices.close()


@pytest.mark.usefixtures("both")
def test_nothing_is_read_anew_while_nothing_changes(harbour: Federation, monkeypatch: pytest.MonkeyPatch) -> None:
    harbour.enrol(Agent.fresh("pi-1"))
    registry = harbour.office.registry
    devices = RegistryDevices(registry, "harbour", lambda: NOW)
    assert devices.find("pi-1")
    monkeypatch.setattr(registry, "read", lambda work: pytest.fail("read anew"))
    assert devices.find("pi-1")
    devices.close()


@pytest.mark.usefixtures("both")
def test_at_first_and_after_a_change_all_who_come_are_read_together(
    harbour: Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"pi-{number}" for number in range(1, 7)]
    for name in names:
        harbour.enrol(Agent.fresh(name))
    registry, reads = harbour.office.registry, []
    read = registry.read
    devices = RegistryDevices(registry, "harbour", lambda: NOW)
    monkeypatch.setattr(registry, "read", lambda work: reads.append(work) or read(work))
    assert all(devices.find(name) for name in names)
    assert len(reads) == 1
    monkeypatch.setattr(registry, "read", read)
    harbour.office.revoke(harbour.office.find("pi-3"), by="ann", why="stolen", now=NOW)
    monkeypatch.setattr(registry, "read", lambda work: reads.append(work) or read(work))
    assert [name for name in names if devices.find(name)] == [name for name in names if name != "pi-3"]
    assert len(reads) == 2
    devices.close()


def test_who_is_no_member_any_more_is_read_once_and_then_forgotten(
    harbour: Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("pi-1", "pi-2"):
        harbour.enrol(Agent.fresh(name))
    asked: list[set[str]] = []
    real = enrolled_devices.enrolled
    devices = RegistryDevices(harbour.office.registry, "harbour", lambda: NOW)
    assert devices.find("pi-2")
    monkeypatch.setattr(
        enrolled_devices,
        "enrolled",
        lambda base, *, scope, names: asked.append(set(names)) or real(base, scope=scope, names=names),
    )
    harbour.office.revoke(harbour.office.find("pi-1"), by="ann", why="stolen", now=NOW)
    assert devices.find("pi-2")
    harbour.enrol(Agent.fresh("pi-3"))
    assert devices.find("pi-2")
    assert devices.find("pi-1") is None
    assert asked == [{"pi-1", "pi-2"}, {"pi-2"}, {"pi-1"}]
    devices.close()


def test_a_registry_that_was_put_in_its_place_is_looked_at_anew(harbour: Federation, tmp_path: Path) -> None:
    harbour.enrol(Agent.fresh("pi-1"))
    file = harbour.folder / "registry.sqlite"
    devices = RegistryDevices(harbour.office.registry, "harbour", lambda: NOW)
    assert devices.find("pi-1")
    with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(tmp_path / "c")) as copy:
        source.backup(copy)
    (tmp_path / "c").replace(file)
    assert devices.find("pi-1")
    harbour.office.revoke(harbour.office.find("pi-1"), by="ann", why="stolen", now=NOW)
    assert devices.find("pi-1") is None
    devices.close()


def test_who_was_read_is_known_at_once_until_anybody_changes_anything(harbour: Federation) -> None:
    for name in ("pi-1", "pi-2"):
        harbour.enrol(Agent.fresh(name))
    now = [NOW]
    devices = RegistryDevices(harbour.office.registry, "harbour", lambda: now[0])
    assert devices.at_once("pi-1") is None
    assert devices.find("pi-1")
    assert devices.at_once("pi-1") == devices.find("pi-1")
    assert devices.at_once("pi-1", {Role.AUDITOR}) is None
    assert devices.at_once("pi-3") is None
    harbour.office.revoke(harbour.office.find("pi-1"), by="ann", why="stolen", now=NOW)
    assert devices.at_once("pi-1") is None
    assert devices.at_once("pi-2") is None
    assert devices.find("pi-1") is None
    assert devices.at_once("pi-1") is None
    assert devices.at_once("pi-2") == devices.find("pi-2")
    now[0] += 10 * 366 * 24 * 3_600_000
    assert devices.at_once("pi-2") is None, "its certificate has expired"
    devices.close()


def test_nobody_is_known_at_once_while_another_thread_reads(
    harbour: Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("pi-1", "pi-2"):
        harbour.enrol(Agent.fresh(name))
    registry, reads, go_on = harbour.office.registry, Event(), Event()
    devices = RegistryDevices(registry, "harbour", lambda: NOW)
    assert devices.find("pi-1")
    harbour.enrol(Agent.fresh("pi-3"))
    read = registry.read
    monkeypatch.setattr(registry, "read", lambda work: (reads.set(), go_on.wait(180), read(work))[-1])
    with ThreadPoolExecutor(1) as other:
        found = other.submit(devices.find, "pi-3")
        try:
            assert reads.wait(180)
            assert devices.at_once("pi-1") is None
        finally:
            go_on.set()
        assert found.result(180)
    assert devices.at_once("pi-1")
    devices.close()


def test_a_registry_that_cannot_be_read_says_nothing_at_once(harbour: Federation) -> None:
    harbour.enrol(Agent.fresh("pi-1"))
    devices = RegistryDevices(harbour.office.registry, "harbour", lambda: NOW)
    assert devices.find("pi-1")
    (harbour.folder / "registry.sqlite").rename(harbour.folder / "gone.sqlite")
    assert devices.at_once("pi-1") is None
    with pytest.raises(RegistryError):
        devices.find("pi-1")
    devices.close()
