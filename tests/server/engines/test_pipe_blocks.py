"""Byte strings come out of a pipe as they went in, in few messages, and are made when their block is due."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import wait

from hypothesis import given
from hypothesis import strategies as st

from skerry.forked_pipe import ForkedPipe
from skerry.server.engines.pipe_blocks import receive_all, send_all

BLOCK = 1 << 18


@contextmanager
def both_ends() -> Iterator[tuple[ForkedPipe, ForkedPipe]]:
    mine, theirs = ForkedPipe.pair()
    try:
        yield mine, theirs
    finally:
        mine.close()
        theirs.close()


def came(pipe: ForkedPipe) -> bool:
    return bool(wait([pipe.fileno()], 0))


@given(st.lists(st.binary(max_size=40) | st.sampled_from([b"x" * BLOCK, b"y" * (3 * BLOCK), b"z" * 100_000])))
def test_what_is_sent_is_received(parts: list[bytes]) -> None:
    with both_ends() as (mine, theirs):
        sender = threading.Thread(target=send_all, args=(mine, iter(parts)))
        sender.start()
        assert receive_all(theirs, len(parts)) == parts
        sender.join(60)
        assert not came(theirs)


def test_short_ones_go_in_one_message() -> None:
    with both_ends() as (mine, theirs):
        send_all(mine, [b"short"] * 1000)
        theirs.recv_bytes()
        assert not came(theirs)


def test_of_long_ones_the_next_is_made_when_the_one_before_is_sent() -> None:
    there: list[bool] = []
    with both_ends() as (mine, theirs):

        def parts() -> Iterator[bytes]:
            for _ in range(3):
                there.append(came(theirs))
                yield b"x" * BLOCK

        send_all(mine, parts())
        assert there == [False, True, True]
        assert receive_all(theirs, 3) == [b"x" * BLOCK] * 3
