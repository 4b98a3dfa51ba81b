"""The part of a model that is trained here, behind one face for every ``trainable`` mode.

``head``: a linear head over features of the frozen int8 base, in numpy; ``full``: every weight, in torch.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from skerry.canonical import digest
from skerry.config import ModelConfig
from skerry.device.tasks.task import Task
from skerry.device.training.plan import TrainPlan
from skerry.records import Float32Array, ParameterLayout
from skerry.security.privacy.stream import ChaChaStream

__all__ = ["FullModel", "HeadModel", "LocalModel", "load_local_model"]


class LocalModel(Protocol):
    """What participation and evaluation need of a model."""

    @property
    def digest(self) -> str:
        """Names exactly what is frozen and how the trainable part is laid out."""
        ...

    @property
    def layout(self) -> ParameterLayout:
        """Layout of the trainable vector."""
        ...

    def initial(self) -> Float32Array:
        """The ``(d,)`` vector before any federated round."""
        ...

    def prepare(self, x: npt.NDArray[Any]) -> Any:
        """Inputs of :meth:`train` for raw examples: computed once per device and cached."""
        ...

    def train(
        self, vector: Float32Array, inputs: Any, y: npt.NDArray[np.int64], plan: TrainPlan, stream: ChaChaStream
    ) -> Float32Array:
        """The ``(d,)`` delta of one round."""
        ...

    def logits(self, vector: Float32Array, inputs: Any) -> Float32Array:
        """``(n, classes)`` scores."""
        ...


class HeadModel:
    """Linear head over whitened features of the int8 base; needs no torch."""

    def __init__(self, model_digest: str, task: Task, store: Path | None = None) -> None:
        from skerry.device.basemodel import BaseModel
        from skerry.device.training.head import HeadTrainer

        self._base = BaseModel.load(model_digest, store)
        self._task = task
        self._trainer = HeadTrainer(len(self._base.classes), self._base.width)

    @property
    def quantized(self) -> bool:
        """Whether devices get the base in int8."""
        return self._base.bits == 8

    @property
    def digest(self) -> str:
        """Digest of the base's manifest."""
        return self._base.digest

    @property
    def layout(self) -> ParameterLayout:
        """Layout of the head."""
        return self._trainer.layout

    def initial(self) -> Float32Array:
        """The head as trained on public data."""
        return self._base.initial

    def prepare(self, x: npt.NDArray[Any]) -> Float32Array:
        """``(n, width)`` whitened features through the int8 base."""
        return self._base.features(self._task.transform(x))

    def train(
        self, vector: Float32Array, inputs: Any, y: npt.NDArray[np.int64], plan: TrainPlan, stream: ChaChaStream
    ) -> Float32Array:
        """One round of (private) full-batch steps."""
        return self._trainer.train(vector, inputs, y, plan, stream)

    def logits(self, vector: Float32Array, inputs: Any) -> Float32Array:
        """Scores of the head."""
        return self._trainer.logits(vector, inputs)

    def float_logits(self, vector: Float32Array, x: npt.NDArray[Any]) -> Float32Array:
        """Scores of the head over the float32 base, for raw examples: what quantization is compared with."""
        return self._trainer.logits(vector, self._base.float_features(self._task.transform(x)))

    def assemble(self, vector: Float32Array, out: Path, card: Mapping[str, Any]) -> dict[str, Path]:
        """Write the deliverable (one ONNX file from picture to scores, the head, a card) and name its files."""
        from skerry.device.deliverable import assemble_model

        return assemble_model(self._base, vector, out, card)


class FullModel:
    """Every weight of a small network in float32, by torch; no privacy unit, so only for public or synthetic data."""

    def __init__(self, config: ModelConfig, task: Task) -> None:
        from skerry.device.training.full import FullTrainer

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
        self, vector: Float32Array, inputs: Any, y: npt.NDArray[np.int64], plan: TrainPlan, stream: ChaChaStream
    ) -> Float32Array:
        """Plain SGD; the stream gives the order of the examples."""
        return self._trainer.train(vector, inputs, y, plan, np.random.default_rng(stream.uint64(4)))

    def logits(self, vector: Float32Array, inputs: Any) -> Float32Array:
        """Scores of the network."""
        return self._trainer.logits(vector, inputs)


def load_local_model(
    config: ModelConfig, model_digest: str | None, task: Task, store: Path | None = None
) -> LocalModel:
    """The model of this configuration; for ``head`` the base of that digest, which must be on this machine.

    Args:
        config: architecture and trainable part.
        model_digest: digest of the base as named in an instruction; None for ``full``.
        task: gives classes and the input transform.
        store: where base models lie; None for the default.
    """
    if config.trainable == "full":
        return FullModel(config, task)
    if model_digest is None:
        raise ValueError("a head needs the digest of its base")
    return HeadModel(model_digest, task, store)
