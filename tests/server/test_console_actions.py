"""Decisions at the console: those of the command line, by operators alone, with author and reason in the log."""

import json
import subprocess

import pytest

from skerry.fsio import write_json
from skerry.runfolder import RunFolder
from skerry.server.console import ConsoleRole
from skerry.server.console.actions import ACTIONS
from skerry.server.federation_log import federation_log
from skerry.server.pausing import paused
from skerry.server.registry import Registry
from tests.sample_run import build

from ._console import console
from ._federation import Agent
from ._gateway import Signing, reason


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    with console(tmp_path_factory.mktemp("actions") / "runs") as found:
        yield found


def _decisions(runs):
    said = [one.body for one in federation_log(runs).entries() if one.kind == "decision"]
    return [(one["what"], one["about"], one["by"], one["reason"]) for one in said]


def _enrol(shown, name: str) -> Signing:
    agent = Agent(name)
    shown.federation.enrol(agent)
    return Signing(name, agent.device_key)


@pytest.mark.parametrize("action", ACTIONS)
def test_a_viewer_and_a_stranger_and_another_page_decide_nothing(shown, action):
    body = {"subject": "heron", "reason": "because", "restore": 1, "fingerprint": "0" * 16}
    with shown.person(ConsoleRole.VIEWER) as viewer, shown.browser() as stranger, shown.person() as operator:
        answer = viewer.post(f"act/{action}", body)
        assert (answer.status_code, reason(answer)) == (403, "wrong_role")
        answer = stranger.post(f"act/{action}", body)
        assert (answer.status_code, reason(answer)) == (401, "not_signed_in")
        answer = operator.post(f"act/{action}", body, origin="https://elsewhere.example")
        assert (answer.status_code, reason(answer)) == (403, "other_origin")
        answer = operator.post(f"act/{action}", body, **{"x-skerry-csrf": viewer.csrf})
        assert (answer.status_code, reason(answer)) == (403, "csrf")


def test_a_device_is_quarantined_heard_and_revoked_and_then_refused_and_the_log_says_by_whom_and_why(shown):
    device = _enrol(shown, "heron")
    assert shown.gateway.get("/v1/repository/none", device).status_code == 404
    with shown.person(who="olga") as operator:
        for action, why in (("quarantine", "stolen"), ("appeal", "found again"), ("revoke", "lost for good")):
            body = {"subject": "heron", "scope": "harbour", "reason": why, "restore": 0.5}
            answer = operator.post(f"act/{action}", body)
            assert (answer.status_code, answer.json()) == (200, {"note": None}), answer.text
            if action == "quarantine":
                found = Registry(shown.runs).find("heron")
                (kept,) = Registry(shown.runs).quarantined(found.scope).values()
                assert (kept.by, kept.why) == ("olga", "stolen")
    assert reason(shown.gateway.get("/v1/repository/none", device)) == "not_authentic"
    assert _decisions(shown.runs)[-3:] == [
        ("quarantine", "heron", "olga", "stolen"),
        ("appeal", "heron", "olga", "found again"),
        ("revoke", "heron", "olga", "lost for good"),
    ]


def test_a_device_that_waits_is_let_in_by_its_fingerprint_and_no_other(shown):
    agent = Agent("tern")
    assert shown.federation.enrol(agent, approve=False) is None
    right = shown.federation.office.find("tern").fingerprint
    with shown.person(who="olga") as operator:
        body = {"subject": "tern", "reason": "read to me on the phone"}
        assert reason(operator.post("act/approve", body)) == "bad_input"
        wrong = operator.post("act/approve", {**body, "fingerprint": "0" * 16})
        assert (wrong.status_code, reason(wrong)) == (409, "wrong_fingerprint")
        assert operator.post("act/approve", {**body, "fingerprint": right[:20].upper()}).status_code == 200
        again = operator.post("act/approve", {**body, "fingerprint": right})
        assert (again.status_code, reason(again)) == (409, "not_pending")
    assert ("approve", "tern", "olga", "read to me on the phone") in _decisions(shown.runs)


