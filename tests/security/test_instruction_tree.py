"""A round's instructions can be shown one by one, and none of them tells of another."""

import json
from dataclasses import replace
from hashlib import sha256

import pytest

from skerry.errors import InputError, RefusedError
from skerry.security import Identity
from skerry.security.transparency import NoteSigner
from skerry.security.transparency.events import Event, EventKind
from skerry.security.transparency.instructions import InstructionTree, Opening
from skerry.security.transparency.log import Log
from skerry.security.transparency.proof import LogProof

NOW = 1_800_000_000_000
SIGNER = NoteSigner("skerry/log/test", Identity.generate("log").signing)


def sent(count):
    return {f"device-{number:05d}": sha256(str(number).encode()).digest() for number in range(count)}


@pytest.mark.parametrize("count", [1, 2, 3, 20])
def test_each_instruction_is_shown_under_the_root(count):
    digests = sent(count)
    tree = InstructionTree.from_json(json.loads(json.dumps(InstructionTree.of(digests).to_json())))
    for device, digest in digests.items():
        opening = Opening.from_json(json.loads(json.dumps(tree.open(device).to_json())))
        opening.verify(tree.root())
        assert (opening.device, opening.digest) == (device, digest)
    with pytest.raises(InputError, match="was sent no instruction"):
        tree.open("stranger")


def test_anything_else_is_not_under_the_root():
    tree, other = InstructionTree.of(sent(5)), InstructionTree.of(sent(5))
    good = tree.open("device-00001")
    for bad in (
        replace(good, device="device-00002"),
        replace(good, digest=bytes(32)),
        replace(good, salt=bytes(16)),
        replace(good, index=(good.index + 1) % 8),
        replace(good, index=good.index + 8),
        replace(good, path=good.path[:-1]),
        replace(good, path=other.open("device-00001").path),
    ):
        with pytest.raises(RefusedError):
            bad.verify(tree.root())
    form = good.to_json()
    for change in (
        {"x": 1},
        {"index": True},
        {"salt": "00"},
        {"digest": "00"},
        {"path": ["zz"]},
        {"path": ["00" * 32] * 64},
        {"device": 7},
        {"device": "\ud800"},
    ):
        with pytest.raises(InputError):
            Opening.from_json(form | change)
    for bad in (None, {}, []):
        with pytest.raises(InputError):
            Opening.from_json(bad)


def test_what_one_shows_does_not_tell_who_else_was_asked():
    digests = sent(5)
    one, other = InstructionTree.of(digests), InstructionTree.of(sent(8))
    assert one.root() != InstructionTree.of(digests).root()  # nobody finds it by trying cohorts
    shown = json.dumps(one.open("device-00003").to_json())
    assert not any(device in shown for device in digests if device != "device-00003")
    assert not any(digest.hex() in shown for device, digest in digests.items() if device != "device-00003")
    assert len(one.open("device-00003").path) == len(other.open("device-00003").path)  # nor how many exactly
    places = [InstructionTree.of(digests).open("device-00003").index for _ in range(40)]
    assert len(set(places)) > 3  # nor by its place who stood before it


def test_a_cohort_of_any_size_is_one_small_entry(tmp_path):
    digests = sent(13_000)
    tree = InstructionTree.of(digests)
    log = Log(tmp_path, SIGNER)
    log.append([Event(EventKind.INSTRUCTIONS, {"run": "r", "round": 1, "root": tree.root().hex()})], NOW)
    proof = replace(log.prove(0), opening=tree.open("device-12345"))
    told = json.dumps(proof.to_json())
    assert len(told) < 4_000
    LogProof.from_json(json.loads(told)).verify(SIGNER.key)
    for opening in (InstructionTree.of(digests).open("device-12345"), replace(proof.opening, device="device-00001")):
        with pytest.raises(RefusedError):
            replace(proof, opening=opening).verify(SIGNER.key)


def test_an_entry_about_something_else_opens_to_no_instruction(tmp_path):
    tree = InstructionTree.of(sent(2))
    log = Log(tmp_path, SIGNER)
    log.append([Event(EventKind.LEDGER_HEAD, {"ledger": "l", "size": 1, "root": tree.root().hex()})], NOW)
    log.append([Event(EventKind.INSTRUCTIONS, {"run": "r", "round": 1, "root": root}) for root in (7, "zz", "00")], NOW)
    for number in range(4):
        with pytest.raises(RefusedError, match=r"holds no instructions|malformed|hash|root"):
            replace(log.prove(number), opening=tree.open("device-00001")).verify(SIGNER.key)
