"""The device's place in its federation is kept up, without asking a desk more than it can bear."""

import time
from contextlib import nullcontext
from pathlib import Path

import pytest

from skerry.device.agent.bell import Bell
from skerry.device.agent.standing import Standing, over_https
from skerry.device.membership import Folder
from skerry.errors import InputError, RunFailedError
from skerry.security.enrolment import EnrolmentRefusedError
from skerry.security.identity import PassphraseLock, SealedKeyStore
from tests.server._enrolment import DAY, Federation

MINUTE = 60_000


class Asked:
    """A desk that counts how often it is asked to renew."""

    def __init__(self, federation: Federation) -> None:
        self.federation, self.times, self.silent = federation, 0, False

    def renew(self, request: bytes) -> bytes:
        self.times += 1
        if self.silent:
            raise RunFailedError("nobody answers")
        return self.federation.desk.renew(request)


@pytest.fixture
def federation(tmp_path: Path) -> Federation:
    return Federation(tmp_path)


@pytest.fixture
def desk(federation: Federation) -> Asked:
    return Asked(federation)


@pytest.fixture
def standing(federation: Federation, desk: Asked, tmp_path: Path) -> Standing:
    folder = Folder(tmp_path / "pi")
    store = SealedKeyStore.create(folder.keys, "pi-1", PassphraseLock(b"long enough"), now=federation.now)
    folder.apply(federation.invite(), store, federation.desk, now=federation.now)
    return Standing(folder, store, lambda: federation.now, lambda: nullcontext(desk))


def test_a_certificate_is_renewed_when_it_is_due_and_not_before(
    standing: Standing, federation: Federation, desk: Asked
):
    assert not standing.keep_up()
    before = standing.member.certificate
    federation.now = standing.member.renew_at
    assert standing.keep_up()
    assert standing.member.certificate.not_valid_after_utc > before.not_valid_after_utc
    assert not standing.keep_up()
    assert desk.times == 1


def test_a_desk_that_does_not_answer_is_asked_once_a_minute(standing: Standing, federation: Federation, desk: Asked):
    federation.now, desk.silent = standing.member.renew_at, True
    with pytest.raises(RunFailedError):
        standing.keep_up()
    federation.now += MINUTE - 1
    assert not standing.keep_up()
    federation.now += 1
    desk.silent = False
    assert standing.keep_up()
    assert desk.times == 2


def test_doubt_renews_at_once_but_a_forger_cannot_make_a_device_ask_all_the_time(
    standing: Standing, federation: Federation, desk: Asked
):
    assert standing.keep_up(doubtful=True)
    for _ in range(100):
        federation.now += 1000
        standing.keep_up(doubtful=True)
    assert desk.times == 1
    federation.now += 10 * MINUTE
    assert standing.keep_up(doubtful=True)


def test_a_revoked_device_hears_why(standing: Standing, federation: Federation):
    federation.office.revoke(federation.office.find("pi-1"), by="ann", why="lost", now=federation.now + 1)
    federation.now += DAY
    with pytest.raises(EnrolmentRefusedError) as refused:
        standing.keep_up(doubtful=True)
    assert refused.value.reason == "revoked"


def test_a_device_that_is_not_enrolled_has_no_standing(tmp_path: Path):
    folder = Folder(tmp_path)
    store = SealedKeyStore.create(folder.keys, "pi-1", PassphraseLock(b"long enough"), now=0)
    with pytest.raises(InputError, match="not enrolled"):
        Standing(folder, store, lambda: 0, nullcontext)


def test_who_has_to_enrol_again_is_told_to_do_it_where_the_ledger_is(tmp_path: Path):
    """A new folder would begin a new ledger for the same data."""
    (tmp_path / "membership.json").write_text("torn")
    with pytest.raises(InputError) as unreadable:
        Folder(tmp_path).membership()
    with pytest.raises(InputError) as nowhere:
        over_https(None, lambda _: False)
    for error in (unreadable, nowhere):
        assert "`skerry device forget`, then enrol again in this folder" in str(error.value.mend)


def test_a_busy_desk_is_given_its_time_although_the_agent_is_nudged_meanwhile(
    federation: Federation, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("skerry.device.agent.standing.HttpsEnrolment", lambda _, sleep: sleep(0.05))
    with Bell() as bell:
        line = over_https(federation.invite(address="https://127.0.0.1:1"), bell.wait)
        bell.nudge()
        began = time.monotonic()
        line()
        assert time.monotonic() - began >= 0.05
        assert bell.nudged()
