"""A device trains only while its owner's conditions hold, and does not flap at a limit."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from skerry.device.agent.conditions import Lapse
from skerry.device.agent.eligibility import PAUSE_FILE, DeviceConditions
from skerry.device.agent.host import Remembering, run_command
from skerry.device.agent.metered import Metered, read_metered
from skerry.device.agent.occupancy import user_idle_s
from skerry.device.agent.settings import FILE, DeviceSettings, Limits, read_settings
from skerry.errors import ScenarioError
from tests.device.agent.machines import Machine, calm


@dataclass
class Device:
    machine: Machine
    home: Path
    conditions: DeviceConditions

    def lapses(self) -> list[str]:
        return [lapse.reason.value for lapse in self.conditions.lapses()]

    def sentence(self) -> str:
        (lapse,) = self.conditions.lapses()
        assert isinstance(lapse, Lapse)
        return lapse.sentence


def _device(tmp_path: Path, limits: Limits | None = None, needed: int = 0) -> Device:
    machine, home = calm(tmp_path / "machine"), tmp_path / "home"
    home.mkdir()
    conditions = DeviceConditions(limits or Limits(), home, machine.host, memory_needed=lambda: needed)
    return Device(machine, home, conditions)


def test_a_calm_device_may_train(tmp_path: Path) -> None:
    assert _device(tmp_path).lapses() == []


def test_heat_stops_it_and_it_goes_on_only_below_the_margin(tmp_path: Path) -> None:
    device = _device(tmp_path)
    for celsius, lapses in ((75, []), (75.1, ["heat"]), (73, ["heat"]), (70, ["heat"]), (69.9, []), (74, [])):
        device.machine.heat(celsius)
        assert device.lapses() == lapses, celsius


def test_the_hottest_sensor_counts_and_one_that_is_not_connected_does_not(tmp_path: Path) -> None:
    device = _device(tmp_path)
    device.machine.write("sys/class/thermal/thermal_zone1/temp", 200_000)
    assert device.lapses() == []
    device.machine.write("sys/class/thermal/thermal_zone2/temp", 80_000)
    assert "80 °C" in device.sentence()


def test_a_machine_without_thermal_zones_is_read_by_its_other_sensors_or_not_at_all(tmp_path: Path) -> None:
    device = _device(tmp_path)
    (device.machine.root / "sys/class/thermal/thermal_zone0/temp").unlink()
    assert device.lapses() == []
    device.machine.write("sys/class/hwmon/hwmon0/temp1_input", 90_000)
    assert device.lapses() == ["heat"]


@pytest.mark.parametrize(
    ("word", "lapses"),
    [("0x0", []), ("0x4", ["heat"]), ("0x8", ["heat"]), ("0x1", ["power"]), ("0x50005", ["power", "heat"]),
     ("0xd0000", []), ("rubbish", [])],
)  # fmt: skip
def test_the_firmware_of_a_pi_is_listened_to(tmp_path: Path, word: str, lapses: list[str]) -> None:
    device = _device(tmp_path)
    device.machine.commands["get_throttled"] = f"throttled={word}\n"
    assert device.lapses() == lapses
    device.machine.commands.clear()
    device.machine.network(2)
    device.machine.write("sys/devices/platform/soc/soc:firmware/get_throttled", word.removeprefix("0x"))
    assert device.lapses() == lapses


def test_a_battery_stops_it_unless_it_is_being_charged(tmp_path: Path) -> None:
    device = _device(tmp_path)
    for percent, status, lapses in (
        (60, "Discharging", []),
        (59, "Discharging", ["power"]),
        (64, "Discharging", ["power"]),
        (65, "Discharging", []),
        (20, "Discharging", ["power"]),
        (21, "Charging", []),
        (80, "Not charging", []),
    ):
        device.machine.battery(percent, status)
        assert device.lapses() == lapses, (percent, status)


def test_an_adapter_that_is_too_weak_is_no_power_and_a_mouse_is_no_battery(tmp_path: Path) -> None:
    device = _device(tmp_path)
    device.machine.battery(30, "Unknown")
    device.machine.write("sys/class/power_supply/AC/type", "Mains")
    device.machine.write("sys/class/power_supply/AC/online", 1)
    assert device.lapses() == []
    device.machine.battery(30, "Discharging")
    assert device.lapses() == ["power"]
    device.machine.write("sys/class/power_supply/BAT0/scope", "Device")
    assert device.lapses() == []


def test_a_metered_network_stops_it_and_an_unknown_one_is_never_guessed(tmp_path: Path) -> None:
    device = _device(tmp_path)
    for code, lapses in ((1, ["network"]), (2, []), (3, ["network"]), (4, []), (0, ["network"])):
        device.machine.network(code)
        assert device.lapses() == lapses, code
    assert "nothing here tells" in device.sentence()
    assert str(device.home / FILE) in device.sentence()
    device.machine.commands.clear()
    assert read_metered(device.machine.host) is Metered.UNKNOWN


def test_the_owner_may_say_what_nobody_else_knows(tmp_path: Path) -> None:
    device = _device(tmp_path, Limits(metered="no"))
    device.machine.network(1)
    assert device.lapses() == []
    other = DeviceConditions(Limits(metered="yes"), device.home, device.machine.host)
    device.machine.network(2)
    assert [lapse.reason for lapse in other.lapses()] == ["network"]


def test_processor_time_of_others_stops_it_and_its_own_does_not(tmp_path: Path) -> None:
    device = _device(tmp_path)
    machine = device.machine
    busy = 0.0
    for others, own, lapses in ((0.5, 3.0, []), (2.4, 0.0, ["busy"]), (1.9, 0.0, ["busy"]), (1.5, 0.0, [])):
        machine.seconds += 10
        busy += 10 * (others + own)
        machine.own_cpu += 10 * own
        machine.processor(busy)
        assert device.lapses() == lapses, (others, own)


def test_a_short_burst_of_others_does_not_stop_it(tmp_path: Path) -> None:
    device = _device(tmp_path)
    device.machine.seconds += 1
    device.machine.processor(4)
    assert device.lapses() == []
    device.machine.seconds += 5
    assert device.lapses() == []


def test_somebody_at_the_device_is_left_alone(tmp_path: Path) -> None:
    device = _device(tmp_path, Limits(user_idle_min=10))
    assert user_idle_s(device.machine.host) is None
    assert device.lapses() == []
    device.machine.commands |= {"IdleHint": "b false\n", "IdleSinceHintMonotonic": "t 0\n"}
    assert device.lapses() == ["busy"]
    device.machine.commands |= {"IdleHint": "b true\n", "IdleSinceHintMonotonic": f"t {(1000 - 540) * 10**6}\n"}
    assert "9 min" in device.sentence()
    device.machine.seconds += 60
    assert device.lapses() == []


def test_memory_must_hold_what_training_still_needs(tmp_path: Path) -> None:
    device = _device(tmp_path, needed=400 * 10**6)
    for free_mb, lapses in ((600, []), (500, ["memory"]), (560, ["memory"]), (600, [])):
        device.machine.memory(free_mb)
        assert device.lapses() == lapses, free_mb


def test_the_limit_of_a_service_counts_as_memory(tmp_path: Path) -> None:
    device = _device(tmp_path)
    group = "sys/fs/cgroup/system.slice/skerry-device.service"
    device.machine.write("proc/self/cgroup", "0::/system.slice/skerry-device.service")
    device.machine.write(f"{group}/memory.max", 500_000_000)
    device.machine.write(f"{group}/memory.current", 450_000_000)
    assert device.lapses() == ["memory"]
    device.machine.write(f"{group}/memory.stat", "anon 1\ninactive_file 100000000")
    assert device.lapses() == []
    device.machine.write(f"{group}/memory.max", "max")
    assert device.lapses() == []


def test_a_full_disk_stops_it(tmp_path: Path) -> None:
    device = _device(tmp_path)
    for free_mb, lapses in ((256, []), (255, ["disk"]), (260, ["disk"]), (282, [])):
        device.machine.disk = free_mb * 10**6
        assert device.lapses() == lapses, free_mb


@pytest.mark.parametrize(
    ("clock", "quiet"),
    [((21, 59), False), ((22, 0), True), ((3, 0), True), ((6, 59), True), ((7, 0), False), ((12, 30), True),
     ((13, 0), False)],
)  # fmt: skip
def test_quiet_hours_are_kept_over_midnight(tmp_path: Path, clock: tuple[int, int], quiet: bool) -> None:
    device = _device(tmp_path, Limits(quiet_hours=("22:00-07:00", "12:00-13:00")))
    device.machine.local = datetime(2026, 7, 1, *clock, tzinfo=UTC)
    assert device.lapses() == (["quiet_hours"] if quiet else [])


def test_the_owners_pause_stops_it_until_it_is_taken_away(tmp_path: Path) -> None:
    device = _device(tmp_path)
    (device.home / PAUSE_FILE).touch()
    assert device.lapses() == ["paused"]
    (device.home / PAUSE_FILE).unlink()
    assert device.lapses() == []


def test_every_lapse_is_told_at_once(tmp_path: Path) -> None:
    device = _device(tmp_path)
    device.machine.heat(90)
    device.machine.battery(5, "Discharging")
    device.machine.network(1)
    (device.home / PAUSE_FILE).touch()
    assert device.lapses() == ["paused", "power", "network", "heat"]


def test_settings_are_read_from_the_home_and_a_wrong_key_is_named(tmp_path: Path) -> None:
    assert read_settings(tmp_path) == DeviceSettings()
    (tmp_path / FILE).write_text('[conditions]\nbattery_percent = 80\nquiet_hours = ["22:00-07:00"]\n')
    assert read_settings(tmp_path).conditions == Limits(battery_percent=80, quiet_hours=("22:00-07:00",))
    for text, said in (
        ("[conditions]\nbatery_percent = 80\n", "battery_percent"),
        ("[condition]\n", "conditions"),
        ("[conditions]\nbattery_percent = 101\n", "100"),
        ('[conditions]\nquiet_hours = ["24:00-07:00"]\n', "22:00-07:00"),
        ('[conditions]\nquiet_hours = ["07:00-07:00"]\n', "not empty"),
        ("[conditions", "TOML"),
    ):
        (tmp_path / FILE).write_text(text)
        with pytest.raises(ScenarioError) as refused:
            read_settings(tmp_path)
        assert said in str(refused.value), text


def test_commands_are_not_started_for_every_look() -> None:
    now, asked = [0.0], []

    def run(*words: str) -> str:
        asked.append(words)
        return str(len(asked))

    remembering = Remembering(run, lambda: now[0])
    assert [remembering("one"), remembering("one"), remembering("two")] == ["1", "1", "2"]
    now[0] = 0.9
    assert remembering("one") == "3"
    assert asked == [("one",), ("two",), ("one",)]


def test_a_command_that_is_not_there_fails_or_hangs_says_nothing() -> None:
    assert run_command("echo", "yes") == "yes\n"
    assert run_command("no-such-command-here") is None
    assert run_command("false") is None
    assert run_command("sleep", "30") is None
