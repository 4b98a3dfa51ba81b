"""Where a device lives: this machine, this machine without torch, or an emulated aarch64; each with its own agent."""

import json
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import numpy as np
import tomli_w

import skerry
from skerry.clock import system_clock
from skerry.config import Scenario

from ._enrolled import Up

KEY = "key"
CONDITIONS = {  # whatever else this machine does
    "metered": "no", "busy_percent": 100, "free_disk_mb": 0, "free_memory_mb": 0, "temperature_c": 110,
    "battery_percent": 0,
}  # fmt: skip
ROOMS = ("security", "device", "strategies", "server")
EMULATED = os.environ.get("SKERRY_ARM64_ROOT")
"""The root of an emulated aarch64, where ``tests/arm64/root.sh`` has made one."""


@dataclass(frozen=True)
class Machine:
    """Where a device lives: its folder as the host and as it sees it itself, and what a command there begins with."""

    folder: Path
    inside: Path
    command: tuple[str, ...]

    def skerry(self, *words: object) -> list[str]:
        return [*self.command, "-m", "skerry.cli", *map(str, words)]

    @property
    def home(self) -> tuple[object, ...]:
        return ("--home", self.inside / "home", "--key-file", self.inside / KEY)

    def python(self, script: str) -> str:
        """What a script there prints."""
        return subprocess.run([*self.command, "-c", script], capture_output=True, text=True, check=True).stdout

    def told(self, *words: object) -> dict:
        """What a command says; it is called again where it says that this helps, as a busy machine may be too slow."""
        for _ in range(3):
            done = subprocess.run(self.skerry(*words, "--json"), capture_output=True, text=True, check=False)
            if "try again later" not in done.stdout:
                break
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)

    def enrol(self, fleet: Up, name: str, task: dict, scenario: Scenario) -> None:
        """By the command that a person types, with the terms that a person would write; it is tagged with its name."""
        terms = {
            "task": task,
            "model": scenario.model.model_dump(mode="json", exclude_none=True),
            "privacy": {"unit": "example", "epsilon": scenario.privacy.epsilon, "delta": scenario.privacy.delta},
            "conditions": CONDITIONS,
        }
        (self.folder / "terms.toml").write_text(tomli_w.dumps(terms))
        key = self.folder / KEY
        key.write_text(secrets.token_hex(32))
        key.chmod(0o600)
        invitation = fleet.server.office.invite(
            fleet.server.authority, device_class="pi", by="ann", now=system_clock(), life=3_600_000, approve=True,
            address=f"https://{fleet.server.noted.addresses['gateway']}", tags=[name],
        ).text  # fmt: skip
        given = ("--name", name, "--terms", self.inside / "terms.toml")
        assert self.told("device", "enrol", invitation, *self.home, *given)["step"] == "enrolled"

    @contextmanager
    def agent(self) -> Iterator[Path]:
        """The resident agent, ended as a service manager would end it; its log."""
        path = self.folder / "agent.log"
        with path.open("wb") as log:
            process = subprocess.Popen(self.skerry("device", "run", *self.home), stdout=log, stderr=log)
            try:
                yield path
                assert process.poll() is None, path.read_text()
            finally:
                process.terminate()
                process.wait(180)


def native(folder: Path, python: str = sys.executable, path: str = os.environ.get("PYTHONPATH", "")) -> Machine:
    """This machine, with these packages."""
    return Machine(folder, folder, ("env", f"SKERRY_HOME={folder}/cache", f"PYTHONPATH={path}", python))


def native_without_torch(folder: Path, links: Path) -> Machine:
    """This machine's Python with every package that is installed here but torch, by links to them in a new folder."""
    for package in Path(np.__file__).parents[1].iterdir():
        if not package.name.startswith(("torch", "functorch", "__")):
            (links / package.name).symlink_to(package)
    if not (links / "skerry").exists():  # installed in place, where its rooms lie side by side
        (links / "skerry").mkdir()
        rooms = [Path(import_module(f"skerry.{room}").__path__[0]) for room in ROOMS]
        for part in [*Path(skerry.__path__[0]).iterdir(), *rooms]:
            if not (links / "skerry" / part.name).exists():
                (links / "skerry" / part.name).symlink_to(part)
    return native(folder, sys._base_executable, str(links))  # the interpreter without this environment's packages


@contextmanager
def emulated(root: Path) -> Iterator[Machine]:
    """An aarch64: skerry's agent without torch in a Debian for arm64, reached by chroot."""
    with tempfile.TemporaryDirectory(dir=root / "var/tmp", prefix="skerry-") as made:
        folder = Path(made)
        inside = Path("/") / folder.relative_to(root)
        environment = [f"{name}=1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "PYTHONDONTWRITEBYTECODE")]
        given = [*environment, "PATH=/usr/bin:/bin", f"HOME={inside}", f"SKERRY_HOME={inside}/cache"]
        yield Machine(folder, inside, ("chroot", str(root), "/usr/bin/env", "-i", *given, "/usr/bin/python3"))
