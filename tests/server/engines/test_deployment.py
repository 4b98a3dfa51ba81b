"""What a SuperLink on this machine is made of: keys that only we can read, ports nobody has, a bundle without code."""

import importlib.util
import socket
import ssl
import stat
import threading
import tomllib
import zipfile
from io import BytesIO
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_ssh_private_key

from skerry import __version__
from skerry.errors import PortTakenError, RunFailedError
from skerry.server.engines import Components
from skerry.server.engines.bundle import bundle_text, write_bundle
from skerry.server.engines.certificates import LoopbackTls, write_node_key
from skerry.server.engines.deployment import Deployment
from skerry.server.engines.ports import free_ports, require_free
from skerry.server.engines.processes import Children
from skerry.server.engines.superlink import SuperlinkEngine

ROOT = Path(__file__).parents[3]


def handshake(tls: LoopbackTls, client: ssl.SSLContext, name: str) -> None:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(tls.certificate, tls.key)
    here, there = socket.socketpair()

    def serve() -> None:
        try:
            server.wrap_socket(there, server_side=True).close()
        except OSError:
            there.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        client.wrap_socket(here, server_hostname=name).close()
    finally:
        here.close()
        thread.join(180)


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_a_client_that_trusts_the_authority_accepts_the_server(tmp_path: Path, name: str) -> None:
    tls = LoopbackTls(tmp_path)
    handshake(tls, ssl.create_default_context(cafile=tls.authority), name)


def test_other_names_other_authorities_and_the_world_are_refused(tmp_path: Path) -> None:
    tls, other = LoopbackTls(tmp_path / "one"), LoopbackTls(tmp_path / "two")
    for client, name in [
        (ssl.create_default_context(cafile=tls.authority), "example.org"),
        (ssl.create_default_context(cafile=other.authority), "localhost"),
        (ssl.create_default_context(), "localhost"),
    ]:
        with pytest.raises(ssl.SSLCertVerificationError):
            handshake(tls, client, name)


def test_keys_are_for_the_owner_only_and_the_authoritys_is_written_nowhere(tmp_path: Path) -> None:
    tls = LoopbackTls(tmp_path)
    public = write_node_key(tmp_path / "node.key")
    for path in (tls.key, tmp_path / "node.key"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    private = load_ssh_private_key((tmp_path / "node.key").read_bytes(), None)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    assert private.public_key() == public
    assert sum(b"PRIVATE KEY" in path.read_bytes() for path in tmp_path.iterdir()) == 2  # the server's and the node's


def test_free_ports_are_different_free_and_out_of_the_way_of_outgoing_connections() -> None:
    ports = free_ports(20)
    assert len(set(ports)) == 20
    ephemeral = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert all(20_000 <= port < max(ephemeral, 21_001) for port in ports)
    assert [require_free(port) for port in ports] == ports


def test_a_taken_port_is_refused_and_never_offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from skerry.server.engines import ports

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(PortTakenError, match=f"port {port} on 127.0.0.1 is taken"):
            require_free(port)
        monkeypatch.setattr(ports, "_LOWEST", port)
        monkeypatch.setattr(ports, "_end_of_quiet_range", lambda: port + 1)
        with pytest.raises(PortTakenError, match="1 free ports are needed"):
            free_ports(1)


def test_the_engine_refuses_a_taken_port_before_it_starts_anything(echo: Components, make_run: object) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        folder = make_run(1)  # type: ignore[operator]
        with pytest.raises(PortTakenError):
            SuperlinkEngine(echo, port=taken.getsockname()[1]).run(folder)
    assert not list((folder.path / "logs").iterdir())


def test_a_folder_open_to_others_is_no_place_for_keys(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    with Children() as children, pytest.raises(RunFailedError, match="closed to others"):
        Deployment(tmp_path, tmp_path, children)


def test_the_apps_folder_in_the_source_tree_is_what_the_engine_submits() -> None:
    assert (ROOT / "deploy" / "app" / "pyproject.toml").read_text() == bundle_text(Components())


def test_the_bundle_holds_configuration_and_no_code(tmp_path: Path) -> None:
    from flwr.cli.build import build_fab_from_disk

    app = write_bundle(tmp_path / "app", Components())
    names = zipfile.ZipFile(BytesIO(build_fab_from_disk(app))).namelist()
    assert sorted(names) == [".info/CONTENT", "pyproject.toml"]
    value = tomllib.loads((app / "pyproject.toml").read_text())
    assert value["project"]["dependencies"] == []
    assert value["project"]["version"] == __version__
    assert value["tool"]["flwr"]["app"]["config"] == {"scenario": "", "overrides": "", "run": "", "runs-dir": ""}
    for reference in value["tool"]["flwr"]["app"]["components"].values():
        assert importlib.util.find_spec(reference.partition(":")[0]) is not None
