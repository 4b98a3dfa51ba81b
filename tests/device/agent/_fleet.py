"""A federation for the agent: authority, desk, SuperLink and gateway, all real and on this machine."""

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

from cryptography.hazmat.primitives.serialization import Encoding

from skerry.clock import system_clock
from skerry.security.certificates import Authority
from skerry.security.identity import Identity
from skerry.server.engines.deployment import Deployment
from skerry.server.engines.processes import Child, Children
from skerry.server.enrolled_devices import RegistryDevices
from skerry.server.enrolment import Desk, Office
from skerry.server.gateway import SuperlinkNodes
from tests.server._gateway import Running, running

TERMS = """
[task]
name = "digits"
holder = "{holder}"
[model]
components = 64
[privacy]
unit = "example"
epsilon = 8.0
delta = 1e-5
"""


class Link(Deployment):
    """A SuperLink whose runs are claimed by whoever knows its secret."""

    secret: Path

    def _start_link(self) -> Child:
        self.secret = self._home / "secret"
        self.secret.write_bytes(secrets.token_bytes(32))
        return super()._start_link()

    def _certificates(self) -> list[str]:
        claimed = ["--isolation", "process", "--superexec-auth-secret-file", str(self.secret)]
        return [*super()._certificates(), *claimed]


@dataclass
class Fleet:
    """What runs."""

    folder: Path
    authority: Authority
    office: Office
    desk: Desk
    coordinator: Identity
    link: Link
    gateway: Running
    agents: list[subprocess.Popen] = field(default_factory=list)

    def invite(self) -> str:
        invitation = self.office.invite(
            self.authority,
            device_class="pi",
            by="ann",
            now=system_clock(),
            life=3_600_000,
            approve=True,
            address=self.gateway.url,
        )
        return invitation.text

    def enrol(self, name: str, terms: str) -> Path:
        home = self.folder / name
        file = self.folder / f"{name}.toml"
        file.write_text(terms)
        done = skerry("enrol", self.invite(), "--name", name, "--terms", file, home=home)
        assert done.returncode == 0, done.stderr
        return home


def words(command: str, home: Path, *more: object) -> list[str]:
    key = ["--key-file", str(home.parent / "key")] if command in {"enrol", "run"} else []
    given = [command, "--home", str(home), *key, *map(str, more)]
    return [sys.executable, "-m", "skerry.cli", "device", *given]


def skerry(command: str, *more: object, home: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words(command, home, *more), capture_output=True, text=True, timeout=60, check=False)


@contextmanager
def agent(home: Path, *more: object) -> Iterator[subprocess.Popen]:
    """`skerry device run`, ended with the block."""
    log = (home / "run.log").open("ab")
    process = subprocess.Popen(words("run", home, *more), stdout=log, stderr=log)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(30)
        log.close()


def said(home: Path, what: str, *, times: int = 1, within_s: float = 30.0) -> str:
    """Wait until the agent of this home has said so."""
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
    desk = Desk(office.file, authority, secret=bytes(32), clock=system_clock, coordinator=coordinator.public)
    with ExitStack() as held:
        link = Link(folder, folder, held.enter_context(Children()))
        link.start([])
        nodes = SuperlinkNodes(held.enter_context(link.control()))
        devices = RegistryDevices(office.file, "harbour", system_clock)
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
