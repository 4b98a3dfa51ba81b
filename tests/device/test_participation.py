"""What a device will and will not do, with real keys, a real ledger and the real int8 base."""

import dataclasses
import errno
import importlib.util
import json
import os
import secrets
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from skerry.clock import system_clock
from skerry.device import participation
from skerry.device.ledgers import Ledgers
from skerry.device.participation import answer_challenge, participate
from skerry.device.protocol import CHALLENGE_DOMAIN, Challenge, Instruction, Update
from skerry.device.state import DeviceHome
from skerry.device.training.plan import TrainPlan
from skerry.device.worker import Worker, process_worker
from skerry.errors import EnvelopeRefusedError, InputError, RefusedError
from skerry.runfolder import RunFolder
from skerry.security.envelope import Expected, Header, Kind, envelope_digest, open_envelope, seal
from skerry.security.identity import Identity
from skerry.security.privacy import GaussianEvent
from skerry.security.privacy.ledger import Ledger
from skerry.security.privacy.stream import seeded_stream
from skerry.server.prepare import noise_for
from skerry.server.provision import coordinator_identity, device_directory


class Bench:
    """A coordinator at its desk, with one device."""

    def __init__(self, folder: RunFolder, home: Path) -> None:
        self.folder = folder
        self.scenario = folder.scenario
        self.coordinator = coordinator_identity(folder)
        self.directory = device_directory(folder)
        self.worker = Worker()
        shared = process_worker()
        self.worker.tasks, self.worker.models, self.worker.inputs = shared.tasks, shared.models, shared.inputs
        self.resident = self.worker.resident(home)
        self.device = self.resident.home.device
        self.task = self.worker.task(self.scenario.task, self.scenario.model)
        base = json.loads((folder.path / "model" / "base.json").read_text())
        self.model = self.worker.model(self.scenario.model, base["digest"], self.task)
        privacy = self.scenario.privacy
        self.plan = TrainPlan(
            epochs=self.scenario.training.epochs,
            learning_rate=self.scenario.training.learning_rate,
            batch_size=0,
            momentum=0.0,
            unit="example",
            clip=privacy.clip,
            noise_multiplier=noise_for(self.scenario),
            denominator=privacy.denominator,
        )

    def instruct(
        self,
        number: int = 1,
        *,
        sender: Identity | None = None,
        seed: int | None = 0,
        receipt: bytes = b"",
        nonce: bytes | None = None,
        run: str | None = None,
        **changes,
    ) -> bytes:
        now = system_clock()
        header = Header(
            kind=Kind.INSTRUCTION,
            run=run or self.folder.id,
            round=number,
            sender="coordinator",
            receiver=self.device,
            model=self.model.digest,
            nonce=nonce or secrets.token_bytes(16),
            in_reply_to=b"",
            receipt=receipt,
            issued=now,
            expires=now + 60_000,
        )
        instruction = Instruction(
            self.model.initial(), self.model.layout.digest, dataclasses.replace(self.plan, **changes), seed
        )
        return seal(
            header,
            instruction.to_bytes(),
            sender=sender or self.coordinator,
            receiver=self.directory.get(self.device),
        )

    def ask(self, envelope: bytes):
        answer = participate(envelope, self.resident, self.worker, system_clock)
        return open_envelope(
            answer,
            me=self.coordinator,
            directory=self.directory,
            expected=Expected(
                kind=frozenset({Kind.UPDATE, Kind.REFUSAL}),
                receiver="coordinator",
                sender=self.device,
                in_reply_to=envelope_digest(envelope),
            ),
            now=system_clock(),
            replay=None,
        )

    def refusal(self, envelope: bytes) -> str:
        opened = self.ask(envelope)
        assert opened.header.kind is Kind.REFUSAL
        return opened.payload.decode()

    def ledger(self) -> Ledger:
        return Ledger.open(self.resident.home.ledger)

    def debits(self) -> int:
        with self.ledger() as ledger:
            return sum(entry.kind == "debit" for entry in ledger.entries())


