"""Enrolment: a token once, keys that prove themselves, one name and one agent an identity, and reasons for every no."""

import dataclasses
import hashlib
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from skerry.errors import InputError, RefusedError
from skerry.security.certificates import Role
from skerry.security.enrolment import (
    EnrolmentRefusal,
    EnrolmentRefusedError,
    EnrolmentRequest,
    Invitation,
    apply,
    ask,
    renew,
)
from skerry.security.enrolment.record import SignedBody
from skerry.security.enrolment.requests import ENROL
from skerry.server.enrolment.certify import requested_key
from skerry.server.registry.enrolled import State

from ._enrolment import DAY, HOUR, NOW, Agent, Federation, refused, resigned, send
from ._registry import kept

pytestmark = pytest.mark.usefixtures("both_in_full")


def test_an_invited_device_is_a_member_and_in_the_directory_of_messages(harbour: Federation) -> None:
    agent = Agent.fresh("pi-1")
    member = harbour.enrol(agent)
    assert member.subject.uri == "spiffe://harbour/device/pi-1"
    assert member.coordinator == harbour.coordinator
    assert member.renew_at < NOW + 5 * DAY
    assert harbour.recipients().devices.get("pi-1") == agent.identity.public


def test_a_token_is_kept_as_a_hash_only(harbour: Federation) -> None:
    invitation = harbour.invite()
    harbour.enrol(Agent.fresh("pi-1"), invitation)
    bytes_ = kept(harbour.folder)
    assert hashlib.sha256(b"skerry/invite/1\0" + invitation.token).digest() in bytes_
    assert invitation.token not in bytes_
    assert invitation.token.hex().encode() not in bytes_


def test_a_token_enrols_as_many_as_it_says(harbour: Federation) -> None:
    invitation = harbour.invite(uses=2)
    for name in ("pi-1", "pi-2"):
        assert harbour.enrol(Agent.fresh(name), invitation)
    with refused(EnrolmentRefusal.INVITE_USED):
        harbour.enrol(Agent.fresh("pi-3"), invitation)


def test_a_token_is_used_up_also_by_one_who_had_the_challenge_before(harbour: Federation) -> None:
    invitation, first, second = harbour.invite(), Agent.fresh("pi-1"), Agent.fresh("pi-2")
    early = apply(invitation, second, harbour.desk, now=NOW)
    harbour.enrol(first, invitation)
    with refused(EnrolmentRefusal.INVITE_USED):
        send(harbour, early, second)


def test_an_expired_or_unknown_token_enrols_nobody(harbour: Federation) -> None:
    agent, invitation = Agent.fresh("pi-1"), harbour.invite(life=HOUR)
    early = apply(invitation, agent, harbour.desk, now=NOW)
    harbour.now += HOUR
    with refused(EnrolmentRefusal.INVITE_EXPIRED):
        harbour.enrol(agent, invitation)
    with refused(EnrolmentRefusal.INVITE_EXPIRED):  # the desk's own word, not the device's
        send(harbour, resigned(early, agent, issued=harbour.now), agent)
    unknown = dataclasses.replace(invitation, token=bytes(16), expires=harbour.now + HOUR)
    with refused(EnrolmentRefusal.UNKNOWN_INVITE):
        harbour.enrol(agent, unknown)


def test_another_class_than_invited_is_refused(harbour: Federation) -> None:
    with refused(EnrolmentRefusal.WRONG_CLASS):
        harbour.enrol(Agent.fresh("pi-1"), dataclasses.replace(harbour.invite(), device_class="phone"))


@pytest.mark.parametrize("off", [-6 * 60_000, 6 * 60_000])
def test_a_wrong_clock_is_told_by_both_sides(harbour: Federation, off: int) -> None:
    agent, invitation = Agent.fresh("pi-1", NOW + off), harbour.invite()
    with refused(EnrolmentRefusal.WRONG_CLOCK):
        apply(invitation, agent, harbour.desk, now=NOW + off)
    application = apply(invitation, agent, harbour.desk, now=NOW)
    with refused(EnrolmentRefusal.WRONG_CLOCK):
        send(harbour, resigned(application, agent, issued=NOW + off), agent)


def test_a_challenge_is_answered_in_time_and_is_of_this_invite(harbour: Federation) -> None:
    agent = Agent.fresh("pi-1")
    application = apply(harbour.invite(), agent, harbour.desk, now=NOW)
    harbour.now += 5 * 60_000
    with refused(EnrolmentRefusal.STALE_CHALLENGE):
        send(harbour, application, agent)
    harbour.now = NOW
    other = harbour.invite()
    with refused(EnrolmentRefusal.STALE_CHALLENGE):
        send(harbour, resigned(application, agent, token=other.token), agent)


