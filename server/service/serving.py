"""The two gRPC servers: one for enrolment, where clients have no certificate yet, one with mutual TLS for all else.

They are two because a gRPC port either demands a client certificate or does not ask for one.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc

from skerry.clock import Clock
from skerry.device.service import device_pb2_grpc as rpc
from skerry.errors import PortTakenError
from skerry.security.enrolment import EnrolmentTransport
from skerry.server.devices import Devices
from skerry.server.service.devices import DeviceServicer
from skerry.server.service.enrolling import EnrolmentServicer
from skerry.server.service.guard import Guard, ServiceLimits
from skerry.server.service.inbox import Inbox
from skerry.server.service.strictness import Strictness

__all__ = ["ServerIdentity", "Serving", "device_service"]

_MESSAGE = 32 << 10  # received: a record of 16 KiB, or a receipt
_CHUNKS = 512 << 10  # sent
_GRACE_S = 2.0


@dataclass(frozen=True)
class ServerIdentity:
    """What the servers show and whom they believe; all PEM.

    Attributes:
        chain: the server's certificate, then its issuer's.
        key: the server's private key.
        roots: authorities of the devices' certificates.
    """

    chain: bytes
    key: bytes
    roots: bytes


@dataclass(frozen=True)
class Serving:
    """The ports that are served, on the address asked for."""

    enrolment_port: int
    device_port: int


@contextmanager
def device_service(
    *,
    identity: ServerIdentity,
    desk: EnrolmentTransport,
    devices: Devices,
    repository: Path,
    inbox: Path,
    clock: Clock,
    host: str = "127.0.0.1",
    enrolment_port: int = 0,
    device_port: int = 0,
    limits: ServiceLimits | None = None,
) -> Iterator[Serving]:
    """Serve until the block ends; 0 takes a free port.

    Raises:
        PortTakenError: a port belongs to somebody else.
    """
    limits = limits or ServiceLimits()
    guard = Guard(devices, limits, clock)
    kept = Inbox(inbox, most=limits.receipts)
    pair = ((identity.key, identity.chain),)
    enrolling = _server(Strictness(guard.stranger, limits.message_s), limits.calls)
    rpc.add_EnrolmentServicer_to_server(EnrolmentServicer(desk), enrolling)
    serving = _server(Strictness(guard.device, limits.message_s), limits.calls)
    servicer = DeviceServicer(desk, guard, repository, kept, downloads=limits.downloads, clock=clock)
    rpc.add_DeviceServicer_to_server(servicer, serving)
    mutual = grpc.ssl_server_credentials(pair, root_certificates=identity.roots, require_client_auth=True)
    try:
        bound = Serving(
            _bind(enrolling, host, enrolment_port, grpc.ssl_server_credentials(pair)),
            _bind(serving, host, device_port, mutual),
        )
        enrolling.start()
        serving.start()
        yield bound
    finally:
        for ended in [server.stop(_GRACE_S) for server in (enrolling, serving)]:
            ended.wait()


def _server(around: Strictness, calls: int) -> grpc.Server:
    """A server that has a thread for each call, so that none waits for one before it is asked who it is."""
    options = [
        ("grpc.max_receive_message_length", _MESSAGE),
        ("grpc.max_send_message_length", _CHUNKS),
        ("grpc.max_metadata_size", 8 << 10),
        ("grpc.absolute_max_metadata_size", 16 << 10),
        ("grpc.max_concurrent_streams", 16),  # of one connection; far from all calls
        ("grpc.max_connection_idle_ms", 300_000),
        ("grpc.max_connection_age_ms", 3_600_000),
        ("grpc.server_handshake_timeout_ms", 10_000),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
        ("grpc.so_reuseport", 0),  # a port that somebody else has is an error, not shared
    ]
    pool = ThreadPoolExecutor(calls, thread_name_prefix="device-service")
    return grpc.server(pool, interceptors=(around,), options=options, maximum_concurrent_rpcs=calls)


def _bind(server: grpc.Server, host: str, port: int, credentials: grpc.ServerCredentials) -> int:
    try:
        return int(server.add_secure_port(f"{host}:{port}", credentials))
    except RuntimeError as error:
        raise PortTakenError(
            f"port {port} on {host} cannot be listened on",
            where=str(error)[:200],
            mend="stop the program that listens there, or choose another port",
        ) from error
