"""What is copied while others work, from where and to where it may lie, and what comes back where it could do harm."""

import os
import shutil
import sqlite3
import subprocess
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing
from pathlib import Path

import pytest

from skerry.clock import system_clock
from skerry.errors import InputError, RefusedError
from skerry.runfolder import RunFolder
from skerry.security.locking import exclusive
from skerry.server import sealed_archive
from skerry.server.enrolment import Office
from skerry.server.federation_home import FederationHome
from skerry.server.launch import resume
from skerry.server.registry.file import RegistryFile
from skerry.server.restoring import read_backup
from tests.sample_run import build
from tests.server._backup import PASSPHRASE, ended, federation, make, restore, say


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealed_archive, "_COST", 1 << 4)  # 128 MiB and a third of a second each time


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return federation(tmp_path)


@pytest.mark.parametrize("name", ["site#2", "site?", "50%25"])
def test_a_folder_of_any_name_keeps_its_registry(runs: Path, tmp_path: Path, name: str) -> None:
    RegistryFile(runs / "registry.sqlite").ensure()
    runs = runs.rename(tmp_path / name)
    make(runs, tmp_path / "kept")
    restore(tmp_path)
    with closing(sqlite3.connect(tmp_path / "again" / "registry.sqlite")) as base:
        assert base.execute("select count(*) from sqlite_master").fetchone()[0] > 10


