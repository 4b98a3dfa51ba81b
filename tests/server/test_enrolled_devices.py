"""Who is in good standing at this moment, as servers ask for each call."""

import sqlite3
from contextlib import closing
from pathlib import Path

from skerry.server.enrolled_devices import RegistryDevices

from ._enrolment import NOW, Agent, Federation


def test_a_registry_that_was_put_in_its_place_is_looked_at_anew(harbour: Federation, tmp_path: Path) -> None:
    harbour.enrol(Agent.fresh("pi-1"))
    devices = RegistryDevices(harbour.office.file, "harbour", lambda: NOW)
    assert devices.find("pi-1")
    with closing(sqlite3.connect(harbour.office.file.path)) as source, closing(sqlite3.connect(tmp_path / "c")) as copy:
        source.backup(copy)
    (tmp_path / "c").replace(harbour.office.file.path)
    assert devices.find("pi-1")
    harbour.office.revoke(harbour.office.find("pi-1"), by="ann", why="stolen", now=NOW)
    assert devices.find("pi-1") is None
    devices.close()
