"""``skerry server up`` as a person runs it: everything comes up, a device enrols by the invite, everything ends."""

import base64
import gc
import json
import os
import signal
import socket
import ssl
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import httpx
import psutil
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from flwr.proto.fleet_pb2 import ActivateNodeRequest, ActivateNodeResponse

from skerry.clock import system_clock
from skerry.device.service import Credentials, DeviceClient, HttpsEnrolment
from skerry.errors import InputError, PortTakenError, RefusedError
from skerry.security.enrolment import Invitation, apply, ask
from skerry.security.http_signature import sign_request
from skerry.security.identity import Identity
from skerry.security.identity.epochs import KemKeys
from skerry.server.devices import EnrolledDevice
from skerry.server.federation_home import FederationHome
from skerry.server.fleet_server import Ports, fleet_server

pytestmark = pytest.mark.engine
ANY_PORTS = ["--port", "0", "--enrolment-port", "0", "--device-port", "0"]
UP_S = 180


def skerry(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "skerry.cli", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=UP_S, check=False)


@contextmanager
def up(runs: Path, *words: str) -> Iterator[tuple[subprocess.Popen, dict]]:
    command = [
        sys.executable,
        "-m",
        "skerry.cli",
        "server",
        "up",
        "--json",
        "--runs-dir",
        str(runs),
        *ANY_PORTS,
        *words,
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        text = ""
        while not text.endswith("}\n") or "\n}\n" not in text:
            line = process.stdout.readline()
            assert line, process.stderr.read()
            text += line
        yield process, json.loads(text)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.wait(180)
        process.stdout.close()
        process.stderr.close()


class Agent:
    def __init__(self, name: str) -> None:
        self.kem = KemKeys.begin(system_clock(), 14)
        self.identity = Identity(name, Identity.generate(name).signing, self.kem.newest.key)
        self.device_key = ec.generate_private_key(ec.SECP256R1())
        self.epoch = self.kem.newest


def signed(agent: Agent, method: str, path: str, body: bytes = b"") -> dict[str, str]:
    return sign_request(
        method,
        path,
        body,
        key_id=agent.identity.name,
        sign=lambda message: agent.device_key.sign(message, ec.ECDSA(SHA256())),
        created=system_clock() // 1000,
        nonce=os.urandom(16).hex(),
    )


def test_a_device_joins_by_the_printed_invite_over_every_port(tmp_path: Path):
    (tmp_path / "repository" / "blobs").mkdir(parents=True)
    (tmp_path / "repository" / "blobs" / ("ab" * 32)).write_bytes(b"blob")
    with up(tmp_path) as (process, told):
        assert told["addresses"]["superlink"].startswith("127.0.0.1:")
        invitation = Invitation.parse(told["invite"]["text"])
        agent = Agent("pi-1")
        with HttpsEnrolment(invitation) as transport:
            asked = apply(invitation, agent, transport, now=system_clock())
            member = ask(asked, told["federation"], agent, transport, now=system_clock())
            roots = transport.roots
        home = FederationHome(tmp_path)
        assert member.coordinator == home.coordinator().public
        kept = home.folder / "coordinator.json"
        assert stat.S_IMODE(kept.stat().st_mode) == 0o600
        # over gRPC
        pem = agent.device_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        with DeviceClient(told["addresses"]["devices"], Credentials(roots, member.chain_pem, pem)) as client:
            assert b"".join(client.fetch(f"blobs/{'ab' * 32}")) == b"blob"
        # over the gateway: a download, and a call of the Fleet API that the SuperLink answers
        trusted = ssl.create_default_context(cadata=roots.decode())
        with httpx.Client(base_url=invitation.address, verify=trusted, timeout=180) as web:
            path = f"/v1/blobs/{'ab' * 32}"
            assert web.get(path, headers=signed(agent, "GET", path)).content == b"blob"
            node_key = EnrolledDevice("pi-1", agent.device_key.public_key()).node_key
            body = ActivateNodeRequest(public_key=node_key, heartbeat_interval=30).SerializeToString()
            stamp = datetime.now(UTC).isoformat()
            proof = agent.device_key.sign(stamp.encode(), ec.ECDSA(SHA256()))
            path = "/v1/fleet/activate-node"
            headers = {
                **signed(agent, "POST", path, body),
                "content-type": "application/protobuf",
                "flwr-timestamp": stamp,
                "flwr-signature": base64.b64encode(proof).decode(),
            }
            answer = web.post(path, content=body, headers=headers)
            assert answer.status_code == 200, answer.text
            assert ActivateNodeResponse.FromString(answer.content).node_id
        # what is seen of it from elsewhere
        status = json.loads(skerry("server", "status", "--json", "--runs-dir", tmp_path).stdout)
        assert status["answers"] == dict.fromkeys(("gateway", "enrolment", "devices", "superlink"), True)
        again = skerry("server", "up", "--json", "--runs-dir", tmp_path, *ANY_PORTS)
        assert (again.returncode, "runs already" in again.stdout) == (1, True)
        # and how it ends
        family = psutil.Process(process.pid).children(recursive=True)
        assert any("superlink" in " ".join(member.cmdline()) for member in family)
        ended = skerry("server", "stop", "--json", "--runs-dir", tmp_path)
        assert json.loads(ended.stdout) == {"stopped": True, "pid": process.pid}
        assert process.wait(180) == 0
        assert not [member for member in family if member.is_running() and member.status() != psutil.STATUS_ZOMBIE]
    gone = skerry("server", "status", "--json", "--runs-dir", tmp_path)
    assert (gone.returncode, json.loads(gone.stdout)["running"]) == (1, False)


@pytest.mark.slow
def test_by_commands_alone_a_device_is_invited_waits_is_approved_and_revoked(tmp_path: Path):
    runs, home = ("--runs-dir", tmp_path), ("--home", tmp_path / "pi-2")
    (tmp_path / "key-file").write_bytes(os.urandom(32))
    (tmp_path / "key-file").chmod(0o600)
    key = ("--key-file", tmp_path / "key-file")
    with up(tmp_path) as (_, told):
        address = f"https://{told['addresses']['gateway']}"
        invited = skerry("fleet", "invite", "--class", "pi", "--address", address, "--json", *runs)
        text = json.loads(invited.stdout)["invitation"]
        waits = skerry("device", "enrol", text, *home, "--name", "pi-2", *key, "--json")
        assert json.loads(waits.stdout)["step"] == "waiting", waits.stderr
        approved = skerry("fleet", "approve", "pi-2", "--reason", "ours", "--json", *runs)
        assert approved.returncode == 0, approved.stderr
        joined = skerry("device", "enrol", *home, *key, "--json")
        assert json.loads(joined.stdout)["step"] == "enrolled", joined.stderr
        revoked = skerry("fleet", "revoke", "pi-2", "--reason", "lost", "--json", *runs)
        assert revoked.returncode == 0, revoked.stderr
        refused = skerry("device", "enrol", *home, *key, "--renew", "--json")
        assert (refused.returncode, json.loads(refused.stdout)["error"]["reason"]) == (3, "revoked")


def test_ctrl_c_ends_every_child_and_the_federation_is_the_same_next_time(tmp_path: Path):
    roots = []
    for _ in range(2):
        with up(tmp_path, *([] if roots else ["--federation", "harbour"])) as (process, told):
            family = psutil.Process(process.pid).children(recursive=True)
            coordinator = FederationHome(tmp_path).coordinator().public
            roots.append((told["federation"], Invitation.parse(told["invite"]["text"]).root, coordinator))
            process.send_signal(signal.SIGINT)
            assert process.wait(180) == 0
        assert not [member for member in family if member.is_running() and member.status() != psutil.STATUS_ZOMBIE]
    assert roots[0] == roots[1]
    assert roots[0][0] == "harbour"
    other = skerry("server", "up", "--json", "--federation", "elsewhere", "--runs-dir", tmp_path, *ANY_PORTS)
    assert other.returncode == 2


@pytest.mark.slow
def test_a_server_that_is_killed_takes_its_superlink_with_it(tmp_path: Path):
    with up(tmp_path) as (process, _):
        family = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        process.wait(180)
        deadline = time.monotonic() + 180
        while (
            any(m.is_running() and m.status() != psutil.STATUS_ZOMBIE for m in family) and time.monotonic() < deadline
        ):
            time.sleep(0.1)
    assert not [member for member in family if member.is_running() and member.status() != psutil.STATUS_ZOMBIE]
    assert json.loads(skerry("server", "status", "--json", "--runs-dir", tmp_path).stdout)["running"] is False


@pytest.mark.parametrize("part", ["gateway", "enrolment", "devices"])
def test_a_taken_port_is_named_and_nothing_stays_behind(tmp_path: Path, part: str):
    home = FederationHome(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        authority = home.authority(now=system_clock())
        (home.folder / f"serving-{os.getpid()}-left").mkdir()  # of one that was killed as the same number
        ports = Ports(**{**dict.fromkeys(("gateway", "enrolment", "devices"), 0), part: port})
        with (
            pytest.raises(PortTakenError, match=str(port)),
            fleet_server(home, authority, clock=system_clock, ports=ports),
        ):
            pytest.fail("two servers on one port")
    assert not home.server.exists()
    assert not list(home.folder.glob("serving-*"))
    assert not psutil.Process().children()


def test_while_it_serves_cycles_are_looked_for_seldom_and_afterwards_as_before(tmp_path: Path):
    home = FederationHome(tmp_path)
    before, frozen = gc.get_threshold(), gc.get_freeze_count()
    with fleet_server(home, home.authority(now=system_clock()), clock=system_clock, ports=Ports(0, 0, 0)):
        assert gc.get_threshold()[0] > before[0]
        assert gc.get_freeze_count() > frozen, "what was loaded is not looked through again"
    assert (gc.get_threshold(), gc.get_freeze_count()) == (before, frozen)


def test_an_address_that_is_not_this_machine_s_is_bad_input(tmp_path: Path):
    home = FederationHome(tmp_path)
    with (
        pytest.raises(InputError),
        fleet_server(
            home, home.authority(now=system_clock()), clock=system_clock, host="203.0.113.1", ports=Ports(0, 0, 0)
        ),
    ):
        pytest.fail("an address of nobody")


def test_devices_must_be_told_a_name_where_the_server_listens_everywhere(tmp_path: Path):
    failed = skerry("server", "up", "--json", "--runs-dir", tmp_path, *ANY_PORTS, "--host", "0.0.0.0")
    assert (failed.returncode, json.loads(failed.stdout)["error"]["kind"]) == (2, "input")


def test_a_clock_outside_the_authority_s_time_is_told(tmp_path: Path):
    home = FederationHome(tmp_path)
    home.authority(now=system_clock())
    for off in (-1, 2):
        with pytest.raises(RefusedError) as refused:
            home.authority(now=system_clock() + off * 366 * 86_400_000)
        assert refused.value.reason == "clock_or_certificate"
        assert "clock" in refused.value.mend


def test_the_root_s_key_is_behind_the_passphrase_and_a_killed_server_leaves_no_keys_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SKERRY_ROOT_PASSPHRASE", "root words")
    home = FederationHome(tmp_path)
    with up(tmp_path) as (process, _):
        assert (home.root.parent / "root.key").read_bytes().startswith(b"-----BEGIN ENCRYPTED")
        (private,) = home.folder.glob("serving-*")
        assert stat.S_IMODE(private.stat().st_mode) == 0o700
        assert list(private.rglob("*.key"))
        process.kill()
        process.wait(180)
    assert private.exists()
    with up(tmp_path):
        assert not private.exists()
    assert not list(home.folder.glob("serving-*"))


def test_in_a_container_it_logs_json_invites_nobody_is_ready_and_ends_by_sigterm(tmp_path: Path):
    (tmp_path / "passphrase").write_text("of the root\n")
    command = [sys.executable, "-m", "skerry.cli", "server", "up", "--log-json", "--runs-dir", str(tmp_path / "runs")]
    environment = {**os.environ, "SKERRY_ROOT_PASSPHRASE_FILE": str(tmp_path / "passphrase")}
    process = subprocess.Popen(
        [*command, *ANY_PORTS], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    try:
        first = json.loads(process.stdout.readline())
        assert (first["message"], first["level"]) == ("serving", "info")
        root = FederationHome(tmp_path / "runs").root
        trusted = ssl.create_default_context(cafile=str(root))
        with httpx.Client(base_url=f"https://{first['addresses']['gateway']}", verify=trusted) as client:
            assert client.get("/healthz").text == "ok\n"
            assert client.get("/readyz").text == "ready\n"
        assert b"ENCRYPTED" in (root.parent / "root.key").read_bytes()
    finally:
        process.send_signal(signal.SIGTERM)
        out, errors = process.communicate(timeout=180)
    assert process.returncode == 0, errors
    assert all(json.loads(line)["message"] for line in out.splitlines())
    assert "skerry-enrol" not in str(first) + out + errors
    assert not (tmp_path / "runs" / "federation" / "server.json").exists()


def test_a_public_certificate_and_its_key_go_together(tmp_path: Path):
    certificate, key = ("--public-certificate", "c"), ("--public-key", "k")
    for words in (key, certificate, certificate + key):
        told = skerry("server", "up", "--json", "--runs-dir", tmp_path, *ANY_PORTS, *words)
        assert told.returncode == 2, told.stderr
        assert json.loads(told.stdout)["error"]["mend"]


def test_a_link_that_the_command_prints_lets_one_browser_into_the_console_and_ends_with_the_server(tmp_path: Path):
    with up(tmp_path) as (process, told):
        printed = skerry("server", "console", "--by", "olga", "--runs-dir", tmp_path, "--json")
        link = httpx.URL(json.loads(printed.stdout)["link"])
        assert (link.path, link.port) == ("/console/", int(told["addresses"]["gateway"].rpartition(":")[2]))
        trusted = ssl.create_default_context(cafile=str(FederationHome(tmp_path).root))
        own = f"https://{link.host}:{link.port}"
        with httpx.Client(base_url=own, verify=trusted) as browser:
            given = {"json": {"token": link.fragment.removeprefix("sign-in:")}, "headers": {"origin": own}}
            assert browser.post("/v1/console/sign-in", **given).json()["who"] == "olga"
            assert browser.post("/v1/console/sign-in", **given).status_code == 403
            with browser.stream("GET", "/v1/console/events", timeout=180) as events:
                lines = events.iter_lines()
                assert any(line == "event: all" for line in lines)
                process.send_signal(signal.SIGINT)
                assert "event: over" in list(lines)  # nobody's page keeps the servers
        assert process.wait(180) == 0
    assert skerry("server", "console", "--runs-dir", tmp_path).returncode == 1
