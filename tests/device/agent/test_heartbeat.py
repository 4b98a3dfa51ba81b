"""Signs of life go on whatever one of them fails of."""

from random import Random
from threading import Event

import pytest

from skerry.device.agent import heartbeat
from skerry.device.agent.calls import CallFailedError, Fault
from skerry.device.agent.heartbeat import Node
from skerry.errors import RefusedError


class Beats:
    """Calls of which the first one fails."""

    heartbeat_s = 0.01

    def __init__(self, failure: Exception) -> None:
        self._failure, self._failed = failure, False
        self.again = Event()

    def heartbeat(self, node: int) -> bool:
        if not self._failed:
            self._failed = True
            raise self._failure
        self.again.set()
        return True


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "_AGAIN_S", 0.01)


@pytest.mark.parametrize(
    "failure",
    [
        RefusedError("tpm_refused", "the chip does not sign now"),
        OSError(5, "the disk under the key"),
        CallFailedError(Fault.UNREACHABLE, "nobody answers"),
    ],
    ids=lambda failure: type(failure).__name__,
)
def test_a_sign_of_life_that_fails_is_given_again(failure: Exception):
    beats = Beats(failure)
    node = Node(beats, Random(0))
    node.start()
    node.online(7)
    try:
        assert beats.again.wait(180)
        assert node.identifier == 7
    finally:
        node.end()


class Counted:
    heartbeat_s = 0.01

    def __init__(self) -> None:
        self.beats = 0
        self.came = Event()

    def heartbeat(self, node: int) -> bool:
        self.beats += 1
        self.came.set()
        return True


def test_who_is_seen_at_the_bell_gives_no_other_sign_of_life_until_it_is_not_seen_any_more():
    beats, asked, seen = Counted(), Event(), [True]

    def looks() -> bool:
        asked.set()
        return seen[0]

    node = Node(beats, Random(0), seen=looks)
    node.start()
    node.online(7)
    try:
        for _ in range(3):
            asked.clear()
            assert asked.wait(20)
        assert beats.beats == 0
        seen[0] = False
        assert beats.came.wait(20)
    finally:
        node.end()
