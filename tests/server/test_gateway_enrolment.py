"""Enrolment over the gateway: by an invitation's address and pin, and with the desk's own reasons."""

import time

import pytest

from skerry.clock import system_clock
from skerry.device.agent.bell import Bell
from skerry.device.agent.standing import over_https
from skerry.device.service import HttpsEnrolment
from skerry.errors import InputError, RunFailedError
from skerry.security.enrolment import EnrolmentRefusedError, apply, ask, renew
from skerry.server.gateway import GatewayLimits
from skerry.server.limits import Rate

from ._federation import Agent, Federation
from ._gateway import Signing, reason, running


@pytest.fixture(scope="module")
def federation(tmp_path_factory):
    return Federation(tmp_path_factory.mktemp("federation"))


@pytest.fixture(scope="module")
def served(federation, tmp_path_factory):
    folder = tmp_path_factory.mktemp("gateway")
    chain, key = federation.server_pem()
    (folder / "chain.pem").write_bytes(chain)
    (folder / "chain.key").write_bytes(key)
    (folder / "repository").mkdir()
    (folder / "repository" / "held.txt").write_bytes(b"content")
    with running(folder, desk=federation.desk, devices=federation.devices, shown=folder / "chain") as gateway:
        yield gateway


def test_a_device_enrols_renews_and_is_then_let_in_until_it_is_revoked(federation, served):
    agent = Agent("pi-1")
    invitation = federation.invite(address=served.url)
    with HttpsEnrolment(invitation) as transport:
        asked = apply(invitation, agent, transport, now=system_clock())
        member = ask(asked, "harbour", agent, transport, now=system_clock())
        assert transport.authorities() == federation.desk.authorities()
        assert transport.revocations()
        federation.hurry_ms = 5 * 86_400_000
        try:
            later = renew(member, agent, transport, attempt=bytes(16), now=federation.clock())
        finally:
            federation.hurry_ms = 0
    assert later.certificate.serial_number != member.certificate.serial_number
    signing = Signing("pi-1", agent.device_key)
    assert served.get("/v1/repository/held.txt", signing).content == b"content"
    federation.revoke("pi-1")
    assert reason(served.get("/v1/repository/held.txt", signing)) == "not_authentic"


def test_a_device_that_waits_for_approval_is_not_let_in(federation, served):
    agent = Agent("pi-waiting")
    invitation = federation.invite(address=served.url, approve=False)
    with HttpsEnrolment(invitation) as transport:
        asked = apply(invitation, agent, transport, now=system_clock())
        assert ask(asked, "harbour", agent, transport, now=system_clock()) is None
    answer = served.get("/v1/repository/held.txt", Signing("pi-waiting", agent.device_key))
    assert reason(answer) == "not_authentic"


def test_the_desk_s_own_reason_comes_through(federation, served):
    invitation = federation.invite(address=served.url)
    with HttpsEnrolment(invitation) as transport:
        first, second = Agent("pi-first"), Agent("pi-second")
        ask(apply(invitation, first, transport, now=system_clock()), "harbour", first, transport, now=system_clock())
        with pytest.raises(EnrolmentRefusedError) as refused:
            apply(invitation, second, transport, now=system_clock())
    assert refused.value.reason == "invite_used"


def test_who_does_not_show_the_pinned_root_is_told_no_token(federation, served, tmp_path):
    elsewhere = Federation(tmp_path, "elsewhere")
    with pytest.raises(EnrolmentRefusedError) as refused:
        HttpsEnrolment(elsewhere.invite(address=served.url))
    assert refused.value.reason == "not_authentic"


def test_an_address_that_is_not_https_is_refused(federation):
    for address in ("", "http://127.0.0.1:1"):
        with pytest.raises(InputError):
            HttpsEnrolment(federation.invite(address=address))


def test_an_address_where_nobody_answers_is_said(federation):
    with pytest.raises(RunFailedError, match="does not answer"):
        HttpsEnrolment(federation.invite(address="https://127.0.0.1:9"))


