"""A device that is asked again: the same answer, under the debit that exists."""

import shutil

import pytest

from skerry.clock import system_clock
from skerry.device import participation
from skerry.device.agent.enrolled import LEDGER
from skerry.device.agent.leaving import forget_device
from skerry.device.ledgers import Ledgers
from skerry.device.participation import participate
from skerry.device.yielding import NotYetError
from skerry.errors import RefusedError
from skerry.security.envelope import Header, Kind
from skerry.security.privacy.ledger import Ledger

from ._participation import Bench, change_home


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


def test_an_instruction_that_was_held_back_until_later_ones_were_followed_is_refused(bench: Bench):
    """Whoever carries messages cannot reorder them: nobody waits for that answer, and it would cost privacy."""
    cheap = 4 * bench.plan.noise_multiplier  # the budget is for two rounds with the scenario's noise

    def ask(number: int, run: str | None = None):
        bench.ask(bench.instruct(number, run=run, noise_multiplier=cheap))

    held = bench.instruct(2, noise_multiplier=cheap)
    ask(1)
    ask(3)
    assert bench.refusal(held) == "out_of_order"
    assert bench.debits() == 2
    ask(4)
    ask(2, run="another")  # the order is each run's own
    assert bench.debits() == 4


def test_a_real_device_asked_again_sends_what_it_sent_and_draws_no_other_noise(bench: Bench, monkeypatch):
    change_home(bench, simulated=False)
    envelope = bench.instruct(seed=None)
    first = bench.ask(envelope)
    monkeypatch.setattr(type(bench.model), "train", lambda *_: pytest.fail("computed again, with other noise"))
    assert bench.ask(envelope).payload == first.payload
    assert bench.debits() == 1
    bench.resident.home.ledger.with_name(f"{bench.resident.home.ledger.stem}.answer.cbor").write_bytes(b"torn")
    assert bench.refusal(envelope) == "malformed"  # what was sent is not known any more: nothing is computed again


def test_a_device_that_forgot_and_is_enrolled_again_in_its_folder_gives_no_second_answer_under_its_debit(
    bench: Bench, tmp_path
):
    assert bench.resident.home.ledger == tmp_path / LEDGER
    change_home(bench, simulated=False)
    envelope = bench.instruct(seed=None)
    assert bench.ask(envelope).header.kind is Kind.UPDATE
    forget_device(tmp_path)
    bench.worker.ledgers = Ledgers()  # of another process
    assert bench.refusal(envelope) == "answer_forgotten"
    bench.ask(bench.instruct(2, seed=None))
    assert bench.debits() == 2


def test_one_debit_never_pays_for_another_plan(bench: Bench):
    """A price of nothing is debited and the work fails; the same nonce with hardly any noise must not go through."""
    change_home(bench, simulated=False)
    same = {"seed": None, "nonce": bytes(range(16))}
    assert bench.refusal(bench.instruct(noise_multiplier=1e9, **same)) == "malformed"
    assert bench.debits() == 1
    assert bench.refusal(bench.instruct(noise_multiplier=1e-3, epochs=50, **same)) == "replayed"
    assert bench.refusal(bench.instruct(**same)) == "replayed"
    assert bench.debits() == 1


def test_a_device_put_back_from_a_copy_draws_no_other_noise(bench: Bench, monkeypatch):
    change_home(bench, simulated=False)
    envelope = bench.instruct(seed=None)
    home, copy = bench.resident.home.path, bench.resident.home.path.with_name("copy")
    shutil.copytree(home, copy)
    first = bench.ask(envelope)
    shutil.rmtree(home)
    copy.rename(home)  # its ledger lies elsewhere and is as it was
    monkeypatch.setattr(type(bench.model), "train", lambda *_: pytest.fail("computed again, with other noise"))
    assert bench.ask(envelope).payload == first.payload


def test_the_same_words_about_another_model_are_another_instruction():
    def header(model: str) -> Header:
        return Header(
            kind=Kind.INSTRUCTION, run="run", round=1, sender="coordinator", receiver="device", model=model,
            nonce=bytes(16), in_reply_to=b"", issued=0, expires=1,
        )  # fmt: skip

    words = bytes(32)
    assert participation._name(header("a" * 64), words) != participation._name(header("b" * 64), words)
    assert participation._name(header("a" * 64), words) != participation._name(header("a" * 64), bytes([1] * 32))


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


def test_an_instruction_whose_base_cannot_be_fetched_now_is_not_refused_and_costs_nothing(bench: Bench):
    def down(digest: str) -> None:
        raise NotYetError("the gateway is being started")

    bench.worker.models, bench.worker.fetch, missing = {}, down, bench.instruct(model="0" * 64)
    with pytest.raises(NotYetError):
        participate(missing, bench.resident, bench.worker, system_clock)
    assert bench.debits() == 0
