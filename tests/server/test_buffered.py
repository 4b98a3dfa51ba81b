"""A buffered federation end to end: who works when, what enters which step, what is spent, what the ledgers prove."""

import time
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from skerry.clock import system_clock
from skerry.config import default_scenario
from skerry.errors import InputError, InterruptedRunError, RefusedError, ScenarioError
from skerry.records import Reason
from skerry.runfolder import RunFolder
from skerry.security.privacy.stream import seeded_stream
from skerry.security.privacy.verification import read_ledger
from skerry.server.central import CentralNoise, run_event
from skerry.server.checkpoint import load_checkpoint
from skerry.server.collect import Replies
from skerry.server.engines.inprocess_grid import InProcessGrid
from skerry.server.fleet_rules import devices_needed
from skerry.server.launch import launch, resume
from skerry.server.ledgers import POPULATION, Ledgers
from skerry.server.proof import check_price, verify_run
from skerry.server.releases import Releases, Schema, schema_of
from skerry.server.virtual_arrivals import VirtualArrivals
from skerry.strategies.buffered import Turns
from tests.server.test_device_level import DEVICE, federate, ledgers

BUFFERED = ('cohort.mode="buffered"', "cohort.buffer=4", "cohort.concurrency=8", "defence.tolerate=1", "rounds=8")
TURNS = (
    *DEVICE,
    'privacy.mechanism="matrix_factorization"',
    "privacy.min_separation=3",
    "privacy.denominator=3",
    'cohort.mode="buffered"',
    "cohort.buffer=3",
    "cohort.concurrency=9",
    "rounds=12",
)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return federate(tmp_path_factory.mktemp("plain"), *BUFFERED)


@pytest.fixture(scope="module")
def turns(tmp_path_factory):
    return federate(tmp_path_factory.mktemp("turns"), *TURNS)


def entries(federation, kind):
    found = Ledgers.of(federation.folder).entries[POPULATION]
    names = {entry.seq: entry.body["device"] for entry in found if entry.kind == "member"}
    return names, [entry.body for entry in found if entry.kind == kind]


def test_devices_work_at_their_own_pace_and_late_answers_count(plain) -> None:
    federation, records, _ = plain
    assert len(records) == 8
    assert all(len(record.extra["staleness"]) <= 4 for record in records)
    assert max(age for record in records for age in record.extra["staleness"].values()) >= 1
    assert all(record.extra["under_way"] <= 8 for record in records)
    times = [record.extra["virtual_s"] for record in records]
    assert times == sorted(times)
    assert times[-1] > times[0] > 0
    assert records[-1].accuracy > 0.93 > records[0].extra.get("base", 0.86)
    names, opened = entries(federation, "round_open")
    working = set()
    for body, record in zip(opened, records, strict=True):
        began = {names[member] for member in body["cohort"]}
        assert not began & working  # nobody is asked who has not answered
        working |= began
        assert len(working) <= 8
        working -= set(record.extra["staleness"]) | {d for d, why in record.dropped.items() if why == "no_reply"}


def test_what_a_device_spends_is_what_it_was_asked(plain) -> None:
    federation, records, _ = plain
    names, opened = entries(federation, "round_open")
    asked = [names[member] for body in opened for member in body["cohort"]]
    accounts = ledgers(federation)
    for device, account in accounts.items():
        silent = sum(record.dropped.get(device) == "no_reply" for record in records)
        entered = sum(device in record.extra["staleness"] for record in records)
        assert entered <= account.debits <= asked.count(device) - silent  # one that is under way at the end has debited
    assert max(account.spending.epsilon(1e-5) for account in accounts.values()) <= records[-1].epsilon_max <= 8


def test_the_ledgers_prove_a_stale_update(plain) -> None:
    federation, _, _ = plain
    _, released = entries(federation, "release")
    assert any("asked" in body for body in released)
    assert verify_run(federation.folder, remembered={}, pld=False).holds


def test_the_same_seed_gives_the_same_vector_and_another_time_another(plain, tmp_path) -> None:
    federation, records, _ = plain
    again, same, _ = federate(tmp_path / "again", *BUFFERED)
    assert load_checkpoint(again.folder).vector.tobytes() == load_checkpoint(federation.folder).vector.tobytes()
    _, other, _ = federate(tmp_path / "other", *BUFFERED, "cohort.staleness=3")
    assert [r.extra["staleness"] for r in same] == [r.extra["staleness"] for r in other]  # times depend on no content
    assert other[-1].vector_digest != records[-1].vector_digest == same[-1].vector_digest


