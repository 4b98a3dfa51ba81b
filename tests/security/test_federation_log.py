"""One log for what others rely on: proofs that need no trust, nothing lost, nothing changed, names that can go."""

import errno
import json
import multiprocessing
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from skerry.errors import DiskFullError, InputError, LedgerCorruptError, NotPublishedError, RefusedError
from skerry.security import Identity
from skerry.security.transparency import Checkpoint, NoteSigner, Seen, TiledTree, Witness
from skerry.security.transparency.events import Event, EventKind
from skerry.security.transparency.log import Change, Log
from skerry.security.transparency.proof import LogProof

NOW = 1_800_000_000_000
SIGNER = NoteSigner("skerry/log/test", Identity.generate("log").signing)
EVENTS = [
    Event(EventKind.ENROLMENT, {"device": "writer-00", "key": "ab" * 32, "role": "device"}),
    Event(EventKind.INSTRUCTIONS, {"run": "r", "round": 1, "root": "cd" * 32}),
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
        writer.join(180)
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
            Log(tmp_path / "log", SIGNER).entries()
    path.write_bytes(b"".join(lines[:4]))  # a whole log, but shorter: only who has seen more can tell
    for _ in range(2):  # looking again does not make it true
        with pytest.raises(LedgerCorruptError, match="what was seen of it"):
            log.append(EVENTS[:1], NOW)


def test_another_history_in_its_place_is_found_by_whoever_has_it_open(log, tmp_path):
    log.append(EVENTS, NOW)
    Log(tmp_path / "other", SIGNER).append([*EVENTS, EVENTS[0]], NOW)
    (tmp_path / "other" / "log.jsonl").replace(tmp_path / "log" / "log.jsonl")
    published_before = (tmp_path / "log" / "published" / "checkpoint").read_text()
    for _ in range(2):
        with pytest.raises(LedgerCorruptError, match="what was seen of it"):
            log.entries()
        with pytest.raises(LedgerCorruptError, match="what was seen of it"):
            log.append(EVENTS[:1], NOW)
    assert (tmp_path / "log" / "published" / "checkpoint").read_text() == published_before


@pytest.mark.parametrize("kept", [0, 2])
def test_an_older_copy_is_not_opened_so_that_no_second_history_is_signed(log, tmp_path, kept):
    log.append(EVENTS[:5], NOW)
    path = tmp_path / "log" / "log.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:kept]))
    for _ in range(2):
        with pytest.raises(LedgerCorruptError, match=f"has {kept} entries and does not extend the 5") as refused:
            Log(tmp_path / "log", SIGNER)
        assert refused.value.reason == "rewritten"
    path.unlink()
    with pytest.raises(LedgerCorruptError):
        Log(tmp_path / "log", SIGNER)
    path.write_bytes(b"".join(lines))
    assert len(Log(tmp_path / "log", SIGNER)) == 5


def test_as_long_a_history_in_its_place_is_not_opened_either(log, tmp_path):
    log.append(EVENTS, NOW)
    Log(tmp_path / "other", SIGNER).append([*EVENTS, EVENTS[0]], NOW)
    (tmp_path / "other" / "log.jsonl").replace(tmp_path / "log" / "log.jsonl")
    with pytest.raises(LedgerCorruptError, match="does not extend"):
        Log(tmp_path / "log", SIGNER)


def test_what_another_key_published_is_not_overwritten(log, tmp_path):
    log.append(EVENTS, NOW)
    with pytest.raises(RefusedError):
        Log(tmp_path / "log", NoteSigner("skerry/log/test", Identity.generate("log").signing))
    note = tmp_path / "log" / "published" / "checkpoint"
    note.write_text("")  # what a power cut leaves of a file that is not synced
    Log(tmp_path / "log", SIGNER).append(EVENTS[:1], NOW)
    assert published(log)[2].size == 7


def test_of_a_batch_for_which_there_is_no_room_nothing_counts(log, tmp_path, monkeypatch):
    log.append(EVENTS[:1], NOW)
    before = log.checkpoint()
    write, written = os.write, []

    def short(fd, data):
        if written:
            raise OSError(errno.ENOSPC, "full")
        written.append(write(fd, bytes(data)[: len(data) * 2 // 3]))
        return written[0]

    monkeypatch.setattr(os, "write", short)
    with pytest.raises(DiskFullError):
        log.append(EVENTS, NOW)
    monkeypatch.undo()
    assert written
    assert Log(tmp_path / "log", SIGNER).checkpoint() == before
    log.append(EVENTS[1:2], NOW)
    assert len(log.entries()) == 2


def test_what_is_entered_and_cannot_be_published_is_told_as_that(log, tmp_path):
    log.append(EVENTS[:1], NOW)
    note = tmp_path / "log" / "published" / "checkpoint"
    note.rename(tmp_path / "aside")
    note.mkdir()
    with pytest.raises(NotPublishedError, match="entered in the log, and not published yet"):
        log.append(EVENTS[1:2], NOW)
    note.rmdir()
    (tmp_path / "aside").rename(note)
    again = Log(tmp_path / "log", SIGNER)
    assert [one.kind for one in again.entries()] == ["enrolment", "instructions"]
    again.append(EVENTS[2:3], NOW)
    assert published(log)[2].size == 3


def test_a_change_rests_on_what_stands_there_when_it_is_made(log, tmp_path):
    log.append(EVENTS[:1], NOW)
    folder = tmp_path / "log"

    def once(entries):
        time.sleep(0.05)  # what another would enter meanwhile
        return Change(enter=tuple(EVENTS[5:])) if len(entries) == 1 else Change()

    with ThreadPoolExecutor(4) as pool:
        done = [pool.submit(lambda: Log(folder, SIGNER).revise(once, NOW)) for _ in range(4)]
    assert sum(len(one.result().enter) for one in done) == 1
    assert len(log.entries()) == 2
    log.revise(lambda _: Change(erase=(0,), enter=(EVENTS[4],)), NOW)
    assert [one.erased for one in log.entries()] == [True, False, False]


def test_a_file_that_took_the_number_of_the_one_before_is_read_anew(log, tmp_path):
    log.append(EVENTS, NOW)
    other = Log(tmp_path / "log", SIGNER)
    other.erase([0, 1])
    other.append(EVENTS * 2, NOW)
    log._file = (tmp_path / "log" / "log.jsonl").stat().st_ino
    assert [one.erased for one in log.entries()[:3]] == [True, True, False]
    assert log.checkpoint() == other.checkpoint()


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
