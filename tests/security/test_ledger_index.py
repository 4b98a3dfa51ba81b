"""The index finds entries, follows its ledger, and is never believed."""

import sqlite3

import pytest

from skerry.errors import LedgerCorruptError
from skerry.security.privacy import GaussianEvent, Ledger, Policy
from skerry.security.privacy import index as index_module
from skerry.security.privacy.index import Index

NOW = 1_763_900_000_000
POLICY = Policy(unit="example", epsilon=8.0, delta=1e-5, simulated=False)


def spend(ledger, round_):
    return ledger.debit("run", round_, GaussianEvent(1000.0), nonce="00", now=NOW)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "ledger.jsonl"
    with Ledger.create(path, scope="device", subject="ann", policy=POLICY, now=NOW) as ledger:
        ledger.record("member", {"device": "ann"}, NOW)
        for round_ in range(5):
            spend(ledger, round_)
    return path


@pytest.fixture
def place(tmp_path):
    return tmp_path / "index.sqlite"


def entries(path):
    with Ledger.open(path) as ledger:
        return list(ledger.entries())


def check(place, path):
    """Everything in the ledger is found, and read as it stands there."""
    with Index(place) as index:
        assert index.refresh("ann", path) == len(entries(path))
        for entry in entries(path):
            (found,) = index.find(entry.hash[:16])
            assert index.read(found, path) == entry
        assert index.find("0" * 16) == []


def test_entries_are_found_and_only_new_lines_are_read(place, path, monkeypatch):
    check(place, path)
    read = []
    real = index_module.walk
    monkeypatch.setattr(index_module, "walk", lambda data, **given: read.append(len(data)) or real(data, **given))
    with Ledger.open(path) as ledger:
        size = path.stat().st_size
        spend(ledger, 7)
    with Index(place) as index:
        index.refresh("ann", path)
    assert read == [path.stat().st_size - size]
    check(place, path)


@pytest.mark.parametrize("what", ["erased", "older", "another", "torn"])
def test_a_ledger_that_did_not_only_grow_is_read_again(place, path, what):
    check(place, path)
    if what == "erased":
        with Ledger.open(path) as ledger:
            ledger.erase([1], NOW)
    elif what == "older":
        path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-2]))
    elif what == "torn":
        path.write_bytes(path.read_bytes()[:-1])
    else:
        path.unlink()
        with Ledger.create(path, scope="device", subject="ann", policy=POLICY, now=NOW) as ledger:
            for round_ in range(9):
                spend(ledger, round_)
    check(place, path)


def test_the_index_names_nobody(place, path):
    check(place, path)
    assert b"ann" not in place.read_bytes().replace(b"ann\x00", b"").split(b"ledger text")[0]
    salts = [entry.salt.encode() for entry in entries(path)]
    assert not any(salt in place.read_bytes() for salt in salts)


@pytest.mark.parametrize("damage", [b"", b"no database", b"SQLite format 3\x00" + bytes(200)])
def test_a_damaged_index_is_made_anew(place, path, damage):
    check(place, path)
    place.write_bytes(damage)
    check(place, path)


def test_an_index_of_another_version_is_made_anew(place, path):
    with sqlite3.connect(place) as base:
        base.executescript("create table entries (another); pragma user_version = 9;")
    base.close()
    check(place, path)


def test_a_false_index_makes_nothing_up(place, path):
    check(place, path)
    with sqlite3.connect(place) as base:
        first, second = base.execute("select offset, length from entries where seq in (2, 3) order by seq").fetchall()
        base.execute("update entries set offset = ?, length = ? where seq = 3", first)
        base.execute("update entries set hash = ? where seq = 2", ("ab" * 32,))
    base.close()
    assert second != first
    with Index(place) as index:
        for seq in (2, 3):
            hash_ = "ab" * 32 if seq == 2 else entries(path)[3].hash
            with pytest.raises(LedgerCorruptError):
                index.read(index.find(hash_)[0], path)


def test_where_nothing_can_be_written_the_index_is_made_in_memory(tmp_path, path):
    check(tmp_path / "no such folder" / "index.sqlite", path)


def test_a_broken_chain_is_not_indexed(place, path):
    path.write_bytes(path.read_bytes().replace(b'"round":3', b'"round":4'))
    with Index(place) as index, pytest.raises(LedgerCorruptError):
        index.refresh("ann", path)
