"""Which settings go together with SCAFFOLD (``training.scaffold``), and why the others do not."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from skerry.config.scenario import Scenario

__all__ = ["check_scaffold_settings"]

_BY_ITSELF = {"finite", "shape", "fresh"}


def check_scaffold_settings(scenario: "Scenario") -> None:
    """Raise a ValueError that says what to change.

    Devices' variates and the server's mean of them must stay equal: what lets an update count otherwise than it was
    sent leaves a difference that no later round forgets. And every device takes the same plain steps.
    """
    training, defence = scenario.training, scenario.defence
    if not training.scaffold:
        return
    if scenario.privacy.unit == "device":
        raise ValueError(
            'training.scaffold corrects by what devices keep of their updates, and under privacy.unit = "device" the '
            'server\'s mean has noise that they do not know, and would keep it for good: set privacy.unit = "example" '
            'or "none", or training.scaffold = false'
        )
    if defence.aggregator != "mean" or defence.tolerate:
        raise ValueError(
            "training.scaffold keeps the mean of the devices' control variates by the mean of their updates; what a "
            "robust rule makes otherwise, or a hostile update moves within its bounds, adds up over the rounds and is "
            'never forgotten: set defence.aggregator = "mean" and defence.tolerate = 0, or training.proximal instead '
            "of training.scaffold"
        )
    if others := sorted(set(defence.screen) - _BY_ITSELF):
        raise ValueError(
            f"a detector that compares or shortens updates ({', '.join(others)}) was made for steps without a "
            "correction, and what it shortens counts otherwise than its device keeps it: under training.scaffold set "
            f"defence.screen to some of {sorted(_BY_ITSELF)}"
        )
    if scenario.cohort.mode == "buffered":
        raise ValueError(
            "in a buffer updates of several control variates would meet: under training.scaffold set "
            'cohort.mode = "rounds"'
        )
    if scenario.audit.canaries:
        raise ValueError("an audit knows no corrected steps: under training.scaffold set audit.canaries = 0")
    _check_steps(scenario)


def _check_steps(scenario: "Scenario") -> None:
    training = scenario.training
    if training.batch_size:
        raise ValueError(
            "under training.scaffold every device takes the same number of steps, which the server knows: set "
            "training.batch_size = 0, and training.epochs to that number"
        )
    if training.momentum or training.proximal:
        raise ValueError(
            "training.scaffold reads the mean gradient off an update of plain steps: set training.momentum = 0 and "
            "training.proximal = 0"
        )
    if training.adversarial != "none":
        raise ValueError(
            "adversarial training may take other steps than it was asked for: under training.scaffold set "
            'training.adversarial = "none"'
        )
    if training.server_optimizer != "fedavgm" or training.server_momentum:
        raise ValueError(
            "the server of SCAFFOLD takes the step that the mean gives, by training.server_learning_rate: set "
            'training.server_optimizer = "fedavgm" and training.server_momentum = 0'
        )
