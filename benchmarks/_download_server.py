"""A server of downloads in a process of its own: the gateway, or the plain file server of Python's standard library.

    python _download_server.py gateway|plain|clear FOLDER

``FOLDER`` holds ``repository/blobs/<digest>``, and gets ``authority.pem`` and ``ready.json`` with the port. It serves
until its standard input ends. The gateway's devices are ``device-0`` … with one key, ``device.key`` in the folder.
"""

import functools
import http.server
import json
import socket
import ssl
import sys
import threading
from pathlib import Path

from cryptography.hazmat.primitives.serialization import load_pem_private_key

from skerry.clock import system_clock
from skerry.server.engines.certificates import LoopbackTls


class _Devices:
    def __init__(self, folder: Path) -> None:
        from skerry.server.devices import EnrolledDevice

        self._make = EnrolledDevice
        self._key = load_pem_private_key((folder / "device.key").read_bytes(), None).public_key()

    def find(self, name: str, *_: object) -> object:
        return self._make(name, self._key)

    at_once = find


def gateway(folder: Path, listening: socket.socket, tls: LoopbackTls) -> None:
    from skerry.security.certificates import Authority
    from skerry.server.enrolment import Desk
    from skerry.server.gateway import gateway, gateway_server
    from skerry.server.registry.file import RegistryFile

    authority = Authority.create(folder / "authority", "bench", now=system_clock())
    desk = Desk(RegistryFile(folder / "registry.sqlite"), authority, secret=bytes(32), clock=system_clock)
    app = gateway(
        superlink=None,  # no call of the Fleet API is made
        nodes=None,
        devices=_Devices(folder),
        desk=desk,
        repository=folder / "repository",
        idle_since=0,  # nothing is replayed here
        clock=system_clock,
    )
    gateway_server(app, certificate=tls.certificate, key=tls.key).run(sockets=[listening])


def plain(folder: Path, listening: socket.socket, tls: LoopbackTls | None) -> None:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(folder / "repository"))
    server = http.server.ThreadingHTTPServer(listening.getsockname(), handler, bind_and_activate=False)
    server.socket.close()
    server.socket = listening
    if tls is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tls.certificate, tls.key)
        server.socket = context.wrap_socket(listening, server_side=True, do_handshake_on_connect=False)
    server.serve_forever()


def main(kind: str, folder: Path) -> None:
    tls = LoopbackTls(folder)
    listening = socket.create_server(("127.0.0.1", 0), backlog=256)
    (folder / "ready.json").write_text(json.dumps({"port": listening.getsockname()[1]}), encoding="utf-8")
    serve = {"gateway": lambda: gateway(folder, listening, tls), "plain": lambda: plain(folder, listening, tls)}
    serve["clear"] = lambda: plain(folder, listening, None)
    threading.Thread(target=serve[kind], daemon=True).start()
    sys.stdin.read()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
