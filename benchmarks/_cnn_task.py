"""The simulators' task behind skerry's ``Task`` protocol: ``task.name = "_cnn_task:CnnTask"``."""

import hashlib
from collections.abc import Mapping

import numpy as np
from _cnn_data import CLASSES, DEVICES, Pictures, pictures

from skerry.config import ModelConfig, Scenario, TaskConfig, parse_scenario
from skerry.records import Examples

SCENARIO = """
name = "cnn"
rounds = 10
[task]
name = "_cnn_task:CnnTask"
[model]
architecture = "cnn"
trainable = "full"
bits = 32
input_size = 28
[training]
epochs = 1
batch_size = 10
learning_rate = 0.05
[privacy]
unit = "none"
[cohort]
sampling = "fixed"
size = 20
[defence]
aggregator = "mean"
tolerate = 0
screen = ["finite", "shape", "fresh"]
[attack]
devices = 0
[report]
references = false
"""


class CnnTask:
    """100 devices of 60 noisy pictures; one held-out holder of 300."""

    name = "_cnn_task:CnnTask"
    classes = tuple(str(number) for number in range(CLASSES))
    input_shape = (1, 28, 28)

    def __init__(self, _config: TaskConfig, _model: ModelConfig) -> None:
        x, y, held_x, held_y = pictures()
        self._local = {f"device-{i:02d}": Examples(x[i], y[i]) for i in range(DEVICES)}
        self._held_out = Examples(held_x, held_y)

    def devices(self) -> tuple[str, ...]:
        return tuple(self._local)

    def local_data(self, device: str) -> Examples:
        return self._local[device]

    def public_data(self) -> Examples:
        return self._held_out.select(np.arange(0))

    def evaluation(self) -> Mapping[str, Examples]:
        return {"held-out": self._held_out}

    def transform(self, x: Pictures) -> Pictures:
        return x

    def identity(self, device: str | None = None) -> str:
        parts = self._local.values() if device is None else [self._local[device]]
        digest = hashlib.sha256()
        for part in parts:
            digest.update(part.x.tobytes() + part.y.tobytes())
        return digest.hexdigest()


def scenario(rounds: int = 10) -> Scenario:
    """The scenario of the comparison; nothing is screened by statistics, as nothing is in the peers."""
    return parse_scenario(SCENARIO, overrides=[f"rounds={rounds}"])
