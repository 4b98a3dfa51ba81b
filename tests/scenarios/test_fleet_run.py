"""A run over enrolled devices: who takes part, who does not, and what is known of them afterwards."""

import itertools
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import pytest
from typer.testing import CliRunner

from skerry.cli import app
from skerry.clock import system_clock
from skerry.config import Scenario, to_toml
from skerry.device.care import Unattended, Undertaking
from skerry.device.protocol import CONDITIONS_LAPSED
from skerry.device.worker import process_worker
from skerry.errors import DiskFullError, RefusedError, RunFailedError, ScenarioError
from skerry.records import Action, Reason, Verdict
from skerry.result import load_result
from skerry.runfolder import RunFolder, list_runs
from skerry.security.aead import Cipher
from skerry.security.delivery import verify
from skerry.security.locking import exclusive
from skerry.server import collect, mailbox
from skerry.server.engines import fleet as engine
from skerry.server.engines import flwr_grid
from skerry.server.federation_home import FederationHome
from skerry.server.journal import Answer, RoundJournal
from skerry.server.launch import launch, resume
from skerry.server.proof import verify_run
from skerry.server.registry import DeviceKind, JudgedRound, Registry, Scope
from skerry.server.remaining import Remaining, remaining_before

from ._enrolled import POLL_S, Up, honest_rounds, up

pytestmark = [pytest.mark.engine]

NAMES = ("writer-00", "writer-01", "writer-02")


def scenario(*overrides: str) -> Scenario:
    return honest_rounds("cohort.deadline_s=180", "cohort.patience_s=180", *overrides)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """The processor of the last device has no instructions for AES."""
    aes, other = Cipher.AES_256_GCM, Cipher.CHACHA20_POLY1305
    with up(tmp_path_factory.mktemp("runs")) as found:
        for name in NAMES:
            opens = (other, aes) if name == NAMES[-1] else (aes, other)
            with mock.patch("skerry.security.enrolment.applicant.ciphers_here", lambda opens=opens: opens):
                found.enrol(name, scenario())
        yield found


@pytest.fixture(autouse=True)
def all_well(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whatever a test made of the devices, the next one finds them on and honest."""
    yield
    if "fleet" in request.fixturenames:
        for device in request.getfixturevalue("fleet").devices.values():
            device.off()
            device.trained = lambda send: send()
            device.on()


def told(folder: RunFolder) -> list[tuple[tuple[str, ...], dict[str, str]]]:
    """Who was accepted and who was dropped, round by round."""
    return [(record.accepted, dict(record.dropped)) for record in folder.rounds()]


def skerry(*words: object) -> dict:
    return json.loads(CliRunner().invoke(app, [*map(str, words), "--json"], catch_exceptions=False).stdout)


@pytest.fixture
def asked_again_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is silent is asked again after three seconds, although the deadline is far."""
    monkeypatch.setattr(collect, "_AGAIN", 1 / 60)


def the_deadline_comes_with_answer(
    number: int, monkeypatch: pytest.MonkeyPatch, *, applies: Callable[[], bool]
) -> None:
    """A round in which this applies is over when so many devices have answered, however slow the machine is."""
    real, late = collect.exchange, [0.0]

    def exchange(*arguments, **more):
        for count, answer in enumerate(real(*arguments, **more), 1):
            yield answer
            late[0] += 1e6 if count == number and applies() else 0.0

    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + late[0], sleep=time.sleep)
    monkeypatch.setattr(mailbox, "time", clock)
    monkeypatch.setattr(collect, "exchange", exchange)


@pytest.fixture(scope="module")
def complete(fleet: Up) -> RunFolder:
    """The first run of these devices."""
    return launch(scenario(), engine="fleet", parent=fleet.runs)


