"""The part of a model that is trained here, behind one face for every ``trainable`` mode.

``head``: a linear head over features of the frozen int8 base, in numpy (:mod:`skerry.device.head_model`); ``full`` of
the architecture ``cnn``: every weight of a small network, without torch (:mod:`skerry.device.full_model`); all others:
part or all of a network, in torch (:mod:`skerry.device.network_model`).
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from skerry.config import ModelConfig
from skerry.device.head_model import HeadModel
from skerry.device.personal import PersonalModel
from skerry.device.tasks.task import Task
from skerry.device.tasks.views import Viewed
from skerry.device.training.plan import TrainPlan
from skerry.errors import InputError, MissingDependencyError, SkerryError
from skerry.records import Float32Array, ParameterLayout
from skerry.security.privacy.stream import ChaChaStream

__all__ = ["LocalModel", "build_local_model", "has_views", "load_local_model", "withstands"]


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
        self,
        vector: Float32Array,
        inputs: Any,
        y: npt.NDArray[np.int64],
        plan: TrainPlan,
        stream: ChaChaStream,
        correction: Float32Array | None = None,
    ) -> Float32Array:
        """The ``(d,)`` delta of one round, ``correction`` added to each step's gradient."""
        ...

    def logits(self, vector: Float32Array, inputs: Any) -> Float32Array:
        """``(n, classes)`` scores of prepared examples, as they are seen in training."""
        ...

    @property
    def quantized(self) -> bool:
        """Whether devices get the model in int8."""
        ...

    @property
    def deployed_as_trained(self) -> bool:
        """Whether :meth:`deployed_logits` are :meth:`logits`, to the bit: devices get what is seen in training."""
        ...

    def deployed_logits(self, vector: Float32Array, x: npt.NDArray[Any], inputs: Any) -> Float32Array:
        """Scores of raw examples, which are also given prepared, through what devices get."""
        ...

    def float_logits(self, vector: Float32Array, x: npt.NDArray[Any]) -> Float32Array:
        """Scores of raw examples through the float32 network: what quantization is compared with."""
        ...

    def assemble(self, vector: Float32Array, out: Path, card: Mapping[str, Any]) -> dict[str, Path]:
        """Write what devices get (the model, its trained part, a card) and name the files."""
        ...


@runtime_checkable
class HasGradients(Protocol):
    """A model that may have gradients down to its input; others have none."""

    def differentiable(self) -> bool:
        """Whether it has them here."""
        ...


def build_local_model(
    config: ModelConfig, task: Task, progress: Callable[[str], None] = lambda _: None, store: Path | None = None
) -> str | None:
    """Build what this configuration is trained on, or find it; on the server, with torch.

    Returns:
        The digest by which :func:`load_local_model` finds it; None where nothing is built.

    Raises:
        MissingDependencyError: torch, onnx or the weights package is not installed.
        ScenarioError: there is no such architecture.
    """
    if _by_hand(config):
        return None
    if config.trainable == "head":
        from skerry.device.basebuild import build_base

        return build_base(config, task, progress, store).digest
    from skerry.device.networkbuild import build_network_base

    return build_network_base(config, task, progress, store).digest


def load_local_model(
    config: ModelConfig, model_digest: str | None, task: Task, store: Path | None = None
) -> LocalModel:
    """The model of this configuration over the base of that digest, which must be on this machine.

    Args:
        config: architecture and trainable part.
        model_digest: digest of the base as named in an instruction; without effect for the architecture ``cnn``.
        task: gives classes and the input transform.
        store: where base models lie; None for the default.

    Raises:
        InputError: the base is not on this machine, or is not well formed.
        RefusedError: it was altered, or says it is another than agreed (``wrong_model``), or has layers that a device
            does not run on its data (``layer_refused``).
        MissingDependencyError: the mode needs torch, which is not installed.
    """
    if _by_hand(config):
        from skerry.device.full_model import FullModel

        return FullModel(config, task)
    if model_digest is None:
        raise ValueError("a base is named by its digest")
    if config.trainable == "head":
        return HeadModel(config, model_digest, task, store)
    try:
        from skerry.device.network_model import NetworkModel
    except ImportError as error:
        raise MissingDependencyError(
            f'model.trainable = "{config.trainable}" needs {error.name}',
            where="this device",
            mend="pip install 'skerry[train]', or train the head only",
        ) from error
    try:
        whole = NetworkModel(config, model_digest, task, store)
    except SkerryError:
        raise
    except Exception as error:  # a graph, a quantization and facts that do not belong together fail in many ways
        what = f"this base's files do not fit together: {type(error).__name__}: {error}"
        raise InputError(what, where=model_digest) from error
    return PersonalModel(whole) if config.personal_head else whole


def has_views(model: LocalModel, task: Task) -> bool:
    """Whether examples of this task may come to this model in several views (``training.views``)."""
    return isinstance(model, HeadModel) and isinstance(task, Viewed)


def withstands(model: LocalModel) -> bool:
    """Whether this model may be trained against attacks (``training.adversarial``) here: it says so itself.

    Raises:
        RefusedError: what it would be trained through is not to be used.
    """
    return isinstance(model, HasGradients) and model.differentiable()


def _by_hand(config: ModelConfig) -> bool:
    return config.trainable == "full" and config.architecture == "cnn"
