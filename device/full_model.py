"""Every weight of a small network in float32, without torch: ``LocalModel`` of ``trainable = "full"`` for ``cnn``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save

from skerry.canonical import digest
from skerry.config import ModelConfig
from skerry.device.tasks.task import Task
from skerry.device.training.full import FullTrainer
from skerry.device.training.plan import TrainPlan
from skerry.fsio import write_atomic
from skerry.records import Float32Array, ParameterLayout
from skerry.security.privacy.stream import ChaChaStream

__all__ = ["FullModel"]


class FullModel:
    """Every weight of a small network in float32; no privacy unit, so only for public or synthetic data."""

    quantized = False
    deployed_as_trained = True

    def __init__(self, config: ModelConfig, task: Task) -> None:
        self._trainer = FullTrainer(config.architecture, len(task.classes))
        self._task = task
        self._digest = digest(
            {
                "architecture": config.architecture,
                "classes": len(task.classes),
                "input_size": config.input_size,
                "layout": self._trainer.layout.digest,
            }
        )

    @property
    def digest(self) -> str:
        """Digest of architecture, classes, input size and layout."""
        return self._digest

    @property
    def layout(self) -> ParameterLayout:
        """Layout of all weights."""
        return self._trainer.layout

    def initial(self) -> Float32Array:
        """The network's own initialisation, by a fixed seed."""
        return self._trainer.initial(0)

    def prepare(self, x: npt.NDArray[Any]) -> Any:
        """The transformed examples themselves."""
        return self._trainer.prepare(self._task.transform(x))

    def train(
        self,
        vector: Float32Array,
        inputs: Any,
        y: npt.NDArray[np.int64],
        plan: TrainPlan,
        stream: ChaChaStream,
        correction: Float32Array | None = None,
    ) -> Float32Array:
        """Plain SGD; the stream gives the order of the examples."""
        generator = np.random.default_rng(stream.uint64(4))
        return self._trainer.train(vector, inputs, y, plan, generator, correction)

    def logits(self, vector: Float32Array, inputs: Any) -> Float32Array:
        """Scores of the network."""
        return self._trainer.logits(vector, inputs)

    def deployed_logits(self, vector: Float32Array, x: npt.NDArray[Any], inputs: Any) -> Float32Array:
        """Scores of the network: it is deployed as it is trained."""
        del x
        return self.logits(vector, inputs)

    def float_logits(self, vector: Float32Array, x: npt.NDArray[Any]) -> Float32Array:
        """Scores of the network."""
        return self.logits(vector, self.prepare(x))

    def assemble(self, vector: Float32Array, out: Path, card: Mapping[str, Any]) -> dict[str, Path]:
        """Write ``weights.safetensors``."""
        del card
        path = out / "weights.safetensors"
        write_atomic(path, save(dict(self.layout.split(vector)), {"digest": self.digest}))
        return {path.name: path}
