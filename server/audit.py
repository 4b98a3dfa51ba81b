"""An audit of the privacy claim: planted examples, committed coins, and an attacker who guesses them (simulation only).

Three attackers, each of whom knows all private data but for the coins, as the definition of differential privacy
grants them:

* ``coordinator`` sees each device's update of each round. Score of a canary: the inner product of its clipped gradient
  with what is left of the device's noisy sum when the data's own part and half of every canary are taken away, summed
  over rounds. For rounds of one full-batch step this is the likelihood ratio test of the Gaussian mechanism; with more
  steps the gradients are taken along the straight line from where the device began to where it ended.
* ``participant`` sees the vector of each round. Score: inner product of the clipped gradient with the round's step.
* ``user`` sees the first and the last vector. Score: by how much the loss of the canary fell.

The first two need gradients in closed form, so they exist for a head only.

One run tests all canaries at once (Steinke, Nasr, Jagielski 2023): each is one example whose presence the claim covers.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from skerry.config import Scenario
from skerry.device.canaries import Canaries, canaries_of
from skerry.device.head_model import HeadModel
from skerry.device.local_model import LocalModel
from skerry.device.protocol import Update
from skerry.device.state import DeviceHome
from skerry.device.tasks.metrics import log_softmax, softmax
from skerry.device.tasks.task import Task
from skerry.device.training.plan import TrainPlan
from skerry.device.worker import process_worker
from skerry.records import Float32Array
from skerry.runfolder import RunFolder
from skerry.security.privacy.audit import CanaryScores, Coins, ScoreAudit, audit_scores, ceiling
from skerry.security.privacy.ledger import Ledger
from skerry.server.provision import coins_of

__all__ = ["Auditor"]

_Float64 = npt.NDArray[np.float64]

_NOTES = (
    "A lower bound shows a leak; that none was shown does not show that there is none. Read it beside the power.",
    "Attackers know all private data but the coins. The coordinator is the one that the claim is about.",
    "Error rates (Clopper-Pearson) hold for canaries that do not influence each other, and are not used to refute.",
)
_GAUSSIAN = (
    "Every step uses all examples, so a device's rounds together are one Gaussian mechanism, and the bound for "
    "Gaussian mechanisms counts."
)
_SAMPLED = "Steps are sampled, so the bound for Gaussian mechanisms is shown, and not used to refute."


@dataclass(frozen=True)
class _Audited:
    """A device's canaries, which of them are in, and its own examples."""

    canaries: Canaries
    inside: npt.NDArray[np.bool_]
    inputs: Any
    labels: npt.NDArray[np.int64]


