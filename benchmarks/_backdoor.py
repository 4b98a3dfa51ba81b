"""Groups ``backdoor…`` of the benchmark ``screening``: triggers, and their removal.

In the lab a fifth of the devices plants them. The removal there gets 1,000 clean labelled examples, and no word of
whether there is a backdoor. These examples make the network better too; `detail` says what pruning and training on them
alone leave of the trigger.
The triggers of the three attacks call up class 0; `backdoor` alone is tried with every class, on other seeds than the
removal was made with (100 and 101). Some classes are called up by such a patch without any backdoor: what it does to a
network that is trained on the removal's 1,000 examples alone stands beside it.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from _harness import Claim, progress

from skerry.config import DefenceConfig, default_scenario
from skerry.device.worker import process_worker
from skerry.server.backdoor import backdoor_success, base_digest, head_without_backdoor
from skerry.server.lab import BACKDOORS, QUIET, Defence, Setting, train
from skerry.server.lab.cleaning import Cleaned, clean, public_network, try_network
from skerry.server.lab.mnist1d import CLASSES
from skerry.server.launch import launch

SEEDS = 3
CLASS_SEEDS = (0, 1)
SETTING = Setting()
DEFAULT = Defence(DefenceConfig().aggregator, DefenceConfig().screen)
MEAN = Defence("mean")
BARE = ("defence.aggregator=mean", "defence.tolerate=0", 'defence.screen=["finite"]')
WRITERS = 3  # of eleven: no whole number is a fifth of them


def backdoor(_scratch: Path) -> Iterator[Claim]:
    """The lab's triggers, and what a removal leaves of them and of accuracy."""
    lost = []
    for attack in BACKDOORS:
        rows = [_row(attack, seed) for seed in range(SEEDS)]
        lost += [row["accuracy"] - row["accuracy_after"] for row in rows]
        yield Claim(f"{attack}_success", f"{attack}: trigger works behind the default defence, mean over seeds",
                    _mean(rows, "success"), "%", "<=", 10.0, detail=rows)  # fmt: skip
        yield Claim(f"{attack}_success_after", f"{attack}: trigger (class 0) works after the removal, mean of seeds",
                    _mean(rows, "success_after"), "%", "<=", 10.0)  # fmt: skip
    quiet = [_quiet(seed) for seed in range(SEEDS)]
    lost += [row["accuracy"] - row["accuracy_after"] for row in quiet]
    yield Claim("removal_cost", "accuracy lost by the removal, worst of all trainings, attacked or not", max(lost),
                "points", "<=", 2.0, detail=quiet)  # fmt: skip


def backdoor_classes(_scratch: Path) -> Iterator[Claim]:
    """A trigger for each class, and what the removal leaves of it."""
    rows = [_class_row(target, seed) for seed in CLASS_SEEDS for target in range(CLASSES)]
    worst = max(rows, key=lambda row: row["success_after"])
    yield Claim("classes_success_after", f"backdoor of each of {CLASSES} classes: works after the removal, mean",
                _mean(rows, "success_after"), "%", "<=", 10.0, detail=rows)  # fmt: skip
    yield Claim("classes_success_worst", "the same, worst class and seed", worst["success_after"], "%", "<=", 10.0,
                detail=worst)  # fmt: skip
    yield Claim("classes_removal_cost", "accuracy lost by the removal, worst class and seed",
                max(row["accuracy"] - row["accuracy_after"] for row in rows), "points", "<=", 2.0)  # fmt: skip


def _class_row(target: int, seed: int) -> dict[str, Any]:
    planted = train(DEFAULT, "backdoor", replace(SETTING, target=target), seed)
    assert planted.success is not None
    public = try_network(public_network(seed), seed, target)
    row = {
        "target": target,
        "seed": seed,
        "accuracy": 100 * planted.accuracy,
        "success": 100 * planted.success,
        **_cleaned(clean(planted.parameters, seed, target=target)),
        "accuracy_public_alone": 100 * public[0],
        "success_public_alone": 100 * public[1],
    }
    progress(f"backdoor, {row}")
    return row


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
        "left_after_unlearning": None if found.left is None else 100 * found.left,
    }


def backdoor_digits(scratch: Path) -> Iterator[Claim]:
    """The default scenario, three of its writers planting a trigger; and a bare mean without privacy, where it gets in.

    The defaults of the removal were chosen on seed 0, which is not measured.
    """
    devices = f"attack.devices={WRITERS}"
    settings = {
        "defended": (devices, f"defence.tolerate={WRITERS}"),
        "undefended": (devices, *BARE),
        "undefended without privacy": (devices, *BARE, "privacy.unit=none"),
        "nobody hostile": ("attack.devices=0",),
    }
    found = {
        name: [_run(scratch, f"seed={seed}", *overrides) for seed in (1, 2)] for name, overrides in settings.items()
    }
    worst = "undefended without privacy"
    yield Claim("digits_success", f"digits, {WRITERS} of 11 writers hostile: trigger works behind the default defence",
                _mean(found["defended"], "success"), "%", "<=", 10.0, detail=found)  # fmt: skip
    yield Claim("digits_success_after", f"digits, {worst}: trigger works after the head's removal",
                _mean(found[worst], "success_after"), "%", "<=", 10.0)  # fmt: skip
    lost = [row["accuracy"] - row["accuracy_after"] for rows in found.values() for row in rows]
    yield Claim("digits_removal_cost", "digits: accuracy lost by the head's removal, worst of eight runs", max(lost),
                "points", "<=", 2.0)  # fmt: skip


def _run(parent: Path, *overrides: str) -> dict[str, Any]:
    scenario = default_scenario(("attack.kind=backdoor", "report.references=false", *overrides))
    folder = launch(scenario, engine="inprocess", parent=parent)
    assert folder.result is not None
    defence = folder.result["defence"]
    head = head_without_backdoor(folder)
    worker = process_worker()
    task = worker.task(scenario.task, scenario.model)
    model = worker.model(scenario.model, base_digest(folder), task)
    held_out = task.evaluation().values()
    right = [(model.deployed_logits(head, d.x, model.prepare(d.x)).argmax(1) == d.y) for d in held_out]
    success = backdoor_success(scenario, task, model, head)
    assert success is not None
    row = {
        "accuracy": 100 * folder.result["quality"]["final"]["accuracy"],
        "success": 100 * defence["backdoor_success"],
        "quarantined": len(defence["quarantined"]),
        "accuracy_after": 100 * float(np.concatenate(right).mean()),
        "success_after": 100 * success,
    }
    progress(f"digits, {', '.join(overrides)}: {row}")
    return row


def _mean(rows: list[dict[str, Any]], name: str) -> float:
    return float(sum(row[name] for row in rows) / len(rows))
