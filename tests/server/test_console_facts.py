"""What the console says of devices, of who is at work, and of what needs looking at, is what the files say."""

from threading import Event
from time import sleep

import pytest

from skerry.clock import system_clock
from skerry.device.service import device_pb2 as pb
from skerry.errors import RegistryError
from skerry.records import Action, Reason, Score, Verdict
from skerry.server.console import Overview
from skerry.server.federation_home import FederationHome
from skerry.server.journal import Answer, Asked, RoundJournal
from skerry.server.pausing import Pause, go_on, pause, wait_while_paused
from skerry.server.registry import JudgedRound, Registry
from skerry.server.registry.file import FileWatch, RegistryFile
from skerry.server.service.inbox import Inbox, LastCondition
from tests.sample_run import build

from ._federation import Agent, Federation


def _states(overview: Overview) -> dict[str, tuple[str, str | None]]:
    facts = overview.look()
    return {one["name"]: (one["state"], one["why"]) for key, one in facts.items() if key.startswith("device/")}


@pytest.mark.parametrize(
    ("activity", "state"),
    [
        (pb.ACTIVITY_IDLE, "idle"),
        (pb.ACTIVITY_TRAINING, "training"),
        (pb.ACTIVITY_TOO_HOT, "hot"),
        (pb.ACTIVITY_PAUSED_BY_OWNER, "resting"),
        (pb.ACTIVITY_WAITING_FOR_POWER, "resting"),
        (pb.ACTIVITY_WAITING_FOR_NETWORK, "resting"),
    ],
)
def test_a_device_is_what_it_told_while_that_is_fresh(tmp_path, activity, state):
    federation = Federation(tmp_path)
    federation.enrol(Agent("heron"))
    inbox, now = Inbox(FederationHome(tmp_path).inbox, most=10), [system_clock()]
    overview = Overview(tmp_path, lambda: now[0])
    assert _states(overview)["heron"] == ("idle", None)
    inbox.keep_condition(LastCondition("heron", now[0], activity, pb.LEVEL_HALF, pb.LEVEL_PLENTY, pb.LEVEL_LITTLE))
    assert _states(overview)["heron"][0] == state
    now[0] += 2 * 3_600_000
    assert _states(overview)["heron"] == ("idle", None)
    federation.devices.close()


def test_the_gravest_word_holds(tmp_path):
    federation, now = Federation(tmp_path), system_clock()
    for name in ("heron", "tern"):
        federation.enrol(Agent(name))
    assert federation.enrol(Agent("gull"), approve=False) is None
    inbox = Inbox(FederationHome(tmp_path).inbox, most=10)
    for name in ("heron", "tern"):
        inbox.keep_condition(LastCondition(name, now, pb.ACTIVITY_TOO_HOT, 1, 1, 1))
    registry, overview = Registry(tmp_path), Overview(tmp_path, system_clock)
    registry.quarantine(registry.find("tern"), by="ann", why="stolen", now=now)
    found = _states(overview)
    assert found == {
        "heron": ("hot", "it told that it is too hot to work"),
        "tern": ("quarantined", "by ann: stolen"),
        "gull": ("pending", None),
    }
    federation.revoke("tern")
    assert _states(overview)["tern"] == ("revoked", "by ann: lost")
    assert "gull waits to be let in" in {one["what"] for one in _alerts(overview)}
    federation.devices.close()


def test_facts_of_two_devices_of_one_name_say_whose_they_are(tmp_path):
    federation = Federation(tmp_path)
    folder = build(tmp_path, ("rounds=3",), state="running", rounds_done=2)
    overview = Overview(tmp_path, system_clock)
    name = next(one["device"] for key, one in overview.look().items() if key.startswith("verdict/"))
    federation.enrol(Agent(name))
    facts = overview.look()
    whose = [(one["simulated"], one["scope"]) for one in facts.values() if one.get("device") == name and "run" in one
             and one["run"] == folder.id and "level" not in one]  # fmt: skip
    devices = {one["simulated"]: one["scope"] for one in facts.values() if one.get("name") == name}
    assert len(whose) > 1
    assert set(whose) == {(True, devices[True])}
    assert devices == {True: "digits/digits", False: "harbour"}
    federation.devices.close()


