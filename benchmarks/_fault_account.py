"""What was answered, what the ledgers count, and what the coordinator made of it: read by somebody who trusts neither.

What left a device is known from its agent's record, which the harness opens with the coordinator's keys; what it counts
from its own ledger. From the recorded answers alone every released vector is computed again. One that comes out
otherwise is explained if it can be: by an answer that counted twice, by one of an earlier round, or by a whole round
that was applied once more.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from _fault_agent import LENGTHS

from skerry.clock import system_clock
from skerry.device.protocol import Update
from skerry.device.worker import Worker
from skerry.records import Float32Array, RoundRecord
from skerry.runfolder import RunFolder
from skerry.security.envelope import Expected, Kind, open_envelope
from skerry.security.identity import Directory
from skerry.security.privacy.chain import Entry
from skerry.security.privacy.verification import read_entries, verify_ledger
from skerry.server.checkpoint import vector_digest
from skerry.server.federation_home import FederationHome
from skerry.server.fleet import good_standing
from skerry.server.rounds import server_optimizer
from skerry.strategies import parse_rule

EARLIER = 10
"""Rounds that are searched for the answer which a vector was made of in place of its own."""


@dataclass
class Device:
    """What one device answered in a run: updates by round, each with the debit that it names; and refusals."""

    updates: dict[int, dict[bytes, Update]] = field(default_factory=dict)
    refusals: list[str] = field(default_factory=list)
    entries: dict[str, Entry] = field(default_factory=dict)
    problems: tuple[str, ...] = ()

    def undercounts(self, run: str) -> list[str]:
        """Answers that its ledger does not count: no debit of that round, another one, or two answers under one."""
        found = []
        for number, given in sorted(self.updates.items()):
            if len(given) > 1:
                found.append(f"round {number}: {len(given)} different answers")
            for update in given.values():
                debit = self.entries.get(update.ledger_head)
                if debit is None or (debit.body.get("run"), debit.body.get("round")) != (run, number):
                    found.append(f"round {number}: an answer without its debit")
        return found


@dataclass
class Account:
    """What was found; each list holds a sentence for each thing that must not be."""

    rounds: list[RoundRecord]
    devices: dict[str, Device]
    undercounts: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    stale: list[str] = field(default_factory=list)
    unexplained: list[str] = field(default_factory=list)
    ledgers: list[str] = field(default_factory=list)

    @property
    def detail(self) -> dict[str, Any]:
        """Who took part how often, and why not."""
        names = sorted(self.devices)
        reasons: dict[str, int] = {}
        for record in self.rounds:
            for reason in record.dropped.values():
                reasons[str(reason)] = reasons.get(str(reason), 0) + 1
        return {
            "accepted": {name: sum(name in record.accepted for record in self.rounds) for name in names},
            "answers": {name: sum(map(len, self.devices[name].updates.values())) for name in names},
            "refusals": {name: sorted(self.devices[name].refusals) for name in names if self.devices[name].refusals},
            "dropped": reasons,
            "skipped": [record.round for record in self.rounds if record.extra.get("skipped")],
        }


def account(folder: RunFolder, places: Mapping[str, tuple[Path, Path]]) -> Account:
    """Read everything.

    Args:
        folder: the run.
        places: for each device its ledger and its agent's record.
    """
    runs = folder.path.parent
    directory = good_standing(runs, system_clock()).devices
    devices = {name: _device(runs, directory, folder.id, *paths) for name, paths in places.items()}
    found = Account(folder.rounds(), devices)
    for name, device in devices.items():
        found.undercounts += [f"{name}: {what}" for what in device.undercounts(folder.id)]
        found.ledgers += [f"{name}: {what}" for what in device.problems]
    population = read_entries(folder.path / "ledger" / "population.jsonl")[0]
    _receipts(found, population)
    _vectors(found, folder)
    return found


def _device(runs: Path, directory: Directory, run: str, ledger: Path, record: Path) -> Device:
    entries, _ = read_entries(ledger)
    made = Device(entries={entry.hash: entry for entry in entries if entry.kind == "debit"})
    made.problems = tuple(verify_ledger(ledger, pld=False).problems)
    coordinator = FederationHome(runs).coordinator()
    for when, envelope in _recorded(record.with_suffix(".answers")):
        opened = open_envelope(
            envelope,
            me=coordinator,
            directory=directory,
            expected=Expected(kind=frozenset({Kind.UPDATE, Kind.REFUSAL}), receiver=coordinator.name, run=run),
            now=when,
            replay=None,
        )
        if opened.header.kind is Kind.REFUSAL:
            made.refusals.append(opened.payload.decode())
        else:
            made.updates.setdefault(opened.header.round, {})[opened.payload] = Update.from_bytes(opened.payload)
    return made


def _recorded(path: Path) -> Iterator[tuple[int, bytes]]:
    """Answers that were recorded whole; one that was being written when the agent was killed has not left it."""
    data = path.read_bytes() if path.exists() else b""
    place = 0
    while place + LENGTHS.size <= len(data):
        when, length = LENGTHS.unpack_from(data, place)
        place += LENGTHS.size
        if place + length <= len(data):
            yield when, data[place : place + length]
        place += length


def _receipts(found: Account, population: list[Entry]) -> None:
    """Each debit paid for one use, in the round that it was made for; each round is released once."""
    names = {entry.seq: entry.body["device"] for entry in population if entry.kind == "member"}
    used: dict[str, int] = {}
    released: set[int] = set()
    for entry in population:
        number = entry.body.get("round")
        if entry.kind == "receipts":
            for member, receipt in entry.body["receipts"].items():
                name, leaf = names[int(member)], receipt["leaf"]
                if leaf in used:
                    found.twice.append(f"{name}: the answer of round {used[leaf]} again in round {number}")
                used[leaf] = number
                debit = found.devices[name].entries.get(leaf)
                if debit is None:
                    found.undercounts.append(f"{name}: a receipt of round {number} for no debit of its ledger")
                elif debit.body["round"] != number:
                    found.stale.append(f"{name}: in round {number} the answer of round {debit.body['round']}")
        elif entry.kind == "release":
            if number in released:
                found.twice.append(f"round {number} was released twice")
            released.add(number)
    numbers = [record.round for record in found.rounds]
    found.twice += [f"round {number} is recorded twice" for number in sorted(set(numbers)) if numbers.count(number) > 1]


def _vectors(found: Account, folder: RunFolder) -> None:
    """Compute every vector again."""
    replay = _Replay(folder, found.devices)
    for record in found.rounds:
        if record.extra.get("skipped"):
            continue
        fault = replay.follow(record)
        if fault is None:
            continue
        kind, what = fault
        getattr(found, kind).append(f"round {record.round}: {what}")
        if kind == "unexplained":
            return


class _Replay:
    """The vector of a run, moved round by round by what devices have recorded that they answered."""

    def __init__(self, folder: RunFolder, devices: Mapping[str, Device]) -> None:
        scenario, worker = folder.scenario, Worker()
        base = json.loads((folder.path / "model" / "base.json").read_bytes())["digest"]
        self._devices = devices
        self._vector = worker.model(scenario.model, base, worker.task(scenario.task, scenario.model)).initial()
        self._optimizer = server_optimizer(scenario.training)
        self._moments = self._optimizer.start(self._vector.size)
        self._rule = parse_rule("mean", tolerate=0, seed=0)

    def follow(self, record: RoundRecord) -> tuple[str, str] | None:
        """Move to the vector that the round released; what is wrong with it: the account's list for it, a sentence."""
        rows = {name: self._answer(name, record.round) for name in record.accepted}
        lacking = [name for name, row in rows.items() if row is None]
        if lacking:
            return "unexplained", f"answers of {', '.join(lacking)} that they have not given"
        given = {name: row for name, row in rows.items() if row is not None}
        for kind, what, moves in self._stories(record.round, given):
            vector, moments = self._vector, self._moments
            for move in moves:
                vector, moments = self._optimizer(vector, self._rule(np.stack(move)), moments)
            if vector_digest(vector) == record.vector_digest:
                self._vector, self._moments = vector, moments
                return (kind, what) if kind else None
        return "unexplained", "no answers lead to its vector; it and all after it are not followed"

    def _stories(
        self, number: int, given: Mapping[str, Float32Array]
    ) -> Iterator[tuple[str, str, list[list[Float32Array]]]]:
        """What may have been done with the answers: first what should have been, then faults."""
        rows = list(given.values())
        yield "", "", [rows]
        for name, row in given.items():
            yield "twice", f"the answer of {name} counted twice", [[*rows, row]]
        yield "twice", "its mean was applied twice", [rows, rows]
        for name in self._devices:
            for earlier in range(max(1, number - EARLIER), number):
                old = self._answer(name, earlier)
                if old is not None:
                    mixed = [old if one == name else given[one] for one in sorted({*given, name})]
                    yield "stale", f"{name} with its answer of round {earlier}", [mixed]

    def _answer(self, name: str, number: int) -> Float32Array | None:
        """The device's last answer to that round's instruction; that there is but one is looked at elsewhere."""
        updates = list(self._devices[name].updates.get(number, {}).values())
        return updates[-1].delta if updates else None
