"""Held or opened anew, a ledger is verified before it is written to, and what this process wrote is still in it."""

import gc
import resource
import shutil
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from pathlib import Path

import pytest

from skerry import group_sync
from skerry.device import ledgers as ledgers_module
from skerry.device.ledgers import Ledgers
from skerry.errors import InputError, LedgerCorruptError, RefusedError
from skerry.group_sync import GroupSync
from skerry.security.privacy import GaussianEvent, Ledger, Policy, verify_ledger
from skerry.security.privacy.verification import read_ledger

POLICY = Policy(unit="example", epsilon=8.0, delta=1e-5, simulated=False)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return make(tmp_path / "ledger.jsonl")


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Every whole verification, by path."""
    found: list[Path] = []
    real = Ledger.open

    def counted(path: Path, *, expected_head: str | None = None) -> Ledger:
        found.append(path)
        return real(path, expected_head=expected_head)

    monkeypatch.setattr(Ledger, "open", counted)
    return found


def make(path: Path) -> Path:
    Ledger.create(path, scope="device", subject="writer-00", policy=POLICY, now=0).close()
    return path


def spend(ledgers: Ledgers, path: Path, number: int) -> None:
    with ledgers.at(path) as ledger:
        ledger.debit("run", number, GaussianEvent(1000.0), nonce="00", now=number)


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


def cut(path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-1]))


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


def spend_together(ledgers: Ledgers, path: Path, number: int) -> str:
    with (
        ledgers.at(path) as ledger,
        ledger.debiting("run", number, GaussianEvent(1000.0), nonce="00", now=number, syncer=ledgers.group) as entry,
    ):
        return entry.hash


@pytest.fixture
def no_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_sync, "_syncfs", lambda _: False)
    monkeypatch.setattr(group_sync, "_fsync", lambda _: OSError(5, "lost"))


def test_debits_of_many_ledgers_are_settled_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ledgers_module, "_MOST_OPEN", 3)  # some rest before they are settled
    paths = [make(tmp_path / f"{number}.jsonl") for number in range(8)]
    ledgers = Ledgers()
    with GroupSync(tmp_path) as group, ledgers.holding(group):
        for number in range(1, 4):
            heads = [spend_together(ledgers, path, number) for path in paths]
            ledgers.settle()
            for path, head in zip(paths, heads, strict=True):
                with ledgers.at(path) as ledger:
                    assert (ledger.head, len(ledger), ledger.unsettled) == (head, number + 1, False)
    assert all(verify_ledger(path, pld=False).entries == 4 for path in paths)


@pytest.mark.parametrize(("files", "most"), [(1024, 512), (1, 1), (10**6, 16_384), (resource.RLIM_INFINITY, 16_384)])
def test_ledgers_take_half_of_the_files_that_may_be_open(monkeypatch: pytest.MonkeyPatch, files: int, most: int):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (files, files))
    assert ledgers_module._most_open() == most


def test_who_settles_or_uses_a_ledger_again_does_not_wait_for_others(
    tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(group_sync, "_GATHER_S", 3600.0)
    ledgers = Ledgers()

    def work() -> None:
        with GroupSync(tmp_path) as group, ledgers.holding(group):
            for number in (1, 2):
                spend_together(ledgers, path, number)
            ledgers.settle()
            settled.append(number)

    settled: list[int] = []
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(30)
    assert settled == [2]


@pytest.mark.usefixtures("no_disk")
@pytest.mark.parametrize("uses", [1, 2])
def test_who_settles_is_told_of_a_debit_that_the_disk_did_not_take(
    tmp_path: Path, path: Path, opened: list[Path], uses: int
):
    ledgers = Ledgers()
    with GroupSync(tmp_path) as group, ledgers.holding(group):
        for number in range(1, uses + 1):  # also when its ledger was used again meanwhile
            spend_together(ledgers, path, number)
        with pytest.raises(OSError, match="lost"):
            ledgers.settle()
        ledgers.settle()  # once
        with ledgers.at(path):
            pass
        assert opened == [path] * (uses + 1)  # what is on the disk is read again


def debit_and_fail(ledgers: Ledgers, path: Path) -> None:
    with ledgers.at(path) as ledger:
        with ledger.debiting("run", 1, GaussianEvent(1000.0), nonce="00", now=1, syncer=ledgers.group):
            pass
        raise ZeroDivisionError  # while the answer is made


def test_an_answer_that_fails_after_its_debit_is_settled_with_the_others(path: Path, no_disk: None):
    ledgers = Ledgers()
    with GroupSync(path.parent) as group, ledgers.holding(group):
        with pytest.raises(ZeroDivisionError):
            debit_and_fail(ledgers, path)
        with pytest.raises(OSError, match="lost"):
            ledgers.settle()


def test_a_ledger_that_is_just_put_to_rest_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ledgers_module, "_MOST_OPEN", 1)
    first, second = make(tmp_path / "first.jsonl"), make(tmp_path / "second.jsonl")
    resting, go_on, real = threading.Event(), threading.Event(), Ledger.rest

    def slow(ledger: Ledger) -> None:
        resting.set()
        go_on.wait(20)
        real(ledger)

    monkeypatch.setattr(Ledger, "rest", slow)
    ledgers = Ledgers()
    with ledgers.holding(), ThreadPoolExecutor(2) as pool:
        spend(ledgers, first, 1)
        other = pool.submit(spend, ledgers, second, 1)  # one too many: the first is put to rest
        assert resting.wait(20)
        again = pool.submit(spend, ledgers, first, 2)
        threading.Event().wait(0.1)
        go_on.set()
        other.result()
        again.result()
    assert [verify_ledger(path, pld=False).entries for path in (first, second)] == [3, 2]


class Trained:
    """What a device has in hand when its debit fails."""


def train_and_lose(ledgers: Ledgers, path: Path) -> weakref.ref[Trained]:
    trained = Trained()
    with suppress(OSError), ledgers.at(path) as ledger:
        ledger.debit("run", 1, GaussianEvent(1000.0), nonce="00", now=1)
    return weakref.ref(trained)


@pytest.mark.parametrize("holding", [True, False])
def test_where_nobody_settles_nothing_is_kept_of_a_debit_that_failed(path: Path, monkeypatch, holding: bool):
    ledgers = Ledgers()
    with ledgers.holding() if holding else nullcontext():
        with monkeypatch.context() as patch:
            patch.setattr("os.fsync", lambda _fd: (_ for _ in ()).throw(OSError(5, "lost")))
            trained = train_and_lose(ledgers, path)
        spend(ledgers, path, 2)
        gc.collect()
        assert trained() is None
        ledgers.settle()  # whoever was told of it is not told again


def lose_one(ledgers: Ledgers, path: Path) -> weakref.ref[Trained]:
    trained = Trained()
    with (
        suppress(OSError),
        ledgers.at(path) as ledger,
        ledger.debiting("run", 1, GaussianEvent(1000.0), nonce="00", now=1, syncer=ledgers.group),
    ):
        raise ZeroDivisionError
    with ledgers.at(path):  # used again: what is known of its debit is taken in
        pass
    return weakref.ref(trained)


def test_a_failure_that_waits_to_be_told_keeps_nothing_of_a_device_alive(path: Path, no_disk: None):
    ledgers = Ledgers()
    with GroupSync(path.parent) as group, ledgers.holding(group):
        trained = lose_one(ledgers, path)
        gc.collect()
        assert trained() is None
        with pytest.raises(OSError, match="lost"):
            ledgers.settle()


@pytest.mark.parametrize("known", [True, False])
def test_a_run_that_ended_unsettled_refuses_nothing_in_the_next(tmp_path: Path, path: Path, monkeypatch, known: bool):
    ledgers = Ledgers()
    with monkeypatch.context() as patch, GroupSync(tmp_path) as group, ledgers.holding(group):
        patch.setattr(group_sync, "_fsync", lambda _: OSError(5, "lost"))
        if known:
            lose_one(ledgers, path)
        else:
            spend_together(ledgers, path, 1)
    with GroupSync(tmp_path) as group, ledgers.holding(group):
        spend_together(ledgers, make(tmp_path / "other.jsonl"), 1)
        ledgers.settle()
        spend_together(ledgers, path, 2)
        ledgers.settle()


def test_what_a_run_wrote_last_is_missed_in_the_next(tmp_path: Path, path: Path):
    ledgers = Ledgers()
    with GroupSync(tmp_path) as group, ledgers.holding(group):
        spend_together(ledgers, path, 1)  # and it was interrupted before it settled
    cut(path)
    with pytest.raises(LedgerCorruptError):
        spend(ledgers, path, 2)


def test_an_interrupt_is_not_hidden_by_an_error_before_it(tmp_path: Path, no_disk: None, monkeypatch):
    first, second = make(tmp_path / "first.jsonl"), make(tmp_path / "second.jsonl")
    ledgers, real = Ledgers(), Ledger.settle

    def interrupted(ledger: Ledger) -> None:
        try:
            real(ledger)
        finally:
            if last:
                raise KeyboardInterrupt
            last.append(ledger)

    last: list[Ledger] = []
    with GroupSync(tmp_path) as group, ledgers.holding(group):
        spend_together(ledgers, first, 1)
        spend_together(ledgers, second, 1)
        monkeypatch.setattr(Ledger, "settle", interrupted)
        with pytest.raises(KeyboardInterrupt):
            ledgers.settle()
