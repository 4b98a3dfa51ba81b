"""A linear head over features of the frozen int8 base, in numpy: ``LocalModel`` of ``trainable = "head"``."""

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from skerry.canonical import sha256_hex
from skerry.config import ModelConfig
from skerry.device.tasks.reach import attack_ball
from skerry.device.tasks.task import Task
from skerry.device.tasks.views import Viewed
from skerry.device.training.plan import TrainPlan
from skerry.errors import MissingDependencyError
from skerry.records import Float32Array, ParameterLayout
from skerry.security.adversarial import AdversarialRecipe
from skerry.security.privacy.stream import ChaChaStream

if TYPE_CHECKING:
    from skerry.device.training.network import NetworkTrainer

__all__ = ["HeadModel"]


class HeadModel:
    """Linear head over whitened features of the int8 base; needs no torch, but to be trained against attacks.

    Args:
        config: of the base that was agreed to.
        model_digest: the base's.
        task: gives the input transform.
        store: where base models lie; None for the default.

    Raises:
        InputError: the base is not on this machine, or is not well formed.
        RefusedError: it was altered, or says it is another than agreed (``wrong_model``), or has layers that a device
            does not run on its data (``layer_refused``).
    """

    deployed_as_trained = True

    def __init__(self, config: ModelConfig, model_digest: str, task: Task, store: Path | None = None) -> None:
        from skerry.device.basemodel import BaseModel
        from skerry.device.training.head import HeadTrainer

        self._base = BaseModel.load(model_digest, store)
        self._base.check_agreed(
            {
                **{name: getattr(config, name) for name in ("architecture", "bits", "blocks", "grid", "components")},
                "input_shape": list(task.input_shape),
                "classes": list(task.classes),
            }
        )
        self._base.check_parts()  # what cannot be run is refused now, before anything is debited
        self._task = task
        self._trainer = HeadTrainer(len(self._base.classes), self._base.width)
        self._attacked: NetworkTrainer | None = None
        self._floating: dict[str, Float32Array] = {}

    def differentiable(self) -> bool:
        """Load the float twin, whose gradients reach down to the input; False where torch is not installed.

        Raises:
            RefusedError: the twin was altered, has layers that a device does not run on its data, or is none.
        """
        if any(importlib.util.find_spec(name) is None for name in ("torch", "onnx")):
            return False
        self._network()
        return True

    @property
    def quantized(self) -> bool:
        """Whether devices run the base in int8."""
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

    def examples(self, x: npt.NDArray[Any]) -> Float32Array:
        """Transformed examples themselves: what attacks move, and :meth:`train` then takes."""
        return self._task.transform(x)

    def prepare_view(self, x: npt.NDArray[Any], number: int) -> Float32Array:
        """:meth:`prepare` of one view of each example (from 1); the task must have views."""
        assert isinstance(self._task, Viewed)
        return self._base.features(self._task.view(x, number))

    def train(
        self,
        vector: Float32Array,
        inputs: Any,
        y: npt.NDArray[np.int64],
        plan: TrainPlan,
        stream: ChaChaStream,
        correction: Float32Array | None = None,
    ) -> Float32Array:
        """One round of (private) steps; inputs as of :meth:`prepare`, ``(n, views, width)``, or :meth:`examples`.

        Raises:
            MissingDependencyError: the plan has attacks, and torch is not installed.
        """
        if plan.adversarial == "none":
            return self._trainer.train(vector, inputs, y, plan, stream, correction)
        ball = attack_ball(self._task, plan.adversarial_epsilon, plan.adversarial_norm)
        recipe = AdversarialRecipe(ball=ball, method=plan.adversarial)
        return self._network().train(vector, inputs, y, plan, stream, recipe, correction)

    def _network(self) -> "NetworkTrainer":
        if self._attacked is None:
            try:
                from skerry.device.head_network import head_network
                from skerry.device.training.network import NetworkTrainer
            except ImportError as error:
                raise MissingDependencyError(
                    f"training a head against attacks needs {error.name}",
                    where="training.adversarial",
                    mend="pip install 'skerry[train]', or set training.adversarial = \"none\"",
                ) from error
            self._attacked = NetworkTrainer(head_network(self._base))
        return self._attacked

    def logits(self, vector: Float32Array, inputs: Any) -> Float32Array:
        """Scores of the head."""
        return self._trainer.logits(vector, inputs)

    def deployed_logits(self, vector: Float32Array, x: npt.NDArray[Any], inputs: Any) -> Float32Array:
        """Scores of the head over the base that devices run."""
        del x
        return self.logits(vector, inputs)

    def float_logits(self, vector: Float32Array, x: npt.NDArray[Any]) -> Float32Array:
        """Scores of the head over the float32 base, whose features of these examples are kept."""
        key = sha256_hex(np.ascontiguousarray(x).tobytes())
        if key not in self._floating:
            self._floating[key] = self._base.float_features(self._task.transform(x))
        return self._trainer.logits(vector, self._floating[key])

    def assemble(self, vector: Float32Array, out: Path, card: Mapping[str, Any]) -> dict[str, Path]:
        """Write the deliverable (one ONNX file from picture to scores, the head, a card) and name its files."""
        from skerry.device.deliverable import assemble_model

        return assemble_model(self._base, vector, out, card)
