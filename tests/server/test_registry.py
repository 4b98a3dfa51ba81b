"""The registry: only grows, is whole whatever happens, counts a round once, and says clearly when it cannot be used."""

import math
import multiprocessing
import os
import random
import shutil
import signal
import sqlite3
import time
from pathlib import Path

import pytest

from skerry.errors import InputError, RefusedError, RegistryError
from skerry.records import Action, Reason, Score, Verdict
from skerry.server.registry import (
    SCREEN,
    Appeal,
    DecisionKind,
    DeviceKind,
    JudgedRound,
    Observation,
    Registry,
    Reputation,
    Scope,
    reputation,
    trace,
)

DAY = 86_400_000
NOW = 1_764_000_000_000
LAB = Scope(DeviceKind.SIMULATED, "digits/digits")
FIELD = Scope(DeviceKind.REAL, "harbour")


def accepted(number: int, *names: str) -> list[Verdict]:
    return [Verdict(number, name, Action.ACCEPT, (), (Score("norm", 1.0, 0.5, 2.0, "Usual."),)) for name in names]


def rejected(number: int, name: str, action: Action = Action.DROP, reason: Reason = Reason.NORM) -> Verdict:
    scores = (Score("norm", 9.0, 0.5, 2.0, "Nine times too long."), Score("cosine", 0.9, 0.1, None, "Points along."))
    last = (Score("strikes", 3.0, None, 3.0, "Dropped 3 times."),) if action is Action.QUARANTINE else ()
    return Verdict(number, name, action, (reason,), scores + last, propose_revocation=bool(last))


def silent(number: int, name: str, reason: Reason) -> Verdict:
    return Verdict(number, name, Action.DROP, (reason,))


def judged(number: int, *verdicts: Verdict, day: float = 0.0) -> JudgedRound:
    return JudgedRound(number, NOW + round(day * DAY), verdicts)


def standing(registry: Registry, name: str, *, day: float = 0.0, half_life: float = 30.0):
    return registry.standing(registry.find(name), NOW + round(day * DAY), half_life)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = Registry(tmp_path_factory.mktemp("built"))
    for number in range(1, 5):
        action = Action.QUARANTINE if number == 3 else Action.DROP
        last = [rejected(number, "bad", action)] if number < 4 else []
        made.record(LAB, "run-1", [judged(number, *accepted(number, "good"), *last)])
    return made.path


@pytest.fixture
def registry(built: Path, tmp_path: Path) -> Registry:
    """Four rounds: ``bad`` is rejected in three, in the last of them for good; ``good`` is accepted in all."""
    shutil.copy(built, tmp_path)
    return Registry(tmp_path)


def rows(registry: Registry, table: str) -> int:
    with sqlite3.connect(registry.path) as base:
        return base.execute(f"select count(*) from {table}").fetchone()[0]


# Reputation


@pytest.mark.parametrize("half_life", [1.0, 30.0, 365.0])
def test_evidence_counts_half_after_each_half_life(half_life: float) -> None:
    events = [Observation(0, accepted=True), Observation(0, accepted=False), Observation(0, accepted=False)]
    for lives in (0, 1, 2, 7.5):
        found = reputation(events, round(lives * half_life * DAY), half_life)
        assert found.accepted == pytest.approx(0.5**lives)
        assert found.rejected == pytest.approx(2 * 0.5**lives)
        assert found.score == pytest.approx((0.5**lives + 1) / (3 * 0.5**lives + 2))


def test_the_reputation_is_the_sum_of_faded_observations_whatever_their_order() -> None:
    chance = random.Random(7)
    events = [Observation(chance.randrange(400 * DAY), chance.random() < 0.6) for _ in range(200)]
    now = 400 * DAY
    found = reputation(events, now, 50.0)
    for kind, value in ((True, found.accepted), (False, found.rejected)):
        ages = [(now - event.at) / DAY for event in events if event.accepted is kind]
        assert value == pytest.approx(math.fsum(2 ** (-age / 50.0) for age in ages))
    assert reputation(events[::-1], now, 50.0) == found
    assert 0 < found.score < 1


