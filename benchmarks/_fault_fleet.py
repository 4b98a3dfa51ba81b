"""A federation that is to outlive whatever is done to it: servers, agents and a run, each started again when it ends.

Servers and devices have a small disk each, a file system of their own in memory that can be full. Devices reach the
gateway over lines that can be broken. A supervisor does what systemd would: it starts again what has ended, the run
with ``--resume``.
"""

import contextlib
import shutil
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from _agent_fleet import SKERRY, UP_S, enrol, invitation, key_file, start, stop
from _faulty_line import FaultyLine
from _harness import HERE, PYTHON, NotMeasuredError, progress
from _small_disk import small_disk

from skerry.config import load_scenario
from skerry.runfolder import RunFolder, list_runs
from skerry.server.federation_home import FederationHome
from skerry.server.running import RunningServer

LOOK_S = 0.1
AGAIN_S = 0.5  # what has ended is started again after so long
SERVER_DISK, DEVICE_DISK = "420m", "64m"  # a run wants 256 MiB free when it begins
HOLDERS = ("writer-00", "writer-01", "writer-02", "writer-04")  # of digits; others are held out
PLENTY = {"unit": "example", "epsilon": 1000.0, "delta": 1e-5}  # of privacy


@dataclass
class Place:
    """A device: its disk, its line, and where what it does is recorded."""

    name: str
    disk: Path
    record: Path
    line: FaultyLine

    @property
    def home(self) -> Path:
        """What ``skerry device`` calls so."""
        return self.disk / "home"

    @property
    def ledger(self) -> Path:
        """Its own."""
        return self.home / "ledger.jsonl"


@dataclass
class Program:
    """A process that is kept running."""

    command: list[object]
    log: Path
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen | None = None
    ended: float = 0.0

    def start(self) -> None:
        self.process = start(self.command, self.log, self.environment)

    @property
    def over(self) -> bool:
        """Whether it ended long enough ago to be started again."""
        if self.lives:
            return False
        self.ended = self.ended or time.monotonic()
        if time.monotonic() - self.ended < AGAIN_S:
            return False
        self.ended = 0.0
        return True

    @property
    def lives(self) -> bool:
        """Whether it runs now."""
        return self.process is not None and self.process.poll() is None

    def kill(self) -> bool:
        """``kill -9``; whether there was anything to kill."""
        if not self.lives:
            return False
        self.process.kill()
        self.process.wait()
        return True

    def end(self) -> None:
        if self.process is None:
            return
        stop(self.process)


