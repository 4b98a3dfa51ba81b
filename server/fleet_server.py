"""One federation's servers on one machine: a SuperLink on loopback, the gateway, and the device service.

In order: a server certificate under the federation's authority, the ports with the device service in this process, the
SuperLink as a child process, and the gateway in this process. Leaving the block ends all of it, the child by its own
handle.
"""

import asyncio
import errno
import logging
import os
import secrets
import socket
import ssl
import tempfile
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from skerry.addresses import is_any_address
from skerry.clock import Clock
from skerry.collecting import collecting_seldom
from skerry.errors import InputError, PortTakenError, RunFailedError
from skerry.fsio import write_atomic
from skerry.security.certificates import Authority, ms_of
from skerry.security.locking import exclusive
from skerry.security.transparency.log import PUBLISHED
from skerry.server.console import Console
from skerry.server.device_statements import enter_devices
from skerry.server.engines import flwr_adapter
from skerry.server.engines.deployment import Deployment
from skerry.server.engines.engine import remove_folder
from skerry.server.engines.processes import Children
from skerry.server.enrolled_devices import RegistryDevices
from skerry.server.enrolment import CurrentAuthority, Desk, LogKeeper, Office
from skerry.server.federation_home import FederationHome
from skerry.server.federation_log import FOLDER
from skerry.server.gateway import SuperlinkLine, SuperlinkNodes, event_loops, gateway, gateway_server
from skerry.server.gateway.authentication import AHEAD_S
from skerry.server.gateway.public_certificate import PublicCertificate
from skerry.server.running import RunningServer
from skerry.server.service import Inbox, ServerIdentity, device_service, noting_downloads

if TYPE_CHECKING:  # what it needs is part of the extra `oidc`
    from skerry.server.console.oidc import OidcSignIn

__all__ = ["FleetServer", "Ports", "fleet_server"]

_log = logging.getLogger(__name__)

_CERTIFICATE_DAYS = 90
_UP_S = 20.0
_QUIET_S = AHEAD_S + 1.0
_STARTS_S = 1.0  # in which nobody holds the lock who only looks
_PRIVATE = "serving-"
_SECRET_BYTES = 32
_SELDOM = (50_000, 10, 10)  # how often Python looks for cycles: they hold some 10 MB until then


@dataclass(frozen=True)
class Ports:
    """Where the servers listen; 0 takes a free port."""

    gateway: int = 8443
    enrolment: int = 8444
    devices: int = 8445


@dataclass
class FleetServer:
    """What runs; made by :func:`fleet_server`."""

    authority: Authority
    office: Office
    noted: RunningServer
    browsers: PublicCertificate | None
    _children: Children
    _serving: threading.Thread

    def check(self) -> None:
        """Raise when a part has ended. To be called now and then.

        Raises:
            RunFailedError: with the end of its log.
        """
        self._children.check()
        if not self._serving.is_alive():
            raise RunFailedError("the gateway ended by itself")


@contextmanager
def fleet_server(
    home: FederationHome,
    authority: Authority,
    *,
    clock: Clock,
    host: str = "127.0.0.1",
    names: Sequence[str] = (),
    ports: Ports | None = None,
    repository: Path | None = None,
    database: Path | None = None,
    public: tuple[Path, Path] | None = None,
    oidc: "OidcSignIn | None" = None,
) -> Iterator[FleetServer]:
    """Start everything; yields when all of it answers.

    Args:
        home: of the federation.
        authority: of the federation, as :meth:`FederationHome.authority` opens it.
        clock: of all servers.
        host: address to listen on; the SuperLink listens on loopback whatever this is.
        names: further names and addresses under which devices reach this machine, for the certificate.
        ports: see :class:`Ports`.
        repository: folder of releases; ``None`` takes ``<runs>/repository``.
        database: file in which the SuperLink keeps what is under way; ``None``: in memory.
        public: files of a certificate that browsers know, and of its key, for the gateway's other names.
        oidc: lets people into the console whom an OpenID provider knows.

    Raises:
        PortTakenError: a port belongs to somebody else.
        RunFailedError: a server of this folder runs already, or a part did not come up.
        InputError: the host is no address of this machine, or the public certificate cannot be used.
    """
    idle_since = clock()
    flwr_adapter.require_flwr()
    flwr_adapter.keep_to_ourselves()
    ports = ports or Ports()
    repository = repository or home.runs / "repository"
    home.logs.mkdir(exist_ok=True)
    office = Office(home.runs)
    coordinator = home.coordinator().public
    with ExitStack() as held:
        held.enter_context(_alone(home))
        log = held.enter_context(LogKeeper(lambda: enter_devices(home.runs, clock())))
        desk = Desk(
            office.registry,
            CurrentAuthority(home.root.parent),
            secret=home.desk_secret(),
            clock=clock,
            coordinator=coordinator,
            changed=log.due,
        )
        devices = RegistryDevices(office.registry, authority.federation, clock)
        held.callback(devices.close)
        reached = _reached_by(host, names)
        browsers = None if public is None else PublicCertificate(*public, own=reached, clock=clock)
        private = _private_folder(home.folder)
        held.callback(remove_folder, private)
        shown, until = _shown(authority, private, reached, clock())
        listening = held.enter_context(_listen(host, ports.gateway))
        service = held.enter_context(
            device_service(
                identity=shown,
                desk=desk,
                devices=devices,
                repository=repository,
                inbox=home.inbox,
                clock=clock,
                host=host,
                enrolment_port=ports.enrolment,
                device_port=ports.devices,
            )
        )
        children = held.enter_context(Children())
        link = Deployment(private, home.logs, children, secret=secrets.token_bytes(_SECRET_BYTES), database=database)
        link.start([])
        nodes = SuperlinkNodes(held.enter_context(link.control()))
        trusted = ssl.create_default_context(cafile=str(link.authority))

        async def serve(started: threading.Event, stop: threading.Event) -> None:
            ending, (at, _, port) = asyncio.Event(), link.address.rpartition(":")
            with collecting_seldom(*_SELDOM), closing(SuperlinkLine(at, int(port), trusted)) as superlink:
                app = gateway(
                    superlink=superlink,
                    nodes=nodes,
                    devices=devices,
                    desk=desk,
                    repository=repository,
                    log=home.runs / FOLDER / PUBLISHED,
                    clock=clock,
                    idle_since=idle_since,
                    bells=home.bells,
                    closing=ending,
                    console=Console(home, devices, clock, ending, oidc=oidc).routes,
                    fetched=noting_downloads(Inbox(home.inbox, most=0), clock),
                )
                server = gateway_server(
                    app, certificate=private / "shown.pem", key=private / "shown.key", public=browsers
                )
                task = asyncio.create_task(server.serve(sockets=[listening]))
                while not task.done():
                    if server.started:
                        started.set()
                    if stop.is_set():
                        ending.set()
                        server.should_exit = True
                    await asyncio.sleep(0.05)
                await task

        serving = held.enter_context(_in_thread(serve))
        addresses = {
            "gateway": f"{host}:{listening.getsockname()[1]}",
            "enrolment": f"{host}:{service.enrolment_port}",
            "devices": f"{host}:{service.device_port}",
            "superlink": link.address,
        }
        pid, born = RunningServer.ourselves()
        noted = RunningServer(
            pid,
            born,
            authority.federation,
            clock(),
            addresses,
            until,
            str(link.authority),
            str(link.secret),
            str(repository.resolve()),
        )
        noted.write(home.server)
        held.callback(home.server.unlink, missing_ok=True)
        # What is signed up to here could be a replay (gateway/authentication.py); who is told that we are up is served.
        time.sleep(min(_QUIET_S, max(0.0, _QUIET_S - (clock() - idle_since) / 1000)))
        yield FleetServer(authority, office, noted, browsers, children, serving)


