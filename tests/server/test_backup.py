"""A federation is kept in one file and comes back as it was; nothing half, nothing altered, nothing in clear."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from skerry.clock import system_clock
from skerry.errors import InputError, RefusedError
from skerry.runfolder import RunFolder
from skerry.server import backup as backup_module
from skerry.server import sealed_archive
from skerry.server.backup import make_backup, read_backup, restore_backup
from skerry.server.federation_home import FederationHome
from skerry.server.federation_log import federation_log
from skerry.server.registry.file import RegistryFile
from skerry.server.run_statements import enter_release
from tests.sample_run import build

PASSPHRASE = b"correct horse battery"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealed_archive, "_COST", 1 << 4)  # 128 MiB and a third of a second each time


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A folder with a run that ended, one under way, a log, an authority, and something of somebody else's."""
    runs = tmp_path / "runs"
    build(runs, ("rounds=3",))
    build(runs, ("rounds=3", "name=under-way"), state="running", rounds_done=1)
    FederationHome(runs).authority(now=system_clock(), passphrase=None)
    federation_log(runs)
    assert enter_release(runs, "digits", 1, "ab" * 32, system_clock()) is None
    (runs / "notes.txt").write_text("buy milk")
    return runs


def _ended(runs: Path) -> RunFolder:
    (found,) = (one for one in runs.iterdir() if one.name.startswith("digits-"))
    return RunFolder(found)


def test_the_authority_that_comes_back_is_the_one_devices_trust(runs: Path, tmp_path: Path) -> None:
    root = FederationHome(runs).root.read_bytes()
    make_backup(runs, tmp_path / "kept", PASSPHRASE, now=system_clock())
    restore_backup(tmp_path / "kept", tmp_path / "again", PASSPHRASE)
    home = FederationHome(tmp_path / "again")
    assert home.root.read_bytes() == root
    authorities = [one.authority(now=system_clock()) for one in (home, FederationHome(runs))]
    assert authorities[0].issuers == authorities[1].issuers


def test_a_database_that_is_being_written_to_is_whole_in_the_backup(runs: Path, tmp_path: Path) -> None:
    RegistryFile(runs / "registry.sqlite").ensure()
    with closing(sqlite3.connect(runs / "registry.sqlite")) as base:
        base.execute("create table seen (number integer)")
        base.executemany("insert into seen values (?)", [(n,) for n in range(1000)])
        base.commit()  # in the write-ahead log still
        base.execute("insert into seen values (-1)")  # of a transaction that nobody ended
        make_backup(runs, tmp_path / "kept", PASSPHRASE, now=system_clock())
        restore_backup(tmp_path / "kept", tmp_path / "again", PASSPHRASE)
    with closing(sqlite3.connect(tmp_path / "again" / "registry.sqlite")) as base:
        assert base.execute("select count(*), min(number) from seen").fetchone() == (1000, 0)


def test_nothing_in_the_file_is_in_clear(runs: Path, tmp_path: Path) -> None:
    make_backup(runs, tmp_path / "kept", PASSPHRASE, now=system_clock())
    data = (tmp_path / "kept").read_bytes()
    for word in (b"PRIVATE KEY", b"writer-00", b"ledger", b"backup.json", PASSPHRASE):
        assert word not in data


def test_another_passphrase_opens_nothing(runs: Path, tmp_path: Path) -> None:
    make_backup(runs, tmp_path / "kept", PASSPHRASE, now=system_clock())
    with pytest.raises(RefusedError) as refused:
        restore_backup(tmp_path / "kept", tmp_path / "again", b"battery staple horse")
    assert refused.value.reason == "wrong_key"
    with pytest.raises(InputError, match="characters"):
        make_backup(runs, tmp_path / "short", b"short", now=system_clock())
    assert sorted(one.name for one in tmp_path.iterdir()) == ["kept", "runs"]


@pytest.mark.parametrize("where", [10, 42, 60, 110, 5000, -1, -300])
def test_a_changed_byte_is_refused_and_leaves_nothing(runs: Path, tmp_path: Path, where: int) -> None:
    kept = tmp_path / "kept"
    make_backup(runs, kept, PASSPHRASE, now=system_clock())
    data = bytearray(kept.read_bytes())
    data[where] ^= 1
    kept.write_bytes(data)
    with pytest.raises(RefusedError) as refused:
        restore_backup(kept, tmp_path / "again", PASSPHRASE)
    assert refused.value.reason in {"backup_altered", "wrong_key"}
    assert sorted(one.name for one in tmp_path.iterdir()) == ["kept", "runs"]


@pytest.mark.parametrize("left", [0, 9, 30, 100, 5000, -1, -16, -17])
def test_what_is_cut_off_is_refused_and_leaves_nothing(runs: Path, tmp_path: Path, left: int) -> None:
    kept = tmp_path / "kept"
    make_backup(runs, kept, PASSPHRASE, now=system_clock())
    kept.write_bytes(kept.read_bytes()[:left])
    with pytest.raises((RefusedError, InputError)):
        restore_backup(kept, tmp_path / "again", PASSPHRASE)
    with pytest.raises((RefusedError, InputError)):
        read_backup(kept, PASSPHRASE)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["kept", "runs"]


def test_nothing_is_written_over_and_nothing_is_mixed(runs: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.write_text("something")
    with pytest.raises(InputError, match="never written over"):
        make_backup(runs, kept, PASSPHRASE, now=system_clock())
    kept.unlink()
    contents = make_backup(runs, kept, PASSPHRASE, now=system_clock())
    assert read_backup(kept, PASSPHRASE) == contents
    with pytest.raises(InputError, match="never mixed"):
        restore_backup(kept, runs, PASSPHRASE)
    with pytest.raises(InputError, match="nothing of a federation"):
        make_backup(tmp_path / "runs" / "federation" / "logs", tmp_path / "other", PASSPHRASE, now=system_clock())


def test_a_ledger_that_lies_elsewhere_stays_a_link_and_is_named(runs: Path, tmp_path: Path) -> None:
    run = _ended(runs)
    ledger = next((run.path / "ledger" / "devices").glob("*.jsonl"))
    elsewhere = tmp_path / "ledgers"
    elsewhere.mkdir()
    shutil.move(ledger, elsewhere / ledger.name)
    ledger.symlink_to(elsewhere / ledger.name)
    contents = make_backup(runs, tmp_path / "kept", PASSPHRASE, now=system_clock())
    assert contents.elsewhere == (ledger.relative_to(runs).as_posix(),)
    restore_backup(tmp_path / "kept", tmp_path / "again", PASSPHRASE)
    assert (tmp_path / "again" / ledger.relative_to(runs)).readlink() == elsewhere / ledger.name


def test_a_file_that_cannot_be_read_fails_the_backup_and_leaves_none(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise OSError("a bad disk")

    monkeypatch.setattr(backup_module, "_add", fails)
    with pytest.raises(OSError, match="a bad disk"):
        make_backup(runs, tmp_path / "kept", PASSPHRASE, now=system_clock())
    assert sorted(one.name for one in tmp_path.iterdir()) == ["runs"]
