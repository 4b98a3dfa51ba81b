"""systemd is told that the agent is ready and gets on, as often as it has to be and by the agent's own steps."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from skerry.device.agent.watchdog import Watchdog


class Manager:
    """The end that systemd has of the socket."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.ear = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.ear.bind("\0" + address[1:] if address.startswith("@") else address)
        self.ear.setblocking(False)

    def heard(self) -> list[str]:
        lines = []
        try:
            while True:
                lines.append(self.ear.recv(100).decode())
        except BlockingIOError:
            return lines


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    made = Manager(str(tmp_path / "notify") if request.param == "path" else f"@skerry-test-{tmp_path.name}")
    yield made
    made.ear.close()


def test_it_says_that_it_is_ready_that_it_ends_and_in_between_that_it_lives(manager: Manager) -> None:
    now = [0.0]
    watchdog = Watchdog({"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "40000000"}, 7, lambda: now[0])
    watchdog.ready()
    for second in range(31):
        now[0] = second
        watchdog.alive()
    watchdog.stopping()
    assert manager.heard() == ["READY=1", *["WATCHDOG=1"] * 4, "STOPPING=1"]


@pytest.mark.parametrize("more", [{}, {"WATCHDOG_USEC": "40000000", "WATCHDOG_PID": "8"}, {"WATCHDOG_USEC": "soon"}])
def test_nobody_is_told_that_it_lives_who_did_not_ask_this_process(manager: Manager, more: dict[str, str]) -> None:
    watchdog = Watchdog({"NOTIFY_SOCKET": manager.address, **more}, 7)
    watchdog.alive()
    assert manager.heard() == []


def test_without_a_manager_and_with_one_that_is_gone_nothing_happens(tmp_path: Path) -> None:
    Watchdog({}, 7).ready()
    Watchdog({"NOTIFY_SOCKET": str(tmp_path / "gone")}, 7).ready()
    Watchdog({"NOTIFY_SOCKET": "vsock:2:1"}, 7).ready()


def test_a_manager_that_does_not_read_does_not_stop_the_agent(manager: Manager) -> None:
    watchdog = Watchdog({"NOTIFY_SOCKET": manager.address}, 7)
    for _ in range(2000):  # more than any queue of datagrams holds
        watchdog.ready()
    assert 0 < len(manager.heard()) < 2000
