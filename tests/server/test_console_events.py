"""What is shown at the console comes as it happens, in order, once; and who was cut off misses nothing."""

import shutil

import pytest

from skerry.clock import system_clock
from skerry.fsio import append_durably
from skerry.server.console import ConsoleRole
from skerry.server.console.feed import Feed
from skerry.server.console.sessions import IDLE_S
from skerry.server.registry import Registry
from tests.sample_run import build

from ._console import console
from ._federation import Agent


@pytest.fixture
def shown(tmp_path):
    with console(tmp_path / "runs") as found:
        yield found


def _until(events, wanted, *, most=50):
    """The first event for which something holds; what was put until then, as one."""
    facts = {}
    for _, event in zip(range(most), events, strict=False):
        assert event["event"] in {"all", "change"}
        facts |= event["data"]["put"]
        for key in event["data"]["drop"]:
            facts.pop(key, None)
        if wanted(event["data"], facts):
            return event, facts
    raise AssertionError(sorted(facts))


def test_a_viewer_sees_a_run_its_rounds_its_verdicts_and_what_each_device_spent(shown):
    folder = build(shown.runs, ("rounds=3",), state="running", rounds_done=2)
    with shown.person(ConsoleRole.VIEWER) as somebody, somebody.events() as events:
        first = next(events)
    assert first["event"] == "all"
    facts = first["data"]["put"]
    run = facts[f"run/{folder.id}"]
    said = {name: run[name] for name in ("state", "done", "rounds", "unit", "relation", "scope", "simulated")}
    assert said == {
        "state": "running", "done": 2, "rounds": 3, "unit": "example", "relation": "add/remove",
        "scope": "digits/digits", "simulated": True,
    }  # fmt: skip
    records = folder.rounds()
    for one in records:
        fact = facts[f"round/{folder.id}/{one.round}"]
        assert (fact["accuracy"], fact["epsilon_max"]) == (one.accuracy, one.epsilon_max)
        assert (fact["accepted"], fact["flagged"]) == (len(one.accepted), list(one.flagged))
    assert run["epsilon"] == records[-1].epsilon_max
    assert (run["delta"], run["budget"]) == (folder.scenario.privacy.delta, folder.scenario.privacy.epsilon)
    verdicts = [fact for key, fact in facts.items() if key.startswith("verdict/")]
    assert {one["device"] for one in verdicts} >= set(records[0].flagged) != set()
    assert all(score["sentence"] for one in verdicts for score in one["scores"])
    spent = [fact for key, fact in facts.items() if key.startswith("budget/")]
    assert {one["device"] for one in spent} == {path.stem for path in (folder.path / "ledger" / "devices").iterdir()}
    assert max(one["epsilon"] for one in spent) == pytest.approx(records[-1].epsilon_max, rel=1e-6)


def test_a_round_and_a_quarantine_come_as_changes_of_nothing_else(shown):
    shown.federation.enrol(Agent("heron"))
    folder = build(shown.runs, ("rounds=4",), state="running", rounds_done=2)
    whole = build(shown.runs.parent / "other", ("rounds=4",), state="running", rounds_done=3)
    with shown.person() as somebody, somebody.events() as events:
        next(events)
        append_durably(folder.path / "rounds.jsonl", (whole.path / "rounds.jsonl").read_bytes().split(b"\n")[2] + b"\n")
        event, _ = _until(events, lambda data, _: f"round/{folder.id}/3" in data["put"])
        assert {key.partition("/")[0] for key in event["data"]["put"]} <= {"run", "round", "alert"}
        registry = Registry(shown.runs)
        registry.quarantine(registry.find("heron"), by="ann", why="stolen", now=system_clock())
        event, _ = _until(events, lambda data, _: any(key.endswith("/heron") for key in data["put"]))
        (device,) = event["data"]["put"].values()
        assert (device["state"], device["why"]) == ("quarantined", "by ann: stolen")
        shown.federation.revoke("heron")
        event, _ = _until(events, lambda data, _: any(key.endswith("/heron") for key in data["put"]))
        (device,) = event["data"]["put"].values()
        assert device["state"] == "revoked"


