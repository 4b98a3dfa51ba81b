"""What a device will and will not do, with real keys, a real ledger and the real int8 base."""

import dataclasses
import errno
import importlib.util
import os
import secrets
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from skerry.clock import system_clock
from skerry.device import participation, replying
from skerry.device.ledgers import Ledgers
from skerry.device.participation import answer_challenge, participate
from skerry.device.protocol import CHALLENGE_DOMAIN, Challenge, Instruction, Update
from skerry.device.yielding import NotYetError
from skerry.errors import EnvelopeRefusedError, InputError
from skerry.group_sync import GroupSync
from skerry.security.envelope import Header, Kind, seal
from skerry.security.identity import Identity
from skerry.security.privacy.stream import seeded_stream

from ._participation import Bench, change_home


def test_an_authentic_instruction_is_answered_with_a_private_update(bench: Bench):
    opened = bench.ask(bench.instruct())
    update = Update.from_bytes(opened.payload)
    assert opened.header.kind is Kind.UPDATE
    assert update.delta.shape == (bench.model.layout.size,)
    assert np.isfinite(update.delta).all()
    with bench.ledger() as ledger:
        assert ledger.head == update.ledger_head
        assert 0 < ledger.epsilon() <= bench.scenario.privacy.epsilon


def test_the_same_seed_gives_the_same_noise_and_another_device_another(bench: Bench):
    bench.plan = dataclasses.replace(bench.plan, epochs=1)  # a second step would follow the first one's noise
    first = Update.from_bytes(bench.ask(bench.instruct(1)).payload).delta
    second = Update.from_bytes(bench.ask(bench.instruct(2)).payload).delta
    assert not np.array_equal(first, second)  # same data, same vector: only the round's noise differs
    spread = np.std(first - second) / np.sqrt(2)
    plan = bench.plan
    expected = plan.learning_rate * plan.noise_multiplier * plan.clip / plan.denominator
    assert spread == pytest.approx(expected, rel=0.1)


def test_a_crash_in_training_leaves_the_debit(bench: Bench, monkeypatch):
    def crash(*_args):
        raise RuntimeError("power cut")

    monkeypatch.setattr(type(bench.model), "train", crash)
    with pytest.raises(RuntimeError, match="power cut"):
        participate(bench.instruct(), bench.resident, bench.worker, system_clock)
    assert bench.debits() == 1


