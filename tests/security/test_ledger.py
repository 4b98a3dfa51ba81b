"""Promises of writing to a ledger: debit before release, refuse past the budget, durable, one writer."""

import errno
import math
import os
import threading
from pathlib import Path

import pytest

from skerry.errors import (
    BudgetExceededError,
    DiskFullError,
    EnvelopeRefusedError,
    InputError,
    RefusedError,
)
from skerry.security.privacy import GaussianEvent, Ledger, Policy, verify_ledger
from skerry.security.privacy.chain import walk
from skerry.syncer import Syncer

from ._ledger import EVENT, EXAMPLE, NOW, new, spend


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ledger" / "writer-00.jsonl"


def test_a_new_ledger_states_its_policy_and_has_spent_nothing(path):
    with new(path) as ledger:
        assert (ledger.scope, ledger.subject, ledger.policy, len(ledger)) == ("device", "writer-00", EXAMPLE, 1)
        assert ledger.epsilon() == 0.0
        assert ledger.events() == []
        assert [e.kind for e in ledger.entries()] == ["policy"]


def test_exactly_the_calibrated_rounds_fit_and_the_next_is_refused_before_it_is_written(path):
    with new(path) as ledger:
        for round_ in range(20):
            spend(ledger, round_)
        assert 7.9 < ledger.epsilon() <= 8.0
        before, head = path.read_bytes(), ledger.head
        with pytest.raises(BudgetExceededError) as refused:
            spend(ledger, 20)
        assert refused.value.reason == "budget_exceeded"
        assert refused.value.exit_code == 3
        for part in ("8", "1e-05", "example", "add/remove"):
            assert part in refused.value.what
        assert (path.read_bytes(), ledger.head) == (before, head)
        spend(ledger, 20, GaussianEvent(10_000.0))  # what still fits is still allowed


def test_a_round_is_debited_once_also_after_reopening(path):
    with new(path) as ledger:
        spend(ledger, 3)
        with pytest.raises(EnvelopeRefusedError) as refused:
            spend(ledger, 3)
        assert refused.value.reason == "replayed"
    with Ledger.open(path) as ledger:
        before = path.read_bytes()
        with pytest.raises(EnvelopeRefusedError):
            spend(ledger, 3, GaussianEvent(1e6))
        assert path.read_bytes() == before
        assert ledger.has("run-1", 3)
        assert not ledger.has("run-2", 3)
        spend(ledger, 3, run="run-2")


def test_reopening_restores_what_was_spent(path):
    with new(path) as ledger:
        for round_, sigma in enumerate((4.0, 6.0, 4.0, 100.0)):
            spend(ledger, round_, GaussianEvent(sigma, 1.0, 2))
        ledger.record("release", {"round": 3, "digest": "ab" * 32}, NOW)
        expected = (ledger.epsilon(), ledger.head, len(ledger), ledger.events())
    with Ledger.open(path) as ledger:
        assert (ledger.epsilon(), ledger.head, len(ledger), ledger.events()) == expected
        assert ledger.events() == [GaussianEvent(4.0, 1.0, 4), GaussianEvent(6.0, 1.0, 2), GaussianEvent(100.0, 1.0, 2)]
        assert [e.kind for e in ledger.entries()] == ["policy", *["debit"] * 4, "release"]


def test_a_release_without_noise_is_refused_where_the_policy_protects(path):
    with new(path) as ledger:
        with pytest.raises(BudgetExceededError) as refused:
            spend(ledger, 0, None)
        assert refused.value.reason == "unprotected"
        assert len(ledger) == 1


def test_without_protection_no_epsilon_is_claimed(path):
    with new(path, Policy(unit="none", epsilon=8.0, delta=1e-5, simulated=False)) as ledger:
        spend(ledger, 0, None)
        assert ledger.epsilon() == math.inf
    report = verify_ledger(path)
    assert (report.epsilon_rdp, report.epsilon_pld, report.problems) == (None, None, ())
    assert "no claim" in report.describe()


def test_every_write_is_on_stable_storage_before_the_call_returns(path, monkeypatch):
    calls = []
    with new(path) as ledger:
        real_write, real_sync = os.write, os.fsync
        monkeypatch.setattr(os, "write", lambda fd, data: (calls.append(("write", fd)), real_write(fd, data))[1])
        monkeypatch.setattr(os, "fsync", lambda fd: (calls.append(("fsync", fd)), real_sync(fd))[1])
        for action in (lambda: spend(ledger, 0), lambda: ledger.record("abort", {"round": 0}, NOW)):
            calls.clear()
            size = path.stat().st_size
            action()
            assert calls == [("write", ledger._journal._fd), ("fsync", ledger._journal._fd)]
            assert path.stat().st_size > size


