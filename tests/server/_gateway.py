"""A gateway on 127.0.0.1 over real TLS, devices with real keys, and the requests that they sign."""

import asyncio
import json
import re
import secrets
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

from skerry.clock import system_clock
from skerry.security.http_signature import sign_request
from skerry.server.bells import Bells
from skerry.server.devices import DEVICES, EnrolledDevice
from skerry.server.engines.certificates import LoopbackTls
from skerry.server.gateway import GatewayLimits, SuperlinkLine, gateway, gateway_server

from ._federation import Federation


class Signing:
    """A device's side: its key, and signed requests."""

    def __init__(self, name: str, key: ec.EllipticCurvePrivateKey | None = None) -> None:
        self.name = name
        self.key = key or ec.generate_private_key(ec.SECP256R1())
        self.enrolled = EnrolledDevice(name, self.key.public_key())

    def headers(self, method: str, path: str, body: bytes = b"", *, created=None, nonce=None) -> dict[str, str]:
        return sign_request(
            method,
            path,
            body,
            key_id=self.name,
            sign=lambda message: self.key.sign(message, ec.ECDSA(SHA256())),
            created=created or system_clock() // 1000,
            nonce=nonce or secrets.token_urlsafe(16),
        )


@dataclass
class Roll:
    """Who is in good standing; a test takes devices off it."""

    known: dict[str, EnrolledDevice] = field(default_factory=dict)

    def find(self, name: str, roles=DEVICES) -> EnrolledDevice | None:
        found = self.known.get(name)
        return found if found is not None and found.role in roles else None

    at_once = find


class NoNodes:
    """For tests whose calls never reach a SuperLink."""

    def node_id(self, device: EnrolledDevice) -> int:
        raise ConnectionError("there is no SuperLink")

    def known(self, device: EnrolledDevice) -> None:
        return None

    def forget(self, device: EnrolledDevice) -> None:
        raise AssertionError("nothing was answered")


@dataclass
class Shown:
    """The files of what a server shows."""

    authority: Path
    certificate: Path
    key: Path


@dataclass
class Running:
    url: str
    port: int
    tls: Shown
    roll: Roll
    client: httpx.Client
    app: object

    @property
    def trusted(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.tls.authority))

    def get(self, path: str, device: Signing, **headers: str) -> httpx.Response:
        return self.client.get(path, headers={**device.headers("GET", path), **headers})

    def post(self, path: str, device: Signing, body: bytes, **headers: str) -> httpx.Response:
        signed = device.headers("POST", path, body)
        kind = {"content-type": "application/protobuf"}
        return self.client.post(path, content=body, headers={**kind, **signed, **headers})

    def raw(self, request: bytes, *, wait_s: float = 180.0) -> bytes:
        """Send bytes over TLS and read the answer, or until the end where it closes the connection."""
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=wait_s)
        with self.trusted.wrap_socket(plain, server_hostname="127.0.0.1") as connection:
            connection.sendall(request)
            got = b""
            try:
                while not _whole(got, bodiless=request.startswith(b"HEAD")) and (part := connection.recv(65536)):
                    got += part
            except TimeoutError:
                pass
            return got


def _whole(got: bytes, *, bodiless: bool) -> bool:
    """Whether this is an answer after which the connection stays, and all of it."""
    head, end, body = got.partition(b"\r\n\r\n")
    length = re.search(rb"\ncontent-length: (\d+)", head.lower())
    if not end or length is None or b"connection: close" in head.lower():
        return False
    return bodiless or len(body) >= int(length[1])


def _shown(folder: Path, stem: Path | None) -> Shown:
    tls = LoopbackTls(folder)
    return Shown(
        tls.authority,
        *((tls.certificate, tls.key) if stem is None else (stem.with_suffix(".pem"), stem.with_suffix(".key"))),
    )


@contextmanager
def running(
    folder: Path,
    *,
    superlink: str = "http://127.0.0.1:9",
    nodes=None,
    verify: ssl.SSLContext | None = None,
    limits=None,
    desk=None,
    devices=None,
    shown: Path | None = None,
    idle_since: int | None = None,
    bells: Bells | None = None,
    console=None,
    fetched=None,
) -> Iterator[Running]:
    """Serve until the block ends."""
    tls = _shown(folder, shown)
    roll = Roll()
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    ready = threading.Event()
    held = {}

    async def serve() -> None:
        at = urlsplit(superlink)
        with closing(SuperlinkLine(at.hostname, at.port, verify)) as client:
            app = gateway(
                superlink=client,
                nodes=nodes or NoNodes(),
                devices=devices or roll,
                desk=desk or Federation(folder).desk,
                repository=folder / "repository",
                log=folder / "log",
                clock=system_clock,
                limits=limits or GatewayLimits(),
                page=folder / "page",
                bells=bells,
                console=console,
                fetched=fetched,
                idle_since=system_clock() - 3_600_000 if idle_since is None else idle_since,
            )
            held["app"] = app
            held["server"] = gateway_server(app, certificate=tls.certificate, key=tls.key)
            ready.set()
            await held["server"].serve(sockets=[listening])

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        assert ready.wait(180)
        url = f"https://127.0.0.1:{port}"
        context = ssl.create_default_context(cafile=str(tls.authority))
        if shown is not None:
            context.load_verify_locations(cadata=(desk.authorities()).decode())
        with httpx.Client(base_url=url, verify=context, timeout=180) as client:
            yield Running(url, port, tls, roll, client, held["app"])
    finally:
        held["server"].should_exit = True
        thread.join(180)
        listening.close()
    assert not thread.is_alive()


def reason(answer: httpx.Response | bytes) -> str:
    """The code of a refusal."""
    body = answer if isinstance(answer, bytes) else answer.content
    return json.loads(body[body.index(b"{") :])["error"]["reason"]
