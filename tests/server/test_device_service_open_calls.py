"""A call that is opened and says nothing holds nothing for long, and one party's calls leave room for the others'."""

import time
from contextlib import ExitStack
from threading import Event

import grpc
import pytest

from skerry.device.service import device_pb2 as pb
from skerry.device.service import device_pb2_grpc as rpc

from .test_device_service import Served, enrolled, running

CHALLENGE = "/skerry.device.v1.Enrolment/Challenge"
RENEW = "/skerry.device.v1.Device/Renew"
PATIENCE_S = 180.0


@pytest.fixture
def served(tmp_path):
    yield from running(tmp_path, calls=32, calls_each=8, message_s=20.0)


@pytest.fixture
def hasty(tmp_path):
    yield from running(tmp_path, calls=32, calls_each=8, message_s=0.5)


@pytest.fixture
def silent():
    """Opens calls on which no message ever comes."""
    over = Event()
    with ExitStack() as held:

        def never():
            over.wait()
            yield from ()

        def opened(channel: grpc.Channel, method: str, count: int, deadline_s: float | None) -> list:
            held.enter_context(channel)
            calls = [channel.stream_unary(method).future(never(), timeout=deadline_s) for _ in range(count)]
            held.callback(lambda: [call.cancel() for call in calls])
            return calls

        held.callback(over.set)
        yield opened


def channel_of(served: Served, port: int, *shown: bytes) -> grpc.Channel:
    credentials = grpc.ssl_channel_credentials(served.federation.root_pem, *shown)
    return grpc.secure_channel(f"127.0.0.1:{port}", credentials, [("grpc.use_local_subchannel_pool", 1)])


def settled(calls: list, open_ones: int) -> list:
    """Wait until no more than so many calls are open; the ended ones."""
    until = time.monotonic() + PATIENCE_S
    while sum(not call.done() for call in calls) > open_ones and time.monotonic() < until:
        time.sleep(0.02)
    assert sum(not call.done() for call in calls) == open_ones
    return [call for call in calls if call.done()]


def reasons(calls: list) -> set[tuple[grpc.StatusCode, str]]:
    return {(call.code(), dict(call.trailing_metadata()).get("skerry-reason")) for call in calls}


def test_strangers_calls_without_message_and_deadline_are_refused_at_once(served, silent):
    calls = silent(channel_of(served, served.ports.enrolment_port), CHALLENGE, 16, None)
    assert reasons(settled(calls, 0)) == {(grpc.StatusCode.INVALID_ARGUMENT, "no_deadline")}
    with served.enrolling() as transport:
        assert transport.authorities()


def test_of_one_address_so_many_calls_are_open_and_the_rest_is_refused_at_once(served, silent):
    calls = silent(channel_of(served, served.ports.enrolment_port), CHALLENGE, 16, 600.0)
    assert reasons(settled(calls, 8)) == {(grpc.StatusCode.RESOURCE_EXHAUSTED, "too_many")}


def test_a_message_that_does_not_come_is_not_waited_for(hasty, silent):
    calls = silent(channel_of(hasty, hasty.ports.enrolment_port), CHALLENGE, 8, 600.0)
    assert reasons(settled(calls, 0)) == {(grpc.StatusCode.CANCELLED, None)}
    with hasty.enrolling() as transport:
        assert transport.authorities()


def test_one_device_cannot_take_the_places_of_all_and_a_revoked_one_takes_none(served, silent):
    bad, chain = enrolled(served, "pi-bad")
    good = enrolled(served, "pi-good")
    port = served.ports.device_port
    held = silent(channel_of(served, port, bad.key_pem, chain), RENEW, 8, 600.0)
    more = [call for _ in range(2) for call in silent(channel_of(served, port, bad.key_pem, chain), RENEW, 16, 600.0)]
    settled(held + more, 8)
    with served.channel(*good) as channel:
        assert rpc.DeviceStub(channel).Revocations(pb.Nothing(), timeout=180).body
    served.federation.revoke("pi-bad")
    late = silent(channel_of(served, port, bad.key_pem, chain), RENEW, 4, 600.0)
    assert reasons(settled(late, 0)) == {(grpc.StatusCode.UNAUTHENTICATED, "unknown_device")}
