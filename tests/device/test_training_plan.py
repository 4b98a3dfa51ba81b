"""A training plan comes from a server: it is checked, and its price is computed on the device."""

import math

import pytest

from skerry.device.training import TrainPlan
from skerry.errors import InputError
from skerry.security.privacy import GaussianEvent

PRIVATE = {"learning_rate": 20.0, "unit": "example", "noise_multiplier": 2.8518, "denominator": 128}


def test_a_plan_states_what_it_spends():
    assert TrainPlan(**PRIVATE, epochs=3).event == GaussianEvent(2.8518, 1.0, 3)
    assert TrainPlan(learning_rate=1.0, unit="none").event is None


def test_an_epoch_of_sampled_steps_is_priced_step_by_step():
    plan = TrainPlan(**PRIVATE, epochs=3, sampling_rate=0.15)
    assert plan.steps == 21
    assert plan.event == GaussianEvent(2.8518, 0.15, 21)


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0},
        {"epochs": 1.0},
        {"epochs": True},
        {"learning_rate": 0.0},
        {"learning_rate": math.nan},
        {"learning_rate": "20"},
        {"batch_size": -1},
        {"batch_size": 16},
        {"momentum": 1.0},
        {"momentum": -0.1},
        {"clip": 0.0},
        {"clip": math.inf},
        {"noise_multiplier": 0.0},
        {"noise_multiplier": -1.0},
        {"denominator": 0},
        {"denominator": 12.5},
        {"unit": "devices"},
        {"unit": "device", "noise_multiplier": 0.0},
        {"unit": "device", "clip": 0.0},
        {"unit": "device", "sampling_rate": 0.5},
        {"unit": "device", "rounds": 0},
        {"unit": "device", "rounds": 2.0},
        {"unit": "device", "cohort_rate": 0.0},
        {"unit": "device", "cohort_rate": 1.5},
        {"unit": "device", "separation": -1},
        {"unit": "device", "separation": 3, "cohort_rate": 0.01},
        {"proximal": -0.1},
        {"gradient_clip": 1.0},
        {"unit": "none", "gradient_clip": -1.0},
        {"augment": "mirror"},
        {"adversarial": "fgsm", "adversarial_epsilon": 0.1},
        {"adversarial": "pgd"},
        {"adversarial": "pgd", "adversarial_epsilon": -0.1},
        {"adversarial": "pgd", "adversarial_epsilon": float("nan")},
        {"adversarial": "pgd", "adversarial_epsilon": 0.1, "adversarial_norm": "l1"},
        {"adversarial_epsilon": 0.1},
        {"adversarial": "pgd", "adversarial_epsilon": 0.1, "views": 2},
        {"views": 0},
        {"views": 17},
        {"views": 2.0},
        {"sampling_rate": 0.0},
        {"sampling_rate": 1.5},
        {"unit": "none", "sampling_rate": 0.5},
        {"engine": "fast"},
    ],
)
def test_a_plan_that_cannot_be_private_is_refused(wrong):
    with pytest.raises(InputError):
        TrainPlan(**PRIVATE | wrong)
