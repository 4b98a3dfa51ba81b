"""Nothing but the listed routes is reachable, whatever the spelling of the request."""

import json
import resource
import socket
import ssl
import time
from contextlib import ExitStack, suppress

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.routing import Route

from skerry.server.bells import Bells
from skerry.server.gateway import FLEET_CALLS, GatewayLimits, serving
from skerry.server.gateway.door import _TARGET

from ._gateway import Running, reason, running


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gateway")
    with running(folder, bells=Bells(folder / "bells")) as gateway:
        yield gateway


ROUTES = {
    ("/v1/fleet/{call}", ("POST",)),
    ("/v1/repository/{path:path}", ("GET", "HEAD")),
    ("/v1/blobs/{digest}", ("GET", "HEAD")),
    ("/v1/log/{path:path}", ("GET", "HEAD")),
    ("/.well-known/est/cacerts", ("GET", "HEAD")),
    ("/.well-known/est/challenge", ("POST",)),
    ("/.well-known/est/simpleenroll", ("POST",)),
    ("/.well-known/est/simplereenroll", ("POST",)),
    ("/v1/revocations", ("GET", "HEAD")),
    ("/phone", ("GET", "HEAD")),
    ("/phone/{path:path}", ("GET", "HEAD")),
    ("/healthz", ("GET", "HEAD")),
    ("/readyz", ("GET", "HEAD")),
    ("/v1/bell", ("POST",)),
    ("/v1/leave", ("POST",)),
}


def test_the_routes_are_these_and_no_others(served):
    assert all(type(route) is Route for route in served.app.routes)
    assert {(route.path, tuple(sorted(route.methods))) for route in served.app.routes} == ROUTES


def test_of_the_fleet_api_only_what_a_device_needs_is_passed_on():
    assert "register-node" not in FLEET_CALLS
    assert "unregister-node" not in FLEET_CALLS
    assert "get-fab" not in FLEET_CALLS


OTHER_PATHS = [
    "/v1/control/list-runs",
    "/v1/control/register-node",
    "/v1/control/start-run",
    "/v1/runtime/acquire-task",
    "/v1/runtime/pull-messages",
    "/v1/fleet/register-node",
    "/v1/fleet/unregister-node",
    "/v1/fleet/get-fab",
    "/v1/fleet/",
    "/v1/fleet",
    "/v1/fleet/../control/list-runs",
    "/v1/fleet/..%2fcontrol%2flist-runs",
    "/v1/fleet/%2e%2e/control/list-runs",
    "/v1/fleet/..;/control/list-runs",
    "/v1/fleet/pull-messages/../../control/list-runs",
    "/v1/fleet//pull-messages",
    "//v1/control/list-runs",
    "/v1%2fcontrol/list-runs",
    "/v1/fleet/pull-messages%00",
    "/v1/fleet/pull-messages?x=/v1/control/list-runs",
    "/v1/fleet/pull-messages/",
    "/V1/CONTROL/LIST-RUNS",
    "/v1/fleet/pull%2dmessages",
    "/v1/fleet/\\..\\control",
    "/flwr.proto.Control/ListRuns",
    "/flwr.proto.Fleet/PullMessages",
    "/flwr.proto.ServerAppIo/PushMessages",
    "/flwr.proto.Runtime/AcquireTask",
    "/grpc.health.v1.Health/Check",
    "/docs",
    "/openapi.json",
    "/metrics",
    "/health",
    "/",
    "https://127.0.0.1/v1/control/list-runs",
    "http://127.0.0.1:8000/v1/runtime/acquire-task",
    "*",
]


@pytest.mark.parametrize("method", ["POST", "GET"])
@pytest.mark.parametrize("path", OTHER_PATHS)
def test_other_paths_are_refused_in_every_spelling(served, path: str, method: str):
    body = b"content-length: 0\r\ncontent-type: application/protobuf\r\nconnection: close\r\n\r\n"
    answer = served.raw(f"{method} {path} HTTP/1.1\r\nhost: x\r\n".encode() + body)
    assert int(answer.split(b" ", 2)[1]) in {400, 404, 405}, answer[:300]


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "PRI", "post", "GETX"])
def test_other_methods_are_refused(served, method: str):
    answer = served.raw(f"{method} /v1/fleet/pull-messages HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
    assert int(answer.split(b" ", 2)[1]) in {400, 405}, answer[:300]


def test_a_method_in_a_header_changes_nothing(served):
    overridden = b"POST /healthz HTTP/1.1\r\nhost: x\r\nx-http-method-override: GET\r\ncontent-length: 0\r\n\r\n"
    assert served.raw(overridden).startswith(b"HTTP/1.1 405")


def test_a_path_in_a_header_changes_nothing(served):
    headers = "x-original-url: /v1/control/list-runs\r\nx-rewrite-url: /v1/control/list-runs\r\n"
    answer = served.raw(f"GET /healthz HTTP/1.1\r\nhost: x\r\n{headers}\r\n".encode())
    assert answer.endswith(b"ok\n")


@pytest.mark.parametrize("protocol", ["websocket", "h2c", "TLS/1.0"])
def test_upgrades_are_refused(served, protocol: str):
    upgrade = f"connection: Upgrade, HTTP2-Settings\r\nupgrade: {protocol}\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n"
    key = "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n"
    answer = served.raw(f"GET /healthz HTTP/1.1\r\nhost: x\r\n{upgrade}{key}\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 400")


def test_http2_is_not_spoken(served):
    answer = served.raw(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9))
    assert answer.startswith(b"HTTP/1.1 4")


