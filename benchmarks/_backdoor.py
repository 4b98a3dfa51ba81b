"""Group ``backdoor`` of the benchmark ``screening``: triggers planted by a fifth of the devices, and their removal.

The removal gets 1,000 clean labelled examples, and no word of whether there is a backdoor. These examples make the
network better too; `detail` says what pruning and training on them alone leave of the trigger.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from _harness import Claim, progress

from skerry.config import DefenceConfig, default_scenario
from skerry.server.lab import BACKDOORS, QUIET, Defence, Setting, train
from skerry.server.lab.cleaning import Cleaned, clean
from skerry.server.launch import launch

SEEDS = 3
SETTING = Setting()
DEFAULT = Defence(DefenceConfig().aggregator, DefenceConfig().screen)
MEAN = Defence("mean")
BARE = ("defence.aggregator=mean", "defence.tolerate=0", 'defence.screen=["finite"]')
WRITERS = 3  # of eleven: no whole number is a fifth of them


def backdoor(_scratch: Path) -> Iterator[Claim]:
    """The lab's triggers, what a removal leaves of them and of accuracy, and the shipped digits."""
    lost = []
    for attack in BACKDOORS:
        rows = [_row(attack, seed) for seed in range(SEEDS)]
        lost += [row["accuracy"] - row["accuracy_after"] for row in rows]
        yield Claim(f"{attack}_success", f"{attack}: trigger works behind the default defence, mean over seeds",
                    _mean(rows, "success"), "%", "<=", 10.0, detail=rows)  # fmt: skip
        yield Claim(f"{attack}_success_after", f"{attack}: trigger works after the removal, mean over seeds",
                    _mean(rows, "success_after"), "%", "<=", 10.0)  # fmt: skip
    quiet = [_quiet(seed) for seed in range(SEEDS)]
    lost += [row["accuracy"] - row["accuracy_after"] for row in quiet]
    yield Claim("removal_cost", "accuracy lost by the removal, worst of all trainings, attacked or not", max(lost),
                "points", "<=", 2.0, detail=quiet)  # fmt: skip
    yield _digits()


def _row(attack: str, seed: int) -> dict[str, Any]:
    defended, bare = train(DEFAULT, attack, SETTING, seed), train(MEAN, attack, SETTING, seed)
    after, tuned = clean(defended.parameters, seed), clean(defended.parameters, seed, unlearning=False)
    assert defended.success is not None
    assert bare.success is not None
    row = {
        "accuracy_undefended": 100 * bare.accuracy,
        "success_undefended": 100 * bare.success,
        "accuracy": 100 * defended.accuracy,
        "success": 100 * defended.success,
        "quarantined": defended.caught,
        **_cleaned(after),
        "accuracy_pruned": 100 * tuned.accuracy,
        "success_pruned": 100 * tuned.success,
    }
    progress(f"{attack}, seed {seed}: {row}")
    return row


def _quiet(seed: int) -> dict[str, Any]:
    honest = train(DEFAULT, QUIET, SETTING, seed)
    row = {"accuracy": 100 * honest.accuracy, **_cleaned(clean(honest.parameters, seed))}
    progress(f"nobody attacks, seed {seed}: {row}")
    return row


def _cleaned(found: Cleaned) -> dict[str, Any]:
    return {
        "accuracy_after": 100 * found.accuracy,
        "success_after": 100 * found.success,
        "silenced": found.silenced,
        "unlearned": found.unlearned,
    }


def _digits() -> Claim:
    """The default scenario, its attackers planting a trigger; and without privacy, where they can do more."""
    found = {
        "defended": _run(f"attack.devices={WRITERS}", f"defence.tolerate={WRITERS}"),
        "undefended": _run(f"attack.devices={WRITERS}", *BARE),
        "defended, no privacy": _run(f"attack.devices={WRITERS}", f"defence.tolerate={WRITERS}", "privacy.unit=none"),
        "undefended, no privacy": _run(f"attack.devices={WRITERS}", *BARE, "privacy.unit=none"),
    }
    return Claim("digits_success", f"digits, {WRITERS} of 11 writers hostile: trigger works behind the default defence",
                 found["defended"]["success"], "%", "<=", 10.0, detail=found)  # fmt: skip


def _run(*overrides: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as parent:
        scenario = default_scenario(("attack.kind=backdoor", "report.references=false", *overrides))
        result = launch(scenario, engine="inprocess", parent=Path(parent)).result
    assert result is not None
    defence = result["defence"]
    row = {
        "accuracy": 100 * result["quality"]["final"]["accuracy"],
        "success": 100 * defence["backdoor_success"],
        "quarantined": len(defence["quarantined"]),
    }
    progress(f"digits, {', '.join(overrides)}: {row}")
    return row


def _mean(rows: list[dict[str, Any]], name: str) -> float:
    return float(sum(row[name] for row in rows) / len(rows))
