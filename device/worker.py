"""What a process keeps between messages: data, models, keys. Loaded once, however many devices or rounds it serves.

A phone or a Pi has one device in one process; the in-process engine has all of them; a Ray actor has some. Private
features live here in memory, keyed by device, and nowhere else.
"""

import functools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from skerry.clock import Stopwatch
from skerry.config import ModelConfig, TaskConfig
from skerry.device.local_model import LocalModel, load_local_model
from skerry.device.state import DeviceHome
from skerry.device.tasks.registry import load_task
from skerry.device.tasks.task import Task
from skerry.security.identity import Directory, Identity, PublicIdentity

__all__ = ["Resident", "Worker", "process_worker"]


@dataclass(frozen=True)
class Resident:
    """A device as this process holds it: its home, keys and trusted senders."""

    home: DeviceHome
    identity: Identity
    coordinator: PublicIdentity
    directory: Directory


@dataclass
class Worker:
    """Caches of one process; ``watch`` adds up where its devices' time goes, and stays in the process."""

    residents: dict[Path, Resident] = field(default_factory=dict)
    tasks: dict[tuple[str, str], Task] = field(default_factory=dict)
    models: dict[tuple[str, str], LocalModel] = field(default_factory=dict)
    inputs: dict[tuple[str, str], tuple[Any, npt.NDArray[np.int64]]] = field(default_factory=dict)
    watch: Stopwatch = field(default_factory=Stopwatch)

    def resident(self, path: Path) -> Resident:
        """The device whose home is at ``path``."""
        if path not in self.residents:
            home = DeviceHome.load(path)
            self.residents[path] = Resident(home, home.identity(), home.coordinator(), home.directory())
        return self.residents[path]

    def task(self, task: TaskConfig, model: ModelConfig) -> Task:
        """The task of this configuration."""
        key = (task.model_dump_json(), model.model_dump_json())
        if key not in self.tasks:
            self.tasks[key] = load_task(task, model)
        return self.tasks[key]

    def model(self, config: ModelConfig, digest: str | None, task: Task) -> LocalModel:
        """The model of this configuration over the base of that digest."""
        key = (config.model_dump_json(), digest or "")
        if key not in self.models:
            self.models[key] = load_local_model(config, digest, task)
        return self.models[key]

    def local_inputs(self, device: str, task: Task, model: LocalModel) -> tuple[Any, npt.NDArray[np.int64]]:
        """The device's prepared inputs and labels; through the frozen base once, then from memory."""
        key = (task.identity(device), model.digest)
        if key not in self.inputs:
            data = task.local_data(device)
            self.inputs[key] = (model.prepare(data.x), data.y)
        return self.inputs[key]


@functools.cache
def process_worker() -> Worker:
    """The one worker of this process: what it holds is expensive and never changes."""
    return Worker()