def test_a_slow_host_changes_nothing(plain, tmp_path, monkeypatch) -> None:
    """Each answer takes an hour of wall-clock time, six times the deadline, and comes at the same virtual instant."""
    _, quick, _ = plain
    late = [0.0]

    def slowly(grid, message, deadline):
        late[0] += 3600.0 * message.metadata.message_type.startswith("train")
        monkeypatch.setattr(grid, "_clock", lambda: time.time() + late[0])
        return answer(grid, message, deadline)

    def now() -> int:
        return system_clock() + round(1000 * late[0])

    answer = InProcessGrid.answer
    monkeypatch.setattr(InProcessGrid, "answer", slowly)
    monkeypatch.setattr("skerry.device.app.system_clock", now)
    monkeypatch.setattr("tests.server.test_device_level.system_clock", now)
    _, records, _ = federate(tmp_path, *BUFFERED)
    assert late[0] > 3600.0 * 8
    assert [record.vector_digest for record in records] == [record.vector_digest for record in quick]


@pytest.mark.slow
def test_a_hostile_device_is_met_by_the_rule(tmp_path) -> None:
    hostile = ('attack.kind="scaling"', "attack.devices=2", "attack.scale=50.0", 'defence.screen=["finite", "shape"]')
    some = (*BUFFERED, *hostile, "cohort.buffer=6", "defence.tolerate=2")
    _, robust, _ = federate(tmp_path / "robust", *some)
    _, mean, _ = federate(tmp_path / "mean", *some, 'defence.aggregator="mean"')
    assert robust[-1].accuracy > 0.9 > mean[-1].accuracy


def test_whole_devices_enter_steps_as_far_apart_as_the_noise_counts_on(turns) -> None:
    federation, records, said = turns
    whole = run_event(federation.scenario, federation.plan.noise_multiplier)
    population = read_ledger(federation.folder.path / "ledger" / "population.jsonl")
    assert population.spending.events() == [whole]
    assert 0.99 * 8 < records[-1].epsilon_max <= 8
    assert said["epsilon_rdp"] == records[-1].epsilon_max
    assert any("when devices answer" in sentence for sentence in said["assumptions"])
    assert "at most one of any 3 steps" in said["sampling"]
    entered: dict[str, list[int]] = {}
    for record in records:
        for device in record.extra["staleness"]:
            entered.setdefault(device, []).append(record.round)
    assert all(b - a >= 3 for steps in entered.values() for a, b in pairwise(steps))
    assert max(len(steps) for steps in entered.values()) <= 4  # twelve steps, three apart
    assert max(age for record in records for age in record.extra["staleness"].values()) >= 1
    assert all(not record.extra["refusals"] for record in records)  # devices' own ledgers agree
    for account in ledgers(federation).values():
        assert account.problems == []
        assert account.spending.events() in ([], [whole])
    assert verify_run(federation.folder, remembered={}, pld=False).holds


def test_a_coordinator_that_counts_from_the_question_is_found_out(tmp_path, monkeypatch) -> None:
    """A late answer then enters a step that is too near to the device's next one, and the ledger tells."""
    monkeypatch.setattr(Turns, "enter", lambda self, device, _: self.end(device))
    federation, _, _ = federate(tmp_path, *TURNS)
    found = verify_run(federation.folder, remembered={}, pld=False).failures
    assert found
    assert all("fewer than 3 rounds after earlier ones" in failure.what for failure in found)
    scenario = federation.folder.path / "scenario.toml"
    told = scenario.read_text()
    assert "min_separation = 3" in told
    scenario.write_text(told.replace("min_separation = 3", "min_separation = 1"))  # anybody can edit that
    assert verify_run(RunFolder(federation.folder.path), remembered={}, pld=False).failures == found


def test_how_far_apart_steps_are_is_what_every_writer_says(turns) -> None:
    """Every round, every debit and the result: none of them can be changed alone."""
    federation, _, said = turns
    entries = Ledgers.of(federation.folder).entries[POPULATION]
    assert said["min_separation"] == 3
    opened = [entry.body for entry in entries if entry.kind == "round_open"]
    assert {(body["mechanism"]["rounds"], body["mechanism"]["separation"]) for body in opened} == {(12, 3)}
    promised = {schema_of(body).promise for body in opened}
    debits = [entry for name, some in Ledgers.of(federation.folder).entries.items() for entry in some
              if name != POPULATION and entry.kind == "debit"]  # fmt: skip
    assert {entry.body["promise"] for entry in debits} == promised == {"12 rounds, 3 apart"}