def test_nothing_known_is_one_half_and_so_is_what_was_forgotten() -> None:
    assert reputation([], NOW, 30.0) == Reputation(0.0, 0.0)
    assert Reputation().score == 0.5
    past = [Observation(0, accepted=False)] * 50
    assert reputation(past, 0, 30.0).score < 0.02
    assert reputation(past, 3000 * DAY, 30.0).score == pytest.approx(0.5)


def test_an_appeal_takes_back_its_share_of_what_was_held_before_it_and_nothing_of_what_comes_after() -> None:
    past = [Observation(0, accepted=False)] * 4 + [Observation(0, accepted=True)]
    half = reputation([*past, Appeal(DAY, 0.5)], DAY, 1e9)
    assert (half.accepted, half.rejected) == (pytest.approx(1), pytest.approx(2))
    whole = reputation([*past, Appeal(DAY, 1.0), Observation(2 * DAY, accepted=False)], 2 * DAY, 1e9)
    assert (whole.accepted, whole.rejected) == (pytest.approx(1), pytest.approx(1))


def test_a_clock_that_goes_backwards_makes_no_evidence_heavier() -> None:
    events = [Observation(10 * DAY, accepted=False), Observation(5 * DAY, accepted=True)]
    assert [round(one.rejected, 6) for _, one in trace(events, 30.0)] == [0.0, 1.0]
    assert reputation(events, 0, 30.0).rejected == 1.0


def test_a_half_life_that_is_none_is_refused() -> None:
    for days in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(InputError, match="half-life"):
            reputation([Observation(0, accepted=True)], 0, days)


# What is recorded


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
        assert registry.standing(one.device, now, 11.0) == one


# What operators decide


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


# The file


@pytest.mark.parametrize("table", ["device", "run", "outcome", "decision"])
@pytest.mark.parametrize("change", ["update {} set rowid = rowid", "delete from {}"])
def test_no_row_can_be_changed_or_deleted(registry: Registry, table: str, change: str) -> None:
    before = rows(registry, table)
    change = change.replace("rowid = rowid", "round = 9") if table == "outcome" else change
    with sqlite3.connect(registry.path) as base, pytest.raises(sqlite3.IntegrityError, match="only grows"):
        base.execute(change.format(table))
    assert rows(registry, table) == before > 0


@pytest.mark.parametrize(
    ("table", "column", "absent"),
    [
        ("device", "first_seen", ""),
        ("device", "first_seen", "id"),
        ("run", "at", ""),
        ("run", "at", "id"),
        ("outcome", "action", ""),
        ("decision", "why", ""),
        ("decision", "why", "id"),
    ],
)
def test_a_row_that_would_replace_another_leaves_it_as_it_is(
    registry: Registry, table: str, column: str, absent: str
) -> None:
    """SQLite deletes for REPLACE without asking triggers. A key that is ``absent`` makes room for a unique one."""
    with sqlite3.connect(registry.path) as base:
        names = [one[1] for one in base.execute(f"pragma table_info({table})") if one[1] != absent]
        before = base.execute(f"select * from {table}").fetchall()
        chosen = ", ".join("7" if name == column else name for name in names)
        base.execute(f"insert or replace into {table} ({', '.join(names)}) select {chosen} from {table}")
        assert base.execute(f"select * from {table}").fetchall() == before
        assert before


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda path: path.write_bytes(b"not a database at all, but long enough to be looked at" * 40), "damaged"),
        (lambda path: path.write_bytes(path.read_bytes()[:4096] + b"\xff" * 40_000), "damaged"),
        (lambda path: path.write_bytes(b""), "not a registry"),
        (lambda path: _sql(path, "pragma user_version = 7"), r"newer skerry \(schema 7; this one knows 1\)"),
        (lambda path: _sql(path, "pragma application_id = 7"), "not a registry"),
    ],
)
def test_a_registry_that_cannot_be_used_says_so_and_is_left_as_it_is(registry: Registry, spoil, said: str) -> None:
    spoil(registry.path)
    before = registry.path.read_bytes()
    for use in (
        lambda: registry.find("bad"),
        lambda: registry.standings(NOW, 30.0),
        lambda: registry.quarantined(LAB),
        lambda: registry.record(LAB, "run-9", [judged(1, *accepted(1, "good"))]),
    ):
        with pytest.raises(RegistryError, match=said) as error:
            use()
        assert error.value.where == str(registry.path)
        assert error.value.mend
    assert registry.path.read_bytes() == before


