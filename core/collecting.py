"""How often Python looks for cycles among objects: seldom, while a process serves many devices at once.

Python looks through everything that lives whenever its number has grown by a quarter, and requests and messages of
thousands of devices make it grow: a tenth of the time of a device that has little to do, a seventh of a gateway's, in
pauses of a quarter of a second in which nobody is answered (measured). Nearly all of it is freed without, by its count
of references. So it is with modules, of which a run loads a thousand.
"""

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["IN_A_RUN", "collecting_seldom"]

IN_A_RUN = (20_000, 20, 50)
"""How often in a run's process, which makes hardly any cycles."""

_LOCK = threading.Lock()
_BLOCKS: list[tuple[int, int, int]] = []  # of those that are not over: how often it was when each began


@contextmanager
def collecting_seldom(young: int, middle: int, old: int) -> Iterator[None]:
    """For the time of a block, for the whole process; what is loaded by now is not looked through at all.

    Blocks may overlap, in whatever order they end: the first decides how often, each sees to it that what was loaded
    before it is not looked through, and after the last all is as it was before the first.

    Args:
        young: objects more than were freed, after which the new ones are looked through.
        middle: such looks after which those are looked through again that outlived one.
        old: of these, after which everything is.
    """
    with _LOCK:
        gc.freeze()  # also before processes are forked from here: none of them writes into what they share
        _BLOCKS.append(gc.get_threshold())
        if len(_BLOCKS) == 1:
            gc.set_threshold(young, middle, old)
    try:
        yield
    finally:
        with _LOCK:
            before, *_ = _BLOCKS
            _BLOCKS.pop()
            if not _BLOCKS:
                gc.set_threshold(*before)
                gc.unfreeze()
