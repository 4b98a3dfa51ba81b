"""``skerry server registry``: where the registry is, moved into a database, and taken down to an older schema."""

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from skerry.errors import RegistryError
from skerry.records import Action, Verdict
from skerry.security.locking import exclusive
from skerry.server.registry import DeviceKind, JudgedRound, Registry, Scope, place
from skerry.server.registry.file import RegistryFile
from skerry.server.registry.tables import SCHEMA
from skerry.server.running import RunningServer
from tests._postgresql import PASSWORD, Postgresql
from tests.sample_run import build

LAB = Scope(DeviceKind.SIMULATED, "digits/digits")


def _round(name: str) -> JudgedRound:
    return JudgedRound(1, 1_764_000_000_000, [Verdict(1, name, Action.ACCEPT, (), ())])


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A folder of runs whose registry knows one device."""
    folder = tmp_path / "runs"
    Registry(folder).record(
        LAB, "run-1", [JudgedRound(1, 1_764_000_000_000, [Verdict(1, "pi", Action.ACCEPT, (), ())])]
    )
    return folder


def test_it_is_shown_before_and_after_it_was_begun(skerry, tmp_path: Path, runs: Path) -> None:
    told = json.loads(skerry("server", "registry", "show", "--runs-dir", str(tmp_path / "none"), "--json").stdout)
    assert (told["schema"], told["rows"]) == (None, {})
    assert not (tmp_path / "none").exists()
    told = json.loads(skerry("server", "registry", "show", "--runs-dir", str(runs), "--json").stdout)
    assert told["registry"] == str(runs / "registry.sqlite")
    assert (told["schema"], told["rows"]["device"]) == (5, 1)


def test_it_moves_into_a_database_and_every_command_finds_it_there(
    skerry, runs: Path, postgresql: Postgresql, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("--runs-dir", str(runs), "--json")
    assert skerry("server", "registry", "move", *words).exit_code == 2  # where to?
    monkeypatch.setenv("SKERRY_REGISTRY", postgresql.schema())
    refused = skerry("fleet", "list", *words)
    assert refused.exit_code == 1
    assert "server registry move" in json.loads(refused.stdout)["error"]["mend"]
    moved = skerry("server", "registry", "move", *words)
    assert moved.exit_code == 0, moved.output
    assert json.loads(moved.stdout)["rows"]["device"] == 1
    assert PASSWORD not in moved.output
    assert (runs / "registry.sqlite.moved").exists()
    assert not (runs / "registry.sqlite").exists()
    found = json.loads(skerry("fleet", "list", *words).stdout)
    assert [one["device"] for one in found["devices"]] == ["pi"]
    assert found["registry"].startswith("postgresql://skerry@")
    Registry(runs).record(LAB, "run-2", [_round("new")])  # new numbers
    assert skerry("fleet", "show", "new", *words).exit_code == 0


def test_it_is_never_mixed_with_another(
    skerry, tmp_path: Path, runs: Path, postgresql: Postgresql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SKERRY_REGISTRY", postgresql.schema())
    Registry(tmp_path / "other").record(LAB, "r", [_round("x")])
    refused = skerry("server", "registry", "move", "--runs-dir", str(runs))
    assert refused.exit_code == 1
    assert "never mixed" in refused.output
    assert (runs / "registry.sqlite").exists()
    assert not (runs / "registry.json").exists()


def test_a_move_that_was_killed_is_ended_by_the_next_with_or_without_the_variable(
    skerry, runs: Path, postgresql: Postgresql, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("--runs-dir", str(runs), "--json")
    monkeypatch.setenv("SKERRY_REGISTRY", postgresql.schema())
    (runs / "registry.json").write_text('{"registry": "postgresql://skerry@elsewhere/fleet"}')  # of an earlier try

    def killed(_: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", lambda self, _to: killed(self))
        assert skerry("server", "registry", "move", *words).exit_code != 0
    assert (runs / "registry.sqlite").exists()
    note = json.loads((runs / "registry.json").read_bytes())["registry"]
    assert "elsewhere" not in note
    refused = json.loads(skerry("fleet", "list", *words).stdout)["error"]
    assert "server registry move" in refused["mend"]
    monkeypatch.setenv("SKERRY_REGISTRY_PASSWORD_FILE", str(runs / "password"))
    (runs / "password").write_text(PASSWORD)
    monkeypatch.delenv("SKERRY_REGISTRY")
    assert "unset" not in json.loads(skerry("fleet", "list", *words).stdout)["error"]["mend"]
    moved = skerry("server", "registry", "move", *words)
    assert moved.exit_code == 0, moved.output
    assert json.loads(moved.stdout)["rows"]["device"] == 1
    assert [one["device"] for one in json.loads(skerry("fleet", "list", *words).stdout)["devices"]] == ["pi"]


def test_what_others_decide_during_a_move_is_entered_before_or_refused(
    runs: Path, postgresql: Postgresql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SKERRY_REGISTRY", postgresql.schema())
    other, refused, real = RegistryFile(runs / "registry.sqlite"), [], place._write_note

    def decide() -> None:
        try:
            with other.writing() as base:
                base.exec_driver_sql("insert into run (name, at) values ('late', 1)")
        except RegistryError as error:
            refused.append(error.what)

    deciding = threading.Thread(target=decide)

    def meanwhile(*given: Any) -> None:
        deciding.start()
        deciding.join(0.3)
        assert deciding.is_alive(), "it waits"
        real(*given)

    monkeypatch.setattr(place, "_write_note", meanwhile)
    place.move_to_postgresql(runs)
    deciding.join()
    assert len(refused) == 1
    assert "moved" in refused[0]


def test_going_down_says_what_is_lost_and_what_is_in_the_way(skerry, runs: Path) -> None:
    words = ("--runs-dir", str(runs), "--json")
    assert json.loads(skerry("server", "registry", "downgrade", "1", *words).stdout)["schema"] == 1
    for looks in (("server", "registry", "show"), ("top",), ("fleet", "show", "pi"), ("security", "keys", "status")):
        skerry(*looks, *words)
    shown = skerry("fleet", "list", *words)
    assert "older schema: the registry has 1" in json.loads(shown.stdout)["error"]["what"]
    assert json.loads(skerry("server", "registry", "show", *words).stdout)["schema"] == 1  # whoever looked left it
    told = skerry("server", "metrics", "--once", "--runs-dir", str(runs)).stdout
    assert 'skerry_unreadable{kind="registry"} 1.0' in told
    assert json.loads(skerry("server", "registry", "show", *words).stdout)["schema"] == 1
    kept = skerry("fleet", "quarantine", "pi", "--reason", "lost", *words)
    assert kept.exit_code == 0, kept.output
    assert json.loads(skerry("server", "registry", "show", *words).stdout)["schema"] == SCHEMA  # and up again
    assert skerry("server", "registry", "downgrade", "6", *words).exit_code == 2
    invited = skerry("fleet", "invite", "--class", "pi", "--address", "https://h:1", *words)
    assert invited.exit_code == 0, invited.output
    refused = skerry("server", "registry", "downgrade", "1", *words)
    assert refused.exit_code == 3
    assert "1 of invite" in json.loads(refused.stdout)["error"]["what"]
    assert json.loads(skerry("server", "registry", "show", *words).stdout)["rows"]["invite"] == 1
    told = skerry("server", "registry", "downgrade", "1", "--discard", *words)
    assert json.loads(told.stdout)["lost"] == {"invite": 1}


def test_nothing_is_moved_or_taken_down_while_it_is_used(skerry, runs: Path) -> None:
    under_way = build(runs, ("rounds=3",), state="running", rounds_done=1)
    refused = skerry("server", "registry", "downgrade", "4", "--runs-dir", str(runs), "--json")
    assert refused.exit_code == 3
    assert under_way.id in json.loads(refused.stdout)["error"]["what"]
    pid, born = RunningServer.ourselves()
    assert pid == os.getpid()
    (runs / "federation").mkdir(exist_ok=True)
    RunningServer(pid, born, "f", 1, {}, 1, "", "", "").write(runs / "federation" / "server.json")
    refused = skerry("server", "registry", "move", "--runs-dir", str(runs), "--json")
    assert f"process {pid}" in json.loads(refused.stdout)["error"]["what"]


def test_one_whose_process_cannot_be_seen_from_here_is_known_by_the_lock_that_it_holds(skerry, tmp_path: Path) -> None:
    path = tmp_path / "federation" / "server.json"
    server = RunningServer(2**22 + 1, "another container's", "harbour", 0, {}, 0, "", "", "")
    path.parent.mkdir()
    server.write(path)
    (tmp_path / "registry.sqlite").touch()
    assert RunningServer.read(path) is None
    with exclusive(path):
        assert RunningServer.read(path) == server
        refused = skerry("server", "registry", "downgrade", "4", "--runs-dir", str(tmp_path), "--json")
        assert (refused.exit_code, "in use by the server" in refused.output) == (3, True)
        stopped = skerry("server", "stop", "--runs-dir", str(tmp_path), "--json")
        assert (stopped.exit_code, "another container" in stopped.output) == (1, True)
    assert RunningServer.read(path) is None