def _sql(path: Path, text: str) -> None:
    with sqlite3.connect(path) as base:
        base.execute(text)
    base.close()


def test_a_word_that_this_version_does_not_know_is_told(registry: Registry) -> None:
    with sqlite3.connect(registry.path) as base:
        base.execute("insert into outcome values (1, 1, 99, 0, 'drop', '[\"telepathy\"]', '[]', 1.0, false)")
    with pytest.raises(RegistryError, match="telepathy"):
        registry.history(registry.find("good") if registry.find("good").id == 1 else registry.find("bad"))


def test_a_failure_within_a_transaction_leaves_nothing_of_it(registry: Registry) -> None:
    before = [rows(registry, table) for table in ("device", "run", "outcome", "decision")]
    unfit = Verdict(2, "new", Action.DROP, (Reason.NORM,), (Score("norm", math.nan, None, None, "No number."),))
    with pytest.raises(ValueError, match="JSON"):
        registry.record(LAB, "run-9", [judged(1, *accepted(1, "new")), judged(2, unfit)])
    assert [rows(registry, table) for table in ("device", "run", "outcome", "decision")] == before


def _write(folder: Path, run: str, go, rounds: int) -> None:
    registry = Registry(folder)
    go.wait()
    for number in range(1, rounds + 1):
        registry.record(LAB, run, [judged(number, *accepted(number, *(f"d{i}" for i in range(8))))])


def test_processes_that_write_at_once_from_the_very_beginning_lose_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    go = context.Event()
    writers = [context.Process(target=_write, args=(tmp_path, f"run-{i}", go, 25)) for i in range(2)]
    for writer in writers:
        writer.start()
    go.set()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    registry = Registry(tmp_path)
    assert (rows(registry, "device"), rows(registry, "outcome")) == (8, 2 * 25 * 8)
    assert [one.judged for one in registry.standings(NOW, 30.0)] == [50] * 8
    assert not list(tmp_path.glob(".registry*"))


def test_killed_in_the_middle_every_round_is_whole_or_absent_and_what_was_acknowledged_is_there(
    tmp_path: Path,
) -> None:
    names = [f"d{i:03d}" for i in range(60)]
    chance = random.Random(12)
    acknowledged: list[tuple[str, int]] = []
    for kill in range(8):
        out, into = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                registry = Registry(tmp_path)
                for number in range(1, 10_000):
                    verdicts = [rejected(number, name, Action.QUARANTINE) for name in names]
                    registry.record(LAB, f"run-{kill}", [judged(number, *verdicts)])
                    os.write(into, number.to_bytes(4, "big"))
            finally:
                os._exit(1)
        os.close(into)
        first = os.read(out, 4)
        time.sleep(chance.uniform(0, 0.03))
        os.kill(child, signal.SIGKILL)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        told = first
        while more := os.read(out, 4096):
            told += more
        os.close(out)
        acknowledged += [(f"run-{kill}", int.from_bytes(told[i : i + 4], "big")) for i in range(0, len(told), 4)]
        with sqlite3.connect(tmp_path / "registry.sqlite") as base:
            assert base.execute("pragma integrity_check").fetchone() == ("ok",)
            counts = base.execute(
                "select r.name, o.round, count(*),"
                " (select count(*) from decision d where d.run = o.run and d.round = o.round)"
                " from outcome o join run r on r.id = o.run group by o.run, o.round"
            ).fetchall()
        base.close()
        assert {(outcomes, decisions) for _, _, outcomes, decisions in counts} == {(60, 60)}
        found = {(run, number) for run, number, *_ in counts}
        assert set(acknowledged) <= found
        assert len(found) <= len(acknowledged) + kill + 1