def test_no_database_lies_on_a_disk_in_clear_meanwhile(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    RegistryFile(runs / "registry.sqlite").ensure()
    made: list[str] = []
    for name in ("mkstemp", "mkdtemp"):
        once = getattr(tempfile, name)
        monkeypatch.setattr(tempfile, name, lambda *a, once=once, **k: made.append(str(k)) or once(*a, **k))
    make(runs, tmp_path / "kept")
    assert len(made) == 1  # the backup itself
    assert "kept" in made[0]


def test_a_run_that_is_gone_on_with_waits_until_it_is_copied(runs: Path, tmp_path: Path) -> None:
    run = ended(runs)
    say(run, state="interrupted")
    seen: list[str] = []

    def go_on() -> None:  # as skerry.server.launch does
        with exclusive(run.path / "status.json"):
            seen.append("resumed")
            say(run, state="running", pid=os.getpid())

    other = threading.Thread(target=go_on)

    def told(part: str) -> None:
        if part == run.id:
            other.start()
            other.join(0.3)
            seen.append("copying")

    contents = make(runs, tmp_path / "kept", told=told)
    other.join(180)
    assert seen == ["copying", "resumed"]
    assert contents.runs == (run.id,)
    restore(tmp_path)
    assert RunFolder(tmp_path / "again" / run.id).state == "interrupted"


def test_a_run_that_was_gone_on_with_before_its_turn_is_named_and_left_out(runs: Path, tmp_path: Path) -> None:
    run = ended(runs)
    say(run, state="failed")
    contents = make(runs, tmp_path / "kept", told=lambda part: say(run, state="running", pid=os.getpid()))
    assert contents.runs == ()
    assert run.id in contents.under_way


def test_a_run_that_ends_meanwhile_is_kept_or_named(runs: Path, tmp_path: Path) -> None:
    (going,) = (RunFolder(one) for one in runs.iterdir() if one.name.startswith("under-way-"))
    contents = make(runs, tmp_path / "kept", told=lambda part: say(going, state="complete"))
    assert {*contents.runs, *contents.under_way} == {going.id, ended(runs).id}


def test_a_damaged_run_is_named_and_the_rest_is_kept(runs: Path, tmp_path: Path) -> None:
    damaged = build(runs, ("rounds=1", "name=damaged"))
    (damaged.path / "status.json").write_bytes(b"")
    contents = make(runs, tmp_path / "kept")
    assert contents.unreadable == (damaged.id,)
    assert contents.runs == (ended(runs).id,)


def test_a_run_that_was_killed_comes_back_as_interrupted_wherever_its_process_number_is_in_use(
    runs: Path, tmp_path: Path
) -> None:
    run = ended(runs)
    with subprocess.Popen(["true"]) as gone:
        pass
    say(run, state="running", pid=gone.pid)
    make(runs, tmp_path / "kept")
    restore(tmp_path)
    assert RunFolder(tmp_path / "again" / run.id).status["state"] == "interrupted"


def test_a_link_to_what_lies_in_the_folder_leads_there_when_it_is_back(runs: Path, tmp_path: Path) -> None:
    run = ended(runs)
    first, second = sorted((run.path / "ledger" / "devices").glob("*.jsonl"))[:2]
    first.unlink()
    first.symlink_to(second)
    (runs / "ledgers").mkdir()
    shutil.move(second, runs / "ledgers" / second.name)
    second.symlink_to(runs / "ledgers" / second.name)
    (run.path / "linked").symlink_to(run.path / "scenario.toml")
    contents = make(runs, tmp_path / "kept")
    assert contents.unknown == ("ledgers", "notes.txt")
    assert set(contents.elsewhere) == {one.relative_to(runs).as_posix() for one in (first, second)}  # not skerry's
    runs.rename(tmp_path / "moved")
    restore(tmp_path)
    back = tmp_path / "again" / run.id / "linked"
    assert back.resolve() == (tmp_path / "again" / run.id / "scenario.toml").resolve()
    assert back.is_file()


def test_folders_come_back_as_closed_as_they_were(runs: Path, tmp_path: Path) -> None:
    closed, run = runs / "federation", ended(runs)
    runs.chmod(0o700)
    run.path.chmod(0o750)
    make(runs, tmp_path / "kept")
    restore(tmp_path)
    modes = {
        one.relative_to(runs).as_posix(): one.stat().st_mode & 0o777
        for one in (runs, run.path, *closed.rglob("*"), *run.path.rglob("*"))
        if one.is_dir() and (tmp_path / "again" / one.relative_to(runs)).exists()
    }
    assert modes["."] == 0o700
    assert {name: (tmp_path / "again" / name).stat().st_mode & 0o777 for name in modes} == modes


def test_where_files_cannot_be_linked_a_backup_is_made_all_the_same_and_over_nothing(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")  # as vfat says

    monkeypatch.setattr(Path, "hardlink_to", fails)
    contents = make(runs, tmp_path / "kept")
    assert read_backup(tmp_path / "kept", PASSPHRASE) == contents
    with pytest.raises(InputError, match="never written over"):
        make(runs, tmp_path / "other", told=lambda _: (tmp_path / "other").write_text("mine") and None)
    assert (tmp_path / "other").read_text() == "mine"
    assert sorted(one.name for one in tmp_path.iterdir()) == ["kept", "other", "runs"]


def test_a_folder_that_is_not_there_is_told_before_anything_is_done(runs: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not there"):
        make(runs, tmp_path / "usb" / "kept", told=pytest.fail)


def test_repository_and_keys_are_of_one_moment(runs: Path, tmp_path: Path) -> None:
    for name in ("repository", "repository.keys"):
        (runs / name).mkdir()
    held: dict[str, bool] = {}

    def told(part: str) -> None:
        try:
            with exclusive(runs / "repository.keys" / "repository", patient=False):
                held[part] = False
        except BlockingIOError:
            held[part] = True

    make(runs, tmp_path / "kept", told=told)
    assert {name for name, one in held.items() if one} == {"repository", "repository.keys"}


def test_invitations_that_were_open_let_nobody_in_when_the_registry_is_back(runs: Path, tmp_path: Path) -> None:
    now, office = system_clock(), Office(runs)
    authority = FederationHome(runs).authority(now=now)
    office.invite(authority, device_class="phone", uses=2, approve=True, life=86_400_000, by="me", now=now)
    make(runs, tmp_path / "kept")
    assert restore(tmp_path).ended_invites == 1
    assert all(one.expires <= system_clock() for one in Office(tmp_path / "again").invites())
    assert all(one.expires > system_clock() for one in office.invites())


def test_going_on_with_a_run_waits_for_who_copies_it(runs: Path) -> None:
    run = ended(runs)
    with ThreadPoolExecutor(1) as beside:
        with exclusive(run.path / "status.json"):
            going_on = beside.submit(resume, run.id, parent=runs)
            assert not wait([going_on], timeout=0.5).done
        with pytest.raises(RefusedError, match="complete"):
            going_on.result(180)
