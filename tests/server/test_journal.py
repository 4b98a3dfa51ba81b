"""The round under way, on disk."""

import pytest

from skerry.errors import InputError
from skerry.security.envelope import envelope_digest
from skerry.server.journal import Asked, RoundJournal


def asked(*names: str) -> dict[str, Asked]:
    return {name: Asked(envelope_digest(name.encode()), name.encode().ljust(16)) for name in names}


def test_what_was_asked_and_answered_is_read_back(tmp_path):
    journal = RoundJournal(tmp_path)
    assert journal.read(1) is None
    journal.begin(3, asked("a", "b", "c"))
    journal.open(3, {})
    journal.add(3, "b", b"answer of b")
    kept = RoundJournal(tmp_path).read(3)  # by another process, while this one may be dead
    assert dict(kept.asked) == asked("a", "b", "c")
    assert dict(kept.answers) == {"b": b"answer of b"}
    assert RoundJournal(tmp_path).read(2) is None
    assert RoundJournal(tmp_path).read(4) is None
    journal.drop()
    assert not list(tmp_path.iterdir())


def test_a_torn_answer_and_those_of_another_round_are_left_out(tmp_path):
    journal = RoundJournal(tmp_path)
    journal.begin(1, asked("a", "b"))
    journal.open(1, {"a": b"one"})
    journal.add(1, "b", b"two")
    path = tmp_path / "round" / "answers"
    whole = path.read_bytes()
    for torn in range(len(whole) // 2 + 1, len(whole)):  # anywhere in the second one
        path.write_bytes(whole[:torn])
        assert dict(journal.read(1).answers) == {"a": b"one"}
    journal.begin(2, asked("a", "b"))  # killed before the answers' file was begun anew
    assert dict(journal.read(2).answers) == {}


def test_a_damaged_record_is_told(tmp_path):
    journal = RoundJournal(tmp_path)
    journal.begin(1, asked("a"))
    (tmp_path / "round" / "asked.cbor").write_bytes(b"\x00torn")
    with pytest.raises(InputError):
        journal.read(1)
