"""A ledger as a tree of salted leaves: one root for all of it, proofs that others check, and entries forgotten."""

import json
import os

import pytest
from pymerkle import InmemoryTree
from pymerkle import verify_inclusion as their_inclusion

from skerry.errors import BudgetExceededError, InputError, LedgerCorruptError, RefusedError
from skerry.security.privacy import GaussianEvent, Ledger, Policy, verify_ledger
from skerry.security.privacy.chain import GENESIS, entry, leaf, line, walk
from skerry.security.privacy.verification import read_ledger, tree_of
from skerry.security.transparency import leaf_hash

NOW = 1_763_900_000_000
POLICY = Policy(unit="example", epsilon=8.0, delta=1e-5, simulated=False)
MINUTE = 60_000


def new(path, **policy):
    return Ledger.create(path, scope="device", subject="d", policy=Policy(**vars(POLICY) | policy), now=NOW)


def spend(ledger, round_, run="run", now=NOW):
    return ledger.debit(run, round_, GaussianEvent(1000.0), nonce="00", now=now)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ledger.jsonl"


def test_the_root_is_that_of_another_implementation_over_the_leaves(path):
    with new(path) as ledger:
        for round_ in range(11):
            spend(ledger, round_)
        theirs = InmemoryTree(algorithm="sha256")
        entries = list(ledger.entries())
        for found in entries:
            theirs.append_entry(leaf(found))
        assert ledger.checkpoint().root == theirs.get_root()
        assert ledger.checkpoint(5).root == theirs.get_root(5)
        for found in entries:
            assert found.hash == leaf_hash(leaf(found)).hex()
            their_inclusion(bytes.fromhex(found.hash), ledger.checkpoint().root, theirs.prove_inclusion(found.seq + 1))
        kept = ledger.checkpoint()
    assert verify_ledger(path, pld=False).checkpoint == kept
    with Ledger.open(path) as ledger:
        assert ledger.checkpoint() == kept
        spend(ledger, 99)
        assert ledger.checkpoint().size == kept.size + 1


def test_equal_events_have_leaves_that_tell_nothing_of_it():
    body = {"device": "writer-00"}
    one, two = entry(0, GENESIS, "member", NOW, body), entry(0, GENESIS, "member", NOW, body)
    assert one.commitment != two.commitment
    assert b"writer" not in leaf(one)


def test_what_is_erased_is_gone_and_every_proof_still_holds(path):
    with new(path) as ledger:
        made = ledger.record_all([("member", {"device": name}) for name in ("ann", "ben")], NOW)
        spend(ledger, 1)
        before = ledger.checkpoint()
        proof = tree_of(ledger.entries()).inclusion_proof(made[0].seq)
        ledger.erase([made[0].seq], NOW)
        with pytest.raises(RefusedError, match="no longer"):
            spend(ledger, 2)
    text = path.read_text()
    assert "ann" not in text
    assert made[0].salt not in text
    assert "ben" in text
    report = verify_ledger(path, remembered=[before], pld=False)
    assert report.problems == ()
    with Ledger.open(path) as ledger:
        assert ledger.checkpoint(before.size) == before
        gone = list(ledger.entries())[made[0].seq]
        assert (gone.erased, gone.body, gone.hash, gone.kind) == (True, {}, made[0].hash, "member")
        assert tree_of(ledger.entries()).inclusion_proof(made[0].seq, before.size) == proof
        assert ledger.epsilon() == read_ledger(path).spending.epsilon(POLICY.delta) > 0
        spend(ledger, 2)
        ledger.erase([made[0].seq, made[1].seq], NOW)  # again, with another
    assert "ben" not in path.read_text()
    assert verify_ledger(path, remembered=[before], pld=False).problems == ()


def test_what_a_ledger_counts_by_is_never_erased(path):
    with new(path) as ledger:
        spent = spend(ledger, 1)
        before = path.read_bytes()
        for seqs in ([0], [spent.seq], [5]):
            with pytest.raises(InputError):
                ledger.erase(seqs, NOW)
        with pytest.raises(InputError, match="by hand"):
            ledger.record("erasure", {"entries": [1]}, NOW)
        assert path.read_bytes() == before
    lines = before.splitlines(keepends=True)
    fields = json.loads(lines[1])
    fields["commitment"] = spent.commitment
    del fields["body"], fields["salt"]
    forged = json.dumps(fields, sort_keys=True, separators=(",", ":")).encode() + b"\n"
    with pytest.raises(LedgerCorruptError, match="entry 1 was changed"):
        list(walk(lines[0] + forged))
    path.write_bytes(lines[0] + forged)
    with pytest.raises(LedgerCorruptError, match="entry 1 was changed"):
        Ledger.open(path)


def test_content_that_went_without_an_erasure_is_found(path):
    from skerry.security.privacy.chain import erased

    with new(path) as ledger:
        ledger.record("release", {"x": 1}, NOW)
    lines = [line(e if e.kind != "release" else erased(e)) for e in walk(path.read_bytes())]
    path.write_bytes(b"".join(lines))
    assert any("no erasure says why" in problem for problem in verify_ledger(path, pld=False).problems)


