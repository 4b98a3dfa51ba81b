"""Everything that a report tells, gathered from the run's folder; what is not there stays None."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from skerry.config import Scenario
from skerry.records import RoundRecord
from skerry.result import Result, load_result
from skerry.runfolder import RunFolder
from skerry.security.privacy.accounting import GaussianEvent, compose, epsilon_from_rdp
from skerry.security.privacy.chain import split, walk
from skerry.server.report.log_entries import LogFacts, log_facts

__all__ = ["Facts", "gather"]


@dataclass(frozen=True)
class Facts:
    """One run as its files tell it.

    Attributes:
        result: None while the run has none (interrupted, failed, or still running).
        base_accuracy: of the public head, as soon as it is known.
        verdicts: the lines of ``verdicts.jsonl``.
        epsilon: for each device, RDP ε at the scenario's δ after round 1, 2, … as its own ledger tells it; empty
            without privacy, and of a fleet, whose ledgers are not here.
        log: the run's entries in the federation's log, or why there is no evidence.
    """

    id: str
    simulated: bool
    state: str
    status: Mapping[str, Any]
    scenario: Scenario
    scenario_text: str
    result: Result | None
    rounds: tuple[RoundRecord, ...]
    base_accuracy: float | None
    verdicts: tuple[Mapping[str, Any], ...]
    epsilon: Mapping[str, tuple[float, ...]]
    log: LogFacts | str

    @property
    def last_round(self) -> int:
        """Number of the newest finished round, 0 before the first."""
        return self.rounds[-1].round if self.rounds else 0


def gather(folder: RunFolder) -> Facts:
    """Read the run's folder; changes nothing in it.

    Raises:
        InputError: the result was changed or damaged.
        LedgerCorruptError: a device's ledger was.
    """
    status, rounds = folder.status, tuple(folder.rounds())
    result = load_result(folder.path) if (folder.path / "result.json").is_file() else None
    base = status.get("base_accuracy")
    if base is None and result is not None and result.quality.base is not None:
        base = result.quality.base.accuracy
    # Whoever writes the report as the last act of a run has a result and not yet the state "complete".
    state = result.run.state if result is not None else folder.state
    return Facts(
        id=folder.id,
        simulated=folder.simulated,
        state=state,
        status=status,
        scenario=folder.scenario,
        scenario_text=(folder.path / "scenario.toml").read_text(encoding="utf-8"),
        result=result,
        rounds=rounds,
        base_accuracy=base,
        verdicts=tuple(folder.lines("verdicts.jsonl")),
        epsilon=_spent_by_round(folder, rounds[-1].round if rounds else 0),
        log=log_facts(folder, result.delivery.manifest_digest if result and result.delivery else None),
    )


def _spent_by_round(folder: RunFolder, last: int) -> dict[str, tuple[float, ...]]:
    """ε of each device after each round, composed from its ledger's debits for this run."""
    privacy = folder.scenario.privacy
    if privacy.unit == "none":
        return {}
    known: dict[frozenset[tuple[GaussianEvent, int]], float] = {frozenset(): 0.0}
    curves: dict[str, tuple[float, ...]] = {}
    for path in sorted((folder.path / "ledger" / "devices").glob("*.jsonl")):
        debits = _debits(path, folder.id)
        steps: Counter[GaussianEvent] = Counter()
        curve: list[float] = []
        for number in range(1, last + 1):
            for event in debits.get(number, ()):
                steps[replace(event, steps=1)] += event.steps
            spent = frozenset(steps.items())
            if spent not in known:
                total = compose(replace(event, steps=count) for event, count in steps.items())
                known[spent] = epsilon_from_rdp(total, privacy.delta)[0]
            curve.append(known[spent])
        curves[path.stem] = tuple(curve)
    return curves


def _debits(path: Path, run: str) -> dict[int, list[GaussianEvent]]:
    found: dict[int, list[GaussianEvent]] = {}
    for entry in walk(split(path.read_bytes())[0]):
        if entry.kind == "debit" and entry.body["run"] == run and entry.body["event"] is not None:
            found.setdefault(entry.body["round"], []).append(GaussianEvent(**entry.body["event"]))
    return found
