"""Runs that are killed and go on: the stages after which they are killed, what runs them, and what is found."""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from skerry.runfolder import RunFolder, list_runs
from skerry.security.privacy.chain import split, walk
from skerry.security.privacy.ledger import Ledger
from skerry.server.checkpoint import load_checkpoint
from skerry.server.journal import RoundJournal

__all__ = ["BOUNDARIES", "PROGRAM", "ROUNDS", "SHORT", "Aftermath", "Nursery", "Stopped", "aftermath", "fixed_clip"]

ROUNDS = 4
SHORT = (f"rounds={ROUNDS}", "training.epochs=1", "report.references=false")
"""What makes a shipped scenario short."""

BOUNDARIES = {
    "the population's ledger exists": ("skerry.server.federation:read_past", 1),
    "the round is opened": ("skerry.server.rounds:make_plan", 2),
    "the instructions are written": ("skerry.server.journal:RoundJournal.begin", 2),
    "a device has debited": ("skerry.security.privacy.ledger:Ledger._append", 28),
    "some answers are here": ("skerry.server.journal:RoundJournal.add", 15),
    "all answers are here": ("skerry.server.rounds:collect", 2),
    "the answers are opened": ("skerry.server.rounds:open_replies", 2),
    "the answers are valid": ("skerry.server.rounds:validate", 2),
    "the screen has judged": ("skerry.server.rounds:screen", 3),
    "the rule has run": ("skerry.server.rounds:aggregate", 3),
    "the release is recorded": ("skerry.server.rounds:evaluate_held_out", 4),
    "the checkpoint is written": ("skerry.server.checkpoint:save_checkpoint", 2),
    "the last round is over": ("skerry.server.journal:RoundJournal.drop", 1),
    "the release is sealed": ("skerry.server.finish:publish", 1),
    "the delivery is recorded": ("skerry.server.finish:_release", 1),
    "the result is written": ("skerry.server.finish:write_result", 1),
}
"""For each stage of a run of ``digits``: the function that ends it, and the call after which the process is killed."""

PROGRAM = Path(__file__).with_name("_run_nursery.py")