def test_enrolled_devices_train_without_a_seed_and_their_data_stay_with_them(fleet: Up, complete: RunFolder):
    folder, result = complete, load_result(complete.path)
    assert (result.run.state, result.run.engine, result.run.simulated) == ("complete", "fleet", False)
    assert [record.accepted for record in folder.rounds()] == [NAMES, NAMES]
    assert result.delivery is not None
    assert result.delivery.recipients == len(NAMES)
    released = verify(folder.path / "release", publisher=FederationHome(fleet.runs).coordinator().public)
    assert released.manifest.cipher is Cipher.CHACHA20_POLY1305  # which suits all of them
    assert not list((folder.path / "ledger" / "devices").glob("*"))
    assert sorted(p.name for p in (folder.path / "fleet").iterdir()) == [
        "coordinator.public.json", "devices.public.json",
    ]  # fmt: skip
    assert {quality.role for quality in result.quality.devices.values()} == {"held_out"}
    assert (result.defence.attack, result.defence.false_quarantines) == ("unknown", None)
    for name in NAMES:
        with fleet.devices[name].ledger() as ledger:
            claim = result.privacy.devices.per_device[name]
            assert claim.epsilon_rdp == pytest.approx(ledger.epsilon())  # nothing else was asked of it before
            assert claim.rounds == 2
            assert claim.head == ledger.last_debit().hash
    page = (folder.path / "report.html").read_text("utf-8")
    assert "What is not known" in page
    assert "simulated" not in page
    assert skerry("privacy", "verify", folder.path)["ok"] is True
    shown = skerry("privacy", "show", folder.path)
    assert {device: one["receipts"] for device, one in shown["asked"].items()} == dict.fromkeys(NAMES, 2)


def test_a_claim_that_the_ledger_does_not_hold_is_found(complete: RunFolder):
    path = complete.path / "result.json"
    before = path.read_text()
    said = json.loads(before)
    said["privacy"]["devices"]["per_device"]["writer-00"]["epsilon_rdp"] /= 2
    path.write_text(json.dumps(said))
    proof = verify_run(complete, remembered={}, pld=False)
    path.write_text(before)
    assert any("writer-00" in failure.what for failure in proof.failures)


def test_one_that_is_away_is_not_waited_for_and_joins_when_it_comes(fleet: Up):
    late, early = fleet.devices["writer-02"], fleet.devices["writer-00"]
    late.off()
    before = len(late.said)

    def wake(send: Callable[[], None]) -> None:
        if not late.is_on:
            late.on()
            while len(late.said) == before:
                time.sleep(POLL_S)
        send()

    early.trained = wake
    folder = launch(scenario("rounds=3", "cohort.at_least=2", "cohort.patience_s=6"), engine="fleet", parent=fleet.runs)
    rounds = told(folder)
    assert rounds[0] == (NAMES[:2], {})
    assert rounds[-1] == (NAMES, {})
    assert any("writer-02" in notice for notice in folder.notices)
    assert load_result(folder.path).privacy.devices.per_device["writer-02"].rounds == sum(
        "writer-02" in accepted for accepted, _ in rounds
    )


def test_too_few_devices_are_named(fleet: Up):
    fleet.devices["writer-02"].off()
    with pytest.raises(RunFailedError, match="writer-02"):
        launch(scenario("cohort.at_least=3", "cohort.patience_s=1"), engine="fleet", parent=fleet.runs)
    before = set(fleet.runs.iterdir())
    with pytest.raises(RefusedError) as refused:
        launch(scenario("cohort.at_least=9"), engine="fleet", parent=fleet.runs)
    assert refused.value.reason == "too_few_enrolled"
    assert set(fleet.runs.iterdir()) == before  # told before anything was made


@pytest.mark.usefixtures("asked_again_soon")
def test_a_device_that_died_with_its_instruction_is_asked_again_and_debits_once(fleet: Up):
    dying, deaths = fleet.devices["writer-01"], []

    def die_once(send: Callable[[], None]) -> None:
        if deaths:
            send()
        deaths.append(1)

    dying.trained = die_once
    folder = launch(scenario("rounds=1"), engine="fleet", parent=fleet.runs)
    assert told(folder) == [(NAMES, {})]
    assert len(deaths) >= 2
    with dying.ledger() as ledger:
        assert len(list(ledger.debited(folder.id))) == 1


def test_announced_and_never_uploaded_or_sent_twice_or_no_reply_costs_nobody_else_anything(
    fleet: Up, monkeypatch: pytest.MonkeyPatch
):
    stalling, senseless, twice = (fleet.devices[name] for name in NAMES)
    kept: list[RunFolder] = []

    def in_the_first_round(instead: Callable[[], object]) -> Callable[[Callable[[], None]], object]:
        return lambda send: send() if kept[0].rounds() else instead()

    def repeat(send: Callable[[], None]) -> None:
        send()
        send()

    stalling.trained = in_the_first_round(lambda: stalling.announce(stalling.reply))
    senseless.trained = in_the_first_round(lambda: senseless.send_records_for(senseless.reply))
    twice.trained = repeat
    the_deadline_comes_with_answer(2, monkeypatch, applies=lambda: not kept[0].rounds())
    folder = launch(scenario(), engine="fleet", parent=fleet.runs, on_folder=kept.append)
    dropped = {"writer-00": Reason.NO_REPLY, "writer-01": Reason.ERROR}
    assert told(folder) == [(NAMES[2:], dropped), (NAMES, {})]


