"""SCAFFOLD and q-FFL are refused beside what would make them wrong, with a word on what to change."""

import pytest

from skerry.config import default_scenario
from skerry.errors import ScenarioError

HONEST = ("defence.aggregator=mean", "defence.tolerate=0", 'defence.screen=["finite", "shape", "fresh"]')
SCAFFOLD = (*HONEST, "training.scaffold=true")
FAIR = ("privacy.unit=none", "training.fairness=1.0")


def test_they_are_off_unless_asked_for_and_go_with_what_they_need() -> None:
    plain = default_scenario([]).training
    assert not plain.scaffold
    assert plain.fairness == 0
    for others in ((), ("privacy.unit=none",), ("training.schedule=cosine",), ("training.server_learning_rate=0.5",)):
        assert default_scenario([*SCAFFOLD, *others]).training.scaffold
    assert default_scenario([*FAIR]).defence.tolerate == 2  # under the default rule and screen
    assert default_scenario([*SCAFFOLD, "privacy.sampling_rate=0.5"]).training.scaffold


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["defence.aggregator=trimmed_mean"], "never forgotten"),
        (["defence.tolerate=1"], "never forgotten"),
        (['defence.screen=["finite", "norm"]'], r"\(norm\)"),
        (["privacy.unit=device", "privacy.clip=1.0"], "for good"),
        (["privacy.unit=none", "training.batch_size=8"], "same number of steps"),
        (["training.momentum=0.5"], "plain steps"),
        (["training.proximal=0.1"], "plain steps"),
        (["training.adversarial=pgd"], "other steps"),
        (["training.server_optimizer=fedadam", "training.server_learning_rate=0.01"], "the server of SCAFFOLD"),
        (["training.server_momentum=0.9"], "the server of SCAFFOLD"),
        (["audit.canaries=10"], "canaries = 0"),
        (["cohort.mode=buffered", "cohort.buffer=2", "cohort.concurrency=4"], "several control variates"),
        (["privacy.unit=none", "training.fairness=1.0"], "one of them only"),
    ],
)
def test_scaffold_is_refused_beside(changes: list[str], said: str) -> None:
    with pytest.raises(ScenarioError, match=said):
        default_scenario([*SCAFFOLD, *changes])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["privacy.unit=example"], "no debit pays"),
        (["training.fairness=0.5"], "1 or more"),
        ([*HONEST, "privacy.unit=device"], "no debit pays"),
        (["training.server_optimizer=fedyogi", "training.server_learning_rate=0.01"], "length of the server's step"),
        (["training.server_momentum=0.9"], "length of the server's step"),
        (["training.views=2"], "as they are"),
        (["training.adversarial=pgd"], "as they are"),
        (["model.trainable=tail", "model.personal_head=true"], "another head"),
        (["cohort.mode=buffered", "cohort.buffer=2", "cohort.concurrency=4"], "several vectors"),
    ],
)
def test_fairness_is_refused_beside(changes: list[str], said: str) -> None:
    with pytest.raises(ScenarioError, match=said):
        default_scenario([*FAIR, *changes])