def test_a_new_ledger_and_its_name_are_on_stable_storage(path, monkeypatch):
    synced, linked = [], []
    sync, link = os.fsync, os.link

    def record_sync(fd):
        synced.append(str(Path(f"/proc/self/fd/{fd}").readlink()))
        sync(fd)

    def record_link(source, target):
        linked.append(len(synced))
        link(source, target)

    monkeypatch.setattr(os, "fsync", record_sync)
    monkeypatch.setattr(os, "link", record_link)
    new(path).close()
    assert any(".writer-00" in name for name in synced[: linked[0]])  # the content before it has its name
    assert str(path.parent) in synced[linked[0] :]  # and then the name


def test_creating_never_starts_a_budget_anew(path):
    with new(path) as ledger:
        spend(ledger, 0)
    before = path.read_bytes()
    with pytest.raises(InputError, match="already"):
        new(path)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_one_that_nobody_opens_yet_starts_no_budget_anew_either(path):
    with new(path) as ledger:
        spend(ledger, 1)
    before = path.read_bytes()
    with pytest.raises(InputError, match="already"):
        Ledger.begin(path, scope="device", subject="writer-00", policy=EXAMPLE, now=NOW, durable=False)
    assert path.read_bytes() == before


def test_a_second_writer_is_refused_until_the_first_lets_go(path):
    first = new(path)
    with pytest.raises(RefusedError) as refused:
        Ledger.open(path)
    assert refused.value.reason == "ledger_in_use"
    assert "writing to this ledger" in refused.value.what
    spend(first, 0)
    child = os.fork()
    if child == 0:
        try:
            Ledger.open(path)
        except RefusedError:
            os._exit(7)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert verify_ledger(path).entries == 2  # reading needs no lock
    first.close()
    first.close()
    with Ledger.open(path) as second:
        spend(second, 1)


def test_neither_a_closed_nor_a_forked_ledger_can_be_written(path):
    ledger = new(path)
    child = os.fork()
    if child == 0:
        try:
            spend(ledger, 0)
        except RefusedError:
            os._exit(7)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    ledger.close()
    with pytest.raises(RefusedError, match="no longer"):
        spend(ledger, 0)
    assert verify_ledger(path).entries == 1


def test_threads_do_not_spend_the_same_budget_twice(path):
    with new(path) as ledger:
        refused = []

        def work(number):
            for round_ in range(8):
                try:
                    spend(ledger, round_, run=f"run-{number % 2}")
                except EnvelopeRefusedError:
                    refused.append(round_)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(refused) == 16
        assert len(ledger) == 17
    assert verify_ledger(path, pld=False).problems == ()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_spends_nothing_and_leaves_nothing_half_written(path, monkeypatch, code):
    with new(path) as ledger:
        spend(ledger, 0)
        before, head = path.read_bytes(), ledger.head
        real = os.write

        def nearly_full(fd, data):
            if len(data) > 100:
                return real(fd, data[:100])
            raise OSError(code, "full")

        monkeypatch.setattr(os, "write", nearly_full)
        # the first 100 bytes are written, a second short write, then the end: all of it is taken back
        with pytest.raises(DiskFullError):
            spend(ledger, 1)
        monkeypatch.setattr(os, "write", real)
        assert (path.read_bytes(), ledger.head, ledger.has("run-1", 1)) == (before, head, False)
        spend(ledger, 1)
    assert verify_ledger(path, pld=False).problems == ()


