"""A federation for the agent: authority, desk, SuperLink and gateway, all real and on this machine."""

import os
import secrets
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import tomli_w
from click.testing import Result
from cryptography.hazmat.primitives.serialization import Encoding
from typer.testing import CliRunner

from skerry.clock import system_clock
from skerry.config import Scenario, default_scenario
from skerry.device.agent.terms import TERMS
from skerry.device.membership import Folder, Step
from skerry.device.service import HttpsEnrolment
from skerry.fsio import write_atomic
from skerry.security.certificates import Authority
from skerry.security.enrolment import Invitation
from skerry.security.identity import Identity, PassphraseLock, SealedKeyStore
from skerry.server.engines.deployment import Deployment
from skerry.server.engines.processes import Children
from skerry.server.enrolled_devices import RegistryDevices
from skerry.server.enrolment import Desk, Office
from skerry.server.gateway import SuperlinkNodes
from tests.server._gateway import Running, running

_REST = """
[privacy]
unit = "example"
epsilon = 8.0
delta = 1e-5
[conditions]
metered = "no"
busy_percent = 100
free_memory_mb = 0
temperature_c = 110
"""


def terms(holder: str, scenario: Scenario | None = None) -> str:
    """What the owner allows: the digits of one writer, and the scenario's kind of model."""
    given = scenario or default_scenario()
    sections = {
        "task": given.task.model_dump(mode="json", exclude_none=True) | {"holder": holder},
        "model": given.model.model_dump(mode="json", exclude_none=True),
    }
    return tomli_w.dumps(sections) + _REST


@dataclass
class Fleet:
    """What runs."""

    folder: Path
    authority: Authority
    office: Office
    desk: Desk
    coordinator: Identity
    link: Deployment
    gateway: Running
    agents: list[subprocess.Popen] = field(default_factory=list)

    def invite(self, address: str | None = None) -> str:
        invitation = self.office.invite(
            self.authority,
            device_class="pi",
            by="ann",
            now=system_clock(),
            life=3_600_000,
            approve=True,
            address=address or self.gateway.url,
        )
        return invitation.text

    def enrol(self, name: str, holder: str = "writer-04", address: str | None = None) -> Path:
        """What `skerry device enrol --terms` does."""
        home = self.folder / name
        key = home.parent / "key"
        if not key.exists():
            write_atomic(key, secrets.token_hex(32).encode(), mode=0o600)
        store = SealedKeyStore.create(Folder(home).keys, name, PassphraseLock(key.read_bytes()), now=system_clock())
        invitation = Invitation.parse(self.invite(address))
        with HttpsEnrolment(invitation) as transport:
            step, _ = Folder(home).apply(invitation, store, transport, now=system_clock())
        assert step is Step.ENROLLED
        (home / TERMS).write_text(terms(holder))
        return home


def words(command: str, home: Path, *more: object) -> list[str]:
    key = ["--key-file", str(home.parent / "key")] if command in {"doctor", "enrol", "run"} else []
    return ["device", command, "--home", str(home), *key, *map(str, more)]


def skerry(command: str, *more: object, home: Path) -> Result:
    """The command line, called in this process: a start takes longer than most of what is called."""
    from skerry.cli import app

    return CliRunner().invoke(app, words(command, home, *more))


@contextmanager
def agent(home: Path, **environment: str) -> Iterator[subprocess.Popen]:
    """`skerry device run`, ended with the block."""
    log = (home / "run.log").open("ab")
    process = subprocess.Popen(
        [sys.executable, "-m", "skerry.cli", *words("run", home)], stdout=log, stderr=log, env=os.environ | environment
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(180)
        log.close()


def said(home: Path, what: str, *, times: int = 1, within_s: float = 180.0) -> str:
    """Wait until the agent of this home has said so; all that it said."""
    until = time.monotonic() + within_s
    while (text := (home / "run.log").read_text()).count(what) < times:
        assert time.monotonic() < until, text
        time.sleep(0.05)
    return text


@contextmanager
def fleet(folder: Path) -> Iterator[Fleet]:
    folder.chmod(0o700)
    (folder / "gateway").mkdir()
    authority = Authority.create(folder / "authority", "harbour", now=system_clock())
    office, coordinator = Office(folder), Identity.generate("coordinator")
    desk = Desk(office.registry, authority, secret=bytes(32), clock=system_clock, coordinator=coordinator.public)
    with ExitStack() as held:
        link = Deployment(folder, folder, held.enter_context(Children()), secret=secrets.token_bytes(32))
        link.start([])
        nodes = SuperlinkNodes(held.enter_context(link.control()))
        devices = RegistryDevices(office.registry, "harbour", system_clock)
        held.callback(devices.close)
        chain, key = _server_pem(authority)
        (folder / "shown.pem").write_bytes(chain)
        (folder / "shown.key").write_bytes(key)
        gateway = held.enter_context(
            running(
                folder / "gateway",
                superlink=f"https://{link.address}",
                verify=ssl.create_default_context(cafile=str(link.authority)),
                nodes=nodes,
                desk=desk,
                devices=devices,
                shown=folder / "shown",
            )
        )
        yield Fleet(folder, authority, office, desk, coordinator, link, gateway)


def _server_pem(authority: Authority) -> tuple[bytes, bytes]:
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import NoEncryption, PrivateFormat

    key = ec.generate_private_key(ec.SECP256R1())
    made = authority.issue_server(["127.0.0.1", "localhost"], key.public_key(), now=system_clock())
    chain = b"".join(one.public_bytes(Encoding.PEM) for one in (made, authority.issuer))
    return chain, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
