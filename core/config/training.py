"""Which ways of training go with which model and which privacy, and why the others would do nothing or break it."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from skerry.config.scenario import Scenario

__all__ = ["OVER_INT8", "check_training"]

OVER_INT8 = frozenset({"lora", "qat"})
"""Values of ``model.trainable`` that train over int8 weights, and need ``model.bits = 8``."""


def check_training(scenario: "Scenario") -> None:
    """Raise a ValueError that says what to change."""
    _check_steps(scenario)
    model, training, privacy = scenario.model, scenario.training, scenario.privacy
    if privacy.unit == "example" and model.architecture == "cnn":
        raise ValueError(
            'model.architecture = "cnn" is trained without per-example clipping: '
            'set privacy.unit = "none", or another architecture'
        )
    if model.architecture == "cnn" and model.trainable != "full":
        raise ValueError('model.architecture = "cnn" is trained as a whole: set model.trainable = "full"')
    if model.personal_head and (model.trainable == "head" or model.architecture == "cnn"):
        raise ValueError(
            f'model.personal_head leaves nothing to share of model.trainable = "{model.trainable}" here: '
            'set model.trainable = "tail", "bias", "lora", "qat" or "full" of another architecture'
        )
    if model.personal_head and training.server_average:
        raise ValueError(
            "with model.personal_head each device's head belongs to the network that it trained, not to a mean of "
            "networks: set training.server_average = 0"
        )
    if model.trainable == "head" and privacy.engine != "skerry":
        raise ValueError(
            'a head has its gradients in closed form: set privacy.engine = "skerry", or another model.trainable'
        )
    if training.augment != "none" and model.trainable in {"head", "tail"}:
        raise ValueError(
            f'model.trainable = "{model.trainable}" computes features once: set training.augment = "none", '
            'or model.trainable = "bias", "lora", "qat" or "full"'
        )
    if training.augment != "none" and model.architecture == "cnn":
        raise ValueError('model.architecture = "cnn" is trained without changes: set training.augment = "none"')
    if training.views != 1 and model.trainable != "head":
        raise ValueError(
            f'model.trainable = "{model.trainable}" sees each example once: set training.views = 1, '
            'or model.trainable = "head"'
        )
    if model.trainable in OVER_INT8 and model.bits != 8:
        over = "over int8 weights" if model.trainable == "lora" else "a network that sees itself in int8"
        raise ValueError(f'model.trainable = "{model.trainable}" trains {over}: set model.bits = 8')


def _check_steps(scenario: "Scenario") -> None:
    """What a step sees and clips, with privacy and without."""
    training, privacy = scenario.training, scenario.privacy
    private = privacy.unit == "example"
    if training.gradient_clip and private:
        raise ValueError(
            "under privacy each example's gradient is clipped (privacy.clip): set training.gradient_clip = 0"
        )
    if private and training.batch_size:
        raise ValueError(
            "under example-level privacy examples are sampled one by one: "
            "set training.batch_size = 0, and privacy.sampling_rate below 1 for smaller steps"
        )
    if not private and privacy.sampling_rate != 1:
        raise ValueError(
            "privacy.sampling_rate belongs to example-level privacy: set training.batch_size for smaller steps"
        )
    one_step = training.epochs == 1 and training.batch_size == 0 and privacy.sampling_rate == 1
    if training.proximal and one_step:
        raise ValueError(
            "training.proximal changes nothing in a round of one step: "
            "set training.epochs to 2 or more, training.batch_size, or privacy.sampling_rate"
        )
