"""Held or opened anew, a ledger is verified before it is written to, and what this process wrote is still in it."""

import resource
import shutil
import time
from pathlib import Path

import pytest

from skerry.device import ledgers as ledgers_module
from skerry.device.ledgers import Ledgers
from skerry.errors import InputError, LedgerCorruptError, RefusedError
from skerry.security.privacy import GaussianEvent, Ledger, verify_ledger
from skerry.security.privacy.verification import read_ledger

from ._ledgers import cut, make, spend


def test_a_held_ledger_is_verified_once_and_nobody_else_writes_to_it(path: Path, opened: list[Path]):
    ledgers = Ledgers()
    with ledgers.holding():
        for number in range(5):
            spend(ledgers, path, number)
        assert opened == [path]
        with pytest.raises(RefusedError) as refused:
            Ledger.open(path)
        assert refused.value.reason == "ledger_in_use"
        assert verify_ledger(path, pld=False).entries == 6  # who only reads needs no lock
        assert read_ledger(path).debits == 5
    with Ledger.open(path) as ledger:
        assert len(ledger) == 6


def test_a_ledger_that_is_not_held_is_free_between_two_uses(path: Path, opened: list[Path]):
    ledgers = Ledgers()
    spend(ledgers, path, 1)
    Ledger.open(path).close()
    spend(ledgers, path, 2)
    assert opened == [path] * 3


def let_the_clock_tick(path: Path) -> None:
    """Wait until the file system dates a change later than the file's last one."""
    probe = path.with_name("probe")
    while True:
        probe.write_bytes(b"")
        if probe.stat().st_ctime_ns > path.stat().st_ctime_ns:
            return
        time.sleep(0.001)


def change(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data.replace(b'"round":1', b'"round":9'))


def put_an_older_one_in_its_place(path: Path) -> None:
    older = path.with_name("older.jsonl")
    cut(Path(shutil.copy(path, older)))
    older.replace(path)


@pytest.mark.parametrize("holding", [True, False])
@pytest.mark.parametrize("tamper", [change, cut, put_an_older_one_in_its_place])
def test_what_is_done_to_a_ledger_between_two_rounds_is_found_before_the_next_debit(path: Path, tamper, holding: bool):
    ledgers = Ledgers()

    def rounds() -> None:
        spend(ledgers, path, 1)
        spend(ledgers, path, 2)
        let_the_clock_tick(path)
        tamper(path)
        before = path.read_bytes()
        with pytest.raises(LedgerCorruptError):
            spend(ledgers, path, 3)
        assert path.read_bytes() == before
        with pytest.raises(LedgerCorruptError):
            spend(ledgers, path, 3)  # and is not forgotten

    if holding:
        with ledgers.holding():
            rounds()
    else:
        rounds()


def test_a_held_ledger_to_which_somebody_has_added_is_read_again(path: Path, opened: list[Path]):
    ledgers = Ledgers()
    with ledgers.holding():
        spend(ledgers, path, 1)
        with path.open("ab") as file:
            file.write(b'{"at":0,')  # not a whole entry: set aside, as after a crash
        spend(ledgers, path, 2)
        assert len(opened) == 2
        assert path.with_name("ledger.jsonl.torn").exists()
    assert verify_ledger(path, pld=False).entries == 3


def test_what_is_added_while_a_ledger_is_in_use_is_found_too(path: Path):
    ledgers = Ledgers()
    with ledgers.holding():
        with ledgers.at(path) as ledger:
            with path.open("ab") as file:
                file.write(b"stray\n")
            ledger.debit("run", 1, GaussianEvent(1000.0), nonce="00", now=1)
        with pytest.raises(LedgerCorruptError):
            spend(ledgers, path, 2)


def test_after_an_error_the_next_use_begins_with_what_is_on_the_disk(path: Path, opened: list[Path], monkeypatch):
    ledgers = Ledgers()
    with ledgers.holding():
        spend(ledgers, path, 1)
        with monkeypatch.context() as patch:
            patch.setattr("os.fsync", lambda _fd: (_ for _ in ()).throw(OSError(5, "input/output error")))
            with pytest.raises(OSError, match="input/output"):
                spend(ledgers, path, 2)
        spend(ledgers, path, 3)
        assert len(opened) == 2
    assert verify_ledger(path, pld=False).entries == 4  # the debit that may have failed is on the disk and counts


def test_few_files_are_open_at_once_however_many_devices_there_are(tmp_path: Path, opened: list[Path], monkeypatch):
    monkeypatch.setattr(ledgers_module, "_MOST_OPEN", 2)
    paths = [make(tmp_path / f"{number}.jsonl") for number in range(3)]
    opened.clear()
    ledgers = Ledgers()
    with ledgers.holding():
        for path in paths:
            spend(ledgers, path, 1)
        Ledger.open(paths[0]).close()  # the one used longest ago was let go
        with pytest.raises(RefusedError):
            Ledger.open(paths[2])
        spend(ledgers, paths[0], 2)
    assert all(not verify_ledger(path, pld=False).problems for path in paths)


def test_those_that_rest_are_not_verified_again_unless_somebody_wrote(
    tmp_path: Path, opened: list[Path], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(ledgers_module, "_MOST_OPEN", 1)
    paths = [make(tmp_path / f"{number}.jsonl") for number in range(3)]
    opened.clear()
    ledgers = Ledgers()
    with ledgers.holding():
        for number in range(1, 4):
            for path in paths:
                spend(ledgers, path, number)
        assert opened == paths
        with Ledger.open(paths[0]) as other:
            with pytest.raises(RefusedError, match="somebody else"):
                spend(ledgers, paths[0], 4)
            other.debit("other", 1, GaussianEvent(1000.0), nonce="00", now=9)
        opened.clear()
        with ledgers.at(paths[0]) as ledger:
            assert ledger.has("other", 1)
        assert opened == [paths[0]]
        lines = paths[1].read_bytes().splitlines(keepends=True)
        paths[1].write_bytes(b"".join(lines[:-1]))
        with pytest.raises(LedgerCorruptError):
            spend(ledgers, paths[1], 5)
        paths[2].unlink()
        with pytest.raises(InputError):
            spend(ledgers, paths[2], 5)


def test_blocks_of_holding_may_be_nested(tmp_path: Path):
    outer, inner = make(tmp_path / "outer.jsonl"), make(tmp_path / "inner.jsonl")
    ledgers = Ledgers()
    with ledgers.holding():
        spend(ledgers, outer, 1)
        with ledgers.holding():
            spend(ledgers, inner, 1)
        Ledger.open(inner).close()
        with pytest.raises(RefusedError):
            Ledger.open(outer)
        spend(ledgers, outer, 2)
    Ledger.open(outer).close()


@pytest.mark.parametrize(("files", "most"), [(1024, 512), (1, 1), (10**6, 16_384), (resource.RLIM_INFINITY, 16_384)])
def test_ledgers_take_half_of_the_files_that_may_be_open(monkeypatch: pytest.MonkeyPatch, files: int, most: int):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (files, files))
    assert ledgers_module._most_open() == most
