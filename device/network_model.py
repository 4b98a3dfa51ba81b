"""A whole network whose trainable part is the tail, the biases, adapters, or everything: ``LocalModel`` in torch.

What is trained is seen in float32; what is deployed is the trained network quantized anew, calibrated on public data:
:meth:`NetworkModel.assemble`. ``qat`` sees itself in int8, and is deployed as it sees itself.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from skerry.config import ModelConfig
from skerry.device.calibration import calibration_examples
from skerry.device.compression.cuts import split
from skerry.device.compression.graph import Graph, Node
from skerry.device.compression.graph_file import load_graph
from skerry.device.compression.onnx_export import to_onnx
from skerry.device.compression.quantization_file import load_quantization
from skerry.device.compression.quantize import Quantization, quantize
from skerry.device.deliverable import write_deliverable
from skerry.device.networkbase import CLASSIFIER, FRONT, NETWORK, QUANTIZATION, NetworkBase
from skerry.device.runtime import OnnxModel
from skerry.device.tasks.reach import attack_ball
from skerry.device.tasks.task import Task
from skerry.device.training.augment_inputs import AugmentedInputs
from skerry.device.training.modes import merge_linear, prepare_mode
from skerry.device.training.network import NetworkTrainer
from skerry.device.training.per_example import Inputs
from skerry.device.training.plan import TrainPlan
from skerry.device.training.public_head import fit_public_head
from skerry.device.yielding import parts_of
from skerry.errors import InputError
from skerry.records import Float32Array, ParameterLayout
from skerry.security.adversarial import AdversarialRecipe
from skerry.security.privacy.stream import RandomStream

__all__ = ["NetworkModel", "RoundedInputs"]

_CONSTANT = 0.3  # stands for the bias beside rows of length about one


@dataclass(frozen=True)
class RoundedInputs:
    """Activations of the cut as the int8 front gives them: a quarter of the memory of floats, made floats on use.

    Attributes:
        values: ``(n, channels, height, width)`` uint8.
        step: between two numbers.
        zero: the value that stands for 0.
    """

    values: npt.NDArray[np.uint8]
    step: float
    zero: int

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, index: Any, /) -> Float32Array:
        numbers: Float32Array = self.values[index].astype(np.float32)
        numbers -= np.float32(self.zero)
        numbers *= np.float32(self.step)
        return numbers


class NetworkModel:
    """See the module.

    Args:
        config: architecture and mode; its ``trainable`` is not ``head``.
        model_digest: the base's.
        task: gives the input transform, and public data for calibration.
        store: where base models lie; None for the default.

    Raises:
        InputError: the base is not on this machine, is of another mode, or its parts do not fit together.
        RefusedError: it was altered, or says it is another than agreed (``wrong_model``), or has layers that a device
            does not run on its data (``layer_refused``).
    """

    deployed_as_trained = False

    def __init__(self, config: ModelConfig, model_digest: str, task: Task, store: Path | None = None) -> None:
        self._base = NetworkBase.load(model_digest, store)
        self._base.check_agreed(
            {
                "head.architecture": config.architecture,
                "bits": config.bits,
                "tail_blocks": config.tail_blocks if config.trainable == "tail" else None,
                "input_shape": list(task.input_shape),
                "classes": list(task.classes),
            }
        )
        self._task = task
        self._whole = load_graph(self._base.file(NETWORK))
        if (self._whole.input_shape, self._whole.classes) != (tuple(task.input_shape), tuple(task.classes)):
            raise InputError("this base's network has another input or other classes", where=str(self._base.path))
        self._front: tuple[Node, ...] = ()
        trained = self._whole
        cut = self._base.facts["cut"]
        if (cut is not None) != (config.trainable == "tail"):
            raise InputError(f"this base is not one for {config.trainable!r}", where=str(self._base.path))
        if cut is not None:
            self._front, trained = split(self._whole, cut)
            front = self._front_model  # what cannot be run is refused now, before anything is debited
            if (front.input_shape, front.output_shape) != (self._whole.input_shape, trained.input_shape):
                raise InputError("this base's front is another than its network's", where=str(self._base.path))
        self._cut = cut
        quantization = load_quantization(self._base.file(QUANTIZATION)) if self.quantized else None
        self._cut_scale = quantization.tensors[cut] if quantization is not None and cut is not None else None
        self._mode = prepare_mode(config.trainable, trained, quantization, rank=config.rank)
        self._trainer = NetworkTrainer(self._mode.module)
        self._rounded: tuple[bytes, Quantization] | None = None
        self._sessions: dict[bool, tuple[bytes, OnnxModel]] = {}

    @property
    def quantized(self) -> bool:
        """Whether devices get the trained network in int8."""
        return self._base.bits == 8

    def differentiable(self) -> bool:
        """Whether there are gradients down to its input: all of it is trained here, not the part behind a front."""
        return self._cut is None

    @property
    def digest(self) -> str:
        """Digest of the base's manifest."""
        return self._base.digest

    @property
    def layout(self) -> ParameterLayout:
        """Layout of the trainable part."""
        return self._trainer.layout

    def initial(self) -> Float32Array:
        """The network as it was built from published weights and public data."""
        return self._trainer.initial()

    def prepare(self, x: npt.NDArray[Any]) -> Inputs:
        """Transformed examples; for ``tail`` the cut's activations through the frozen front, in int8 where it is."""
        examples = self._task.transform(x)
        if self._cut is None:
            return examples
        values = self._front_model.run(examples[:0])
        values = np.empty((len(examples), *values.shape[1:]), values.dtype)
        for part in parts_of(len(examples)):  # asked to stop, it begins again
            values[part] = self._front_model.run(examples[part])
        scale = self._cut_scale
        return values if scale is None else RoundedInputs(values.astype(np.uint8), scale.step, scale.zero)

    def train(
        self,
        vector: Float32Array,
        inputs: Inputs,
        y: npt.NDArray[np.int64],
        plan: TrainPlan,
        stream: RandomStream,
        correction: Float32Array | None = None,
    ) -> Float32Array:
        """One round of (private) training."""
        if plan.augment != "none":
            inputs = AugmentedInputs(inputs, plan.augment, np.random.default_rng(stream.uint64(4)))
        recipe = None
        if plan.adversarial != "none":
            if self._cut is not None:
                raise InputError(
                    "the tail of a network cannot be trained against attacks: they move the input of its front",
                    where="training.adversarial",
                    mend='set training.adversarial = "none", or model.trainable = "bias", "lora", "qat" or "full"',
                )
            ball = attack_ball(self._task, plan.adversarial_epsilon, plan.adversarial_norm)
            recipe = AdversarialRecipe(ball=ball, method=plan.adversarial)
        return self._trainer.train(vector, inputs, y, plan, stream, recipe, correction)

    def logits(self, vector: Float32Array, inputs: Inputs) -> Float32Array:
        """Scores of the network as it is trained."""
        return self._trainer.logits(vector, inputs)

    def float_logits(self, vector: Float32Array, x: npt.NDArray[Any]) -> Float32Array:
        """Scores of raw examples through the float32 graph: what quantization is compared with."""
        return self._session(vector, deployed=False).run(self._task.transform(x))

    def deployed_logits(self, vector: Float32Array, x: npt.NDArray[Any], inputs: Inputs) -> Float32Array:
        """Scores of raw examples through what :meth:`assemble` writes."""
        del inputs
        return self._session(vector, deployed=True).run(self._task.transform(x))

    def graph(self, vector: Float32Array) -> Graph:
        """The whole float graph with these weights, whitening and classifier in one layer."""
        trained = self._mode.graph(self._trainer.module(vector))
        return merge_linear(replace(self._whole, nodes=(*self._front, *trained.nodes)))

    def head_tensors(self) -> tuple[str, ...]:
        """Names, in the layout, of the last layer's tensors."""
        return tuple(name for name, _ in self.layout.tensors if name.startswith(f"{CLASSIFIER}."))

    def fit_head(self, vector: Float32Array, inputs: Inputs, y: npt.NDArray[np.int64]) -> Float32Array:
        """A last layer by logistic regression on these examples: its tensors, in the order of :meth:`head_tensors`.

        Args:
            vector: the network; its head is not used.
            inputs: n prepared examples.
            y: ``(n,)`` classes.
        """
        rows = self._trainer.inputs_of(CLASSIFIER, vector, inputs)
        mean, scale = rows.mean(0), float(np.sqrt(rows.var(0).sum())) + 1e-6
        constant = np.full((len(rows), 1), _CONSTANT)
        found = fit_public_head(np.c_[(rows - mean) / scale, constant].astype(np.float32), y, len(self._whole.classes))
        weight = found[:, :-1] / np.float32(scale)
        return np.concatenate([weight.ravel(), found[:, -1] * np.float32(_CONSTANT) - weight @ mean]).astype(np.float32)

    def assemble(self, vector: Float32Array, out: Path, card: Mapping[str, Any]) -> dict[str, Path]:
        """Write the deliverable (one ONNX file from example to scores, the trained part, a card) and name its files."""
        graph = self.graph(vector)
        return write_deliverable(
            self._onnx(vector),
            dict(self.layout.split(vector)),
            out,
            part="trained",
            bits=self._base.bits,
            input_shape=graph.input_shape,
            classes=graph.classes,
            base={**self._base.facts["head"], "digest": self.digest, "bits": self._base.bits},
            card=card,
        )

    def _onnx(self, vector: Float32Array) -> bytes:
        graph = self.graph(vector)
        seen = self._mode.quantization
        if seen is not None:
            quantization: Quantization | None = seen(self._trainer.module(vector))
        else:
            quantization = self._quantize(graph) if self.quantized else None
        model: bytes = to_onnx(graph, quantization).SerializeToString()
        return model

    def _quantize(self, graph: Graph) -> Quantization:
        """The graph's int8 form; of graphs that differ in their float layers only, such as the head, it is the same."""
        if self._rounded is None or self._rounded[0] != _digest(graph, self._rounded[1]):
            found = quantize(graph, calibration_examples(self._task))
            self._rounded = (_digest(graph, found), found)
        return self._rounded[1]

    def _session(self, vector: Float32Array, *, deployed: bool) -> OnnxModel:
        """The network with these weights in onnxruntime, as deployed or in float32; the last one of each is kept."""
        key = hashlib.sha256(vector.tobytes()).digest()
        kept = self._sessions.get(deployed)
        if kept is None or kept[0] != key:
            model = self._onnx(vector) if deployed else to_onnx(self.graph(vector)).SerializeToString()
            kept = self._sessions[deployed] = (key, OnnxModel(model))
        return kept[1]

    @cached_property
    def _front_model(self) -> OnnxModel:
        return OnnxModel(self._base.file(FRONT[self._base.bits]), front=True, private=True)


def _digest(graph: Graph, quantization: Quantization) -> bytes:
    """Of all that the quantization depends on: the layers that it rounds."""
    found = hashlib.sha256()
    for node in graph.nodes:
        if node.name in quantization.weights and node.weight is not None and node.bias is not None:
            found.update(node.weight.tobytes() + node.bias.tobytes())
    return found.digest()