def test_nobody_enrols_keys_that_are_not_theirs(harbour: Federation) -> None:
    agent, thief = Agent.fresh("pi-1"), Agent.fresh("pi-1")
    application = apply(harbour.invite(), agent, harbour.desk, now=NOW)
    body = SignedBody.decode(application.request).body
    for device, message in ((thief.device_key, agent.identity), (agent.device_key, thief.identity)):
        request = SignedBody.of(body, ENROL, device, message).encode()
        with refused(EnrolmentRefusal.NOT_AUTHENTIC):
            send(harbour, dataclasses.replace(application, request=request), agent)
    assert harbour.office.enrolled() == []


def test_two_agents_cannot_have_one_name_or_one_key(harbour: Federation) -> None:
    agent = Agent.fresh("pi-1")
    harbour.enrol(agent)
    with refused(EnrolmentRefusal.NAME_TAKEN):
        harbour.enrol(Agent.fresh("pi-1"))
    other = Agent.fresh("pi-2")
    renamed = dataclasses.replace(agent.identity, name="pi-2")
    for copied in (
        Agent(other.identity, agent.device_key, other.kem),
        Agent(renamed, other.device_key, other.kem),
        Agent(other.identity, other.device_key, agent.kem),
    ):
        with refused(EnrolmentRefusal.IDENTITY_TAKEN):
            harbour.enrol(copied)


def test_what_a_device_opens_is_under_its_signatures(harbour: Federation) -> None:
    agent = Agent.fresh("pi-1")
    application = apply(harbour.invite(), agent, harbour.desk, now=NOW)
    body = SignedBody.decode(application.request)
    asked = dataclasses.replace(EnrolmentRequest.decode(body.body), ciphers=["aes-256-gcm"])
    forged = dataclasses.replace(body, body=asked.encode()).encode()
    with refused(EnrolmentRefusal.NOT_AUTHENTIC):
        send(harbour, dataclasses.replace(application, request=forged), agent)
    unusable = dataclasses.replace(body, body=asked.encode().replace(b"aes-256-gcm", b"aes-128-gcm")).encode()
    with refused(EnrolmentRefusal.MALFORMED):
        send(harbour, dataclasses.replace(application, request=unusable), agent)


def test_a_pending_device_waits_for_the_operator_and_asks_again_with_the_same_bytes(harbour: Federation) -> None:
    agent = Agent.fresh("pi-1")
    application = apply(harbour.invite(approve=False), agent, harbour.desk, now=NOW)
    assert send(harbour, application, agent) is None
    assert send(harbour, application, agent) is None
    assert len(harbour.office.enrolled()) == 1
    with pytest.raises(InputError, match="no device is enrolled"):
        harbour.recipients()
    harbour.now += 2 * DAY  # invite and challenge are over by then
    entry = harbour.office.find("pi-1", State.PENDING)
    harbour.office.approve(entry, harbour.authority, by="ann", why="seen it", now=harbour.now)
    assert send(harbour, application, agent).subject.name == "pi-1"
    with pytest.raises(RefusedError, check=lambda error: error.reason == "not_pending"):
        harbour.office.approve(entry, harbour.authority, by="ann", why="twice", now=harbour.now)


def test_a_denied_or_revoked_device_is_out_with_these_keys_and_may_come_back_with_others(harbour: Federation) -> None:
    agent = Agent.fresh("pi-1")
    application = apply(harbour.invite(approve=False), agent, harbour.desk, now=NOW)
    send(harbour, application, agent)
    harbour.office.deny(harbour.office.find("pi-1"), by="ann", why="not ours", now=NOW)
    with refused(EnrolmentRefusal.DENIED):
        send(harbour, application, agent)
    with refused(EnrolmentRefusal.DENIED):
        harbour.enrol(agent)
    second = Agent.fresh("pi-1")
    member = harbour.enrol(second)
    harbour.office.revoke(harbour.office.find("pi-1"), by="ann", why="stolen", now=NOW)
    with refused(EnrolmentRefusal.REVOKED):
        renew(member, second, harbour.desk, attempt=b"a" * 16, now=NOW)
    with pytest.raises(InputError, match="no device is enrolled"):
        harbour.recipients()
    assert harbour.enrol(Agent.fresh("pi-1")).subject.name == "pi-1"


def test_another_federation_neither_takes_the_request_nor_passes_for_the_one_that_invited(tmp_path) -> None:
    harbour, coast = Federation(tmp_path / "a"), Federation(tmp_path / "b", "coast")
    agent, invitation = Agent.fresh("pi-1"), harbour.invite()
    foreign = coast.invite()
    posing = dataclasses.replace(invitation, token=foreign.token)
    with refused(EnrolmentRefusal.NOT_AUTHENTIC):
        apply(posing, agent, coast.desk, now=NOW)
    application = apply(foreign, agent, coast.desk, now=NOW)
    with refused(EnrolmentRefusal.WRONG_FEDERATION):
        coast.desk.enrol(resigned(application, agent, federation="harbour").request)
    mixed = dataclasses.replace(application, root=harbour.authority.root)
    with pytest.raises(RefusedError, check=lambda error: error.reason == "foreign_certificate"):
        ask(mixed, "coast", agent, coast.desk, now=NOW)


