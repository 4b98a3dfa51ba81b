"""Work that can be asked to stop between two of its steps, and can say where it stood: training looks whether it may
go on.

Who starts the work says how to ask, for a block; where nobody did, nothing is asked. It stops by an exception that no
``except Exception`` takes for a failure of the work. What a descent had done by then is in :attr:`Yielding.standing`,
from which the same call goes on to the same end.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

__all__ = [
    "NotYetError",
    "Standing",
    "YieldedError",
    "Yielding",
    "leave_at",
    "may_be_asked_to_yield",
    "parts_of",
    "went_before",
    "yield_if_asked",
]


class YieldedError(BaseException):
    """The work was asked to stop; it is no error of the work, so it passes everything that catches those."""


class NotYetError(YieldedError):
    """What the work needs cannot be had now: it stops by itself, and is begun again a while later. Says what lacks."""


@dataclass(frozen=True)
class Standing:
    """Where a descent stands before one of its steps: with what it was called with, all that its end depends on.

    As secret as the data and the stream: weights between two steps are not what the round releases.

    Attributes:
        done: steps before it.
        weights: ``(d,)``.
        velocity: ``(d,)`` of its momentum; empty where it has none.
        drawn: bytes of its stream that steps before it took; 0 where the stream gives an order only.
    """

    done: int
    weights: npt.NDArray[Any]
    velocity: npt.NDArray[Any]
    drawn: int


class Yielding:
    """How the work of a block is asked, and where it stood when it stopped.

    Attributes:
        standing: before the block, where the work is to go on from; after it yielded, where it stood. None: at its
            beginning.
    """

    def __init__(self, asked: Callable[[], bool], outer: "Yielding | None", standing: Standing | None) -> None:
        self._asked, self._outer = asked, outer
        self.standing = standing

    def asked(self) -> bool:
        """Whether to stop: here, or around here."""
        return self._asked() or (self._outer is not None and self._outer.asked())


_current: ContextVar[Yielding | None] = ContextVar("yielding", default=None)


@contextmanager
def may_be_asked_to_yield(asked: Callable[[], bool], standing: Standing | None = None) -> Iterator[Yielding]:
    """Within the block, work of this thread stops at its next step once ``asked`` says so. Blocks may be nested.

    Args:
        asked: quick, as it is called at every step.
        standing: where the first descent of the block goes on from; it must have been called with the same.
    """
    yielding = Yielding(asked, _current.get(), standing)
    before = _current.set(yielding)
    try:
        yield yielding
    finally:
        _current.reset(before)


def yield_if_asked() -> None:
    """Called by work between two of its steps, and within long ones.

    Raises:
        YieldedError: it was asked to stop.
    """
    yielding = _current.get()
    if yielding is not None and yielding.asked():
        raise YieldedError


def parts_of(count: int, first: int = 0, together: int = 32) -> Iterator[slice]:
    """The rest of a row of things, some at a time; before each part it is looked whether to stop.

    One by one where somebody asks: each may take a second on a small board. Who takes them must give each the same
    result alone and among others.

    Args:
        count: of the row.
        first: so many are done.
        together: at a time, where nobody asks.

    Raises:
        YieldedError: it was asked to stop.
    """
    step = together if _current.get() is None else 1
    for begin in range(first, count, step):
        yield_if_asked()
        yield slice(begin, begin + step)


def went_before() -> Standing | None:
    """Where a descent that begins now is to go on from; told once."""
    yielding = _current.get()
    if yielding is None:
        return None
    standing, yielding.standing = yielding.standing, None
    return standing


def leave_at(standing: Standing) -> None:
    """Called by a descent that yields."""
    yielding = _current.get()
    if yielding is not None:
        yielding.standing = standing
