"""Promises of reading a ledger: what was changed, cut or made up is found, and every figure is qualified."""

import json
import stat

import pytest

from skerry.errors import (
    InputError,
    LedgerCorruptError,
)
from skerry.security.privacy import GaussianEvent, Ledger, Policy, verify_ledger
from skerry.security.privacy import ledger as ledger_module
from skerry.security.privacy.chain import walk

from ._ledger import EXAMPLE, NOW, new, spend


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ledger" / "writer-00.jsonl"


def test_a_head_that_was_seen_before_must_still_be_there(path):
    with new(path) as ledger:
        spend(ledger, 0)
        early = ledger.head
        spend(ledger, 1)
        late = ledger.head
    lines = path.read_bytes().splitlines(keepends=True)
    for head in (early, late):
        Ledger.open(path, expected_head=head).close()
    path.write_bytes(b"".join(lines[:-1]))  # cut cleanly: the file alone cannot show it
    assert verify_ledger(path, pld=False).problems == ()
    Ledger.open(path, expected_head=early).close()
    with pytest.raises(LedgerCorruptError, match="does not contain"):
        Ledger.open(path, expected_head=late)
    assert "does not contain" in verify_ledger(path, expected_head=late).problems[0]


def test_a_changed_ledger_is_refused_with_the_place_of_the_change(path):
    with new(path) as ledger:
        for round_ in range(3):
            spend(ledger, round_)
    text = path.read_text()
    path.write_text(text.replace('"noise_multiplier":2.8518', '"noise_multiplier":9.8518', 2))
    with pytest.raises(LedgerCorruptError) as refused:
        Ledger.open(path)
    assert "entry 1" in refused.value.what
    assert refused.value.where == str(path)
    report = verify_ledger(path)
    assert (report.entries, report.epsilon_rdp) == (1, None)
    assert "entry 1" in report.describe()


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"{}\n", b"null\n", b"\xff\xfe\n", b"[" * 100_000, b"[" * 100_000 + b"\n"]
)
def test_a_file_that_is_no_ledger_is_refused(path, content):
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(LedgerCorruptError):
        Ledger.open(path)
    assert verify_ledger(path).problems
    with pytest.raises(InputError, match="already"):
        new(path)


def test_a_missing_ledger_is_an_input_error(path):
    with pytest.raises(InputError, match="no ledger"):
        Ledger.open(path)
    with pytest.raises(InputError, match="cannot be read"):
        verify_ledger(path)


def rewrite(path, change):
    """A chain whose hashes fit, written by somebody who knows the format."""
    from skerry.security.privacy.chain import GENESIS, entry, line

    prev, lines = GENESIS, []
    for seq, (kind, body) in enumerate(change([(e.kind, dict(e.body)) for e in walk(path.read_bytes())])):
        made = entry(seq, prev, kind, NOW, body)
        prev = made.hash
        lines.append(line(made))
    path.write_bytes(b"".join(lines))


def test_the_auditor_finds_what_no_honest_writer_writes(path):
    with new(path) as ledger:
        for round_ in range(18):
            spend(ledger, round_)
    rewrite(path, lambda entries: [*entries, entries[-1]])
    assert any("debited before" in p for p in verify_ledger(path, pld=False).problems)
    rewrite(path, lambda entries: [*entries, ("debit", entries[-1][1] | {"event": None, "round": 99})])
    report = verify_ledger(path)
    assert any("without noise" in p for p in report.problems)
    assert (report.epsilon_rdp, report.epsilon_pld) == (None, None)
    rewrite(path, lambda entries: entries[:-2] + [("debit", entries[1][1] | {"round": r}) for r in range(100, 105)])
    assert any("more was spent" in p for p in verify_ledger(path, pld=False).problems)


@pytest.mark.parametrize(
    "change",
    [
        lambda entries: entries[1:],
        lambda entries: [("policy", entries[0][1] | {"epsilon": -1}), *entries[1:]],
        lambda entries: [("policy", entries[0][1] | {"surprise": 1}), *entries[1:]],
        lambda entries: [entries[0], ("debit", {"run": "r", "round": 1})],
        lambda entries: [entries[0], ("debit", entries[1][1] | {"event": {"noise_multiplier": "2"}})],
        lambda entries: [entries[0], ("debit", entries[1][1] | {"round": [1]})],
    ],
)
def test_entries_that_this_program_does_not_write_are_refused(path, change):
    with new(path) as ledger:
        spend(ledger, 0)
    rewrite(path, change)
    with pytest.raises(LedgerCorruptError):
        Ledger.open(path)
    assert verify_ledger(path).epsilon_rdp is None


def test_the_report_recomputes_by_two_accountants_and_qualifies_every_figure(path):
    with new(path) as ledger:
        for round_ in range(20):
            spend(ledger, round_)
        epsilon = ledger.epsilon()
    report = verify_ledger(path)
    assert report.epsilon_rdp == epsilon
    assert report.epsilon_pld == pytest.approx(7.437, abs=0.01)
    assert (report.scope, report.subject, report.policy, report.entries) == ("device", "writer-00", EXAMPLE, 21)
    for part in ("RDP", "PLD", "1e-05", "example", "add/remove"):
        assert part in report.describe()
    assert "simulated" not in report.describe()


def test_accountants_that_disagree_are_a_problem(path, monkeypatch):
    with new(path) as ledger:
        spend(ledger, 0)
        epsilon = ledger.epsilon()
    for theirs, problems in ((epsilon * 0.9, 0), (epsilon * 1.1, 1)):
        monkeypatch.setattr("skerry.security.privacy.verification.epsilon_pld", lambda *_args, it=theirs: it)
        assert len(verify_ledger(path).problems) == problems


def test_simulated_spending_is_always_labelled(path):
    with new(path, Policy(unit="example", epsilon=8.0, delta=1e-5, simulated=True)) as ledger:
        spend(ledger, 0)
    assert "simulated" in verify_ledger(path, pld=False).describe()
    assert Ledger.open(path).policy.simulated


def test_without_dp_accounting_the_report_has_no_second_figure(path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "dp_accounting", None)
    with new(path) as ledger:
        spend(ledger, 0, GaussianEvent(3.14159))
    report = verify_ledger(path)
    assert report.epsilon_pld is None
    assert report.epsilon_rdp > 0


def test_lines_are_what_the_format_says(path):
    with new(path) as ledger:
        spend(ledger, 0)
    for seq, line in enumerate(path.read_text("ascii").splitlines()):
        value = json.loads(line)
        assert list(value) == ["at", "body", "hash", "kind", "prev", "salt", "seq"]
        assert value["seq"] == seq
    assert stat.S_ISREG(path.stat().st_mode)
    assert ledger_module.__all__ == ["Debit", "Entry", "Ledger", "LedgerReport", "Policy", "Scope", "verify_ledger"]
