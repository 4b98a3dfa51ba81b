"""The registry: what is recorded counts once, and what operators decide is kept."""

import dataclasses
import math
import random
from pathlib import Path

import pytest

from skerry.errors import InputError, RefusedError
from skerry.records import Action, Reason, Verdict
from skerry.server.registry import (
    SCREEN,
    DecisionKind,
    DeviceKind,
    Observation,
    Registry,
    Scope,
    reputation,
)

from ._registry import DAY, FIELD, LAB, NOW, accepted, judged, rejected, rows, silent, standing

pytestmark = pytest.mark.usefixtures("both")


def test_verdicts_become_evidence_and_a_quarantine_a_decision_with_its_cause(registry: Registry) -> None:
    bad, good = standing(registry, "bad"), standing(registry, "good")
    assert (bad.judged, bad.rejected, good.judged, good.rejected) == (3, 3, 4, 0)
    assert bad.reputation.score == pytest.approx(1 / 5)
    assert good.reputation.score == pytest.approx(5 / 6)
    assert good.quarantine is None
    assert (bad.quarantine.by, bad.quarantine.run, bad.quarantine.round) == (SCREEN, "run-1", 3)
    assert bad.quarantine.why == "Nine times too long. Dropped 3 times."  # not that its cosine was in order
    history = registry.history(bad.device)
    assert [one.verdict for one in history.judgements][:2] == [rejected(1, "bad"), rejected(2, "bad")]
    assert registry.history(good.device).judgements == ()  # plain acceptance is counted, its scores are not kept
    assert registry.quarantined(LAB).keys() == {"bad"}


@pytest.mark.parametrize(
    ("reason", "heard"),
    [
        (Reason.NO_REPLY, False),
        (Reason.NOT_AWAITED, False),
        (Reason.NOT_AUTHENTIC, False),
        (Reason.NOT_FOR_US, False),
        (Reason.STALE, False),
        (Reason.REPLAYED, False),
        (Reason.ERROR, False),
        (Reason.REFUSED, True),
    ],
)
def test_what_somebody_else_may_have_caused_is_kept_and_held_against_nobody(
    tmp_path: Path, reason: Reason, heard: bool
) -> None:
    registry = Registry(tmp_path)
    registry.record(LAB, "run-1", [judged(1, silent(1, "far", reason))])
    found = standing(registry, "far")
    assert (found.judged, found.reputation.score) == (0, 0.5)
    assert found.last_seen == (NOW if heard else None)
    assert [one.verdict.reasons for one in registry.history(found.device).judgements] == [(reason,)]


@pytest.mark.parametrize(("action", "reasons", "scale"), [("accept", (), 1.0), ("clip", (Reason.NORM,), 0.2)])
def test_an_update_that_was_used_although_a_score_spoke_against_it_is_shown_and_counts_neither_way(
    tmp_path: Path, action: str, reasons: tuple[Reason, ...], scale: float
) -> None:
    registry = Registry(tmp_path)
    used = Verdict(1, "odd", Action(action), reasons, rejected(1, "odd").scores, scale)
    registry.record(LAB, "run-1", [judged(1, used)])
    found = standing(registry, "odd")
    assert (found.judged, found.last_seen) == (0, NOW)
    assert [one.verdict for one in registry.history(found.device).judgements] == [used]


def test_a_round_recorded_again_counts_once_also_after_an_appeal(registry: Registry) -> None:
    before = {table: rows(registry, table) for table in ("device", "run", "outcome", "decision")}
    bad = registry.find("bad")
    registry.appeal(bad, by="ada", why="a broken sensor, replaced", now=NOW + DAY, restore=1.0)
    for number in range(1, 5):
        again = [rejected(number, "bad", Action.QUARANTINE)] if number < 4 else []
        registry.record(LAB, "run-1", [judged(number, *accepted(number, "good"), *again, day=2)])
    after = {table: rows(registry, table) for table in before}
    assert after == before | {"decision": before["decision"] + 1}
    assert standing(registry, "bad").quarantine is None


def test_scopes_do_not_mix(registry: Registry) -> None:
    other = Scope(DeviceKind.SIMULATED, "digits_devices/digits")
    registry.record(other, "run-2", [judged(1, *accepted(1, "bad"))])
    registry.record(FIELD, "run-3", [judged(1, *accepted(1, "bad"))])
    assert registry.quarantined(LAB).keys() == {"bad"}
    assert registry.quarantined(other) == registry.quarantined(FIELD) == {}
    with pytest.raises(InputError, match="3 devices have the name 'bad'") as error:
        registry.find("bad")
    assert "'digits_devices/digits'" in error.value.mend
    assert registry.find("bad", "harbour").scope == FIELD
    assert [one.reputation.score for one in registry.standings(NOW, 30.0) if one.device.scope != LAB] == [2 / 3] * 2