class LapsesOnce(Unattended):
    """Whichever device is asked first may not work then; and when it is asked again it may."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)  # devices are threads
        self.asked: list[int] = []

    def admit(self, work: Undertaking) -> None:
        number = next(self._numbers)
        self.asked.append(number)
        if number == 1:
            raise RefusedError(CONDITIONS_LAPSED, "it is hot")


def test_one_that_may_not_work_holds_nobody(fleet: Up, monkeypatch: pytest.MonkeyPatch):
    care = LapsesOnce()
    monkeypatch.setattr(process_worker(), "care", care)
    given = scenario("rounds=1", "cohort.deadline_s=450", "cohort.at_least=2")
    ((accepted, dropped),) = told(launch(given, engine="fleet", parent=fleet.runs))
    assert (len(accepted), list(dropped.values())) == (2, [Reason.REFUSED])
    assert len(care.asked) == len(NAMES)  # the round was over before anybody would have been asked again


@pytest.mark.usefixtures("asked_again_soon")
def test_one_that_may_not_work_is_asked_again_when_the_others_are_too_few(fleet: Up, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(process_worker(), "care", LapsesOnce())
    folder = launch(scenario("rounds=1", "cohort.at_least=3"), engine="fleet", parent=fleet.runs)
    assert told(folder) == [(NAMES, {})]
    for name in NAMES:
        with fleet.devices[name].ledger() as ledger:
            assert len(list(ledger.debited(folder.id))) == 1


def test_a_device_in_quarantine_is_not_asked(fleet: Up):
    scope = Scope(DeviceKind.REAL, "fleet")
    caught = Verdict(1, "writer-01", Action.QUARANTINE, (Reason.NORM,))
    Registry(fleet.runs).record(scope, "earlier", [JudgedRound(1, system_clock(), [caught])])
    folder = launch(scenario("rounds=1", "defence.remember=true"), engine="fleet", parent=fleet.runs)
    assert told(folder) == [(("writer-00", "writer-02"), {})]
    assert load_result(folder.path).defence.excluded == ("writer-01",)
    registry = Registry(fleet.runs)
    registry.appeal(registry.find("writer-01"), by="ann", why="a test", now=system_clock(), restore=1.0)


def test_devices_are_chosen_by_tag_and_one_that_loses_its_tag_is_asked_no_more(fleet: Up):
    office, losing = fleet.server.office, fleet.devices["writer-02"]

    def call(name: str, *tags: str) -> None:
        office.tag(office.find(name), tags, by="ann", now=system_clock())

    def lose(send: Callable[[], None]) -> None:
        call("writer-02")
        send()

    call("writer-00", "garden")
    call("writer-02", "attic", "garden")
    losing.trained = lose
    folder = launch(scenario("cohort.tags=['garden']"), engine="fleet", parent=fleet.runs)
    assert told(folder) == [(("writer-00", "writer-02"), {}), (("writer-00",), {})]
    assert folder.status["state"] == "complete"
    with pytest.raises(RefusedError, match="called nowhere or cellar") as refused:
        launch(scenario("cohort.tags=['nowhere', 'cellar']"), engine="fleet", parent=fleet.runs)
    assert refused.value.reason == "too_few_enrolled"
    call("writer-00")


def test_devices_are_chosen_by_a_condition_on_tags_and_on_what_this_run_and_others_asked_of_them(fleet: Up):
    def left() -> dict[str, float]:
        before = remaining_before(fleet.runs, Scope(DeviceKind.REAL, "fleet"), Remaining(1000.0, 1e-5))
        return {name: before.left(name) for name in NAMES}

    office = fleet.server.office
    for name in ("writer-00", "writer-02"):
        office.tag(office.find(name), ["site=north"], by="ann", now=system_clock())
    at_first = left()
    where = "tag('site') == 'north' and trust >= 0 and (rounds_asked < 1 or name == 'writer-00')"
    folder = launch(scenario(f"cohort.where={where}"), engine="fleet", parent=fleet.runs)
    assert told(folder) == [(("writer-00", "writer-02"), {}), (("writer-00",), {})]
    took_part = load_result(folder.path).participation
    assert {name: one.counted for name, one in took_part.devices.items()} == {
        "writer-00": 2,
        "writer-01": 0,
        "writer-02": 1,
    }
    assert took_part.devices["writer-01"].why == "tag('site') == 'north': tag 'site' is not known"
    after = left()
    assert after["writer-01"] == at_first["writer-01"]
    assert after["writer-00"] < min(at_first["writer-00"], after["writer-02"])
    enough = f"{after['writer-00'] + 0.001:.6f}"
    more = ("rounds=1", "privacy.budget=1000", f"cohort.where=epsilon_left > {enough}")
    folder = launch(scenario(*more), engine="fleet", parent=fleet.runs)
    assert told(folder) == [(("writer-01", "writer-02"), {})]
    assert load_result(folder.path).participation.devices["writer-00"].why.startswith(f"epsilon_left > {enough}: ")
    for name in ("writer-00", "writer-02"):
        office.tag(office.find(name), [], by="ann", now=system_clock())


def test_a_second_run_over_the_fleet_is_refused(fleet: Up):
    with exclusive(FederationHome(fleet.runs).folder / "run"), pytest.raises(RefusedError) as refused:
        launch(scenario(), engine="fleet", parent=fleet.runs)
    assert refused.value.reason == "fleet_in_use"


def test_without_a_server_the_command_that_starts_one_is_named_and_nothing_is_left(tmp_path: Path):
    with pytest.raises(RunFailedError) as failed:
        launch(scenario(), engine="fleet", parent=tmp_path)
    assert "skerry server up" in (failed.value.mend or "")
    assert not list(tmp_path.iterdir())


def test_what_only_a_simulation_has_is_refused(fleet: Up):
    for asked in ("attack.kind=sign_flip", "audit.canaries=10", f"privacy.ledgers={fleet.runs}"):
        with pytest.raises(ScenarioError) as refused:
            launch(scenario("attack.devices=1", asked), engine="fleet", parent=fleet.runs)
        assert refused.value.where == asked.partition("=")[0]


DYING = """
import os, signal, sys
from pathlib import Path
from skerry.config import load_scenario
from skerry.server.engines import flwr_adapter
from skerry.server.launch import launch

