"""Benchmark ``faults``: a federation of real processes does its rounds while one fault after another is put into it.

A SuperLink with its database, the gateway, a run and agents that are enrolled, over TLS; faults of each kind equally
often, in an order that a seed gives, spread evenly over the rounds. What must never happen is looked for afterwards in
what each device answered and each ledger counts (``_fault_account.py``).

``python benchmarks/faults.py [--rounds 100] [--faults 100] [--kinds KIND,…] [--devices 4] [--seed N] [--keep FOLDER]``

It needs a mount namespace of its own, for disks that are small and really full.
"""

import argparse
import os
import random
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import tomli_w
from _fault_account import Account, account
from _fault_fleet import SKERRY, Fleet, Place, copied, fleet
from _faulty_line import BROKEN
from _harness import Claim, NotMeasuredError, main, progress, run, versions
from _power import lose_power
from _small_disk import full

SCENARIO = {
    "name": "faults",
    "training": {"epochs": 1},
    "attack": {"kind": "none", "devices": 0},
    "defence": {"aggregator": "mean", "tolerate": 0, "screen": ["finite", "shape", "fresh"]},
    "report": {"references": False},
    "cohort": {"deadline_s": 20.0, "patience_s": 20.0},
}
MOST_MINUTES = 15.0
GIVEN_UP_S = 300.0  # without a finished round
LOOK_S = 0.1
INSIDE = "SKERRY_FAULTS_MOUNTS"


@dataclass(frozen=True)
class Asked:
    """How the benchmark was called."""

    rounds: int
    faults: int
    devices: int
    seed: int
    kinds: tuple[str, ...]
    keep: Path | None


class Faults:
    """Puts faults into a fleet; every one is over when its method returns, but for what has to start again."""

    def __init__(self, made: Fleet, chance: random.Random) -> None:
        self._fleet = made
        self._chance = chance
        self.told: Counter[str] = Counter()
        """How often something of a fault was seen to happen: bytes that a power cut took away, and the like."""

    @property
    def kinds(self) -> dict[str, Callable[[], None]]:
        """What can go wrong, by name."""
        return {
            "agent_killed": self.agent_killed,
            "agent_power_cut": self.agent_power_cut,
            "superlink_killed": self.superlink_killed,
            "gateway_killed": self.gateway_killed,
            "run_killed": self.run_killed,
            "line_broken": self.line_broken,
            "device_disk_full": self.device_disk_full,
            "server_disk_full": self.server_disk_full,
        }

    def agent_killed(self) -> None:
        """``kill -9``."""
        self._fleet.agents[self._any().name].kill()

    def agent_power_cut(self) -> None:
        """The agent is gone, and so is what its ledger had not given to the disk for good."""
        place = self._any()
        with self._fleet.held():
            self._fleet.agents[place.name].kill()
            self.told["bytes_lost_with_the_power"] += lose_power(place.home, place.record)

    def superlink_killed(self) -> None:
        """``kill -9``; the servers end with it and are started again."""
        self._until(lambda: self._fleet.superlink() is not None)
        link = self._fleet.superlink()
        if link is None:
            raise NotMeasuredError("the servers have no SuperLink that could be killed")
        link.kill()

    def gateway_killed(self) -> None:
        """``kill -9`` of the process that serves gateway and devices; its SuperLink ends with it."""
        self._until(lambda: self._fleet.server_is_up)
        self._fleet.server.kill()

    def run_killed(self) -> None:
        """``kill -9``; it is started again with ``--resume``."""
        self._until(lambda: self._fleet.run.process is not None and self._fleet.run.process.poll() is None)
        self._fleet.run.kill()

    def line_broken(self) -> None:
        """The line of one device, or of all, for a while, in one of the ways of ``_faulty_line.py``."""
        mode = self._chance.choice(BROKEN)
        places = [self._any()] if self._chance.random() < 0.6 else list(self._fleet.places.values())
        for place in places:
            place.line.break_it(mode)
        time.sleep(self._chance.uniform(1.0, 5.0))
        for place in places:
            place.line.mend()
        self.told[f"line_{mode}"] += 1

    def device_disk_full(self) -> None:
        """Not a byte of room, for a while."""
        with full(self._any().disk):
            time.sleep(self._chance.uniform(1.0, 4.0))

    def server_disk_full(self) -> None:
        """Of the disk with the runs, the registry and the SuperLink's database."""
        with full(self._fleet.disk):
            time.sleep(self._chance.uniform(1.0, 4.0))

    def _any(self) -> Place:
        return self._chance.choice(list(self._fleet.places.values()))

    def _until(self, there: Callable[[], bool]) -> None:
        """Wait until what is to be killed lives: it may still be on its way back from the last fault."""
        end = time.monotonic() + GIVEN_UP_S
        while not there() and not self._fleet.complete and time.monotonic() < end:
            time.sleep(LOOK_S)