@pytest.mark.parametrize(
    "framing",
    [
        b"content-length: 5\r\ncontent-length: 6\r\n\r\nhello",
        b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"content-length: -1\r\n\r\n",
        b"content-length: 0x5\r\n\r\nhello",
        b"content-type: application/protobuf\r\n\r\n",
    ],
)
def test_a_body_whose_size_can_be_read_in_two_ways_is_refused(served, framing: bytes):
    head = b"POST /v1/fleet/pull-messages HTTP/1.1\r\nhost: x\r\ncontent-type: application/protobuf\r\n"
    answer = served.raw(head + framing)
    assert answer[:12] in {b"HTTP/1.1 400", b"HTTP/1.1 411"}
    assert answer.count(b"HTTP/1.1") == 1  # what came behind it is not taken for another request


def test_headers_without_end_are_refused(served):
    answer = served.raw(b"GET /healthz HTTP/1.1\r\nhost: x\r\nx-much: " + b"a" * 40_000)
    assert answer.startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize("first", [b"", b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"])
def test_a_request_that_begins_and_does_not_end_is_not_waited_for(tmp_path, monkeypatch, first: bytes):
    monkeypatch.setattr("skerry.server.gateway.serving._HEAD_S", 0.5)
    with running(tmp_path) as gateway:
        context = ssl.create_default_context(cafile=str(gateway.tls.authority))
        plain = socket.create_connection(("127.0.0.1", gateway.port), timeout=180)
        with context.wrap_socket(plain, server_hostname="127.0.0.1") as connection:
            if first:
                connection.sendall(first)
                assert b"ok" in connection.recv(4096) + connection.recv(4096)
            connection.sendall(b"GET /healthz HTTP/1.1\r\nhost:")
            assert connection.recv(4096) == b""


def connect(gateway: Running) -> ssl.SSLSocket:
    plain = socket.create_connection(("127.0.0.1", gateway.port), timeout=180)
    return gateway.trusted.wrap_socket(plain, server_hostname="127.0.0.1")


def until_closed(connection: socket.socket) -> bytes:
    """What comes until the server closes; TimeoutError when it does not."""
    got = b""
    try:
        while part := connection.recv(4096):
            got += part
    except ConnectionResetError:
        pass
    return got


@pytest.mark.parametrize("path", ["/healthz", "/none", "/v1/revocations", "/v1/repository/held.txt"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_body_where_none_belongs_is_refused_and_the_connection_ends(served, method: str, path: str):
    with connect(served) as connection:
        connection.sendall(f"{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n".encode())
        answer = until_closed(connection)
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"connection: close" in answer


def test_a_connection_whose_body_was_not_read_ends_with_the_answer(tmp_path, monkeypatch):
    """Also where an answer forgets to say so."""
    monkeypatch.setattr("skerry.server.gateway.door._check", lambda scope: None)
    with running(tmp_path) as gateway, connect(gateway) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\na")
        assert until_closed(connection).endswith(b"ok\n")


def test_one_connection_too_many_is_closed_and_a_place_comes_back(tmp_path, monkeypatch):
    monkeypatch.setattr("skerry.server.gateway.serving._CONNECTIONS_EACH", 3)
    asked = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"
    with running(tmp_path) as gateway:
        with ExitStack() as held:
            for _ in range(3):
                one = held.enter_context(connect(gateway))
                one.sendall(asked)
                assert one.recv(4096).startswith(b"HTTP/1.1 200")
            with connect(gateway) as fourth, suppress(OSError):
                fourth.sendall(asked)
                assert until_closed(fourth) == b""
            elsewhere = httpx.HTTPTransport(verify=gateway.trusted, local_address="127.0.0.2")
            with httpx.Client(base_url=gateway.url, transport=elsewhere) as client:
                assert client.get("/healthz").status_code == 200
        until = time.monotonic() + 180
        while not gateway.raw(asked).startswith(b"HTTP/1.1 200"):
            assert time.monotonic() < until


def test_a_process_may_hold_as_many_files_open_as_there_may_be_connections(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))  # what most systems begin with
    try:
        with running(tmp_path) as gateway:
            assert gateway.client.get("/healthz").status_code == 200  # it serves
            allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        assert allowed > min(serving._CONNECTIONS, hard - 1)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_as_many_devices_wait_at_the_bell_as_there_is_room_for_their_connections():
    assert serving._CONNECTIONS - 2 * GatewayLimits().bells >= 2048  # that many are left for others


def test_who_speaks_no_tls_is_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr("skerry.server.gateway.serving._TLS_S", 0.5)
    with running(tmp_path) as gateway, socket.create_connection(("127.0.0.1", gateway.port), timeout=180) as plain:
        assert until_closed(plain) == b""


def test_a_connection_that_is_served_again_and_again_stays(tmp_path, monkeypatch):
    monkeypatch.setattr("skerry.server.gateway.serving._HEAD_S", 0.3)
    with running(tmp_path) as gateway:
        for _ in range(3):
            assert gateway.client.get("/healthz").status_code == 200
            time.sleep(0.4)
        (pool,) = [gateway.client._transport._pool]
        assert sum(connection._connection._request_count for connection in pool.connections) == 3


def test_a_refusal_is_json_with_a_code_and_tells_nothing_of_the_server(served):
    answer = served.client.get("/v1/control/list-runs")
    assert reason(answer) == "no_such_place"
    assert json.loads(answer.content).keys() == {"error"}
    assert "server" not in answer.headers
    assert answer.headers["x-content-type-options"] == "nosniff"


@settings(max_examples=500, deadline=None)
@given(st.text(alphabet="/.%~2eEfF-a\\;?#", max_size=30))
def test_no_target_with_a_second_reading_is_let_in(path: str):
    if _TARGET.fullmatch(path.encode()):
        segments = path.split("/")[1:]
        assert not set(path) & set("%\\;?#")
        assert path == "/" or all(part and part not in {".", ".."} for part in segments)
