"""Garbage on the device service's ports, at each of its layers: refused, and the next call is answered."""

import importlib
import os
import socket
import ssl
import sys
from pathlib import Path

import pytest

from skerry.device.service import device_pb2 as pb
from skerry.device.service import device_pb2_grpc as rpc

from .test_device_service import enrolled, running

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
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
        assert rpc.DeviceStub(channel).Revocations(pb.Nothing(), timeout=180).body


@pytest.fixture(scope="module")
def search():
    """What the benchmark sends, to a service in a process of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCHMARKS)
        yield importlib.import_module("_frames")
        for name in ("_frames", "_fuzzing", "_harness", "_http2", "_serving"):
            sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def searched(search, tmp_path_factory):
    folder = tmp_path_factory.mktemp("search")
    with search.serving("_frames_server.py", folder, ready=folder / "known.json"):
        yield search.Service(folder)


def right(method) -> bytes:
    body = method.seeds[0].SerializeToString()
    return b"\0" + len(body).to_bytes(4, "big") + body


def test_mutated_frames_are_refused_with_a_code_and_right_ones_answered_after_them(search, searched):
    tally = search.feed(searched, 600, seed=7)
    assert tally.wrong == []
    assert tally.inputs == 600
    assert {"malformed", "not_authentic", "unknown_invite", "no_such_file"} <= tally.reasons.keys()
    for method in searched.methods:
        assert searched.calls(method, [right(method)])[0] in {"as_said", "as_signed", "too_many"}


def test_a_condition_that_says_nothing_is_refused(searched):
    """gRPC makes an empty message of a frame whose flag it does not know."""
    (telemetry,) = (method for method in searched.methods if method.path.endswith("Telemetry"))
    assert searched.calls(telemetry, [b"\0\0\0\0\0", b"\xb1\0\0\0\0"]) == ["malformed", "malformed"]


def test_a_service_that_takes_what_nobody_sent_or_says_no_code_is_found(search, searched, monkeypatch):
    honest = search._word
    for fields, word in (({"grpc-status": "0"}, "accepted"), ({}, "no reason code")):
        said = search.Said(ended=True, fields=fields)
        monkeypatch.setattr(search, "_word", lambda _, *rest, said=said: honest(said, *rest))
        tally = search.feed(searched, 30, seed=3)
        assert any(word in one for one in tally.wrong)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_hundred_thousand_mutated_frames_are_refused(search, searched):
    assert search.feed(searched, 100_000, seed=8).wrong == []


@pytest.mark.parametrize("kind", ["absent", "too long", "compressed"])
def test_an_ended_call_leaves_its_place_on_the_connection_at_once(search, searched, kind):
    """gRPC counts a call until nothing refers to it: what refers to itself stays until Python looks for cycles."""
    fetch = next(method for method in searched.methods if method.path.endswith("/Fetch"))
    body = {
        "absent": right(fetch).replace(b"file", b"none"),
        "too long": b"\0\xff\0\0\0abc",
        "compressed": b"\1" + right(fetch)[1:],
    }[kind]
    said = searched.calls(fetch, [body] * 40)  # of which the connection has 16 at once
    assert set(said) <= {"no_such_file", "too_many", "gRPC status 8", "gRPC status 13"}


def connected(served, device, folder) -> ssl.SSLSocket:
    agent, chain = device
    (folder / "chain.pem").write_bytes(chain)
    (folder / "key.pem").write_bytes(agent.key_pem)
    context = ssl.create_default_context(cadata=served.federation.root_pem.decode())
    context.load_cert_chain(folder / "chain.pem", folder / "key.pem")
    context.set_alpn_protocols(["h2"])
    plain = socket.create_connection(("127.0.0.1", served.ports.device_port), timeout=180)
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
        with socket.create_connection(("127.0.0.1", served.ports.device_port), timeout=180) as plain:
            plain.settimeout(1.0)
            try:
                plain.sendall(garbage)
                assert b"HTTP" not in plain.recv(1000)
            except OSError:
                pass
    assert_alive(served, device)