def survived(asked: Asked, folder: Path) -> Iterator[Claim]:
    """One federation, all faults."""
    scenario = folder / "scenario.toml"
    cohort = SCENARIO["cohort"] | {"at_least": max(1, asked.devices - 1)}
    scenario.write_text(tomli_w.dumps(SCENARIO | {"rounds": asked.rounds, "cohort": cohort}))
    chance = random.Random(asked.seed)
    with fleet(folder, asked.devices, scenario) as made:
        try:
            began = time.monotonic()
            made.begin_run()
            faults = Faults(made, chance)
            done = _disturb(made, faults, chance, asked)
            minutes = (time.monotonic() - began) / 60
            found = account(made.run_folder, {n: (p.ledger, p.record) for n, p in made.places.items()})
            failures = _verified(made)
            assert made.complete  # _disturb has waited for it
        finally:
            if asked.keep is not None:
                _keep(made, asked.keep)
    yield from _claims(asked, found, failures, minutes, done, faults.told, made)


def _disturb(made: Fleet, faults: Faults, chance: random.Random, asked: Asked) -> Counter[str]:
    """Put the faults in, the next one when its share of the rounds is finished; then wait for the end."""
    kinds = {kind: fault for kind, fault in faults.kinds.items() if kind in asked.kinds or not asked.kinds}
    order = (list(kinds) * (asked.faults // len(kinds) + 1))[: asked.faults]
    chance.shuffle(order)
    done: Counter[str] = Counter()
    for number, kind in enumerate(order):
        _reach(made, int(number * asked.rounds / asked.faults))
        if made.complete:
            break
        time.sleep(chance.uniform(0.0, 1.5))
        progress(f"fault {number + 1} of {asked.faults}, after round {made.rounds}: {kind}")
        kinds[kind]()
        done[kind] += 1
    _reach(made, asked.rounds)
    return done


def _reach(made: Fleet, rounds: int) -> None:
    """Wait until so many rounds are finished, and the run itself when it is all of them."""
    last, since = -1, time.monotonic()
    while not made.complete:
        if made.given_up is not None:
            raise NotMeasuredError(f"the supervisor failed: {made.given_up!r}")
        now = made.rounds
        if now != last:
            last, since = now, time.monotonic()
        if time.monotonic() - since > GIVEN_UP_S:
            raise NotMeasuredError(f"nothing after round {last} for {GIVEN_UP_S:.0f} s: {_last_words(made)}")
        if now >= rounds and not made.is_last(rounds):
            return
        time.sleep(LOOK_S)


def _last_words(made: Fleet) -> str:
    return " | ".join(log.read_text(errors="replace")[-400:] for log in (made.run.log, made.server.log))


def _verified(made: Fleet) -> list[str]:
    """What ``skerry privacy verify`` says is wrong."""
    said = run([*SKERRY, "privacy", "verify", made.run_folder.id, "--runs-dir", made.runs, "--json"], timeout_s=300)
    return [failure["what"] for failure in said.document["failures"]]


def _keep(made: Fleet, to: Path) -> None:
    shutil.rmtree(to, ignore_errors=True)
    to.mkdir(parents=True)
    copied(made, to)
    for path in made.folder.glob("*.*"):
        if path.is_file() and path != made.key:
            shutil.copy(path, to)


def _claims(
    asked: Asked,
    found: Account,
    failures: list[str],
    minutes: float,
    done: Counter[str],
    told: Counter[str],
    made: Fleet,
) -> Iterator[Claim]:
    injected = sum(done.values())
    counts = {"faults": dict(done), "seen": dict(told), "started": dict(made.started), "seed": asked.seed}
    counts |= found.detail

    def none(name: str, text: str, what: list[str]) -> Claim:
        return Claim(name, text, len(what), "found", "<=", 0, detail={"what": what[:20]} if what else {})

    yield Claim("faults_injected", "faults that were put in", injected, "faults", ">=", asked.faults, detail=counts)
    finished = len({record.round for record in found.rounds})
    yield Claim("rounds_finished", "rounds of the run, which is complete", finished, "rounds", ">=", asked.rounds)
    yield none("ledger_undercounts", "answers that left a device and its ledger does not count", found.undercounts)
    yield none("replies_applied_twice", "answers or rounds that count twice in a vector", found.twice)
    yield none("stale_replies_used", "answers of an earlier round in a later one's vector", found.stale)
    text = "rounds from whose vector the recorded answers do not lead to the released one"
    yield none("vectors_unexplained", text, found.unexplained)
    text = "what `skerry privacy verify` finds wrong, or a device's own ledger"
    yield none("proof_failures", text, failures + found.ledgers)
    yield Claim("minutes", "from the run's start to its end", minutes, "min", "<=", MOST_MINUTES * asked.rounds / 100)


def _asked() -> Asked:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--faults", type=int, default=100)
    parser.add_argument("--devices", type=int, default=4)
    parser.add_argument("--seed", type=int, default=20261126)
    parser.add_argument("--kinds", default="", help="those kinds of faults only, by the names of their methods")
    parser.add_argument("--keep", type=Path, help="folder that gets logs, ledgers and runs at the end")
    known, rest = parser.parse_known_args()
    sys.argv[1:] = rest
    kinds = tuple(filter(None, known.kinds.split(",")))
    return Asked(known.rounds, known.faults, known.devices, known.seed, kinds, known.keep)


if __name__ == "__main__":
    if INSIDE not in os.environ and shutil.which("unshare"):
        os.environ[INSIDE] = "1"
        itself = [sys.executable, *sys.argv]
        os.execvp("unshare", ["unshare", "-Urm", *itself])  # noqa: S606 - no shell is needed to go on with itself
    main("faults", {"survived": partial(survived, _asked())}, versions("skerry", "flwr"))
