"""A device leaves: signed by its keys, entered once, out for good; nobody else can make it leave."""

from hashlib import sha256
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import select

from skerry.clock import system_clock
from skerry.device.service import HttpsEnrolment
from skerry.errors import RefusedError
from skerry.security.enrolment import (
    EnrolmentRefusedError,
    LeaveRequest,
    Membership,
    Outcome,
    SignedOutcome,
    Status,
    leave,
    renew,
)
from skerry.security.enrolment.record import SignedBody
from skerry.security.enrolment.requests import RENEW
from skerry.server.enrolled_devices import RegistryDevices
from skerry.server.registry import Registry
from skerry.server.registry.enrolled import State
from skerry.server.registry.tables import departures

from ._enrolment import DAY, NOW, Agent, Federation
from ._federation import Agent as Live
from ._federation import Federation as Serving
from ._gateway import Signing, reason, running
from ._registry import kept

pytestmark = pytest.mark.usefixtures("both_in_full")


@pytest.fixture
def harbour(tmp_path: Path) -> Federation:
    return Federation(tmp_path)


def request_of(member: Membership, agent: Agent, *, now: int = NOW, **others) -> bytes:
    subject = member.subject
    told = {
        "federation": subject.federation,
        "name": subject.name,
        "serial": member.certificate.serial_number.to_bytes(20, "big"),
        "issued": now,
    }
    return LeaveRequest(**{**told, **others}).signed(agent.device_key, agent.identity)


def refused(harbour: Federation, request: bytes) -> str:
    with pytest.raises(EnrolmentRefusedError) as error:
        harbour.desk.leave(request)
    return error.value.reason


def test_who_has_left_is_out_and_what_it_signed_is_kept(harbour: Federation) -> None:
    agent = Agent.fresh("pi-1")
    member = harbour.enrol(agent)
    devices = RegistryDevices(harbour.office.registry, "harbour", lambda: harbour.now)
    assert devices.find("pi-1") is not None
    leave(member, agent, harbour.desk, now=NOW)
    assert devices.find("pi-1") is None
    devices.close()
    entry = harbour.office.find("pi-1")
    assert (entry.state, entry.left) == (State.REVOKED, NOW)
    assert (entry.admission.by, entry.admission.why) == ("the device", "it left")
    (request,) = harbour.office.registry.read(lambda base: base.scalars(select(departures.c.request)).all())
    said = LeaveRequest.decode(SignedBody.decode(request).body)
    assert (said.federation, said.name) == ("harbour", "pi-1")
    with pytest.raises(EnrolmentRefusedError, match="it left") as error:
        renew(member, agent, harbour.desk, attempt=bytes(16), now=NOW)
    assert error.value.reason == "revoked"


def test_a_lost_answer_is_given_again_and_nothing_is_entered_twice(harbour: Federation) -> None:
    agent = Agent.fresh("pi-1")
    member = harbour.enrol(agent)
    leave(member, agent, harbour.desk, now=NOW)
    harbour.now += DAY
    leave(member, agent, harbour.desk, now=harbour.now)
    assert harbour.office.find("pi-1").left == NOW


def test_neither_a_wrong_clock_nor_a_certificate_that_has_ended_keeps_a_device_in(harbour: Federation) -> None:
    agent = Agent.fresh("pi-1")
    member = harbour.enrol(agent)
    harbour.now += 300 * DAY
    harbour.desk.leave(request_of(member, agent, now=12))
    assert harbour.office.find("pi-1").state is State.REVOKED


@pytest.mark.parametrize("now", [12, NOW + 4000 * DAY])
def test_a_device_whose_clock_is_wrong_believes_that_it_is_out(harbour: Federation, now: int) -> None:
    agent = Agent.fresh("pi-1")
    leave(harbour.enrol(agent), agent, harbour.desk, now=now)
    assert harbour.office.find("pi-1").state is State.REVOKED


