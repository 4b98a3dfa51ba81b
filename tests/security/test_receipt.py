"""A receipt proves what a device's ledger held: to anybody, and only what the device itself signed."""

import os
from dataclasses import replace

import pytest

from skerry.errors import InputError, RefusedError
from skerry.security import Directory, Expected, Header, Identity, Kind, open_envelope, seal
from skerry.security.privacy import GaussianEvent, Ledger, Policy
from skerry.security.privacy.receipt import Receipt, SignedReceipt
from skerry.security.privacy.verification import tree_of

NOW = 1_800_000_000_000
ANN, COORDINATOR = Identity.generate("ann"), Identity.generate("coordinator")
POLICY = Policy(unit="example", epsilon=8.0, delta=1e-5, simulated=False)


def sent(receipt: bytes, payload: bytes = b"delta"):
    header = Header(
        kind=Kind.UPDATE, run="run", round=3, sender="ann", receiver="coordinator", model="", nonce=os.urandom(16),
        in_reply_to=b"", receipt=receipt, issued=NOW, expires=NOW + 1000,
    )  # fmt: skip
    return open_envelope(
        seal(header, payload, sender=ANN, receiver=COORDINATOR.public),
        me=COORDINATOR,
        directory=Directory({"ann": ANN.public}),
        expected=Expected(kind=frozenset({Kind.UPDATE}), receiver="coordinator"),
        now=NOW,
        replay=None,
    )


@pytest.fixture
def ledger(tmp_path):
    with Ledger.create(tmp_path / "ann.jsonl", scope="device", subject="ann", policy=POLICY, now=NOW) as made:
        made.record("note", {}, NOW)
        for number in (2, 3):
            made.debit("run", number, GaussianEvent(100.0), nonce="00", now=NOW)
        yield made


def receipt_of(ledger: Ledger) -> SignedReceipt:
    state = ledger.checkpoint()
    receipt = Receipt("run", 3, "ann", ledger.head, state.size, state.root.hex())
    return SignedReceipt.take(receipt, sent(receipt.digest))


def test_a_receipt_is_checked_by_a_third_party_also_when_the_ledger_has_grown(ledger):
    kept = receipt_of(ledger)
    again = SignedReceipt.from_json(kept.to_json(), run="run", round=3, device="ann")
    assert again == kept
    again.check_signed(ANN.public)
    for _ in range(2):
        entries = list(ledger.entries())
        again.check_against(entries, tree_of(entries))
        ledger.debit("run", 4 + len(entries), GaussianEvent(100.0), nonce="00", now=NOW)


@pytest.mark.parametrize(
    "change",
    [
        {"run": "another"}, {"round": 4}, {"device": "ben"}, {"leaf": "ab" * 32}, {"size": 3}, {"root": "cd" * 32},
    ],
)  # fmt: skip
def test_nobody_makes_a_receipt_say_something_else(ledger, change):
    kept = receipt_of(ledger)
    forged = replace(kept, receipt=replace(kept.receipt, **change))
    with pytest.raises(RefusedError):
        forged.check_signed(ANN.public)


def test_a_signature_of_another_key_or_another_message_is_no_receipt(ledger):
    kept = receipt_of(ledger)
    with pytest.raises(RefusedError):
        kept.check_signed(COORDINATOR.public)
    without = sent(b"")
    with pytest.raises(RefusedError):
        replace(kept, body=without.body.hex(), signature=without.signature.hex()).check_signed(ANN.public)
    for broken in ({"body": "zz"}, {"signature": ""}, {"body": ""}, {"signature": "00" * 64}):
        with pytest.raises(RefusedError):
            replace(kept, **broken).check_signed(ANN.public)
    with pytest.raises(InputError, match="not the one that was signed"):
        SignedReceipt.take(kept.receipt, without)


def test_a_ledger_that_lost_or_changed_its_past_contradicts_the_receipt(ledger, tmp_path):
    kept = receipt_of(ledger)
    entries = list(ledger.entries())
    with pytest.raises(RefusedError, match="3 entries"):
        kept.check_against(entries[:3], tree_of(entries[:3]))
    with Ledger.create(tmp_path / "other.jsonl", scope="device", subject="ann", policy=POLICY, now=NOW) as other:
        for number in (1, 2, 3):
            other.debit("run", number, GaussianEvent(100.0), nonce="00", now=NOW)
        with pytest.raises(RefusedError, match="another past"):
            kept.check_against(list(other.entries()), tree_of(other.entries()))


def test_a_receipt_for_an_entry_that_is_not_the_debit_is_refused(ledger):
    state = ledger.checkpoint(2)
    receipt = Receipt("run", 3, "ann", list(ledger.entries())[1].hash, state.size, state.root.hex())
    entries = list(ledger.entries())
    with pytest.raises(RefusedError, match="not the debit"):
        SignedReceipt(receipt, "00" * 32, "00" * 64).check_against(entries, tree_of(entries))


@pytest.mark.parametrize(
    "value", [{}, {"leaf": 1}, {"leaf": "a", "size": True, "root": "", "body": "", "signature": ""}]
)
def test_what_is_no_receipt_is_refused(value):
    with pytest.raises(InputError):
        SignedReceipt.from_json(value, run="r", round=1, device="ann")
