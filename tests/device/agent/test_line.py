"""What the agent makes of a gateway's answers, over real TLS and a real gateway."""

from collections.abc import Iterator

import httpx
import pytest

from skerry.clock import system_clock
from skerry.device.agent.calls import CallFailedError, Fault
from skerry.device.agent.flwr_fleet import FleetCalls
from skerry.device.agent.line import GatewayLine
from tests.server._gateway import Running, Signing, running

HOUR = 3_600_000


@pytest.fixture(scope="module")
def gateway(tmp_path_factory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("gateway")) as served:
        yield served


def line(gateway: Running, device: Signing, *, off: int = 0) -> GatewayLine:
    roots = gateway.tls.authority.read_bytes()
    return GatewayLine(gateway.url, roots=roots, name=device.name, key=device.key, clock=lambda: system_clock() + off)


def fault(calls: FleetCalls) -> CallFailedError:
    with pytest.raises(CallFailedError) as failed:
        calls.activate()
    return failed.value


def test_a_stranger_is_not_let_in_and_knows_it(gateway: Running):
    with line(gateway, Signing("nobody")) as stranger:
        assert fault(FleetCalls(stranger)).fault is Fault.UNKNOWN


def test_a_superlink_that_is_down_is_waited_for(gateway: Running):
    device = Signing("pi-1")
    gateway.roll.known["pi-1"] = device.enrolled
    with line(gateway, device) as ours:
        failed = fault(FleetCalls(ours))
    assert (failed.fault, failed.retry_after_s > 0) == (Fault.UNREACHABLE, True)


@pytest.mark.parametrize("off", [-HOUR, HOUR])
def test_a_device_whose_clock_is_hours_off_is_told_the_time_and_then_let_in(gateway: Running, off: int):
    device = Signing(f"pi{off}")
    gateway.roll.known[device.name] = device.enrolled
    with line(gateway, device, off=off) as ours:
        calls = FleetCalls(ours)
        assert fault(calls).fault is Fault.WRONG_CLOCK
        assert abs(ours.off_ms + off) < 5_000
        assert fault(calls).fault is Fault.UNREACHABLE  # let in: only the SuperLink is not there


def test_a_gateway_under_another_root_is_not_spoken_to(gateway: Running, tmp_path_factory):
    with running(tmp_path_factory.mktemp("other")) as other:
        device = Signing("pi-1")
        roots = other.tls.authority.read_bytes()
        with GatewayLine(gateway.url, roots=roots, name="pi-1", key=device.key, clock=system_clock) as ours:
            failed = fault(FleetCalls(ours))
    assert failed.fault is Fault.UNREACHABLE
    assert "CERTIFICATE_VERIFY_FAILED" in failed.what


def test_refusals_of_any_words_make_a_wait_of_some_length(gateway: Running):
    """A SuperLink's words come through the gateway as they are."""
    with line(gateway, Signing("pi-1")) as ours:
        for words in (b"[" * 60_000, b"\xff", b"{}", b'{"error": 5}'):
            for status, headers in ((500, {"retry-after": "nan"}), (401, {"retry-after": "-inf"}), (429, {})):
                failed = ours._failure(httpx.Response(status, headers=headers), words, "pull-messages")
                assert failed.retry_after_s == 0
        told = b'{"error": {"reason": "wrong_clock", "what": ""}}'
        for date in ("Mon, 01 Jan 0001 00:00:00 -0000", "Fri, 31 Dec 9999 23:59:59 -2359", "soon"):
            assert ours._failure(httpx.Response(401, headers={"date": date}), told, "x").fault is Fault.WRONG_CLOCK
            assert ours.spoken().now > 0
