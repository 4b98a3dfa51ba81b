"""A witness takes a newer state of a log with proof only, keeps what it saw, and what it refused."""

import json
from pathlib import Path

import pytest

from skerry.errors import InputError, RefusedError
from skerry.security.transparency import Checkpoint, MerkleTree, leaf_hash
from skerry.security.transparency.witness import Seen, Witness

LOG = "run/ann"


def tree(*leaves: str) -> MerkleTree:
    return MerkleTree(leaf_hash(leaf.encode()) for leaf in leaves)


def state(log: MerkleTree, note: str = "", origin: str = "log") -> Seen:
    return Seen(Checkpoint(origin, len(log), log.root()), note)


@pytest.fixture
def witness(tmp_path: Path) -> Witness:
    return Witness(tmp_path / "memory")


def take(witness: Witness, log: MerkleTree, note: str = "") -> Seen | None:
    return witness.witness(LOG, state(log, note), log.consistency_proof)


def test_a_log_that_grows_is_followed(witness):
    assert witness.recall(LOG) is None
    assert take(witness, tree("a", "b"), "first note") is None
    assert take(witness, tree("a", "b")) == state(tree("a", "b"), "first note")
    assert witness.recall(LOG) == state(tree("a", "b"), "first note")  # the same state: the signed note is kept
    assert take(witness, tree("a", "b", "c", "d", "e")) == state(tree("a", "b"), "first note")
    assert witness.recall(LOG) == state(tree("a", "b", "c", "d", "e"))


@pytest.mark.parametrize("other", [("a",), ("a", "x"), ("x", "b", "c"), ("b", "a"), (), ("a", "x", "c", "d")])
def test_a_log_that_did_not_only_grow_is_refused_and_the_memory_stays(witness, tmp_path, other):
    take(witness, tree("a", "b"), "signed once")
    for number in (1, 2):
        with pytest.raises(RefusedError):
            take(witness, tree(*other), "signed twice")
        assert witness.recall(LOG) == state(tree("a", "b"), "signed once")
        kept = json.loads((tmp_path / "memory" / f"run%2Fann.refused-{number}.json").read_text())
        assert (kept["note"], kept["size"]) == ("signed twice", len(other))


def test_a_proof_that_somebody_else_made_up_is_refused(witness):
    take(witness, tree("a", "b", "c"))
    with pytest.raises(RefusedError):
        witness.witness(LOG, state(tree("x", "y", "z", "w")), tree("a", "b", "c", "w").consistency_proof)


def test_another_log_under_the_same_name_is_refused(witness):
    take(witness, tree("a"))
    with pytest.raises(RefusedError, match="another log"):
        witness.witness(LOG, state(tree("a", "b"), origin="other"), tree("a", "b").consistency_proof)


@pytest.mark.parametrize("damage", ["", "{}", "[1]", '{"schema": 1, "log": "run/ben"}', "\xff"])
def test_a_damaged_memory_does_not_pass_for_never_seen(witness, tmp_path, damage):
    take(witness, tree("a"))
    (tmp_path / "memory" / "run%2Fann.json").write_text(damage, encoding="latin-1")
    with pytest.raises(InputError, match="remembers"):
        take(witness, tree("a", "b"))