@pytest.fixture
def bench(prepared_run: RunFolder, tmp_path: Path) -> Bench:
    """An honest device with a home and a ledger of its own."""
    honest = next(
        home for p in sorted((prepared_run.path / "fleet").glob("*/device.json"))
        if (home := DeviceHome.load(p.parent)).hostile is None
    )  # fmt: skip
    copy = tmp_path / honest.device
    shutil.copytree(honest.path, copy)
    ledger = tmp_path / "ledger.jsonl"
    shutil.copy(honest.ledger, ledger)
    dataclasses.replace(honest, path=copy, ledger=ledger).save()
    return Bench(prepared_run, copy)


def change_home(bench: Bench, **changes) -> None:
    home = dataclasses.replace(bench.resident.home, **changes)
    bench.resident = dataclasses.replace(bench.resident, home=home)


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
        assert self.ready.wait(30)
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
    sealed = watched(monkeypatch, participation, "seal")
    disk = Disk(monkeypatch)
    held = bench.worker.ledgers.holding() if holding else nullcontext()
    with held, ThreadPoolExecutor(1) as pool:
        answer = pool.submit(participate, envelope, bench.resident, bench.worker, system_clock)
        assert trained.wait(30)  # while the disk is still busy with the debit
        assert not sealed.wait(0.2)
        disk.ready.set()
        answer.result(30)
    assert sealed.is_set()
    assert bench.debits() == 1


@pytest.mark.parametrize("holding", [True, False])
def test_a_debit_that_the_disk_does_not_take_stops_the_answer(bench: Bench, monkeypatch, holding: bool):
    sealed = watched(monkeypatch, participation, "seal")
    held = bench.worker.ledgers.holding() if holding else nullcontext()
    with held:
        with monkeypatch.context() as patch:
            Disk(patch, OSError(errno.EIO, "input/output error")).ready.set()
            with pytest.raises(OSError, match="input/output"):
                participate(bench.instruct(1), bench.resident, bench.worker, system_clock)
            assert not sealed.is_set()
        assert bench.ask(bench.instruct(2)).header.kind is Kind.UPDATE  # the ledger was read again
    assert bench.debits() == 2  # the first may be on the disk: it counts


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


def promised(bench: Bench, min_separation: int = 1, **changes) -> dict:
    """What makes of the bench's plan one of device-level privacy, for a device that promises nothing less."""
    home = bench.resident.home
    policy = dataclasses.replace(home.policy, unit="device", min_separation=min_separation)
    home.ledger.unlink()
    Ledger.create(home.ledger, scope="device", subject=home.device, policy=policy, now=0).close()
    object.__setattr__(home, "policy", policy)
    return {"unit": "device", "noise_multiplier": 2.0, "rounds": 9, "cohort_rate": 0.1, "clip": 1.0, **changes}


def test_the_first_participation_pays_for_the_whole_run_of_a_device_level_plan(bench: Bench):
    plan = promised(bench)
    for number in (2, 5, 9):
        assert bench.ask(bench.instruct(number, **plan)).header.kind is Kind.UPDATE
    with bench.ledger() as ledger:
        events = [entry.body["event"]["steps"] for entry in ledger.entries() if entry.kind == "debit"]
        assert events == [9, 0, 0]
        assert ledger.events() == [GaussianEvent(2.0, 0.1, 9)]
    assert bench.refusal(bench.instruct(10, **plan)) == "beyond_plan"
    assert bench.refusal(bench.instruct(5, **plan)) == "replayed"
    assert bench.debits() == 3


def test_what_one_run_paid_is_paid_again_by_the_next(bench: Bench):
    plan = promised(bench)
    bench.ask(bench.instruct(1, run="first", **plan))
    cheap = plan | {"noise_multiplier": 1e3}
    bench.ask(bench.instruct(1, run="second", **cheap))
    bench.ask(bench.instruct(2, run="second", **plan))
    with bench.ledger() as ledger:
        assert [entry.body["event"]["steps"] for entry in ledger.entries() if entry.kind == "debit"] == [9, 9, 9]


@pytest.mark.parametrize("change", [{"noise_multiplier": 1.9}, {"cohort_rate": 0.2}, {"rounds": 30}])
def test_a_device_level_plan_that_changes_its_price_is_paid_anew(bench: Bench, change):
    plan = promised(bench)
    bench.ask(bench.instruct(1, **plan))
    bench.ask(bench.instruct(2, **(plan | change)))
    with bench.ledger() as ledger:
        debits = [entry.body["event"] for entry in ledger.entries() if entry.kind == "debit"]
    assert [event["steps"] for event in debits] == [9, change.get("rounds", 9)]