def test_an_answer_to_another_request_is_not_taken(harbour: Federation) -> None:
    one, two = Agent.fresh("pi-1"), Agent.fresh("pi-2")
    invitation = harbour.invite(uses=2, approve=False)  # so that no certificate gives the mix-up away
    theirs = apply(invitation, two, harbour.desk, now=NOW)
    answer = harbour.desk.enrol(theirs.request)
    crossed = type("Crossed", (), {"enrol": lambda self, request: answer})()
    mine = apply(invitation, one, harbour.desk, now=NOW)
    with refused(EnrolmentRefusal.NOT_AUTHENTIC):
        ask(mine, "harbour", one, crossed, now=NOW)


def test_operators_are_never_approved_by_an_invite_alone(harbour: Federation) -> None:
    with pytest.raises(RefusedError, check=lambda error: error.reason == "role_by_invite"):
        harbour.invite(role=Role.OPERATOR)
    agent = Agent.fresh("bob")
    application = apply(harbour.invite(role=Role.OPERATOR, approve=False), agent, harbour.desk, now=NOW)
    assert send(harbour, application, agent) is None
    harbour.office.approve(harbour.office.find("bob"), harbour.authority, by="ann", why="hired", now=NOW)
    assert send(harbour, application, agent).subject.uri == "spiffe://harbour/operator/bob"


def test_invitations_survive_copying_and_nothing_else_is_one(harbour: Federation) -> None:
    invitation = harbour.invite(address="https://fleet.example")
    assert Invitation.parse(f"  {invitation.text[:40]}\n{invitation.text[40:]} ") == invitation
    for text in ("", "skerry-enrol:", "hello", invitation.text[:-4], invitation.text.replace("skerry", "skarry")):
        with pytest.raises(InputError, match="not an invitation"):
            Invitation.parse(text)


@pytest.mark.parametrize("name", ["pi 1", "pi-ä", "x" * 65])
def test_a_name_that_cannot_stand_in_a_certificate_is_no_request(harbour: Federation, name: str) -> None:
    with pytest.raises(InputError, match="not a usable name"):
        harbour.enrol(Agent.fresh(name))


@pytest.mark.parametrize("call", ["challenge", "enrol", "renew"])
def test_garbage_is_refused_with_a_reason(harbour: Federation, call: str) -> None:
    application = apply(harbour.invite(), Agent.fresh("pi-1"), harbour.desk, now=NOW)
    for data in (b"", b"\xff" * 9, application.request[:-1], application.request + b"\0", bytes(20_000)):
        with refused(EnrolmentRefusal.MALFORMED):
            getattr(harbour.desk, call)(data)
    flipped = bytearray(application.request)
    for at in range(0, len(flipped), 7):
        flipped[at] ^= 1
        with pytest.raises(EnrolmentRefusedError):
            getattr(harbour.desk, call)(bytes(flipped))
        flipped[at] ^= 1
    assert harbour.office.enrolled() == []


def test_of_many_at_once_a_token_lets_one_in(harbour: Federation) -> None:
    invitation, agents = harbour.invite(), [Agent.fresh(f"pi-{number}") for number in range(6)]
    applied = [apply(invitation, agent, harbour.desk, now=NOW) for agent in agents]

    def enter(which: int) -> str:
        try:
            return send(harbour, applied[which], agents[which]).subject.name
        except EnrolmentRefusedError as error:
            return error.reason

    with ThreadPoolExecutor(6) as pool:
        told = list(pool.map(enter, range(6)))
    assert told.count("invite_used") == 5
    assert len(harbour.office.enrolled()) == 1


def test_the_same_request_twice_at_once_is_one_enrolment_and_both_are_told_so(
    harbour: Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent, together = Agent.fresh("pi-1"), Barrier(2)
    application = apply(harbour.invite(), agent, harbour.desk, now=NOW)

    def both_first(csr: bytes, name: str):
        together.wait(180)  # until neither found it in the registry
        return requested_key(csr, name)

    monkeypatch.setattr("skerry.server.enrolment.desk.requested_key", both_first)
    with ThreadPoolExecutor(2) as two:
        members = list(two.map(lambda _: send(harbour, application, agent), range(2)))
    assert members[0].certificate == members[1].certificate
    assert len(harbour.office.enrolled()) == 1