def test_a_debit_is_at_the_price_and_for_the_promise_of_its_round(turns) -> None:
    """Each alone: another price, another promise, a later one that nothing paid for."""
    federation, _, _ = turns
    found = Ledgers.of(federation.folder).entries
    opened = next(entry for entry in found[POPULATION] if entry.kind == "round_open")
    of_devices = [[e for e in some if e.kind == "debit"] for name, some in found.items() if name != POPULATION]
    debits = max(of_devices, key=len)
    assert len(debits) >= 2
    check_price(debits[:1], opened)
    check_price(debits, opened)
    first, last = debits[0], debits[-1]
    for wrong in ("12 rounds, 2 apart", "24 rounds, 3 apart", None):
        with pytest.raises(RefusedError, match=f"for {wrong}, the round was opened for 12 rounds, 3 apart"):
            check_price([replace(first, body=first.body | {"promise": wrong})], opened)
    cheaper = first.body["event"] | {"noise_multiplier": 2 * first.body["event"]["noise_multiplier"]}
    with pytest.raises(RefusedError, match="is not the price"):
        check_price([replace(first, body=first.body | {"event": cheaper})], opened)
    for bought in ([], [replace(first, body=first.body | {"promise": "12 rounds, 4 apart"})]):
        with pytest.raises(RefusedError, match="is not the price"):
            check_price([*bought, last], opened)


def test_what_devices_send_moves_nobody_else_under_device_level_privacy(tmp_path) -> None:
    """The schedule is the same when a device sends malformed updates, and is in quarantine by then."""
    some = (*DEVICE, 'cohort.mode="buffered"', "cohort.buffer=5", "cohort.concurrency=9", "privacy.denominator=5")
    some += ("rounds=12", 'attack.kind="nan"')
    honest, one, _ = federate(tmp_path / "honest", *some)
    broken, two, _ = federate(tmp_path / "broken", *some, "attack.devices=1")
    assert [r.extra["staleness"] for r in one] == [r.extra["staleness"] for r in two]
    assert entries(honest, "round_open")[1] != []
    assert [body["cohort"] for body in entries(honest, "round_open")[1]] == [
        body["cohort"] for body in entries(broken, "round_open")[1]
    ]
    assert broken.screener.quarantined


def test_a_stale_row_is_clipped_before_it_is_weighed() -> None:
    """Were it scaled first, it would be clipped less, and weigh what it should not."""
    scenario = default_scenario([*DEVICE, "privacy.denominator=1", 'cohort.mode="buffered"', "cohort.buffer=2",
                                 "cohort.concurrency=3", "privacy.epsilon=1e6"])  # fmt: skip
    central = CentralNoise(scenario, 1e-3, 50)
    rows = np.zeros((2, 50), np.float32)
    rows[0, 0], rows[1, 1] = 100.0, 0.5
    made = central.release(rows, seeded_stream(0, "noise"), np.array([0.25, 0.5], np.float32)).step
    assert made[:2] == pytest.approx([0.25, 0.25], abs=0.02)  # the clip is 1
    for wrong in (1.01, -0.1, float("nan")):
        with pytest.raises(InputError, match="between 0 and 1"):
            central.release(rows, seeded_stream(0, "noise"), np.array([wrong, 1.0], np.float32))


def test_a_silent_device_gives_up_its_place_and_a_slow_one_is_late() -> None:
    devices = {f"d{number}": 50 for number in range(40)}
    arrivals = VirtualArrivals(devices, gflop=50.0, epochs=1, timeout_s=600, seed=0)
    able = arrivals.draw(sorted(devices), 10**6, 1)
    assert 0 < len(able) < 40  # some are too slow, or are interrupted
    arrivals.hold(3, Replies(dict.fromkeys(able, b"answer")))
    came = [held.arrival for held in arrivals.held()]
    assert came == [arrivals.next(None, None) for _ in came]
    assert arrivals.working == 0
    assert {one.device for one in came if one.envelope is not None} == able
    assert {one.reason.value for one in came if one.device not in able} == {"no_reply"}
    assert arrivals.now <= 600
    assert [one.device for one in came] != sorted(devices)


def test_a_simulated_device_that_refuses_holds_its_place_until_the_deadline() -> None:
    arrivals = VirtualArrivals({"quick": 50, "poor": 50}, gflop=0.6, epochs=1, timeout_s=600, seed=0)
    assert arrivals.draw(("poor", "quick"), 10**6, 1) == {"poor", "quick"}
    arrivals.hold(1, Replies({"poor": b"refusal", "quick": b"answer"}, arrived={"poor": 1, "quick": 2}), {"poor"})
    first, second = arrivals.next(None, None), arrivals.next(None, None)
    assert (first.device, first.reason) == ("quick", None)
    assert (second.device, second.reason, second.envelope) == ("poor", Reason.REFUSED, b"refusal")
    assert arrivals.now == 600