@pytest.mark.parametrize("path", ["challenge", "simpleenroll", "simplereenroll"])
@pytest.mark.parametrize("body", [b"", b"\xff" * 100, bytes(16_384)])
def test_garbage_is_refused_with_a_reason(served, path: str, body: bytes):
    answer = served.client.post(f"/.well-known/est/{path}", content=body)
    assert (answer.status_code, reason(answer)) == (403, "malformed")


def test_a_record_over_the_limit_is_not_read(served):
    answer = served.client.post("/.well-known/est/simpleenroll", content=bytes(16_385))
    assert (answer.status_code, reason(answer)) == (413, "too_large")


def test_an_address_that_asks_too_often_is_told_to_wait(tmp_path):
    with running(tmp_path, limits=GatewayLimits(stranger=Rate(per_s=0.1, burst=3))) as gateway:
        codes = [gateway.client.get("/.well-known/est/cacerts").status_code for _ in range(4)]
    assert codes == [200, 200, 200, 429]


def test_a_device_that_has_to_wait_for_seconds_waits_and_goes_on_where_it_was(federation, tmp_path):
    (tmp_path / "gateway").mkdir()
    chain, key = federation.server_pem()
    (tmp_path / "chain.pem").write_bytes(chain)
    (tmp_path / "chain.key").write_bytes(key)
    limits = GatewayLimits(stranger=Rate(per_s=20.0, burst=1))
    waited: list[float] = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        time.sleep(0.1)  # which brings two more requests

    with running(
        tmp_path / "gateway", desk=federation.desk, devices=federation.devices, shown=tmp_path / "chain", limits=limits
    ) as gateway:
        agent, invitation = Agent("pi-patient"), federation.invite(address=gateway.url)
        with HttpsEnrolment(invitation, sleep=sleep) as transport:
            for _ in range(4):
                transport.revocations()  # more than come by themselves meanwhile
            asked = apply(invitation, agent, transport, now=system_clock())
            assert ask(asked, "harbour", agent, transport, now=system_clock()) is not None
    assert waited
    assert set(waited) == {1.0}


def test_an_agent_that_is_to_end_does_not_wait_for_a_busy_gateway(federation, tmp_path):
    with running(tmp_path, limits=GatewayLimits(stranger=Rate(per_s=1.0, burst=1))) as gateway, Bell() as bell:
        assert gateway.client.get("/.well-known/est/cacerts").status_code == 200
        line = over_https(federation.invite(address=gateway.url), bell.wait)
        bell.ring()
        with pytest.raises(RunFailedError, match="to end"):
            line()


def test_a_gateway_that_is_too_busy_is_not_taken_for_another_federation(federation, tmp_path):
    with running(tmp_path, limits=GatewayLimits(stranger=Rate(per_s=0.1, burst=1))) as gateway:
        assert gateway.client.get("/.well-known/est/cacerts").status_code == 200
        with pytest.raises(RunFailedError) as failed, HttpsEnrolment(federation.invite(address=gateway.url)):
            pass
    assert failed.value.mend == "try again later"


def test_a_registry_that_cannot_be_read_is_told_as_a_moment_to_come_back(tmp_path, caplog):
    federation = Federation(tmp_path)
    agent = Agent("pi-1")
    federation.enrol(agent)
    with running(tmp_path, desk=federation.desk, devices=federation.devices) as gateway:
        path = federation.office.registry.path
        for name in (path, path.with_name(path.name + "-wal")):
            if name.exists():
                name.write_bytes(b"no database" * 1000)
        answer = gateway.get("/v1/repository/held.txt", Signing("pi-1", agent.device_key))
        assert (answer.status_code, reason(answer)) == (503, "server_failed")
        assert str(tmp_path) not in answer.text
        assert gateway.client.get("/healthz").status_code == 200
    assert "registry" in caplog.text


class WithoutEnd:
    """A desk whose answers are longer than any answer is."""

    def __getattr__(self, name: str):
        return lambda *_: bytes((1 << 20) + 1)


def test_an_answer_longer_than_any_is_not_read_to_its_end(federation, tmp_path):
    with running(tmp_path, desk=WithoutEnd()) as gateway, pytest.raises(RunFailedError, match="has more than"):
        HttpsEnrolment(federation.invite(address=gateway.url))
