"""Whoever keeps one checkpoint of a ledger finds out whatever is done to it."""

import importlib.util
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def mutations():
    spec = importlib.util.spec_from_file_location("skerry_mutations", BENCHMARKS / "_mutations.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def test_random_mutations_are_found(mutations, tmp_path):
    tally = mutations.attack(mutations.victim(tmp_path), tmp_path, 500, seed=11)
    assert tally.missed == []
    assert set(tally.made) == set(mutations.MUTATIONS)


@pytest.mark.slow
def test_ten_thousand_random_mutations_are_found(mutations, tmp_path):
    tally = mutations.attack(mutations.victim(tmp_path), tmp_path, 10_000, seed=12)
    assert tally.missed == []


def test_a_ledger_that_only_grew_is_not_found_fault_with(mutations, tmp_path):
    from skerry.security.privacy import Ledger, verify_ledger

    seen = mutations.victim(tmp_path)
    path = tmp_path / "victim.jsonl"
    with Ledger.open(path) as ledger:
        ledger.record("note", {}, mutations.NOW)
    assert path.read_bytes().startswith(seen.data)
    assert verify_ledger(path, remembered=[seen.checkpoint], pld=False).problems == ()
