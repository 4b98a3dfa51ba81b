"""Many byte strings through a pipe in few writes: each write wakes whoever reads, and takes its processor."""

import struct
from collections.abc import Iterable, Sequence

from skerry.forked_pipe import ForkedPipe

__all__ = ["receive_all", "send_all"]

_BLOCK = 1 << 18  # bytes, about what a pipe holds: of long strings no more than one is held twice
_NUMBER = 8  # bytes


def send_all(pipe: ForkedPipe, parts: Iterable[bytes]) -> None:
    """Send byte strings, to be read by :func:`receive_all`; none of them is made before those before it fill a block.

    Raises:
        OSError: the other end is closed.
    """
    block: list[bytes] = []
    size = 0
    for part in parts:
        block.append(part)
        size += len(part)
        if size >= _BLOCK:
            _send(pipe, block)
            block, size = [], 0
    if block:
        _send(pipe, block)


def receive_all(pipe: ForkedPipe, count: int) -> list[memoryview]:
    """So many byte strings of :func:`send_all`, all that it was given, in their order.

    Raises:
        EOFError, OSError: the other end was closed before.
    """
    found: list[memoryview] = []
    while len(found) < count:
        block = memoryview(pipe.recv_bytes())
        (parts,) = struct.unpack_from(">Q", block)
        place = _NUMBER * (1 + parts)
        for length in struct.unpack_from(f">{parts}Q", block, _NUMBER):
            found.append(block[place : place + length])
            place += length
    return found


def _send(pipe: ForkedPipe, block: Sequence[bytes]) -> None:
    numbers = struct.pack(f">{1 + len(block)}Q", len(block), *map(len, block))
    pipe.send_bytes(numbers, *block)
