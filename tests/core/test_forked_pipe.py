"""A pipe to a forked process: messages of any length, in order, each as it was sent."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from skerry.forked_pipe import LONG, ROOM, ForkedPipe
from skerry.forking import Forked, end_all, fork_into

LENGTHS = (0, 1, LONG - 1, LONG, LONG + 1, ROOM // 2, ROOM, ROOM + 1, 3 * ROOM)


@contextmanager
def forked(serve: Callable[[ForkedPipe], None]) -> Iterator[ForkedPipe]:
    found: list[Forked] = []
    fork_into(found, serve)
    try:
        yield found[0].pipe
    finally:
        end_all(found)


def echo(pipe: ForkedPipe) -> None:
    """Gives back as many messages as it is told, when it has them all."""
    while True:
        try:
            count = pipe.recv_bytes()[0]
        except EOFError:
            return
        for data in [pipe.recv_bytes() for _ in range(count)]:
            pipe.send_bytes(data)


def words(length: int, seed: int) -> bytes:
    return np.random.default_rng(seed).bytes(length)


@pytest.mark.parametrize("length", LENGTHS)
def test_a_message_of_any_length_comes_back_as_it_was(length: int) -> None:
    with forked(echo) as pipe:
        for turn in range(3):
            data = words(length, turn)
            pipe.send_bytes(b"\x01")
            pipe.send_bytes(data)
            assert pipe.recv_bytes() == data


def test_messages_of_one_turn_keep_their_order_whether_or_not_they_find_room() -> None:
    lengths = (ROOM // 3, 5, ROOM // 3, LONG, ROOM // 3, ROOM // 3, 0, LONG, ROOM // 3)
    with forked(echo) as pipe:
        for turn in range(4):
            sent = [words(length, 10 * turn + i) for i, length in enumerate(lengths)]
            pipe.send_bytes(bytes([len(sent)]))
            for data in sent:
                pipe.send_bytes(data)
            assert [pipe.recv_bytes() for _ in sent] == sent


def test_what_was_received_stays_as_it_is_when_others_come() -> None:
    with forked(echo) as pipe:
        kept = []
        for turn in range(3):
            pipe.send_bytes(b"\x01")
            pipe.send_bytes(words(LONG, turn))
            kept.append(pipe.recv_bytes())
    assert kept == [words(LONG, turn) for turn in range(3)]


def test_memory_is_taken_when_a_long_message_is_sent_and_used_again_for_the_next_turn() -> None:
    def pages(number: int) -> int:
        maps = Path(f"/proc/{number}/smaps").read_text(encoding="utf-8").split("\n")
        at = [i for i, line in enumerate(maps) if "-" in line.split(" ", 1)[0] and line.endswith("/dev/zero (deleted)")]
        return sum(int(line.split()[1]) for i in at for line in maps[i : i + 8] if line.startswith("Rss:"))

    if not Path("/proc/self/smaps").exists():
        pytest.skip("the memory of a process is not told here")
    before = pages(os.getpid())
    with forked(echo) as pipe:
        assert pages(os.getpid()) == before
        for _ in range(6):
            pipe.send_bytes(b"\x01")
            pipe.send_bytes(bytes(4 << 20))
            pipe.recv_bytes()
            assert pages(os.getpid()) - before == 2 * (4 << 10)  # there and back, the same in each turn
    assert pages(os.getpid()) == before


def test_a_process_forked_later_does_not_see_the_memory() -> None:
    def tell(pipe: ForkedPipe) -> None:
        maps = Path("/proc/self/maps").read_text(encoding="utf-8")
        pipe.send_bytes(bytes([maps.count("/dev/zero (deleted)")]))

    if not Path("/proc/self/maps").exists():
        pytest.skip("the memory of a process is not told here")
    with forked(tell) as alone:
        own = alone.recv_bytes()
    with forked(echo), forked(tell) as beside:
        assert beside.recv_bytes() == own


def test_an_end_that_is_closed_says_so() -> None:
    one, other = ForkedPipe.pair()
    other.close()
    with pytest.raises(EOFError):
        one.recv_bytes()
    with pytest.raises(OSError, match="Broken pipe"):
        one.send_bytes(bytes(LONG))
    one.close()
    one.close()
    for use in (one.recv_bytes, lambda: one.send_bytes(b"")):
        with pytest.raises(OSError, match="Bad file descriptor"):
            use()
