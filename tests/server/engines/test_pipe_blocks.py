"""Byte strings come out of a pipe as they went in, in few messages, and are made when their block is due."""

import threading
from collections.abc import Iterator
from multiprocessing import Pipe

from hypothesis import given
from hypothesis import strategies as st

from skerry.server.engines.pipe_blocks import receive_all, send_all

BLOCK = 1 << 18


def through(parts: list[bytes]) -> list[bytes]:
    mine, theirs = Pipe()
    with mine, theirs:
        sender = threading.Thread(target=send_all, args=(mine, iter(parts)))
        sender.start()
        found = [bytes(one) for one in receive_all(theirs, len(parts))]
        sender.join(60)
        assert not theirs.poll()
    return found


@given(st.lists(st.binary(max_size=40) | st.sampled_from([b"x" * BLOCK, b"y" * (3 * BLOCK), b"z" * 100_000])))
def test_what_is_sent_is_received(parts: list[bytes]) -> None:
    assert through(parts) == parts


def test_short_ones_go_in_one_message() -> None:
    mine, theirs = Pipe()
    with mine, theirs:
        send_all(mine, [b"short"] * 1000)
        theirs.recv_bytes()
        assert not theirs.poll()


def test_of_long_ones_the_next_is_made_when_the_one_before_is_sent() -> None:
    mine, theirs = Pipe()
    there: list[bool] = []

    def parts() -> Iterator[bytes]:
        for _ in range(3):
            there.append(theirs.poll())
            yield b"x" * BLOCK

    with mine, theirs:
        receiver = threading.Thread(target=receive_all, args=(theirs, 3))
        sender = threading.Thread(target=send_all, args=(mine, parts()))
        sender.start()
        while not theirs.poll(1):
            assert sender.is_alive()
        assert there == [False]  # it waits for its reader, and has made no more
        receiver.start()
        for one in (sender, receiver):
            one.join(60)
        assert len(there) == 3
