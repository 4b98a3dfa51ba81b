"""``skerry doctor`` on a server: its ports by a real TLS handshake, its secrets, and its releases by the clock."""

import shutil
import time
from pathlib import Path

import pytest

from skerry.cli.doctor_federation import federation, repository, server
from skerry.clock import system_clock
from skerry.security.delivery.repository import Repository, RoleKeys
from skerry.server.federation_home import FederationHome
from skerry.server.running import RunningServer
from skerry.server.service import ServerIdentity, device_service

from ._federation import Federation, free_port

DAY_S = 86_400


@pytest.fixture(scope="module")
def harbour(tmp_path_factory) -> Federation:
    return Federation(tmp_path_factory.mktemp("harbour"))


@pytest.fixture(scope="module")
def noted(harbour: Federation, tmp_path_factory):
    """A server whose three ports show a certificate of thirty days."""
    folder = tmp_path_factory.mktemp("service")
    (folder / "repository").mkdir()
    with device_service(
        identity=ServerIdentity(*harbour.server_pem(), harbour.root_pem),
        desk=harbour.desk,
        devices=harbour.devices,
        repository=folder / "repository",
        inbox=folder / "inbox.sqlite",
        clock=harbour.clock,
    ) as ports:
        shown, asked = f"0.0.0.0:{ports.enrolment_port}", f"127.0.0.1:{ports.device_port}"
        addresses = {"gateway": shown, "enrolment": shown, "devices": asked}
        yield RunningServer(*RunningServer.ourselves(), "harbour", system_clock(), addresses, 0, "", "", "")


def states(checks) -> dict[str, str]:
    return {check.name: check.state for check in checks}


def root_of(harbour: Federation, folder: Path) -> Path:
    (folder / "root.pem").write_bytes(harbour.root_pem)
    return folder / "root.pem"


def test_ports_that_answer_under_the_federations_root_are_good(harbour, noted, tmp_path: Path) -> None:
    root = root_of(harbour, tmp_path)
    ports = {f"server's port: {name}": "ok" for name in ("gateway", "enrolment", "devices")}
    assert states(server(noted, root, lambda: time.time() - DAY_S)) == ports | {"server's certificate": "ok"}
    assert states(server(noted, root)) == ports | {"server's certificate": "warning"}  # it holds 30 days


def test_a_certificate_that_leads_elsewhere_or_a_port_that_is_silent_is_found(noted, tmp_path: Path) -> None:
    other = root_of(Federation(tmp_path, "elsewhere"), tmp_path)
    found = list(server(noted, other))
    assert set(states(found).values()) == {"missing"}
    assert "does not hold" in found[0].found
    silent = {**noted.__dict__, "addresses": {**noted.addresses, "devices": f"127.0.0.1:{free_port()}"}}
    assert states(server(RunningServer(**silent), other))["server's port: devices"] == "missing"


@pytest.mark.parametrize(
    "secret",
    [
        "federation/coordinator.json",
        "log/key.json",
        "repository.keys/offline/root.x.pem",
        "repository.keys/publisher.json",
    ],
)
def test_every_kind_of_secret_that_others_may_read_is_named(tmp_path: Path, secret: str) -> None:
    FederationHome(tmp_path).authority(now=system_clock())
    path = tmp_path / secret
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("secret")
    path.chmod(0o600)
    assert states(federation(tmp_path))["federation's secrets"] == "ok"
    path.chmod(0o644)
    bad = next(check for check in federation(tmp_path) if check.name == "federation's secrets")
    assert bad.state == "missing"
    assert path.name in bad.found


def test_a_repository_that_nobody_renewed_is_found_before_devices_find_it(tmp_path: Path) -> None:
    FederationHome(tmp_path).authority(now=system_clock())
    folder = tmp_path / "repository"
    Repository.create(folder, RoleKeys(tmp_path / "keys", tmp_path / "keys" / "offline"), system_clock)
    assert states(federation(tmp_path))["release repository"] == "ok"
    late = [repository(folder, lambda days=days: time.time() + days * DAY_S) for days in (0.9, 1.1, 8)]
    assert [check.state for check in late] == ["ok", "missing", "missing"]
    assert "timestamp ended" in late[1].found
    assert "snapshot, timestamp ended" in late[2].found
    shutil.rmtree(folder / "metadata")
    (folder / "metadata").mkdir()
    assert repository(folder).state == "missing"