def test_nobody_else_can_make_a_device_leave(harbour: Federation) -> None:
    agent, other = Agent.fresh("pi-1"), Agent.fresh("pi-2")
    member, others = harbour.enrol(agent), harbour.enrol(other)
    assert refused(harbour, request_of(member, other)) == "not_authentic"
    half = Agent(other.identity, agent.device_key, agent.kem)  # one of the two keys does not do
    assert refused(harbour, request_of(member, half)) == "not_authentic"
    body = SignedBody.decode(request_of(member, agent)).body
    renewal = SignedBody.of(body, RENEW, agent.device_key, agent.identity).encode()  # signed for something else
    assert refused(harbour, renewal) == "not_authentic"
    assert refused(harbour, request_of(member, agent, federation="elsewhere")) == "wrong_federation"
    assert refused(harbour, request_of(member, agent, name="pi-2")) == "unknown_device"
    assert refused(harbour, request_of(others, other, serial=bytes(20))) == "unknown_device"
    assert refused(harbour, b"\x00") == "malformed"
    assert {one.state for one in harbour.office.enrolled()} == {State.ENROLLED}


def test_who_was_put_out_before_is_told_so(harbour: Federation) -> None:
    agent = Agent.fresh("pi-1")
    member = harbour.enrol(agent)
    harbour.office.revoke(harbour.office.find("pi-1"), by="ann", why="stolen", now=NOW)
    assert refused(harbour, request_of(member, agent)) == "revoked"
    assert harbour.office.find("pi-1").left is None


class Answering:
    """Answers a request to leave as it is told, signed by a federation."""

    def __init__(self, federation: Federation, status: Status, digest: bytes | None = None, at: int = NOW) -> None:
        self.authority, self.status, self.digest, self.at = federation.authority, status, digest, at

    def leave(self, request: bytes) -> bytes:
        digest = self.digest or sha256(request).digest()
        outcome = Outcome(self.status, digest, certificate=b"", certificate_issuer=b"", coordinator={}, now=self.at)
        issuer = self.authority.issuer.public_bytes(Encoding.DER)
        return SignedOutcome.of(outcome, issuer, self.authority.key).encode()


def test_only_the_federation_s_own_word_that_it_is_out_counts(harbour: Federation, tmp_path: Path) -> None:
    agent, false = Agent.fresh("pi-1"), Federation(tmp_path / "false")
    member = harbour.enrol(agent)
    leave(member, agent, Answering(harbour, Status.LEFT), now=NOW)
    for answering, reason_ in (
        (Answering(false, Status.LEFT), "foreign_certificate"),
        (Answering(harbour, Status.LEFT, bytes(32)), "not_authentic"),
        (Answering(harbour, Status.PENDING), "malformed"),
        (Answering(harbour, Status.LEFT, at=NOW + 4000 * DAY), "foreign_certificate"),
    ):
        with pytest.raises(RefusedError) as error:
            leave(member, agent, answering, now=NOW)
        assert error.value.reason == reason_


def test_its_name_can_be_enrolled_with_other_keys_and_that_one_stays(harbour: Federation) -> None:
    agent, later = Agent.fresh("pi-1"), Agent.fresh("pi-1")
    member = harbour.enrol(agent)
    leave(member, agent, harbour.desk, now=NOW)
    harbour.enrol(later)
    leave(member, agent, harbour.desk, now=NOW)
    assert harbour.office.find("pi-1").state is State.ENROLLED


def test_a_name_that_left_can_be_forgotten(harbour: Federation) -> None:
    agent = Agent.fresh("pi-1")
    leave(harbour.enrol(agent), agent, harbour.desk, now=NOW)
    registry = Registry(harbour.folder)
    registry.forget(registry.find("pi-1"), by="ann", now=NOW)
    assert b"pi-1" not in kept(harbour.folder)


def test_a_device_leaves_over_the_gateway_and_is_served_nothing_more(tmp_path: Path) -> None:
    federation = Serving(tmp_path / "federation")
    folder = tmp_path / "gateway"
    folder.mkdir()
    chain, key = federation.server_pem()
    (folder / "chain.pem").write_bytes(chain)
    (folder / "chain.key").write_bytes(key)
    (folder / "repository").mkdir()
    (folder / "repository" / "held.txt").write_bytes(b"content")
    agent = Live("pi-1")
    with running(folder, desk=federation.desk, devices=federation.devices, shown=folder / "chain") as gateway:
        member = federation.enrol(agent)
        signing = Signing("pi-1", agent.device_key)
        assert gateway.get("/v1/repository/held.txt", signing).content == b"content"
        with HttpsEnrolment(federation.invite(address=gateway.url)) as transport:
            leave(member, agent, transport, now=system_clock())
        assert reason(gateway.get("/v1/repository/held.txt", signing)) == "not_authentic"