def test_an_erasure_cut_short_is_found_and_can_be_finished(path, monkeypatch):
    ledger = new(path)
    ledger.record("member", {"device": "ann"}, NOW)

    def crash(*_args, **_kwargs):
        raise OSError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr("skerry.security.privacy.journal.write_atomic", crash)
        with pytest.raises(OSError, match="power cut"):
            ledger.erase([1], NOW)
    ledger.close()
    assert "not finished" in verify_ledger(path, pld=False).problems[0]
    with Ledger.open(path) as again:
        again.erase([1], NOW)
    assert verify_ledger(path, pld=False).problems == ()
    assert "ann" not in path.read_text()


def test_whoever_waited_for_a_ledger_that_is_rewritten_does_not_write_to_the_old_one(path, monkeypatch):
    new(path).close()
    real = os.open

    def slow(name, flags, *args):
        fd = real(name, flags, *args)
        if str(name) == str(path) and flags & os.O_APPEND:
            other = path.with_name("other")
            other.write_bytes(path.read_bytes())
            other.replace(path)
        return fd

    monkeypatch.setattr(os, "open", slow)
    with pytest.raises(RefusedError) as refused:
        Ledger.open(path)
    assert refused.value.reason == "ledger_in_use"


def test_an_older_copy_is_found_by_whoever_keeps_a_checkpoint(path):
    with new(path) as ledger:
        spend(ledger, 1)
        older = path.read_bytes()
        early = ledger.checkpoint()
        spend(ledger, 2)
        kept = ledger.checkpoint()
    assert verify_ledger(path, remembered=[early, kept], pld=False).problems == ()
    path.write_bytes(older)
    assert verify_ledger(path, remembered=[early], pld=False).problems == ()
    assert "does not extend" in verify_ledger(path, remembered=[kept], pld=False).problems[0]
    with Ledger.open(path) as ledger:  # another history of the same length
        spend(ledger, 3)
    assert "does not extend" in verify_ledger(path, remembered=[kept], pld=False).problems[0]


def test_a_batch_is_one_write_and_one_wait(path, monkeypatch):
    calls = []
    with new(path) as ledger:
        monkeypatch.setattr(os, "fsync", calls.append)
        made = ledger.record_all([("release", {"n": n}) for n in range(100)], NOW)
        assert len(calls) == 1
        assert [e.seq for e in made] == list(range(1, 101))
    assert verify_ledger(path, pld=False).entries == 101


def test_rounds_closer_than_the_separation_are_refused_across_restarts(path):
    with new(path, min_separation=3) as ledger:
        spend(ledger, 4)
        for round_ in (2, 3, 5, 6):
            with pytest.raises(BudgetExceededError) as refused:
                spend(ledger, round_)
            assert refused.value.reason == "too_soon"
        assert len(ledger) == 2
    with Ledger.open(path) as ledger:
        with pytest.raises(BudgetExceededError, match="round 4"):
            spend(ledger, 6)
        spend(ledger, 7)
        spend(ledger, 1)
        spend(ledger, 4, run="another")
    assert verify_ledger(path, pld=False).problems == ()


def test_a_separation_of_any_size_is_kept_and_costs_nothing(path):
    with new(path, min_separation=10**15) as ledger:
        spend(ledger, 4)
        with pytest.raises(BudgetExceededError, match="round 4"):
            spend(ledger, 10**14)
        spend(ledger, 4 + 10**15)
        spend(ledger, 5, run="another")
    assert verify_ledger(path, pld=False).problems == ()


def test_participations_are_counted_over_all_runs(path):
    with new(path, max_participations=2, unit="none") as ledger:
        spend(ledger, 1, run="a")
        spend(ledger, 1, run="b")
    with Ledger.open(path) as ledger, pytest.raises(BudgetExceededError) as refused:
        spend(ledger, 1, run="c")
    assert refused.value.reason == "participations_used"
    assert len(read_ledger(path).spending.events()) == 1


def test_an_auditor_finds_participations_that_the_policy_forbids(path):
    for policy, said in (({"min_separation": 5}, "too close"), ({"max_participations": 1}, "more participations")):
        path.unlink(missing_ok=True)
        with new(path) as ledger:
            spend(ledger, 1)
            spend(ledger, 2)
        prev, lines = GENESIS, []
        for found in walk(path.read_bytes()):
            body = dict(found.body) | (policy if found.kind == "policy" else {})
            made = entry(found.seq, prev, found.kind, found.at, body)
            prev = made.hash
            lines.append(line(made))
        path.write_bytes(b"".join(lines))
        assert any(said in problem for problem in verify_ledger(path, pld=False).problems)


def test_a_clock_set_back_is_refused_and_small_corrections_are_not(path):
    with new(path) as ledger:
        spend(ledger, 1, now=NOW + 60 * MINUTE)
        spend(ledger, 2, now=NOW + 58 * MINUTE)
        with pytest.raises(RefusedError) as refused:
            spend(ledger, 3, now=NOW)
        assert refused.value.reason == "clock_set_back"
        assert len(ledger) == 3
        spend(ledger, 3, now=NOW + 61 * MINUTE)


def test_a_ledger_of_the_first_format_is_refused_by_name(path):
    old = {"at": NOW, "body": {}, "hash": "0" * 64, "kind": "policy", "prev": "0" * 64, "seq": 0}
    path.write_text(json.dumps(old, sort_keys=True, separators=(",", ":")) + "\n")
    with pytest.raises(LedgerCorruptError, match="format 1"):
        Ledger.open(path)
    assert "format 1" in verify_ledger(path).problems[0]