class Disk:
    """Takes its time: ``os.fsync`` waits for ``ready``, and then may fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, error: OSError | None = None) -> None:
        self.ready = threading.Event()
        self.error = error
        self._real = os.fsync
        monkeypatch.setattr(os, "fsync", self._sync)

    def _sync(self, fd: int) -> None:
        assert self.ready.wait(180)
        if self.error is not None:
            raise self.error
        self._real(fd)


def watched(monkeypatch: pytest.MonkeyPatch, owner: object, name: str) -> threading.Event:
    """Set once the function has been called and has returned or raised."""
    called = threading.Event()
    real = getattr(owner, name)

    def wrapper(*args, **kwargs):
        try:
            return real(*args, **kwargs)
        finally:
            called.set()

    monkeypatch.setattr(owner, name, wrapper)
    return called


@pytest.mark.parametrize("fault", [None, InputError("these pictures cannot be used")])
@pytest.mark.parametrize("holding", [True, False])
def test_nothing_is_sealed_before_the_debit_is_on_stable_storage(bench: Bench, monkeypatch, holding: bool, fault):
    envelope = bench.instruct()
    if fault is not None:  # a refusal tells something too: it waits like an update
        monkeypatch.setattr(type(bench.model), "train", lambda *_: (_ for _ in ()).throw(fault))
    trained = watched(monkeypatch, type(bench.model), "train")
    sealed = watched(monkeypatch, replying, "seal")
    disk = Disk(monkeypatch)
    held = bench.worker.ledgers.holding() if holding else nullcontext()
    with held, ThreadPoolExecutor(1) as pool:
        answer = pool.submit(participate, envelope, bench.resident, bench.worker, system_clock)
        assert trained.wait(180)  # while the disk is still busy with the debit
        assert not sealed.wait(0.2)
        disk.ready.set()
        answer.result(180)
    assert sealed.is_set()
    assert bench.debits() == 1


@pytest.mark.parametrize("holding", [True, False])
def test_a_debit_that_the_disk_does_not_take_stops_the_answer(bench: Bench, monkeypatch, holding: bool):
    sealed = watched(monkeypatch, replying, "seal")
    held = bench.worker.ledgers.holding() if holding else nullcontext()
    with held:
        with monkeypatch.context() as patch:
            Disk(patch, OSError(errno.EIO, "input/output error")).ready.set()
            with pytest.raises(OSError, match="input/output"):
                participate(bench.instruct(1), bench.resident, bench.worker, system_clock)
            assert not sealed.is_set()
        assert bench.ask(bench.instruct(2)).header.kind is Kind.UPDATE  # the ledger was read again
    assert bench.debits() == 2  # the first may be on the disk: it counts


def test_what_is_settled_with_others_is_sealed_before_and_speaks_of_the_ledger_as_it_is_then(bench: Bench, tmp_path):
    ledgers = bench.worker.ledgers
    with GroupSync(tmp_path) as group, ledgers.holding(group):
        updates = []
        for number in (1, 2):  # the second one is told of the first one's receipt
            receipt = updates[-1].receipt(bench.folder.id, 1, bench.device).digest if updates else b""
            updates.append(Update.from_bytes(bench.ask(bench.instruct(number, receipt=receipt)).payload))
        ledgers.settle()
        with ledgers.at(bench.resident.home.ledger) as ledger:
            for update in updates:
                state = ledger.checkpoint(update.ledger_size)
                assert (state.root.hex(), ledger.tree.leaf(state.size - 1).hex()) == (
                    update.ledger_root,
                    update.ledger_head,
                )


def test_an_answer_that_comes_out_otherwise_again_waits_for_its_own_debit(bench: Bench, monkeypatch, tmp_path):
    change_home(bench, simulated=False)
    with GroupSync(tmp_path) as group, bench.worker.ledgers.holding(group), monkeypatch.context() as patch:
        patch.setattr(participation, "keep_answer", lambda *_: None)  # which would wait for the disk too
        Disk(patch, OSError(errno.EIO, "input/output error")).ready.set()
        with pytest.raises(OSError, match="input/output"):
            participate(bench.instruct(seed=None), bench.resident, bench.worker, system_clock)


@pytest.mark.parametrize("after_syncs", [0, 1])
def test_a_device_whose_disk_is_full_answers_later_under_one_debit(bench: Bench, monkeypatch, after_syncs: int):
    change_home(bench, simulated=False)
    envelope = bench.instruct(1, seed=None)
    real, done = os.fsync, []

    def full(fd: int) -> None:
        done.append(fd)
        if len(done) > after_syncs:  # the debit does not fit, or the answer that it pays for
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(fd)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(NotYetError, match="no space"):
            participate(envelope, bench.resident, bench.worker, system_clock)
    assert bench.ask(envelope).header.kind is Kind.UPDATE
    assert bench.debits() == 1


def test_a_debit_that_a_killed_process_left_is_synced_before_it_is_answered_under(bench: Bench, monkeypatch):
    """The power may go after the answer did: what is read is not yet what is on stable storage."""
    change_home(bench, simulated=False)
    envelope = bench.instruct(1, seed=None)
    with monkeypatch.context() as patch:
        patch.setattr(type(bench.model), "train", lambda *_: (_ for _ in ()).throw(MemoryError("killed")))
        with pytest.raises(MemoryError, match="killed"):
            participate(envelope, bench.resident, bench.worker, system_clock)
    synced, real = [], os.fsync

    def fsync(fd: int) -> None:
        synced.append(Path(f"/proc/self/fd/{fd}").readlink())
        real(fd)

    trained = watched(monkeypatch, type(bench.model), "train")
    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(replying, "seal", lambda *_, **__: synced.append("sealed") or b"")
    participate(envelope, bench.resident, bench.worker, system_clock)
    assert trained.is_set()
    assert bench.resident.home.ledger.resolve() in synced[: synced.index("sealed")]
    assert bench.debits() == 1


def test_past_the_budget_the_device_refuses_and_computes_nothing(bench: Bench, monkeypatch):
    for number in range(1, bench.scenario.rounds + 1):
        assert bench.ask(bench.instruct(number)).header.kind is Kind.UPDATE
    monkeypatch.setattr(type(bench.model), "train", lambda *_: pytest.fail("trained past the budget"))
    assert bench.refusal(bench.instruct(bench.scenario.rounds + 1)) == "budget_exceeded"
    assert bench.debits() == bench.scenario.rounds


@pytest.mark.parametrize("holding", [True, False])
def test_a_device_whose_ledger_was_rolled_back_refuses_before_it_spends_again(bench: Bench, holding: bool):
    path = bench.resident.home.ledger
    bench.plan = dataclasses.replace(bench.plan, noise_multiplier=30.0)  # the budget is not what is tested
    receipts = []
    for number in (1, 2, 3):
        opened = bench.ask(bench.instruct(number, receipt=receipts[-1] if receipts else b""))
        assert opened.header.kind is Kind.UPDATE
        receipts.append(opened.header.receipt)
        if number == 2:
            older = path.read_bytes()
    path.write_bytes(older)
    bench.worker.ledgers = Ledgers()  # another process: it does not remember what this one wrote
    with bench.worker.ledgers.holding() if holding else nullcontext():
        assert bench.refusal(bench.instruct(4, receipt=receipts[-1])) == "rolled_back"
        assert path.read_bytes() == older
        for number, receipt in enumerate((receipts[1], receipts[0], b""), 5):  # who knows less cannot tell
            assert bench.ask(bench.instruct(number, receipt=receipt)).header.kind is Kind.UPDATE
    assert bench.debits() == 5


def test_a_receipt_of_another_device_or_run_is_not_remembered(bench: Bench):
    own = bench.ask(bench.instruct(1)).header.receipt
    assert bench.refusal(bench.instruct(2, receipt=bytes(32))) == "rolled_back"
    assert bench.ask(bench.instruct(2, receipt=own)).header.kind is Kind.UPDATE


def test_a_coordinator_that_asks_for_less_noise_meets_the_budget(bench: Bench):
    assert bench.refusal(bench.instruct(noise_multiplier=0.1)) == "budget_exceeded"
    assert bench.debits() == 0


def test_a_real_device_follows_no_seed(bench: Bench):
    change_home(bench, simulated=False)
    assert bench.refusal(bench.instruct(seed=0)) == "seed_refused"
    assert bench.debits() == 0


def test_a_real_device_draws_noise_that_nobody_can_repeat(bench: Bench):
    change_home(bench, simulated=False)
    first = Update.from_bytes(bench.ask(bench.instruct(1, seed=None)).payload).delta
    second = Update.from_bytes(bench.ask(bench.instruct(2, seed=None)).payload).delta
    assert np.std(first - second) > 0


def test_a_plan_without_privacy_is_refused_by_a_private_device(bench: Bench):
    assert bench.refusal(bench.instruct(unit="none", noise_multiplier=0.0)) == "unit_refused"
    assert bench.debits() == 0


def test_a_device_trains_on_as_many_views_as_it_is_asked_to_at_the_same_price(bench: Bench):
    for number, views in ((1, 1), (2, 3)):
        delta = Update.from_bytes(bench.ask(bench.instruct(number, views=views)).payload).delta
        inputs, y = bench.worker.training_inputs(bench.resident.home, bench.task, bench.model, views)
        stream = seeded_stream(0, "train", bench.device, number)
        assert np.array_equal(delta, bench.model.train(bench.model.initial(), inputs, y, bench.plan, stream))
    with bench.ledger() as ledger:
        prices = [entry.body["event"] for entry in ledger.entries() if entry.kind == "debit"]
    assert len(prices) == 2
    assert prices[0] == prices[1]


def test_views_are_refused_before_the_debit_where_examples_have_none(bench: Bench):
    methods = ("local_data", "transform", "identity")
    plain = SimpleNamespace(name="plain", **{name: getattr(bench.task, name) for name in methods})
    bench.worker.tasks = {(bench.scenario.task, bench.scenario.model): plain}
    assert bench.refusal(bench.instruct(views=2)) == "views_refused"
    assert bench.debits() == 0
    assert bench.ask(bench.instruct(views=1)).header.kind is Kind.UPDATE


def test_a_head_without_torch_is_not_trained_against_attacks_and_nothing_is_debited(bench: Bench, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "torch" else found(name))
    asked = bench.instruct(adversarial="pgd", adversarial_epsilon=0.1)
    assert bench.refusal(asked) == "attacks_refused"
    assert bench.debits() == 0


def test_an_unknown_layout_is_refused_before_the_debit(bench: Bench):
    now = system_clock()
    header = Header(
        kind=Kind.INSTRUCTION, run=bench.folder.id, round=1, sender="coordinator", receiver=bench.device,
        model=bench.model.digest, nonce=secrets.token_bytes(16), in_reply_to=b"", issued=now, expires=now + 60_000,
    )  # fmt: skip
    for payload in (
        Instruction(bench.model.initial()[:-1], bench.model.layout.digest, bench.plan, 0).to_bytes(),
        Instruction(bench.model.initial(), "0" * 64, bench.plan, 0).to_bytes(),
    ):
        envelope = seal(header, payload, sender=bench.coordinator, receiver=bench.directory.get(bench.device))
        assert bench.refusal(envelope) == "wrong_layout"
    envelope = seal(header, b"\x00", sender=bench.coordinator, receiver=bench.directory.get(bench.device))
    assert bench.refusal(envelope) == "malformed"
    assert bench.debits() == 0


def test_a_stranger_who_calls_himself_coordinator_gets_no_answer(bench: Bench):
    with pytest.raises(EnvelopeRefusedError) as caught:
        bench.ask(bench.instruct(sender=Identity.generate("coordinator")))
    assert caught.value.reason == "not_authentic"
    assert bench.debits() == 0


def test_an_instruction_for_another_device_gets_no_answer(bench: Bench):
    other = next(name for name in bench.directory if name != bench.device)
    bench.device, mine = other, bench.device
    envelope = bench.instruct()
    bench.device = mine
    with pytest.raises(EnvelopeRefusedError) as caught:
        bench.ask(envelope)
    assert caught.value.reason == "not_for_us"


def test_only_the_trusted_coordinator_learns_who_a_node_is(bench: Bench):
    now = system_clock()
    challenge = Challenge(bench.folder.id, secrets.token_bytes(16), now + 1000).to_bytes()
    answer = answer_challenge(challenge, bench.coordinator.sign(CHALLENGE_DOMAIN, challenge), bench.resident, now=now)
    assert bench.device.encode() in answer  # the header is readable, the signature is what counts
    stranger = Identity.generate("coordinator")
    with pytest.raises(EnvelopeRefusedError):
        answer_challenge(challenge, stranger.sign(CHALLENGE_DOMAIN, challenge), bench.resident, now=now)
    with pytest.raises(EnvelopeRefusedError) as caught:
        answer_challenge(challenge, bench.coordinator.sign(CHALLENGE_DOMAIN, challenge), bench.resident, now=now + 2000)
    assert caught.value.reason == "expired"
