"""The round under way, on disk."""

import pytest

from skerry.errors import InputError
from skerry.security.envelope import envelope_digest
from skerry.server.journal import Answer, Asked, RoundJournal


def asked(*names: str) -> dict[str, Asked]:
    return {name: Asked(envelope_digest(name.encode()), name.encode().ljust(16)) for name in names}


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
