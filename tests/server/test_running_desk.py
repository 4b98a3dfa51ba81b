"""A desk that runs on: new issuing keys are taken without a restart, and whoever is let in is in the log."""

import os
import threading
import time
from pathlib import Path

import pytest

from skerry.errors import RunFailedError
from skerry.security.certificates import Authority
from skerry.security.enrolment import leave, renew
from skerry.server.device_statements import enter_devices
from skerry.server.enrolment import CurrentAuthority, Desk, LogKeeper
from skerry.server.federation_log import federation_log

from ._enrolment import DAY, NOW, Agent, Federation


@pytest.fixture
def harbour(tmp_path: Path) -> Federation:
    """Its desk was started before anything else happens."""
    made = Federation(tmp_path)
    made.desk = desk(made, CurrentAuthority(tmp_path / "authority"))
    return made


def desk(harbour: Federation, authority, **others) -> Desk:
    return Desk(harbour.office.registry, authority, secret=bytes(32), clock=lambda: harbour.now, **others)


def entered(runs: Path) -> list[str]:
    """The devices that the log names, in their order."""
    if not (runs / "log").exists():
        return []
    return [one.body["device"] for one in federation_log(runs).entries() if one.kind == "enrolment"]


def until(found, patience: int = 7200):
    """What is found within three minutes."""
    for _ in range(patience):
        if (value := found()) is not None:
            return value
        time.sleep(0.025)
    raise AssertionError("it did not come")


def test_a_new_issuing_key_is_taken_by_the_desk_that_runs(harbour: Federation, tmp_path: Path) -> None:
    early = Agent.fresh("early")
    before = harbour.enrol(early)
    made = Authority.rotate(tmp_path / "authority", now=NOW)
    late = harbour.enrol(Agent.fresh("late"))
    assert (before.issuer, late.issuer) == (harbour.authority.issuer, made.issuer)
    assert harbour.desk.authorities().count(b"BEGIN CERTIFICATE") == 3
    harbour.now += 5 * DAY
    renewed = renew(before, early, harbour.desk, attempt=b"a" * 16, now=harbour.now)
    assert renewed.issuer == made.issuer


def test_between_certificate_and_key_the_old_key_goes_on_and_then_the_new_one(harbour, tmp_path: Path) -> None:
    folder = tmp_path / "authority"
    old_key = (folder / "issuer.key").read_bytes()
    made = Authority.rotate(folder, now=NOW)
    new_key = (folder / "issuer.key").read_bytes()
    (folder / "issuer.key").write_bytes(old_key)  # as a rotation leaves it that is half done
    assert harbour.enrol(Agent.fresh("a")).issuer == harbour.authority.issuer
    (folder / "issuer.key").write_bytes(new_key)
    assert harbour.enrol(Agent.fresh("b")).issuer == made.issuer


def test_while_the_files_cannot_be_read_the_desk_goes_on_and_says_so(harbour, tmp_path: Path, caplog) -> None:
    folder = tmp_path / "authority"
    made = Authority.rotate(folder, now=NOW)
    (folder / "issuer.key").chmod(0o640)
    assert harbour.enrol(Agent.fresh("a")).issuer == harbour.authority.issuer
    assert "read again later" in caplog.text
    (folder / "issuer.key").chmod(0o600)
    assert harbour.enrol(Agent.fresh("b")).issuer == made.issuer


def test_a_server_that_reads_the_authority_while_keys_are_made_ends_with_the_newest(tmp_path: Path) -> None:
    folder = tmp_path / "authority"
    Authority.create(folder, "harbour", now=NOW)
    current, over, seen = CurrentAuthority(folder), threading.Event(), []

    def serve() -> None:
        while not over.is_set():
            authority = current()
            seen.append(authority.issuer.public_key() == authority.key.public_key())

    thread = threading.Thread(target=serve)
    thread.start()
    for _ in range(5):
        newest = Authority.rotate(folder, now=NOW)
    over.set()
    thread.join()
    assert current().issuer == newest.issuer
    assert all(seen)


def test_an_invitation_that_lets_in_by_itself_is_entered_without_anybody_deciding(harbour, tmp_path: Path) -> None:
    with LogKeeper(lambda: enter_devices(tmp_path, NOW)) as log:
        harbour.desk = desk(harbour, harbour.authority, changed=log.due)
        harbour.enrol(Agent.fresh("waits"), harbour.invite(approve=False))
        for number, name in enumerate(("pi-1", "pi-2"), 1):
            harbour.enrol(Agent.fresh(name))
            said = until(lambda number=number: entered(tmp_path) if len(entered(tmp_path)) == number else None)
    assert said == ["pi-1", "pi-2"]


def test_who_waits_is_no_reason_to_write_the_log(harbour: Federation) -> None:
    called = []
    harbour.desk = desk(harbour, harbour.authority, changed=lambda: called.append(1))
    harbour.enrol(Agent.fresh("waits"), harbour.invite(approve=False))
    assert called == []


def test_a_device_that_left_is_revoked_in_the_log_and_saying_so_again_is_no_reason_to_write_it(
    harbour: Federation, tmp_path: Path
) -> None:
    called, agent = [], Agent.fresh("pi-1")
    member = harbour.enrol(agent)
    harbour.desk = desk(harbour, harbour.authority, changed=lambda: called.append(enter_devices(tmp_path, NOW)))
    for _ in range(3):
        leave(member, agent, harbour.desk, now=NOW)
    assert called == [2]  # an enrolment and a revocation
    newest = federation_log(tmp_path).entries()[-1]
    assert (newest.kind, newest.body["device"], newest.body["reason"]) == ("revocation", "pi-1", "it left")


def test_what_comes_while_it_is_being_entered_is_entered_too() -> None:
    began, go_on, entered = threading.Event(), threading.Event(), []

    def enter() -> None:
        began.set()
        assert go_on.wait(180)
        entered.append(1)

    with LogKeeper(enter) as log:
        assert began.wait(180)  # what was due when it began
        log.due()
        go_on.set()
    assert len(entered) >= 2


def test_a_log_that_cannot_be_written_stops_no_enrolment_and_is_brought_up_later(harbour, tmp_path, caplog) -> None:
    broken = [RunFailedError("no log today"), OSError("the disk is away")]

    def enter() -> None:
        if broken:
            raise broken.pop()
        enter_devices(tmp_path, NOW)

    with LogKeeper(enter) as log:
        harbour.desk = desk(harbour, harbour.authority, changed=log.due)
        assert harbour.enrol(Agent.fresh("pi-1"))
        while broken:
            log.due()
            os.sched_yield()
    assert "no log today" in caplog.text
    assert entered(tmp_path) == ["pi-1"]
