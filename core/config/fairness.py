"""Which settings go together with q-FFL (``training.fairness``), and why the others do not."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from skerry.config.scenario import Scenario

__all__ = ["check_fairness"]


def check_fairness(scenario: "Scenario") -> None:
    """Raise a ValueError that says what to change."""
    training = scenario.training
    if not training.fairness:
        return
    if training.fairness < 1:
        raise ValueError(
            "with training.fairness between 0 and 1 a few devices that the model fits all but perfectly shorten "
            "everybody's step to nothing: set it to 0, or to 1 or more"
        )
    if scenario.privacy.unit != "none":
        raise ValueError(
            "training.fairness weighs updates by the loss that each device says, which tells of its data and has no "
            'noise, and no debit pays for it: set training.fairness = 0, or privacy.unit = "none" for public data'
        )
    if scenario.cohort.mode == "buffered":
        raise ValueError(
            "losses of several vectors cannot be compared in a buffer: under training.fairness set "
            'cohort.mode = "rounds"'
        )
    if training.scaffold:
        raise ValueError(
            "training.scaffold counts every device alike, and training.fairness does not: set one of them only"
        )
    if training.server_optimizer != "fedavgm" or training.server_momentum:
        raise ValueError(
            "training.fairness computes the length of the server's step: set "
            'training.server_optimizer = "fedavgm" and training.server_momentum = 0'
        )
    if scenario.model.personal_head:
        raise ValueError(
            "with model.personal_head each device's loss is that of another head: under training.fairness set it to "
            "false"
        )
    if training.adversarial != "none" or training.views != 1:
        raise ValueError(
            'training.fairness compares losses of examples as they are: set training.adversarial = "none" and '
            "training.views = 1"
        )
