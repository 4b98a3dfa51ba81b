"""Which detectors screen a run: those of the scenario, and the root set where it can say something."""

from dataclasses import dataclass

import numpy as np

from skerry.config import Scenario
from skerry.device.tasks.task import Task
from skerry.security.anomaly import DETECTORS, RootSetDetector

__all__ = ["FEWEST_EXAMPLES", "ScreenChoice", "choose_screen"]

FEWEST_EXAMPLES = 8
"""Labelled public examples of each class without which a root set is not taken unasked."""

_ROOT_SET = RootSetDetector.name


@dataclass(frozen=True)
class ScreenChoice:
    """Names as in ``defence.screen``, and a sentence that says why a root set is among them or not."""

    names: tuple[str, ...]
    said: str


def choose_screen(scenario: Scenario, task: Task) -> ScreenChoice:
    """Follow ``defence.screen``, and add ``root_set`` under ``defence.root_set = "auto"`` where all of this holds.

    Comparisons may drop somebody (``defence.tolerate``) and one of them is asked for; updates carry no privacy noise,
    which would hide what it looks at; no device keeps a head of its own, which the server does not have; and
    the task has ``FEWEST_EXAMPLES`` labelled public examples of *every* class, since a device with a class that the
    root set lacks would look hostile. Why it is the default: ADR 60.

    It follows from the scenario and the task's public data alone: a resumed run chooses the same.
    """
    asked = scenario.defence.screen
    if _ROOT_SET in asked:
        return ScreenChoice(asked, "A root set of public examples was asked for.")
    hindrance = _hindrance(scenario) or _lack(task)
    if hindrance:
        return ScreenChoice(asked, f"No root set: {hindrance}.")
    said = f"Updates are also compared with the server's own on public examples of all {len(task.classes)} classes."
    return ScreenChoice((*asked, _ROOT_SET), said)


def _hindrance(scenario: Scenario) -> str | None:
    defence = scenario.defence
    if defence.root_set == "off":
        return 'defence.root_set is "off"'
    personal = scenario.model.personal_head
    hindrances = {
        "updates in a buffer start from different vectors": scenario.cohort.mode == "buffered",
        "privacy noise would hide what it looks at": scenario.privacy.unit != "none",
        "with model.personal_head devices train under heads that the server does not have": personal,
        "with defence.tolerate = 0 no comparison drops anybody": defence.tolerate == 0,
        "defence.screen compares no devices with each other": set(defence.screen).isdisjoint(DETECTORS),
    }
    return next((said for said, hinders in hindrances.items() if hinders), None)


def _lack(task: Task) -> str | None:
    labels = task.public_data().y
    counts = np.bincount(labels[labels >= 0], minlength=len(task.classes))
    least = int(counts.argmin())
    if counts[least] >= FEWEST_EXAMPLES:
        return None
    return (
        f"the task has {counts[least]} labelled public examples of class {task.classes[least]}, "
        f"and every class needs {FEWEST_EXAMPLES}"
    )
