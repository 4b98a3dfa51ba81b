"""A bell is a file: who waits hears that it was rung, and for whom; who cannot ring goes on."""

from pathlib import Path

import pytest

from skerry.server.bells import NEVER, Belfry, Bells, Rope


@pytest.fixture
def bells(tmp_path: Path) -> Bells:
    return Bells(tmp_path / "bells")


def test_a_ring_is_heard_once_and_by_those_it_was_for(bells: Bells) -> None:
    belfry, rope = Belfry(bells.asked), Rope(bells.asked)
    assert not belfry.changed()
    rope.ring([7, 8])
    assert belfry.changed()
    assert not belfry.changed()
    assert belfry.last(7) == belfry.last(8) != NEVER
    assert belfry.last(9) == NEVER
    before = belfry.last(7)
    rope.ring([8])
    assert belfry.changed()
    assert belfry.last(7) == before != belfry.last(8)


def test_the_two_bells_are_not_taken_for_one_another(bells: Bells) -> None:
    Rope(bells.asked).ring([7])
    assert Belfry(bells.answered).last(7) == NEVER


def test_a_ringer_that_comes_after_another_is_heard(bells: Bells) -> None:
    Rope(bells.asked).ring([7])
    belfry = Belfry(bells.asked)
    assert not belfry.changed()
    before = belfry.last(7)
    Rope(bells.asked).ring([7])
    assert belfry.changed()
    assert belfry.last(7) != before


def test_a_bell_is_its_owners_alone(bells: Bells) -> None:
    Rope(bells.asked).ring([7])
    assert bells.asked.parent.stat().st_mode & 0o777 == 0o700
    assert bells.asked.stat().st_mode & 0o777 == 0o600


def test_who_cannot_ring_and_who_hears_rubbish_goes_on(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    Rope(tmp_path / "file" / "bell").ring([7])
    path = tmp_path / "bell"
    Rope(path).ring([7])
    belfry = Belfry(path)
    before = belfry.last(7)
    for rubbish in (b"{", b"\xff", b"[]"):
        path.write_bytes(rubbish)
        belfry.changed()
    assert belfry.last(7) in {before, NEVER}
    Rope(path).ring([7])
    assert belfry.changed()
    assert belfry.last(7) not in {before, NEVER}
