"""The run folder: where everything that a run produces lies, each file whole or absent.

::

    runs/<id>/
        scenario.toml    resolved
        status.json      state, stage and times; rewritten atomically
        rounds.jsonl     one RoundRecord a line
        verdicts.jsonl   one Verdict a line
        notices.jsonl    what whoever watches the run should be told, one sentence a line; only if there is any
        result.json      when complete
        report.html
        references.json  accuracy by round of the runs it is compared with
        audit.json       of an audit: its coins, their salt, each canary's scores
        round/           the round under way: what was asked and answered so far; gone when it is finished
        checkpoint/      the last finished round: its vector, what the server and the screen remember (safetensors)
        fleet/           public keys; of a simulation also a home for each device, and the coordinator's keys (0600)
        ledger/          population.jsonl; devices/<id>.jsonl, or links to ledgers that go on from run to run;
                         published/ (signed checkpoint and tiles); index.sqlite (derived, made when needed)
        model/           base and final model: safetensors, ONNX int8, card
        release/         signed and encrypted
        logs/            what the engine and Flower said
"""

import json
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from skerry.config import Scenario, load_scenario, to_toml
from skerry.errors import InputError
from skerry.fsio import append_durably, disk_errors, write_atomic, write_json
from skerry.records import RoundRecord

__all__ = ["RunFolder", "State", "list_runs", "runs_dir"]

State = Literal["preparing", "running", "finishing", "complete", "interrupted", "failed"]

_ID = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")
_STATUS = ("state", "stage", "engine", "pid", "started", "updated", "rounds", "error")


def runs_dir(chosen: Path | None = None) -> Path:
    """Where runs lie: the given folder, else ``$SKERRY_RUNS_DIR``, else ``./runs``."""
    return (chosen or Path(os.environ.get("SKERRY_RUNS_DIR", "runs"))).expanduser().resolve()


class RunFolder:
    """One run's folder, by its path."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()

    @property
    def id(self) -> str:
        """The run's name, unique in its parent folder."""
        return self.path.name

    @staticmethod
    def create(parent: Path, scenario: Scenario, *, engine: str) -> "RunFolder":
        """Make a new folder with the resolved scenario and the state ``preparing``."""
        stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
        folder = RunFolder(parent / f"{scenario.name}-{stamp}-{secrets.token_hex(2)}")
        with disk_errors(folder.path):
            folder.path.mkdir(parents=True)
        write_atomic(folder.path / "scenario.toml", to_toml(scenario).encode())
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        write_json(
            folder.path / "status.json",
            {
                "schema": 1,
                "state": "preparing",
                "stage": "preparing",
                "engine": engine,
                "pid": os.getpid(),
                "started": now,
                "updated": now,
                "rounds": scenario.rounds,
                "error": None,
            },
        )
        return folder

    @staticmethod
    def open(name: str, parent: Path) -> "RunFolder":
        """The run of that id in ``parent``, or the folder at that path, or the newest for ``"latest"``.

        Raises:
            InputError: there is no such run; names the near ones.
        """
        if name == "latest":
            found = list_runs(parent)
            if not found:
                raise InputError("there are no runs yet", where=str(parent), mend="start one with `skerry demo`")
            return found[-1]
        listed = _ID.match(name) or any(run.id == name for run in list_runs(parent))  # somebody may have renamed it
        path = parent / name if listed else Path(name)
        if not (path / "scenario.toml").is_file():
            near = ", ".join(f.id for f in list_runs(parent)[-3:])
            raise InputError(
                f"there is no run {name!r}",
                where=str(parent),
                mend=f"the newest are: {near}" if near else "start one with `skerry demo`",
            )
        return RunFolder(path)

    @property
    def scenario(self) -> Scenario:
        """The resolved scenario as it was written."""
        return load_scenario(self.path / "scenario.toml")

    @property
    def simulated(self) -> bool:
        """Whether its devices were made for it, on this machine; else they are enrolled devices of a federation."""
        return bool(self.status["engine"] != "fleet")

    @property
    def status(self) -> dict[str, Any]:
        """The state as last written.

        Raises:
            InputError: it is damaged, or of another version of skerry.
        """
        path = self.path / "status.json"
        with _reading(path):
            value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            for name in _STATUS:
                value[name]
        return value

    @property
    def state(self) -> State:
        """The state in force: a run whose process on this machine is gone without a word was interrupted."""
        status = self.status
        state: State = status["state"]
        if state in {"complete", "interrupted", "failed"} or _alive(status["pid"]):
            return state
        return "interrupted"

    def mark(
        self,
        state: State,
        *,
        stage: str | None = None,
        error: dict[str, Any] | None = None,
        extra: dict[str, Any] | None = None,
    ) -> None:
        """Record the state, the stage at hand, and further fields worth watching."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        status = {**self.status, "state": state, "stage": stage or state, "updated": now, **(extra or {})}
        if error is not None:
            status["error"] = error
        write_json(self.path / "status.json", status, durable=state not in {"preparing", "running"})

    def notify(self, sentence: str) -> None:
        """Tell whoever watches the run."""
        append_durably(self.path / "notices.jsonl", json.dumps({"what": sentence}).encode() + b"\n")

    @property
    def notices(self) -> tuple[str, ...]:
        """What whoever watches the run should be told, each sentence once, in order."""
        with _reading(self.path / "notices.jsonl"):
            return tuple(dict.fromkeys(str(line["what"]) for line in self.lines("notices.jsonl")))

    def rounds(self) -> list[RoundRecord]:
        """Finished rounds in order; a torn last line (a crash while writing) is left out.

        Raises:
            InputError: another line is damaged, or of another version of skerry.
        """
        with _reading(self.path / "rounds.jsonl"):
            return [RoundRecord.from_json(value) for value in self.lines("rounds.jsonl")]

    def lines(self, name: str) -> Iterator[dict[str, Any]]:
        """The records of a JSON-lines file of this run; a torn last line is left out.

        Raises:
            InputError: another line is no record.
        """
        path = self.path / name
        if not path.exists():
            return
        for line in path.read_bytes().split(b"\n")[:-1]:
            with _reading(path):
                value = json.loads(line)
                if not isinstance(value, dict):
                    raise TypeError(f"{value!r:.40} is no record")
            yield value

    @property
    def result(self) -> dict[str, Any] | None:
        """``result.json`` when it is there.

        Raises:
            InputError: it is no JSON.
        """
        path = self.path / "result.json"
        with _reading(path):
            return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """What does not read as this skerry writes it is said of the file: damaged, or of another version."""
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        why = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise InputError(
            f"a run's file cannot be read: {why}",
            where=str(path),
            mend="it is damaged, or of another version of skerry: read it with that one",
        ) from error


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def list_runs(parent: Path) -> list[RunFolder]:
    """The runs in a folder, oldest first; before them those of which that cannot be read."""
    if not parent.is_dir():
        return []
    found = [
        RunFolder(p) for p in parent.iterdir() if (p / "status.json").is_file() and (p / "scenario.toml").is_file()
    ]
    return sorted(found, key=_started)


def _started(run: RunFolder) -> str:
    """When it was; one damaged run must not hide the others."""
    try:
        return str(run.status["started"])
    except (OSError, InputError):
        return ""
