"""One log for what others rely on: proofs that need no trust, nothing lost, nothing changed, names that can go."""

import json
import multiprocessing
from dataclasses import replace

import pytest

from skerry.errors import InputError, LedgerCorruptError, RefusedError
from skerry.security import Identity
from skerry.security.transparency import Checkpoint, NoteSigner, Seen, TiledTree, Witness
from skerry.security.transparency.log import Event, EventKind, Log, LogProof

NOW = 1_800_000_000_000
SIGNER = NoteSigner("skerry/log/test", Identity.generate("log").signing)
EVENTS = [
    Event(EventKind.ENROLMENT, {"device": "writer-00", "key": "ab" * 32, "role": "device"}),
    Event(EventKind.INSTRUCTIONS, {"run": "r", "round": 1, "digests": {"writer-00": "cd" * 32}}),
    Event(EventKind.VERDICTS, {"run": "r", "round": 1, "digest": "ef" * 32}),
    Event(EventKind.LEDGER_HEAD, {"ledger": "population", "size": 7, "root": "01" * 32}),
    Event(EventKind.RELEASE, {"name": "digits", "version": 1, "manifest": "23" * 32}),
    Event(EventKind.REVOCATION, {"device": "writer-00", "key": "ab" * 32, "reason": "lost"}),
]


@pytest.fixture
def log(tmp_path):
    return Log(tmp_path / "log", SIGNER)


def published(log):
    folder = log._publisher.folder
    note = (folder / "checkpoint").read_text()
    state = Checkpoint.open(note, [SIGNER.key], origin="skerry/log/test")
    return folder, note, state


def test_every_kind_is_entered_and_proved_to_whoever_has_the_key(log):
    entries = log.append(EVENTS, NOW)
    assert [one.kind for one in entries] == [event.kind.value for event in EVENTS]
    for number, event in enumerate(EVENTS):
        proof = LogProof.from_json(json.loads(json.dumps(log.prove(number).to_json())))
        assert proof.verify(SIGNER.key) == log.checkpoint()
        assert (proof.entry.kind, dict(proof.entry.body)) == (event.kind, dict(event.body))


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.kind)
def test_an_entry_says_what_its_kind_says(event):
    for body in ({}, {**event.body, "more": 1}, dict(list(event.body.items())[1:])):
        with pytest.raises(InputError, match="has the fields"):
            Event(event.kind, body)


def test_a_proof_of_anything_else_is_refused(log, tmp_path):
    log.append(EVENTS, NOW)
    good, other = log.prove(0), log.prove(4)
    stranger = NoteSigner("skerry/log/test", Identity.generate("log").signing)
    elsewhere = Log(tmp_path / "other", SIGNER)
    elsewhere.append(EVENTS, NOW)  # the same events under other salts
    for bad in (
        replace(good, path=other.path),
        replace(good, path=good.path[:-1]),
        replace(good, entry=other.entry),
        replace(good, entry=replace(good.entry, seq=1)),
        replace(good, entry=replace(good.entry, body={**good.entry.body, "device": "writer-01"})),
        replace(good, entry=replace(good.entry, kind="revocation")),
        replace(good, entry=replace(good.entry, salt="00" * 16)),
        replace(good, checkpoint=log.checkpoint().sign(stranger)),
        replace(good, checkpoint=elsewhere.checkpoint().sign(SIGNER)),
        replace(good, checkpoint=good.checkpoint.replace("\n6\n", "\n7\n")),
    ):
        with pytest.raises(RefusedError):
            bad.verify(SIGNER.key)
    good.verify(SIGNER.key)
    for form in (
        None,
        {},
        {**good.to_json(), "path": ["zz"]},
        {**good.to_json(), "entry": {}},
        {**good.to_json(), "x": 1},
    ):
        with pytest.raises(InputError):
            LogProof.from_json(form)


def test_the_published_part_lets_a_witness_follow_and_tells_nothing(log, tmp_path):
    witness = Witness(tmp_path / "memory")
    for number, event in enumerate(EVENTS):
        log.append([event], NOW + number)
        folder, note, state = published(log)
        assert state == log.checkpoint()
        tree = TiledTree(folder, state.size)
        assert tree.root() == state.root
        witness.witness("log", Seen(state, note), tree.consistency_proof)
    told = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    assert b"writer" not in told
    assert b"digits" not in told


