"""The agent hears that there may be a message, and asks by its own pace where it does not."""

import threading
import time
from collections.abc import Callable, Iterator
from random import Random

import pytest

from skerry.device.agent import ear as ear_module
from skerry.device.agent.bell import Bell
from skerry.device.agent.calls import CallFailedError, Fault
from skerry.device.agent.ear import Ear
from skerry.device.agent.pace import Pace

PRESENCE = {"flwr-signature": "of the node"}


class Line:
    """A gateway whose bell a test rings; ``asked`` lists what the device said it knew."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.failures = 0
        self._strokes: list[str] = []
        self._ring = threading.Condition()

    def ring(self, stroke: str) -> None:
        with self._ring:
            self._strokes.append(stroke)
            self._ring.notify_all()

    def post(self, path: str, body: bytes, headers, *, longest: int) -> bytes:
        assert path == "/v1/bell"
        assert headers == PRESENCE
        with self._ring:
            self.asked.append(body.decode())
            self._ring.notify_all()
            if self.failures:
                self.failures -= 1
                raise CallFailedError(Fault.UNREACHABLE, "no bell here")
            self._ring.wait_for(lambda: self._strokes, timeout=180)
            return self._strokes.pop(0).encode()

    def wait_for(self, asked: int) -> None:
        with self._ring:
            assert self._ring.wait_for(lambda: len(self.asked) >= asked, timeout=180)


@pytest.fixture
def line() -> Line:
    return Line()


@pytest.fixture
def nudges() -> list[float]:
    return []


@pytest.fixture
def ear(line: Line, nudges: list[float], monkeypatch: pytest.MonkeyPatch) -> Iterator[Ear]:
    monkeypatch.setattr(ear_module, "_AGAIN_S", 0.01)
    made = Ear(line, lambda: PRESENCE, lambda: (nudges.append(time.monotonic()), made.asked()), Random(0))
    made.start()
    yield made
    made.end()
    line.ring("over")


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 180
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.002)


def test_each_ring_nudges_once_and_the_same_one_told_again_does_not(line: Line, ear: Ear, nudges: list[float]) -> None:
    ear.listen(wanted=True)
    for stroke in ("a", "a", "b"):
        line.ring(stroke)
    line.wait_for(4)
    assert line.asked == ["", "a", "a", "b"]
    assert len(nudges) == 2
    assert ear.hears


def test_after_a_ring_it_goes_back_to_the_bell_when_the_loop_has_asked(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ear_module, "_ASKS_S", 180.0)
    nudged = threading.Event()
    ear = Ear(line, lambda: PRESENCE, nudged.set, Random(0))
    ear.start()
    ear.listen(wanted=True)
    line.ring("a")
    assert nudged.wait(180)
    assert ear.hears, "what is rung for meanwhile is heard when it goes back"
    time.sleep(0.1)
    assert line.asked == [""]
    ear.asked()
    line.wait_for(2)
    nudged.clear()
    line.ring("b")
    assert nudged.wait(180)
    ear.end()
    ear._thread.join(180)
    assert not ear._thread.is_alive(), "who is told to end waits for nobody"
    assert line.asked == ["", "a"]


def test_a_loop_that_does_not_ask_keeps_it_from_the_bell_for_some_seconds_only(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ear_module, "_ASKS_S", 0.01)
    ear = Ear(line, lambda: PRESENCE, lambda: None, Random(0))
    ear.start()
    ear.listen(wanted=True)
    line.ring("a")
    line.wait_for(2)
    ear.end()
    line.ring("over")


def test_it_asks_nothing_until_it_is_told_to_listen(line: Line, ear: Ear) -> None:
    assert not ear.hears
    assert line.asked == []
    ear.listen(wanted=True)
    line.ring("a")
    line.wait_for(2)
    ear.listen(wanted=False)
    assert not ear.hears
    line.ring("b")
    until(lambda: not line._strokes)
    assert not ear.hears
    assert line.asked == ["", "a"]


def test_it_says_that_it_does_not_hear_and_tries_again(line: Line, ear: Ear) -> None:
    line.failures = 2
    ear.listen(wanted=True)
    line.wait_for(3)
    assert not ear.hears
    line.ring("a")
    until(lambda: ear.hears)


def test_who_relied_on_it_is_told_once_that_it_hears_no_more(line: Line, ear: Ear, nudges: list[float]) -> None:
    ear.listen(wanted=True)
    line.ring("a")
    line.wait_for(2)
    until(lambda: ear.hears and len(nudges) == 1)
    line.failures = 3
    line.ring("a")
    line.wait_for(6)
    assert not ear.hears
    assert len(nudges) == 2


def test_it_tries_again_at_once_when_the_gateway_is_reached_again(line: Line, ear: Ear) -> None:
    ear._backoff._next = ear._backoff._longest  # it has failed for long
    line.failures = 1
    ear.listen(wanted=True)
    line.wait_for(1)
    ear.try_again()
    line.wait_for(2)
    assert ear._backoff._next == ear._backoff._first


def test_who_would_hear_of_work_asks_rarely_whatever_happened_last() -> None:
    pace = Pace()
    for since in (0.0, 60.0, 1e6):
        assert pace.wait(since, Random(0), hears=True) >= 96
    assert pace.wait(0.0, Random(0)) < 0.2


def test_a_nudge_cuts_one_wait_short_and_ends_nothing() -> None:
    with Bell() as bell:
        for _ in range(100_000):  # more than a pipe takes
            bell.nudge()
        assert not bell.wait(180)
        assert bell.nudged()
        assert not bell.nudged()
        while bell.wait(0) or bell.nudged():
            pass
        bell.ring()
        assert bell.wait(180)
        assert not bell.nudged()
