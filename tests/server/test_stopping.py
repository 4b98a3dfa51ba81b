"""Signals that stop a run, in the instants in which a block of :func:`stoppable` begins and ends."""

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from skerry.server.stopping import stoppable, was_told

BOTH = (signal.SIGINT, signal.SIGTERM)


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Those of a program's start, and afterwards those that were there."""
    given = [signal.getsignal(one) for one in BOTH]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    for one, handler in zip(BOTH, given, strict=True):
        signal.signal(one, handler)


@pytest.mark.parametrize("call", [1, 2, 3, 4])
def test_ctrl_c_while_handlers_are_put_in_place_or_back_leaves_none_of_ours(
    call: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two calls put them in place, two put them back. Else the next run of this program would be stopped for it."""
    real, calls = signal.signal, []

    def hurried(one: signal.Signals, handler: Any) -> Any:
        before = real(one, handler)
        calls.append(one)
        if len(calls) == call:
            monkeypatch.undo()
            os.kill(os.getpid(), signal.SIGINT)
        return before

    def run() -> None:
        with stoppable():
            pass

    monkeypatch.setattr(signal, "signal", hurried)
    with pytest.raises(KeyboardInterrupt):
        run()
    assert len(calls) == call
    assert [signal.getsignal(one) for one in BOTH] == [signal.default_int_handler, signal.SIG_DFL]
    assert not was_told()
