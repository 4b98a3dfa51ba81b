"""The device service in a process of its own, with one enrolled device: ``python _frames_server.py FOLDER``.

Its limits on how often and how much at once a device may call are lifted: what is looked for lies behind them.
Its clock stands still, so that what was right to send remains right.
Writes ``known.json`` with ports, the device's credentials and genuine messages, and serves until its input ends.
"""

import base64
import secrets
import sys
from pathlib import Path

from _enrolment_client import Agent
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from skerry.clock import system_clock
from skerry.fsio import write_json
from skerry.security.certificates import Authority
from skerry.security.enrolment import apply, ask, renew
from skerry.server.enrolled_devices import RegistryDevices
from skerry.server.enrolment import Desk, Office
from skerry.server.limits import Rate
from skerry.server.service import ServerIdentity, ServiceLimits, device_service

FILE = b"a release's file"
_UNBOUNDED = Rate(per_s=1e6, burst=1e6)


class _Heard:
    """A desk that keeps what it was last asked, to be mutated."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.asked: dict[str, bytes] = {}

    def challenge(self, request: bytes) -> bytes:
        self.asked["Challenge"] = request
        return self._desk.challenge(request)

    def enrol(self, request: bytes) -> bytes:
        self.asked["Enrol"] = request
        return self._desk.enrol(request)

    def renew(self, request: bytes) -> bytes:
        self.asked["Renew"] = request
        return self._desk.renew(request)


def main(folder: Path) -> None:
    begun = system_clock()

    def clock() -> int:
        return begun

    authority = Authority.create(folder / "authority", "bench", now=begun)
    office = Office(folder)
    desk = Desk(office.registry, authority, secret=bytes(32), clock=clock)
    invitation = office.invite(
        authority, device_class="pi", by="bench", now=begun, life=3_600_000, uses=2, approve=True
    )
    agent, heard = Agent("device"), _Heard(desk)
    member = ask(apply(invitation, agent, heard, now=begun), "bench", agent, heard, now=begun)
    member = renew(member, agent, heard, attempt=secrets.token_bytes(16), now=begun)
    (folder / "repository").mkdir()
    (folder / "repository" / "file").write_bytes(FILE)
    key = ec.generate_private_key(ec.SECP256R1())
    shown = authority.issue_server(["127.0.0.1"], key.public_key(), now=begun)
    root = authority.root.public_bytes(Encoding.PEM)
    identity = ServerIdentity(
        b"".join(one.public_bytes(Encoding.PEM) for one in (shown, authority.issuer)), _pem(key), root
    )
    with device_service(
        identity=identity,
        desk=desk,
        devices=RegistryDevices(office.registry, "bench", clock),
        repository=folder / "repository",
        inbox=folder / "inbox.sqlite",
        clock=clock,
        limits=ServiceLimits(device=_UNBOUNDED, stranger=_UNBOUNDED, receipts=200, calls=128, calls_each=128),
    ) as ports:
        (folder / "root.pem").write_bytes(root)
        (folder / "device.pem").write_bytes(member.chain_pem)
        (folder / "device.key").write_bytes(_pem(agent.device_key))
        genuine = {call: base64.b64encode(record).decode() for call, record in heard.asked.items()}
        write_json(
            folder / "known.json",
            {"enrolment": ports.enrolment_port, "device": ports.device_port, "genuine": genuine},
        )
        sys.stdin.read()


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
