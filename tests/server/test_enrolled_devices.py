"""Who is in good standing at this moment, as servers ask for each call."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

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
