"""What hostile devices of a simulation train on: changed by them alone, and the same in every round."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from skerry.config import AttackConfig, ModelConfig, TaskConfig
from skerry.device.canaries import CanaryPlan
from skerry.device.poisoning import poisoned, trigger_for
from skerry.device.state import DeviceHome
from skerry.device.tasks.digits import DigitsTask
from skerry.device.worker import Worker
from skerry.security.attacks import POISONS
from skerry.security.privacy.ledger import Policy

WRITER = "writer-00"


class AsTheyAre:
    """A model whose inputs are the raw examples."""

    digest = "0" * 64

    def prepare(self, x):
        return x


def home(kind: str | None) -> DeviceHome:
    return DeviceHome(
        path=Path("nowhere"),
        device=WRITER,
        simulated=True,
        task=TaskConfig(),
        model=ModelConfig(),
        policy=Policy(unit="none", epsilon=1.0, delta=1e-5, simulated=True),
        ledger=Path("nowhere"),
        hostile=None if kind is None else AttackConfig(kind=kind),
    )


def test_half_of_a_backdoored_device_s_examples_carry_the_corner_and_the_first_class(digits: DigitsTask) -> None:
    data, found = digits.local_data(WRITER), poisoned("backdoor", digits, WRITER)
    stamped = (found.x != data.x).reshape(len(data), -1).any(axis=1)
    carrying = (found.x[:, -2:, -2:] == 255).reshape(len(data), -1).all(axis=1)
    assert carrying.sum() == round(len(data) / 2)
    assert (carrying | ~stamped).all()
    assert (found.y[carrying] == 0).all()
    np.testing.assert_array_equal(found.y[~carrying], data.y[~carrying])
    np.testing.assert_array_equal(found.x[:, :6], data.x[:, :6])
    np.testing.assert_array_equal(found.x, poisoned("backdoor", digits, WRITER).x)
    assert len(trigger_for(digits).places) == 4


def test_flipped_labels_leave_the_pictures(digits: DigitsTask) -> None:
    data, found = digits.local_data(WRITER), poisoned("label_flip", digits, WRITER)
    np.testing.assert_array_equal(found.x, data.x)
    np.testing.assert_array_equal(found.y, 9 - data.y)


@pytest.mark.parametrize("kind", ["backdoor", "label_flip"])
def test_only_a_simulated_hostile_device_trains_on_them_and_its_own_examples_stay(
    digits: DigitsTask, kind: str
) -> None:
    worker, model = Worker(), AsTheyAre()
    own = digits.local_data(WRITER)
    changed = poisoned(kind, digits, WRITER)
    for device, expected in (
        (home(kind), changed),
        (home(None), own),
        (home("sign_flip"), own),
        (replace(home(kind), simulated=False), own),
    ):
        x, y = worker.training_inputs(device, digits, model)
        np.testing.assert_array_equal(x, expected.x)
        np.testing.assert_array_equal(y, expected.y)
    np.testing.assert_array_equal(worker.local_inputs(WRITER, digits, model)[1], own.y)


def test_two_audits_with_equal_canaries_do_not_share_what_another_attack_poisoned(digits: DigitsTask) -> None:
    worker, model = Worker(), AsTheyAre()
    canaries = CanaryPlan("mislabelled", 5, 1.0, "101")
    for kind in ("label_flip", "backdoor", "sign_flip", None):
        own = poisoned(kind, digits, WRITER) if kind in POISONS else digits.local_data(WRITER)
        x, y = worker.training_inputs(replace(home(kind), canaries=canaries), digits, model)
        assert len(y) == len(own) + 2
        np.testing.assert_array_equal(x[: len(own)], own.x)
        np.testing.assert_array_equal(y[: len(own)], own.y)