def test_a_release_is_made_of_updates_that_are_there_once_and_far_enough_apart() -> None:
    given = {(1, "7"), (1, "8"), (2, "7"), (4, "7")}
    releases = Releases(Schema(9, 3, correlated=True))
    assert releases.fault({"round": 2, "accepted": [7, 8], "asked": {"7": 1, "8": 1}}, given) is None
    assert "without a receipt" in releases.fault({"round": 9, "accepted": [8]}, given)
    assert "an earlier one holds" in releases.fault({"round": 6, "accepted": [7], "asked": {"7": 1}}, given)
    assert "3 rounds after" in releases.fault({"round": 8, "accepted": [7], "asked": {"7": 2}}, given)
    for twice in ([7, 7], [7, "7"]):
        assert "more than once (members [7])" in Releases().fault({"round": 4, "accepted": twice}, given)
    assert "without a receipt" in Releases().fault({"round": 1, "accepted": [7], "asked": {"7": 2}}, given)


def test_rounds_of_one_run_are_opened_for_the_same() -> None:
    def opened(number: int, rounds: int, separation: int) -> dict:
        mechanism = {"name": "matrix_factorization", "rounds": rounds, "separation": separation}
        return {"round": number, "unit": "device", "mechanism": mechanism}

    releases = Releases()
    assert releases.opening_fault(opened(1, 12, 3)) is None
    assert releases.separation == 3
    for other in (opened(2, 12, 1), opened(2, 24, 3)):
        assert "another separation than the first" in releases.opening_fault(other)
    with pytest.raises(KeyError):
        releases.opening_fault({"round": 2, "unit": "device", "mechanism": {"name": "discrete_gaussian"}})
    with pytest.raises(InputError):
        releases.opening_fault(opened(2, 12, "3"))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["cohort.buffer=4"], 'belong to cohort.mode = "buffered"'),
        (["cohort.staleness=1"], 'cohort.staleness belongs to cohort.mode = "buffered"'),
        (["cohort.max_staleness=3"], 'cohort.max_staleness belongs to cohort.mode = "buffered"'),
        (['cohort.mode="buffered"', "cohort.buffer=4"], "needs cohort.buffer and cohort.concurrency"),
        (['cohort.mode="buffered"', "cohort.buffer=4", "cohort.concurrency=3"], "never fill a buffer of 4"),
        ([*BUFFERED, 'cohort.sampling="fixed"', "cohort.size=3"], "whoever is free"),
        ([*BUFFERED, 'defence.screen=["root_set"]'], "leave root_set out"),
        ([*BUFFERED, "audit.canaries=10"], "audit.canaries = 0"),
        ([*BUFFERED, 'training.schedule="cosine"'], "several learning rates"),
        ([*BUFFERED, *DEVICE, "privacy.clip_quantile=0.5"], "leave privacy.clip_quantile out"),
        ([*BUFFERED, *DEVICE, 'defence.aggregator="median"'], "a robust rule lets one"),
    ],
)
def test_what_cannot_go_together_is_refused(settings: list[str], said: str) -> None:
    with pytest.raises(ScenarioError, match=said):
        default_scenario(settings)


def test_a_buffer_that_no_fleet_fills_is_refused_before_anything_runs(tmp_path) -> None:
    with pytest.raises(ScenarioError, match=r"cohort\.buffer is 12, but the task has 11 devices"):
        federate(tmp_path, *BUFFERED, "cohort.buffer=12", "cohort.concurrency=12")
    with pytest.raises(ScenarioError, match="needs at least 5 updates"):
        federate(tmp_path, *BUFFERED, "defence.tolerate=2")
    assert devices_needed(default_scenario([*BUFFERED, "attack.devices=0", "cohort.buffer=7"])) == 7


def test_ctrl_c_keeps_what_is_finished_and_the_run_goes_on(plain, tmp_path, monkeypatch) -> None:
    asked = []

    def interrupted(self, federation, plan, journal):
        asked.append(plan.number)
        if len(asked) == 3:
            raise KeyboardInterrupt
        begin(self, federation, plan, journal)

    begin = VirtualArrivals.begin
    monkeypatch.setattr(VirtualArrivals, "begin", interrupted)
    with pytest.raises(InterruptedRunError) as stopped:
        launch(default_scenario([*BUFFERED, "report.references=false"]), engine="inprocess", parent=tmp_path)
    assert "run --resume" in stopped.value.mend
    folder = RunFolder.open("latest", tmp_path)
    assert folder.state == "interrupted"
    assert [record.round for record in folder.rounds()] == [1, 2]
    assert verify_run(folder, remembered={}, pld=False).holds
    resume(folder.id, parent=tmp_path)
    whole = load_checkpoint(plain[0].folder).vector
    assert load_checkpoint(folder).vector.tobytes() == whole.tobytes()
    assert [record.extra["staleness"] for record in folder.rounds()] == [r.extra["staleness"] for r in plain[1]]
    assert verify_run(folder, remembered={}, pld=False).holds
    assert not (folder.path / "round").exists()
