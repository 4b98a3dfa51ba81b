"""What is shipped for a Raspberry Pi can be used as it is, and its page says what the code does."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from typer.testing import CliRunner

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


_SCRIPTS = (("bash", "install.sh"), ("bash", "enrol.sh"), ("bash", "first-start.sh"), ("sh", "skerry-device"))


@pytest.mark.parametrize(("shell", "name"), _SCRIPTS)
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
        ("RestartPreventExitStatus", "3"),  # 2 is what `run` says while it is not enrolled or has no data
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
    assert {"write_files", "bootcmd", "runcmd"} <= config.keys()
    (prepared,) = config["write_files"]
    (tmp_path / "device.toml").write_text(prepared["content"])
    terms = read_terms(tmp_path)
    assert terms.conditions.metered == "no"
    commands = [*config["bootcmd"], *config["runcmd"]]
    assert all(type(word) is str for words in commands for word in words)
    (at_every_start,) = config["bootcmd"]
    assert at_every_start in config["runcmd"]
    assert at_every_start[2] == "--unit"
    assert (PI / Path(at_every_start[1]).name).is_file()
    assert prepared["path"] in (PI / "first-start.sh").read_text()
    assert "rm" not in {words[0] for words in commands}  # the invitation goes when the device has applied, no sooner


def test_the_unit_of_the_first_start_tries_until_it_is_done(tmp_path: Path) -> None:
    text = (PI / "skerry-first-start.service").read_text()
    found = _settings(text)
    for key, value in (
        ("Type", "oneshot"),
        ("Restart", "on-failure"),
        ("StartLimitIntervalSec", "0"),
        ("TimeoutStartSec", "infinity"),
        ("WantedBy", "multi-user.target"),
    ):
        assert found[key] == [value], key
    assert "RestartPreventExitStatus" not in found
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not here")
    unit = tmp_path / "skerry-first-start.service"
    unit.write_text(text)
    verified = subprocess.run([analyze, "verify", unit], capture_output=True, text=True, check=False)
    assert (verified.returncode, verified.stderr) == (0, "")


def _command(folder: Path, name: str, text: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/bash\n{text}\n")
    (folder / name).chmod(0o755)


def test_the_first_start_goes_on_where_it_was_cut_off_and_starts_the_agent_last(tmp_path: Path) -> None:
    card, said = tmp_path / "card", tmp_path / "said"
    card.mkdir()
    script = (PI / "first-start.sh").read_text()
    for place in ("/etc/systemd/system", "/etc/skerry", "/opt/skerry"):
        (tmp_path / place[1:]).mkdir(parents=True)
        script = script.replace(place, str(tmp_path / place[1:]))
    (card / "first-start.sh").write_text(script)
    shutil.copy(PI / "skerry-first-start.service", card)
    _command(tmp_path / "bin", "systemctl", f'echo "systemctl $*" >>{said}')
    for name in ("install.sh", "enrol.sh"):
        _command(card, name, f"echo {name} >>{said}; exit $(cat {tmp_path}/{name})")

    def attempt(*options: str, install: int = 0, enrol: int = 0) -> tuple[int, list[str]]:
        said.write_text("")
        (tmp_path / "install.sh").write_text(str(install))
        (tmp_path / "enrol.sh").write_text(str(enrol))
        environment = {"PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin"}
        ended = subprocess.run(["bash", card / "first-start.sh", *options], env=environment, check=False)
        return ended.returncode, said.read_text().splitlines()

    unit = "skerry-first-start.service"
    put_in = (0, ["systemctl daemon-reload", f"systemctl enable {unit}", f"systemctl start --no-block {unit}"])
    assert attempt("--unit") == put_in
    assert attempt(install=1) == (1, ["install.sh"])
    assert attempt(enrol=75) == (75, ["install.sh", "enrol.sh"])
    assert attempt("--unit") == put_in
    assert attempt(enrol=3) == (3, ["enrol.sh"])
    started = ["enrol.sh", "systemctl enable --now --no-block skerry-device", f"systemctl disable {unit}"]
    assert attempt() == (0, started)
    assert attempt("--unit") == (0, [])


def test_an_invitation_stays_until_the_device_has_applied_and_a_call_that_was_cut_off_is_taken_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, invitation = tmp_path / "home", tmp_path / "invitation"
    monkeypatch.setenv("SKERRY_RUNS_DIR", str(tmp_path / "runs"))
    monkeypatch.setenv("SKERRY_ROOT_PASSPHRASE", "root words")
    monkeypatch.setenv("SKERRY_DEVICE_HOME", str(home))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    _command(tmp_path / "bin", "skerry-device", f'exec {sys.executable} -m skerry.cli device "$@"')
    terms = tmp_path / "prepared.toml"
    terms.write_text(yaml.safe_load((PI / "cloud-init.yaml").read_text())["write_files"][0]["content"])

    def enrol() -> int:
        return subprocess.run(["bash", PI / "enrol.sh", "pi-1", invitation, terms], check=False).returncode

    def fleet(*words: str) -> str:
        told = CliRunner().invoke(app, ["fleet", *words, "--by", "ann", "--json"])
        assert told.exit_code == 0, told.output
        return told.stdout

    assert enrol() == 2  # there is no invitation
    text = json.loads(fleet("invite", "--class", "pi", "--federation", "harbour"))["invitation"]
    invitation.write_text(text)
    assert enrol() != 0  # nobody has said by which passphrase the keys are to be closed
    assert invitation.read_text() == text
    monkeypatch.setenv("SKERRY_PASSPHRASE", "correct horse battery")
    assert enrol() == 75
    assert not invitation.exists()
    assert read_terms(home).conditions.metered == "no"
    invitation.write_text(text)  # as if the power had gone before it was erased
    assert enrol() == 75
    assert not invitation.exists()
    fleet("approve", "pi-1")
    assert enrol() == 0
    assert enrol() == 0


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
