"""Benchmark ``resume``: a run whose process is killed goes on, and ends as if nothing had happened.

Each killed process is a real one, ended by SIGKILL; what goes on is ``skerry run --resume``, and what proves the
ledgers is ``skerry privacy verify``. What is judged comes from the ledgers, and from a record outside of the run of who
was asked and what left a device.

Groups ``boundaries`` (each stage's end) and ``instants`` (at random; every third run again as it goes on).
``--instants N`` for fewer, ``--seed N`` for others.
"""

import argparse
import contextlib
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path

from _harness import PYTHON, Claim, NotMeasuredError, main, progress, run, versions
from _killed_runs import BOUNDARIES, PROGRAM, ROUNDS, Aftermath, Nursery, Stopped, aftermath, fixed_clip

from skerry.runfolder import RunFolder, list_runs

INSTANTS = 100
AGAIN = 1 / 3  # of the runs that were killed: killed once more as they go on
TRIES = 3  # for each instant that is wanted: some come when the run is over
APPEARS_S = 30.0


@dataclass(frozen=True)
class Killed:
    """A run that was killed, perhaps more than once, and went on to its end.

    Attributes:
        stages: in which it was, each time.
        found: None where it did not reach its end.
        verified: whether its ledgers prove what it claims.
    """

    stages: tuple[str, ...]
    found: Aftermath | None
    verified: bool


def boundaries(folder: Path) -> Iterator[Claim]:
    """Killed at the end of each stage; goes on in a process that knows nothing of it."""
    with Nursery(folder) as nursery:
        killed = []
        for number, (name, place) in enumerate(BOUNDARIES.items(), start=1):
            parent = folder / str(number)
            if nursery.do("RUN", parent, *place) != -signal.SIGKILL:
                raise NotMeasuredError(f"no run was killed when {name}: {nursery.tail()}")
            (run_folder,) = list_runs(parent)
            left = Stopped.of(run_folder)
            done = run([PYTHON, PROGRAM, "RESUME", parent], timeout_s=300)
            killed.append(_judged(nursery, run_folder, [name], [(left, int(run_folder.status["pid"]))]))
            progress(f"boundaries {number}/{len(BOUNDARIES)}: {_told(killed[-1])}, {done.wall_s:.1f} s to go on")
    yield from _claims("boundary", f"the end of each of {len(BOUNDARIES)} stages of the coordinator", killed)


def instants(folder: Path, *, wanted: int, seed: int) -> Iterator[Claim]:
    """Killed at random, example-level and device-level privacy in turns."""
    chance = random.Random(seed)
    central = folder / "central"
    central.mkdir()
    with Nursery(folder / "local") as local, Nursery(central, str(fixed_clip(central))) as noisy:
        lengths = [_length(nursery) for nursery in (local, noisy)]
        killed: list[Killed] = []
        for number in range(TRIES * wanted):
            if sum(len(one.stages) for one in killed) >= wanted:
                break
            nursery = (local, noisy)[number % 2]
            one = _killed_at_random(nursery, nursery.parent / str(number), lengths[number % 2], chance)
            if one.stages:
                killed.append(one)
                progress(f"instants {sum(len(k.stages) for k in killed)}/{wanted}: {_told(one)}")
    yield from _claims("instant", f"{wanted} random instants", killed)


def _killed_at_random(nursery: Nursery, parent: Path, length: float, chance: random.Random) -> Killed:
    child = nursery.begin("RUN", parent)
    begin = time.monotonic()
    while not list_runs(parent):
        if time.monotonic() - begin > APPEARS_S:
            raise NotMeasuredError(f"a run did not begin: {nursery.tail()}")
        time.sleep(0.001)
    stops: list[tuple[Stopped, int]] = []
    while True:
        if not stops or chance.random() < AGAIN:
            time.sleep(chance.uniform(0, length))
            with contextlib.suppress(ProcessLookupError):  # it was done before the instant came
                os.kill(child, signal.SIGKILL)
        code = nursery.end()
        (folder,) = list_runs(parent)
        stages = [stopped.stage for stopped, _ in stops]
        if folder.status["state"] == "complete":
            return _judged(nursery, folder, stages, stops)
        if code != -signal.SIGKILL:
            return Killed((*stages, "failed"), None, verified=False)
        left = Stopped.of(folder)
        child = nursery.begin("RESUME", parent)
        stops.append((left, child))


def _length(nursery: Nursery) -> float:
    """Seconds from the first sign of a run to its end, when nothing interrupts it."""
    parent = nursery.parent / "measured"
    nursery.begin("RUN", parent)
    while not list_runs(parent):
        time.sleep(0.001)
    begin = time.monotonic()
    if nursery.end():
        raise NotMeasuredError(f"a run that nothing interrupts failed: {nursery.tail()}")
    return time.monotonic() - begin


def _judged(nursery: Nursery, folder: RunFolder, stages: Sequence[str], stops: Sequence[tuple[Stopped, int]]) -> Killed:
    if folder.status["state"] != "complete":
        return Killed(tuple(stages), None, verified=False)
    verified = nursery.do("VERIFY", folder.path.parent) == 0
    return Killed(tuple(stages), aftermath(folder, nursery.warm, stops), verified)


def _told(one: Killed) -> str:
    if one.found is None:
        return "did not go on to its end"
    return f"{' and '.join(one.stages)}: {'the same' if one.found == GOOD and one.verified else one}"


GOOD = Aftermath(same=True, debited_otherwise=0, recorded_otherwise=0, not_counted=0, asked_again=0, answered_twice=0)


def _claims(name: str, where: str, killed: Sequence[Killed]) -> Iterator[Claim]:
    if not killed:
        raise NotMeasuredError("no kill fell into a run")
    ended = [one.found for one in killed if one.found is not None]
    told = {"kills": sum(len(one.stages) for one in killed), "runs": len(killed), "rounds": ROUNDS}
    stages = dict(Counter(stage for one in killed for stage in one.stages))
    yield Claim(
        id=f"{name}_same_vector",
        text=f"killed by SIGKILL at {where}: share of runs whose final vector, after `skerry run --resume`, is bit "
        "for bit that of the run that nothing interrupted",
        value=sum(found.same for found in ended) / len(killed),
        unit="of runs",
        op=">=",
        bar=1,
        detail=told | {"stages": stages},
    )
    yield Claim(
        id=f"{name}_verified",
        text="of these, runs whose ledgers `skerry privacy verify` proves",
        value=sum(one.verified for one in killed) / len(killed),
        unit="of runs",
        op=">=",
        bar=1,
        detail=told,
    )
    wrong = {field.name: sum(getattr(found, field.name) for found in ended) for field in fields(Aftermath)[1:]}
    yield Claim(
        id=f"{name}_counted_once",
        text="over these runs: rounds debited, opened or released more or less often than once, updates that left "
        "without a debit, devices asked again whose answer was here, and devices of which two different updates of a "
        "round left",
        value=sum(wrong.values()) + (len(killed) - len(ended)),
        unit="cases",
        op="<=",
        bar=0,
        detail=told | wrong,
    )


def _asked(words: Iterable[str]) -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--instants", type=int, default=INSTANTS)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_known_args(list(words))


if __name__ == "__main__":
    options, groups = _asked(sys.argv[1:])
    sys.argv[1:] = groups
    main(
        "resume",
        {"boundaries": boundaries, "instants": partial(instants, wanted=options.instants, seed=options.seed)},
        versions("skerry", "numpy", "cryptography"),
    )