def test_the_list_tells_of_every_device_what_its_history_adds_up_to(tmp_path: Path) -> None:
    registry, chance, now = Registry(tmp_path), random.Random(3), NOW + 50 * DAY
    names = [f"d{i}" for i in range(6)]
    for number in range(1, 40):
        verdicts = [
            rejected(number, name) if chance.random() < 0.3 else accepted(number, name)[0]
            for name in chance.sample(names, 4)
        ]
        registry.record(LAB, "run-1", [judged(number, *verdicts, day=number)])
    registry.appeal(registry.find("d2"), by="ada", why="well", now=NOW + 20 * DAY, restore=0.3)
    found = registry.standings(now, 11.0)
    assert [one.device.name for one in found] == names
    for one in found:
        events = registry.history(one.device).events
        whole = reputation(events, now, 11.0)
        assert one.reputation.accepted == pytest.approx(whole.accepted)
        assert one.reputation.rejected == pytest.approx(whole.rejected)
        observed = [event for event in events if isinstance(event, Observation)]
        assert (one.judged, one.rejected) == (len(observed), sum(not event.accepted for event in observed))
        alone = registry.standing(one.device, now, 11.0)
        assert alone.reputation.score == pytest.approx(one.reputation.score)  # sums in any order
        assert dataclasses.replace(alone, reputation=one.reputation) == one


def test_an_appeal_lifts_a_quarantine_restores_half_and_leaves_every_row(registry: Registry) -> None:
    bad = registry.find("bad")
    before = rows(registry, "outcome")
    registry.appeal(bad, by="ada", why=" a broken sensor,\n replaced ", now=NOW, restore=0.5)
    found = standing(registry, "bad")
    assert found.quarantine is None
    assert found.rejected == 3
    assert found.reputation.rejected == pytest.approx(1.5)
    assert found.reputation.score == pytest.approx(1 / 3.5)
    assert rows(registry, "outcome") == before
    told = registry.history(bad).decisions
    assert [(one.kind, one.by) for one in told] == [(DecisionKind.QUARANTINE, SCREEN), (DecisionKind.APPEAL, "ada")]
    assert told[1].why == "a broken sensor, replaced"


def test_after_an_appeal_a_new_verdict_puts_it_back(registry: Registry) -> None:
    bad = registry.find("bad")
    registry.appeal(bad, by="ada", why="replaced", now=NOW, restore=1.0)
    registry.record(LAB, "run-2", [judged(1, rejected(1, "bad", Action.QUARANTINE), day=1)])
    assert standing(registry, "bad", day=1).quarantine.run == "run-2"


def test_an_operators_quarantine_stands_until_an_appeal(registry: Registry) -> None:
    good = registry.find("good")
    registry.quarantine(good, by="ada", why="stolen", now=NOW)
    assert registry.quarantined(LAB)["good"].why == "stolen"
    assert standing(registry, "good").reputation.score == pytest.approx(5 / 6)  # a decision is no evidence
    with pytest.raises(RefusedError, match="already, by ada: stolen") as again:
        registry.quarantine(good, by="bob", why="lost", now=NOW)
    assert again.value.reason == "in_quarantine"
    registry.appeal(good, by="ada", why="found", now=NOW, restore=0.5)
    assert "good" not in registry.quarantined(LAB)


def test_decisions_without_ground_are_refused(registry: Registry) -> None:
    good, bad = registry.find("good"), registry.find("bad")
    with pytest.raises(RefusedError, match="nothing is held against good"):
        registry.appeal(good, by="ada", why="kindness", now=NOW, restore=0.5)
    for by, why in (("ada", " \n "), ("", "well"), ("ada", "\x1b[31mwell"), ("a\x07da", "well")):
        with pytest.raises(InputError, match=r"a reason|plain text"):
            registry.appeal(bad, by=by, why=why, now=NOW, restore=0.5)
    with pytest.raises(InputError, match="between 0 and 1"):
        registry.appeal(bad, by="ada", why="well", now=NOW, restore=math.nan)
    assert rows(registry, "decision") == 1


@pytest.mark.parametrize(
    ("name", "told"), [("bda", "did you mean 'bad'?"), ("zzzzzz", "`skerry fleet list`"), ("", "`skerry fleet list`")]
)
def test_an_unknown_device_is_told_with_its_near_matches(registry: Registry, name: str, told: str) -> None:
    with pytest.raises(InputError, match="there is no device") as error:
        registry.find(name)
    assert told in error.value.mend


def test_looking_makes_no_file(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "runs")
    assert registry.standings(NOW, 30.0) == []
    assert registry.quarantined(LAB) == {}
    with pytest.raises(InputError, match="there is no device"):
        registry.find("good")
    assert list(tmp_path.iterdir()) == []
