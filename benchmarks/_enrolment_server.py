"""A gateway with an enrolment desk in a process of its own: ``python _enrolment_server.py FOLDER DEVICES``.

Writes ``invitation.txt`` for that many devices, and serves until its standard input ends.
"""

import socket
import sys
import threading
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from skerry.clock import system_clock
from skerry.fsio import write_atomic
from skerry.security.certificates import Authority
from skerry.server.enrolled_devices import RegistryDevices
from skerry.server.enrolment import Desk, Office
from skerry.server.gateway import gateway, gateway_server


def main(folder: Path, devices: int) -> None:
    authority = Authority.create(folder / "authority", "bench", now=system_clock())
    office = Office(folder)
    desk = Desk(office.registry, authority, secret=bytes(32), clock=system_clock)
    listening = socket.create_server(("127.0.0.1", 0), backlog=256)
    address = f"https://127.0.0.1:{listening.getsockname()[1]}"
    key = ec.generate_private_key(ec.SECP256R1())
    shown = authority.issue_server(["127.0.0.1"], key.public_key(), now=system_clock())
    chain = b"".join(one.public_bytes(Encoding.PEM) for one in (shown, authority.issuer))
    (folder / "shown.pem").write_bytes(chain)
    (folder / "shown.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    app = gateway(
        superlink=None,  # no call of the Fleet API is made
        nodes=None,
        devices=RegistryDevices(office.registry, "bench", system_clock),
        desk=desk,
        repository=folder,
        idle_since=0,  # nothing is replayed here
        clock=system_clock,
    )
    server = gateway_server(app, certificate=folder / "shown.pem", key=folder / "shown.key")
    threading.Thread(target=lambda: server.run(sockets=[listening]), daemon=True).start()
    invitation = office.invite(
        authority,
        device_class="device",
        by="bench",
        now=system_clock(),
        life=3_600_000,
        uses=devices,
        approve=True,
        address=address,
    )
    write_atomic(folder / "invitation.txt", invitation.text.encode(), durable=False)
    sys.stdin.read()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
