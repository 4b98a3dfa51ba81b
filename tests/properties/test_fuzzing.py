"""Mutated and random bytes, for all that is read from a network: refused with a code, or what somebody signed."""

import importlib
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
READERS = [
    "update, x25519",
    "instruction, p256",
    "update, xwing",
    "headers",
    "payloads",
    "manifests",
    "checkpoints",
    "log proofs",
    "wraps",
    "wrapped keys",
    "blobs",
    "chunks",
    "deltas",
    "sealed deltas",
    "statements",
]


@pytest.fixture(scope="module")
def fuzzing():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCHMARKS)
        yield importlib.import_module("_fuzzing")
        for name in ("_fuzzing", "_readers", "_release_readers"):
            sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def targets(fuzzing, tmp_path_factory):
    readers = importlib.import_module("_readers")
    return {target.name: target for target in readers.targets(tmp_path_factory.mktemp("fuzzing"))}


def test_every_reader_is_there_and_accepts_what_was_sent(targets, fuzzing):
    assert list(targets) == READERS
    for target in targets.values():
        for seed in target.seeds:
            assert target.read(seed) in {fuzzing.ACCEPTED, "as_signed", "as_said"}
            assert target.read(target.sign(target.inside[0])) in {fuzzing.ACCEPTED, "as_signed", "as_said"}


@pytest.mark.parametrize("name", READERS)
def test_nothing_is_accepted_that_nobody_sent(name, targets, fuzzing):
    tally = fuzzing.fuzz(targets[name], 600, seed=21, memory_every=10)
    assert tally.wrong == []
    assert tally.inputs == 600
    assert len(tally.reasons) > 1  # more than one way in was tried


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", READERS)
def test_nothing_is_accepted_of_a_hundred_thousand_in_all(name, targets, fuzzing):
    assert fuzzing.fuzz(targets[name], 100_000 // len(READERS) + 1, seed=22, memory_every=200).wrong == []


def test_a_reader_that_takes_what_nobody_sent_is_found(fuzzing, targets):
    """The search itself: a reader that checks nothing, one that crashes, one that says no code, one that hoards."""
    from dataclasses import replace

    honest = targets["update, x25519"]

    def hoard(data):
        _ = bytes(fuzzing.SLACK + (fuzzing.PROPORTION + 1) * max(len(data), 1))
        return "malformed"

    for read, word in (
        (lambda _: fuzzing.ACCEPTED, "accepted"),
        (lambda data: str(data[10**6]), "IndexError"),
        (lambda _: "because", "no reason code"),
        (hoard, "bytes of memory"),
    ):
        tally = fuzzing.fuzz(replace(honest, read=read), 20, seed=1, memory_every=1)
        assert len(tally.wrong) == 20
        assert word in tally.wrong[0]