def test_who_was_cut_off_gets_what_came_after_and_nothing_twice(shown):
    shown.federation.enrol(Agent("heron"))
    with shown.person() as somebody:
        with somebody.events() as events:
            first = next(events)
        shown.federation.enrol(Agent("tern"))
        with somebody.events() as events:  # another page of theirs keeps the feed going
            whole, _ = _until(events, lambda _, facts: any(key.endswith("/tern") for key in facts))
        with somebody.events(last=first["id"]) as events:
            event = next(events)
        assert event["event"] == "change"
        assert not any(key.endswith("/heron") for key in event["data"]["put"])
        assert any(key.endswith("/tern") for key in event["data"]["put"])
        with somebody.events(last=whole["id"]) as events:
            shown.federation.enrol(Agent("gull"))
            _, facts = _until(events, lambda data, _: any(key.endswith("/gull") for key in data["put"]))
        assert not any(key.endswith(("/tern", "/heron")) for key in facts)


@pytest.mark.parametrize("last", ["", "nonsense", "0123456789abcdef-1", "-1", "x" * 1000])
def test_who_names_no_event_of_this_feed_gets_everything(shown, last):
    with shown.person() as somebody, somebody.events(last=last) as events:
        assert next(events)["event"] == "all"


def test_a_run_that_is_taken_away_is_dropped(shown):
    folder = build(shown.runs, ("rounds=3",), state="running", rounds_done=1)
    with shown.person() as somebody, somebody.events() as events:
        assert f"run/{folder.id}" in next(events)["data"]["put"]
        shutil.rmtree(folder.path)
        _until(events, lambda data, _: f"run/{folder.id}" in data["drop"])


def test_the_stream_ends_with_the_session(shown):
    with shown.person() as somebody, somebody.events() as events:
        next(events)
        shown.time.s += IDLE_S
        shown.federation.enrol(Agent("heron"))  # news, so that nobody waits for the next sign of life
        assert [event["event"] for event in events][-1] == "over"


def test_a_page_that_is_open_keeps_its_session_and_no_longer_than_half_a_day(shown):
    with shown.person() as somebody, somebody.events() as events:
        next(events)
        for number in range(13):
            shown.time.s += 0.9 * IDLE_S
            shown.federation.enrol(Agent(f"tern-{number}"))
            assert next(events)["event"] == "change"
        shown.time.s += 0.9 * IDLE_S
        shown.federation.enrol(Agent("heron"))
        assert [event["event"] for event in events][-1] == "over"


def test_one_session_has_a_few_streams_and_no_more(shown):
    with shown.person() as somebody:
        held = [somebody.events() for _ in range(4)]
        streams = [one.__enter__() for one in held]
        assert [next(stream)["event"] for stream in streams] == ["all"] * 4
        answer = somebody.get("events")
        assert (answer.status_code, answer.json()["error"]["reason"]) == (503, "busy")
        for one in held:
            one.__exit__(None, None, None)


def test_what_cannot_be_read_is_told_and_hides_nothing_else(shown):
    damaged = build(shown.runs, ("rounds=3", "name=damaged"), state="running", rounds_done=1)
    (damaged.path / "verdicts.jsonl").write_bytes(b"{nonsense}\n")
    good = build(shown.runs, ("rounds=3",), state="running", rounds_done=1)
    with shown.person() as somebody, somebody.events() as events:
        facts = next(events)["data"]["put"]
    (build(shown.runs, ("rounds=3", "name=stranger")).path / "scenario.toml").write_text("nonsense")
    with shown.person() as somebody, somebody.events() as events:
        _, facts = _until(events, lambda _, facts: any("stranger" in key for key in facts))
    assert facts[f"round/{good.id}/1"]["round"] == 1
    assert "cannot be read" in facts[f"alert/unreadable/run {damaged.id}"]["what"]


def test_a_feed_that_forgot_says_everything_again():
    feed = Feed()
    for number in range(600):
        feed.update({"a": {"n": number}}, number)
    assert feed.after(600) == []
    assert [event.number for event in feed.after(597)] == [598, 599, 600]
    assert feed.after(0) is None
    assert feed.after(601) is None
    number = feed.number
    feed.update({"a": {"n": 599}}, 601)
    assert feed.number == number


def test_a_folder_of_which_nothing_can_be_read_ends_nobodys_stream(shown):
    (shown.runs / "registry.sqlite").write_bytes(b"no database" * 1000)
    with shown.person() as somebody, somebody.events() as events:
        facts = next(events)["data"]["put"]
    assert "cannot be read" in facts["alert/unreadable/the registry"]["what"]
