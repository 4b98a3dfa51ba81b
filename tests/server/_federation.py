"""A federation that tells the real time, because TLS does: authority, desk, and devices that enrolled."""

import socket
from collections.abc import Iterable
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from skerry.clock import system_clock
from skerry.security.certificates import Authority
from skerry.security.enrolment import Invitation, Membership, apply, ask
from skerry.security.identity import Identity
from skerry.security.identity.epochs import KemEpoch, KemKeys
from skerry.server.enrolled_devices import RegistryDevices
from skerry.server.enrolment import Desk, Office


class Agent:
    """A device's keys, in memory."""

    def __init__(self, name: str) -> None:
        self.kem = KemKeys.begin(system_clock(), 14)
        self.identity = Identity(name, Identity.generate(name).signing, self.kem.newest.key)
        self.device_key = ec.generate_private_key(ec.SECP256R1())

    @property
    def epoch(self) -> KemEpoch:
        return self.kem.newest

    @property
    def key_pem(self) -> bytes:
        return self.device_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


class Federation:
    """``hurry_ms`` is added to the time that the desk and the servers see."""

    def __init__(self, folder: Path, name: str = "harbour") -> None:
        self.hurry_ms, self.folder = 0, folder
        self.authority = Authority.create(folder / f"authority-{name}", name, now=system_clock())
        self.office = Office(folder)
        self.desk = Desk(self.office.registry, self.authority, secret=bytes(32), clock=self.clock)
        self.devices = RegistryDevices(self.office.registry, name, self.clock)
        self.root_pem = self.authority.root.public_bytes(Encoding.PEM)

    def clock(self) -> int:
        return system_clock() + self.hurry_ms

    def invite(self, **others) -> Invitation:
        given = {"device_class": "pi", "by": "ann", "now": system_clock(), "life": 3_600_000, "approve": True}
        return self.office.invite(self.authority, **{**given, **others})

    def enrol(self, agent: Agent, transport=None, **invite) -> Membership | None:
        by = transport or self.desk
        asked = apply(self.invite(**invite), agent, by, now=system_clock())
        return ask(asked, self.authority.federation, agent, by, now=system_clock())

    def revoke(self, name: str) -> None:
        self.office.revoke(self.office.find(name), by="ann", why="lost", now=system_clock())

    def server_pem(self) -> tuple[bytes, bytes]:
        """Chain and key of a server on this machine."""
        key = ec.generate_private_key(ec.SECP256R1())
        made = self.authority.issue_server(["127.0.0.1", "localhost"], key.public_key(), now=system_clock())
        chain = b"".join(one.public_bytes(Encoding.PEM) for one in (made, self.authority.issuer))
        return chain, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def drain(parts: Iterable[bytes], sizes: list[int]) -> None:
    """Take all parts, however that ends, and note their sizes as they come."""
    for part in parts:
        sizes.append(len(part))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