def test_a_registry_that_is_away_is_waited_for_once_and_everything_else_goes_on(tmp_path, monkeypatch):
    federation = Federation(tmp_path)
    federation.enrol(Agent("heron"))
    folder = build(tmp_path, ("rounds=3",), state="running", rounds_done=1)
    overview = Overview(tmp_path, system_clock)
    assert "heron" in _states(overview)
    asked, go_on = [], Event()

    def away(_):
        asked.append(True)
        assert go_on.wait(180)
        raise RegistryError("the database is away")

    monkeypatch.setattr("skerry.server.console.device_facts._PATIENCE_S", 0.01)
    with monkeypatch.context() as patch:
        patch.setattr(FileWatch, "changed", away)
        for _ in range(5):
            facts = overview.look()
            assert f"run/{folder.id}" in facts
            assert "does not answer" in facts["alert/unreadable/the registry"]["what"]
        assert len(asked) == 1
        go_on.set()
        _until(lambda: "database is away" in overview.look()["alert/unreadable/the registry"]["what"])
    _until(lambda: "heron" in _states(overview))
    federation.devices.close()


def test_while_it_is_there_a_registry_is_not_connected_to_at_each_look(tmp_path, monkeypatch):
    federation = Federation(tmp_path)
    federation.enrol(Agent("heron"))
    overview, asked = Overview(tmp_path, system_clock), []
    assert "heron" in _states(overview)
    monkeypatch.setattr(RegistryFile, "exists", lambda _: asked.append(True) or True)
    for _ in range(3):
        assert "heron" in _states(overview)
    assert asked == []
    federation.devices.close()


def _until(holds) -> None:
    for _ in range(9000):
        if holds():
            return
        sleep(0.02)
    raise AssertionError("it never holds")


def test_who_was_asked_is_at_work_until_the_answer_is_there(tmp_path):
    folder = build(tmp_path, ("rounds=3",), state="running", rounds_done=1)
    overview = Overview(tmp_path, system_clock)
    everybody = set(_states(overview))
    assert len(everybody) > 8
    journal = RoundJournal(folder.path)
    journal.begin(2, {name: Asked(b"d" * 32, b"n" * 16, 100) for name in sorted(everybody)[:3]})
    first, second, third = sorted(everybody)[:3]
    journal.open(2, {})
    assert {name for name, (state, _) in _states(overview).items() if state == "training"} == {first, second, third}
    journal.add(2, second, Answer(b"an answer" * 1000, system_clock()))
    assert {name for name, (state, _) in _states(overview).items() if state == "training"} == {first, third}
    run = overview.look()[f"run/{folder.id}"]
    assert (run["asked"], run["answered"]) == (3, 1)
    journal.drop()
    assert all(state != "training" for state, _ in _states(overview).values())


def test_attacks_failures_and_budgets_are_alerts_while_they_last(tmp_path):
    build(tmp_path, ("rounds=3",), state="failed", rounds_done=2)
    overview = Overview(tmp_path, system_clock)
    said = {one["what"]: one["level"] for one in _alerts(overview)}
    assert said["the run failed: the disk is full"] == "alarm"
    found = Federation(tmp_path)
    found.enrol(Agent("heron"))
    registry = Registry(tmp_path)
    device = registry.find("heron")
    score = Score("norm", 9.0, None, 1.0, "nine times as long as allowed")
    registry.record(device.scope, "elsewhere", [
        JudgedRound(1, system_clock(), [Verdict(1, "heron", Action.QUARANTINE, (Reason.NORM,), (score,))])
    ])  # fmt: skip
    assert _states(overview)["heron"] == ("quarantined", "by screen: nine times as long as allowed")
    found.devices.close()


def _alerts(overview: Overview) -> list[dict]:
    return [one for key, one in overview.look().items() if key.startswith("alert/")]


def test_a_paused_run_waits_and_says_so_and_goes_on(tmp_path):
    folder = build(tmp_path, ("rounds=3",), state="running", rounds_done=1)
    waited: list[str] = []

    def sleep(_: float) -> None:
        waited.append(folder.status["stage"])
        if len(waited) == 3:
            go_on(folder)

    wait_while_paused(folder, sleep=sleep)
    assert waited == []
    before = folder.status["stage"]
    pause(folder, Pause("ann", "heat wave", 1))
    assert Overview(tmp_path, system_clock).look()[f"run/{folder.id}"]["paused"]["why"] == "heat wave"
    wait_while_paused(folder, sleep=sleep)
    assert waited == ["paused"] * 3
    assert folder.status["stage"] == before
