"""What the federation's log says of devices: once each, at once, and no more of whom the registry has forgotten."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from typer.testing import CliRunner

from skerry.cli.app import app as cli
from skerry.errors import RunFailedError
from skerry.records import Action, Reason, Score, Verdict
from skerry.security.transparency.events import Event, EventKind
from skerry.security.transparency.log import Log
from skerry.server.device_statements import enter_devices, erase_forgotten
from skerry.server.federation_home import FederationHome
from skerry.server.federation_log import FOLDER, federation_log
from skerry.server.registry import JudgedRound, Registry
from skerry.server.service import inbox as inbox_file
from skerry.server.service.inbox import Inbox, LastCondition

from ._enrolment import NOW, Agent, Federation


def test_who_was_enrolled_and_revoked_is_entered_once_however_often_one_looks(tmp_path):
    federation = Federation(tmp_path)
    for name in ("heron", "tern"):
        assert federation.enrol(Agent.fresh(name)) is not None
    federation.enrol(Agent.fresh("waiting"), federation.invite(approve=False))
    assert enter_devices(tmp_path, NOW) == 2
    assert enter_devices(tmp_path, NOW) == 0
    federation.office.revoke(federation.office.find("tern"), by="ann", why="lost", now=NOW)
    assert enter_devices(tmp_path, NOW + 1) == 2  # and who decided it
    assert federation.enrol(Agent.fresh("tern")) is not None  # the name again, with other keys
    assert enter_devices(tmp_path, NOW + 2) == 1
    log = federation_log(tmp_path)
    assert _said(tmp_path) == [
        ("enrolment", "heron"), ("enrolment", "tern"), ("revocation", "tern"), ("decision", "tern"),
        ("enrolment", "tern"),
    ]  # fmt: skip
    entries = log.entries()
    assert entries[1].body["key"] == entries[2].body["key"] == entries[3].body["key"] != entries[4].body["key"]
    assert log.prove(2).verify(log.key).size == 5


def _said(runs):
    entries = federation_log(runs).entries()
    return [(one.kind, "erased" if one.erased else one.body.get("device") or one.body["about"]) for one in entries]


def _forget(runs, *command):
    return CliRunner().invoke(cli, [*command, "--yes", "--runs-dir", str(runs)])


def test_a_device_that_was_forgotten_is_named_by_the_log_no_more(tmp_path):
    federation, log = Federation(tmp_path), tmp_path / FOLDER / "log.jsonl"
    for name in ("heron", "tern", "gull"):
        federation.enrol(Agent.fresh(name))
    federation.office.revoke(federation.office.find("heron"), by="ann", why="gone", now=NOW)
    federation.office.revoke(federation.office.find("gull"), by="ann", why="sold with heron", now=NOW)
    enter_devices(tmp_path, NOW)
    before, proof = federation_log(tmp_path).checkpoint(), federation_log(tmp_path).prove(2)
    assert b"heron" in log.read_bytes()
    key = federation_log(tmp_path).entries()[0].body["key"].encode()
    assert _forget(tmp_path, "fleet", "forget", "heron").exit_code == 0
    assert b"heron" not in log.read_bytes()
    for _ in range(2):  # nor later, under the alias and the key that would tell whose it is
        enter_devices(tmp_path, NOW + 1)
        assert key not in log.read_bytes()
        gone = [("enrolment", "erased"), ("revocation", "erased")]
        assert _said(tmp_path) == [
            *gone, ("enrolment", "tern"), ("enrolment", "gull"), ("revocation", "erased"), ("decision", "erased"),
            ("decision", "erased"), ("revocation", "gull"), ("decision", "gull"),
        ]  # fmt: skip
    after = federation_log(tmp_path)
    assert all(after.entries()[number].body["reason"].startswith("sold with forgotten-") for number in (7, 8))
    assert after._tree.root(before.size) == before.root
    assert proof.verify(after.key) == before
    federation.enrol(Agent.fresh("heron"))  # somebody else, or with other keys
    assert enter_devices(tmp_path, NOW + 2) == 1


def test_the_inbox_and_the_reasons_of_decisions_about_runs_forget_too(tmp_path):
    federation, home = Federation(tmp_path), FederationHome(tmp_path)
    for name in ("heron", "tern"):
        federation.enrol(Agent.fresh(name))
    federation.office.revoke(federation.office.find("heron"), by="ann", why="gone", now=NOW)
    for reason in ("heron overheats", "heron-2 overheats"):
        body = {"what": "pause", "about": "run-1", "key": "", "by": "ann", "reason": reason, "decided": NOW}
        federation_log(tmp_path).append([Event(EventKind.DECISION, body)], NOW)
    inbox = Inbox(home.inbox, most=10)
    for name in ("heron", "tern"):
        inbox.keep_download(name, "ab" * 32, now=1)
        inbox.keep_condition(LastCondition(name, 1, 1, 1, 1, 1))
        inbox.keep_receipt(name, "installed", b"x", now=1)
    assert _forget(tmp_path, "fleet", "forget", "heron").exit_code == 0
    assert set(inbox.downloads()) == {one.device for one in inbox.conditions() + inbox.receipts()} == {"tern"}
    assert not [one for one in home.folder.glob("inbox.sqlite*") if b"heron" in one.read_bytes()]
    left = [one.body for one in federation_log(tmp_path).entries() if not one.erased]
    reasons = [body["reason"] for body in left if "reason" in body]
    assert [one for one in reasons if "overheats" in one] == ["heron-2 overheats"]


def test_of_downloads_the_newest_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(inbox_file, "_DOWNLOADS", 3)
    inbox = Inbox(tmp_path / "inbox.sqlite", most=1)
    for number in range(5):
        inbox.keep_download("tern", f"{number}", now=number)
    inbox.keep_download("heron", "0", now=1)
    assert inbox.downloads() == {"tern": {"2", "3", "4"}, "heron": {"0"}}


def test_forgetting_says_when_the_log_still_names_the_device_and_the_next_decision_mends_it(tmp_path):
    federation = Federation(tmp_path)
    for name in ("heron", "tern"):
        federation.enrol(Agent.fresh(name))
    federation.office.revoke(federation.office.find("heron"), by="ann", why="gone", now=NOW)
    enter_devices(tmp_path, NOW)
    entries = tmp_path / FOLDER / "log.jsonl"
    entries.rename(tmp_path / "aside")
    entries.mkdir()
    assert _forget(tmp_path, "fleet", "forget", "heron").exit_code == 1
    with pytest.raises(RunFailedError, match="the federation's log still names it"):
        erase_forgotten(tmp_path, NOW, "heron")
    entries.rmdir()
    (tmp_path / "aside").rename(entries)
    where = ["--reason", "lost", "--runs-dir", str(tmp_path)]
    assert CliRunner().invoke(cli, ["fleet", "revoke", "tern", *where]).exit_code == 0
    assert b"heron" not in entries.read_bytes()


def test_what_the_registry_does_not_know_is_not_taken_out_of_the_log(tmp_path):
    federation = Federation(tmp_path)
    federation.enrol(Agent.fresh("heron"))
    older = (tmp_path / "registry.sqlite").read_bytes()
    federation.enrol(Agent.fresh("tern"))
    federation.office.revoke(federation.office.find("heron"), by="ann", why="lost", now=NOW)
    enter_devices(tmp_path, NOW)
    said = _said(tmp_path)
    for path in tmp_path.glob("registry.sqlite*"):
        path.unlink()
    (tmp_path / "registry.sqlite").write_bytes(older)  # a copy from before both
    assert enter_devices(tmp_path, NOW) == 0
    assert _said(tmp_path) == said


def test_approvals_at_once_enter_a_device_once(tmp_path, monkeypatch):
    federation = Federation(tmp_path)
    federation.enrol(Agent.fresh("heron"))
    append, both = Log.append, threading.Barrier(2)

    def late(*given):
        with suppress(threading.BrokenBarrierError):
            both.wait(0.5)
        return append(*given)

    monkeypatch.setattr(Log, "append", late)
    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(lambda _: enter_devices(tmp_path, NOW), range(2))) == [0, 1]
    assert _said(tmp_path) == [("enrolment", "heron")]


def test_an_operators_decisions_are_entered_at_once(tmp_path):
    federation = Federation(tmp_path)
    federation.enrol(Agent.fresh("heron"))
    where = ["--reason", "lost", "--runs-dir", str(tmp_path)]
    assert CliRunner().invoke(cli, ["fleet", "revoke", "heron", *where]).exit_code == 0
    assert [one.kind for one in federation_log(tmp_path).entries()] == ["enrolment", "revocation", "decision"]
    decision = federation_log(tmp_path).entries()[2].body
    assert (decision["what"], decision["about"], decision["reason"]) == ("revoke", "heron", "lost")


def test_who_quarantined_a_device_and_who_heard_it_is_entered_once_and_the_screens_own_word_is_not(tmp_path):
    federation = Federation(tmp_path)
    federation.enrol(Agent.fresh("heron"))
    registry = Registry(tmp_path)
    found, waited = registry.find("heron"), NOW + 1
    registry.quarantine(found, by="ann", why="stolen", now=waited)
    registry.appeal(found, by="bob", why="found", now=waited + 1, restore=1.0)
    score = Score("norm", 9.0, None, 1.0, "far too long")
    judged = Verdict(1, "heron", Action.QUARANTINE, (Reason.NORM,), (score,))
    registry.record(found.scope, "run", [JudgedRound(1, waited + 2, [judged])])
    for _ in range(2):
        enter_devices(tmp_path, NOW)
        said = [one.body for one in federation_log(tmp_path).entries() if one.kind == "decision"]
        assert [(one["what"], one["by"], one["reason"]) for one in said] == [
            ("quarantine", "ann", "stolen"), ("appeal", "bob", "found")
        ]  # fmt: skip
    assert set(registry.quarantined(found.scope)) == {"heron"}
