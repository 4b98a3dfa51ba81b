"""A run that lost its servers asks the next one ever more rarely, and says once that it waits."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from skerry.errors import ServerLostError
from skerry.server.engines import fleet

SERVER = object()
GONE = ServerLostError("the server is gone", mend="start it")


class Folder:
    """A run of which a test says how many rounds are finished; ``said`` is what the owner hears."""

    def __init__(self, path: Path) -> None:
        self.path, self.finished, self.said = path / "run-1", 0, []

    def rounds(self) -> list[int]:
        return list(range(self.finished))

    def notify(self, what: str) -> None:
        self.said.append(what)

    def mark(self, state: str, **_: object) -> None:
        assert state == "preparing"


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that were waited, which pass at once."""
    waits: list[float] = []
    monkeypatch.setattr(fleet, "time", SimpleNamespace(sleep=waits.append, monotonic=lambda: sum(waits)))
    return waits


def test_a_server_that_is_up_and_refuses_is_asked_ever_more_rarely_and_told_of_once(
    tmp_path: Path, slept: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet.RunningServer, "read", lambda _: SERVER)
    folder = Folder(tmp_path)
    patience = fleet._Patience(folder)
    asked = 0
    while patience.another(GONE) is SERVER:
        asked += 1
    assert slept[0] <= 1
    assert asked < 100  # within ten minutes
    assert max(slept) <= 10
    assert len(folder.said) == 1


def test_after_a_round_was_finished_it_is_patient_again(
    tmp_path: Path, slept: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet.RunningServer, "read", lambda _: SERVER)
    folder = Folder(tmp_path)
    patience = fleet._Patience(folder)
    for _ in range(5):
        patience.another(GONE)
    folder.finished, before = 1, len(slept)
    assert patience.another(GONE) is SERVER
    assert slept[before:] == slept[:1]
    assert len(folder.said) == 2


def test_a_server_that_comes_is_found_soon_and_none_that_never_comes(
    tmp_path: Path, slept: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet.RunningServer, "read", lambda _: SERVER if sum(slept) >= 100 else None)
    assert fleet._Patience(Folder(tmp_path)).another(GONE) is SERVER
    assert sum(slept) <= 101
    slept.clear()
    monkeypatch.setattr(fleet.RunningServer, "read", lambda _: None)
    assert fleet._Patience(Folder(tmp_path)).another(GONE) is None
    assert 590 <= sum(slept) <= 610
