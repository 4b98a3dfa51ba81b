"""The round under way, on disk."""

import json
import os
from pathlib import Path

import pytest

from skerry.config import default_scenario
from skerry.errors import InputError
from skerry.security.envelope import envelope_digest
from skerry.server import journal as journal_module
from skerry.server.journal import Answer, Asked, RoundJournal
from skerry.server.launch import launch


def asked(*names: str) -> dict[str, Asked]:
    return {name: Asked(envelope_digest(name.encode()), name.encode().ljust(16), 7) for name in names}


def test_what_was_asked_and_answered_is_read_back(tmp_path):
    journal = RoundJournal(tmp_path)
    assert journal.read(1) is None
    journal.begin(3, asked("a", "b", "c"))
    journal.open(3, {})
    journal.add(3, "b", Answer(b"answer of b", 1234))
    kept = RoundJournal(tmp_path).read(3)  # by another process, while this one may be dead
    assert dict(kept.asked) == asked("a", "b", "c")
    assert dict(kept.answers) == {"b": Answer(b"answer of b", 1234)}
    assert RoundJournal(tmp_path).read(2) is None
    assert RoundJournal(tmp_path).read(4) is None
    journal.drop()
    assert not list(tmp_path.iterdir())


def test_a_torn_answer_and_those_of_another_round_are_left_out(tmp_path):
    journal = RoundJournal(tmp_path)
    journal.begin(1, asked("a", "b"))
    one = Answer(b"one", 1)
    journal.open(1, {"a": one})
    journal.add(1, "b", Answer(b"two", 2))
    path = tmp_path / "round" / "answers"
    whole = path.read_bytes()
    for torn in range(len(whole) // 2 + 1, len(whole)):  # anywhere in the second one
        path.write_bytes(whole[:torn])
        assert dict(journal.read(1).answers) == {"a": one}
        path.write_bytes(whole[:torn] + bytes(len(whole) - torn))  # blocks that never reached the disk
        assert dict(journal.read(1).answers) == {"a": one}
    for place in range(len(whole)):  # damage anywhere never becomes an answer
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        kept = journal.read(1).answers
        assert all(answer.envelope in {b"one", b"two"} for answer in kept.values())
    journal.begin(2, asked("a", "b"))  # killed before the answers' file was begun anew
    assert dict(journal.read(2).answers) == {}


def test_a_damaged_record_is_told(tmp_path):
    journal = RoundJournal(tmp_path)
    journal.begin(1, asked("a"))
    (tmp_path / "round" / "asked.cbor").write_bytes(b"\x00torn")
    with pytest.raises(InputError):
        journal.read(1)


def test_answers_of_an_earlier_process_are_never_away_while_the_file_is_begun_anew(tmp_path, monkeypatch):
    journal = RoundJournal(tmp_path)
    journal.begin(1, asked("a", "b"))
    one, two = Answer(b"one", 1), Answer(b"two", 2)
    journal.open(1, {"b": two})
    again = RoundJournal(tmp_path)
    with monkeypatch.context() as full:
        full.setattr(journal_module, "write_atomic", _no_room)
        with pytest.raises(OSError, match="no room"):
            again.open(1, again.read(1).answers)
    assert dict(again.read(1).answers) == {"b": two}
    again.open(1, again.read(1).answers)
    again.add(1, "a", one)
    assert dict(journal.read(1).answers) == {"a": one, "b": two}


def test_a_release_is_not_written_before_its_answers_are_on_stable_storage(tmp_path, monkeypatch):
    synced: dict[Path, int] = {}
    real_sync, real_write = os.fsync, os.write
    bare = []

    def fsync(fd: int) -> None:
        real_sync(fd)
        synced[Path(f"/proc/self/fd/{fd}").readlink()] = os.fstat(fd).st_size

    def write(fd: int, data: bytes) -> int:
        path = Path(f"/proc/self/fd/{fd}").readlink()
        if path.name == "population.jsonl" and json.loads(bytes(data).splitlines()[-1])["kind"] == "release":
            answers = path.parents[1] / "round" / "answers"
            bare.append(answers.stat().st_size - synced.pop(answers, 0))
        return real_write(fd, data)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "write", write)
    settings = ["rounds=2", "training.epochs=1", "report.references=false"]
    launch(default_scenario(settings), engine="inprocess", parent=tmp_path)
    assert bare == [0, 0]


def _no_room(*_: object, **__: object) -> None:
    raise OSError("no room")
