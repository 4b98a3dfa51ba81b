"""Only what an enrolled device signed, fresh and for the first time, is let in; who asks too much is told to wait."""

import socket
import ssl
import time

import pytest

from skerry.clock import system_clock
from skerry.server.gateway import GatewayLimits
from skerry.server.limits import Buckets, Rate, Room

from ._gateway import Signing, reason, running

HELD = "/v1/repository/held.txt"


@pytest.fixture
def served(tmp_path):
    (tmp_path / "repository").mkdir()
    (tmp_path / "repository" / "held.txt").write_bytes(b"content")
    limits = GatewayLimits(device=Rate(per_s=0.2, burst=6), stranger=Rate(per_s=0.2, burst=12), body_s=1.0)
    with running(tmp_path, limits=limits) as gateway:
        yield gateway


@pytest.fixture
def device(served) -> Signing:
    made = Signing("pi-1")
    served.roll.known["pi-1"] = made.enrolled
    return made


def test_an_enrolled_device_is_let_in(served, device: Signing):
    assert served.get(HELD, device).content == b"content"


def test_an_unsigned_request_is_not(served):
    answer = served.client.get(HELD)
    assert (answer.status_code, reason(answer)) == (401, "not_signed")


def test_a_device_that_was_revoked_is_out_with_its_next_request(served, device: Signing):
    assert served.get(HELD, device).status_code == 200
    del served.roll.known["pi-1"]
    assert reason(served.get(HELD, device)) == "unknown_device"


def test_another_key_under_the_name_of_an_enrolled_device_is_not_let_in(served, device: Signing):
    assert reason(served.get(HELD, Signing("pi-1"))) == "not_authentic"


def test_a_request_is_taken_once(served, device: Signing):
    headers = device.headers("GET", HELD)
    assert served.client.get(HELD, headers=headers).status_code == 200
    assert reason(served.client.get(HELD, headers=headers)) == "replayed"


def test_a_signature_for_one_path_opens_no_other(served, device: Signing):
    headers = device.headers("GET", "/v1/repository/other.txt")
    assert reason(served.client.get(HELD, headers=headers)) == "not_authentic"


def test_a_changed_body_is_noticed(served, device: Signing):
    path = "/v1/fleet/pull-messages"
    headers = {**device.headers("POST", path, b"one"), "content-type": "application/protobuf"}
    assert reason(served.client.post(path, content=b"two", headers=headers)) == "not_authentic"


@pytest.mark.parametrize("off_s", [-3600, -70, 70, 3600])
def test_a_wrong_clock_is_told_the_time(served, device: Signing, off_s: int):
    answer = served.client.get(HELD, headers=device.headers("GET", HELD, created=system_clock() // 1000 + off_s))
    assert reason(answer) == "wrong_clock"
    assert "date" in answer.headers


def test_what_was_signed_before_a_restart_is_not_taken_after_it(served, device: Signing):
    before = device.headers("GET", HELD, created=system_clock() // 1000 - 50)
    assert reason(served.client.get(HELD, headers=before)) == "wrong_clock"


def test_a_device_that_asks_too_often_is_told_when_to_come_back_and_nobody_else_is(served, device: Signing):
    other = Signing("pi-2")
    served.roll.known["pi-2"] = other.enrolled
    codes = [served.get(HELD, device).status_code for _ in range(8)]
    assert codes[:6] == [200] * 6
    refused = served.get(HELD, device)
    assert reason(refused) == "too_many"
    assert int(refused.headers["retry-after"]) >= 1
    assert served.get(HELD, other).status_code == 200


def test_a_forger_cannot_use_up_the_rate_of_a_device_but_only_its_own_address_s(served, device: Signing):
    forger = Signing("pi-1")
    codes = [reason(served.get(HELD, forger)) for _ in range(14)]
    assert codes[0] == "not_authentic"
    assert codes[-1] == "too_many"


def test_a_body_over_the_limit_is_refused_before_it_is_sent(served, device: Signing):
    head = (
        b"POST /v1/fleet/pull-messages HTTP/1.1\r\nhost: x\r\ncontent-type: application/protobuf\r\n"
        b"content-length: 99999999\r\n\r\n"
    )
    answer = served.raw(head)
    assert answer.startswith(b"HTTP/1.1 413")
    assert reason(answer) == "too_large"


def test_a_body_that_does_not_come_is_not_waited_for(served):
    head = (
        b"POST /v1/fleet/pull-messages HTTP/1.1\r\nhost: x\r\ncontent-type: application/protobuf\r\n"
        b"content-length: 1000\r\n\r\nonly this"
    )
    assert reason(served.raw(head)) == "too_slow"


def test_without_room_a_body_is_refused_at_once(tmp_path):
    with running(tmp_path, limits=GatewayLimits(room=1000, body_s=5.0)) as served:
        context = ssl.create_default_context(cafile=str(served.tls.authority))
        head = (
            b"POST /v1/fleet/pull-messages HTTP/1.1\r\nhost: x\r\ncontent-type: application/protobuf\r\n"
            b"content-length: 900\r\n\r\n"
        )
        plain = socket.create_connection(("127.0.0.1", served.port), timeout=10)
        with context.wrap_socket(plain, server_hostname="127.0.0.1") as slow:
            slow.sendall(head)  # holds its 900 bytes of room and sends nothing
            deadline = time.monotonic() + 5
            while (code := reason(served.raw(head))) != "busy" and time.monotonic() < deadline:
                pass
            assert code == "busy"


def test_tokens_come_back_with_time_and_strangers_are_forgotten():
    now = [0.0]
    buckets = Buckets(Rate(per_s=2.0, burst=2), parties=2, now=lambda: now[0])
    assert [buckets.take("a"), buckets.take("a"), buckets.take("a")] == [0, 0, 0.5]
    now[0] += 0.5
    assert buckets.wait_s("a") == 0
    assert [buckets.take("a"), buckets.take("a")] == [0, 0.5]
    buckets.take("b"), buckets.take("c")
    assert len(buckets._left) == 2


def test_room_is_given_back():
    room = Room(10)
    with room.hold(6) as first, room.hold(6) as second:
        assert (first, second) == (True, False)
    with room.hold(10) as whole:
        assert whole
