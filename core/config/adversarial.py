"""What adversarial training excludes: ``training.adversarial``."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from skerry.config.scenario import Scenario

__all__ = ["check_adversarial"]


def check_adversarial(scenario: "Scenario") -> None:
    """Attacks move a network's input, by its gradient: the whole network, or its float twin, must be there, in torch.

    Raises:
        ValueError: the scenario asks for what cannot be.
    """
    if scenario.training.adversarial == "none":
        return
    model, privacy = scenario.model, scenario.privacy
    if model.trainable == "tail" or model.architecture == "cnn":
        raise ValueError(
            f'attacks need gradients down to the input, which model.trainable = "{model.trainable}" of '
            f'model.architecture = "{model.architecture}" does not have: set training.adversarial = "none", or '
            'model.trainable = "head", "bias", "lora", "qat" or "full" of another architecture than "cnn"'
        )
    if scenario.training.views != 1:
        raise ValueError("an example that is attacked comes in one view: set training.views = 1")
    if scenario.audit.canaries and model.trainable == "head":
        raise ValueError(
            "an audit of a head looks at features, which attacks change: set audit.canaries = 0, or "
            'training.adversarial = "none"'
        )
    if privacy.unit == "example" and privacy.engine != "skerry":
        raise ValueError(
            f'privacy.engine = "{privacy.engine}" knows no attacks: set privacy.engine = "skerry", '
            'or training.adversarial = "none"'
        )
