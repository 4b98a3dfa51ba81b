"""Certificates and sealing keys go forward: one agent an identity, lost answers given again, and an end to it."""

import dataclasses
from pathlib import Path

import pytest

from skerry.errors import RefusedError
from skerry.security.certificates import Authority, Trust
from skerry.security.enrolment import EnrolmentRefusal, apply, ask, renew
from skerry.server.enrolment import Desk

from ._enrolment import DAY, HOUR, NOW, Agent, Federation, refused, send

pytestmark = pytest.mark.usefixtures("both_in_full")


def test_the_second_of_two_agents_with_one_identity_cannot_renew(harbour: Federation) -> None:
    agent = Agent.fresh("pi-1")
    member = harbour.enrol(agent)
    harbour.now += 5 * DAY
    renewed = renew(member, agent, harbour.desk, attempt=b"a" * 16, now=harbour.now)
    assert renewed.certificate.serial_number != member.certificate.serial_number
    with refused(EnrolmentRefusal.IDENTITY_IN_USE):
        renew(member, agent, harbour.desk, attempt=b"b" * 16, now=harbour.now)


def test_a_renewal_whose_answer_was_lost_is_answered_again(harbour: Federation) -> None:
    agent = Agent.fresh("pi-1")
    member = harbour.enrol(agent)
    harbour.now += 5 * DAY
    lost = renew(member, agent, harbour.desk, attempt=b"a" * 16, now=harbour.now)
    harbour.now += HOUR
    assert renew(member, agent, harbour.desk, attempt=b"a" * 16, now=harbour.now).certificate == lost.certificate


def test_a_device_may_renew_some_time_after_its_certificate_ended_and_not_for_ever(harbour: Federation) -> None:
    agent = Agent.fresh("pi-1")
    member = harbour.enrol(agent)
    harbour.now += 36 * DAY
    agent.kem = agent.kem.next(harbour.now, 30)
    member = renew(member, agent, harbour.desk, attempt=b"a" * 16, now=harbour.now)
    harbour.now += 38 * DAY
    agent.kem = agent.kem.next(harbour.now, 30)
    with refused(EnrolmentRefusal.EXPIRED):
        renew(member, agent, harbour.desk, attempt=b"b" * 16, now=harbour.now)


def test_sealing_keys_only_go_forward(harbour: Federation) -> None:
    agent = Agent.fresh("pi-1")
    member = harbour.enrol(agent)
    harbour.now += 5 * DAY
    later = dataclasses.replace(agent, kem=agent.kem.next(harbour.now, 14))
    member = renew(member, later, harbour.desk, attempt=b"a" * 16, now=harbour.now)
    assert harbour.recipients().devices.get("pi-1").kem_key == later.epoch.key.public.raw
    with refused(EnrolmentRefusal.OLD_KEY):
        renew(member, agent, harbour.desk, attempt=b"b" * 16, now=harbour.now)


def test_a_device_that_was_approved_before_the_issuing_key_was_made_anew_gets_its_certificate(
    harbour: Federation, tmp_path: Path
) -> None:
    agent = Agent.fresh("pi-1")
    application = apply(harbour.invite(approve=False), agent, harbour.desk, now=NOW)
    assert send(harbour, application, agent) is None
    harbour.office.approve(harbour.office.find("pi-1"), harbour.authority, by="ann", why="known", now=NOW)
    Authority.rotate(tmp_path / "authority", now=NOW)
    again = Authority.open(tmp_path / "authority")
    desk = Desk(harbour.office.registry, again, secret=bytes(32), clock=lambda: NOW)
    member = ask(application, "harbour", agent, desk, now=NOW)
    assert member.issuer == harbour.authority.issuer != again.issuer
    later = renew(member, agent, desk, attempt=bytes(16), now=NOW)
    assert later.issuer == again.issuer
    assert Trust("harbour", (again.root,)).peer(later.certificate, [later.issuer], now=NOW, revoked=None)


def test_a_device_that_asks_after_its_first_certificate_ended_gets_another(harbour: Federation) -> None:
    agent = Agent.fresh("pi-1")
    application = apply(harbour.invite(approve=False), agent, harbour.desk, now=NOW)
    assert send(harbour, application, agent) is None
    harbour.office.approve(harbour.office.find("pi-1"), harbour.authority, by="ann", why="known", now=NOW)
    harbour.now += 8 * DAY  # it was switched off
    member = send(harbour, application, agent)
    assert send(harbour, application, agent).certificate == member.certificate
    renew(member, agent, harbour.desk, attempt=b"a" * 16, now=harbour.now)
    harbour.now += 8 * DAY
    with pytest.raises(RefusedError, check=lambda error: error.reason == "certificate_expired"):  # it has renewed since
        send(harbour, application, agent)
