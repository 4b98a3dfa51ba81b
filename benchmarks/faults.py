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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import tomli_w
from _agent_fleet import SKERRY
from _fault_account import Account, account
from _fault_fleet import Fleet, copied, fleet
from _fault_kinds import GIVEN_UP_S, KINDS, LOOK_S, Faults
from _harness import Claim, NotMeasuredError, main, progress, run, versions

from skerry.clock import system_clock
from skerry.records import RoundRecord

SCENARIO = {
    "name": "faults",
    "training": {"epochs": 1},
    "attack": {"kind": "none", "devices": 0},
    "defence": {"aggregator": "mean", "tolerate": 0, "screen": ["finite", "shape", "fresh"]},
    "report": {"references": False},
    "cohort": {"deadline_s": 20.0, "patience_s": 20.0},
}
MOST_MINUTES = 15.0
QUIET = 3  # rounds at the end without a fault, in which every device is to be back
TAKEN = 0.8  # of all places in rounds
INSIDE = "SKERRY_FAULTS_MOUNTS"


@dataclass
class Disturbed:
    """What was put in.

    Attributes:
        done: how many faults of each kind count: all but those that found nothing to be done to.
        touched: for each device how many rounds were finished after the last fault that touched it.
        began: kind and beginning (ms since the epoch) of each fault that counts.
    """

    touched: dict[str, int]
    done: Counter[str] = field(default_factory=Counter)
    began: list[tuple[str, int]] = field(default_factory=list)

    def waits(self, rounds: Sequence[RoundRecord]) -> dict[str, dict[str, float]]:
        """By kind, seconds from the beginning of a fault to the end of the next round: the median, and the longest."""
        ends = sorted(record.finished_ms for record in rounds)
        found: dict[str, list[float]] = {}
        for kind, at in self.began:
            if later := [end for end in ends if end > at]:
                found.setdefault(kind, []).append((later[0] - at) / 1000)
        return {kind: {"median": median(some), "longest": max(some)} for kind, some in sorted(found.items())}


@dataclass(frozen=True)
class Asked:
    """How the benchmark was called."""

    rounds: int
    faults: int
    devices: int
    seed: int
    kinds: tuple[str, ...]
    keep: Path | None


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
            put = _disturb(made, faults, chance, asked)
            minutes = (time.monotonic() - began) / 60
            found = account(made.run_folder, {n: (p.ledger, p.record) for n, p in made.places.items()})
            failures = _verified(made)
            assert made.complete  # _disturb has waited for it
        finally:
            if asked.keep is not None:
                _keep(made, asked.keep)
    counts = {
        "faults": dict(put.done), "seen": dict(faults.told), "started": dict(made.started), "seed": asked.seed,
        "seconds_to_the_next_round": put.waits(found.rounds),
    }  # fmt: skip
    yield from _claims(asked, found, failures, minutes, counts, put.touched)


def _disturb(made: Fleet, faults: Faults, chance: random.Random, asked: Asked) -> Disturbed:
    """Put the faults in, the next one when its share of the rounds is finished; then wait for the end."""
    kinds = {kind: fault for kind, fault in faults.kinds.items() if kind in asked.kinds or not asked.kinds}
    order = (list(kinds) * (asked.faults // len(kinds) + 1))[: asked.faults]
    chance.shuffle(order)
    put = Disturbed(dict.fromkeys(made.places, 0))
    for number, kind in enumerate(order):
        _reach(made, int(number * max(1, asked.rounds - QUIET) / asked.faults))
        if made.complete:
            break
        time.sleep(chance.uniform(0.0, 1.5))
        progress(f"fault {number + 1} of {asked.faults}, after round {made.rounds}: {kind}")
        began = system_clock()
        places = kinds[kind]()
        if places:
            put.done[kind] += 1
            put.began.append((kind, began))
        put.touched |= {place.name: made.rounds for place in places}
    _reach(made, asked.rounds)
    return put


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
    counts: Mapping[str, Any],
    touched: Mapping[str, int],
) -> Iterator[Claim]:
    injected = sum(counts["faults"].values())
    counts = {**counts, **found.detail}

    def none(name: str, text: str, what: list[str]) -> Claim:
        return Claim(name, text, len(what), "found", "<=", 0, detail={"what": what[:20]} if what else {})

    yield Claim(
        "faults_injected",
        "faults that were put in; of a kill, a power cut and a broken line those that met something, full disks all",
        injected,
        "faults",
        ">=",
        asked.faults,
        detail=counts,
    )
    finished = len({record.round for record in found.rounds if not record.extra.get("skipped")})
    text = "rounds of the run, which is complete, but for those that were skipped"
    yield Claim("rounds_finished", text, finished, "rounds", ">=", asked.rounds)
    share = sum(counts["accepted"].values()) / (len(touched) * asked.rounds)
    yield Claim("places_taken", "of all places of devices in rounds", share, "share", ">=", TAKEN)
    last = {name: max((one.round for one in found.rounds if name in one.accepted), default=0) for name in touched}
    back = sum(last[name] > touched[name] for name in touched)
    detail = {"last_fault_after": dict(touched), "last_accepted": last}
    text = "devices that took part again after the last fault that touched them"
    yield Claim("devices_back", text, back, "devices", ">=", len(touched), detail=detail)
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
    if unknown := set(kinds) - set(KINDS):
        parser.error(f"no such kinds: {', '.join(sorted(unknown))}; there are {', '.join(KINDS)}")
    return Asked(known.rounds, known.faults, known.devices, known.seed, kinds, known.keep)


if __name__ == "__main__":
    if INSIDE not in os.environ and shutil.which("unshare"):
        os.environ[INSIDE] = "1"
        itself = [sys.executable, *sys.argv]
        os.execvp("unshare", ["unshare", "-Urm", *itself])  # noqa: S606 - no shell: this very program, with its own arguments, in a mount namespace
    main("faults", {"survived": partial(survived, _asked())}, versions("skerry", "flwr"))