def test_correlated_noise_is_paid_once_and_its_separation_kept(bench: Bench):
    plan = promised(bench, min_separation=3, separation=3, cohort_rate=1.0)
    for number in (1, 4):
        assert bench.ask(bench.instruct(number, **plan)).header.kind is Kind.UPDATE
    assert bench.refusal(bench.instruct(6, **plan)) == "too_soon"
    with bench.ledger() as ledger:
        assert ledger.events() == [GaussianEvent(2.0, 1.0, 1)]


def test_noise_that_counts_on_more_separation_than_the_device_keeps_is_refused(bench: Bench):
    plan = promised(bench, min_separation=3, separation=4, cohort_rate=1.0)
    assert bench.refusal(bench.instruct(1, **plan)) == "separation_refused"
    assert bench.debits() == 0


def test_a_device_that_hides_its_examples_does_not_send_them_in_the_open_under_another_unit(bench: Bench):
    assert bench.refusal(bench.instruct(1, unit="device", rounds=3)) == "unit_refused"
    assert bench.debits() == 0


def test_a_round_is_answered_once_and_the_same_again_to_who_asks_again(bench: Bench):
    envelope = bench.instruct()
    first = bench.ask(envelope)
    again = bench.ask(envelope)  # by a coordinator that lost the answer
    assert (again.payload, again.header.receipt) == (first.payload, first.header.receipt)
    assert bench.refusal(bench.instruct()) == "replayed"  # another instruction for the same round
    assert bench.debits() == 1
    bench.ask(bench.instruct(2))
    assert bench.refusal(envelope) == "replayed"  # others followed: its answer was sent
    assert bench.debits() == 2


def test_a_real_device_asked_again_sends_what_it_sent_and_draws_no_other_noise(bench: Bench, monkeypatch):
    change_home(bench, simulated=False)
    envelope = bench.instruct(seed=None)
    first = bench.ask(envelope)
    monkeypatch.setattr(type(bench.model), "train", lambda *_: pytest.fail("computed again, with other noise"))
    assert bench.ask(envelope).payload == first.payload
    assert bench.debits() == 1
    (bench.resident.home.path / "answer.cbor").write_bytes(b"torn")
    assert bench.refusal(envelope) == "malformed"  # what was sent is not known any more: nothing is computed again


def test_one_debit_never_pays_for_another_plan(bench: Bench):
    """A price of nothing is debited and the work fails; the same nonce with hardly any noise must not go through."""
    change_home(bench, simulated=False)
    same = {"seed": None, "nonce": bytes(range(16))}
    assert bench.refusal(bench.instruct(noise_multiplier=1e9, **same)) == "malformed"
    assert bench.debits() == 1
    assert bench.refusal(bench.instruct(noise_multiplier=1e-3, epochs=50, **same)) == "replayed"
    assert bench.refusal(bench.instruct(**same)) == "replayed"
    assert bench.debits() == 1


def test_an_answer_is_kept_before_anybody_else_can_use_the_ledger(bench: Bench, monkeypatch):
    change_home(bench, simulated=False)
    plain, tried = participation.keep_answer, []

    def keep(*given):
        with pytest.raises(RefusedError) as refused:
            Ledger.open(bench.resident.home.ledger)
        tried.append(refused.value.reason)
        return plain(*given)

    monkeypatch.setattr(participation, "keep_answer", keep)
    bench.ask(bench.instruct(seed=None))
    assert tried == ["ledger_in_use"]


def test_a_real_device_that_never_answered_does_the_work_under_the_debit_that_exists(bench: Bench, monkeypatch):
    change_home(bench, simulated=False)
    envelope = bench.instruct(seed=None)

    def crash(*_args, **_named):
        raise RuntimeError("power cut")

    with monkeypatch.context() as patched:
        patched.setattr("skerry.device.participation.keep_answer", crash)  # after training, before anything is sent
        with pytest.raises(RuntimeError, match="power cut"):
            participate(envelope, bench.resident, bench.worker, system_clock)
    assert bench.ask(envelope).header.kind is Kind.UPDATE
    assert bench.debits() == 1


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