def test_a_witness_finds_a_log_that_was_written_anew(log, tmp_path):
    witness = Witness(tmp_path / "memory")
    log.append(EVENTS, NOW)
    folder, note, state = published(log)
    witness.witness("log", Seen(state, note), TiledTree(folder, state.size).consistency_proof)
    forged = Log(tmp_path / "forged", SIGNER)
    forged.append([*EVENTS[:5], EVENTS[0]], NOW)  # the revocation never happened
    folder, note, state = published(forged)
    with pytest.raises(RefusedError):
        witness.witness("log", Seen(state, note), TiledTree(folder, state.size).consistency_proof)


def test_two_who_have_it_open_see_one_anothers_entries(log, tmp_path):
    other = Log(tmp_path / "log", SIGNER)
    log.append(EVENTS[:2], NOW)
    other.append(EVENTS[2:4], NOW)
    log.append(EVENTS[4:], NOW)
    assert [one.kind for one in other.entries()] == [event.kind.value for event in EVENTS]
    assert other.checkpoint() == log.checkpoint() == Log(tmp_path / "log", SIGNER).checkpoint()


def _write(folder, signer_key, times):
    log = Log(folder, NoteSigner("skerry/log/test", signer_key()))
    for _ in range(times):
        log.append([EVENTS[3]], NOW)


def _key():
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


def test_processes_take_turns(tmp_path):
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_write, args=(tmp_path / "log", _key, 5)) for _ in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    assert len(Log(tmp_path / "log", NoteSigner("skerry/log/test", _key()))) == 15


@pytest.mark.parametrize("left", [1, 20, 200])
def test_what_a_crash_left_half_written_does_not_count(log, tmp_path, left):
    log.append(EVENTS[:3], NOW)
    before = log.checkpoint()
    path = tmp_path / "log" / "log.jsonl"
    with path.open("ab") as file:
        file.write(path.read_bytes().splitlines(keepends=True)[-1][:left])
    again = Log(tmp_path / "log", SIGNER)
    assert again.checkpoint() == before
    again.append(EVENTS[3:4], NOW)
    assert len(Log(tmp_path / "log", SIGNER)) == len(log.entries()) == 4


def test_an_entry_that_lacks_its_line_end_counts(log, tmp_path):
    log.append(EVENTS[:3], NOW)
    path = tmp_path / "log" / "log.jsonl"
    path.write_bytes(path.read_bytes()[:-1])
    again = Log(tmp_path / "log", SIGNER)
    assert len(again) == 3
    again.append(EVENTS[3:4], NOW)
    assert len(Log(tmp_path / "log", SIGNER)) == 4


def test_a_changed_dropped_or_moved_entry_is_found(log, tmp_path):
    log.append(EVENTS, NOW)
    path = tmp_path / "log" / "log.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    for bad in (
        [lines[0].replace(b"writer-00", b"writer-01"), *lines[1:]],
        [*lines[:2], *lines[3:]],
        [lines[1], lines[0], *lines[2:]],
        [*lines[:3], lines[2], *lines[3:]],
    ):
        path.write_bytes(b"".join(bad))
        with pytest.raises(LedgerCorruptError):
            Log(tmp_path / "log", SIGNER)
    path.write_bytes(b"".join(lines[:4]))  # a whole log, but shorter: only who has seen more can tell
    with pytest.raises(LedgerCorruptError, match="what was seen of it"):
        log.append(EVENTS[:1], NOW)


def test_another_history_in_its_place_is_found_by_whoever_has_it_open(log, tmp_path):
    log.append(EVENTS, NOW)
    Log(tmp_path / "other", SIGNER).append([*EVENTS, EVENTS[0]], NOW)
    (tmp_path / "other" / "log.jsonl").replace(tmp_path / "log" / "log.jsonl")
    with pytest.raises(LedgerCorruptError, match="what was seen of it"):
        log.entries()


def test_a_name_can_go_and_every_other_proof_stays(log, tmp_path):
    log.append(EVENTS, NOW)
    before, proof = log.checkpoint(), log.prove(2)
    other = Log(tmp_path / "log", SIGNER)
    log.erase([0, 5])
    assert b"writer-00" not in b"".join(
        row
        for row in (tmp_path / "log" / "log.jsonl").read_bytes().splitlines()
        if b"enrolment" in row or b"revocation" in row
    )
    assert log.checkpoint() == before
    proof.verify(SIGNER.key)
    assert other.entries()[0].erased
    assert other.prove(2).verify(SIGNER.key) == before
    for number in (0, 6, -1):
        with pytest.raises(InputError):
            log.prove(number)
    with pytest.raises(InputError):
        log.erase([6])
    other.append(EVENTS[:1], NOW)
    assert len(log.entries()) == 7
