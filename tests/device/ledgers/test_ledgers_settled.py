"""What many held ledgers were debited is settled together: on stable storage, or told to whoever settles."""

import gc
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from pathlib import Path

import pytest

from skerry import group_sync
from skerry.device import ledgers as ledgers_module
from skerry.device.ledgers import Ledgers
from skerry.errors import LedgerCorruptError
from skerry.group_sync import GroupSync
from skerry.security.privacy import GaussianEvent, Ledger, verify_ledger

from ._ledgers import cut, make, spend


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
