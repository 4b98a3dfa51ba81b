"""The step *train* of a participation: from an instruction and the device's examples to what may be sent."""

from dataclasses import dataclass

import numpy as np

from skerry.device.local_model import LocalModel
from skerry.device.personal import PersonalModel
from skerry.device.protocol import Instruction
from skerry.device.state import DeviceHome
from skerry.device.tasks.metrics import evaluate
from skerry.device.tasks.task import Task
from skerry.device.training.scaffold import correction
from skerry.device.worker import Worker
from skerry.errors import RefusedError
from skerry.records import Float32Array
from skerry.security.privacy.stream import ChaChaStream, seeded_stream

__all__ = ["Trained", "train_round"]


@dataclass(frozen=True)
class Trained:
    """What a round made.

    Attributes:
        delta: ``(d,)``, which is sent.
        head: the device's own, which is not; empty where the head is everybody's.
        loss: where the instruction asks for it.
    """

    delta: Float32Array
    head: Float32Array
    loss: float | None


def train_round(
    instruction: Instruction,
    number: int,
    home: DeviceHome,
    worker: Worker,
    task: Task,
    model: LocalModel,
    own: Float32Array | None,
    key: bytes,
) -> Trained:
    """Train; what it spends must have been debited.

    Args:
        instruction: what to do.
        number: of the round.
        home: of the device.
        worker: has its examples.
        task: gives them.
        model: to be trained.
        own: ``(d,)`` the device's control variate; None where the round has none.
        key: of noise and order, where there is no seed.

    Raises:
        RefusedError: there is no example to learn from, and none was to be hidden (``no_examples``).
        YieldedError: the process was asked to end.
    """
    plan, vector, common = instruction.plan, instruction.vector, instruction.variate
    with worker.watch.stage("features"):
        attacked = plan.adversarial != "none"
        inputs, labels = worker.training_inputs(home, task, model, plan.views, attacked=attacked)
    _check_examples(instruction, len(labels), task)
    with worker.watch.stage("train"):
        loss = evaluate(model.logits(vector, inputs), labels).loss if instruction.loss else None
        added = None if own is None or common is None else correction(own, common.vector)
        given = (vector, inputs, labels, plan, _stream(instruction.seed, home.device, number, key), added)
        if isinstance(model, PersonalModel):
            return Trained(*model.train_with(model.read_head(home.path, plan), *given), loss)
        return Trained(model.train(*given), np.empty(0, np.float32), loss)


def _check_examples(instruction: Instruction, count: int, task: Task) -> None:
    """A loss and, but for private steps, a mean gradient need an example."""
    needed = instruction.loss or (instruction.variate is not None and instruction.plan.unit == "none")
    if needed and not count:
        raise RefusedError("no_examples", "this device has no examples to take a mean over", where=task.name)


def _stream(seed: int | None, device: str, number: int, key: bytes) -> ChaChaStream:
    if seed is None:
        return ChaChaStream(key)
    return seeded_stream(seed, "train", device, number)
