"""Which detectors a run is screened with: a root set joins where it can say something, unless it is told not to."""

from types import SimpleNamespace

import numpy as np
import pytest

from skerry.config import default_scenario
from skerry.records import Examples
from skerry.server.federation import Federation
from skerry.server.screen_choice import FEWEST_EXAMPLES, choose_screen

OPEN = ("privacy.unit=none",)
CLASSES = ("ant", "bee", "cat")


def task(*counts: int, unlabelled: int = 5) -> SimpleNamespace:
    """Public examples by class, of which the choice sees no more than labels."""
    labels = np.append(np.repeat(np.arange(len(counts)), counts), np.full(unlabelled, -1)).astype(np.int64)
    return SimpleNamespace(classes=CLASSES, public_data=lambda: Examples(np.zeros((len(labels), 1)), labels))


ENOUGH = task(FEWEST_EXAMPLES, FEWEST_EXAMPLES, FEWEST_EXAMPLES)


def test_with_public_examples_of_every_class_and_no_noise_a_root_set_joins_the_screen() -> None:
    scenario = default_scenario(OPEN)
    choice = choose_screen(scenario, ENOUGH)
    assert choice.names == (*scenario.defence.screen, "root_set")
    assert choice.said == "Updates are also compared with the server's own on public examples of all 3 classes."


def test_the_key_says_what_happens_without_it() -> None:
    by_default, named = (default_scenario((*OPEN, *more)) for more in ((), ("defence.root_set=auto",)))
    assert choose_screen(by_default, ENOUGH) == choose_screen(named, ENOUGH)


@pytest.mark.parametrize(
    ("overrides", "public", "why"),
    [
        ((*OPEN, "defence.root_set=off"), ENOUGH, 'defence.root_set is "off"'),
        ((), ENOUGH, "privacy noise would hide"),
        ((*OPEN, "model.trainable=full", "model.personal_head=true"), ENOUGH, "heads that the server does not have"),
        ((*OPEN, "defence.tolerate=0"), ENOUGH, "no comparison drops anybody"),
        ((*OPEN, 'defence.screen=["finite", "shape"]'), ENOUGH, "compares no devices"),
        (OPEN, task(9, FEWEST_EXAMPLES - 1, 9), "7 labelled public examples of class bee, and every class needs 8"),
        (OPEN, task(9, 9), "0 labelled public examples of class cat"),
        (OPEN, task(unlabelled=100), "0 labelled public examples of class ant"),
    ],
)
def test_where_it_can_say_nothing_or_could_wrong_somebody_it_is_left_out_and_why_is_said(
    overrides: tuple[str, ...], public: SimpleNamespace, why: str
) -> None:
    scenario = default_scenario(overrides)
    choice = choose_screen(scenario, public)
    assert choice.names == scenario.defence.screen
    assert choice.said.startswith("No root set: ")
    assert why in choice.said


@pytest.mark.parametrize("more", [(), ("defence.root_set=off",), (*OPEN, "defence.tolerate=0")])
def test_one_that_the_screen_names_is_taken_whatever_speaks_against_it(more: tuple[str, ...]) -> None:
    scenario = default_scenario(('defence.screen=["norm", "root_set"]', *more))
    assert choose_screen(scenario, task(unlabelled=3)).names == ("norm", "root_set")


@pytest.mark.parametrize(("trainable", "whole"), [("head", False), ("bias", False), ("qat", True), ("full", True)])
def test_detectors_are_told_whether_whole_networks_are_trained(trainable: str, *, whole: bool) -> None:
    federation = SimpleNamespace(
        scenario=default_scenario((*OPEN, f"model.trainable={trainable}")),
        noise_std=lambda number: 0.0,
        plan=SimpleNamespace(steps=1),
        root=None,
    )
    assert Federation.screen_context(federation, 1).whole is whole
