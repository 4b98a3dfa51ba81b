"""A warm process that forks one child a command, so that the instants of kills fall into runs and not into imports.

``python _run_nursery.py FOLDER SCENARIO [KEY=VALUE…]`` runs the scenario once, uninterrupted, into ``FOLDER/warm``,
prints ``ready``, and then reads commands, a line each. For each it prints the child's process id, and when the child
has ended its exit code (minus the signal's number)::

    RUN PARENT [PLACE COUNT]      a new run; killed by SIGKILL when the function at PLACE has returned COUNT times
    RESUME PARENT [PLACE COUNT]   ``skerry run --resume`` of the newest run there
    LATER PARENT                  the same an hour later
    VERIFY PARENT                 ``skerry privacy verify`` of it

``python _run_nursery.py RESUME PARENT`` does that in a process that knows nothing of any run.

Children write down beside the runs, before it happens: in ``PARENT/asked`` who is asked (process, round, device,
nonce), in ``PARENT/left`` each update that leaves a device (round, device, SHA-256). A SIGKILL takes nothing of that
away.
"""

import hashlib
import importlib
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from skerry.cli.app import app
from skerry.clock import system_clock
from skerry.config import load_scenario
from skerry.device import participation
from skerry.device.worker import process_worker
from skerry.security.envelope import Kind
from skerry.server import rounds
from skerry.server.launch import launch

HOUR_MS = 3_600_000


def main() -> None:
    """Serve until standard input ends."""
    if sys.argv[1] == "RESUME":
        sys.exit(_resumed(sys.argv[2]))
    parent, source, *overrides = sys.argv[1:]
    scenario = load_scenario(Path(source), overrides)
    launch(scenario, engine="inprocess", parent=Path(parent) / "warm")
    process_worker().residents.clear()  # those of the warm run are no devices of the others
    print("ready", flush=True)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            code = 1
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what commands print is not an answer of the nursery's
            try:
                code = _obey(scenario, *line.split())
            except BaseException:  # noqa: BLE001 - printed; an exception that left here would run the parent's loop a second time, in the child
                traceback.print_exc()
            os._exit(code)  # an ordinary exit would wait for threads that a fork leaves behind
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _obey(scenario: Any, command: str, parent: str, *kill: str) -> int:
    folder = Path(parent)
    folder.mkdir(parents=True, exist_ok=True)
    _witness(folder)
    if kill:
        _die_at(*kill)
    if command == "RUN":
        launch(scenario, engine="inprocess", parent=folder)
        return 0
    if command == "VERIFY":
        return _command("privacy", "verify", "latest", "--runs-dir", parent, "--json")
    if command == "LATER":
        for name in ("skerry.server.launch", "skerry.server.app", "skerry.device.app"):
            module: Any = importlib.import_module(name)
            module.system_clock = lambda: system_clock() + HOUR_MS
    return _command("run", "--resume", "latest", "--runs-dir", parent, "--json")


def _resumed(parent: str) -> int:
    _witness(Path(parent))
    return _command("run", "--resume", "latest", "--runs-dir", parent, "--json")


def _command(*words: str) -> int:
    """The exit code of a command line."""
    try:
        app(list(words))
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    return 0


def _witness(folder: Path) -> None:
    """Write down who is asked and what leaves, each before it happens."""
    asked, left = (os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND) for name in ("asked", "left"))
    collect, sealed_reply = rounds.collect, participation.sealed_reply

    def collecting(federation: Any, plan: Any, journal: Any, **more: Any) -> Any:
        rows = (f"{os.getpid()} {plan.number} {name} {plan.asked[name].nonce.hex()}\n" for name in plan.envelopes)
        os.write(asked, "".join(rows).encode())
        return collect(federation, plan, journal, **more)

    def replying(kind: Kind, payload: bytes, opened: Any, resident: Any, **more: Any) -> bytes:
        if kind is Kind.UPDATE:
            digest = hashlib.sha256(payload).hexdigest()
            os.write(left, f"{opened.header.round} {resident.home.device} {digest}\n".encode())
        return sealed_reply(kind, payload, opened, resident, **more)

    rounds.collect, participation.sealed_reply = collecting, replying


def _die_at(place: str, count: str) -> None:
    """Have ``module:path`` end the process when it has returned so many times."""
    module, _, path = place.partition(":")
    holder: Any = importlib.import_module(module)
    *owners, name = path.split(".")
    for owner in owners:
        holder = getattr(holder, owner)
    plain: Callable[..., Any] = getattr(holder, name)
    left = [int(count)]

    def wrapped(*args: Any, **named: Any) -> Any:
        out = plain(*args, **named)
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
        return out

    setattr(holder, name, wrapped)


if __name__ == "__main__":
    main()
