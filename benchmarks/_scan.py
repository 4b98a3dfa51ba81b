"""Group ``scan`` of the benchmark ``screening``: what `skerry security scan` finds in digits runs, and in honest ones.

Its thresholds were set on runs of seeds 1 to 5, which are not measured here. Without privacy noise an honest run does
not depend on the seed: there is one of each setting.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from _harness import Claim, progress

from skerry.config import default_scenario
from skerry.device.tasks.registry import load_task
from skerry.server.launch import launch
from skerry.server.scan import scan, subject_of_run

SEEDS = (10, 11, 12)
BARE = ("defence.aggregator=mean", "defence.tolerate=0", 'defence.screen=["finite"]')
PLAIN = "privacy.unit=none"
PLANTED = {
    "without privacy": ("attack.devices=3", *BARE, PLAIN),
    "with privacy": ("attack.devices=3", *BARE),
}
HONEST = {
    "default": (("attack.devices=0",), range(10, 18)),
    "without privacy": (("attack.devices=0", *BARE, PLAIN), (10,)),
    "default screen, without privacy": (("attack.devices=0", PLAIN), (10,)),
    "default screen, without privacy, at a rate": (("attack.devices=0", PLAIN, "defence.false_alarms=0.05"), (10,)),
    "default screen, at a rate": (("attack.devices=0", "defence.false_alarms=0.05"), (10,)),
}
WORKS = 0.2  # of the examples, for a backdoor to be one that should be found


def scans(scratch: Path) -> Iterator[Claim]:
    """Three of eleven writers plant a trigger, or none does."""
    planted = [_row(scratch, name, over, seed) for name, over in PLANTED.items() for seed in SEEDS]
    honest = [_row(scratch, name, over, seed) for name, (over, seeds) in HONEST.items() for seed in seeds]
    working = [row for row in planted if row["success"] > WORKS]
    caught = [row for row in working if 0 in row["classes"]]
    text = f"{len(working)} digits runs whose trigger works on more than {WORKS:.0%}: found, with the right class"
    yield Claim("scan_found", text, len(caught) / len(working) if working else None, "ratio", ">=", 0.9,
                detail={"runs": planted})  # fmt: skip
    alarms = [row for row in honest if row["found"]]
    yield Claim("scan_false_alarms", f"{len(honest)} digits runs in which nobody attacks: something was found",
                len(alarms) / len(honest), "ratio", "<=", 0.05, detail={"runs": honest})  # fmt: skip


def _row(parent: Path, name: str, overrides: tuple[str, ...], seed: int) -> dict[str, Any]:
    scenario = default_scenario(("attack.kind=backdoor", "report.references=false", f"seed={seed}", *overrides))
    folder = launch(scenario, engine="inprocess", parent=parent)
    found = scan(subject_of_run(folder, load_task(scenario.task, scenario.model)))
    assert found.head is not None
    row = {
        "setting": name,
        "seed": seed,
        "success": found.subject.trigger_success,
        "classes": sorted({*found.head.suspicious, *(probe.target for probe in found.probes if probe.suspicious)}),
        "found": list(found.found),
        "highest_probe": max(probe.index for probe in found.probes if probe.index is not None),
        "highest_change": max(found.head.indices),
    }
    progress(f"scan, {row}")
    return row
