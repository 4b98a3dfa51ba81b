"""What `skerry device doctor` finds on a device that was enrolled, and on one where something is wrong."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from skerry.clock import system_clock
from skerry.device.agent import capability as capability_module
from skerry.device.agent.capability import Capability, capability
from skerry.device.agent.checkup import Finding, Gateway, checkup
from skerry.device.agent.conditions import Lapse, LapseReason
from skerry.device.agent.enrolled import LEDGER
from skerry.device.agent.host import Host
from skerry.device.agent.telemetry import condition, level, words
from skerry.device.membership import Folder
from skerry.device.service import device_pb2 as pb
from skerry.errors import RunFailedError
from skerry.security.identity import PassphraseLock, SealedKeyStore
from tests.device.agent.machines import Machine, calm

DAY_MS = 24 * 3_600_000
WORDS = b"correct horse battery"
TERMS = """
[task]
name = "digits"
[privacy]
unit = "example"
epsilon = 8.0
delta = 1e-5
"""
CAN = Capability("aarch64", ("asimddp",), 4, 4000, ("numpy", "onnxruntime"), ("head",), 0.05)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, skerry) -> Path:
    """Of a device that is enrolled, at a desk that is said to be far away."""
    monkeypatch.setenv("SKERRY_RUNS_DIR", str(tmp_path / "runs"))
    monkeypatch.setenv("SKERRY_PASSPHRASE", WORDS.decode())
    monkeypatch.setenv("SKERRY_ROOT_PASSPHRASE", "root words")
    asked = ("fleet", "invite", "--class", "pi", "--federation", "harbour", "--by", "ann", "--approve", "--json")
    invitation = json.loads(skerry(*asked).stdout)["invitation"]
    folder = tmp_path / "pi"
    assert skerry("device", "enrol", invitation, "--home", folder, "--name", "pi").exit_code == 0
    folder.chmod(0o700)
    (folder / "device.toml").write_text(TERMS)
    return folder


Look = Callable[..., dict[str, Finding]]


@pytest.fixture
def look(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Look:
    desk = Folder(home).desk()
    assert desk is not None
    object.__setattr__(desk, "address", "https://fleet.example")
    monkeypatch.setattr(Folder, "desk", lambda _: desk)
    machine = calm(tmp_path / "machine")

    def looked(*, now: int | None = None, gateway: int | None = 0, lapses: tuple[Lapse, ...] = (), can=CAN):
        moment = system_clock() if now is None else now

        def ask(_: object) -> Gateway:
            if gateway is None:
                raise RunFailedError("the gateway does not answer", mend="check the address")
            return Gateway(moment - gateway)

        found = checkup(
            home,
            open_keys=lambda: SealedKeyStore.open(Folder(home).keys, PassphraseLock(WORDS)),
            ask_gateway=ask,
            conditions=lambda _: lapses,
            capability=lambda: can,
            host=machine.host,
            clock=lambda: moment,
        )
        assert all(one.mend for one in found if one.state == "fail")
        return {one.name: one for one in found}

    looked.machine = machine  # type: ignore[attr-defined]  # for tests that change it
    return looked


def states(found: dict[str, Finding], state: str) -> list[str]:
    return [name for name, one in found.items() if one.state == state]


def test_a_device_that_is_well_has_nothing_in_the_way(look: Look) -> None:
    found = look()
    assert states(found, "fail") == []
    assert states(found, "warn") == ["coordinator"]  # nobody has made a run in this federation yet
    assert found["ledger"].found == "not begun: nothing was spent"


def test_keys_that_others_may_read_are_in_the_way(look: Look, home: Path) -> None:
    home.chmod(0o755)
    assert states(look(), "warn") == ["keys closed", "coordinator"]
    Folder(home).keys.chmod(0o644)
    assert states(look(), "fail") == ["keys closed", "keys"]  # the store does not open them either


@pytest.mark.parametrize(("days", "state"), [(-1, "fail"), (0, "ok"), (5, "warn"), (8, "fail")])
def test_the_certificate_s_dates_are_looked_at(look: Look, days: int, state: str) -> None:
    assert look(now=system_clock() + days * DAY_MS)["certificate"].state == state


def test_one_whose_certificate_has_ended_is_sent_to_no_new_folder_where_a_new_ledger_would_begin(look: Look) -> None:
    assert "enrol again in this folder" in str(look(now=system_clock() + 400 * DAY_MS)["certificate"].mend)


@pytest.mark.parametrize(("ahead_ms", "state"), [(0, "ok"), (29_000, "ok"), (31_000, "fail"), (-31_000, "fail")])
def test_the_clock_is_compared_with_the_gateway_s(look: Look, ahead_ms: int, state: str) -> None:
    assert look(gateway=ahead_ms)["clock"].state == state


def test_a_gateway_that_does_not_answer_is_in_the_way(look: Look) -> None:
    assert states(look(gateway=None), "fail") == ["gateway"]


def test_a_ledger_that_does_not_hold_is_in_the_way(look: Look, home: Path) -> None:
    (home / LEDGER).write_text("{}\n")
    assert states(look(), "fail") == ["ledger"]


def test_a_ledger_that_holds_and_spent_more_than_it_may_is_in_the_way(
    look: Look, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / LEDGER).touch()
    account = SimpleNamespace(problems=("more was spent than the policy allows",), debits=3)
    monkeypatch.setattr("skerry.device.agent.checkup.read_ledger", lambda _: account)
    assert states(look(), "fail") == ["ledger"]
    account.problems = ()
    assert look()["ledger"].found == "verified, 3 rounds"


def test_terms_that_cannot_be_used_and_conditions_that_lapse_are_told(look: Look, home: Path) -> None:
    lapses = (Lapse(LapseReason.HEAT, "it is 90 °C hot"),)
    assert states(look(lapses=lapses), "warn") == ["coordinator", "condition: heat"]
    (home / "device.toml").write_text("[tusk]\n")
    assert states(look(), "fail") == ["device.toml"]


def test_a_machine_without_a_sensor_is_fine_and_said(look: Look) -> None:
    machine: Machine = look.machine  # type: ignore[attr-defined]
    (machine.root / "sys/class/thermal/thermal_zone0/temp").unlink()
    assert look()["heat"].state == "ok"
    assert "no sensor" in look()["heat"].found
    machine.commands["get_throttled"] = "throttled=0x1"
    assert look()["heat"].state == "warn"


def test_a_device_without_a_runtime_cannot_take_part(look: Look) -> None:
    assert states(look(can=Capability("x86_64", (), 1, 1, ("numpy",), (), 1.0)), "fail") == ["runtimes"]


def test_the_command_says_it_in_a_table_and_in_json_and_fails_where_something_is_in_the_way(
    home: Path, skerry, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = capability_module._measured
    monkeypatch.setattr(capability_module, "_measured", lambda _, watch: measured(0.0, watch))  # not two seconds
    shown = skerry("device", "doctor", "--home", home)
    assert shown.exit_code == 1
    assert "the device knows no address" in " ".join(shown.stdout.replace("│", " ").split())
    told = json.loads(skerry("device", "doctor", "--home", home, "--json").stdout)
    assert told["error"]["exit_code"] == 1
    assert [one["name"] for one in told["findings"] if one["state"] == "fail"] == ["gateway"]
    assert told["capability"]["ms_per_example"] > 0
    assert set(told["telemetry"]) == {"activity", "battery", "free_memory", "free_disk"}
    monkeypatch.delenv("SKERRY_PASSPHRASE")
    told = json.loads(skerry("device", "doctor", "--home", home, "--json").stdout)
    assert "--key-file" in next(one["mend"] for one in told["findings"] if one["name"] == "keys")


def test_a_folder_that_is_no_device_s_is_told_how_to_become_one(tmp_path: Path, skerry) -> None:
    told = json.loads(skerry("device", "doctor", "--home", tmp_path, "--json").stdout)
    assert [one["name"] for one in told["findings"] if one["state"] == "fail"] == [
        "keys",
        "certificate",
        "gateway",
        "device.toml",
    ]


def test_capability_is_measured_here() -> None:
    seconds = iter(float(i) for i in range(1000))
    found = capability(Host(), bench_s=2.0, watch=lambda: next(seconds))
    assert found.ms_per_example == pytest.approx(1000 / 64)  # each look at the watch is a second later
    assert (found.cores >= 1, "head" in found.trainable) == (True, True)


@pytest.mark.parametrize(
    ("share", "said"), [(None, 0), (0.0, 1), (0.099, 1), (0.1, 2), (0.249, 2), (0.25, 3), (0.749, 3), (0.75, 4), (1, 4)]
)
def test_telemetry_has_four_steps(share: float | None, said: int) -> None:
    assert level(share) == said


def test_telemetry_tells_steps_of_a_scale_and_nothing_else(tmp_path: Path) -> None:
    machine = calm(tmp_path)
    lapses = (Lapse(LapseReason.BUSY, "others"), Lapse(LapseReason.POWER, "battery at 17 %"))
    machine.battery(17, "Discharging")
    machine.write("proc/meminfo", "MemTotal: 1000 kB\nMemAvailable: 300 kB")
    told = condition(machine.host, tmp_path, lapses, training=False)
    assert [field.name for field in told.DESCRIPTOR.fields] == ["activity", "battery", "free_memory", "free_disk"]
    assert len(told.SerializeToString()) <= 8  # four small numbers: no room for anything else
    assert words(told) == {
        "activity": "ACTIVITY_WAITING_FOR_POWER",
        "battery": "LEVEL_LITTLE",
        "free_memory": "LEVEL_HALF",
        "free_disk": "LEVEL_LITTLE",
    }
    assert condition(machine.host, tmp_path, (), training=True).activity == pb.ACTIVITY_TRAINING
    assert condition(machine.host, tmp_path, lapses[:1], training=False).activity == pb.ACTIVITY_IDLE
