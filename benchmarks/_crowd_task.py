"""Any number of devices with next to nothing to do: ten digits each, the same for all, one step of a head.

``task.name = "_crowd_task:CrowdTask"``, ``task.root`` is the number of devices. What a round costs is then what
lies around training: instructions, signatures, ledgers, answers.
"""

from collections.abc import Mapping
from types import MappingProxyType

from skerry.config import ModelConfig, Scenario, TaskConfig, parse_scenario
from skerry.device.tasks.digits import DigitsTask
from skerry.records import Examples

EXAMPLES = 10
ROUNDS = 3
WRITER = "writer-00"

SCENARIO = """
name = "crowd"
[task]
name = "_crowd_task:CrowdTask"
[model]
architecture = "efficientnet_lite0"
trainable = "head"
bits = 8
blocks = 11
grid = 2
input_size = 64
components = 256
[training]
epochs = 1
learning_rate = 0.1
[privacy]
unit = "none"
[cohort]
sampling = "all"
[defence]
aggregator = "mean"
tolerate = 0
screen = ["finite", "shape", "fresh"]
[attack]
devices = 0
[report]
references = false
"""


class CrowdTask(DigitsTask):
    """One writer's digits on every device, the task's own held-out writers."""

    name = "_crowd_task:CrowdTask"

    def __init__(self, task: TaskConfig, model: ModelConfig) -> None:
        super().__init__(task, model)
        count = int(task.root.name) if task.root is not None else 1
        whole = self._writers[WRITER]
        self._examples = Examples(whole.x[:EXAMPLES], whole.y[:EXAMPLES])
        self._devices = tuple(f"device-{number:05d}" for number in range(count))

    def devices(self) -> tuple[str, ...]:
        return self._devices

    def local_data(self, device: str) -> Examples:
        del device
        return self._examples

    def evaluation(self) -> Mapping[str, Examples]:
        return MappingProxyType({name: Examples(x.x[:100], x.y[:100]) for name, x in super().evaluation().items()})

    def identity(self, device: str | None = None) -> str:
        del device
        return super().identity(WRITER)


def scenario(devices: int, rounds: int = ROUNDS) -> Scenario:
    """The crowd's scenario; its base is that of the shipped digits."""
    return parse_scenario(SCENARIO, overrides=[f"rounds={rounds}", f'task.root="{devices}"'])
