"""Garbage on the device service's ports, at each of its layers: refused, and the next call is answered."""

import os
import random
import socket
import ssl

import grpc
import pytest

from skerry.device.service import device_pb2 as pb
from skerry.device.service import device_pb2_grpc as rpc

from .test_device_service import enrolled, running

METHODS = [
    "/skerry.device.v1.Device/Renew",
    "/skerry.device.v1.Device/Revocations",
    "/skerry.device.v1.Device/SubmitReceipt",
    "/skerry.device.v1.Device/Telemetry",
]
REFUSED = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
}
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    from skerry.server.limits import Rate

    yield from running(tmp_path_factory.mktemp("frames"), device=Rate(per_s=10_000, burst=20_000))


@pytest.fixture(scope="module")
def device(served):
    return enrolled(served, "pi-1")


def assert_alive(served, device) -> None:
    with served.channel(*device) as channel:
        assert rpc.DeviceStub(channel).Revocations(pb.Nothing(), timeout=10).body


def mutated(draw: random.Random) -> bytes:
    """A message of the service with something wrong, or bytes that never were one."""
    body = pb.Receipt(kind="installed", body=os.urandom(draw.randrange(1, 200))).SerializeToString()
    kind = draw.randrange(4)
    if kind == 0:
        return os.urandom(draw.randrange(1, 300))
    if kind == 1:
        return body[: draw.randrange(1, len(body))]
    if kind == 2:
        at = draw.randrange(len(body))
        return body[:at] + bytes([body[at] ^ (1 << draw.randrange(8))]) + body[at + 1 :]
    return body + os.urandom(draw.randrange(1, 40))


def throw_messages(served, device, count: int) -> None:
    draw = random.Random(7)
    with served.channel(*device) as channel:
        calls = [channel.unary_unary(method) for method in METHODS]
        accepted, answers = 0, set()
        for _ in range(count):
            method = draw.randrange(len(calls))
            try:
                calls[method](mutated(draw), timeout=10)
                accepted += method == 0  # a renewal is signed: nothing random is one
            except grpc.RpcError as error:
                answers.add((error.code(), dict(error.trailing_metadata()).get("skerry-reason")))
        assert accepted == 0
        assert {code for code, _ in answers} <= REFUSED
        assert all(reason for _, reason in answers)
    assert_alive(served, device)


def test_mutated_messages_are_refused(served, device):
    throw_messages(served, device, 400)


@pytest.mark.slow
def test_twenty_thousand_mutated_messages_are_refused(served, device):
    throw_messages(served, device, 20_000)


def connected(served, device, folder) -> ssl.SSLSocket:
    agent, chain = device
    (folder / "chain.pem").write_bytes(chain)
    (folder / "key.pem").write_bytes(agent.key_pem)
    context = ssl.create_default_context(cadata=served.federation.root_pem.decode())
    context.load_cert_chain(folder / "chain.pem", folder / "key.pem")
    context.set_alpn_protocols(["h2"])
    plain = socket.create_connection(("127.0.0.1", served.ports.device_port), timeout=5)
    return context.wrap_socket(plain, server_hostname="127.0.0.1")


def frame(kind: int, flags: int, stream: int, payload: bytes, *, length: int | None = None) -> bytes:
    size = len(payload) if length is None else length
    return size.to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


SETTINGS = frame(4, 0, 0, b"")
FRAMES = {
    "random": os.urandom(4000),
    "no preface": b"GET / HTTP/1.1\r\nhost: x\r\n\r\n",
    "truncated": PREFACE + SETTINGS + frame(1, 4, 1, b"\x82", length=500),
    "oversized": PREFACE + SETTINGS + frame(0, 0, 1, bytes(60_000), length=(1 << 24) - 1),
    "data on no stream": PREFACE + SETTINGS + frame(0, 1, 99, b"\0\0\0\0\5hello"),
    "broken header block": PREFACE + SETTINGS + frame(1, 4, 1, b"\xff" * 200),
    "header block without end": PREFACE + SETTINGS + frame(1, 0, 1, b"\x82") + frame(9, 0, 1, b"\0" * 100) * 300,
    "window overflow": PREFACE + SETTINGS + frame(8, 0, 0, b"\x7f\xff\xff\xff") * 3,
    "settings of a wrong size": PREFACE + frame(4, 0, 0, b"\0" * 5),
    "a flood of pings": PREFACE + SETTINGS + frame(6, 0, 0, bytes(8)) * 5000,
    "a flood of settings": PREFACE + frame(4, 0, 0, b"\0\4\0\0\xff\xff") * 5000,
    "rapid resets": PREFACE
    + SETTINGS
    + b"".join(frame(1, 5, n, b"\x83\x86\x84\x41\x01x") + frame(3, 0, n, bytes(4)) for n in range(1, 2001, 2)),
}


@pytest.mark.parametrize("name", FRAMES)
def test_broken_frames_end_their_connection_or_nothing_and_the_next_call_is_answered(served, device, tmp_path, name):
    with connected(served, device, tmp_path) as connection:
        connection.settimeout(1.0)
        try:
            connection.sendall(FRAMES[name])
            while connection.recv(65536):
                pass
        except (OSError, TimeoutError):
            pass
    assert_alive(served, device)


def test_bytes_that_are_no_tls_are_not_answered(served, device):
    for garbage in (b"\x16\x03\x01" + os.urandom(500), PREFACE, os.urandom(3000)):
        with socket.create_connection(("127.0.0.1", served.ports.device_port), timeout=5) as plain:
            plain.settimeout(1.0)
            try:
                plain.sendall(garbage)
                assert b"HTTP" not in plain.recv(1000)
            except OSError:
                pass
    assert_alive(served, device)
