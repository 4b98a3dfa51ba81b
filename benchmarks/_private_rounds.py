"""Rounds of one mode with privacy and without, whole and in-process, in turns. Prints milliseconds per round.

Usage: ``python _private_rounds.py MODE TURNS FOLDER``. Both do the same steps on the same examples of the shipped
digits: ``head`` four steps over all examples of each of eleven writers, ``qat`` one over all examples of two writers.
"""

import itertools
import json
import sys
from pathlib import Path

from skerry.config import Scenario, default_scenario
from skerry.runfolder import RunFolder
from skerry.server.launch import launch

PLAIN = (
    "attack.devices=0",
    "defence.tolerate=0",
    "defence.aggregator=mean",
    'defence.screen=["finite","shape","fresh"]',
)
MODES = {
    "head": ("rounds=6",),
    "qat": (
        "rounds=3",
        "model.trainable=qat",
        "model.architecture=ds_cnn",
        "model.input_size=32",
        "model.blocks=0",
        "model.grid=1",
        "model.width=0.25",
        "model.pretrain_epochs=1",
        "training.epochs=1",
        "training.learning_rate=0.05",
        "privacy.clip=1.0",
        "cohort.sampling=fixed",
        "cohort.size=2",
    ),
}
PRIVATE = {"head": (), "qat": ("privacy.engine=bookkeeping",)}


def scenario(mode: str, way: str) -> Scenario:
    unit = ("privacy.unit=none",) if way == "plain" else ("privacy.unit=example", *PRIVATE[mode])
    return default_scenario((*PLAIN, "report.references=false", *MODES[mode], *unit))


def rounds_ms(folder: RunFolder) -> list[float]:
    """From one round's end to the next; what is loaded and computed once is in the first, which is left out."""
    finished = [record.finished_ms for record in folder.rounds()]
    return [after - before for before, after in itertools.pairwise(finished)]


def main() -> None:
    mode, turns, parent = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    found: dict[str, list[float]] = {"plain": [], "private": []}
    stages: dict[str, dict[str, float]] = {}
    for _ in range(turns):
        for way, times in found.items():
            folder = launch(scenario(mode, way), engine="inprocess", parent=parent)
            times.extend(rounds_ms(folder))
            last = folder.rounds()[-1]
            stages[way] = {stage: 1e3 * spent for stage, spent in last.seconds.items()}
    print(json.dumps({"ms": found, "stages_ms": stages}))


if __name__ == "__main__":
    main()
