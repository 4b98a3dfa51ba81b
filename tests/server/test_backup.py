"""A federation is kept in one file and comes back as it was; nothing half, nothing altered, nothing in clear."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from skerry.clock import system_clock
from skerry.errors import InputError, RefusedError
from skerry.server import sealed_archive
from skerry.server.backup import make_backup
from skerry.server.backup_members import Members
from skerry.server.federation_home import FederationHome
from skerry.server.registry.file import RegistryFile
from skerry.server.restoring import read_backup, restore_backup
from tests.server._backup import PASSPHRASE, ended, federation, make, restore


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealed_archive, "_COST", 1 << 4)  # 128 MiB and a third of a second each time


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return federation(tmp_path)


def test_the_authority_that_comes_back_is_the_one_devices_trust(runs: Path, tmp_path: Path) -> None:
    root = FederationHome(runs).root.read_bytes()
    make(runs, tmp_path / "kept")
    restore(tmp_path)
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
        make(runs, tmp_path / "kept")
        restore(tmp_path)
    with closing(sqlite3.connect(tmp_path / "again" / "registry.sqlite")) as base:
        assert base.execute("select count(*), min(number) from seen").fetchone() == (1000, 0)


def test_nothing_in_the_file_is_in_clear(runs: Path, tmp_path: Path) -> None:
    make(runs, tmp_path / "kept")
    data = (tmp_path / "kept").read_bytes()
    for word in (b"PRIVATE KEY", b"writer-00", b"ledger", b"backup.json", PASSPHRASE):
        assert word not in data


def test_another_passphrase_opens_nothing(runs: Path, tmp_path: Path) -> None:
    make(runs, tmp_path / "kept")
    with pytest.raises(RefusedError) as refused:
        restore_backup(tmp_path / "kept", tmp_path / "again", b"battery staple horse", now=system_clock())
    assert refused.value.reason == "wrong_key"
    with pytest.raises(InputError, match="12 bytes"):
        make_backup(runs, tmp_path / "short", b"short", now=system_clock())
    assert sorted(one.name for one in tmp_path.iterdir()) == ["kept", "runs"]


@pytest.mark.parametrize("where", [10, 42, 60, 110, 5000, -1, -300])
def test_a_changed_byte_is_refused_and_leaves_nothing(runs: Path, tmp_path: Path, where: int) -> None:
    kept = tmp_path / "kept"
    make(runs, kept)
    data = bytearray(kept.read_bytes())
    data[where] ^= 1
    kept.write_bytes(data)
    with pytest.raises(RefusedError) as refused:
        restore(tmp_path)
    assert refused.value.reason in {"backup_altered", "wrong_key"}
    assert sorted(one.name for one in tmp_path.iterdir()) == ["kept", "runs"]


@pytest.mark.parametrize("left", [0, 9, 30, 100, 5000, -1, -16, -17])
def test_what_is_cut_off_is_refused_and_leaves_nothing(runs: Path, tmp_path: Path, left: int) -> None:
    kept = tmp_path / "kept"
    make(runs, kept)
    kept.write_bytes(kept.read_bytes()[:left])
    with pytest.raises((RefusedError, InputError)):
        restore(tmp_path)
    with pytest.raises((RefusedError, InputError)):
        read_backup(kept, PASSPHRASE)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["kept", "runs"]


def test_nothing_is_written_over_and_nothing_is_mixed(runs: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.write_text("something")
    with pytest.raises(InputError, match="never written over"):
        make(runs, kept)
    kept.unlink()
    contents = make(runs, kept)
    assert read_backup(kept, PASSPHRASE) == contents
    with pytest.raises(InputError, match="never mixed"):
        restore_backup(kept, runs, PASSPHRASE, now=system_clock())
    with pytest.raises(InputError, match="nothing of a federation"):
        make(tmp_path / "runs" / "federation" / "logs", tmp_path / "other")


def test_a_ledger_that_lies_elsewhere_stays_a_link_and_is_named(runs: Path, tmp_path: Path) -> None:
    run = ended(runs)
    ledger = next((run.path / "ledger" / "devices").glob("*.jsonl"))
    elsewhere = tmp_path / "ledgers"
    elsewhere.mkdir()
    shutil.move(ledger, elsewhere / ledger.name)
    ledger.symlink_to(elsewhere / ledger.name)
    contents = make(runs, tmp_path / "kept")
    assert contents.elsewhere == (ledger.relative_to(runs).as_posix(),)
    restore(tmp_path)
    assert (tmp_path / "again" / ledger.relative_to(runs)).readlink() == elsewhere / ledger.name


def test_a_file_that_cannot_be_read_fails_the_backup_and_leaves_none(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise OSError("a bad disk")

    monkeypatch.setattr(Members, "add", fails)
    with pytest.raises(OSError, match="a bad disk"):
        make(runs, tmp_path / "kept")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["runs"]
