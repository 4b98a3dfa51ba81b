"""Probes: a gateway that answers is healthy, one that can serve devices is ready, and neither says more than that."""

from collections.abc import Collection
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Event, Thread

import pytest

from skerry.errors import RegistryError
from skerry.server.devices import DEVICES
from skerry.server.gateway import health

from ._gateway import reason, running


class Registry:
    """Devices of which a test says whether they can be read."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.asked = 0

    def find(self, name: str, roles: Collection = DEVICES) -> None:
        self.asked += 1
        if self.error is not None:
            raise self.error

    def at_once(self, name: str, roles: Collection = DEVICES) -> None:
        return None


class NotFound(BaseHTTPRequestHandler):
    """What a SuperLink says to a path that it does not have."""

    def do_GET(self) -> None:
        self.send_error(404)

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def superlink():
    server = HTTPServer(("127.0.0.1", 0), NotFound)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_ready_when_registry_and_superlink_answer(
    tmp_path: Path, superlink: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    devices = Registry()
    with running(tmp_path, superlink=superlink, devices=devices) as gateway:
        assert gateway.client.get("/readyz").text == "ready\n"
        devices.error = RegistryError("the password is wrong", where="postgresql://skerry@db/fleet")
        assert gateway.client.get("/readyz").status_code == 200, "looked at once a second"
        assert devices.asked == 1
        monkeypatch.setattr(health, "_HOLDS_S", 0.0)
        answer = gateway.client.get("/readyz")
        assert (answer.status_code, reason(answer)) == (503, "server_failed")
        assert "db" not in answer.text.replace("readyz", "")
        assert "password" not in answer.text
        assert gateway.client.get("/healthz").text == "ok\n"
        devices.error = None
        assert gateway.client.get("/readyz").status_code == 200


def test_not_ready_without_a_superlink(tmp_path: Path) -> None:
    with running(tmp_path, devices=Registry()) as gateway:
        answer = gateway.client.get("/readyz")
        assert (answer.status_code, "SuperLink" in answer.text) == (503, True)
        assert gateway.client.get("/healthz").status_code == 200


def test_a_registry_that_hangs_is_asked_by_one_thread_however_often_somebody_looks(
    tmp_path: Path, superlink: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "_HOLDS_S", 0.0)
    monkeypatch.setattr(health, "_LOOK_S", 0.05)
    answers = Event()

    class Hanging(Registry):
        def find(self, name: str, roles: Collection = DEVICES) -> None:
            super().find(name, roles)
            answers.wait(180)

    devices = Hanging()
    with running(tmp_path, superlink=superlink, devices=devices) as gateway:
        try:
            assert [gateway.client.get("/readyz").status_code for _ in range(3)] == [503, 503, 503]
            assert devices.asked == 1
        finally:
            answers.set()