flwr_adapter.keep_to_ourselves()
from flwr.supercore.inflatable import inflatable_utils
from skerry.server.engines.flwr_grid import DrivenGrid

plain, rounds = DrivenGrid._push, []

def push(self, messages):
    rounds.extend(messages[:1] if messages[0].metadata.message_type == "train" else ())
    if len(rounds) == 2:  # the SuperLink gives a message as soon as it is announced, before any part of it is there
        inflatable_utils.push_objects = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
    return plain(self, messages)

DrivenGrid._push = push
launch(load_scenario(Path(sys.argv[1])), engine="fleet", parent=Path(sys.argv[2]))
"""


def killed(command: list[object], fleet: Up, *, by_itself: bool) -> RunFolder:
    """The run that such a process conducted until it was killed, in its second round or later."""
    before = {run.id for run in list_runs(fleet.runs)}
    process = subprocess.Popen([sys.executable, *map(str, command)], stdout=subprocess.DEVNULL)
    if by_itself:
        process.wait(180)
    else:
        while not (new := [run for run in list_runs(fleet.runs) if run.id not in before]) or not new[0].rounds():
            assert process.poll() is None
            time.sleep(POLL_S)
        process.kill()
    assert process.wait(180) == -signal.SIGKILL
    (run,) = [run for run in list_runs(fleet.runs) if run.id not in before]
    return run


@pytest.mark.slow
@pytest.mark.parametrize("while_it_sends", [False, True])
def test_a_killed_coordinator_goes_on_and_no_round_is_debited_twice(fleet: Up, tmp_path: Path, *, while_it_sends: bool):
    path = tmp_path / "long.toml"
    path.write_text(to_toml(scenario("rounds=6")))
    words = ["-m", "skerry.cli", "run", path, "--engine", "fleet", "--runs-dir", fleet.runs, "--json"]
    command = ["-c", DYING, path, fleet.runs] if while_it_sends else words
    stopped = killed(command, fleet, by_itself=while_it_sends)
    folder = resume(stopped.id, parent=fleet.runs)
    assert told(folder) == [(NAMES, {})] * 6
    for name in NAMES:
        with fleet.devices[name].ledger() as ledger:
            assert len(list(ledger.debited(folder.id))) == 6


def test_a_run_whose_servers_were_ended_under_it_waits_and_goes_on_over_those_that_come(
    fleet: Up, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(flwr_grid, "_PATIENCE_S", 3.0)
    kept: list[RunFolder] = []
    in_the_second = threading.Event()

    def hear_and_be_silent(send: Callable[[], None]) -> None:
        if kept[0].rounds():
            in_the_second.set()
        else:
            send()

    def end_servers_and_start_others() -> None:
        if in_the_second.wait(180):
            fleet.down()
            while kept[0].status["stage"] != "waiting for the server":
                time.sleep(POLL_S)
            fleet.devices["writer-01"].trained = lambda send: send()
            fleet.again()

    fleet.devices["writer-01"].trained = hear_and_be_silent
    others = threading.Thread(target=end_servers_and_start_others)
    others.start()
    folder = launch(scenario(), engine="fleet", parent=fleet.runs, on_folder=kept.append)
    others.join()
    assert told(folder) == [(NAMES, {})] * 2
    assert any("skerry server up" in notice for notice in folder.notices)
    assert load_result(folder.path).run.state == "complete"
    assert verify_run(folder, remembered={}, pld=False).holds
    for name in NAMES:
        with fleet.devices[name].ledger() as ledger:
            assert len(list(ledger.debited(folder.id))) == 2


def test_a_run_whose_disk_was_full_under_it_goes_on_by_itself_when_there_is_room(
    fleet: Up, monkeypatch: pytest.MonkeyPatch
):
    real, refused = RoundJournal.add, []

    def full(self: RoundJournal, number: int, device: str, answer: Answer) -> None:
        if number == 2 and len(refused) < 2:
            refused.append(device)
            raise DiskFullError("no space left on the device", where="round")
        real(self, number, device, answer)

    monkeypatch.setattr(RoundJournal, "add", full)
    folder = launch(scenario(), engine="fleet", parent=fleet.runs)
    assert len(refused) == 2
    assert told(folder) == [(NAMES, {})] * 2
    assert folder.status["error"] is None  # at no moment was the run said to have failed
    assert any("when there is room" in notice for notice in folder.notices)
    assert verify_run(folder, remembered={}, pld=False).holds
    for name in NAMES:
        with fleet.devices[name].ledger() as ledger:
            assert len(list(ledger.debited(folder.id))) == 2


@pytest.mark.slow
def test_a_run_that_no_server_comes_for_fails_and_is_gone_on_with_later(fleet: Up, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(engine, "_SERVER_S", 1.0)
    kept: list[RunFolder] = []
    ending = threading.Event()

    def end_servers_in_the_second() -> None:
        if ending.wait(180):
            fleet.down()

    def hear(send: Callable[[], None]) -> None:
        if kept[0].rounds():
            ending.set()
        else:
            send()

    fleet.devices["writer-01"].trained = hear
    ends = threading.Thread(target=end_servers_in_the_second)
    ends.start()
    with pytest.raises(RunFailedError, match="SuperLink"):
        launch(scenario(), engine="fleet", parent=fleet.runs, on_folder=kept.append)
    ends.join()
    assert kept[0].state == "failed"
    with pytest.raises(RunFailedError, match="no server is up"):
        resume(kept[0].id, parent=fleet.runs)
    fleet.devices["writer-01"].trained = lambda send: send()
    fleet.again()
    folder = resume(kept[0].id, parent=fleet.runs)
    assert told(folder) == [(NAMES, {})] * 2


def test_one_that_is_revoked_while_it_answers_does_not_count_and_is_asked_no_more(fleet: Up):
    """The last one: it stays revoked."""
    gone = fleet.devices["writer-02"]

    def be_revoked(send: Callable[[], None]) -> None:
        fleet.revoke("writer-02")
        send()

    gone.trained = be_revoked
    folder = launch(scenario(), engine="fleet", parent=fleet.runs)
    assert told(folder) == [(NAMES[:2], {"writer-02": Reason.NOT_ENROLLED}), (NAMES[:2], {})]
    result = load_result(folder.path)
    assert result.delivery is not None
    assert result.delivery.recipients == 2
    with gone.ledger() as ledger:
        assert len(list(ledger.debited(folder.id))) == 1