class Fleet:
    """What runs; made by :func:`fleet`."""

    def __init__(self, folder: Path, key: Path, scenario: Path, ports: tuple[int, int, int]) -> None:
        self.folder = folder
        self.key = key
        self.disk = folder / "server"
        self.runs = self.disk / "runs"
        self.places: dict[str, Place] = {}
        self.started: Counter[str] = Counter()
        self.given_up: Exception | None = None
        """Why nothing is started again any more."""
        self.scenario = scenario
        words = ["server", "up", "--json", "--runs-dir", self.runs, "--database", self.disk / "superlink.sqlite"]
        numbers = zip(("--port", "--enrolment-port", "--device-port"), ports, strict=True)
        self.server = Program([*SKERRY, *words, *(w for pair in numbers for w in pair)], folder / "server.log")
        self.agents: dict[str, Program] = {}
        self.run = Program([], folder / "run.log")
        self._running = threading.Event()
        self._over = threading.Event()
        self._hands = threading.RLock()

    @property
    def server_is_up(self) -> bool:
        return RunningServer.read(FederationHome(self.runs).server) is not None

    @property
    def run_folder(self) -> RunFolder | None:
        found = list_runs(self.runs)
        return found[-1] if found else None

    @property
    def rounds(self) -> int:
        """Rounds that are finished."""
        path = None if self.run_folder is None else self.run_folder.path / "rounds.jsonl"
        return path.read_bytes().count(b"\n") if path is not None and path.exists() else 0

    @property
    def complete(self) -> bool:
        return self.run_folder is not None and self.run_folder.status["state"] == "complete"

    def is_last(self, rounds: int) -> bool:
        """Whether that is the run's last round, after which it has more to do."""
        return self.run_folder is not None and rounds >= self.run_folder.status["rounds"]

    @contextmanager
    def held(self) -> Iterator[None]:
        """Nothing is started again within the block."""
        with self._hands:
            yield

    def begin_run(self) -> None:
        """Start the run, and keep it going."""
        self._running.set()

    def superlink(self) -> psutil.Process | None:
        """The SuperLink's process."""
        if self.server.process is None:
            return None
        with contextlib.suppress(psutil.Error):
            for child in psutil.Process(self.server.process.pid).children():
                if any("superlink" in Path(word).name for word in child.cmdline()):
                    return child
        return None

    def keep(self) -> None:
        """Start again what has ended, until told to stop."""
        try:
            while not self._over.wait(LOOK_S):
                with self._hands:
                    self._look()
        except Exception as error:  # noqa: BLE001 - a thread has nobody above it: kept, and raised again by who waits for the federation
            self.given_up = error

    def _look(self) -> None:
        self._again("server", self.server)
        for name, agent in self.agents.items():
            self._again(name, agent)
        if self._running.is_set() and self.server_is_up and not self._finished():
            begun = self.run_folder
            words = [self.scenario, "--engine", "fleet"] if begun is None else ["--resume", begun.id]
            self.run.command = [*SKERRY, "run", *words, "--runs-dir", self.runs, "--json"]
            self._again("run", self.run)

    def end(self) -> None:
        self._over.set()

    def _finished(self) -> bool:
        return self.complete and self.run.process is not None and self.run.process.poll() is not None

    def _again(self, name: str, program: Program) -> None:
        if program.over:
            self.started[name] += 1
            program.start()


@contextmanager
def fleet(folder: Path, devices: int, scenario: Path) -> Iterator[Fleet]:
    """A federation that is up, with devices that are enrolled and run; nothing is done with it yet."""
    key, model = key_file(folder), load_scenario(scenario).model
    ports = _free_ports()
    made = Fleet(folder, key, scenario, ports)
    with ExitStack() as stack:
        stack.enter_context(small_disk(made.disk, SERVER_DISK))
        made.runs.mkdir()
        thread = threading.Thread(target=made.keep)
        stack.callback(lambda: [program.end() for program in (made.run, *made.agents.values(), made.server)])
        stack.callback(thread.join)
        stack.callback(made.end)
        thread.start()
        _await(lambda: made.server_is_up and '"invite"' in made.server.log.read_text(errors="replace"), made.server.log)
        for number, holder in enumerate(HOLDERS[:devices], start=1):
            name = f"pi-{number}"
            place = Place(
                name,
                folder / name,
                folder / f"{name}.record",
                stack.enter_context(FaultyLine(ports[0])),
            )
            stack.enter_context(small_disk(place.disk, DEVICE_DISK))
            address = f"https://127.0.0.1:{place.line.port}"
            invited = invitation(made.runs, "pi", address)
            enrol(invited, place.home, key, holder=holder, privacy=PLENTY, name=name, model=model)
            made.places[place.name] = place
        for place in made.places.values():
            command = [PYTHON, HERE / "_fault_agent.py", place.home, key, place.record]
            cache = {"SKERRY_HOME": str(place.disk / "cache")}
            made.agents[place.name] = Program(command, folder / f"{place.name}.log", cache)
        yield made


def _free_ports() -> tuple[int, int, int]:
    with ExitStack() as held:
        taken = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(3)]
        first, second, third = (one.getsockname()[1] for one in taken)
    return first, second, third


def _await(ready: Callable[[], bool], log: Path) -> None:
    end = time.monotonic() + UP_S
    while not ready():
        if time.monotonic() > end:
            raise NotMeasuredError(f"no server: {log.read_text(errors='replace')[-2000:]}")
        time.sleep(LOOK_S)


def copied(made: Fleet, to: Path) -> None:
    """The folder of runs and what the devices hold, where they outlive their disks."""
    shutil.copytree(made.runs, to / "runs", symlinks=True)
    for place in made.places.values():
        shutil.copytree(place.home, to / place.name)
    progress(f"kept in {to}")