@dataclass
class Auditor:
    """Watches the rounds of one run and guesses at the end; the canaries of honest devices are those that count."""

    coins: Coins
    devices: dict[str, _Audited]
    model: LocalModel
    scores: dict[str, dict[str, _Float64]] = field(default_factory=dict)

    @staticmethod
    def of(folder: RunFolder, task: Task, model: LocalModel) -> "Auditor | None":
        """The auditor of a run whose scenario plants canaries."""
        coins = coins_of(folder)
        if coins is None:
            return None
        devices: dict[str, _Audited] = {}
        for device in sorted(coins.tosses):
            home = DeviceHome.load(folder.path / "fleet" / device)
            if home.hostile is not None:
                continue  # it sends what it likes: the claim is about devices that run this software
            plan = home.canaries
            assert plan is not None  # the fleet was provisioned with these coins
            own = process_worker().local_inputs(device, task, model)
            devices[device] = _Audited(canaries_of(plan, task, model), plan.inside, *own)
        views = ("coordinator", "participant") if isinstance(model, HeadModel) else ()
        scores = {view: {name: np.zeros(len(one.inside)) for name, one in devices.items()} for view in views}
        return Auditor(coins, devices, model, scores)

    @property
    def count(self) -> int:
        """Canaries on all devices."""
        return sum(len(one.inside) for one in self.devices.values())

    def commit(self, ledger: Ledger, now: int) -> None:
        """Write the commitment to the coins into the population's ledger, before the first round."""
        ledger.record("audit", {"commitment": self.coins.commitment, "canaries": self.count}, now)

    def observe(self, vector: Float32Array, plan: TrainPlan, updates: Mapping[str, Update]) -> None:
        """See the updates that answered to a vector."""
        if "coordinator" not in self.scores:
            return
        scale = plan.sampling_rate * plan.denominator / (plan.learning_rate * plan.steps)
        for device in sorted(updates.keys() & self.devices.keys()):
            delta = updates[device].delta
            if len(delta) != len(vector) or not np.isfinite(delta).all():
                continue
            one = self.devices[device]
            left = -scale * delta.astype(np.float64)
            seen = np.zeros((len(one.inside), len(vector)))
            for step in range(plan.steps):
                # Where the device stood is not seen; on the way from start to end lies near.
                place = (vector + delta * np.float32(step / plan.steps)).astype(np.float32)
                canaries = self._gradients(place, one.canaries.inputs, one.canaries.labels, plan.clip)
                own = self._gradients(place, one.inputs, one.labels, plan.clip).sum(0)
                left -= plan.sampling_rate * (own + canaries.sum(0) / 2) / plan.steps
                seen += canaries / plan.steps
            self.scores["coordinator"][device] += seen @ left / plan.clip**2

    def follow(self, before: Float32Array, after: Float32Array, plan: TrainPlan) -> None:
        """See the vector that a round released."""
        if "participant" not in self.scores:
            return
        step = before.astype(np.float64) - after
        for device, one in self.devices.items():
            canaries = self._gradients(before, one.canaries.inputs, one.canaries.labels, plan.clip)
            self.scores["participant"][device] += canaries @ step

    def conclude(
        self, initial: Float32Array, final: Float32Array, scenario: Scenario, *, epsilon: float
    ) -> dict[str, Any]:
        """What every attacker could prove, and what one could have proved of a leak as large as claimed.

        Args:
            initial: the vector before the first round.
            final: the vector after the last.
            scenario: says δ, the confidence of all lower bounds together (shared out by Bonferroni), and the seed.
            epsilon: the claim that is tested: ε at δ, for adding or removing one example of a device.

        Returns:
            The fields of :class:`~skerry.result_audit.Audit`, but for ``canary_cost``.
        """
        self.scores["user"] = {
            device: self._losses(initial, one.canaries) - self._losses(final, one.canaries)
            for device, one in self.devices.items()
        }
        inside = np.concatenate([one.inside for one in self.devices.values()])
        delta, confidence = scenario.privacy.delta, scenario.audit.confidence
        one_gaussian = scenario.privacy.sampling_rate == 1
        each = 1 - (1 - confidence) / (len(self.scores) * (2 if one_gaussian else 1))
        views: dict[str, ScoreAudit] = {}
        for view, found in self.scores.items():
            values = np.concatenate([found[device] for device in self.devices])
            scores = CanaryScores(values[inside], values[~inside])
            views[view] = audit_scores(scores, delta=delta, seed=scenario.seed, confidence=each)
        least = max(max(one.one_run, one.one_run_gaussian if one_gaussian else 0.0) for one in views.values())
        return {
            "kind": scenario.audit.kind,
            "canaries": self.count,
            "inside": int(inside.sum()),
            "confidence": confidence,
            "delta": delta,
            "unit": scenario.privacy.unit,
            "relation": "add/remove",
            "epsilon_claimed": epsilon,
            "epsilon_lower_bound": least,
            "refuted": least > epsilon,
            "views": {view: one.to_json() for view, one in views.items()},
            "power": ceiling(epsilon, delta, self.count, confidence=each).to_json(),
            "commitment": self.coins.commitment,
            "notes": [*_NOTES, _GAUSSIAN if one_gaussian else _SAMPLED],
        }

    def opened(self) -> dict[str, Any]:
        """What anybody needs to repeat the counting: the coins, their salt, each canary's scores."""
        return {
            "salt": self.coins.salt.hex(),
            "tosses": dict(self.coins.tosses),
            "scores": {
                view: {device: values.tolist() for device, values in found.items()}
                for view, found in self.scores.items()
            },
        }

    def _gradients(self, vector: Float32Array, inputs: Any, labels: npt.NDArray[np.int64], clip: float) -> _Float64:
        """Clipped gradients ``(n, d)`` of a head, each the mean over the example's views."""
        views = np.asarray(inputs, np.float64)
        views = views.reshape(len(labels), -1, views.shape[-1])
        weight = np.asarray(vector, np.float64).reshape(-1, views.shape[-1])
        errors = softmax(views @ weight.T)
        errors[np.arange(len(labels)), :, labels] -= 1
        mean: _Float64 = np.einsum("nvc,nvk->nck", errors, views) / views.shape[1]
        rows = mean.reshape(len(labels), -1)
        norms = np.linalg.norm(rows, axis=1, keepdims=True)
        rows *= np.minimum(1, clip / np.maximum(norms, 1e-12))
        return rows

    def _losses(self, vector: Float32Array, canaries: Canaries) -> _Float64:
        inputs = canaries.inputs
        if isinstance(self.model, HeadModel) and inputs.ndim > 2:
            inputs = inputs[:, 0]  # the example itself is its first view
        logs = log_softmax(self.model.logits(vector, inputs))
        losses: _Float64 = -logs[np.arange(len(logs)), canaries.labels]
        return losses
