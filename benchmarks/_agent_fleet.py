"""A federation's servers and its agents, each a process of its own, for the time of a block."""

import json
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import tomli_w
from _harness import HERE, PYTHON, QUIET, NotMeasuredError, progress, run

from skerry.clock import system_clock
from skerry.server.enrolment import Office
from skerry.server.federation_home import FederationHome

DEVICES = 4
UP_S = 90.0
REST_S = 8.0  # a process that died is started again after so long


@contextmanager
def agents(folder: Path, *, seconds: float, database: bool = False) -> Iterator[Path]:
    """Servers and agents; the folder of runs. An agent that dies is started again."""
    runs, key = folder / "runs", folder / "key-file"
    runs.mkdir()
    key.write_bytes(os.urandom(32))
    key.chmod(0o600)
    with ExitStack() as stack:
        kept = ["--database", folder / "superlink.sqlite"] if database else []
        words = ["server", "up", "--json", "--runs-dir", runs, *kept]
        ports = ["--port", "0", "--enrolment-port", "0", "--device-port", "0"]
        server = _start([PYTHON, "-m", "skerry.cli", *words, *ports], folder / "server.log")
        stack.callback(_stop, server)
        addresses = _await_server(runs, server, folder / "server.log")
        homes = [_enrol(folder, runs, key, f"pi-{number}", addresses["gateway"]) for number in range(1, DEVICES + 1)]
        for home in homes:
            stack.enter_context(_kept_up(home, key, seconds))
        yield runs


def _await_server(runs: Path, server: subprocess.Popen, log: Path) -> dict[str, str]:
    deadline = time.monotonic() + UP_S
    noted = FederationHome(runs).server
    while not noted.exists() or '"invite"' not in log.read_text(errors="replace"):
        if server.poll() is not None or time.monotonic() > deadline:
            raise NotMeasuredError(f"no server: {log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.1)
    return json.loads(noted.read_text())["addresses"]


def _enrol(folder: Path, runs: Path, key: Path, name: str, gateway: str) -> Path:
    authority = FederationHome(runs).authority(now=system_clock())
    invitation = Office(runs).invite(
        authority,
        device_class="pi",
        by="benchmark",
        now=system_clock(),
        life=3_600_000,
        approve=True,
        address=f"https://{gateway}",
    )
    terms = folder / f"{name}.toml"
    terms.write_text(tomli_w.dumps({"task": {"name": "digits", "holder": "writer-00"}, "privacy": {"unit": "none"}}))
    home = folder / name
    command = [PYTHON, "-m", "skerry.cli", "device", "enrol", invitation.text, "--home", home, "--name", name]
    run([*command, "--key-file", key, "--terms", terms, "--json"], timeout_s=120)
    return home


@contextmanager
def _kept_up(home: Path, key: Path, seconds: float) -> Iterator[None]:
    command = [PYTHON, HERE / "_agent_process.py", home, key, str(seconds)]
    running = [_start(command, home / "agent.log")]
    over = threading.Event()

    def keep() -> None:
        while not over.wait(0.2):
            if running[-1].poll() is not None and not over.wait(REST_S):
                progress(f"{home.name} is started again")
                running.append(_start(command, home / "agent.log"))

    thread = threading.Thread(target=keep)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        _stop(running[-1])


def _start(command: list, log: Path) -> subprocess.Popen:
    with log.open("ab") as said:
        return subprocess.Popen([str(word) for word in command], stdout=said, stderr=said, env={**os.environ, **QUIET})


def _stop(process: subprocess.Popen) -> None:
    process.terminate()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
