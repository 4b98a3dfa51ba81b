"""The shipped scenario as an attacker knows it, and its devices, for the benchmark ``leakage``."""

import dataclasses
import functools
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from _harness import progress

from skerry.clock import system_clock
from skerry.config import default_scenario
from skerry.device.basemodel import BaseModel
from skerry.device.local_model import build_local_model
from skerry.device.tasks.pictures import normalisation, resize_matrix
from skerry.device.training.plan import TrainPlan
from skerry.device.worker import process_worker
from skerry.runfolder import RunFolder
from skerry.security.privacy.stream import derive_generator, seeded_stream
from skerry.server.leakage import Decoder, Exchange, Guess, Seen
from skerry.server.prepare import prepare, train_plan

__all__ = ["World", "shipped_world"]

_NO_NOISE = 1e-4  # σ: a noise that hides nothing, at which everything else stays as it is
_QUIET = ("attack.devices=0", "report.references=false")

Float64 = npt.NDArray[np.float64]


class World:
    """The shipped scenario, prepared, with what anybody may know of it."""

    def __init__(self) -> None:
        torch.set_num_threads(1)
        self.scenario = default_scenario(_QUIET)
        self.plan = train_plan(self.scenario)
        self.worker = process_worker()
        self.task = self.worker.task(self.scenario.task, self.scenario.model)
        digest = build_local_model(self.scenario.model, self.task, progress)
        self.model = self.worker.model(self.scenario.model, digest, self.task)
        base = BaseModel.load(self.model.digest)
        self.constant, self.classes = base.bias, len(base.classes)
        public = self.task.public_data()
        rows, pictures = self.model.prepare(public.x), _grey(public.x)
        self.guess = Guess.of(rows, public.y, self.classes)
        self.length = float(np.linalg.norm(rows, axis=1).mean())
        mean, scale = normalisation(self.scenario.model)
        enlarge = resize_matrix(pictures.shape[1], self.scenario.model.input_size)
        self.decoder = Decoder(base, rows[:, :-1], pictures, enlarge=enlarge, mean=mean, scale=scale)
        self._public = [pictures[public.y == c] for c in range(self.classes)]
        self.means = np.stack([some.mean(0) for some in self._public])
        progress("public examples are known")

    def exchange(self, scratch: Path, changes: tuple[str, ...] = ()) -> Exchange:
        """Devices with ledgers that nothing was debited in yet."""
        folder = RunFolder.create(scratch, default_scenario([*_QUIET, *changes]), engine="inprocess")
        return Exchange(folder, prepare(folder, system_clock, self.worker).model, self.worker, system_clock)

    def local(self, device: str) -> tuple[Any, npt.NDArray[np.int64], Float64]:
        """A device's rows, labels and pictures."""
        rows, labels = self.worker.local_inputs(device, self.task, self.model)
        return rows, labels, _grey(self.task.local_data(device).x)

    def random(self, labels: npt.NDArray[np.int64], seed: int) -> Float64:
        """A random public example of each class asked for."""
        draw = derive_generator(seed, "random public examples")
        return np.stack([self._public[c][draw.integers(len(self._public[c]))] for c in labels])

    def without_noise(self) -> TrainPlan:
        """The scenario's plan, but for its noise; a device would refuse it, so its trainer is asked directly."""
        return dataclasses.replace(self.plan, noise_multiplier=_NO_NOISE)

    def rounds(self, rows: Any, labels: Any, plan: TrainPlan, seed: int) -> list[Seen]:
        """A device with these examples, whose own updates move the model."""
        vector, seen = self.model.initial(), []
        for number in range(self.scenario.rounds):
            delta = self.model.train(vector, rows, labels, plan, seeded_stream(seed, "leakage", number))
            seen.append(Seen(vector, delta, plan))
            vector = vector + delta
        return seen


@functools.cache
def shipped_world() -> World:
    """The one of this process."""
    return World()


def _grey(x: npt.NDArray[Any]) -> Float64:
    return x[..., 0] / 255.0
