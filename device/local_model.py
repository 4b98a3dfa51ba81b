"""The part of a model that is trained here, behind one face for every ``trainable`` mode.

``head``: a linear head over features of the frozen int8 base, in numpy; ``full`` of the architecture ``cnn``: every
weight of a small network, in numpy; all others: part or all of a network, in torch
(:mod:`skerry.device.network_model`).
"""

import hashlib
import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from skerry.canonical import digest, sha256_hex
from skerry.config import ModelConfig
from skerry.device.personal import PersonalModel
from skerry.device.tasks.reach import attack_ball
from skerry.device.tasks.task import Task
from skerry.device.tasks.views import Viewed
from skerry.device.training.plan import TrainPlan
from skerry.errors import InputError, MissingDependencyError, SkerryError
from skerry.records import Float32Array, ParameterLayout
from skerry.security.adversarial import AdversarialRecipe
from skerry.security.privacy.stream import ChaChaStream

if TYPE_CHECKING:
    from skerry.device.training.network import NetworkTrainer

__all__ = ["FullModel", "HeadModel", "LocalModel", "build_local_model", "has_views", "load_local_model", "withstands"]

_SCORED = 4  # vectors and inputs of which a small network remembers the scores: 40 bytes an example of ten classes


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


class FullModel:
    """Every weight of a small network in float32, in numpy; no privacy unit, so only for public or synthetic data."""

    quantized = False

    def __init__(self, config: ModelConfig, task: Task) -> None:
        from skerry.device.training.full import FullTrainer

        self._trainer = FullTrainer(config.architecture, len(task.classes))
        self._task = task
        self._scored: tuple[tuple[tuple[bytes, bytes], Float32Array], ...] = ()
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
        """Scores of the network; the last few are remembered, since a run's end asks for the same in several ways."""
        asked = _digest(vector), _digest(inputs)
        for known, scores in self._scored:
            if known == asked:
                return scores.copy()
        scores = self._trainer.logits(vector, inputs)
        self._scored = (*self._scored[1 - _SCORED :], (asked, scores.copy()))  # as one: others may look meanwhile
        return scores

    def deployed_logits(self, vector: Float32Array, x: npt.NDArray[Any], inputs: Any) -> Float32Array:
        """Scores of the network: it is deployed as it is trained."""
        del x
        return self.logits(vector, inputs)

    def float_logits(self, vector: Float32Array, x: npt.NDArray[Any]) -> Float32Array:
        """Scores of the network."""
        return self.logits(vector, self.prepare(x))

    def assemble(self, vector: Float32Array, out: Path, card: Mapping[str, Any]) -> dict[str, Path]:
        """Write ``weights.safetensors``."""
        from safetensors.numpy import save

        from skerry.fsio import write_atomic

        del card
        path = out / "weights.safetensors"
        write_atomic(path, save(dict(self.layout.split(vector)), {"digest": self.digest}))
        return {path.name: path}


def _digest(array: Float32Array) -> bytes:
    return hashlib.sha256(np.ascontiguousarray(array, np.float32).data).digest()


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
