"""Ctrl-C and SIGTERM, which stop a run although what a handler raises is not always heard.

A module written in C that is being imported makes an ImportError of it. One written in Rust that asks of what type an
object is prints it and takes the answer for no: cbor2 goes on with a list, and says of another mapping than a dict that
it cannot be encoded. Of Ctrl-C in random instants of a short run two in a hundred came to that.
"""

import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

__all__ = ["stop_if_told", "stoppable", "was_told"]

_told: list[int] = []  # the signals that came within the block


@contextmanager
def stoppable() -> Iterator[None]:
    """For the time of a block SIGTERM raises KeyboardInterrupt as Ctrl-C does, and so does what becomes of either.

    Only in the main thread; elsewhere whoever owns that one decides. Of Ctrl-C only where Python's own handler is: who
    does not hear it, or hears it otherwise, goes on so.
    """
    heard: list[signal.Signals] = []
    if threading.current_thread() is threading.main_thread():
        heard += [signal.SIGTERM] if signal.getsignal(signal.SIGTERM) is not None else []  # one of C stays
        heard += [signal.SIGINT] if signal.getsignal(signal.SIGINT) is signal.default_int_handler else []
    before = {number: signal.getsignal(number) for number in heard}
    try:
        try:
            for number in heard:
                signal.signal(number, _interrupt)
            yield
        except Exception as error:
            if heard and _told:
                raise KeyboardInterrupt from error
            raise
        finally:
            _put_back(before)
    finally:  # one that comes while handlers are put back raises there, and would leave its own in force
        _put_back(before)


def stop_if_told() -> None:
    """To be called now and then within the block.

    Raises:
        KeyboardInterrupt: a signal came, and what it raised was dropped.
    """
    if was_told():
        raise KeyboardInterrupt


def was_told() -> bool:
    """Whether a signal came within the block that this thread is in."""
    return bool(_told) and threading.current_thread() is threading.main_thread()


def _put_back(handlers: Mapping[signal.Signals, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)
    if handlers:
        _told.clear()


def _interrupt(number: int, _frame: FrameType | None) -> None:
    _told.append(number)
    raise KeyboardInterrupt
