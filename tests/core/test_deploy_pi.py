"""What is shipped for a Raspberry Pi can be used as it is, and its page says what the code does."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from skerry.cli import app
from skerry.device.agent.settings import Limits
from skerry.device.agent.terms import read_terms

ROOT = Path(__file__).parents[2]
PI = ROOT / "deploy" / "pi"
UNIT = (PI / "skerry-device.service").read_text()
PAGE = (ROOT / "docs" / "raspberry-pi.md").read_text()


def _settings(text: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for key, value in re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE):
        found.setdefault(key, []).append(value)
    return found


@pytest.mark.parametrize(("shell", "name"), [("bash", "install.sh"), ("sh", "skerry-device")])
def test_scripts_are_shell(shell: str, name: str) -> None:
    subprocess.run([shell, "-n", PI / name], check=True)
    assert (PI / name).stat().st_mode & 0o111


def test_the_install_script_refuses_what_it_does_not_know_and_says_what_it_takes() -> None:
    script = str(PI / "install.sh")
    unknown = subprocess.run(["bash", script, "--form", "x"], capture_output=True, text=True, check=False)
    assert (unknown.returncode, "--form" in unknown.stderr) == (2, True)
    told = subprocess.run(["bash", script, "--help"], capture_output=True, text=True, check=True)
    for option in ("--from", "--train", "--name", "--invitation", "--terms"):
        assert option in told.stdout


def test_the_unit_is_one_that_systemd_takes_and_rates_2_or_better(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not here")
    unit = tmp_path / "skerry-device.service"
    unit.write_text(UNIT.replace("/opt/skerry/venv/bin/skerry", "/bin/true"))
    verified = subprocess.run([analyze, "verify", unit], capture_output=True, text=True, check=False)
    assert (verified.returncode, verified.stderr) == (0, "")
    rated = subprocess.run(
        [analyze, "security", "--offline=true", "--threshold=20", unit], capture_output=True, text=True, check=False
    )
    assert rated.returncode == 0, rated.stdout[-300:]


def test_the_service_is_bounded_watched_and_left_alone_where_a_start_would_not_help() -> None:
    found = _settings(UNIT)
    for key, value in (
        ("Type", "notify"),
        ("DynamicUser", "yes"),
        ("StateDirectory", "skerry-device"),
        ("ProtectSystem", "strict"),
        ("NoNewPrivileges", "yes"),
        ("RestartPreventExitStatus", "2 3"),
        ("MemoryMax", "70%"),
        ("CPUQuota", "200%"),
        ("WatchdogSec", "10min"),
    ):
        assert found[key] == [value], key
    assert "PrivateUsers" not in found  # it would take the group of /dev/vcio away


def test_service_and_command_run_as_the_same_user_with_the_same_folders() -> None:
    command = (PI / "skerry-device").read_text()
    for word in ("User=skerry-device", "DynamicUser=yes", "StateDirectory=skerry-device", "/etc/skerry/device.env"):
        assert word in command, word
        assert word in UNIT, word
    for variable in ("SKERRY_DEVICE_HOME", "SKERRY_HOME"):
        there = re.search(rf"{variable}=(\S+)", UNIT)
        here = re.search(rf"{variable}=(\S+)", command)
        assert there is not None
        assert here is not None
        assert there[1].replace("%S", "/var/lib") == here[1]


def test_the_first_start_is_cloud_init_with_terms_that_are_accepted(tmp_path: Path) -> None:
    text = (PI / "cloud-init.yaml").read_text()
    assert text.startswith("#cloud-config\n")
    config = yaml.safe_load(text)
    assert {"packages", "write_files", "runcmd"} <= config.keys()
    (prepared,) = config["write_files"]
    (tmp_path / "device.toml").write_text(prepared["content"])
    terms = read_terms(tmp_path)
    assert terms.conditions.metered == "no"
    for words in config["runcmd"]:
        assert all(type(word) is str for word in words)
    (shell,) = [words[2] for words in config["runcmd"] if words[0] == "bash"]
    subprocess.run(["bash", "-n"], input=shell, text=True, check=True)
    options = set(re.findall(r" (--[a-z]+)", shell))
    assert options <= set(re.findall(r"^ {8}(--[a-z]+)\)", (PI / "install.sh").read_text(), re.MULTILINE))
    assert prepared["path"] in shell


def test_the_page_names_commands_and_options_that_exist() -> None:
    root: Any = typer.main.get_command(app)
    device = root.commands["device"].commands
    used = re.findall(r"skerry-device ([a-z]+)((?: (?:-(?!-)|--[a-z-]+|[a-z][\w.-]*))*)", PAGE)
    assert {name for name, _ in used} >= {"enrol", "doctor", "status", "pause", "forget"}
    for name, more in used:
        assert name in device, name
        options = {word for parameter in device[name].params for word in parameter.opts}
        assert set(re.findall(r"--[a-z-]+", more)) <= options, (name, more)
    for group, name in re.findall(r"`skerry (fleet|device) ([a-z]+)", PAGE):
        assert name in root.commands[group].commands
    for path in re.findall(r"deploy/pi/[\w.-]+\w", PAGE):
        assert (ROOT / path).is_file(), path


def test_the_page_s_table_of_conditions_is_that_in_force() -> None:
    rows = re.findall(r"^\| `([a-z_]+)` \| `([^`]+)` \| ([^|]+) \| ([^|]+) \|$", PAGE, re.MULTILINE)
    fields = Limits.model_json_schema()["properties"]
    assert [name for name, *_ in rows] == list(fields)
    for name, default, span, meaning in rows:
        field = fields[name]
        assert json.loads(default) == field["default"], name
        if "enum" in field:
            assert span == ", ".join(f"`{value}`" for value in field["enum"])
        elif field["type"] == "integer":
            assert span == f"{field['minimum']} … {field['maximum']}", name
        assert re.match(r"percent|minutes|degrees|MB|local time|whether", meaning), name
