"""What the console shows of one run: where it is, its rounds, its verdicts, what each device was asked to spend."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from skerry.canonical import decode
from skerry.config import Scenario
from skerry.errors import InputError
from skerry.records import Action, Reason
from skerry.runfolder import RunFolder
from skerry.security.privacy.chain import GENESIS, Entry, split, walk
from skerry.server.asked import asked_of
from skerry.server.console.lines import GrowingLines, WhenChanged
from skerry.server.ledgers import POPULATION
from skerry.server.pausing import paused
from skerry.server.registry import Scope, run_scope

__all__ = ["RunFacts"]

_UNDER_WAY = {"preparing", "running", "finishing"}
_VERDICTS = 200  # the newest that are shown of a run
_SHOWN = ("accuracy", "loss", "epsilon_max", "epsilon_median", "flagged", "dropped", "finished_ms", "skipped")


class RunFacts:
    """One run, read again where its files have changed.

    Attributes:
        scope: of its devices.
        asked: who was asked in the round under way, if there is one.
        answered: which of them have answered.
    """

    def __init__(self, folder: RunFolder) -> None:
        path = folder.path
        self._folder = folder
        self._scenario: Scenario = folder.scenario
        self.scope: Scope | None = None
        self._status = WhenChanged(lambda: folder.status, path / "status.json")
        self._rounds = GrowingLines(path / "rounds.jsonl")
        self._verdicts = GrowingLines(path / "verdicts.jsonl")
        self._notices = WhenChanged(lambda: folder.notices, path / "notices.jsonl")
        self._asked = WhenChanged(lambda: _asked(path / "round" / "asked.cbor"), path / "round" / "asked.cbor")
        self._answers = _Answers(path / "round" / "answers")
        self._ledger = _Population(path / "ledger" / f"{POPULATION}.jsonl")
        self._spent: dict[str, Mapping[str, Any]] = {}
        self._judged: dict[str, Mapping[str, Any]] = {}
        self.asked: frozenset[str] = frozenset()
        self.answered: frozenset[str] = frozenset()

    @property
    def id(self) -> str:
        """Of the run."""
        return self._folder.id

    @property
    def under_way(self) -> bool:
        """Whether its process is at work."""
        return self._state() in _UNDER_WAY

    @property
    def devices(self) -> frozenset[str]:
        """Who is known to belong to it."""
        return self.asked | {str(one["device"]) for one in self._spent.values()}

    def look(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Its facts as of now, by key."""
        status, _ = self._status.look()
        unplaced = self.scope is None
        if unplaced and (self._folder.simulated or "federation" in status):
            self.scope = run_scope(self._folder)
        self._rounds.look()
        if self._verdicts.look() or unplaced:
            self._judged = dict(self._verdict_facts())
        if self._ledger.look() or unplaced:
            self._spent = dict(self._budget_facts())
        state = self._state()
        self._look_at_round(state)
        yield f"run/{self.id}", self._run_fact(status, state)
        for record in self._rounds.records:
            yield f"round/{self.id}/{record['round']}", self._round_fact(record)
        yield from self._judged.items()
        yield from self._spent.items()

    def _state(self) -> str:
        """The state in force; of one that is at work its process is looked at, too."""
        said = str(self._status.look()[0]["state"])
        return self._folder.state if said in _UNDER_WAY else said

    def _look_at_round(self, state: str) -> None:
        """Who is at work: asked in the round under way, and not finished with."""
        (number, asked), _ = self._asked.look()
        done = self._rounds.records[-1]["round"] if self._rounds.records else 0
        self.asked = asked if state == "running" and number > done else frozenset()
        self.answered = self._answers.of(number) & self.asked if self.asked else frozenset()

    def _run_fact(self, status: Mapping[str, Any], state: str) -> Mapping[str, Any]:
        scenario, privacy = self._scenario, self._scenario.privacy
        newest = self._rounds.records[-1] if self._rounds.records else {}
        promised = privacy.unit != "none"
        pause = paused(self._folder)
        return {
            "id": self.id,
            "scenario": scenario.name,
            "engine": status["engine"],
            "simulated": status["engine"] != "fleet",
            "scope": None if self.scope is None else self.scope.name,
            "state": state,
            "stage": status["stage"],
            "started": status["started"],
            "error": status["error"],
            "rounds": scenario.rounds,
            "done": newest.get("round", 0),
            "base_accuracy": status.get("base_accuracy"),
            "accuracy": newest.get("accuracy"),
            "epsilon": newest.get("epsilon_max") if promised else None,
            "budget": (privacy.epsilon if privacy.budget is None else privacy.budget) if promised else None,
            "delta": privacy.delta if promised else None,
            "unit": privacy.unit,
            "relation": "add/remove" if promised else None,
            "tolerate": scenario.defence.tolerate,
            "asked": len(self.asked),
            "answered": len(self.answered),
            "paused": None if pause is None else {"by": pause.by, "why": pause.why, "at": pause.at},
            "notices": list(self._notices.look()[0])[-3:],
        }

    def _round_fact(self, record: Mapping[str, Any]) -> Mapping[str, Any]:
        told = {name: record.get(name) for name in _SHOWN}
        return {
            "run": self.id,
            "round": record["round"],
            "accepted": len(record["accepted"]),
            "seconds": sum(record["seconds"].values()),
            "quarantined": record.get("quarantined", []),
            **told,
        }

    def _verdict_facts(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """The newest verdicts but plain acceptance, and but those that only say that a device was out already."""
        told = [
            one
            for one in self._verdicts.records
            if (one["action"] != Action.ACCEPT or one["reasons"]) and one["reasons"] != [Reason.QUARANTINED]
        ]
        for one in told[-_VERDICTS:]:
            yield f"verdict/{self.id}/{one['round']}/{one['device']}", {**self._whose(), **one}

    def _whose(self) -> Mapping[str, Any]:
        """What a fact about one of its devices says, so that it is taken for no other of the same name."""
        scope = None if self.scope is None else self.scope.name
        return {"run": self.id, "scope": scope, "simulated": self._folder.simulated}

    def _budget_facts(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """What each device was asked to spend in this run, at most: answer or not."""
        privacy = self._scenario.privacy
        known: dict[str, float] = {}  # devices that were asked alike have spent alike
        for device, one in asked_of(self._ledger.entries).items():
            prices = repr(one.prices)
            if one.prices and prices not in known:
                known[prices] = one.epsilon(privacy.delta)
            yield (
                f"budget/{self.id}/{device}",
                {
                    **self._whose(),
                    "device": device,
                    "rounds": one.rounds,
                    "receipts": one.receipts,
                    "epsilon": known.get(prices, 0.0) if privacy.unit != "none" else None,
                    "budget": (privacy.epsilon if privacy.budget is None else privacy.budget)
                    if privacy.unit != "none"
                    else None,
                },
            )


class _Population:
    """The entries of the population's ledger, checked as they come."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file, self._read, self._prev = 0, 0, GENESIS
        self.entries: list[Entry] = []

    def look(self) -> bool:
        """Whether there is something new."""
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return False
        if found.st_ino != self._file:  # names were erased in it
            self._file, self._read, self._prev, self.entries = found.st_ino, 0, GENESIS, []
        if found.st_size <= self._read:
            return False
        with self._path.open("rb") as file:
            file.seek(self._read)
            complete, _ = split(file.read())
        fresh = list(walk(complete, first=len(self.entries), prev=self._prev))
        if not fresh:
            return False
        self.entries += fresh
        self._read += len(complete)
        self._prev = fresh[-1].hash
        return True


def _asked(path: Path) -> tuple[int, frozenset[str]]:
    try:
        value = decode(path.read_bytes())
    except FileNotFoundError:
        return 0, frozenset()
    if not isinstance(value, dict):
        raise InputError("the record of the round under way was damaged", where=str(path))
    return value["round"], frozenset(value["asked"])


class _Answers:
    """Whose answers have come in a round: the heads of the file's records, each read once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file, self._place = 0, 0
        self._seen: dict[int, set[str]] = {}

    def of(self, number: int) -> frozenset[str]:
        """Who has answered in a round."""
        try:
            with self._path.open("rb") as file:
                found = self._path.stat()
                if found.st_ino != self._file or found.st_size < self._place:
                    self._file, self._place, self._seen = found.st_ino, 0, {}
                while self._place < found.st_size:
                    file.seek(self._place)
                    size = int.from_bytes(file.read(2), "big")
                    head = decode(file.read(size))
                    if not isinstance(head, dict):
                        break
                    after = self._place + 2 + size + head["length"]
                    if after > found.st_size:
                        break  # still being written
                    self._seen.setdefault(head["round"], set()).add(head["device"])
                    self._place = after
        except (FileNotFoundError, InputError, KeyError, TypeError, json.JSONDecodeError):
            pass  # it is no more there, or is being written: the next look has it
        return frozenset(self._seen.get(number, ()))
