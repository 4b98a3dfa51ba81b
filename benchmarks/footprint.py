"""What the resident agent of a device without torch takes: memory and processor while nothing happens, and disk.

``idle``: `.[device]` in an environment of its own, a real `skerry server up`, one enrolled device; the agent is left
alone until it asks at its idle pace, and then watched for a minute and a half. Beside it, what it holds after a round.
``size``: the same environment, and which package weighs what.
"""

import importlib.metadata
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from _device_environment import bytes_in, device_environment, site_packages
from _harness import PYTHON, QUIET, Claim, NotMeasuredError, main, progress, run, versions
from _torch_free import DEVICE, SCENARIO, pictures

from skerry.device.agent.pace import Pace

_UP_S, _WATCH_S, _LOOKS = 120.0, 90.0, 6
_TERMS = """
[task]
name = "image-folder"
root = "{root}"
public = "public"
holdout = "device-2"
[model]
components = 32
[privacy]
unit = "example"
epsilon = 8.0
delta = 1e-5
[conditions]
metered = "no"
busy_percent = 100
temperature_c = 110
"""
_HEAVIEST = 12


def idle(folder: Path) -> Iterator[Claim]:
    """An agent that is left alone."""
    python = device_environment(folder)
    pictures(folder / "pictures")
    home, runs = folder / DEVICE, folder / "runs"
    runs.mkdir()
    (folder / "device.toml").write_text(_TERMS.format(root=folder / "pictures"))
    place = {"SKERRY_HOME": str(folder / "cache")}
    with _started([PYTHON, "-m", "skerry.cli", "server", "up", *_ports(), "--runs-dir", runs], folder, "server", place):
        address = _address(folder / "server.log")
        invited = [PYTHON, "-m", "skerry.cli", "fleet", "invite", "--class", "pi", "--approve", "--address", address]
        invitation = run([*invited, "--runs-dir", runs, "--json"], timeout_s=60).document["invitation"]
        ours = ["--home", home, "--key-file", folder / "key"]
        device = [python, "-m", "skerry.cli", "device"]
        alone = {**place, "PYTHONPATH": ""}  # what is installed there, not these sources
        enrol = [*device, "enrol", invitation, "--name", DEVICE, *ours, "--terms", folder / "device.toml", "--json"]
        run(enrol, timeout_s=60, environment=alone)
        with _started([*device, "run", *ours], folder, "agent", alone) as agent:
            _await(folder / "agent.log", "online:")
            settle = Pace().warm + 10
            progress(f"idle: {settle:.0f} s until it asks at its idle pace, then {_WATCH_S:.0f} s")
            time.sleep(settle)
            cpu, resident, unique = _watched(agent)
            progress("idle: one round")
            after = _after_a_round(folder, runs, agent, place)
    detail = {"unique_mb": round(unique, 1), "after_a_round_mb": round(after), "asks_every_s": Pace().hears}
    yield Claim("idle_rss", "resident memory of the torch-free agent at its idle pace", resident, "MB", "<=", 140,
                detail=detail)  # fmt: skip
    yield Claim("idle_cpu", f"processor time at that pace, over {_WATCH_S:.0f} s", cpu, "% of a core", "<=", 0.5)


def size(folder: Path) -> Iterator[Claim]:
    """What is installed."""
    packages = site_packages(device_environment(folder))
    weights = _weights(packages)
    heaviest = dict(sorted(weights.items(), key=lambda one: -one[1])[:_HEAVIEST])
    yield Claim(
        id="install_size",
        text="bytes installed by `.[device]`, Flower included; pip and setuptools left out",
        value=bytes_in(packages) / 1e6,
        unit="MB",
        op="<=",
        bar=350,
        detail={"packages": len(weights), "heaviest_mb": {k: round(v / 1e6, 1) for k, v in heaviest.items()}},
    )


def _watched(agent: psutil.Process) -> tuple[float, float, float]:
    """Percent of a core, and the largest resident and unique memory (MB), while nothing happens."""
    before, begin = sum(agent.cpu_times()[:2]), time.monotonic()
    resident = unique = 0.0
    for _ in range(_LOOKS):
        time.sleep(_WATCH_S / _LOOKS)
        seen = agent.memory_full_info()
        resident, unique = max(resident, seen.rss / 1e6), max(unique, seen.uss / 1e6)
    return 100 * (sum(agent.cpu_times()[:2]) - before) / (time.monotonic() - begin), resident, unique


def _after_a_round(folder: Path, runs: Path, agent: psutil.Process, place: dict[str, str]) -> float:
    """Resident memory (MB) once the agent has trained."""
    (folder / "scenario.toml").write_text(SCENARIO)
    chosen = ["attack.kind=none", "cohort.at_least=1", "privacy.denominator=1"]
    wanted = [word for one in chosen for word in ("--set", one)]
    command = [PYTHON, "-m", "skerry.cli", "run", folder / "scenario.toml", "--engine", "fleet", *wanted, "--json"]
    run([*command, "--runs-dir", runs], timeout_s=600, environment=place)
    if "trained:" not in (folder / "agent.log").read_text():
        raise NotMeasuredError(f"the agent trained nothing: {(folder / 'agent.log').read_text()[-1000:]}")
    return float(agent.memory_info().rss / 1e6)


@contextmanager
def _started(words: list[Any], folder: Path, name: str, environment: dict[str, str]) -> Iterator[psutil.Process]:
    """A program with a log, ended as a person would end it."""
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            [str(word) for word in words],
            env={**os.environ, **QUIET, **environment},
            cwd=folder,
            stdout=log,
            stderr=log,
        )
        try:
            yield psutil.Process(process.pid)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def _ports() -> list[str]:
    return [word for name in ("--port", "--enrolment-port", "--device-port") for word in (name, "0")] + ["--json"]


def _address(log: Path) -> str:
    _await(log, '"expires"')
    text = log.read_text()
    told = json.JSONDecoder().raw_decode(text[text.index("{") :])[0]
    return f"https://{told['addresses']['gateway']}"


def _await(log: Path, what: str) -> None:
    end = time.monotonic() + _UP_S
    while what not in log.read_text():
        if time.monotonic() > end:
            raise NotMeasuredError(f"{log.stem} did not come up: {log.read_text()[-1000:]}")
        time.sleep(0.2)


def _weights(packages: Path) -> dict[str, int]:
    """Bytes of each distribution in this folder."""
    weights = {}
    for one in importlib.metadata.distributions(path=[str(packages)]):
        files = [Path(str(one.locate_file(file))) for file in one.files or [] if "__pycache__" not in str(file)]
        weights[one.metadata["Name"]] = sum(path.stat().st_size for path in files if path.is_file())
    return {name: size for name, size in weights.items() if name not in {"pip", "setuptools"}}


if __name__ == "__main__":
    main("footprint", {"idle": idle, "size": size}, versions("skerry", "flwr", "numpy", "onnxruntime", "grpcio"))
