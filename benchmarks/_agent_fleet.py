"""A federation's servers and its agents, each a process of its own, for the time of a block."""

import json
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w
from _harness import HERE, PYTHON, QUIET, NotMeasuredError, progress, run

from skerry.clock import system_clock
from skerry.config import ModelConfig
from skerry.server.enrolment import Office
from skerry.server.federation_home import FederationHome

DEVICES = 4
SKERRY = (PYTHON, "-m", "skerry.cli")
UP_S = 120.0
REST_S = 8.0  # a process that died is started again after so long
NO_PRIVACY: Mapping[str, Any] = {"unit": "none"}


@dataclass(frozen=True)
class Federation:
    """Servers that are up."""

    runs: Path
    gateway: str
    """``https://HOST:PORT``."""

    def invitation(self, device_class: str) -> str:
        """For one device, which is approved already."""
        return invitation(self.runs, device_class, self.gateway)


@contextmanager
def servers(folder: Path, *, database: bool = False) -> Iterator[Federation]:
    """``skerry server up``, on free ports."""
    runs, log = folder / "runs", folder / "server.log"
    runs.mkdir(exist_ok=True)
    kept = ["--database", folder / "superlink.sqlite"] if database else []
    ports = ["--port", "0", "--enrolment-port", "0", "--device-port", "0"]
    server = start([*SKERRY, "server", "up", "--json", "--runs-dir", runs, *kept, *ports], log)
    try:
        yield Federation(runs, f"https://{_addresses(runs, server, log)['gateway']}")
    finally:
        stop(server)


@contextmanager
def agents(folder: Path, *, seconds: float, database: bool = False) -> Iterator[Path]:
    """Servers, and agents whose work is made up; the folder of runs. An agent that dies is started again."""
    key = key_file(folder)
    with ExitStack() as stack:
        federation = stack.enter_context(servers(folder, database=database))
        homes = [folder / f"pi-{number}" for number in range(1, DEVICES + 1)]
        for home in homes:
            enrol(federation.invitation("pi"), home, key, holder="writer-00", privacy=NO_PRIVACY)
        for home in homes:
            stack.enter_context(_kept_up(home, key, seconds))
        yield federation.runs


def invitation(runs: Path, device_class: str, address: str) -> str:
    """Of servers whose folder of runs this is, for one device, which is approved already."""
    office, authority = Office(runs), FederationHome(runs).authority(now=system_clock())
    return office.invite(
        authority,
        device_class=device_class,
        by="benchmark",
        now=system_clock(),
        life=3_600_000,
        approve=True,
        address=address,
    ).text


def key_file(folder: Path) -> Path:
    """A file that opens the key stores of devices."""
    key = folder / "key-file"
    key.write_bytes(os.urandom(32))
    key.chmod(0o600)
    return key


def enrol(
    invited: str,
    home: Path,
    key: Path,
    *,
    holder: str,
    privacy: Mapping[str, Any],
    name: str | None = None,
    model: ModelConfig | None = None,
    conditions: Mapping[str, Any] | None = None,
) -> None:
    """``skerry device enrol``: a device with the digits of one writer, named as its home is unless it is said.

    Raises:
        NotMeasuredError: it has no place now.
    """
    terms: dict[str, Any] = {"task": {"name": "digits", "holder": holder}, "privacy": privacy}
    if model is not None:
        terms["model"] = model.model_dump(mode="json", exclude_none=True)
    if conditions is not None:
        terms["conditions"] = conditions
    name = name or home.name
    with tempfile.TemporaryDirectory() as folder:
        allowed = Path(folder) / "terms.toml"
        allowed.write_text(tomli_w.dumps(terms))
        words = ["device", "enrol", invited, "--home", home, "--name", name, "--key-file", key, "--terms", allowed]
        said = run([*SKERRY, *words, "--json"], timeout_s=120).document
    if said.get("step") != "enrolled":
        raise NotMeasuredError(f"{name} was not enrolled: {json.dumps(said)}")


def start(command: Sequence[Any], log: Path, environment: Mapping[str, str] | None = None) -> subprocess.Popen:
    """A process that appends what it says to a log, with more in its environment where that is said."""
    given = {**os.environ, **QUIET, **(environment or {})}
    with log.open("ab") as said:
        return subprocess.Popen([str(word) for word in command], stdout=said, stderr=said, env=given)


def stop(process: subprocess.Popen) -> None:
    process.terminate()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _addresses(runs: Path, server: subprocess.Popen, log: Path) -> dict[str, str]:
    """Of servers, once they are up."""
    deadline = time.monotonic() + UP_S
    noted = FederationHome(runs).server
    while not noted.exists() or '"invite"' not in log.read_text(errors="replace"):
        if server.poll() is not None or time.monotonic() > deadline:
            raise NotMeasuredError(f"no server: {log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.1)
    return json.loads(noted.read_text())["addresses"]


@contextmanager
def _kept_up(home: Path, key: Path, seconds: float) -> Iterator[None]:
    command = [PYTHON, HERE / "_agent_process.py", home, key, str(seconds)]
    running = [start(command, home / "agent.log")]
    over = threading.Event()

    def keep() -> None:
        while not over.wait(0.2):
            if running[-1].poll() is not None and not over.wait(REST_S):
                progress(f"{home.name} is started again")
                running.append(start(command, home / "agent.log"))

    thread = threading.Thread(target=keep)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        stop(running[-1])