@pytest.mark.parametrize(
    ("action", "body", "said"),
    [
        ("revoke", {"subject": "nobody", "reason": "x"}, "bad_input"),
        ("revoke", {"subject": "heron"}, "bad_input"),
        ("revoke", {"subject": "heron", "reason": "  "}, "bad_input"),
        ("revoke", {"subject": ["heron"], "reason": "x"}, "bad_input"),
        ("quarantine", {"subject": "nobody", "reason": "x", "scope": "harbour"}, "bad_input"),
        ("appeal", {"subject": "heron", "reason": "x", "scope": "harbour", "restore": "1"}, "bad_input"),
        ("pause", {"subject": "../runs", "reason": "x"}, "bad_input"),
        ("pause", {"subject": "latest", "reason": "x"}, "bad_input"),
        ("pause", {"subject": "", "reason": "x"}, "bad_input"),
        ("erase", {"subject": "heron", "reason": "x"}, "no_such_place"),
    ],
)
def test_what_makes_no_sense_is_refused_and_decides_nothing(shown, action, body, said):
    before = _decisions(shown.runs)
    with shown.person() as operator:
        answer = operator.post(f"act/{action}", body)
        assert answer.status_code in {400, 404}
        assert reason(answer) == said
    assert _decisions(shown.runs) == before


def test_a_run_is_paused_and_goes_on_by_a_word(shown):
    folder = build(shown.runs, ("rounds=3",), state="running", rounds_done=1)
    with shown.person(who="olga") as operator:
        assert operator.post("act/pause", {"subject": folder.id, "reason": "heat wave"}).status_code == 200
        found = paused(folder)
        assert found is not None
        assert (found.by, found.why) == ("olga", "heat wave")
        assert reason(operator.post("act/pause", {"subject": folder.id, "reason": "again"})) == "paused"
        assert operator.post("act/resume", {"subject": folder.id, "reason": "cool"}).status_code == 200
        assert paused(folder) is None
        assert reason(operator.post("act/resume", {"subject": folder.id, "reason": "again"})) == "not_paused"


def test_where_the_release_keys_are_elsewhere_it_is_said_with_the_command_that_publishes(shown):
    folder = _of_the_fleet(shown)
    with shown.person() as operator:
        answer = operator.post("act/publish", {"subject": folder.id, "reason": "ready"})
    assert (answer.status_code, reason(answer)) == (409, "elsewhere")
    command = json.loads(answer.content)["error"]["command"]
    assert command.startswith(f"skerry release publish {folder.id} --repository ")
    assert command.endswith(" --enrolled")


def _of_the_fleet(shown) -> RunFolder:
    """A complete run that says that it was over the federation's devices."""
    folder = build(shown.runs, ("rounds=3",))
    write_json(folder.path / "status.json", {**folder.status, "engine": "fleet", "federation": "harbour"})
    assert not folder.simulated
    return folder


@pytest.fixture
def release_keys(shown):
    """Lie beside the repository for as long as it takes."""
    keys = shown.runs / "repository.keys"
    keys.mkdir()
    yield
    keys.rmdir()


@pytest.fixture
def commands(monkeypatch):
    """What is run as the command line, which says that it published."""
    ran: list[list[str]] = []

    def run(program, **_):
        ran.append(program)
        return subprocess.CompletedProcess(program, 0, b"{}", b"")

    monkeypatch.setattr("skerry.server.console.actions.subprocess.run", run)
    return ran


@pytest.mark.usefixtures("release_keys")
def test_a_simulation_is_never_published_to_the_fleet(shown, commands):
    folder = build(shown.runs, ("rounds=3",))
    with shown.person() as operator:
        answer = operator.post("act/publish", {"subject": folder.id, "reason": "ready"})
    assert (answer.status_code, reason(answer)) == (409, "simulated")
    assert commands == []


@pytest.mark.usefixtures("release_keys")
def test_a_run_of_the_fleet_is_published_for_who_is_enrolled_and_the_log_says_by_whom_and_why(shown, commands):
    folder = _of_the_fleet(shown)
    with shown.person(who="olga") as operator:
        answer = operator.post("act/publish", {"subject": folder.id, "reason": "two\x07lines"})
        assert (answer.status_code, reason(answer), commands) == (400, "bad_input", [])  # it could not be entered
        answer = operator.post("act/publish", {"subject": folder.id, "reason": "ready"})
        assert (answer.status_code, answer.json()) == (200, {"note": None}), answer.text
    assert [folder.id in command and "--enrolled" in command for command in commands] == [True]
    assert _decisions(shown.runs)[-1] == ("publish", folder.id, "olga", "ready")