def test_after_a_failed_fsync_nothing_is_written_until_the_file_was_read_again(path, monkeypatch):
    ledger = new(path)
    head = ledger.head
    real = os.fsync

    def fail(fd):
        raise OSError(errno.EIO, "input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="input/output"):
        spend(ledger, 0)
    monkeypatch.setattr(os, "fsync", real)
    with pytest.raises(RefusedError, match="no longer"):
        spend(ledger, 1)
    assert (ledger.head, ledger.has("run-1", 0)) == (head, False)  # it speaks of what is on the disk
    ledger.close()
    with Ledger.open(path) as again:
        assert again.has("run-1", 0)  # it reached the file, so it counts as spent


def test_while_the_disk_takes_a_debit_the_caller_works_and_others_wait(path, monkeypatch):
    real, ready, late = os.fsync, threading.Event(), []
    with Syncer() as syncer, new(path) as ledger:
        monkeypatch.setattr(os, "fsync", lambda fd: ready.wait(180) and real(fd))
        other = threading.Thread(target=lambda: (spend(ledger, 2), late.append(ready.is_set())))
        with ledger.debiting("run-1", 1, EVENT, nonce="00", now=NOW, syncer=syncer) as made:
            assert (len(ledger), ledger.has("run-1", 1)) == (1, False)  # not on stable storage yet
            assert ledger.head == made.prev
            other.start()
            other.join(0.2)
            assert not late
            ready.set()
        other.join(180)
        assert late == [True]
        assert [e.body["round"] for e in ledger.entries() if e.kind == "debit"] == [1, 2]
        assert ledger.has("run-1", 1)
        with (
            pytest.raises(EnvelopeRefusedError),
            ledger.debiting("run-1", 1, EVENT, nonce="00", now=NOW, syncer=syncer),
        ):
            pytest.fail("worked for a round that was refused")
    assert verify_ledger(path, pld=False).problems == ()


def test_a_ledger_closed_while_the_disk_is_busy_waits_for_it(path, monkeypatch):
    real, ready, synced = os.fsync, threading.Event(), []
    with Syncer() as syncer:
        ledger = new(path)
        monkeypatch.setattr(os, "fsync", lambda fd: ready.wait(180) and synced.append(real(fd)))
        with ledger.debiting("run-1", 1, EVENT, nonce="00", now=NOW, syncer=syncer):
            threading.Timer(0.05, ready.set).start()
            ledger.close()
            assert synced == [None]


def test_a_torn_tail_is_set_aside_and_the_ledger_goes_on(path):
    with new(path) as ledger:
        spend(ledger, 0)
        head = ledger.head
        spend(ledger, 1)
    whole = path.read_bytes()
    path.write_bytes(whole[:-40])
    report = verify_ledger(path, pld=False)
    assert (report.torn_tail, report.entries, report.problems) == (True, 2, ())
    assert path.read_bytes() == whole[:-40]  # reading changes nothing
    with Ledger.open(path) as ledger:
        assert (ledger.head, len(ledger), ledger.has("run-1", 1)) == (head, 2, False)
        spend(ledger, 1)
    again = path.read_bytes()
    assert again.splitlines()[:2] == whole.splitlines()[:2]
    assert [e.body for e in walk(again)] == [e.body for e in walk(whole)]
    torn = path.with_name(path.name + ".torn").read_bytes()
    assert whole[:-40].endswith(torn.rstrip(b"\n"))
    assert not verify_ledger(path, pld=False).torn_tail


def test_an_entry_that_lacks_only_its_line_end_counts(path):
    with new(path) as ledger:
        spend(ledger, 0)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    assert verify_ledger(path, pld=False).entries == 2
    with Ledger.open(path) as ledger:
        assert ledger.has("run-1", 0)
        spend(ledger, 1)
    assert path.read_bytes().startswith(whole)


def test_the_population_ledger_records_rounds_that_spend_nothing(path):
    with new(path, scope="population", subject="population") as ledger:
        ledger.record("round_open", {"round": 1, "expected": ["a", "b"], "rate": 0.5, "none": None}, NOW)
        assert ledger.epsilon() == 0
        assert list(ledger.entries())[1].body == {"round": 1, "expected": ["a", "b"], "rate": 0.5, "none": None}
    with Ledger.open(path) as ledger:
        assert (ledger.scope, len(ledger)) == ("population", 2)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("debit", {}),
        ("policy", {}),
        ("Round Open", {}),
        ("", {}),
        ("release", {"x": math.nan}),
        ("release", {"x": b"bytes"}),
        ("release", {"x": "\ud800"}),
        ("release", {"x": "a" * (1 << 20)}),
    ],
)
def test_what_does_not_belong_into_a_ledger_is_not_written(path, kind, body):
    with new(path) as ledger:
        before = path.read_bytes()
        with pytest.raises(InputError):
            ledger.record(kind, body, NOW)
        assert path.read_bytes() == before
        spend(ledger, 0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"epsilon": 0.0},
        {"epsilon": math.inf},
        {"delta": 0.0},
        {"delta": 1.0},
        {"relation": "replace"},
        {"accountant": "gdp"},
        {"min_separation": 0},
        {"min_separation": 1.5},
        {"max_participations": -1},
    ],
)
def test_a_policy_that_cannot_be_kept_is_refused(wrong):
    with pytest.raises(InputError):
        Policy(**{"unit": "example", "epsilon": 8.0, "delta": 1e-5, "simulated": False} | wrong)
