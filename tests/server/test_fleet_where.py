"""``skerry fleet list --where``: an operator tries the condition that a scenario will choose devices by."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from skerry.cli import app
from skerry.clock import system_clock
from skerry.config import default_scenario
from skerry.device.service import device_pb2 as pb
from skerry.records import Action, Reason, Verdict
from skerry.runfolder import RunFolder, list_runs
from skerry.security.privacy.accounting import GaussianEvent, compose, epsilon_from_rdp
from skerry.security.privacy.ledger import Ledger, Policy
from skerry.server.federation_home import FederationHome
from skerry.server.registry import DeviceKind, JudgedRound, Registry, Scope
from skerry.server.service.inbox import Inbox, LastCondition

from . import _enrolment
from ._enrolment import Agent, Federation

HARBOUR = Scope(DeviceKind.REAL, "harbour")
ROUND = GaussianEvent(8.0)
DAY = 86_400_000


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SKERRY_RUNS_DIR", str(tmp_path))
    monkeypatch.delenv("SKERRY_HALF_LIFE_DAYS", raising=False)
    monkeypatch.setattr(_enrolment, "NOW", system_clock() - 1000)
    harbour = Federation(tmp_path)
    harbour.enrol(Agent.fresh("pi-1", harbour.now), harbour.invite(tags=["garden", "site=north", "ram_mb=1024"]))
    harbour.enrol(Agent.fresh("pi-2", harbour.now), harbour.invite(tags=["site=south", "ram_mb=512"]))
    harbour.enrol(Agent.fresh("phone-1", harbour.now), harbour.invite(device_class="phone"))
    return tmp_path


@pytest.fixture
def skerry():
    return lambda *words: CliRunner().invoke(app, words, env={"COLUMNS": "200"})


def choice(skerry, where: str, *more: str) -> tuple[list[str], dict[str, list[str]]]:
    result = skerry("fleet", "list", "--json", "--where", where, *more)
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["chosen"] == len(told["devices"])
    assert told["enrolled"] == told["chosen"] + len(told["left_out"])
    return [one["device"] for one in told["devices"]], {one["device"]: one["why"] for one in told["left_out"]}


def asked_for(
    runs: Path, devices: tuple[str, ...], *, unit: str, rounds: int, price: GaussianEvent = ROUND, but: str = ""
) -> None:
    """A run over the fleet that asked these devices, each in so many rounds; one that it named was never drawn."""
    plain = ("defence.aggregator=mean", "defence.tolerate=0", 'defence.screen=["finite", "shape", "fresh"]')
    scenario = default_scenario(["attack.devices=0", f"privacy.unit={unit}", *(plain if unit == "device" else ())])
    folder = RunFolder.create(runs, scenario, engine="fleet")
    folder.mark("running", extra={"federation": "harbour"})
    policy = Policy(unit=unit, epsilon=8.0, delta=1e-5, simulated=False)
    now = system_clock()
    path = folder.path / "ledger" / "population.jsonl"
    path.parent.mkdir()
    with Ledger.create(path, scope="population", subject=folder.id, policy=policy, now=now) as ledger:
        members = [ledger.record("member", {"device": one, "signing_key": ""}, now).seq for one in devices]
        told = None if unit == "none" else dict(vars(price))
        cohort = [member for device, member in zip(devices, members, strict=True) if device != but]
        for number in range(1, rounds + 1):
            ledger.record("round_open", {"round": number, "price": told, "unit": unit, "cohort": cohort}, now)


def test_classes_and_tags_choose(runs: Path, skerry) -> None:
    names, out = choice(skerry, "class == 'pi' and tag('site') == 'north' and tag('ram_mb') >= 900")
    assert names == ["pi-1"]
    assert out["pi-2"] == [
        "tag('site') == 'north': tag 'site' is 'south'",
        "tag('ram_mb') >= 900: tag 'ram_mb' is '512'",
    ]
    assert out["phone-1"][0] == "class == 'pi': class is 'phone'"
    assert choice(skerry, "not tag('site')")[0] == ["phone-1"]
    shown = skerry("fleet", "list", "--where", "tag('garden')").stdout
    assert "1 of 3 enrolled devices in good standing satisfy it" in shown
    assert "not phone-1: tag('garden'): it has no tag 'garden'" in shown
    nobody = skerry("fleet", "list", "--where", "class == 'laptop'")
    assert nobody.exit_code == 0
    assert "0 of 3 enrolled devices" in nobody.stdout


def test_trust_and_silence_are_those_of_the_registry(runs: Path, skerry) -> None:
    now = system_clock()
    registry = Registry(runs)
    bad, good = Verdict(1, "pi-1", Action.DROP, (Reason.NORM,)), Verdict(1, "pi-2", Action.ACCEPT)
    registry.record(HARBOUR, "garden-1", [JudgedRound(1, now - 2 * DAY, (bad, good))])
    assert choice(skerry, "trust < 0.5")[0] == ["pi-1"]
    assert sorted(choice(skerry, "trust >= 0.5")[0]) == ["phone-1", "pi-2"]
    assert choice(skerry, "days_silent > 3")[0] == ["phone-1"]
    assert choice(skerry, "days_silent >= 1.9 and days_silent < 3 and trust > 0.5")[0] == ["pi-2"]


def test_what_a_device_said_counts_for_a_day(runs: Path, skerry) -> None:
    inbox = Inbox(FederationHome(runs).inbox, most=1)
    steps = (pb.LEVEL_HALF, pb.LEVEL_LITTLE, pb.LEVEL_PLENTY)
    inbox.keep_condition(LastCondition("pi-1", system_clock(), pb.ACTIVITY_IDLE, *steps))
    inbox.keep_condition(LastCondition("pi-2", system_clock() - DAY, pb.ACTIVITY_IDLE, *steps))
    names, out = choice(skerry, "battery >= 'half' and free_memory == 'little' and free_disk > 'half'")
    assert names == ["pi-1"]
    assert out["pi-2"][0] == "battery >= 'half': battery is not known"
    assert choice(skerry, "battery < 'half'")[0] == []


def test_what_runs_have_asked_for_is_gone_from_the_budget(runs: Path, skerry) -> None:
    asked_for(runs, ("pi-1", "pi-2"), unit="example", rounds=3)
    asked_for(runs, ("pi-1",), unit="example", rounds=2)
    spent = float(epsilon_from_rdp(compose([ROUND] * 5), 1e-5)[0])
    assert sorted(choice(skerry, f"epsilon_left >= {8 - spent - 1e-6:.7f}")[0]) == ["phone-1", "pi-1", "pi-2"]
    assert sorted(choice(skerry, f"epsilon_left >= {8 - spent + 1e-6:.7f}")[0]) == ["phone-1", "pi-2"]
    assert choice(skerry, "epsilon_left >= 1", "--budget", "1")[0] == ["phone-1"]
    asked_for(runs, ("phone-1",), unit="none", rounds=1)
    names, out = choice(skerry, "epsilon_left > 0")
    assert sorted(names) == ["pi-1", "pi-2"]
    assert out == {"phone-1": ["epsilon_left > 0: epsilon_left is 0"]}


def test_a_run_counts_unless_it_is_known_to_be_over_another_fleet(runs: Path, skerry) -> None:
    """What status says is not waited for on the disk, as the ledger is: after a power cut it may say less."""
    asked_for(runs, ("pi-1",), unit="example", rounds=1)
    asked_for(runs, ("pi-1",), unit="example", rounds=1)
    asked_for(runs, ("pi-1",), unit="example", rounds=1)
    cut, elsewhere, _ = (one.path / "status.json" for one in list_runs(runs))
    status = json.loads(cut.read_text())
    elsewhere.write_text(json.dumps({**status, "federation": "another"}))
    del status["federation"]
    cut.write_text(json.dumps(status))
    spent = float(epsilon_from_rdp(compose([ROUND] * 2), 1e-5)[0])
    assert "pi-1" in choice(skerry, f"epsilon_left >= {8 - spent - 1e-6:.7f}")[0]
    assert "pi-1" not in choice(skerry, f"epsilon_left >= {8 - spent + 1e-6:.7f}")[0]


def test_runs_that_drew_a_device_in_no_round_count_at_device_level(runs: Path, skerry) -> None:
    """Their noise is measured for one that might have been drawn in every round: five of them cost all five."""
    run = GaussianEvent(1.0, 0.05, steps=5)
    for _ in range(5):
        asked_for(runs, ("pi-1", "pi-2"), unit="device", rounds=5, price=run, but="pi-2")
    spent = float(epsilon_from_rdp(compose([run] * 5), 1e-5)[0])
    everybody = ["phone-1", "pi-1", "pi-2"]
    assert sorted(choice(skerry, f"epsilon_left >= {8 - spent - 1e-6:.7f}")[0]) == everybody
    assert choice(skerry, f"epsilon_left >= {8 - spent + 1e-6:.7f}")[0] == ["phone-1"]
    asked_for(runs, ("pi-1", "pi-2"), unit="example", rounds=1, but="pi-2")
    assert sorted(choice(skerry, f"epsilon_left >= {8 - spent - 1e-6:.7f}")[0]) == ["phone-1", "pi-2"]


def test_a_condition_that_is_none_points_at_the_place(runs: Path, skerry) -> None:
    result = skerry("fleet", "list", "--json", "--where", "class == 'pi' and clas == 'x'")
    assert result.exit_code == 2
    error = json.loads(result.stdout)["error"]
    assert error["what"] == "column 19: there is no fact 'clas'"
    assert error["where"] == "class == 'pi' and »clas« == 'x'"
    assert error["mend"] == "did you mean 'class'?"


def test_nobody_enrolled_is_nobody_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, skerry) -> None:
    monkeypatch.setenv("SKERRY_RUNS_DIR", str(tmp_path))
    assert choice(skerry, "class == 'pi'") == ([], {})
