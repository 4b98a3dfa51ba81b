"""Only what an enrolled device signed, fresh and for the first time, is let in; who asks too much is told to wait."""

import socket
import time
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event

import httpx
import pytest

from skerry.clock import system_clock
from skerry.security.certificates import Role
from skerry.server.devices import EnrolledDevice
from skerry.server.gateway import GatewayLimits, TurnedAwayError
from skerry.server.gateway.authentication import AHEAD_S, Authenticator
from skerry.server.limits import Buckets, Rate, Room

from ._gateway import Roll, Running, Signing, reason, running

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
    assert reason(served.get(HELD, device)) == "not_authentic"


def test_a_stranger_is_not_told_whether_a_name_is_enrolled(served, device: Signing):
    known, unknown = (served.get(HELD, Signing(name)) for name in ("pi-1", "pi-none"))
    assert known.content == unknown.content
    assert known.status_code == unknown.status_code == 401


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


@pytest.mark.parametrize("off_s", [-3600, -70, 20, 3600])
def test_a_wrong_clock_is_told_the_time(served, device: Signing, off_s: int):
    answer = served.client.get(HELD, headers=device.headers("GET", HELD, created=system_clock() // 1000 + off_s))
    assert reason(answer) == "wrong_clock"
    assert "date" in answer.headers


def test_who_is_not_known_at_once_is_let_in_by_the_same_checks(served, device: Signing, monkeypatch):
    monkeypatch.setattr(served.roll, "at_once", lambda *_: None, raising=False)
    headers = device.headers("GET", HELD)
    assert served.client.get(HELD, headers=headers).content == b"content"
    assert reason(served.client.get(HELD, headers=headers)) == "replayed"
    assert reason(served.get(HELD, Signing("pi-1"))) == "not_authentic"


def test_a_registry_that_hangs_keeps_nobody_who_is_known_at_once(served, device: Signing, monkeypatch):
    asked, answers = Event(), Event()

    def hangs(*_: object) -> None:
        asked.set()
        answers.wait(180)

    monkeypatch.setattr(served.roll, "find", hangs, raising=False)
    with ThreadPoolExecutor(1) as other, httpx.Client(base_url=served.url, verify=served.trusted, timeout=180) as line:
        headers = Signing("pi-2").headers("GET", HELD)
        stranger = other.submit(line.get, HELD, headers=headers)
        try:
            assert asked.wait(180)
            assert reason(served.post("/v1/fleet/pull-messages", device, b"")) == "superlink_down"
        finally:
            answers.set()
        assert reason(stranger.result(180)) == "not_authentic"


def test_what_would_be_refused_is_not_said_at_once_and_counts_once():
    device, now = Signing("pi-1"), 1_000_000_000_000
    gateway = Authenticator(Roll({"pi-1": device.enrolled}), lambda: now, idle_since=now - 20_000)
    fresh = {"created": now // 1000}
    refused = [
        {},
        device.headers("GET", HELD, created=now // 1000 - 61),
        device.headers("GET", HELD, created=now // 1000 + 6),
        device.headers("GET", HELD, created=now // 1000 - 15),  # the gateway before this one could have taken it
        device.headers("GET", "/v1/other", **fresh),
        Signing("pi-1").headers("GET", HELD, **fresh),
        Signing("pi-2").headers("GET", HELD, **fresh),
    ]
    assert [gateway.at_once("GET", HELD, headers) for headers in refused] == [None] * len(refused)
    for headers in refused:
        with pytest.raises(TurnedAwayError):
            gateway.head("GET", HELD, headers)
    headers = device.headers("GET", HELD, **fresh)
    found = gateway.at_once("GET", HELD, headers)
    assert found is not None
    assert found.device.name == "pi-1"
    for look in (gateway.at_once, gateway.head):
        with pytest.raises(TurnedAwayError, match="nonce"):
            look("GET", HELD, headers)
    with pytest.raises(TurnedAwayError, match="role"):
        gateway.at_once("GET", HELD, device.headers("GET", HELD, **fresh), roles={Role.OPERATOR})


@pytest.mark.parametrize("ahead_s", [-50, 0, 4, 5])
def test_what_one_gateway_took_the_next_does_not_take(ahead_s: int):
    """A request from any clock that is taken, and again after a restart while it could be fresh."""
    device, now = Signing("pi-1"), [1_000_000_000_000]
    roll = Roll({"pi-1": device.enrolled})
    first = Authenticator(roll, lambda: now[0], idle_since=0)
    headers = device.headers("GET", HELD, created=now[0] // 1000 + ahead_s)
    assert first.head("GET", HELD, headers).device.name == "pi-1"
    for _ in range(0, 70, 5):
        for later_s in range(0, 70, 5):
            now_later = now[0] + later_s * 1000
            after = Authenticator(roll, lambda now_later=now_later: now_later, idle_since=now[0])
            with pytest.raises(TurnedAwayError):
                after.head("GET", HELD, headers)
        now[0] += 5000


@pytest.mark.parametrize("back_s", [6, 30, 60, 3600])
def test_what_was_taken_is_not_taken_again_when_the_clock_was_set_back(back_s: int):
    device, now = Signing("pi-1"), [1_000_000_000_000]
    gateway = Authenticator(Roll({"pi-1": device.enrolled}), lambda: now[0], idle_since=0)

    def fresh() -> dict[str, str]:
        return device.headers("GET", HELD, created=now[0] // 1000)

    taken = fresh()
    assert gateway.at_once("GET", HELD, taken)
    now[0] += 66_000
    assert gateway.at_once("GET", HELD, fresh()), "by now the first nonce is forgotten"
    now[0] -= back_s * 1000
    assert gateway.at_once("GET", HELD, taken) is None
    with pytest.raises(TurnedAwayError):
        gateway.head("GET", HELD, taken)
    assert (gateway.at_once("GET", HELD, fresh()) is not None) == (back_s <= 60), "a small step keeps nobody away"
    now[0] += back_s * 1000
    assert gateway.at_once("GET", HELD, fresh())


def test_what_was_taken_is_not_taken_again_when_the_registry_hangs_until_its_nonce_is_forgotten():
    device, now = Signing("pi-1"), [1_000_000_000_000]

    class Hanging(Roll):
        def find(self, name: str, roles: Collection[Role]) -> EnrolledDevice | None:
            now[0] += 66_000
            assert gateway.at_once("GET", HELD, device.headers("GET", HELD, created=now[0] // 1000))
            return super().find(name, roles)

    gateway = Authenticator(Hanging({"pi-1": device.enrolled}), lambda: now[0], idle_since=0)
    taken = device.headers("GET", HELD, created=now[0] // 1000)
    assert gateway.at_once("GET", HELD, taken)
    with pytest.raises(TurnedAwayError, match="nonce"):
        gateway.head("GET", HELD, taken)


def test_after_a_start_a_device_waits_a_few_seconds_and_is_told_how_many(tmp_path):
    with running(tmp_path, idle_since=system_clock()) as gateway:
        device = Signing("pi-1")
        gateway.roll.known["pi-1"] = device.enrolled
        answer = gateway.get(HELD, device)
    assert reason(answer) == "wrong_clock"
    assert 1 <= int(answer.headers["retry-after"]) <= 6


def test_after_a_start_a_fleet_is_told_to_come_back_over_a_time_and_nobody_is_kept_away_for_long():
    now = 1_000_000_000_000
    gateway = Authenticator(Roll({}), lambda: now, idle_since=now)
    headers = Signing("pi-1").headers("GET", HELD, created=now // 1000)

    def wait_s() -> float:
        with pytest.raises(TurnedAwayError) as turned_away:
            gateway.head("GET", HELD, headers)
        assert turned_away.value.retry_after_s is not None
        return turned_away.value.retry_after_s

    waits = [wait_s() for _ in range(6000)]
    assert waits[0] == AHEAD_S + 1
    assert max(sum(at <= wait < at + 1 for wait in waits[:1400]) for at in range(6, 20)) == 200
    assert max(waits) == waits[-1] < 32


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
    elsewhere = httpx.HTTPTransport(verify=served.trusted, local_address="127.0.0.2")
    with httpx.Client(base_url=served.url, transport=elsewhere) as client:
        answers = [client.get(HELD, headers=device.headers("GET", HELD)) for _ in range(6)]
    assert [answer.status_code for answer in answers] == [200] * 6  # its whole burst is its own


def test_a_body_over_the_limit_is_refused_before_it_is_sent(served, device: Signing):
    head = (
        b"POST /v1/fleet/pull-messages HTTP/1.1\r\nhost: x\r\ncontent-type: application/protobuf\r\n"
        b"content-length: 99999999\r\n\r\n"
    )
    answer = served.raw(head)
    assert answer.startswith(b"HTTP/1.1 413")
    assert reason(answer) == "too_large"


PULL = "/v1/fleet/pull-messages"


def head(size: int, signing: Signing | None = None) -> bytes:
    """The head of a call whose body of ``size`` zeros is still to come."""
    signed = signing.headers("POST", PULL, bytes(size)) if signing else {}
    headers = {"host": "x", "content-type": "application/protobuf", "content-length": str(size), **signed}
    return (
        f"POST {PULL} HTTP/1.1\r\n".encode()
        + b"".join(f"{name}: {value}\r\n".encode() for name, value in headers.items())
        + b"\r\n"
    )


@contextmanager
def sent(served: Running, data: bytes) -> Iterator[None]:
    """A connection on which nothing more comes."""
    plain = socket.create_connection(("127.0.0.1", served.port), timeout=180)
    with served.trusted.wrap_socket(plain, server_hostname="127.0.0.1") as connection:
        connection.sendall(data)
        yield


def test_a_body_that_does_not_come_is_not_waited_for(served, device: Signing):
    assert reason(served.raw(head(1000, device) + b"only this")) == "too_slow"


@pytest.mark.parametrize("signing", [None, Signing("pi-1"), Signing("pi-none")])
def test_for_what_no_device_signed_no_body_is_waited_for(tmp_path, signing: Signing | None):
    with running(tmp_path, limits=GatewayLimits(body_s=3600.0)) as served:
        served.roll.known["pi-1"] = Signing("pi-1").enrolled
        assert reason(served.raw(head(1000, signing), wait_s=180.0)) in {"not_signed", "not_authentic"}


def test_a_body_that_was_announced_is_not_exchanged_for_another(served, device: Signing):
    assert reason(served.raw(head(1000, device) + b"1" * 1000)) == "not_authentic"


def until_busy(served: Running, device: Signing) -> bool:
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        if reason(served.raw(head(400, device) + bytes(400))) == "busy":
            return True
    return False


def test_without_room_a_body_is_refused_at_once_and_one_device_has_a_share_only(tmp_path):
    limits = GatewayLimits(room=1000, room_each=600, body_s=3600.0)
    with running(tmp_path, limits=limits) as served:
        slow, other, third = devices = [Signing(f"pi-{number}") for number in range(3)]
        served.roll.known = {device.name: device.enrolled for device in devices}
        with sent(served, head(400, slow)):  # holds its room and sends nothing
            assert until_busy(served, slow)
            assert reason(served.raw(head(400, other) + bytes(400))) == "malformed"  # it was let in
            with sent(served, head(400, other)):
                assert until_busy(served, third)


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
    room = Room(10, each=6)
    with room.hold(6, "a") as first, room.hold(6, "b") as second, room.hold(1, "a") as third, room.hold(4, "b") as last:
        assert (first, second, third, last) == (True, False, False, True)
    with room.hold(6, "a") as whole:
        assert whole
    assert (room._free, room._held) == (10, {})
