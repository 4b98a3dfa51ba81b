"""Personal heads: the network is everybody's, its last layer is a device's own and never leaves it.

* *Training.* A device trains network and head together, from the network it was sent and the head it keeps. Under
  privacy both are clipped and noised as one vector: the head then is a function of noisy sums, like everything that was
  ever sent, and keeping it costs no privacy beyond what was debited. (A head trained without noise would carry private
  data into the next round's gradients of the network, and void the guarantee.)
* *Sending.* The network's change alone. The head stays in the device's home, and starts from the public head.
* *Measuring.* A held-out device is a newcomer: it gets the network, fits a head of its own on every second one of its
  examples, and is measured on the others (as in FedRep, Collins et al. 2021, section 5). What a newcomer does stays on
  it, so it adds no noise.

Source of the idea: FedPer (Arivazhagan et al. 2019, arXiv:1912.00818).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load, save

from skerry.device.training.plan import TrainPlan
from skerry.fsio import write_atomic
from skerry.records import Float32Array, ParameterLayout
from skerry.security.privacy.stream import RandomStream

__all__ = ["FILE", "Form", "PersonalModel", "WholeModel"]

FILE = "personal-head.safetensors"
"""The head's name in a device's home."""
Form = Literal["training", "deployed", "float"]
"""How scores are computed: as in training, by the int8 file that devices get, or in float32."""


class WholeModel(Protocol):
    """What is needed of the model whose head is kept: :class:`~skerry.device.network_model.NetworkModel`."""

    @property
    def digest(self) -> str:
        """Digest of what is frozen."""
        ...

    @property
    def layout(self) -> ParameterLayout:
        """Layout of the trainable part, head included."""
        ...

    @property
    def quantized(self) -> bool:
        """Whether devices get int8."""
        ...

    def differentiable(self) -> bool:
        """Whether there are gradients down to its input."""
        ...

    def initial(self) -> Float32Array:
        """The vector before any round."""
        ...

    def prepare(self, x: npt.NDArray[Any]) -> Any:
        """Inputs of training."""
        ...

    def train(
        self,
        vector: Float32Array,
        inputs: Any,
        y: npt.NDArray[np.int64],
        plan: TrainPlan,
        stream: RandomStream,
        correction: Float32Array | None = None,
    ) -> Float32Array:
        """The delta of a round."""
        ...

    def logits(self, vector: Float32Array, inputs: Any) -> Float32Array:
        """Scores of prepared examples."""
        ...

    def deployed_logits(self, vector: Float32Array, x: npt.NDArray[Any], inputs: Any) -> Float32Array:
        """Scores by what devices get."""
        ...

    def float_logits(self, vector: Float32Array, x: npt.NDArray[Any]) -> Float32Array:
        """Scores in float32."""
        ...

    def assemble(self, vector: Float32Array, out: Path, card: Mapping[str, Any]) -> dict[str, Path]:
        """Write the deliverable."""
        ...

    def head_tensors(self) -> tuple[str, ...]:
        """Names of the head in the layout."""
        ...

    def fit_head(self, vector: Float32Array, inputs: Any, y: npt.NDArray[np.int64]) -> Float32Array:
        """A head for these examples."""
        ...


class PersonalModel:
    """A model whose trainable vector, as it travels, has no head.

    Args:
        whole: the model with its head.
    """

    deployed_as_trained = False

    def __init__(self, whole: WholeModel) -> None:
        self._whole = whole
        own = set(whole.head_tensors())
        self.layout = ParameterLayout(tuple(t for t in whole.layout.tensors if t[0] not in own))
        self.head_layout = ParameterLayout(tuple(t for t in whole.layout.tensors if t[0] in own))

    @property
    def digest(self) -> str:
        """Digest of the base's manifest."""
        return self._whole.digest

    @property
    def quantized(self) -> bool:
        """Whether devices get the model in int8."""
        return self._whole.quantized

    def differentiable(self) -> bool:
        """Whether there are gradients down to its input."""
        return self._whole.differentiable()

    def initial(self) -> Float32Array:
        """The network before any round, ``(d,)``, without the head."""
        return self.layout.join(self._whole.layout.split(self._whole.initial()))

    def initial_head(self) -> Float32Array:
        """The public head."""
        return self.head_layout.join(self._whole.layout.split(self._whole.initial()))

    def prepare(self, x: npt.NDArray[Any]) -> Any:
        """Inputs of training."""
        return self._whole.prepare(x)

    def train(
        self,
        vector: Float32Array,
        inputs: Any,
        y: npt.NDArray[np.int64],
        plan: TrainPlan,
        stream: RandomStream,
        correction: Float32Array | None = None,
    ) -> Float32Array:
        """One round of a device that has no head yet and keeps none."""
        return self.train_with(self.initial_head(), vector, inputs, y, plan, stream, correction)[0]

    def train_with(
        self,
        head: Float32Array,
        vector: Float32Array,
        inputs: Any,
        y: npt.NDArray[np.int64],
        plan: TrainPlan,
        stream: RandomStream,
        correction: Float32Array | None = None,
    ) -> tuple[Float32Array, Float32Array]:
        """One round: the network's change, which is sent, and the new head, which is kept and not corrected."""
        added = None if correction is None else self.joined(correction, np.zeros_like(head))
        whole = self._whole.train(self.joined(vector, head), inputs, y, plan, stream, added)
        delta = self._whole.layout.split(whole)
        return self.layout.join(delta), head + self.head_layout.join(delta)

    def joined(self, vector: Float32Array, head: Float32Array) -> Float32Array:
        """Network and head as the whole model's vector."""
        return self._whole.layout.join({**self.layout.split(vector), **self.head_layout.split(head)})

    def logits(self, vector: Float32Array, inputs: Any, head: Float32Array | None = None) -> Float32Array:
        """Scores with a head; the public one when none is given."""
        return self._whole.logits(self.joined(vector, self.initial_head() if head is None else head), inputs)

    def deployed_logits(self, vector: Float32Array, x: npt.NDArray[Any], inputs: Any) -> Float32Array:
        """Scores of what is delivered, with the public head."""
        return self._whole.deployed_logits(self.joined(vector, self.initial_head()), x, inputs)

    def float_logits(self, vector: Float32Array, x: npt.NDArray[Any]) -> Float32Array:
        """Scores in float32, with the public head."""
        return self._whole.float_logits(self.joined(vector, self.initial_head()), x)

    def assemble(self, vector: Float32Array, out: Path, card: Mapping[str, Any]) -> dict[str, Path]:
        """Write the deliverable with the public head, for a device that has none of its own."""
        return self._whole.assemble(self.joined(vector, self.initial_head()), out, {**card, "head": "public"})

    def newcomer(
        self, vector: Float32Array, x: npt.NDArray[Any], inputs: Any, y: npt.NDArray[np.int64], form: Form
    ) -> tuple[Float32Array, npt.NDArray[np.int64]]:
        """Scores and labels of every second example, with a head fitted on the others.

        Args:
            vector: the network.
            x: ``(n, ...)`` raw examples.
            inputs: the same, prepared.
            y: ``(n,)`` labels.
            form: by what the scores are computed.
        """
        fitted = np.arange(0, len(y), 2)
        measured = np.arange(1, len(y), 2)
        head = self._whole.fit_head(self.joined(vector, self.initial_head()), inputs[fitted], y[fitted])
        whole = self.joined(vector, head)
        if form == "training":
            scores = self._whole.logits(whole, inputs[measured])
        elif form == "float":
            scores = self._whole.float_logits(whole, x[measured])
        else:
            scores = self._whole.deployed_logits(whole, x[measured], None)
        return scores, y[measured]

    def read_head(self, home: Path, plan: TrainPlan | None = None) -> Float32Array:
        """The head that a device keeps; the public one where it keeps none for this network.

        A head that was ever trained without privacy is not used under privacy: it would carry private data into what
        is sent.

        Args:
            home: the device's folder.
            plan: what the head is wanted for; None to look at it only.
        """
        path = home / FILE
        try:
            with safe_open(path, framework="numpy") as file:
                facts = file.metadata() or {}
            head = self.head_layout.join(load(path.read_bytes()))
        except (OSError, SafetensorError, KeyError, ValueError):
            return self.initial_head()  # none yet, or not whole: it is the device's own file
        fits = facts.get("base") == self.digest and head.shape == (self.head_layout.size,) and np.isfinite(head).all()
        open_ = facts.get("unit") == "none" and plan is not None and plan.unit != "none"
        return self.initial_head() if open_ or not fits else head

    def keep_head(self, home: Path, head: Float32Array, plan: TrainPlan) -> None:
        """Write the head into the device's home, readable by nobody else."""
        facts = {"base": self.digest, "unit": plan.unit}
        tensors = {name: np.ascontiguousarray(part) for name, part in self.head_layout.split(head).items()}
        write_atomic(home / FILE, save(tensors, facts), mode=0o600)