class Nursery:
    """The process of ``_run_nursery.py``; ``warm`` is the run that nothing interrupted.

    Args:
        parent: where its runs lie.
        scenario: a file, or the name of a shipped one; made short.
    """

    def __init__(self, parent: Path, scenario: str = "digits") -> None:
        parent.mkdir(parents=True, exist_ok=True)
        self.parent = parent
        self._log = (parent / "nursery.log").open("wb")
        self._process = subprocess.Popen(
            [sys.executable, PROGRAM, parent, scenario, *SHORT],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        if self._read() != "ready":
            raise RuntimeError(f"the run that nothing interrupts failed: {self.tail()}")
        self.warm = list_runs(parent / "warm")[0]

    def tail(self) -> str:
        """The end of what its children said."""
        return (self.parent / "nursery.log").read_text("utf-8", "replace")[-3000:]

    def begin(self, *words: object) -> int:
        """Give a command; the child's process id."""
        assert self._process.stdin is not None
        self._process.stdin.write(" ".join(map(str, words)) + "\n")
        self._process.stdin.flush()
        return int(self._read())

    def end(self) -> int:
        """Wait for the child; its exit code."""
        return int(self._read())

    def do(self, *words: object) -> int:
        """Give a command and wait for its exit code."""
        self.begin(*words)
        return self.end()

    def close(self) -> None:
        """No more commands."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(180)
        self._log.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


@dataclass(frozen=True)
class Aftermath:
    """What is found of a run that was killed and went on, against the one that nothing interrupted.

    Attributes:
        same: the final vector is bit for bit that one's.
        debited_otherwise: rounds of devices that are in a ledger more or less often than once for each time asked for.
        recorded_otherwise: rounds that the population's ledger opens or releases more or less often than once.
        not_counted: updates that left a device without a debit in its ledger.
        asked_again: devices that were asked again in a round though their answer was here.
        answered_twice: rounds of devices of which two different updates left.
    """

    same: bool
    debited_otherwise: int
    recorded_otherwise: int
    not_counted: int
    asked_again: int
    answered_twice: int


@dataclass(frozen=True)
class Stopped:
    """What a killed process left, before another goes on.

    Attributes:
        stage: in which the run was.
        here: rounds and devices whose answers are in the journal of the round under way.
        not_counted: updates that left a device without a debit in its ledger.
    """

    stage: str
    here: frozenset[tuple[int, str]]
    not_counted: int

    @staticmethod
    def of(folder: RunFolder) -> "Stopped":
        """Read, and change nothing."""
        checkpoint = load_checkpoint(folder)
        number = 1 if checkpoint is None else checkpoint.round + 1
        kept = RoundJournal(folder.path).read(number)
        here = frozenset[tuple[int, str]]() if kept is None else frozenset((number, name) for name in kept.answers)
        return Stopped(str(folder.status["stage"]), here, _not_counted(folder))


def aftermath(folder: RunFolder, warm: RunFolder, stops: Sequence[tuple[Stopped, int]]) -> Aftermath:
    """Look at a run that has ended.

    Args:
        folder: the run.
        warm: the one that nothing interrupted.
        stops: what each killed process left, and the id of the one that went on.
    """
    final, wanted = load_checkpoint(folder), load_checkpoint(warm)
    assert wanted is not None
    debits = {name: _debits(folder, name) for name in _devices(warm)}
    left: dict[tuple[int, str], set[str]] = {}
    for number, device, digest in _lines(folder, "left"):
        left.setdefault((int(number), device), set()).add(digest)
    asked = _lines(folder, "asked")
    with Ledger.open(folder.path / "ledger" / "population.jsonl") as ledger:
        recorded = Counter((entry.kind, entry.body.get("round")) for entry in ledger.entries())
    return Aftermath(
        same=final is not None and final.round == wanted.round and np.array_equal(final.vector, wanted.vector),
        debited_otherwise=sum(_differences(debits[name], _debits(warm, name)) for name in debits),
        recorded_otherwise=sum(
            recorded[kind, number] != 1 for kind in ("round_open", "release") for number in range(1, wanted.round + 1)
        ),
        not_counted=_not_counted(folder) + sum(stopped.not_counted for stopped, _ in stops),
        asked_again=sum(
            (int(number), device) in stopped.here
            for stopped, process in stops
            for pid, number, device, _ in asked
            if int(pid) == process
        ),
        answered_twice=sum(len(digests) > 1 for digests in left.values()),
    )


def _devices(folder: RunFolder) -> list[str]:
    return sorted(path.stem for path in (folder.path / "ledger" / "devices").glob("*.jsonl"))


def _debits(folder: RunFolder, device: str) -> Counter[int]:
    """How often each round is in a device's ledger; a torn last line is no debit."""
    path = folder.path / "ledger" / "devices" / f"{device}.jsonl"
    entries = walk(split(path.read_bytes())[0]) if path.exists() else ()
    return Counter(entry.body["round"] for entry in entries if entry.kind == "debit")


def _not_counted(folder: RunFolder) -> int:
    debits: dict[str, Counter[int]] = {}
    left = {(int(number), device) for number, device, _ in _lines(folder, "left")}
    for _, device in left:
        debits.setdefault(device, _debits(folder, device))
    return sum(not debits[device][number] for number, device in left)


def _lines(folder: RunFolder, name: str) -> list[list[str]]:
    return [line.split() for line in (folder.path.parent / name).read_text("ascii").splitlines()]


def _differences(found: Counter[int], wanted: Counter[int]) -> int:
    return sum(found[number] != wanted[number] for number in found.keys() | wanted.keys())


def fixed_clip(folder: Path) -> Path:
    """The shipped ``digits_devices`` with one clip for the whole run, and a server that carries on all that it can."""
    lines = (files("skerry.config") / "digits_devices.toml").read_text("utf-8").splitlines()
    path = folder / "fixed_clip.toml"
    text = "\n".join(line for line in lines if "clip_quantile" not in line)
    carried = '[training]\nserver_optimizer = "fedyogi"\nserver_momentum = 0.9\nserver_learning_rate = 0.05'
    carried += "\nserver_average = 0.6"
    path.write_text(text.replace("[training]", carried, 1))
    return path