@contextmanager
def _alone(home: FederationHome) -> Iterator[None]:
    """Hold the lock by which others see that this federation's server runs, in whichever container they are."""
    with ExitStack() as held:
        running, since = RunningServer.read(home.server), time.monotonic()
        while running is None:
            try:
                held.enter_context(exclusive(home.server, patient=False))
                break
            except BlockingIOError as error:  # somebody looks, for a moment; or another server starts
                if time.monotonic() - since > _STARTS_S:
                    raise RunFailedError(
                        "another server of this federation starts", where=str(home.server), mend="wait for it"
                    ) from error
                time.sleep(0.05)
        if running is not None:
            raise RunFailedError(
                f"this federation's server runs already (process {running.pid})",
                where=str(home.server),
                mend="`skerry server stop` ends it, where it was started",
            )
        home.server.unlink(missing_ok=True)  # of one that was killed
        yield


def _private_folder(among: Path) -> Path:
    """A folder for what the servers need while they run, TLS keys among it; those of servers that were killed go."""
    for left in among.glob(f"{_PRIVATE}*"):
        pid = int(left.name.split("-")[1])
        if pid == os.getpid() or not psutil.pid_exists(pid):  # in a container every server has the same number
            remove_folder(left)
    return Path(tempfile.mkdtemp(prefix=f"{_PRIVATE}{os.getpid()}-", dir=among))  # 0700


def _reached_by(host: str, names: Sequence[str]) -> list[str]:
    """The names and addresses that the federation's own certificate is for."""
    return list(dict.fromkeys([*(one for one in (host, *names) if not is_any_address(one)), "127.0.0.1", "localhost"]))


def _shown(authority: Authority, private: Path, reached: Sequence[str], now: int) -> tuple[ServerIdentity, int]:
    """A server certificate under the authority, as files and as bytes; and until when it holds, ms."""
    key = ec.generate_private_key(ec.SECP256R1())
    made = authority.issue_server(reached, key.public_key(), now=now, days=_CERTIFICATE_DAYS)
    chain = b"".join(one.public_bytes(Encoding.PEM) for one in (made, authority.issuer))
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    write_atomic(private / "shown.pem", chain, durable=False)
    write_atomic(private / "shown.key", secret, mode=0o600, durable=False)
    identity = ServerIdentity(chain, secret, authority.root.public_bytes(Encoding.PEM))
    return identity, ms_of(made.not_valid_after_utc)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=512)
    except OSError as error:
        if error.errno in {errno.EADDRINUSE, errno.EACCES}:
            mend = "stop the program that listens there, or choose another port"
            raise PortTakenError(f"port {port} on {host} cannot be listened on: {error.strerror}", mend=mend) from error
        raise InputError(
            f"{host!r} is no address of this machine", where="--host", mend="give one of its addresses, or 127.0.0.1"
        ) from error


@contextmanager
def _in_thread(
    serve: Callable[[threading.Event, threading.Event], Coroutine[Any, Any, None]],
) -> Iterator[threading.Thread]:
    """Run a coroutine on an event loop of its own until the block ends."""
    started, stop = threading.Event(), threading.Event()

    def run() -> None:
        with asyncio.Runner(loop_factory=event_loops()) as runner:
            runner.run(serve(started, stop))

    thread = threading.Thread(target=run, name="gateway")
    thread.start()
    try:
        if not started.wait(_UP_S):
            raise RunFailedError(f"the gateway did not come up within {_UP_S:.0f} s")
        yield thread
    finally:
        stop.set()
        thread.join()
